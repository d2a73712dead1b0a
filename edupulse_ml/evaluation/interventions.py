"""Student-weeks whose outcome may be that of support, so that no model learns it as what would have come by itself.

A student-week met support if support was in force at its cutoff or began within the horizon after it. To leave out only
those who then stayed would keep the supported students who left, and to leave out all who were supported would keep
those who left before anybody could support them: either way leavers would be too frequent among students like them.
Therefore each leaver is given the later support of a comparable student who stayed, and is left out for it as that
student is (docs/decisions/0011).

Legend: N students, S steps, F features, L leavers.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from edupulse_ml.core.feedback import Interventions
from edupulse_ml.core.outcomes import Outcomes
from edupulse_ml.core.sequences import PAD, FeatureBlock
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
Float32 = NDArray[np.float32]

USUAL_DAYS: Final = 56
"""How long support counts as in force whose end nobody recorded: eight weeks, as in sources.md 7.3, rule 7."""
_NEAREST: Final = 5
"""A leaver's comparable student is drawn from this many, so that no one stands for many."""
_ROWS_PER_CLASS: Final = 20_000
_FEWEST_STARTS: Final = 10
"""With fewer student-weeks before support, who is supported cannot be learned; all students count as comparable."""


@dataclass(frozen=True)
class InterventionSpells:
    """Support as known on one day: one entry per spell, ordered by student, with the days it was in force, both
    inclusive.
    """

    student: Int32
    start_day: Int32
    end_day: Int32

    def after(self, student: int, day: int) -> "InterventionSpells":
        """The student's spells that begin after `day`."""
        own = slice(*np.searchsorted(self.student, (student, student + 1)))
        later = self.start_day[own] > day
        return InterventionSpells(self.student[own][later], self.start_day[own][later], self.end_day[own][later])


def intervention_spells(interventions: Interventions, *, as_of_day: int) -> InterventionSpells:
    """The spells known on `as_of_day`; one without a recorded end lasts eight weeks."""
    known = np.flatnonzero((interventions.known_day <= as_of_day) & (as_of_day < interventions.superseded_day))
    # In an order of its own, so that the order of rows plays no part.
    known = known[
        np.lexsort((interventions.end_day[known], interventions.start_day[known], interventions.student[known]))
    ]
    start, end = interventions.start_day[known], interventions.end_day[known]
    usual = start + np.int32(USUAL_DAYS - 1)
    return InterventionSpells(interventions.student[known], start, np.where(end == NEVER, usual, end).astype(np.int32))


def steps_that_met_intervention(block: FeatureBlock, spells: InterventionSpells, *, horizon_days: int) -> Bool:
    """[N, S] real steps with support in force at their cutoff or beginning within `horizon_days` after it."""
    met = np.zeros(block.week.shape, dtype=np.bool_)
    cutoff = block.week.astype(np.int64) + CUTOFF_DAYS_AFTER_MONDAY
    student, start, end = spells.student, spells.start_day, spells.end_day
    nth = np.arange(len(student)) - np.searchsorted(student, student)
    for number in range(int(nth.max(initial=-1)) + 1):
        chosen = nth == number
        days, starts, ends = cutoff[student[chosen]], start[chosen, None], end[chosen, None]
        met[student[chosen]] |= (days < starts) & (starts <= days + horizon_days) | (starts <= days) & (days <= ends)
    return met & (block.week != PAD)


def steps_not_to_learn_from(
    block: FeatureBlock, outcomes: Outcomes, spells: InterventionSpells, *, horizon_days: int, seed: int
) -> Bool:
    """[N, S] steps that met support, and steps of leavers who would have met it, had they stayed."""
    met = steps_that_met_intervention(block, spells, horizon_days=horizon_days)
    if not met.any():
        return met
    later = _spells_of_comparable(block, outcomes, spells, met=met, horizon_days=horizon_days, seed=seed)
    return met | steps_that_met_intervention(block, later, horizon_days=horizon_days)


