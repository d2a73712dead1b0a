"""Which policy a job judges by: its option's, else its setting's, else the release's; and that every job asks so."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
import yaml
from rich.console import Console

from edupulse_ml.config.settings import Settings, load_settings
from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.promotion_policy import load_policy
from edupulse_ml.monitoring.data_policy import load_data_policy
from edupulse_ml.storage.monthly_runs import MonthlyRun
from edupulse_ml.training.options import TrainingOptions
from edupulse_ml.training.search.searching import SearchPlace
from jobs import check_data, gate_drill, monitor, monthly, policies, promote, train, tune
from jobs.month import gate, steps
from jobs.month.request import CandidateOptions, MonthRequest
from jobs.month.results import Trained
from jobs.month.running import Month
from jobs.month.work import MonthWork
from jobs.preflight import Check, run_checks
from jobs.tuning_request import TuningRequest
from tests.fakes.clocks import FixedClock
from tests.fakes.store_world import NOW

QUIET = Console(quiet=True)
MONTH = MonthRequest(CandidateOptions("boosted", 1, 1, 0, 0, False, 10, True))


class SeenError(Exception):
    """The job has come to what the test looks at."""


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a district that keeps both policies in the folder where its commands run; the versions say whose."""
    monkeypatch.chdir(tmp_path)
    for name, policy in (("promotion", load_policy()), ("data", load_data_policy())):
        for whose in ("ours", "option"):
            text = yaml.safe_dump({**policy.model_dump(mode="json"), "version": f"{whose}-{name}"})
            (tmp_path / f"{whose}-{name}.yaml").write_text(text)
        monkeypatch.setenv(f"EDUPULSE_{name.upper()}_POLICY", f"ours-{name}.yaml")
    monkeypatch.setenv("EDUPULSE_HOME", str(tmp_path / "home"))
    return load_settings()


def stopping(seen: list[Any], *, keyword: str):
    """A stand-in for the work of a job, which ends it and keeps one argument."""

    async def stop(*_: object, **arguments: Any) -> None:
        seen.append(arguments[keyword])
        raise SeenError

    return stop


def patch_stores(monkeypatch: pytest.MonkeyPatch, module: Any, settings: Settings) -> None:
    """No stores, and nothing to read from them."""

    @asynccontextmanager
    async def open_context(*_: object, **__: object) -> AsyncGenerator[SimpleNamespace, None]:
        yield SimpleNamespace(settings=settings, clock=FixedClock(NOW), database=None)

    @asynccontextmanager
    async def recorded_run(*_: object, **__: object) -> AsyncGenerator[Any, None]:
        async def succeed(*_: object, **__: object) -> None:
            return None

        yield SimpleNamespace(succeed=succeed, step=lambda _: None)

    async def nothing(*_: object, **__: object) -> None:
        return None

    for name, stand_in in (
        ("open_context", open_context),
        ("recorded_run", recorded_run),
        ("materialise_pending", nothing),
        ("load_history", nothing),
    ):
        monkeypatch.setattr(module, name, stand_in, raising=False)


def request(**options: Any) -> train.TrainingRequest:
    return train.TrainingRequest(TrainingOptions(), **options)


def test_an_option_wins_over_a_setting_and_that_over_the_release(ours: Settings, tmp_path: Path) -> None:
    option = tmp_path / "option-promotion.yaml"
    assert policies.promotion_policy(ours, option=option).version == "option-promotion"
    assert policies.promotion_policy(ours).version == "ours-promotion"
    assert policies.watch_policy(ours)[0] == "ours-promotion"
    assert policies.data_policy(ours, option=tmp_path / "option-data.yaml").version == "option-data"
    assert policies.data_policy(ours).version == "ours-data"
    unset = Settings()
    assert policies.promotion_policy(unset.model_copy(update={"promotion_policy": None})) == load_policy()
    assert policies.data_policy(unset.model_copy(update={"data_policy": None})) == load_data_policy()


