"""The rules' levels, written out."""

import numpy as np
import pytest

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURE_INDEX, FEATURE_NAMES, SUPPORT_COLUMNS
from edupulse_ml.core.errors import InvalidInputError, NotEnoughDataError
from edupulse_ml.core.outcomes import risk_task, task_labels
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.models.labels import labelled_steps
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.models.rivals.abc_rule import AbcRule
from edupulse_ml.models.rivals.base_rate import BaseRate
from edupulse_ml.models.rivals.boosted import Boosted, BoostedOptions
from edupulse_ml.models.rivals.chronic_absence import ChronicAbsence
from edupulse_ml.models.rivals.logistic import Logistic
from tests.fakes.training_data import make_training_data

NAN = float("nan")


def one_week(**features):
    count = len(next(iter(features.values())))
    values = np.full((count, 1, len(FEATURE_NAMES)), np.nan, dtype=np.float32)
    for name, column in features.items():
        values[:, 0, FEATURE_INDEX[name]] = column
    return SequenceBatch(
        values=values,
        support=np.full((count, 1, len(SUPPORT_COLUMNS)), np.nan, dtype=np.float32),
        mask=np.ones((count, 1, 3), dtype=bool),
        aux=np.full((count, 1, len(AUX_COLUMNS)), 0.25, dtype=np.float32),
        context=np.full((count, len(CONTEXT_COLUMNS)), np.nan, dtype=np.float32),
        week=np.full((count, 1), 18_875, dtype=np.int32),
        grade_level=np.full((count, 1), 9, dtype=np.int32),
    )


@pytest.mark.parametrize(
    ("absent", "suspended", "failing", "level"),
    [
        (0.05, 0.0, 0.0, 0),
        (0.10, 0.0, 0.0, 1),
        (0.099, 0.0, 1.0, 1),
        (0.2, 1.0, 0.0, 2),
        (0.2, 3.0, 2.0, 3),
        (NAN, 0.0, 1.0, 1),
        (NAN, NAN, 0.0, 0),
        (NAN, NAN, NAN, 4),
    ],
)
def test_abc_levels(absent, suspended, failing, level):
    week = one_week(absence_rate_ytd=[absent], oss_days_ytd=[suspended], core_courses_failing_count=[failing])
    assert AbcRule().levels(week).tolist() == [level]


def test_chronic_absence_levels():
    assert ChronicAbsence().levels(one_week(chronic_absence_tier=[0, 1, 2, 3, NAN])).tolist() == [0, 1, 2, 3, 4]


def test_base_rate_levels_are_grade_and_time_of_year():
    rule, week = BaseRate(), one_week(gpa_current_term=[1, 2])
    levels = rule.levels(week)
    assert levels[0] == levels[1]
    week.grade_level[1] = 10
    assert len(set(rule.levels(week).tolist())) == 2
    week.grade_level[1], week.aux[1, 0, 1] = 9, 0.75
    assert len(set(rule.levels(week).tolist())) == 2
    assert rule.levels(week).max() < rule.n_levels


def test_a_level_has_its_frequency_in_training():
    data = make_training_data(n_students=2000, n_weeks=8, seed=0, hazard=0.001)
    rule = ChronicAbsence()
    rule.fit(data, data, tasks=[risk_task()], window_weeks=20, seed=0, progress=lambda _: None)
    student, step = data.rows()
    rows = labelled_rows(data, student=student, step=step, window_weeks=1)
    label = task_labels(rows.outcomes, cutoff_day=rows.cutoff_day, task=risk_task())
    answer = rule.predict(rows.batch)["risk_score"]
    level = rule.levels(rows.batch)
    for value in range(5):
        chosen = (level == value) & (label >= 0)
        assert answer[level == value][0] == pytest.approx(label[chosen].mean(), abs=0.005)


def test_sampling_rows_is_seeded_and_in_order():
    data = make_training_data(n_students=50, n_weeks=10, seed=0)
    first = labelled_steps(data, tasks=[risk_task()], max_rows=100, seed=4)
    second = labelled_steps(data, tasks=[risk_task()], max_rows=100, seed=4)
    assert len(first.student) == 100
    np.testing.assert_array_equal(first.step, second.step)
    assert np.all(np.diff(first.student) >= 0)
    assert np.any(labelled_steps(data, tasks=[], max_rows=100, seed=5).step != first.step)


def test_a_refusal_counts_the_events():
    data = make_training_data(n_students=50, n_weeks=10, seed=0)
    data.outcomes.event_day[:] = NEVER
    with pytest.raises(NotEnoughDataError, match="from 0 student-weeks with the event"):
        AbcRule().fit(data, data, tasks=[risk_task()], window_weeks=8, seed=0, progress=lambda _: None)


@pytest.mark.parametrize("model", [AbcRule(), Logistic(), Boosted()])
def test_an_unfitted_model_says_so(model):
    with pytest.raises(InvalidInputError, match="has not been fitted"):
        model.predict(one_week(gpa_current_term=[1]))


def test_with_monotone_constraints_more_absence_never_lowers_the_risk():
    data = make_training_data(n_students=300, n_weeks=12, seed=0, hazard=0.003)
    model = Boosted(options=BoostedOptions(rounds=30, threads=1, monotone=True))
    model.fit(data, data, tasks=[risk_task()], window_weeks=8, seed=0, progress=lambda _: None)
    student, step = data.rows()
    batch = labelled_rows(data, student=student[::20], step=step[::20], window_weeks=1).batch
    before = model.predict(batch)["risk_score"]
    batch.values[:, :, FEATURE_INDEX["absence_rate_ytd"]] += 0.3
    assert np.all(model.predict(batch)["risk_score"] >= before - 1e-9)