def _spells_of_comparable(
    block: FeatureBlock, outcomes: Outcomes, spells: InterventionSpells, *, met: Bool, horizon_days: int, seed: int
) -> InterventionSpells:
    """For each leaver the spells, after the leaving, of a student who was as likely to be supported that week and stayed."""
    leaver, step = _last_steps(block, outcomes)
    likely = _likelihood_of_intervention(block, met=met, until_day=outcomes.as_of_day, seed=seed)
    rng = np.random.default_rng([seed, 11])
    found: list[InterventionSpells] = []
    for week in np.unique(block.week[leaver, step]):
        here, at = np.nonzero(block.week == week)
        for position in np.flatnonzero(block.week[leaver, step] == week):
            who, left_on = leaver[position], int(outcomes.event_day[leaver[position]])
            stays = (outcomes.event_day[here] > left_on + horizon_days) & (outcomes.followed_until[here] >= left_on)
            stays &= here != who
            if not stays.any():
                continue
            distance = np.abs(likely[here[stays], at[stays]] - likely[who, step[position]])
            nearest = np.argsort(distance, kind="stable")[:_NEAREST]
            comparable = spells.after(int(here[stays][rng.choice(nearest)]), left_on)
            found.append(
                InterventionSpells(np.full_like(comparable.student, who), comparable.start_day, comparable.end_day)
            )
    none = np.empty(0, np.int32)
    columns = [np.concatenate([none, *(getattr(one, name) for one in found)]) for name in _FIELDS]
    order = np.argsort(columns[0], kind="stable")
    return InterventionSpells(*(column[order] for column in columns))


_FIELDS: Final = ("student", "start_day", "end_day")


def _last_steps(block: FeatureBlock, outcomes: Outcomes) -> tuple[Int32, Int32]:
    """Students [L] who left, and the position of each one's last step whose cutoff is before the last day attended."""
    cutoff = block.week.astype(np.int64) + CUTOFF_DAYS_AFTER_MONDAY
    before = (block.week != PAD) & (cutoff < outcomes.event_day[:, None])
    leaver = np.flatnonzero((outcomes.event_day != NEVER) & before.any(axis=1))
    return leaver.astype(np.int32), (before[leaver].sum(axis=1) - 1).astype(np.int32)


def _likelihood_of_intervention(block: FeatureBlock, *, met: Bool, until_day: int, seed: int) -> Float32:
    """[N, S] logit of meeting support, from the features of the step; only its order and distances are used. Learned
    from steps that were closed by `until_day`.
    """
    real = (block.week != PAD) & (block.week + CUTOFF_DAYS_AFTER_MONDAY <= until_day)
    rows_met, rows_not = np.flatnonzero(real & met), np.flatnonzero(real & ~met)
    if min(len(rows_met), len(rows_not)) < _FEWEST_STARTS:
        return np.zeros(block.week.shape, dtype=np.float32)
    rng = np.random.default_rng([seed, 12])
    rows = np.concatenate(
        [rng.choice(rows, min(len(rows), _ROWS_PER_CLASS), replace=False) for rows in (rows_met, rows_not)]
    )
    values = block.values.reshape(-1, block.values.shape[-1])
    chosen = values[rows].astype(np.float64)
    known = ~np.isnan(chosen)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, chosen, 0).sum(axis=0) / count
    scale = np.maximum(np.sqrt(np.where(known, (chosen - mean) ** 2, 0).sum(axis=0) / count), 1e-6)
    fitted = LogisticRegression(max_iter=200).fit(
        np.where(known, (chosen - mean) / scale, 0), met.ravel()[rows].astype(np.int8)
    )
    weights = (fitted.coef_[0] / scale).astype(np.float32)
    middle = mean.astype(np.float32)
    return np.stack([np.nan_to_num(of_student - middle, nan=0.0) @ weights for of_student in block.values])
