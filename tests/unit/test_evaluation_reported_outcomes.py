"""Outcomes that people report beside the registry's exits, told as small cases: one student, one day of knowledge."""

from collections.abc import Sequence

import numpy as np
import pytest

from edupulse_ml.core.feedback import OUTCOME_WORDS, OutcomeWord, ReportedOutcomes
from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.weeks import NEVER
from edupulse_ml.evaluation.outcomes import outcomes_from_exits
from edupulse_ml.evaluation.reported_outcomes import with_reported
from tests.unit.test_evaluation_outcomes import day, exits

Report = tuple[OutcomeWord, str, str]
"""Word, day it happened, day from which it was known."""

OPEN = ("2023-09-04", None, None, None, "2023-09-04")
YEAR_ENDED = ("2023-09-04", "2024-06-15", "year_end", "2024-06-14", "2024-06-15")
ROLL_ENDED = ("2023-09-04", "2024-06-13", "year_end", None, "2024-06-13")
"""Nobody wrote down a last day attended: what is known is when the roll was closed."""
STAYS_FOR_EVER = (NEVER, NEVER)


def reports(*given: Report) -> ReportedOutcomes:
    return ReportedOutcomes(
        student=np.zeros(len(given), np.int32),
        outcome=np.asarray([OUTCOME_WORDS.index(word) for word, _, _ in given], np.int8),
        day=np.asarray([day(when) for _, when, _ in given], np.int32),
        known_day=np.asarray([day(known) for _, _, known in given], np.int32),
        superseded_day=np.full(len(given), NEVER, np.int32),
    )


def merged(registry: ExitEvents, given: ReportedOutcomes, as_of: str) -> tuple[tuple[int, int], int, int]:
    known = outcomes_from_exits(registry, as_of_day=day(as_of), n_students=1, completers_never_leave=True)
    found = with_reported(known, given, registry, as_of_day=day(as_of))
    assert found.outcomes.as_of_day == known.as_of_day
    return (int(found.outcomes.event_day[0]), int(found.outcomes.followed_until[0])), found.n_used, found.n_overruled


@pytest.mark.parametrize(
    ("row", "report", "as_of", "expected"),
    [
        (OPEN, ("left", "2024-01-31", "2024-02-01"), "2024-03-01", (day("2024-01-31"), day("2024-01-31"))),
        (OPEN, ("stayed", "2024-01-31", "2024-02-01"), "2024-03-01", (NEVER, day("2024-03-01"))),
        (OPEN, ("transferred", "2024-01-31", "2024-02-01"), "2024-03-01", (NEVER, day("2024-01-31"))),
        (OPEN, ("graduated", "2024-01-31", "2024-02-01"), "2024-03-01", STAYS_FOR_EVER),
        # After 1 October without an enrolment the registry concludes that the student left on the last day attended.
        (YEAR_ENDED, ("left", "2024-05-02", "2024-06-20"), "2024-11-01", (day("2024-06-14"), day("2024-06-14"))),
        # Where no last day attended was recorded, the day before the roll was closed is no better than what people saw.
        (ROLL_ENDED, ("left", "2024-01-30", "2024-02-03"), "2024-11-01", (day("2024-01-30"), day("2024-01-30"))),
        (ROLL_ENDED, ("left", "2024-06-20", "2024-06-21"), "2024-11-01", (day("2024-06-12"), day("2024-06-12"))),
        (YEAR_ENDED, ("stayed", "2024-09-10", "2024-09-11"), "2024-11-01", (NEVER, day("2024-09-10"))),
        (YEAR_ENDED, ("transferred", "2024-06-20", "2024-07-01"), "2024-11-01", (NEVER, day("2024-06-20"))),
        (YEAR_ENDED, ("graduated", "2024-06-14", "2024-07-01"), "2024-11-01", STAYS_FOR_EVER),
        # Before it, the registry says nothing yet.
        (YEAR_ENDED, ("left", "2024-06-14", "2024-06-20"), "2024-08-01", (day("2024-06-14"), day("2024-06-14"))),
        # A word about a day before the concluded event does not speak about it.
        (YEAR_ENDED, ("stayed", "2024-03-01", "2024-03-02"), "2024-11-01", (day("2024-06-14"), day("2024-06-14"))),
    ],
)
def test_people_are_heard_where_the_registry_is_silent(
    row: tuple[str, str | None, str | None, str | None, str], report: Report, as_of: str, expected: tuple[int, int]
) -> None:
    assert merged(exits(row), reports(report), as_of) == (expected, 1, 0)


def test_the_day_reported_is_the_same_before_and_after_the_first_of_october() -> None:
    given = reports(("left", "2024-01-30", "2024-02-03"))
    for as_of in ("2024-03-01", "2024-08-01", "2024-10-01", "2025-03-01"):
        assert merged(exits(ROLL_ENDED), given, as_of)[0] == (day("2024-01-30"), day("2024-01-30"))


@pytest.mark.parametrize("code", ["dropout", "transfer_out", "graduated", "deceased", "long_illness"])
@pytest.mark.parametrize("word", OUTCOME_WORDS)
def test_an_exit_that_names_its_cause_wins(code: str, word: OutcomeWord) -> None:
    row = exits(("2023-09-04", "2024-02-20", code, "2024-01-31", "2024-02-21"))
    without, _, _ = merged(row, reports(), "2024-03-01")
    assert merged(row, reports((word, "2024-02-25", "2024-02-26")), "2024-03-01") == (without, 0, 1)


@pytest.mark.parametrize("word", ["left", "transferred", "graduated"])
def test_a_later_enrolment_wins(word: OutcomeWord) -> None:
    rows = exits(YEAR_ENDED, ("2024-09-02", None, None, None, "2024-09-02"))
    without, _, _ = merged(rows, reports(), "2024-11-01")
    assert merged(rows, reports((word, "2024-06-14", "2024-06-20")), "2024-11-01") == (without, 0, 1)


def test_what_is_known_later_or_speaks_of_a_later_day_changes_nothing() -> None:
    row = exits(OPEN)
    without, _, _ = merged(row, reports(), "2024-03-01")
    for given in (("left", "2024-01-31", "2024-03-02"), ("left", "2024-03-02", "2024-02-01")):
        assert merged(row, reports(given), "2024-03-01") == (without, 0, 0)


def test_a_superseded_report_is_heard_until_then() -> None:
    given = reports(("left", "2024-01-31", "2024-02-01"))
    given.superseded_day[0] = day("2024-02-10")
    assert merged(exits(OPEN), given, "2024-02-09")[0][0] == day("2024-01-31")
    assert merged(exits(OPEN), given, "2024-02-10")[0][0] == NEVER


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_several_reports_the_one_about_the_latest_day_counts(order: Sequence[int]) -> None:
    both: list[Report] = [("left", "2024-01-31", "2024-02-20"), ("stayed", "2024-02-15", "2024-02-16")]
    given = reports(*[both[at] for at in order])
    assert merged(exits(OPEN), given, "2024-03-01") == ((NEVER, day("2024-03-01")), 1, 0)
