"""Seeded feature blocks with outcomes drawn from a hazard, for tests of models and training.

Each student has a hidden engagement with a level, a slope of their own and a weekly drift; features are noisy readings
of it, and the hazard grows with low engagement and with its *fall* over the last ten weeks, which no single week shows.
"""

import numpy as np

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURES, SUPPORT_COLUMNS
from edupulse_ml.core.outcomes import Outcomes
from edupulse_ml.core.sequences import PAD, FeatureBlock
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY, TrainingData

FIRST_MONDAY = 18_876  # 2021-09-06
FALL_WEEKS = 10


def make_training_data(
    *, n_students: int = 300, n_weeks: int = 26, seed: int = 0, hazard: float = 0.0003, trajectory: float = 1.0
) -> TrainingData:
    """Student-weeks of one school year with outcomes followed for a year after its end.

    `hazard` is the weekly hazard of a typical student, `trajectory` the weight of the fall in engagement.
    """
    rng = np.random.default_rng(seed)
    shape = (n_students, n_weeks)
    engagement = _engagement(rng, shape)
    fall = _fall(engagement)
    event_week = _event_week(rng, engagement, fall, hazard=hazard, trajectory=trajectory)
    week = FIRST_MONDAY + 7 * np.arange(n_weeks, dtype=np.int32)[None, :].repeat(n_students, axis=0)
    block = _block(rng, engagement, week)
    event_day = np.where(event_week >= 0, FIRST_MONDAY + 7 * event_week + rng.integers(0, 5, n_students), NEVER)
    end = FIRST_MONDAY + 7 * n_weeks + 365
    outcomes = Outcomes(
        event_day=event_day.astype(np.int32),
        followed_until=np.where(event_day == NEVER, end, event_day).astype(np.int32),
        as_of_day=end,
    )
    block = _cut_after(block, outcomes)
    eligible = (block.week != PAD) & (block.week + CUTOFF_DAYS_AFTER_MONDAY < outcomes.event_day[:, None])
    return TrainingData(block, outcomes, eligible)


def _engagement(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    level = rng.normal(size=shape[0])[:, None]
    drift = np.zeros(shape)
    for step in range(1, shape[1]):
        drift[:, step] = 0.95 * drift[:, step - 1] + 0.3 * rng.normal(size=shape[0])
    slope = 0.07 * rng.normal(size=shape[0])[:, None]
    return level + drift + slope * (np.arange(shape[1]) - shape[1] / 2)


def _fall(engagement: np.ndarray) -> np.ndarray:
    earlier = np.concatenate([np.repeat(engagement[:, :1], FALL_WEEKS, axis=1), engagement], axis=1)
    return earlier[:, : engagement.shape[1]] - engagement


def _event_week(
    rng: np.random.Generator, engagement: np.ndarray, fall: np.ndarray, *, hazard: float, trajectory: float
) -> np.ndarray:
    """Week of the event, -1 for none; after the observed year the last week's hazard goes on for 30 weeks."""
    later = 30
    log_odds = np.log(hazard / (1 - hazard)) - engagement + 1.5 * trajectory * fall
    log_odds = np.concatenate([log_odds, np.repeat(log_odds[:, -1:], later, axis=1)], axis=1)
    happens = rng.random(log_odds.shape) < 1 / (1 + np.exp(-log_odds))
    happens[:, :3] = False
    return np.where(happens.any(axis=1), happens.argmax(axis=1), -1)


def _block(rng: np.random.Generator, engagement: np.ndarray, week: np.ndarray) -> FeatureBlock:
    n, s = engagement.shape
    values = np.empty((n, s, len(FEATURES)), dtype=np.float32)
    season = np.sin(np.arange(s) / 6.0)[None, :]
    for index, column in enumerate(FEATURES):
        loading = -1.0 if column.monotone == 1 else 1.0 if column.monotone == -1 else rng.choice([-0.3, 0.3])
        reading = loading * engagement + 1.5 * rng.normal(size=(n, s)) + 0.5 * season
        values[:, :, index] = _in_units(rng, reading, column.transform, column.name)
    mask = np.ones((n, s, 3), dtype=bool)
    mask[:, :, 2] = (rng.random(n) < 0.7)[:, None]
    mask[:, :, 1] = rng.random((n, s)) < 0.95
    for position, modality in enumerate(("attendance", "course", "discipline")):
        columns = [i for i, column in enumerate(FEATURES) if column.modality == modality]
        values[:, :, columns] = np.where(mask[:, :, position, None], values[:, :, columns], np.nan)
    values[rng.random(values.shape) < 0.03] = np.nan
    aux = np.empty((n, s, len(AUX_COLUMNS)), dtype=np.float32)
    aux[:, :, 0], aux[:, :, 1] = np.log(2.0), (np.arange(s) + 1) / 40
    aux[:, :, 2] = 5 * (np.arange(s) + 1) / 180
    support = np.full((n, s, len(SUPPORT_COLUMNS)), 20.0, dtype=np.float32)
    support[:, :, 4] = 0.4
    grade = rng.integers(9, 13, n).astype(np.int32)
    context = np.full((n, s, len(CONTEXT_COLUMNS)), np.nan, dtype=np.float32)
    context[:, :, 0] = grade[:, None]
    context[:, :, 1] = rng.normal(size=n)[:, None]
    context[:, :, 2:] = rng.integers(0, 2, (n, 1, 2))
    return FeatureBlock(
        week=week.astype(np.int32),
        values=values,
        support=support,
        mask=mask,
        aux=aux,
        context=context,
        school=np.zeros((n, s), dtype=np.int32),
        grade_level=np.repeat(grade[:, None], s, axis=1),
        school_year=np.full((n, s), 2021, dtype=np.int32),
    )


def _in_units(rng: np.random.Generator, reading: np.ndarray, transform: str, name: str) -> np.ndarray:
    if transform == "log1p":
        return rng.poisson(np.exp(np.clip(0.5 * reading - 0.5, -4, 2)))
    if name == "chronic_absence_tier":
        return np.clip(np.rint(reading + 1), 0, 3)
    if name.endswith("_avg") or "score_mean" in name:
        return np.clip(75 + 8 * reading, 0, 100)
    if transform == "affine":
        return reading
    if name.startswith("gpa"):
        return np.clip(2.8 + 0.5 * reading, 0, 4)
    return 1 / (1 + np.exp(-(0.6 * reading - 2)))


def _cut_after(block: FeatureBlock, outcomes: Outcomes) -> FeatureBlock:
    """End each record with the week of the event."""
    gone = block.week > outcomes.event_day[:, None]
    hole = gone[:, :, None]
    return FeatureBlock(
        week=np.where(gone, PAD, block.week).astype(np.int32),
        values=np.where(hole, np.nan, block.values).astype(np.float32),
        support=np.where(hole, np.nan, block.support).astype(np.float32),
        mask=block.mask & ~hole,
        aux=np.where(hole, np.nan, block.aux).astype(np.float32),
        context=np.where(hole, np.nan, block.context).astype(np.float32),
        school=np.where(gone, PAD, block.school).astype(np.int32),
        grade_level=np.where(gone, PAD, block.grade_level).astype(np.int32),
        school_year=np.where(gone, PAD, block.school_year).astype(np.int32),
    )
