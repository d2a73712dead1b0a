"""What the feature oracle knows of a student: calendar, steps, and the records known at a cutoff."""

from edupulse_ml.core.weeks import NEVER


def monday(day):
    return NEVER if day == NEVER else day - (day + 3) % 7


class Calendar:
    def __init__(self, calendars):
        self.c = calendars
        self.n_days = calendars.is_instructional.shape[1]

    def column(self, day):
        return day - self.c.first_day

    def in_session(self, school, day):
        j = self.column(day)
        return 0 <= j < self.n_days and bool(self.c.is_instructional[school, j])

    def year(self, school, day):
        return int(self.c.school_year[school, self.column(day)])

    def term(self, school, day):
        return int(self.c.term[school, self.column(day)])

    def reported(self, school, day):
        return bool(self.c.discipline_reported[school, self.column(day)])

    def session_days(self, school, year=None):
        return [
            self.c.first_day + j
            for j in range(self.n_days)
            if self.c.is_instructional[school, j] and (year is None or self.c.school_year[school, j] == year)
        ]

    def before_break(self, school, day, least):
        later = [d for d in self.session_days(school) if d > day]
        if not later:
            return True
        return sum(1 for d in range(day + 1, later[0]) if (d + 3) % 7 < 5) >= least

    def terms(self):
        """{(school, year, term): last day of school}"""
        out = {}
        for school in range(len(self.c.is_instructional)):
            for d in self.session_days(school):
                if self.term(school, d) >= 0:
                    out[school, self.year(school, d), self.term(school, d)] = d
        return out


class Student:
    """One student's steps and records."""

    def __init__(self, records, n, through_week, options, tables, calendar):
        self.o, self.cal, self.birth = options, calendar, int(records.birth_day[n])
        self.tables = {name: table[table["student"] == n] for name, table in tables.items()}
        self.steps = []
        first = calendar.c.first_day
        for week in range(first, min(first + calendar.n_days, through_week + 7), 7):
            self.add_step(week)

    def known(self, name, week):
        table = self.tables[name]
        known = table["known_day"].map(monday) <= week
        alive = table["superseded_day"].map(monday) > week
        return table[known & alive].to_dict("records")

    def add_step(self, week):
        days = []
        enrolled = self.known("enrollments", week)
        for d in range(week, week + 7):
            open_now = [
                e for e in enrolled if e["entry_day"] <= d < e["exit_day"] and self.cal.in_session(e["school"], d)
            ]
            if open_now:
                owner = max(
                    open_now,
                    key=lambda e: (e["entry_day"], e["known_day"], e["school"], e["grade_level"], e["exit_day"]),
                )
                days.append((d, owner))
        if not days:
            return
        last_day, owner = days[-1]
        year = self.cal.year(owner["school"], last_day)
        if self.steps:
            year = max(year, self.steps[-1]["year"])
        self.steps.append(
            {
                "week": week,
                "days": [d for d, _ in days],
                "special": [
                    (d + 3) % 7 in (0, 4) or self.cal.before_break(e["school"], d, self.o.pre_break_min_weekdays)
                    for d, e in days
                ],
                "reported": any(self.cal.reported(e["school"], d) for d, e in days),
                "school": owner["school"],
                "grade": owner["grade_level"],
                "term": self.cal.term(owner["school"], last_day),
                "year": year,
                "entry": days[0][1]["entry_day"],
                "entry_school": days[0][1]["school"],
            }
        )

    def step_of(self, day):
        """Index of the first step in the week of `day` or later."""
        return sum(1 for s in self.steps if s["week"] < monday(day))

    def in_records(self, day):
        return day >= self.steps[0]["week"]


class Cutoff:
    """One step of one student, with what was known at its cutoff."""

    def __init__(self, student, i):
        self.s, self.i, self.o = student, i, student.o
        self.step = student.steps[i]
        self.week = self.step["week"]
        self.close = self.week + 6
        self.year = [j for j in range(i + 1) if student.steps[j]["year"] == self.step["year"]]
        self.y0 = self.year[0]

    def known(self, name):
        return self.s.known(name, self.week)

    def window(self, first_lag, last_lag):
        return [j for j in range(self.i - last_lag, self.i - first_lag + 1) if j >= self.y0]
