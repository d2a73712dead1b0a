"""What may be asked of a training run over HTTP is what `edupulse train` takes."""

import inspect
from typing import Annotated, get_args, get_origin

import pytest
from annotated_types import Ge, Le
from pydantic import ValidationError

from edupulse_ml.config.settings import Settings
from edupulse_ml.config.training_order import TrainingOrder
from edupulse_ml.training.ensemble import DEFAULT_SEEDS
from edupulse_ml.training.strategies import DEFAULT_STRATEGY, STRATEGIES
from jobs.queued_run import ordered
from jobs.train import train

OPTIONS = inspect.signature(train).parameters
FIELDS = TrainingOrder.model_fields


def bounds(field: str) -> dict[str, float]:
    """Lower and upper limit of a field of the order."""
    kinds = {Ge: "ge", Le: "le"}
    return {
        kinds[type(limit)]: getattr(limit, kinds[type(limit)])
        for limit in FIELDS[field].metadata
        if type(limit) in kinds
    }


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_an_order_has_the_defaults_and_limits_of_the_command(field: str) -> None:
    option = OPTIONS[field]
    assert str(option.default) == str(FIELDS[field].default)
    assert get_origin(option.annotation) is Annotated
    info = get_args(option.annotation)[1]
    known = bounds(field)
    if info.min is not None:
        assert known["ge"] >= info.min
    if info.max is not None:
        assert known["le"] <= info.max


def test_strategies_and_their_defaults_are_those_that_can_be_trained() -> None:
    assert set(get_args(FIELDS["strategy"].annotation)) == set(STRATEGIES)
    assert (TrainingOrder().strategy, TrainingOrder().seeds) == (DEFAULT_STRATEGY, DEFAULT_SEEDS)


def test_an_order_becomes_a_training_request(tmp_path) -> None:
    order = TrainingOrder(
        strategy="gru", seeds=2, test_year=2024, epochs=7, seed=3, workers=2, replicates=99, promote=False
    )
    request = ordered(order, Settings(home=tmp_path, window_weeks=12), run_name="train-x")
    assert (request.strategy, request.seeds, request.test_year, request.promote) == ("gru", 2, 2024, False)
    assert (request.training.epochs, request.training.seed, request.training.window_weeks) == (7, 3, 12)
    assert request.workers is not None
    assert (request.workers.num_workers, request.workers.run_name, request.workers.resumes) == (2, "train-x", False)
    resumed = ordered(TrainingOrder(workers=2, resume="train-x"), Settings(home=tmp_path), run_name="train-x")
    assert resumed.workers is not None
    assert resumed.workers.resumes
    assert ordered(TrainingOrder(), Settings(home=tmp_path), run_name=None).workers is None


def test_the_digest_tells_orders_apart_and_knows_a_default_that_is_written_out() -> None:
    assert TrainingOrder(epochs=50).sha256 == TrainingOrder().sha256
    assert TrainingOrder(epochs=51).sha256 != TrainingOrder().sha256
    assert TrainingOrder.model_validate(TrainingOrder(seed=4).as_json()) == TrainingOrder(seed=4)


@pytest.mark.parametrize("text", ["", "../x", "a/b", "-x", "x" * 101, "a b", "x;y", "$(x)"])
def test_a_run_name_is_a_plain_word(text: str) -> None:
    with pytest.raises(ValidationError):
        TrainingOrder(resume=text, workers=1)
