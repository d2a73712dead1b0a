"""What can be served, whatever it was learned with: the strategies that the registry chooses between."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FeatureContract
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.predictions import CategoryPolicy
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.scores import Scores


class ServableModel(Protocol):
    """A fitted, calibrated model with the contract it was fitted for. All pass `tests/contract/test_strategies.py`.

    `strategy` is its name in `loading.SERVABLE`; `task` is the question that `risk_score` answers, `tasks` are all that
    `predict` answers; `metadata` says in words how and on what it was trained.
    """

    @property
    def strategy(self) -> str: ...

    @property
    def contract(self) -> FeatureContract: ...

    @property
    def policy(self) -> CategoryPolicy: ...

    @property
    def task(self) -> Task: ...

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    def score(self, batch: SequenceBatch) -> Scores:
        """Calibrated scores, one per example; row i depends on example i only. May be called by several threads.

        Raises:
            ContractMismatchError: this release's features are not those the model was trained on.
        """
        ...

    def predict(self, batch: SequenceBatch) -> Mapping[str, NDArray[np.float64]]:
        """Calibrated probability per task, each [B]; raises as `score` does."""
        ...

    def save(self, directory: Path) -> float:
        """Write the model into one flat folder, made if missing; the largest difference between what is served from it
        and what was trained, 0 where both are the same.
        """
        ...
