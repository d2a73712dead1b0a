"""What `edupulse tune` is asked for, kept beside the search so that whoever resumes it need not say it again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from edupulse_ml.config.settings import Settings
from edupulse_ml.core.errors import NotFoundError
from edupulse_ml.training.ensemble import DEFAULT_SEEDS
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions
from edupulse_ml.training.search.searching import DEFAULT_TRIALS
from edupulse_ml.training.strategies import DEFAULT_STRATEGY, StrategyOptions
from jobs.check_data import NOTHING_IGNORED, IgnoredBlockers

_REQUEST_FILE: Final = "request.json"


@dataclass(frozen=True)
class TuningRequest:
    """What is searched and how the winner is fitted. `windows` are lengths beside the district's own; `seeds` are the
    winner's; `test_year`, `by_person` and `ignored` are those of `jobs.train`.
    """

    strategy: str = DEFAULT_STRATEGY
    trials: int = DEFAULT_TRIALS
    windows: tuple[int, ...] = ()
    epochs: int = 50
    seeds: int = DEFAULT_SEEDS
    seed: int = 0
    test_year: int | None = None
    by_person: bool = False
    allow_small: bool = False
    replicates: int = 1000
    ignored: IgnoredBlockers = NOTHING_IGNORED

    def parameters(self) -> Mapping[str, object]:
        """What is kept with the run."""
        asked = asdict(self)
        del asked["ignored"]
        return {**asked, **self.ignored.as_tags()}

    def start(self, settings: Settings, *, now: datetime) -> StrategyOptions:
        """The options that `edupulse train` would use, from which the search starts."""
        training = TrainingOptions(
            window_weeks=settings.window_weeks, epochs=self.epochs, seed=self.seed, allow_small=self.allow_small
        )
        champion = ChampionOptions(
            training=training,
            objective_discipline_only=settings.objective_discipline_only,
            policy_version=f"{now:%Y-%m-%d}.{self.seed}",
        )
        return StrategyOptions(self.strategy, self.seeds, champion)

    def save(self, folder: Path) -> None:
        """Keep the request, so that whoever resumes need not say it again."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _REQUEST_FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "TuningRequest":
        """The request of an earlier search.

        Raises:
            NotFoundError: the folder holds none.
        """
        path = folder / _REQUEST_FILE
        if not path.is_file():
            raise NotFoundError(f"There is no search in {folder}: check its name, or start it without `--resume`.")
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        ignored = stored.get("ignored", {"names": (), "reason": None})
        stored["ignored"] = IgnoredBlockers(tuple(ignored["names"]), ignored["reason"])
        return cls(**{**stored, "windows": tuple(stored["windows"])})
