"""Random record sets full of what real ones have: corrections, late rows, deletions, breaks, summers, transfers."""

from dataclasses import dataclass, replace

import numpy as np

from edupulse_ml.core import records as rec
from edupulse_ml.core.weeks import NEVER
from tests.fakes.record_builder import WEEK_1

N_COURSES = 5
OLD_TERM_CODES = 2


@dataclass(frozen=True)
class RandomShape:
    """How much of everything."""

    n_students: int = 3
    n_schools: int = 2
    n_years: int = 2
    weeks_per_year: int = 15
    tidy: bool = False
    """No late, corrected or deleted rows."""


def random_records(rng: np.random.Generator, shape: RandomShape) -> rec.RecordSet:
    """A record set drawn with `rng`; rows stand in random order."""
    calendars, n_terms = _calendars(rng, shape)
    rows: dict[str, list[dict]] = {name: [] for name in ("attendance", "grades", "transcript", "discipline")}
    enrollments: list[dict] = []
    for student in range(shape.n_students):
        mine = _enrollments(rng, shape, calendars, student)
        enrollments += mine
        days = _days_of(calendars, mine)
        rows["attendance"] += _attendance(rng, shape, student, days)
        rows["grades"] += _grades(rng, shape, student, days, calendars)
        rows["transcript"] += _transcript(rng, shape, student, calendars, mine, n_terms)
        rows["discipline"] += _discipline(rng, shape, student, days)
    birth = WEEK_1 - 14 * 365 + rng.integers(-500, 500, shape.n_students)
    birth[rng.random(shape.n_students) < 0.2] = NEVER
    return rec.RecordSet(
        n_students=shape.n_students,
        birth_day=birth.astype(np.int32),
        attendance=_events(rec.AttendanceEvents, rows["attendance"], rng),
        grades=_events(rec.GradeEvents, rows["grades"], rng),
        transcript=_events(rec.TranscriptEvents, rows["transcript"], rng),
        discipline=_events(rec.DisciplineEvents, rows["discipline"], rng),
        enrollments=_events(rec.EnrollmentEvents, enrollments, rng),
        calendars=calendars,
    )


def known_by(records: rec.RecordSet, last_day: int) -> rec.RecordSet:
    """The records as they stood on `last_day`: later versions are gone and do not supersede anything yet."""

    def cut(events):
        kept = rec.filter_events(events, events.known_day <= last_day)
        open_still = np.where(kept.superseded_day <= last_day, kept.superseded_day, NEVER).astype(np.int32)
        return replace(kept, superseded_day=open_still)

    names = ("attendance", "grades", "transcript", "discipline", "enrollments")
    return replace(records, **{name: cut(getattr(records, name)) for name in names})


def alive_on(records: rec.RecordSet, last_day: int) -> rec.RecordSet:
    """Only the versions that are known and not superseded on `last_day`; enrolments keep their history."""

    def cut(events):
        return rec.filter_events(events, (events.known_day <= last_day) & (events.superseded_day > last_day))

    kept = known_by(records, last_day)
    names = ("attendance", "grades", "transcript", "discipline")
    return replace(kept, **{name: cut(getattr(kept, name)) for name in names})


def shuffled(records: rec.RecordSet, rng: np.random.Generator) -> rec.RecordSet:
    """The same records, rows in another order."""

    def mix(events):
        order = rng.permutation(len(events.student))
        return type(events)(**{name: getattr(events, name)[order] for name in events.__dataclass_fields__})

    names = ("attendance", "grades", "transcript", "discipline", "enrollments")
    return replace(records, **{name: mix(getattr(records, name)) for name in names})


def _events(kind, rows, rng):
    order = rng.permutation(len(rows))
    return kind(
        **{
            name: np.array([rows[i][name] for i in order], dtype=rec.column_dtype(name))
            for name in kind.__dataclass_fields__
        }
    )


