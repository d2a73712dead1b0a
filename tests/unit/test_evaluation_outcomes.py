"""Outcomes from exits (sources.md 2.6), told as small cases: one student, some enrolments, one day of knowledge."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.core.outcomes import LABEL_UNKNOWN, Outcomes, Task
from edupulse_ml.core.records import ExitEvents
from edupulse_ml.core.sequences import PAD, FeatureBlock
from edupulse_ml.core.tables import EXIT_CODES
from edupulse_ml.core.weeks import NEVER, day_number
from edupulse_ml.evaluation.labels import evaluation_labels
from edupulse_ml.evaluation.outcomes import eligible_steps, next_count_day, outcomes_from_exits


def day(text: str) -> int:
    return day_number(date.fromisoformat(text))


def exits(*rows: tuple[str, str | None, str | None, str | None, str]) -> ExitEvents:
    """Enrolments of student 0: entry, exit, code, last attended, known from."""

    def days(values: list[str | None]) -> np.ndarray:
        return np.asarray([NEVER if v is None else day(v) for v in values], dtype=np.int32)

    entry, exit_day, code, last, known = (list(column) for column in zip(*rows, strict=True))
    return ExitEvents(
        student=np.zeros(len(rows), dtype=np.int32),
        entry_day=days(entry),
        exit_day=days(exit_day),
        exit_code=np.asarray([-1 if c is None else EXIT_CODES.index(c) for c in code], dtype=np.int8),
        last_attended_day=days(last),
        known_day=days(known),
        superseded_day=np.full(len(rows), NEVER, dtype=np.int32),
    )


def outcome(events: ExitEvents, as_of: str, **options: object) -> tuple[int, int]:
    found = outcomes_from_exits(events, as_of_day=day(as_of), n_students=1, **options)  # pyright: ignore[reportArgumentType]
    return int(found.event_day[0]), int(found.followed_until[0])


YEAR_1 = ("2023-09-04", "2024-06-15", "year_end", "2024-06-14", "2024-06-15")


def test_an_open_enrolment_is_followed_until_today() -> None:
    assert outcome(exits(("2023-09-04", None, None, None, "2023-09-04")), "2024-02-01") == (NEVER, day("2024-02-01"))


def test_a_dropout_left_on_the_last_day_attended() -> None:
    left = exits(("2023-09-04", "2024-02-20", "dropout", "2024-01-31", "2024-02-21"))
    assert outcome(left, "2024-03-01") == (day("2024-01-31"), day("2024-01-31"))


def test_without_a_last_day_attended_it_is_the_day_before_the_exit() -> None:
    left = exits(("2023-09-04", "2024-02-20", "dropout", None, "2024-02-21"))
    assert outcome(left, "2024-03-01") == (day("2024-02-19"), day("2024-02-19"))


def test_an_exit_recorded_later_is_not_known_yet() -> None:
    rows = exits(
        ("2023-09-04", None, None, None, "2023-09-04"),
        ("2023-09-04", "2024-02-20", "dropout", None, "2024-03-10"),
    )
    rows.superseded_day[0] = day("2024-03-10")
    assert outcome(rows, "2024-03-09") == (NEVER, day("2024-03-09"))
    assert outcome(rows, "2024-03-10")[0] == day("2024-02-19")


@pytest.mark.parametrize(
    ("entry_again", "is_event"), [("2024-09-30", False), ("2024-10-01", False), ("2024-10-02", True)]
)
def test_coming_back_by_the_first_of_october_is_no_event(entry_again: str, is_event: bool) -> None:
    rows = exits(
        ("2023-09-04", "2024-02-20", "dropout", "2024-02-19", "2024-02-20"),
        (entry_again, None, None, None, entry_again),
    )
    event, followed = outcome(rows, "2024-12-01")
    assert (event, followed) == ((day("2024-02-19"),) * 2 if is_event else (NEVER, day("2024-12-01")))


def test_nobody_is_counted_for_the_summer_before_the_first_of_october() -> None:
    assert outcome(exits(YEAR_1), "2024-09-30") == (NEVER, day("2024-06-14"))
    assert outcome(exits(YEAR_1), "2024-10-01") == (day("2024-06-14"), day("2024-06-14"))


def test_a_year_end_with_a_next_year_is_no_event() -> None:
    rows = exits(YEAR_1, ("2024-09-03", None, None, None, "2024-09-03"))
    assert outcome(rows, "2024-11-01") == (NEVER, day("2024-11-01"))


def test_back_in_september_and_gone_before_october_left_in_september() -> None:
    rows = exits(YEAR_1, ("2024-09-03", "2024-09-20", "dropout", "2024-09-19", "2024-09-21"))
    assert outcome(rows, "2024-11-01")[0] == day("2024-09-19")


def test_the_first_of_two_events_counts() -> None:
    rows = exits(
        ("2022-09-05", "2023-01-10", "dropout", "2023-01-09", "2023-01-10"),
        ("2023-11-06", "2024-02-20", "dropout", "2024-02-19", "2024-02-20"),
    )
    assert outcome(rows, "2024-12-01")[0] == day("2023-01-09")


def test_of_two_enrolments_that_end_together_neither_outlasts_the_other() -> None:
    left = ("2023-09-04", "2024-02-20", "dropout", "2024-02-19", "2024-02-20")
    moved = ("2023-09-11", "2024-02-20", "transfer_out", "2024-02-19", "2024-02-20")
    back = ("2025-01-06", None, None, None, "2025-01-06")
    for rows in (exits(left, moved, back), exits(moved, left, back)):
        assert outcome(rows, "2025-02-01")[0] == day("2024-02-19")


@pytest.mark.parametrize(
    "code", ["graduated", "transfer_out", "ged_transfer", "deceased", "long_illness", "emigrated", "failed"]
)
def test_other_exits_censor(code: str) -> None:
    rows = exits(("2023-09-04", "2024-02-20", code, "2024-02-19", "2024-02-20"))
    assert outcome(rows, "2025-02-01") == (NEVER, day("2024-02-19"))


@pytest.mark.parametrize("code", ["unknown", "changed_school"])
def test_an_unexplained_exit_is_an_event_once_the_first_of_october_has_come(code: str) -> None:
    rows = exits(("2023-09-04", "2024-02-20", code, "2024-02-19", "2024-02-20"))
    assert outcome(rows, "2024-09-30") == (NEVER, day("2024-02-19"))
    assert outcome(rows, "2024-10-01")[0] == day("2024-02-19")


def test_a_course_attended_to_its_end_is_never_left() -> None:
    rows = exits(("2013-10-07", "2014-06-25", "failed", "2014-06-24", "2014-06-25"))
    assert outcome(rows, "2014-12-01", completers_never_leave=True) == (NEVER, NEVER)
    assert outcome(rows, "2014-12-01", dropout_codes=("dropout", "failed"))[0] == day("2014-06-24")


def test_a_student_of_whom_nothing_is_known_is_followed_until_no_day() -> None:
    assert outcome(exits(YEAR_1), "2020-01-01") == (NEVER, -NEVER)


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="withdrew"):
        outcome(exits(YEAR_1), "2024-10-01", dropout_codes=("withdrew",))


def test_students_do_not_touch_each_other() -> None:
    one = exits(("2023-09-04", "2024-02-20", "dropout", "2024-02-19", "2024-02-20"))
    other = exits(("2023-10-04", None, None, None, "2023-10-04"))
    both = ExitEvents(
        **{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in ExitEvents.__annotations__}
    )
    both.student[1] = 1
    found = outcomes_from_exits(both, as_of_day=day("2025-01-01"), n_students=2)
    assert found.event_day.tolist() == [day("2024-02-19"), NEVER]


def test_count_day_is_the_next_first_of_october() -> None:
    days = np.asarray([day("2024-09-30"), day("2024-10-01"), day("2024-10-02")], dtype=np.int32)
    assert next_count_day(days).tolist() == [day("2024-10-01"), day("2024-10-01"), day("2025-10-01")]


def block_of_weeks(*weeks: str, students: int = 1) -> FeatureBlock:
    shape = (students, len(weeks))
    monday = np.broadcast_to(np.asarray([day(w) for w in weeks], dtype=np.int32), shape)
    number = np.zeros((*shape, 1), dtype=np.float32)
    whole = np.zeros(shape, dtype=np.int32)
    return FeatureBlock(
        week=monday, values=number, support=number, mask=number > 0, aux=number, context=number, school=whole,
        grade_level=whole, school_year=whole + 2023,
    )  # fmt: skip


def test_terminal_weeks_and_weeks_after_the_event_are_dropped() -> None:
    block = block_of_weeks("2024-01-01", "2024-01-08", "2024-01-15")
    for last_day, kept in [("2024-01-14", [True, False, False]), ("2024-01-15", [True, True, False])]:
        event = np.asarray([day(last_day)], dtype=np.int32)
        known = Outcomes(event, event, as_of_day=day("2024-06-01"))
        assert eligible_steps(block, known).tolist() == [kept]


def test_eligible_steps_obey_follow_up_padding_and_dates() -> None:
    block = block_of_weeks("2024-01-01", "2024-01-08", "2024-01-15", "2024-01-22")
    block.week.flags.writeable = True
    week = block.week.copy()
    week[0, 3] = PAD
    block = FeatureBlock(**{**block.__dict__, "week": week})
    stays = Outcomes(np.asarray([NEVER], np.int32), np.asarray([day("2024-01-20")], np.int32), day("2024-06-01"))
    assert eligible_steps(block, stays).tolist() == [[True, True, False, False]]
    until = day("2024-01-20") - day("2024-01-07")
    short = Outcomes(stays.event_day, stays.followed_until, as_of_day=day("2024-01-20"))
    assert eligible_steps(block, short, min_follow_up_days=until).tolist() == [[True, False, False, False]]
    assert eligible_steps(block, stays, first_week=day("2024-01-08")).tolist() == [[False, True, False, False]]
    assert eligible_steps(block, stays, last_week=day("2024-01-01")).tolist() == [[True, False, False, False]]
    assert not eligible_steps(block, stays, school_years=[2022]).any()


TASK = Task("soon", 0, 90)


def rows(event: list[int], followed: list[int], as_of: int) -> Outcomes:
    return Outcomes(np.asarray(event, np.int32), np.asarray(followed, np.int32), as_of)


def test_a_leaver_is_no_example_where_a_stayer_could_not_be_one() -> None:
    known = rows([130, NEVER], [130, 150], as_of=150)
    labels = evaluation_labels(known, cutoff_day=np.asarray([100, 100], np.int32), task=TASK)
    assert labels.tolist() == [LABEL_UNKNOWN, LABEL_UNKNOWN]


def test_an_interval_may_end_with_the_data() -> None:
    known = rows([130, NEVER, NEVER, 130], [130, 150, 120, 130], as_of=150)
    cutoff = np.asarray([100, 100, 100, 125], np.int32)
    labels = evaluation_labels(known, cutoff_day=cutoff, task=TASK, shortest_follow_up_days=40)
    assert labels.tolist() == [1, 0, LABEL_UNKNOWN, LABEL_UNKNOWN]


def test_a_shortened_interval_keeps_its_start() -> None:
    known = rows([130, 180, NEVER], [130, 180, 200], as_of=200)
    cutoff = np.full(3, 100, np.int32)
    labels = evaluation_labels(known, cutoff_day=cutoff, task=Task("later", 60, 365), shortest_follow_up_days=90)
    assert labels.tolist() == [LABEL_UNKNOWN, 1, 0]


def test_in_summer_no_question_reaches_beyond_the_year_that_ended() -> None:
    in_summer = outcomes_from_exits(exits(YEAR_1), as_of_day=day("2024-08-20"), n_students=1)
    assert in_summer.as_of_day == day("2024-06-14")
    settled = outcomes_from_exits(exits(YEAR_1), as_of_day=day("2024-10-01"), n_students=1)
    assert settled.as_of_day == day("2024-10-01")
    back_already = exits(YEAR_1, ("2024-08-15", None, None, None, "2024-08-15"))
    assert outcomes_from_exits(back_already, as_of_day=day("2024-08-20"), n_students=1).as_of_day == day("2024-08-20")


def of_students(*groups: tuple[int, ExitEvents]) -> ExitEvents:
    """Each group's enrolments, given to so many students."""
    parts, n = [], 0
    for count, events in groups:
        for _ in range(count):
            parts.append(replace(events, student=np.full_like(events.student, n)))
            n += 1
    return ExitEvents(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ExitEvents.__annotations__}
    )


