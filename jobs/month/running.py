"""Goes through the steps of a month: each is done once, and what was killed goes on with the step that is not done."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

import structlog
from rich.console import Console

from edupulse_ml.core.errors import ConflictError, EduPulseError
from edupulse_ml.storage.monthly_runs import MonthlyRun, MonthlyRunStore, MonthlyRunWriter, MonthOutcome
from jobs.month.results import StepResult, UnreadableResultError, from_stored, to_stored

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")

Failpoint = Callable[[str], None]
"""Told `begun STEP`, `worked STEP` (done, and not noted yet) and `noted STEP`; a test ends the process in it."""


@dataclass(frozen=True)
class Month:
    """The run and the results of the steps that are done, by their names."""

    run: MonthlyRun
    results: Mapping[str, StepResult] = field(default_factory=dict)

    def find(self, kind: type[_Result]) -> _Result | None:
        """The result of that kind; None where its step was left out or is still to be done."""
        return next((result for result in self.results.values() if isinstance(result, kind)), None)

    def of(self, kind: type[_Result]) -> _Result:
        """The result of that kind.

        Raises:
            LookupError: its step is not done, so the steps are in the wrong order.
        """
        found = self.find(kind)
        if found is None:
            raise LookupError(f"no step has left a {kind.__name__} yet")
        return found


@dataclass(frozen=True)
class Step:
    """One step. `kind` is the class of what `do` returns, which must be safe to do again: whoever is killed in it, or
    after it and before the result is noted, starts it anew. Steps with `when_blocked` false are left out once the data
    have been found unfit.
    """

    name: str
    title: str
    kind: type
    do: Callable[[Month], Awaitable[StepResult]]
    when_blocked: bool = False


@dataclass(frozen=True)
class MonthPlan:
    """What a month consists of. `is_blocked` says whether the steps done so far forbid the others; `outcome` what came of
    it once all are done. `parameters`, in JSON, are what was asked for; those named in `may_differ` may be others when an
    unfinished run is gone on with.
    """

    steps: Sequence[Step]
    is_blocked: Callable[[Month], bool]
    outcome: Callable[[Month], MonthOutcome]
    parameters: Mapping[str, object] = field(default_factory=dict)
    may_differ: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MonthEnd:
    """How a month ended. `was_finished`: it had, before this call, which did nothing."""

    month: Month
    outcome: MonthOutcome
    was_finished: bool


def nowhere(_: str) -> None:
    """The failpoint of every run but a test's: it does nothing."""


async def run_month(
    store: MonthlyRunStore,
    month: date,
    plan: MonthPlan,
    *,
    console: Console,
    again: bool = False,
    failpoint: Failpoint = nowhere,
) -> MonthEnd:
    """Run the month that begins on `month`, or go on with its unfinished run. A finished one is left alone unless `again`;
    one that was blocked by its data starts anew, also where it was ended before its report. With `again`, so does an
    unfinished one that was begun with other options.

    Raises:
        ConflictError: the unfinished run was begun with other options, and it is not to be run `again`.
        MonthUnderWayError: another process is running a month of this district.
        EduPulseError: a step failed; the same call goes on with it.
    """
    async with store.exclusive() as writer:
        run = await store.latest(month)
        if run is not None and run.outcome is not None and run.outcome != "blocked" and not again:
            return MonthEnd(await _read(store, run, plan), run.outcome, was_finished=True)
        begun = (
            None
            if run is None or run.outcome is not None
            else await _to_go_on_with(store, run, plan, console, again=again)
        )
        if begun is None:
            begun = Month(await writer.begin(month, parameters=plan.parameters))
        done = await _go_through(plan, begun, writer, console=console, failpoint=failpoint)
        outcome = plan.outcome(done)
        await writer.finish(done.run, outcome=outcome)
        return MonthEnd(done, outcome, was_finished=False)


async def _to_go_on_with(
    store: MonthlyRunStore, run: MonthlyRun, plan: MonthPlan, console: Console, *, again: bool
) -> Month | None:
    """The unfinished run as far as it is done; None where the month is to be run anew: another release has begun that
    run, its data, which may be mended by now, blocked it, or it had other options and is to be run `again`.

    Raises:
        ConflictError: it had other options.
    """
    began = f"the run of {run.name} that began on {run.started_at:%Y-%m-%d %H:%M} UTC"
    try:
        begun = await _read(store, run, plan)
    except UnreadableResultError:
        console.print(f"Leaving {began}: another release began it. The month is run anew.")
        return None
    if plan.is_blocked(begun):
        console.print(f"Leaving {began}: its records were unfit. The month is run anew.")
        return None
    differing = _differing(run, plan)
    if differing and again:
        console.print(f"Leaving {began}: it had other values of {', '.join(differing)}. The month is run anew.")
        return None
    if differing:
        raise ConflictError(
            f"{began[0].upper()}{began[1:]} is not finished, and was begun with {_told(run.parameters, differing)}; this "
            f"call has {_told(plan.parameters, differing)}. Give it the same options, or --again to run the month anew."
        )
    console.print(f"Going on with {began}.")
    return begun


def _differing(run: MonthlyRun, plan: MonthPlan) -> list[str]:
    """Names of the options of the run that the plan has other values of. One that only one of them knows is another
    release's, and does not count.
    """
    known = run.parameters.keys() & plan.parameters.keys() - plan.may_differ
    return sorted(name for name in known if run.parameters[name] != plan.parameters[name])


def _told(parameters: Mapping[str, object], names: Sequence[str]) -> str:
    return ", ".join(f"{name}={parameters[name]}" for name in names)


async def read_results(store: MonthlyRunStore, run: MonthlyRun, kinds: Mapping[str, type]) -> Month:
    """A run with the results of those of its steps that are done; `kinds` says of which class each step's is.

    Raises:
        UnreadableResultError: one of them was stored by another release.
    """
    stored = await store.steps(run)
    return Month(
        run,
        {
            name: from_stored(kinds[name], step.result)
            for name, step in stored.items()
            if step.result is not None and name in kinds
        },
    )


async def _read(store: MonthlyRunStore, run: MonthlyRun, plan: MonthPlan) -> Month:
    return await read_results(store, run, {step.name: step.kind for step in plan.steps})


async def _go_through(
    plan: MonthPlan, month: Month, writer: MonthlyRunWriter, *, console: Console, failpoint: Failpoint
) -> Month:
    for position, step in enumerate(plan.steps, start=1):
        told = f"{position} of {len(plan.steps)}: {step.title}"
        if step.name in month.results:
            console.print(f"{told} (done before)")
        elif step.when_blocked or not plan.is_blocked(month):
            console.print(told)
            result = await _do(step, month, writer, failpoint)
            month = Month(month.run, {**month.results, step.name: result})
    return month


async def _do(step: Step, month: Month, writer: MonthlyRunWriter, failpoint: Failpoint) -> StepResult:
    await writer.begin_step(month.run, step.name)
    failpoint(f"begun {step.name}")
    try:
        result = await step.do(month)
    except BaseException as error:
        # Only our own sentences are free of student data; of anything else the kind of error is kept.
        told = str(error) if isinstance(error, EduPulseError) else type(error).__name__
        _log.info("month", step=step.name, status="failed", error_type=type(error).__name__)
        await writer.fail_step(month.run, step.name, error=told)
        raise
    failpoint(f"worked {step.name}")
    await writer.finish_step(month.run, step.name, result=to_stored(result))
    _log.info("month", step=step.name, status="finished")
    failpoint(f"noted {step.name}")
    return result
