"""Copies of a model that are bad on purpose, each in one way, to see that the gate refuses them for it."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.sequences import PAD, SequenceBatch
from edupulse_ml.explain.explanation import ExplainableModel, ExplainedBatch
from jobs.experiment import History
from jobs.promotion.contenders import Contender

Change = Callable[[NDArray[np.float64], SequenceBatch], NDArray[np.float64]]
"""(probability [B], batch) -> probability [B]"""

RAISED_LOGITS: Final = 4.0
"""What a group's scores are raised by: from 2 % to more than half, so that a list holds hardly anybody else."""
_NEVER_CERTAIN: Final = 1e-4
_FEWEST_OF_A_GROUP: Final = 200
"""Students of the group and outside of it; with fewer, intervals of errors are wider than any limit."""


@dataclass(frozen=True)
class Changed:
    """A model whose answers go through `change`; all else is the model's."""

    inner: Any
    change: Change

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        return {task: self.change(answer, batch) for task, answer in self.inner.predict(batch).items()}


@dataclass(frozen=True)
class ReasonsOfOthers:
    """Explains each student by the attributions of another one."""

    inner: ExplainableModel

    def typical_values(self, batch: SequenceBatch) -> NDArray[np.float32]:
        return self.inner.typical_values(batch)

    def attributed(self, batch: SequenceBatch) -> ExplainedBatch:
        honest = self.inner.attributed(batch)
        return replace(honest, attribution=np.roll(honest.attribution, 1, axis=0))


@dataclass(frozen=True)
class RaisedGroup:
    """Raises the scores of one group of an audit attribute. No model input holds the group, so students are known by
    what stands in their records in the scored week.
    """

    attribute: str
    group: str
    members: frozenset[int]

    @classmethod
    def of(cls, history: History, attribute: str, group: str) -> Self:
        """The group's student-weeks of the history."""
        belongs = np.array([value == group for value in history.audit[attribute]])
        block = history.block
        student, step = np.nonzero((block.week != PAD) & belongs[:, None])
        return cls(attribute, group, frozenset(_keys(block.week[student, step], block.values[student, step])))

    def __call__(self, answer: NDArray[np.float64], batch: SequenceBatch) -> NDArray[np.float64]:
        row, last = np.arange(batch.n_examples), batch.length - 1
        keys = _keys(batch.week[row, last], batch.values[row, last])
        inside = np.array([key in self.members for key in keys], dtype=np.bool_)
        return raised(answer, inside)


def as_it_is(original: Contender) -> Contender:
    """A copy under another name."""
    return replace(original, version=ModelVersion(f"{original.version}-copy"))


def with_answers(original: Contender, name: str, change: Change) -> Contender:
    """A copy with other answers, served and in its reference alike; its reasons, and the networks behind them, stay."""
    changed: Any = Changed(original.model, change)
    version = ModelVersion(f"{original.version}-{name}")
    return replace(original, version=version, model=changed, exact=changed, reference=changed)


def with_reasons_of_others(original: Contender) -> Contender:
    """A copy that gives each student somebody else's reasons."""
    version = ModelVersion(f"{original.version}-unfaithful")
    return replace(original, version=version, explained=ReasonsOfOthers(original.explained))


def scores_of_others(answer: NDArray[np.float64], batch: SequenceBatch) -> NDArray[np.float64]:
    """Each student's score is somebody else's."""
    del batch
    return np.clip(np.random.default_rng(0).permutation(answer), _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)


def raised(answer: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Answers that are `RAISED_LOGITS` higher for those `inside` [B]."""
    held = np.clip(answer, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)
    return 1 / (1 + np.exp(-(np.log(held / (1 - held)) + RAISED_LOGITS * inside)))


def most_even_group(history: History) -> tuple[str, str] | None:
    """(attribute, group) whose group is nearest to half of those with a value; None where no group is large enough."""
    found: list[tuple[float, str, str]] = []
    for attribute, values in history.audit.items():
        counts = Counter(value for value in values if value is not None)
        known = counts.total()
        found += [
            (abs(n / known - 0.5), attribute, group)
            for group, n in counts.items()
            if min(n, known - n) >= _FEWEST_OF_A_GROUP
        ]
    if not found:
        return None
    _, attribute, group = min(found)
    return attribute, group


def _keys(week: NDArray[np.int32], values: NDArray[np.float32]) -> list[int]:
    rows = np.ascontiguousarray(values)
    return [hash((monday, row.tobytes())) for monday, row in zip(week.tolist(), rows, strict=True)]
