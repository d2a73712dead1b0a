"""One batched forward over fetched windows, with reasons where they were asked for."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.messages import FetchedWindows, ScoredStudents, StudentScore
from deployments.model_slot import Explained, LiveModel, LoadedModel
from edupulse_ml.core.errors import ContractMismatchError
from edupulse_ml.core.predictions import AttentionWeek
from edupulse_ml.core.sequences import Int32
from edupulse_ml.core.weeks import day_from_number

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
    wanted = np.asarray(
        [ask for ask, student in zip(with_reasons, fetched.students, strict=True) if student.status == "found"],
        dtype=np.bool_,
    )
    scores = tuple(_scores(model, fetched, wanted)) if len(wanted) else ()
    return ScoredStudents(fetched.students, scores, live.version, model.policy.version)


def _scores(model: LoadedModel, fetched: FetchedWindows, wanted: NDArray[np.bool_]) -> Iterator[StudentScore]:
    batch, length = fetched.batch, fetched.batch.length
    scores = model.score(batch)
    explained: Iterator[Explained] = iter(model.explain(batch.select(wanted)) if wanted.any() else ())
    for row in range(batch.n_examples):
        reasons = next(explained) if wanted[row] else None
        risk_score = float(scores.risk_score[row])
        yield StudentScore(
            risk_score=risk_score,
            risk_60plus=float(scores.risk_60plus[row]),
            category=model.policy.categorise(risk_score),
            attention_weeks=_attention_weeks(batch.week[row], scores.attention[row], int(length[row])),
            reasons=reasons.reasons if reasons else None,
            protective_factors=reasons.protective_factors if reasons else None,
        )


def _attention_weeks(week: Int32, attention: NDArray[np.floating], length: int) -> tuple[AttentionWeek, ...]:
    """The weeks with the greatest weight, heaviest first."""
    order = np.argsort(-attention[:length], kind="stable")[:ATTENTION_WEEKS]
    return tuple(AttentionWeek(day_from_number(int(week[t])), float(attention[t])) for t in order)
