"""How often a gap between groups is found where there is none: `python -m tests.benchmarks.alike_groups`.

Cohorts are simulated in which the group has nothing to do with risk, score or outcome, and the fairness of the lists is
measured as every report measures it. docs/evaluation.md has the figures.
"""

import argparse
from collections import Counter
from typing import Final

import numpy as np
from rich.console import Console

from edupulse_ml.evaluation.audit_groups import AuditFamily
from edupulse_ml.evaluation.fairness_rates import AuditedScores, Draws, measure_family

_SHARES: Final = (0.35, 0.25, 0.15, 0.11, 0.08, 0.06)
"""Of the groups, the smallest of which is about what a district's smallest audited group is."""
_MONTHS: Final = 8
_LEAVES: Final = -1.3
"""Mean logit of leaving. About a quarter of the students do, so that misses can be told of small groups too."""
_FLAGGED: Final = 0.1
_GATE: Final = 0.1
"""The gap that the promotion policy allows."""


def surest_gaps(seed: int, *, students: int, replicates: int) -> dict[str, float]:
    """Lower ends of the surest gaps, by metric: of missed leavers and of false alarms."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(_LEAVES, 1.0, students)
    left = rng.random(students) < 1.0 / (1.0 + np.exp(-risk))
    group = rng.choice(len(_SHARES), students, p=_SHARES)
    student = np.repeat(np.arange(students), _MONTHS)
    score = risk[student] + rng.normal(0.0, 0.7, len(student))
    by_month = score.reshape(students, _MONTHS)
    flagged = (by_month >= np.quantile(by_month, 1.0 - _FLAGGED, axis=0)).ravel()
    names = tuple(f"group {position}" for position in range(len(_SHARES)))
    family = AuditFamily(("simulated",) * len(names), names, group[student][None, :] == np.arange(len(names))[:, None])
    scores = AuditedScores(
        "simulated", "left", left[student].astype(np.int8), 1.0 / (1.0 + np.exp(-score)), flagged, student
    )
    _, gaps = measure_family(scores, family, draws=Draws(replicates, seed, rank_groups=False))
    return {gap.metric: gap.gap.low for gap in gaps if gap.metric in {"fnr", "fpr"} and gap.gap.low is not None}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--cohorts", type=int, default=300)
    asked.add_argument("--students", type=int, default=900)
    asked.add_argument("--replicates", type=int, default=200)
    options = asked.parse_args()
    told, sure, refused = Counter[str](), Counter[str](), Counter[str]()
    for seed in range(options.cohorts):
        for metric, low in surest_gaps(seed, students=options.students, replicates=options.replicates).items():
            told[metric] += 1
            sure[metric] += low > 0
            refused[metric] += low > _GATE
    for metric in sorted(told):
        share, over = sure[metric] / told[metric], refused[metric] / told[metric]
        Console().print(
            f"{metric}: told in {told[metric]} cohorts, above 0 in {share:.1%}, above {_GATE} in {over:.1%}"
        )


if __name__ == "__main__":
    main()
