"""The district looks like a district (sources.md 7.2, 7.4), at a size that a test can afford.

`edupulse acceptance` judges the full bands on larger districts. Here a band is as much wider as a small district's
rates scatter; each still excludes the faults it stands for.
"""

from datetime import date

import numpy as np
import pytest
from typer.testing import CliRunner

from edupulse_ml.core.weeks import day_number
from edupulse_ml.evaluation.outcomes import outcomes_from_exits
from edupulse_ml.simulation.acceptance import rate_rows
from edupulse_ml.simulation.folder import write_folder
from edupulse_ml.simulation.settings import DistrictPlan
from jobs.acceptance import BrokenFolderError, NotSimulatedError, judged_district, read_simulated
from jobs.acceptance_models import model_rows
from jobs.cli import build_app

WIDER = {
    "event dropout per year, grades 9-12": 0.012,
    "stay through grades 9-12 at these rates": 0.04,
    "leavers whose cause is in no record": 0.04,
    "chronically absent (10 % or more)": 0.03,
    "grade point average, mean": 0.1,
    "a course failed, per student and term": 0.03,
    "any office referral in a year": 0.02,
    "0-1 referrals in a year": 0.02,
    "2-5 referrals in a year": 0.02,
    "6 or more referrals in a year": 0.005,
    "suspended out of school in a year": 0.015,
    "suspended: Black over White students": 0.7,
    "AUC of features, leaves in 61 days to 1 year": 0.04,
    "AUC gained by knowing the latents": 0.02,
    "AUC lost by shuffling the weeks, leaves within 60 days": 0.02,
    "AUC after shuffling the labels": 0.05,
    "AUC gained by the weeks after the last day attended": 0.0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("district") / "records"
    write_folder(DistrictPlan(students=1500, years=3, seed=2), out)
    return out


@pytest.fixture(scope="module")
def simulated(folder):
    return read_simulated(folder)


def _assert_within(rows):
    outside = [
        (row.quantity, round(row.value, 3), row.low, row.high)
        for row in rows
        if not row.low - WIDER.get(row.quantity, 0.0) <= row.value <= row.high + WIDER.get(row.quantity, 0.0)
    ]
    assert not outside


def test_the_rates_of_a_small_district_lie_in_their_bands(simulated):
    _assert_within(
        rate_rows(
            simulated.canonical.records, leaving=simulated.leaving, race=simulated.race, years=simulated.full_years
        )
    )


def test_models_find_in_a_small_district_what_they_find_in_real_ones(simulated):
    _assert_within(model_rows(judged_district(simulated)))


def test_latents_stand_at_the_weeks_of_the_features(simulated):
    district = judged_district(simulated)
    attended = district.latents[np.arange(len(district.latents)), 5]
    assert np.isfinite(attended[:, 4:]).all()
    real = district.block.week[:, 5] >= 0
    still_there = district.outcomes.event_day > district.block.week[:, 5]
    assert np.isfinite(attended[real & still_there, 0]).mean() > 0.97


def test_the_commands_write_and_judge_a_folder(tmp_path):
    runner = CliRunner()
    out = str(tmp_path / "records")
    asked = ["generate", "--students", "200", "--years", "1", "--seed", "1", "--out", out]
    written = runner.invoke(build_app(asked), asked)
    assert written.exit_code == 0, written.output
    assert "attendance_records" in written.output
    asked = ["acceptance", out, "--no-models"]
    judged = runner.invoke(build_app(asked), asked)
    assert judged.exit_code in (0, 1), judged.output
    assert "average daily attendance" in judged.output


def test_a_folder_that_was_not_generated_or_was_changed_is_refused(tmp_path):
    with pytest.raises(NotSimulatedError):
        read_simulated(tmp_path)
    out = tmp_path / "records"
    write_folder(DistrictPlan(students=60, years=1, seed=1), out)
    with (out / "attendance_records.csv").open("a") as file:
        file.write("1,2025-09-01,asleep,,,,\n")
    with pytest.raises(BrokenFolderError, match=r"attendance_records\.csv"):
        read_simulated(out)


def test_the_ordinary_label_rules_find_the_true_leavers_in_the_records(simulated):
    last_year = simulated.full_years[-1]
    as_of = day_number(date(last_year, 12, 1))
    exits = simulated.canonical.exits
    found = outcomes_from_exits(exits, as_of_day=as_of, n_students=simulated.canonical.records.n_students)
    judged = simulated.leaving.day < day_number(date(last_year, 9, 1))
    labelled = found.event_day < day_number(date(last_year, 9, 1))
    assert judged.sum() > 80
    np.testing.assert_array_equal(labelled, judged)
    np.testing.assert_array_equal(found.event_day[judged], simulated.leaving.day[judged])
