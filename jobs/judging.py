"""Judges what was trained, beside its members and rivals: on the test people, and on returning students."""

from dataclasses import replace
from datetime import datetime

from rich.console import Console

from edupulse_ml.config.settings import Settings
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.models.rivals.boosted import Boosted
from jobs.experiment import Experiment, judge
from jobs.fitting import FittedModels
from jobs.progress import progress_bars
from jobs.promotion.reasons import reasons_on_test
from jobs.unseen_schools import judge_short_records


def judge_on_test_year(
    experiment: Experiment,
    fitted: FittedModels,
    settings: Settings,
    *,
    replicates: int,
    started: datetime,
    console: Console,
) -> dict[str, EvaluationReport]:
    """Reports by name: `test` on the test people and, for the trained model and LightGBM, `returning` on returning students,
    where there are any. `test` says too what the model is worth for students who are new to the records.
    """
    champion = fitted.trained.model.strategy
    with progress_bars(console) as bars:
        doing = bars.add_task("judging on the test year", total=2)
        on_test = judge(
            experiment,
            fitted.predict,
            title=f"District {settings.district}",
            created_at=started.isoformat(timespec="seconds"),
            replicates=replicates,
            seed=0,
            champion=champion,
        )
        bars.advance(doing)
        new_students = judge_short_records(
            experiment, fitted.trained.model.predict, name=champion, replicates=replicates, seed=0
        )
        reasons = reasons_on_test(experiment, fitted.trained.model)
        reports = {"test": replace(on_test, faithfulness=reasons, generalisation=new_students)}
        if experiment.returning.eligible.any():
            few = {name: fitted.predict[name] for name in (champion, Boosted.name)}
            reports["returning"] = judge(
                replace(experiment, test=experiment.returning),
                few,
                title=f"District {settings.district}: returning students",
                created_at=started.isoformat(timespec="seconds"),
                replicates=replicates,
                seed=0,
                champion=champion,
                notes=("The same students' earlier years were learned from: the deployment case.",),
            )
        bars.advance(doing)
    return reports
