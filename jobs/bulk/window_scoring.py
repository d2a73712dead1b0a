"""Scores of many windows at once, as columns: the bulk path has no object per student."""

import numpy as np

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.core.sufficiency import SufficiencyPolicy, coverage_shares, has_enough
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY
from edupulse_ml.models.strategies import ServableModel
from edupulse_ml.storage.scoring_runs import INSUFFICIENT, ScoredRows


def score_rows(artifact: ServableModel, batch: SequenceBatch, *, today: int) -> ScoredRows:
    """One row per window. `today` is the local day number as of which the students are scored.

    Raises:
        ContractMismatchError: this release's features are not those the model was trained on.
    """
    scores = artifact.score(batch)
    weeks, shares = batch.length, coverage_shares(batch)
    last_week = batch.week[np.arange(batch.n_examples), np.maximum(weeks - 1, 0)]
    age_days = np.where(weeks > 0, today - (last_week + CUTOFF_DAYS_AFTER_MONDAY), 0)
    enough = has_enough(shares, weeks=weeks, feature_age_days=age_days, policy=SufficiencyPolicy())
    category = np.where(enough, artifact.policy.positions(scores.risk_score), INSUFFICIENT).astype(np.int8)
    return ScoredRows(
        category=category,
        feature_week=last_week,
        risk_score=scores.risk_score,
        risk_60plus=scores.risk_60plus,
        coverage=shares,
        weeks=weeks,
    )


def concatenate_rows(parts: list[ScoredRows]) -> ScoredRows:
    """Several parts, at least one, as one."""
    return ScoredRows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
