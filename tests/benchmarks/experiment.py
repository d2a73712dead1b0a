"""A district's history in memory, split for training; and a champion made of it."""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.core.weeks import day_number
from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.simulation.settings import DistrictPlan
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.pipeline import ChampionOptions, train_champion
from features.compute import compute_features
from jobs.experiment import Experiment, History, default_tasks, set_up
from tests.benchmarks.district import FIRST_YEAR, LAST_WEEK, SEED, canonical_records

_YEARS = 3
_HORIZON_DAYS = 180


@dataclass(frozen=True)
class TrainingSet:
    """Three school years of a synthetic district, split by year and person."""

    experiment: Experiment
    options: TrainingOptions


def training_set(students: int, *, window_weeks: int, epochs: int) -> TrainingSet:
    """The split of a district with `students` enrolled each year; the last year, to be tested on, is `FIRST_YEAR`."""
    plan = DistrictPlan(students=students, years=_YEARS, seed=SEED, first_year=FIRST_YEAR - _YEARS + 1)
    found = canonical_records(plan)
    history = History(
        block=compute_features(found.records, through_week=LAST_WEEK),
        exits=found.exits,
        person_ids=found.person_ids,
        known_day=day_number(date(FIRST_YEAR + 1, 10, 2)),
    )
    options = TrainingOptions(window_weeks=window_weeks, epochs=epochs, patience=epochs, allow_small=True, seed=SEED)
    experiment = set_up(
        history,
        test_year=FIRST_YEAR,
        tasks=default_tasks(risk_task(_HORIZON_DAYS)),
        window_weeks=window_weeks,
        seed=SEED,
    )
    return TrainingSet(experiment, options)


def train_artifact(found: TrainingSet, *, seed: int) -> ModelArtifact:
    """A champion trained for as many epochs as the options say."""
    trained = train_champion(
        found.experiment.train,
        found.experiment.calibration,
        held_out=found.experiment.held_out,
        tasks=found.experiment.tasks,
        options=ChampionOptions(training=replace(found.options, seed=seed), policy_version="bench"),
        progress=lambda _: None,
    )
    return trained.artifact


def save_artifact(artifact: ModelArtifact, folder: Path) -> Path:
    """Write the artifact's files; the folder."""
    artifact.save(folder)
    return folder
