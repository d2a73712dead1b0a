"""Computes stored predictions again, from the model's version and the records as they were known to it."""

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo

from edupulse_ml.core.errors import ContractMismatchError, NotFoundError
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.predictions import Prediction
from edupulse_ml.core.rescoring import differences
from edupulse_ml.core.sequences import SequenceBatch, last_windows
from edupulse_ml.core.sufficiency import coverage_of
from edupulse_ml.core.weeks import cutoff_of, day_from_number, last_closed_week
from edupulse_ml.explain.strategies import explain_model
from edupulse_ml.models.strategies import ServableModel, load_strategy
from edupulse_ml.storage.past_records import PastRecordReader
from edupulse_ml.storage.stored_predictions import StoredPrediction
from features.compute import FeatureOptions, compute_features

if TYPE_CHECKING:
    from jobs.wiring import JobContext

ACTOR: Final = "job:replay"
ACTION: Final = "replay"
_MODELS_HELD: Final = 4
_STUDENTS_AT_ONCE: Final = 1000

Outcome = Literal["same", "differs", "impossible"]


@dataclass(frozen=True)
class Replayed:
    """What became of one prediction. `told` says what differs, or why it cannot be computed again; `last_import` is the
    last import that it had seen, None where no state of the records gives it.
    """

    prediction: Prediction
    outcome: Outcome
    told: tuple[str, ...] = ()
    last_import: int | None = None


@dataclass(frozen=True)
class _Group:
    """What predictions that can be computed together have in common: the imports that they may have seen, the
    likeliest first, are the same.
    """

    model_version: ModelVersion
    through_week: int
    imports: tuple[int, ...]


class Replayer:
    """Replays predictions of the context's district."""

    def __init__(self, context: "JobContext") -> None:
        self._context = context
        self._past = PastRecordReader(context.database)
        self._model: Callable[[ModelVersion], ServableModel] = lru_cache(_MODELS_HELD)(self._load)

    async def replay(self, stored: Sequence[StoredPrediction]) -> list[Replayed]:
        """What became of each, in the order given; that they were read is audited first.

        Raises:
            DependencyDownError: PostgreSQL or the registry does not answer.
        """
        zone = ZoneInfo((await self._context.reader.district()).timezone)
        groups: dict[_Group, list[StoredPrediction]] = defaultdict(list)
        for item in stored:
            prediction = item.prediction
            await self._context.predictions.audit(
                actor=ACTOR,
                action=ACTION,
                outcome="read",
                request_id=prediction.prediction_id,
                student_id=prediction.student_id,
            )
            week = last_closed_week(prediction.as_of, zone)
            groups[_Group(prediction.model_version, week, await self._imports(prediction))].append(item)
        done: dict[str, Replayed] = {}
        for group, items in groups.items():
            for start in range(0, len(items), _STUDENTS_AT_ONCE):
                for found in await self._group(group, items[start : start + _STUDENTS_AT_ONCE], zone):
                    done[found.prediction.prediction_id] = found
        return [done[item.prediction.prediction_id] for item in stored]

    async def _imports(self, prediction: Prediction) -> tuple[int, ...]:
        """Windows out of a folder were read when the folder was written, which is the moment scored for."""
        possible = await self._past.possible_imports(prediction.created_at)
        return tuple(dict.fromkeys([*possible, await self._past.last_import(prediction.as_of)]))

    async def _group(self, group: _Group, items: Sequence[StoredPrediction], zone: ZoneInfo) -> list[Replayed]:
        try:
            model = await asyncio.to_thread(self._model, group.model_version)
            found: dict[str, Replayed] = {}
            for last_import in group.imports:
                left = [item for item in items if not _is_same(found.get(item.prediction.prediction_id))]
                if not left:
                    break
                for replayed in await self._as_of_import(model, group, last_import, left, zone):
                    found.setdefault(replayed.prediction.prediction_id, replayed)
                    if replayed.outcome == "same":
                        found[replayed.prediction.prediction_id] = replayed
        except (NotFoundError, ContractMismatchError) as error:
            return [Replayed(item.prediction, "impossible", (str(error),)) for item in items]
        return [found[item.prediction.prediction_id] for item in items]

    async def _as_of_import(
        self,
        model: ServableModel,
        group: _Group,
        last_import: int,
        items: Sequence[StoredPrediction],
        zone: ZoneInfo,
    ) -> list[Replayed]:
        keys = list(dict.fromkeys(item.student_key for item in items))
        records = await self._past.records_of(keys, as_of=cutoff_of(group.through_week, zone), last_import=last_import)
        options = FeatureOptions(objective_discipline_only=model.contract.objective_discipline_only)
        block = await asyncio.to_thread(compute_features, records, through_week=group.through_week, options=options)
        position = {key: row for row, key in enumerate(keys)}
        rows = [position[item.student_key] for item in items]
        windows = last_windows(block, window_weeks=model.contract.window_weeks).select(rows)
        again = await asyncio.to_thread(_computed, model, windows, [item.prediction for item in items])
        return [
            Replayed(item.prediction, "differs" if told else "same", told, None if told else last_import)
            for item, computed in zip(items, again, strict=True)
            for told in [_differences(item.prediction, computed)]
        ]

    def _load(self, version: ModelVersion) -> ServableModel:
        return load_strategy(self._context.registry.fetch(version).path)


def _is_same(replayed: Replayed | None) -> bool:
    return replayed is not None and replayed.outcome == "same"


def _differences(stored: Prediction, again: Prediction | None) -> tuple[str, ...]:
    if again is None:
        return ("features: the student has no instructional week up to the one that was scored",)
    return differences(stored, again)


def _computed(model: ServableModel, windows: SequenceBatch, stored: Sequence[Prediction]) -> list[Prediction | None]:
    """Each prediction with what the model says of its window; None for a window without a week."""
    scores = model.score(windows)
    with_reasons = [row for row, prediction in enumerate(stored) if prediction.reasons is not None]
    explained = explain_model(model)(windows.select(with_reasons)) if with_reasons else ()
    reasons = dict(zip(with_reasons, explained, strict=True))
    coverage, length = coverage_of(windows), windows.length
    again: list[Prediction | None] = []
    for row, prediction in enumerate(stored):
        if length[row] == 0:
            again.append(None)
            continue
        risk = float(scores.risk_score[row])
        again.append(
            dataclasses.replace(
                prediction,
                feature_week=day_from_number(int(windows.week[row, length[row] - 1])),
                policy_version=model.policy.version,
                risk_score=risk,
                risk_60plus=float(scores.risk_60plus[row]),
                category=model.policy.categorise(risk),
                coverage=coverage[row],
                reasons=reasons[row].reasons if row in reasons else None,
                protective_factors=reasons[row].protective_factors if row in reasons else None,
            )
        )
    return again