def test_a_relative_path_is_taken_from_the_folder_that_the_settings_were_read_in(
    ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ours.promotion_policy == tmp_path / "ours-promotion.yaml"
    assert policies.data_policy(ours).version == "ours-data"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDUPULSE_DATA_POLICY", "~/ours-data.yaml")
    assert load_settings().data_policy == tmp_path / "ours-data.yaml"


def test_a_file_that_is_missing_or_wrong_is_named_with_the_setting_that_names_it(
    ours: Settings, tmp_path: Path
) -> None:
    (tmp_path / "ours-promotion.yaml").unlink()
    (tmp_path / "ours-data.yaml").write_text("version: '2'\nno_such_rule: 3\n")
    with pytest.raises(InvalidInputError, match=r"^EDUPULSE_PROMOTION_POLICY: The policy .*ours-promotion.yaml cannot"):
        policies.promotion_policy(ours)
    with pytest.raises(InvalidInputError, match=r"^EDUPULSE_PROMOTION_POLICY: "):
        policies.watch_policy(ours)
    with pytest.raises(InvalidInputError, match=r"^EDUPULSE_DATA_POLICY: The policy .*ours-data.yaml .*no_such_rule"):
        policies.data_policy(ours)
    with pytest.raises(InvalidInputError, match=r"^The policy .*none.yaml cannot be read"):
        policies.data_policy(ours, option=tmp_path / "none.yaml")


def test_promote_and_gate_drill(ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def promoted(_: object, asked: Any, **__: object) -> None:
        seen.append(asked.policy)
        raise SeenError

    monkeypatch.setattr(promote, "promote_version", promoted)
    monkeypatch.setattr(gate_drill, "drill_district", stopping(seen, keyword="policy"))
    for command in (promote.promote, gate_drill.gate_drill):
        for option in (None, tmp_path / "option-promotion.yaml"):
            with pytest.raises(SeenError):
                command(None, policy=option)
    assert [policy.version for policy in seen] == ["ours-promotion", "option-promotion"] * 2


def test_training_promotes_by_the_district_s_policy(ours: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def trained(*_: object) -> SimpleNamespace:
        return SimpleNamespace(version="2", report=None)

    async def not_the_first(*_: object, **__: object) -> bool:
        return False

    async def decide(_: object, asked: Any, **__: object) -> None:
        seen.append(asked.policy)
        raise SeenError

    patch_stores(monkeypatch, train, ours)
    monkeypatch.setattr(train, "_train", trained)
    monkeypatch.setattr(train, "TrainingJobRepository", lambda *_, **__: None)
    monkeypatch.setattr(train, "headline_metrics", lambda _: {})
    monkeypatch.setattr(train.PromotionPlaces, "of", lambda _: None)
    monkeypatch.setattr(train, "install_first", not_the_first)
    monkeypatch.setattr(train, "promote_if_better", decide)
    with pytest.raises(SeenError):
        asyncio.run(train.train_model(ours, request(), clock=FixedClock(NOW), console=QUIET))
    assert [policy.version for policy in seen] == ["ours-promotion"]


def test_a_wrong_policy_ends_training_before_it_begins(
    ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begun(*_: object) -> None:
        raise SeenError

    patch_stores(monkeypatch, train, ours)
    monkeypatch.setattr(train, "_train", begun)
    (tmp_path / "ours-promotion.yaml").unlink()
    with pytest.raises(InvalidInputError, match="EDUPULSE_PROMOTION_POLICY"):
        asyncio.run(train.train_model(ours, request(), clock=FixedClock(NOW), console=QUIET))
    with pytest.raises(SeenError):  # who promotes nothing needs no promotion policy
        asyncio.run(train.train_model(ours, request(promote=False), clock=FixedClock(NOW), console=QUIET))


def test_train_and_tune_check_the_records_by_the_district_s_policy(
    ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    for module in (train, tune):
        patch_stores(monkeypatch, module, ours)
        monkeypatch.setattr(module, "require_fit_data", stopping(seen, keyword="policy"))

    with pytest.raises(SeenError):
        asyncio.run(train.train_model(ours, request(), clock=FixedClock(NOW), console=QUIET))
    place = SearchPlace(tmp_path / "search")
    with pytest.raises(SeenError):
        tune.tune_model(ours, TuningRequest(), place=place, clock=FixedClock(NOW), console=QUIET)
    assert [policy.version for policy in seen] == ["ours-data", "ours-data"]


def test_check_data(ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    patch_stores(monkeypatch, check_data, ours)
    monkeypatch.setattr(check_data, "check_data", stopping(seen, keyword="policy"))
    for option in (None, tmp_path / "option-data.yaml"):
        with pytest.raises(SeenError):
            check_data.check(policy=option)
    assert [policy.version for policy in seen] == ["ours-data", "option-data"]


def test_a_month_s_check_gate_and_monitoring(ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    context = cast("Any", SimpleNamespace(settings=ours, clock=FixedClock(NOW)))
    month = Month(MonthlyRun(uuid4(), NOW.date(), 1, NOW, {}, None, None), {"train": Trained("2", "boosted")})

    def judging(_: object, policy: Any, **__: object) -> None:
        seen.append(policy)
        raise SeenError

    monkeypatch.setattr(steps, "check_data", stopping(seen, keyword="policy"))
    monkeypatch.setattr(gate, "judging_anew", judging)
    for policy in (None, tmp_path / "option-promotion.yaml"):
        asked = MonthRequest(MONTH.candidate, policy=policy)
        work = MonthWork(context, asked, cast("Any", None), QUIET)
        for step in (steps._check_data, gate.pass_gate):
            with pytest.raises(SeenError):
                asyncio.run(step(work, month))
    assert [policy.version for policy in seen] == ["ours-data", "ours-promotion", "ours-data", "option-promotion"]


@pytest.mark.parametrize("wrong", ["promotion", "data"])
def test_a_wrong_policy_ends_a_month_before_it_begins(
    ours: Settings, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise SeenError

    monkeypatch.setattr(monthly, "open_context", opened)
    (tmp_path / f"ours-{wrong}.yaml").unlink()
    with pytest.raises(InvalidInputError, match=f"EDUPULSE_{wrong.upper()}_POLICY"):
        asyncio.run(monthly.run_district_month(ours, MONTH, clock=FixedClock(NOW), console=QUIET))


def test_monitoring(ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def watch(*arguments: Any) -> None:
        seen.append(arguments[5])
        raise SeenError

    async def district() -> SimpleNamespace:
        return SimpleNamespace(timezone="UTC")

    @asynccontextmanager
    async def exclusive() -> AsyncGenerator[None, None]:
        yield

    matching = SimpleNamespace(require_match=lambda _: None)
    monkeypatch.setattr(monitor, "_Looking", watch)
    monkeypatch.setattr(monitor, "load_strategy", lambda *_, **__: SimpleNamespace(contract=matching))
    monkeypatch.setattr(monitor, "MonitoringRepository", lambda _: SimpleNamespace(exclusive=exclusive))
    context = SimpleNamespace(
        settings=ours,
        clock=FixedClock(NOW),
        reader=SimpleNamespace(district=district),
        registry=SimpleNamespace(fetch=lambda _: SimpleNamespace(version="1", path=tmp_path)),
        database=None,
        contract=None,
    )
    for policy in (None, tmp_path / "option-promotion.yaml"):
        asked = monitor.WatchRequest(policy=policy, again=True)
        with pytest.raises(SeenError):
            asyncio.run(monitor.monitor_model(cast("Any", context), asked, console=QUIET))
    assert seen == ["ours-promotion", "option-promotion"]


CHECKED = {
    "train": (train, train.train, {"promotion policy", "data policy"}),
    "tune": (tune, tune.tune, {"data policy"}),
    "monthly": (monthly, monthly.monthly, {"promotion policy", "data policy"}),
    "promote": (promote, promote.promote, {"promotion policy"}),
    "gate-drill": (gate_drill, gate_drill.gate_drill, {"promotion policy"}),
    "monitor": (monitor, monitor.monitor, {"promotion policy"}),
}


def checked(job: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[str]:
    """What `--check` of a job says of policies."""
    module, command, names = CHECKED[job]
    out = StringIO()

    def check_before(settings: Settings, _: Console, *checks: Check) -> None:
        of_policies = tuple(check for check in checks if "policy" in check.name)
        assert {check.name for check in of_policies} == names
        asyncio.run(run_checks(settings, of_policies, Console(file=out, width=400)))

    monkeypatch.setattr(module, "check_before", check_before)
    command(check=True, **options)
    return sorted(out.getvalue().splitlines())


@pytest.mark.parametrize("job", CHECKED)
def test_check_looks_at_the_district_s_policies(
    job: str, ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in checked(job, monkeypatch):
        assert line.startswith("ok")
        assert "version ours-" in line
        assert str(tmp_path) in line
    for file in tmp_path.glob("ours-*.yaml"):
        file.unlink()
    for line in checked(job, monkeypatch):
        assert line.startswith("WRONG")
        assert "EDUPULSE_" in line


@pytest.mark.parametrize("job", ["monthly", "promote", "gate-drill", "monitor"])
def test_check_looks_at_the_policy_of_the_option(
    job: str, ours: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "version option-promotion" in checked(job, monkeypatch, policy=tmp_path / "option-promotion.yaml")[-1]
    assert "WRONG" in checked(job, monkeypatch, policy=tmp_path / "none.yaml")[0]


def test_a_training_that_promotes_nothing_has_no_promotion_policy_to_check(
    ours: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHECKED, "train", (train, train.train, {"data policy"}))
    assert len(checked("train", monkeypatch, promote=False)) == 1