STRAY = exits(("2023-09-04", "2023-11-15", "year_end", "2023-11-14", "2023-11-15"))
OPEN = exits(("2023-09-04", None, None, None, "2023-09-04"))
BACK = exits(YEAR_1, ("2024-08-19", None, None, None, "2024-08-19"))


@pytest.mark.parametrize(("stray", "answerable"), [(1, "2024-02-01"), (5, "2024-02-01"), (6, "2023-11-14")])
def test_a_stray_year_end_freezes_nobody_but_its_own_student(stray: int, answerable: str) -> None:
    rows = of_students((stray, STRAY), (100 - stray, OPEN))
    found = outcomes_from_exits(rows, as_of_day=day("2024-02-01"), n_students=100)
    assert found.as_of_day == day(answerable)
    assert found.followed_until[0] == day("2023-11-14")
    assert (found.followed_until[stray:] == day("2024-02-01")).all()


def test_in_september_the_few_who_are_not_back_are_still_unsettled() -> None:
    rows = of_students((1, exits(YEAR_1)), (99, BACK))
    assert outcomes_from_exits(rows, as_of_day=day("2024-09-15"), n_students=100).as_of_day == day("2024-06-14")
    assert outcomes_from_exits(rows, as_of_day=day("2024-10-01"), n_students=100).as_of_day == day("2024-10-01")
