"""A rival and its calibrators on disk."""

import numpy as np
import pytest

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.models.calibrated import CalibratedModel
from edupulse_ml.models.protocol import labelled_rows
from edupulse_ml.models.rivals.abc_rule import AbcRule
from edupulse_ml.models.rivals.chronic_absence import ChronicAbsence
from tests.fakes.training_data import make_training_data


def fitted(*models):
    train, later = (
        make_training_data(n_students=200, n_weeks=10, seed=s, hazard=h) for s, h in ((1, 0.002), (2, 0.01))
    )
    for model in models:
        model.fit(train, later, tasks=[risk_task()], window_weeks=4, seed=0, progress=lambda _: None)
    student, step = later.rows()
    return labelled_rows(later, student=student, step=step, window_weeks=4).batch


def test_it_ranks_as_the_rival_does():
    plain, calibrated = AbcRule(), CalibratedModel(AbcRule())
    batch = fitted(plain, calibrated)
    raw, answer = (model.predict(batch)["risk_score"] for model in (plain, calibrated))
    assert calibrated.name == "abc_rule"
    assert calibrated.calibrators["risk_score"].students_with_event >= 10
    order = np.argsort(raw, kind="stable")
    assert np.all(np.diff(answer[order]) >= 0)
    assert len(np.unique(raw)) == len(np.unique(answer))
    assert answer.mean() > raw.mean()


def test_the_kind_of_rival_is_read_back(tmp_path):
    calibrated = CalibratedModel(ChronicAbsence())
    batch = fitted(calibrated)
    calibrated.save(tmp_path / "model")
    again = CalibratedModel.load(tmp_path / "model")
    assert again.name == "chronic_absence"
    assert again.calibrators == calibrated.calibrators
    np.testing.assert_array_equal(again.predict(batch)["risk_score"], calibrated.predict(batch)["risk_score"])


def test_an_unfitted_or_unknown_model_is_not_saved(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be saved"):
        CalibratedModel(AbcRule()).save(tmp_path)

    class Other(AbcRule):
        name = "other"

    other = CalibratedModel(Other())
    fitted(other)
    with pytest.raises(InvalidInputError, match="one of base_rate"):
        other.save(tmp_path)
