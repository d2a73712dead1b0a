"""One run of `edupulse tune`: the trials, the winner fitted again beside the start, judged and registered."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.outcomes import risk_task
from edupulse_ml.evaluation.report import EvaluationReport
from edupulse_ml.training.search.searching import Search, SearchOptions, SearchPlace
from edupulse_ml.training.search.study import TrialRecord
from edupulse_ml.training.strategies import StrategyOptions
from jobs.experiment import Experiment, History, default_tasks, latest_test_year, set_up
from jobs.progress import progress_bars
from jobs.promotion.reasons import reasons_on_test
from jobs.recording import LiveRecord
from jobs.reporting import SPLIT_SEED, STRATEGY, TEST_YEAR, record_run, run_tags
from jobs.search_records import PARENT_RUN, SearchRecords, show_candidate, show_search
from jobs.stored_model import store_model
from jobs.tracking import Tracking
from jobs.tuning import Refitted, judge_refitted, refit, search_experiment
from jobs.tuning_request import TuningRequest
from jobs.wiring import JobContext, connected_to_ray


@dataclass(frozen=True)
class TunedVersion:
    """The registered candidate, and its report on the test people."""

    version: ModelVersion
    report: EvaluationReport


@dataclass(frozen=True)
class TuningRun:
    """One call of the job; of `context` only what needs no open connection is used."""

    context: JobContext
    request: TuningRequest
    place: SearchPlace
    concurrent: int | None
    record: LiveRecord
    console: Console

    def run(self, history: History) -> TunedVersion:
        request, settings = self.request, self.context.settings
        test_year = None if request.by_person else request.test_year or latest_test_year(history)
        experiment = set_up(
            history,
            test_year=test_year,
            tasks=default_tasks(risk_task(settings.risk_horizon_days)),
            window_weeks=settings.window_weeks,
            seed=request.seed,
        )
        base = request.start(settings, now=self.context.clock.now())
        request.save(self.place.folder)
        search = search_experiment(
            experiment,
            base=base,
            options=SearchOptions(request.trials, self.concurrent, request.windows),
            place=self.place,
        )
        name, ignored = self.place.folder.name, request.ignored.as_tags()
        tracking = Tracking(self.context)
        with tracking.run(f"search {name}", resumed_id=search.study.noted(PARENT_RUN)) as parent:
            if not self.place.resume:
                parent.set_tags(
                    {**run_tags(settings, experiment), STRATEGY: request.strategy, "search": name, **ignored}
                )
                parent.log_params(base.as_parameters())
            records = SearchRecords(search, parent)
            self._search(search, records)
            winner = replace(search.winner, boosted=replace(search.winner.boosted, threads=base.boosted.threads))
            tags = {
                TEST_YEAR: str(test_year or ""),
                SPLIT_SEED: str(request.seed),
                STRATEGY: request.strategy,
                "search": name,
                "trial": str(search.study.best.number),
                **ignored,
            }
            return self._register(experiment, winner, base, tags=tags, tracking=Tracking(self.context, parent.run_id))

    def _search(self, search: Search, records: SearchRecords) -> None:
        records.catch_up()
        total = self.request.trials
        self.record.step("searching")
        self.console.print(f"Search {self.place.folder.name}.", soft_wrap=True, highlight=False)
        with connected_to_ray(self.context.settings, needed=True), progress_bars(self.console) as bars:
            doing = bars.add_task("trials", total=total, completed=search.study.done)

            def ended(trial: TrialRecord) -> None:
                records.trial(trial)
                self.record.note(f"searching: {search.study.done} of {total} trials")
                reached = "" if trial.value is None else f" at {trial.value:.4f}"
                bars.update(doing, description=f"trial {trial.number} {trial.state}{reached}", advance=1)

            complete = search.run(ended=ended, is_stopped=lambda: self.record.is_stopped)
        records.summary()
        if not complete:
            self.console.print(
                f"Interrupted: {search.study.done} of {total} trials are kept. Go on with "
                f"`edupulse tune --resume {self.place.folder.name}`.",
                soft_wrap=True,
                highlight=False,
            )
            self.record.heed()
            raise KeyboardInterrupt
        records.winner()
        show_search(search, self.console)

    def _register(
        self,
        experiment: Experiment,
        winner: StrategyOptions,
        base: StrategyOptions,
        *,
        tags: Mapping[str, str],
        tracking: Tracking,
    ) -> TunedVersion:
        settings, started = self.context.settings, self.context.clock.now()
        own = replace(experiment, window_weeks=winner.champion.training.window_weeks)
        all_tags = run_tags(settings, own) | dict(tags)
        winner = replace(winner, champion=replace(winner.champion, metadata=all_tags))
        refitted = self._refit(experiment, winner, base)
        self.record.step("judging on the test year and on validation people")
        with progress_bars(self.console) as bars:
            bars.add_task("judging on the test year and on validation people", total=None)
            reports = judge_refitted(
                refitted,
                created_at=started.isoformat(timespec="seconds"),
                replicates=self.request.replicates,
                title=f"District {settings.district}",
            )
        trained = refitted.fitted.trained
        reports["test"] = replace(reports["test"], faithfulness=reasons_on_test(own, trained.model))
        self.record.step("registering")
        with tempfile.TemporaryDirectory(prefix="edupulse-tune-") as scratch:
            version = record_run(
                self.context.registry,
                tracking,
                store_model(refitted.fitted, own, Path(scratch) / "artifact", seed=self.request.seed),
                name=f"winner {started:%Y-%m-%d %H:%M}",
                fitted=refitted.fitted,
                options=winner,
                tags=all_tags,
                reports=reports,
            )
        show_candidate(
            version, reports, weeks=own.window_weeks, served_weeks=settings.window_weeks, console=self.console
        )
        return TunedVersion(version, reports["test"])

    def _refit(self, experiment: Experiment, winner: StrategyOptions, base: StrategyOptions) -> Refitted:
        with progress_bars(self.console) as bars:
            doing = bars.add_task("fitting the winner", total=None)

            def step(name: str) -> None:
                bars.update(doing, description=name)
                self.record.step(f"fitting the winner: {name}")

            def progress(metrics: Mapping[str, float]) -> None:
                bars.advance(doing)
                self.record.progress(metrics)

            return refit(experiment, winner=winner, base=base, step=step, progress=progress)
