"""Splits by time and by person: a model is judged on a later cohort, and on people it has not learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.sequences import PAD, FeatureBlock
from edupulse_ml.models.protocol import CUTOFF_DAYS_AFTER_MONDAY

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class PersonShares:
    """How people first seen before the calibration year are shared out. Those first seen in it go to calibration and
    test in the proportion of these two, newcomers of the test year to the test.
    """

    train: float = 0.6
    calibrate: float = 0.15
    test: float = 0.25

    def as_array(self) -> NDArray[np.float64]:
        """[3] in the order train, calibrate, test."""
        return np.asarray([self.train, self.calibrate, self.test], dtype=np.float64)


@dataclass(frozen=True)
class Split:
    """Which steps [N, S] serve which purpose. No person is in two of `train`, `calibrate` and `test`.

    `held_out` holds the calibration people's steps before the calibration year, for questions that reach beyond what
    that year can answer.
    `returning` holds the test period's steps of people in `train` or `calibrate`: the deployment case, where the
    model has learned from the same students' earlier years. `label_cutoff_day` is the first cutoff of the test:
    outcomes for training and calibration are built as of that day. `description` says it in words for the report.
    """

    train: Bool
    calibrate: Bool
    test: Bool
    held_out: Bool
    returning: Bool
    label_cutoff_day: int
    description: str


def person_fractions(person_ids: Sequence[str], *, seed: int) -> NDArray[np.float64]:
    """[N] a number in [0, 1) per person: equal ids, equal numbers, in every data set and on every machine."""
    numbers: dict[str, float] = {}
    for person in person_ids:
        if person not in numbers:
            digest = blake2b(f"{seed}:{person}".encode(), digest_size=8).digest()
            numbers[person] = int.from_bytes(digest, "big") / 2**64
    return np.asarray([numbers[person] for person in person_ids], dtype=np.float64)


def split_by_school_year(
    block: FeatureBlock,
    person_ids: Sequence[str],
    *,
    test_year: int,
    seed: int,
    shares: PersonShares = PersonShares(),
) -> Split:
    """Train on school years up to `test_year` - 2, calibrate on `test_year` - 1, test on `test_year`.

    A person's role is drawn by a seeded hash among the splits whose years are not over when the person is first seen.
    Whether the person is seen again plays no part, because that is what is to be predicted: who leaves before the
    years of their role is not used.

    Raises:
        InvalidInputError: one of the three has no student-week, or the ids do not match the block.
    """
    _require_ids(person_ids, block.n_students)
    real = block.week != PAD
    years = (
        real & (block.school_year <= test_year - 2),
        real & (block.school_year == test_year - 1),
        real & (block.school_year == test_year),
    )
    role_of_student = _draw_roles(block, person_ids, test_year=test_year, seed=seed, shares=shares)
    train, calibrate, test = (years[role] & (role_of_student == role)[:, None] for role in range(3))
    held_out = years[0] & (role_of_student == 1)[:, None]
    returning = years[2] & (role_of_student != 2)[:, None]
    for name, chosen in (("train", train), ("calibrate", calibrate), ("test", test)):
        if not chosen.any():
            msg = (
                f"The split for the school year {test_year} has no student-week to {name} on: at least three school "
                f"years of records are needed, the last being {test_year}."
            )
            raise InvalidInputError(msg)
    return Split(
        train=train,
        calibrate=calibrate,
        test=test,
        held_out=held_out,
        returning=returning,
        label_cutoff_day=int(block.week[years[2]].min()) + CUTOFF_DAYS_AFTER_MONDAY,
        description=(
            f"Trained on school years up to {test_year - 2}, calibrated on {test_year - 1}, tested on {test_year}; "
            "no person is in two of them; training labels as known at the first test cutoff."
        ),
    )


def _draw_roles(
    block: FeatureBlock, person_ids: Sequence[str], *, test_year: int, seed: int, shares: PersonShares
) -> NDArray[np.int8]:
    """[N] 0 train, 1 calibrate, 2 test, equal for equal persons."""
    _, person = np.unique(np.asarray(person_ids), return_inverse=True)
    year = np.where(block.week != PAD, block.school_year, np.iinfo(np.int32).max)
    first_seen = np.full(int(person.max(initial=-1)) + 1, np.iinfo(np.int32).max, dtype=np.int32)
    np.minimum.at(first_seen, person, year.min(axis=1, initial=np.iinfo(np.int32).max))
    first_role = np.clip(first_seen[person] - (test_year - 2), 0, 2)
    weights = np.where(np.arange(3)[None, :] >= first_role[:, None], shares.as_array()[None, :], 0.0)
    cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    drawn = person_fractions(person_ids, seed=seed)
    return np.minimum((drawn[:, None] >= cumulative).sum(axis=1), 2).astype(np.int8)


def split_by_person(
    block: FeatureBlock,
    person_ids: Sequence[str],
    *,
    known_day: int,
    seed: int,
    shares: PersonShares = PersonShares(),
) -> Split:
    """Other people in the same years, for records that do not span three school years. Not a test on a later cohort:
    what changes from year to year goes unnoticed, and the description says so.

    Raises:
        InvalidInputError: the ids do not match the block, or one of the three has no student-week.
    """
    _require_ids(person_ids, block.n_students)
    real = block.week != PAD
    cumulative = np.cumsum(shares.as_array())
    role = np.minimum((person_fractions(person_ids, seed=seed)[:, None] >= cumulative).sum(axis=1), 2)
    train, calibrate, test = (real & (role == wanted)[:, None] for wanted in range(3))
    if not (train.any() and calibrate.any() and test.any()):
        msg = "There are too few people with records to train, calibrate and test on different ones: import more."
        raise InvalidInputError(msg)
    nobody = np.zeros_like(real)
    return Split(
        train=train,
        calibrate=calibrate,
        test=test,
        held_out=nobody,
        returning=nobody,
        label_cutoff_day=known_day,
        description=(
            "Trained, calibrated and tested on different people in the same years; not on a later cohort, so the "
            "figures are kinder than those of a new year."
        ),
    )


def split_by_cohort(
    block: FeatureBlock,
    cohort: Sequence[str],
    person_ids: Sequence[str],
    *,
    train: Sequence[str],
    test: Sequence[str],
    calibration_share: float = 0.2,
    seed: int,
) -> Split:
    """Train and calibrate on named cohorts, test on later ones; `cohort` [N] names each student's.

    People of the test cohorts are removed from training. Calibration takes `calibration_share` of the people of the
    last training cohort, by a seeded hash, and these are removed from training altogether.

    Raises:
        InvalidInputError: a cohort is named for both, has no student, or the ids do not match the block.
    """
    _require_ids(person_ids, block.n_students)
    _require_ids(cohort, block.n_students)
    if set(train) & set(test):
        msg = f"Cohorts {sorted(set(train) & set(test))} are named for training and for the test: name each once."
        raise InvalidInputError(msg)
    cohorts, persons = np.asarray(cohort), np.asarray(person_ids)
    for name in (*train, *test):
        if not (cohorts == name).any():
            msg = f"No student belongs to the cohort {name}: the data holds {', '.join(sorted(set(cohort)))}."
            raise InvalidInputError(msg)
    in_test, in_train = np.isin(cohorts, list(test)), np.isin(cohorts, list(train))
    held_out = np.isin(persons, persons[in_test])
    drawn = person_fractions(person_ids, seed=seed) < calibration_share
    calibrates = in_train & ~held_out & drawn & (cohorts == train[-1])
    learns = in_train & ~held_out & ~np.isin(persons, persons[calibrates])
    real = block.week != PAD
    return Split(
        train=real & learns[:, None],
        calibrate=real & calibrates[:, None],
        test=real & in_test[:, None],
        held_out=np.zeros_like(real),
        returning=np.zeros_like(real),
        label_cutoff_day=int(block.week[real & in_test[:, None]].min()) + CUTOFF_DAYS_AFTER_MONDAY,
        description=(
            f"Trained on {' + '.join(train)}, calibrated on {calibration_share:.0%} of the people of {train[-1]}, "
            f"tested on {' + '.join(test)}; people of the test removed from training."
        ),
    )


def _require_ids(ids: Sequence[str], n_students: int) -> None:
    if len(ids) != n_students:
        msg = f"There are {len(ids)} ids for {n_students} students: pass one per student, in the block's order."
        raise InvalidInputError(msg)


def monthly_landmarks(block: FeatureBlock, eligible: Bool) -> Bool:
    """[N, S] one step per student and calendar month: the first eligible cutoff in it.

    The first, because whether it is eligible does not depend on what happens later in the month.
    """
    cutoff = np.where(eligible, block.week.astype(np.int64) + CUTOFF_DAYS_AFTER_MONDAY, 0)
    month = np.where(eligible, cutoff.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64), -(2**31))
    latest = np.maximum.accumulate(month, axis=1)
    previous = np.concatenate([np.full((len(month), 1), -(2**31), dtype=np.int64), latest[:, :-1]], axis=1)
    return eligible & (month > previous)
