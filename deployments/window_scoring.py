"""One batched forward over fetched windows, with reasons where they were asked for."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.messages import Explanation, FetchedWindows, ModelScores, ScoredStudents
from deployments.model_slot import LiveModel, LoadedModel
from edupulse_ml.core.errors import ContractMismatchError
from edupulse_ml.core.sequences import PAD, Int32, SequenceBatch

ATTENTION_WEEKS: Final = 3
"""Weeks shown; more would read like a list of reasons."""


def score_windows(live: LiveModel, fetched: FetchedWindows, *, with_reasons: Sequence[bool]) -> ScoredStudents:
    """Scores of all found students. `with_reasons` has one entry per student of `fetched.students`.

    Raises:
        ContractMismatchError: the windows were built for another contract than the model.
    """
    model = live.model
    if fetched.contract_fingerprint != model.contract.fingerprint:
        msg = "The feature fetcher and the model follow different feature contracts: deploy both from one release."
        raise ContractMismatchError(msg)
    wanted = [ask for ask, student in zip(with_reasons, fetched.students, strict=True) if student.status == "found"]
    scores = _scores(model, fetched.batch, wanted=np.asarray(wanted, dtype=np.bool_)) if wanted else _NO_SCORES
    return ScoredStudents(fetched.students, scores, live.version, model.policy.version)


def _scores(model: LoadedModel, batch: SequenceBatch, *, wanted: NDArray[np.bool_]) -> ModelScores:
    scores = model.score(batch)
    week, weight = _attention(batch.week, scores.attention, batch.length)
    return ModelScores(
        risk_score=np.asarray(scores.risk_score, dtype=np.float64),
        risk_60plus=np.asarray(scores.risk_60plus, dtype=np.float64),
        categories=model.policy.positions(scores.risk_score),
        attention_week=week,
        attention_weight=weight,
        explanations=_explanations(model, batch, wanted) if wanted.any() else {},
    )


def _explanations(model: LoadedModel, batch: SequenceBatch, wanted: NDArray[np.bool_]) -> Mapping[int, Explanation]:
    rows = np.flatnonzero(wanted).tolist()
    explained = model.explain(batch if wanted.all() else batch.select(wanted))
    return {row: Explanation(item.reasons, item.protective_factors) for row, item in zip(rows, explained, strict=True)}


def _attention(
    week: Int32, attention: NDArray[np.floating], length: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Weeks and weights of the steps with the greatest weight, heaviest first; the earlier week wins a tie. None for a
    strategy in which nothing attends.
    """
    real = (np.arange(week.shape[1]) < length[:, None]) & (attention.max(axis=1, initial=0.0, keepdims=True) > 0)
    order = np.argsort(np.where(real, -attention, np.inf), axis=1, kind="stable")[:, :ATTENTION_WEEKS]
    shown = np.take_along_axis(real, order, axis=1)
    weeks = np.where(shown, np.take_along_axis(week, order, axis=1), PAD).astype(np.int32)
    return weeks, np.take_along_axis(attention, order, axis=1).astype(np.float32)


_NO_SCORES: Final = ModelScores(
    risk_score=np.empty(0),
    risk_60plus=np.empty(0),
    categories=np.empty(0, np.int8),
    attention_week=np.empty((0, ATTENTION_WEEKS), np.int32),
    attention_weight=np.empty((0, ATTENTION_WEEKS), np.float32),
    explanations={},
)
