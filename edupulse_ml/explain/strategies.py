"""Explanations of every strategy that can be served."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.explain.explanation import ExplainableModel, Explanation, explain_batch
from edupulse_ml.models.strategies.protocol import ServableModel

ExplainBatch = Callable[[SequenceBatch], Sequence[Explanation]]
"""One explanation per example, in order."""


def explain_model(model: ServableModel) -> ExplainBatch:
    """The function that explains what `model` scores."""
    return partial(explain_batch, explainable(model))


def explainable(model: ServableModel) -> ExplainableModel:
    """What `explain_batch` and the tests of faithfulness ask of a model.

    Raises:
        InvalidInputError: the model is of no strategy that this release explains.
    """
    maker = _MAKERS.get(model.strategy)
    if maker is None:
        msg = f"Models of the strategy {model.strategy!r} cannot be explained: this release explains {', '.join(_MAKERS)}."
        raise InvalidInputError(msg)
    return maker(model)


def _gru(model: Any) -> ExplainableModel:
    from edupulse_ml.explain.artifact import ExplainableArtifact

    return ExplainableArtifact(model)


def _boosted(model: Any) -> ExplainableModel:
    from edupulse_ml.explain.boosted import ExplainableBoosted

    return ExplainableBoosted(model)


def _ensemble(model: Any) -> ExplainableModel:
    from edupulse_ml.explain.ensemble import ExplainableEnsemble

    return ExplainableEnsemble(model)


def _rules(model: Any) -> ExplainableModel:
    from edupulse_ml.explain.rules import ExplainableRules

    return ExplainableRules(model)


_MAKERS: dict[str, Callable[[Any], ExplainableModel]] = {
    "gru": _gru,
    "boosted": _boosted,
    "ensemble": _ensemble,
    "rules": _rules,
}