def _calendars(rng, shape):
    n_weeks = shape.n_years * (shape.weeks_per_year + 4) + 2
    size = (shape.n_schools, 7 * n_weeks)
    instructional, reported = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    term, year = np.full(size, -1, dtype=np.int32), np.full(size, -1, dtype=np.int32)
    next_term = OLD_TERM_CODES
    terms_shared = rng.random() < 0.5
    for y in range(shape.n_years):
        n_terms = int(rng.integers(2, 4))
        for school in range(shape.n_schools):
            first = y * (shape.weeks_per_year + 4) + int(rng.integers(0, 3))
            codes = next_term + np.arange(n_terms) + (0 if terms_shared else school * n_terms)
            splits = np.sort(rng.choice(np.arange(1, shape.weeks_per_year), n_terms - 1, replace=False))
            for w in range(shape.weeks_per_year):
                j = 7 * (first + w)
                week_open = rng.random() > 0.08
                instructional[school, j : j + 5] = week_open & (rng.random(5) > 0.06)
                term[school, j : j + 7] = codes[np.searchsorted(splits, w, side="right")]
                year[school, j : j + 7] = 2024 + y
                reported[school, j : j + 7] = rng.random() > 0.15
        next_term += n_terms * (1 if terms_shared else shape.n_schools)
    tardies = rng.random(shape.n_schools) > 0.2
    return rec.SchoolCalendars(WEEK_1, instructional, term, year, reported, tardies), next_term


def _versions(rng, shape, row, valid_day, correct):
    """The versions of one record: timely, late, corrected, corrected twice or deleted."""
    known = int(valid_day + rng.integers(0, 2))
    draw = 0.0 if shape.tidy else rng.random()
    first = {**row, "known_day": known, "superseded_day": NEVER}
    if draw < 0.65:
        return [first]
    if draw < 0.78:
        return [{**first, "known_day": int(known + rng.integers(1, 45))}]
    until = int(known + rng.integers(0, 50))
    first["superseded_day"] = until
    if draw < 0.84:
        return [first]
    second = {**row, **correct(), "known_day": until, "superseded_day": NEVER}
    if draw < 0.94:
        return [first, second]
    again = int(until + rng.integers(0, 30))
    second["superseded_day"] = again
    return [first, second, {**row, **correct(), "known_day": again, "superseded_day": NEVER}]


