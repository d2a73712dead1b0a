"""What every servable model says of itself, as the JSON of its folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from edupulse_ml.core.contract import FeatureContract, current_contract
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.core.outcomes import Task
from edupulse_ml.core.predictions import CategoryPolicy

STRATEGY_FILE: Final = "strategy.json"
MODEL_FILE: Final = "model.json"
FIRST_STRATEGY: Final = "gru"
"""What a folder without `STRATEGY_FILE` holds: it was written before there were others."""


class HasTerms(Protocol):
    """A model with the fields of `ModelTerms`."""

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


@dataclass(frozen=True)
class ModelTerms:
    """`task` is the question `risk_score` answers, `tasks` are all calibrated ones; `metadata` is for people."""

    contract: FeatureContract
    policy: CategoryPolicy
    task: Task
    tasks: tuple[Task, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


def terms_as_json(model: HasTerms) -> dict[str, Any]:
    """The terms as they are written to a model's folder."""
    return {
        "contract": asdict(model.contract),
        "policy": asdict(model.policy),
        "task": asdict(model.task),
        "tasks": [asdict(task) for task in model.tasks],
        "metadata": dict(model.metadata),
    }


def terms_from_json(stored: Mapping[str, Any]) -> ModelTerms:
    """Read what `terms_as_json` gave."""
    contract: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["contract"].items()}
    return ModelTerms(
        contract=FeatureContract(**contract),
        policy=CategoryPolicy(**stored["policy"]),
        task=Task(**stored["task"]),
        tasks=tuple(Task(**task) for task in stored["tasks"]),
        metadata=stored["metadata"],
    )


def write_strategy(directory: Path, strategy: str) -> None:
    """Name the strategy that the folder holds."""
    (directory / STRATEGY_FILE).write_text(json.dumps({"strategy": strategy}))


def stored_strategy(directory: Path) -> str:
    """The strategy that the folder holds."""
    path = directory / STRATEGY_FILE
    return json.loads(path.read_text())["strategy"] if path.is_file() else FIRST_STRATEGY


def require_files(directory: Path, names: tuple[str, ...]) -> None:
    """Return if the folder holds all of `names`.

    Raises:
        NotFoundError: some are missing; the message names them.
    """
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        msg = f"{directory} is not a trained model, it lacks {', '.join(missing)}: fetch it again or train a new one."
        raise NotFoundError(msg)


def require_this_release(contract: FeatureContract) -> None:
    """Return if this release computes the features of `contract`.

    Raises:
        ContractMismatchError: it does not.
    """
    contract.require_match(
        current_contract(
            window_weeks=contract.window_weeks, objective_discipline_only=contract.objective_discipline_only
        )
    )
