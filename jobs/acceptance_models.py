"""What models find in a simulated district (sources.md 7.4): learned on the first school year, judged on the second,
always on other people.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from edupulse_ml.core.outcomes import EARLY_TASK, LABEL_UNKNOWN, Outcomes, Task, task_labels
from edupulse_ml.core.sequences import PAD, FeatureBlock, SequenceBatch, week_of_school_year, windows_ending_at
from edupulse_ml.simulation.acceptance import AcceptanceRow

Int32 = NDArray[np.int32]
Int8 = NDArray[np.int8]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

WINDOW_WEEKS: Final = 20
_CUTOFF_DAYS: Final = 6
_FIRST_WEEK_OF_YEAR: Final = 6
_LANDMARK_EVERY_WEEKS: Final = 4
_RECENT: Final = 4
_KEPT_STAYERS: Final = 0.25
_SEEDS: Final = (11, 12, 13)
_ROUNDS: Final = 120
_LABEL_SHUFFLES: Final = 20
_ROUNDS_FOR_NOTHING: Final = 30
_NEAR_TASK: Final = Task("within_60", 0, 60)
_ROWS_AT_ONCE: Final = 20_000


@dataclass(frozen=True)
class JudgedDistrict:
    """Features, truth and latents of one simulated district.

    `exits` holds the days on which leavers were taken off the roll, where `outcomes` holds the last days attended.
    `latents` [N, S, L] stand at the steps of `block`; NaN where a student no longer attended. `half` [N] splits the
    people in two. `years` are the school years to learn from and to judge on.
    """

    block: FeatureBlock
    outcomes: Outcomes
    exits: Outcomes
    latents: Float32
    half: Bool
    years: tuple[int, int]


@dataclass(frozen=True)
class _Rows:
    student: Int32
    step: Int32
    label: Int8

    def only(self, keep: Bool) -> "_Rows":
        return _Rows(self.student[keep], self.step[keep], self.label[keep])


Inputs = Callable[[_Rows], Float32]


def model_rows(district: JudgedDistrict) -> Iterator[AcceptanceRow]:
    """The model-based quantities one after the other, each beside its band."""
    rows = _landmark_rows(district, EARLY_TASK)
    features = _judge(district, rows, lambda r: _aggregates(district, r))
    yield AcceptanceRow("AUC of features, leaves in 61 days to 1 year", features, 0.78, 0.88)
    oracle = _judge(district, rows, lambda r: np.concatenate([_aggregates(district, r), _latents(district, r)], axis=1))
    yield AcceptanceRow("AUC gained by knowing the latents", oracle - features, 0.02, 0.08)
    near = _landmark_rows(district, _NEAR_TASK)
    in_order = _judge(district, near, lambda r: _aggregates(district, r))
    shuffled = _judge(district, near, lambda r: _aggregates(district, r, shuffle_weeks=True))
    yield AcceptanceRow("AUC lost by shuffling the weeks, leaves within 60 days", in_order - shuffled, 0.01, 0.10)
    blind = _judge(district, rows, lambda r: _aggregates(district, r), label_shuffles=_LABEL_SHUFFLES)
    yield AcceptanceRow("AUC after shuffling the labels", blind, 0.48, 0.52)
    fair = _weekly_rows(district, district.outcomes)
    leaking = _weekly_rows(district, district.exits)
    gain = _judge(district, leaking, lambda r: _aggregates(district, r))
    gain -= _judge(district, fair, lambda r: _aggregates(district, r))
    yield AcceptanceRow("AUC gained by the weeks after the last day attended", gain, 0.05, 0.20)


def _landmark_rows(district: JudgedDistrict, task: Task) -> _Rows:
    week = week_of_school_year(district.block.aux)
    landmark = (week >= _FIRST_WEEK_OF_YEAR) & ((week - _FIRST_WEEK_OF_YEAR) % _LANDMARK_EVERY_WEEKS == 0)
    rows = _labelled(district, landmark, task, outcomes=district.outcomes)
    return rows.only(rows.label != LABEL_UNKNOWN)


def _weekly_rows(district: JudgedDistrict, outcomes: Outcomes) -> _Rows:
    """Every week for the 60-day question. Asked of the day of the exit, as a careless pipeline would, it takes in the
    weeks in which a leaver was already gone but still on the roll.
    """
    every_week = week_of_school_year(district.block.aux) >= _FIRST_WEEK_OF_YEAR
    rows = _labelled(district, every_week, _NEAR_TASK, outcomes=outcomes)
    kept = np.random.default_rng(3).random(len(rows.label)) < _KEPT_STAYERS
    return rows.only((rows.label == 1) | ((rows.label == 0) & kept))


def _labelled(district: JudgedDistrict, wanted: Bool, task: Task, *, outcomes: Outcomes) -> _Rows:
    block = district.block
    in_years = np.isin(block.school_year, district.years) & (block.week != PAD)
    student, step = (found.astype(np.int32) for found in np.nonzero(wanted & in_years))
    cutoff = (block.week[student, step] + _CUTOFF_DAYS).astype(np.int32)
    return _Rows(student, step, task_labels(outcomes.select(student), cutoff_day=cutoff, task=task))


def _aggregates(district: JudgedDistrict, rows: _Rows, *, shuffle_weeks: bool = False) -> Float32:
    """[R, ...] last value, recent mean, mean, last less mean and slope of each feature over the window."""
    rng = np.random.default_rng(5)
    parts = []
    for start in range(0, len(rows.student), _ROWS_AT_ONCE):
        chunk = slice(start, start + _ROWS_AT_ONCE)
        batch = windows_ending_at(
            district.block, student=rows.student[chunk], step=rows.step[chunk], window_weeks=WINDOW_WEEKS
        )
        values = _shuffled(rng, batch) if shuffle_weeks else batch.values
        parts.append(_summed_up(values, batch))
    return np.concatenate(parts)


def _shuffled(rng: np.random.Generator, batch: SequenceBatch) -> Float32:
    """The weeks of each window in random order; padding stays behind."""
    draw = rng.random(batch.week.shape)
    draw[batch.week == PAD] = 2.0
    return np.take_along_axis(batch.values, np.argsort(draw, axis=1)[:, :, None], axis=1)


def _summed_up(values: Float32, batch: SequenceBatch) -> Float32:
    known = np.isfinite(values)
    filled = np.where(known, values, np.float32(0))
    steps = np.arange(values.shape[1], dtype=np.float32)[None, :, None]
    last = batch.length - 1
    recent = known & (steps > (last - _RECENT)[:, None, None])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=1) / known.sum(axis=1)
        recent_mean = np.where(recent, filled, 0).sum(axis=1) / recent.sum(axis=1)
        centre = (steps * known).sum(axis=1) / known.sum(axis=1)
        away = (steps - centre[:, None]) * known
        slope = (away * filled).sum(axis=1) / (away**2).sum(axis=1)
    last_value = values[np.arange(len(values)), last]
    columns = [last_value, recent_mean, mean, last_value - mean, slope, batch.aux[np.arange(len(values)), last]]
    return np.concatenate([*columns, batch.context], axis=1).astype(np.float32)


def _latents(district: JudgedDistrict, rows: _Rows) -> Float32:
    return district.latents[rows.student, rows.step]


def _judge(district: JudgedDistrict, rows: _Rows, inputs: Inputs, *, label_shuffles: int = 0) -> float:
    """Mean AUC over both directions: learn from one half in the first year, judge the other in the second.

    With `label_shuffles`, the labels learned from are shuffled that many times and the AUCs averaged.
    """
    year = district.block.school_year[rows.student, rows.step]
    half = district.half[rows.student]
    found = []
    for side in (True, False):
        train = rows.only((year == district.years[0]) & (half == side))
        test = rows.only((year == district.years[1]) & (half != side))
        learned, judged = inputs(train), inputs(test)
        rng = np.random.default_rng(7)
        scores = [
            _fit_and_score(learned, rng.permutation(train.label), judged, seeds=_SEEDS[:1], rounds=_ROUNDS_FOR_NOTHING)
            for _ in range(label_shuffles)
        ] or [_fit_and_score(learned, train.label, judged, seeds=_SEEDS, rounds=_ROUNDS)]
        found += [float(roc_auc_score(test.label, score)) for score in scores]
    return float(np.mean(found))


def _fit_and_score(train: Float32, label: Int8, test: Float32, *, seeds: Sequence[int], rounds: int) -> Float64:
    score = np.zeros(len(test))
    for seed in seeds:
        parameters = {
            "objective": "binary",
            "learning_rate": 0.04,
            "num_leaves": 12,
            "min_child_samples": 60,
            "feature_fraction": 0.3,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 10.0,
            "max_bin": 63,
            "num_threads": 1,
            "deterministic": True,
            "seed": seed,
            "verbosity": -1,
        }
        model = lightgbm.train(parameters, lightgbm.Dataset(train, label=label), num_boost_round=rounds)
        score += np.asarray(model.predict(test, raw_score=True))
    return score