def _enrollments(rng, shape, calendars, student):
    grade = int(rng.integers(5, 11))
    out, school = [], int(rng.integers(shape.n_schools))
    n_days = calendars.is_instructional.shape[1]
    for y in range(shape.n_years):
        if rng.random() < 0.12:
            continue
        days = np.flatnonzero(calendars.school_year[school] == 2024 + y)
        entry = WEEK_1 + int(days[0]) + int(rng.choice([-40, 0, 0, 0, 9, 52]))
        exit_day = WEEK_1 + int(days[-1]) + 1 if rng.random() < 0.7 else NEVER
        base = {
            "student": student,
            "school": school,
            "grade_level": grade + y,
            "entry_day": entry,
            "exit_day": exit_day,
        }
        known = entry if rng.random() < 0.7 or shape.tidy else entry + int(rng.integers(1, 30))
        move = int(rng.integers(1, shape.weeks_per_year)) * 7 + entry
        if rng.random() < 0.3 and shape.n_schools > 1:
            other = (school + 1) % shape.n_schools
            told = move + int(rng.integers(-7, 14))
            out += [
                {**base, "known_day": known, "superseded_day": told},
                {**base, "exit_day": move, "known_day": told, "superseded_day": NEVER},
                {**base, "school": other, "entry_day": move, "known_day": move, "superseded_day": NEVER},
            ]
            school = other
        else:
            out.append({**base, "known_day": known, "superseded_day": NEVER})
        if rng.random() < 0.1:
            grade -= 1
    if not out:
        entry = WEEK_1 + 7 * int(rng.integers(0, n_days // 14))
        out = [
            {
                "student": student,
                "school": school,
                "grade_level": grade,
                "entry_day": entry,
                "exit_day": NEVER,
                "known_day": entry,
                "superseded_day": NEVER,
            }
        ]
    return out


def _days_of(calendars, enrollments):
    """Days on which records are made: days of school, and a few others."""
    days = {
        WEEK_1 + j
        for e in enrollments
        for j in np.flatnonzero(calendars.is_instructional[e["school"]])
        if e["entry_day"] <= WEEK_1 + j < e["exit_day"]
    }
    return np.array(sorted(days), dtype=np.int64)


def _attendance(rng, shape, student, days):
    def status():
        letter = int(rng.choice(6, p=[0.5, 0.14, 0.16, 0.1, 0.04, 0.06]))
        fraction = float(rng.choice([np.nan, np.nan, 1.0, 0.5, 0.25, 0.333, 0.0]))
        scheduled = float(rng.choice([np.nan, 0.0, 6.0, 7.0]))
        periods = float(rng.choice([np.nan, 0.0, 1.0, 2.0]))
        return {
            "status": letter,
            "fraction_absent": fraction,
            "periods_absent": periods,
            "periods_scheduled": scheduled,
        }

    out, sick_until = [], -1
    for d in days:
        week_lost = (student * 5 + int(d) // 7) % 9 == 0
        if week_lost or rng.random() < 0.05:
            continue
        row = {"student": student, "day": int(d), **status()}
        if rng.random() < 0.06:
            sick_until = d + int(rng.integers(3, 15))
        if d < sick_until:
            row.update(status=1, fraction_absent=np.nan)
        out += _versions(rng, shape, row, d, status)
    stray = rng.integers(WEEK_1 - 10, WEEK_1 + 300, 4)
    used = {row["day"] for row in out}
    for d in set(stray.tolist()) - used:
        out += _versions(rng, shape, {"student": student, "day": int(d), **status()}, d, status)
    return out


def _grades(rng, shape, student, days, calendars):
    out = []
    if not len(days):
        return out
    first, last = int(days[0]) - 15, int(days[-1]) + 15
    school = int(rng.integers(shape.n_schools))
    n_items = int((last - first) / 7 * rng.uniform(0.5, 5))
    for _ in range(n_items):
        due = int(rng.integers(first, last))
        column = int(np.clip(due - WEEK_1, 0, calendars.term.shape[1] - 1))
        term = int(calendars.term[school if rng.random() < 0.9 else 0, column])
        if term < 0 or rng.random() < 0.05:
            term = int(rng.integers(0, calendars.term.max() + 1))
        course = int(rng.integers(N_COURSES))
        core = course < 3 if rng.random() < 0.95 else course >= 3

        def work(due=due):
            submitted = due + int(rng.integers(-4, 12)) if rng.random() < 0.75 else NEVER
            posted = due + int(rng.integers(0, 25)) if rng.random() < 0.8 else NEVER
            score = round(float(rng.choice([0, 60, 100, *rng.uniform(30, 100, 6)])), 1)
            return {
                "submitted_day": submitted,
                "posted_day": posted,
                "score_pct": score if rng.random() < 0.9 else np.nan,
                "points_weight": float(rng.choice([0.0, 1.0, 1.0, 2.5, 10.0, np.nan])),
            }

        row = {
            "student": student,
            "course": course,
            "subject": course % 5,
            "is_core": bool(core),
            "term": term,
            "due_day": due,
            **work(),
        }
        out += _versions(rng, shape, row, due - int(rng.integers(0, 20)), work)
    return out


def _transcript(rng, shape, student, calendars, enrollments, n_terms):
    out = []
    ends = {}
    for e in enrollments:
        for term in np.unique(calendars.term[e["school"]]):
            if term >= 0:
                ends[int(term)] = WEEK_1 + int(np.flatnonzero(calendars.term[e["school"]] == term)[-1])
    if rng.random() < 0.5:
        ends.update(dict.fromkeys(range(OLD_TERM_CODES), WEEK_1 - int(rng.integers(-20, 60))))
    for term, end in ends.items():
        if rng.random() < 0.15:
            continue
        for course in range(int(rng.integers(1, N_COURSES))):

            def result(end=end):
                attempted = float(rng.choice([0.0, 0.5, 1.0]))
                passed = rng.random() < 0.7
                mark = float(rng.integers(60, 101) if passed else rng.integers(20, 60))
                return {
                    "credits_attempted": attempted,
                    "credits_earned": attempted if passed else 0.0,
                    "final_pct": mark if rng.random() < 0.9 else np.nan,
                    "posted_day": end + int(rng.integers(-3, 15)),
                }

            row = {"student": student, "term": term, "course": course, "is_core": course < 3, **result()}
            out += _versions(rng, shape, row, row["posted_day"], result)
    return out


def _discipline(rng, shape, student, days):
    out = []
    if not len(days):
        return out
    for _ in range(int(rng.choice([0, 1, 4, 12]))):
        on = int(rng.integers(int(days[0]) - 20, int(days[-1]) + 10))

        def finding(on=on):
            return {
                "is_objective": bool(rng.random() < 0.5),
                "severity": int(rng.integers(1, 6)),
                "is_major": bool(rng.random() < 0.4),
                "action": int(rng.integers(6)),
                "action_start_day": NEVER if rng.random() < 0.2 else on + int(rng.integers(0, 12)),
                "action_days": float(rng.choice([np.nan, 0.0, 0.5, 1.0, 3.0, 10.0, 2.5])),
            }

        row = {"student": student, "day": on, **finding()}
        out += _versions(rng, shape, row, on + int(rng.integers(0, 4)), finding)
    return out
