"""The features, computed slowly: every student, every week, every definition read off the catalogue.

Written apart from `features/` and sharing nothing with it. For each week the versions known at its cutoff are picked
with pandas; everything after that is plain Python on lists of rows, with exact fractions where thresholds matter.
"""

import math
from dataclasses import fields
from fractions import Fraction
from statistics import pstdev

import numpy as np
import pandas as pd

from edupulse_ml.core.contract import FEATURE_NAMES, SUPPORT_COLUMNS
from edupulse_ml.core.records import RecordSet
from edupulse_ml.core.sequences import PAD, FeatureBlock
from edupulse_ml.core.tables import ATTENDANCE_STATUSES, DISCIPLINE_ACTIONS, SUBJECTS
from edupulse_ml.core.weeks import NEVER, day_number
from features.options import FeatureOptions

NAN = float("nan")
ABSENT = {"absent_excused", "absent_unexcused", "suspended_out"}


def monday(day):
    return NEVER if day == NEVER else day - (day + 3) % 7


def frame(events):
    return pd.DataFrame({f.name: getattr(events, f.name) for f in fields(events)})


def thousandths(value):
    return Fraction(round(float(value) * 1000), 1000)


def slope(points):
    """OLS slope of (x, y) pairs."""
    xs = [Fraction(x) for x, _ in points]
    mean_x = sum(xs) / len(xs)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, (_, y) in zip(xs, points, strict=True)) / sum(
        (x - mean_x) ** 2 for x in xs
    )


def div(k, n):
    return k / n if n else NAN


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

    def rows(self):
        for i in range(len(self.steps)):
            yield Row(self, i)


class Row:
    """Everything about one step, seen at its cutoff."""

    def __init__(self, student, i):
        self.s, self.i, self.o = student, i, student.o
        self.step = student.steps[i]
        self.week = self.step["week"]
        self.close = self.week + 6
        self.year = [j for j in range(i + 1) if student.steps[j]["year"] == self.step["year"]]
        self.y0 = self.year[0]
        self.att = self.attendance_by_step()
        self.grades = student.known("grades", self.week)
        for g in self.grades:
            self.prepare(g)
        self.results = [
            t
            for t in student.known("transcript", self.week)
            if max(t["posted_day"], t["known_day"]) <= self.close and t["posted_day"] <= self.close
        ]
        self.incidents = [d for d in student.known("discipline", self.week) if d["day"] <= self.close]

    def window(self, first_lag, last_lag):
        return [j for j in range(self.i - last_lag, self.i - first_lag + 1) if j >= self.y0]

    # ---------------------------------------------------------------- attendance
    def attendance_by_step(self):
        steps = self.s.steps
        out = {j: [] for j in range(self.i + 1)}
        by_day = {d: j for j in range(self.i + 1) for d in steps[j]["days"]}
        for a in self.s.known("attendance", self.week):
            if a["day"] in by_day:
                status = ATTENDANCE_STATUSES[a["status"]]
                fraction = 1.0 if math.isnan(a["fraction_absent"]) else a["fraction_absent"]
                j = by_day[a["day"]]
                out[j].append(
                    {
                        **a,
                        "status": status,
                        "absence": thousandths(fraction) if status in ABSENT else Fraction(0),
                        "special": steps[j]["special"][steps[j]["days"].index(a["day"])],
                    }
                )
        return out

    def absent(self, weeks, status=None):
        return sum(
            (a["absence"] for j in weeks for a in self.att[j] if status in (None, a["status"])), start=Fraction(0)
        )

    def taken_days(self, weeks):
        return sum(len(self.s.steps[j]["days"]) for j in weeks if self.att[j])

    def day_flags(self):
        absent_days = {a["day"] for j in self.year for a in self.att[j] if a["absence"] >= Fraction(1, 2)}
        return [d in absent_days for j in self.year for d in self.s.steps[j]["days"]]

    def attendance(self):
        steps, o = self.s.steps, {}
        w4, before = self.window(0, 3), self.window(4, 11)
        d4, d_before, d_year = self.taken_days(w4), self.taken_days(before), self.taken_days(self.year)
        a_year = self.absent(self.year)
        o["absence_rate_wk"] = self.absent([self.i]) / len(self.step["days"]) if self.att[self.i] else NAN
        o["absence_rate_4wk"] = div(self.absent(w4), d4)
        o["absence_rate_ytd"] = div(a_year, d_year)
        if d_year >= 10:
            rate = a_year / d_year
            o["chronic_absence_tier"] = sum(rate >= Fraction(line) for line in ("0.05", "0.1", "0.2"))
        if len(self.year) >= 6 and d4 and d_before:
            o["absence_rate_change"] = self.absent(w4) / d4 - self.absent(before) / d_before
        points = [(j, self.absent([j]) / len(steps[j]["days"])) for j in self.window(0, 7) if self.att[j]]
        if len(points) >= 4:
            o["absence_trend_8wk"] = slope(points)
        o["unexcused_absence_rate_4wk"] = div(self.absent(w4, "absent_unexcused"), d4)
        if d_year:
            o["unexcused_share_ytd"] = (self.absent(self.year, "absent_unexcused") + 1) / (a_year + 2)
            runs, run = [0], 0
            for flag in self.day_flags():
                run = run + 1 if flag else 0
                runs.append(run)
            o["absence_streak_current"], o["absence_streak_max_ytd"] = min(runs[-1], 20), min(max(runs), 20)
        recent = [a for j in w4 for a in self.att[j]]
        present = [a for a in recent if a["status"] not in ABSENT]
        if self.s.cal.c.records_tardies[self.step["school"]]:
            o["tardy_rate_4wk"] = div(sum(a["status"] == "tardy" for a in recent), len(present))
        by_period = [a for a in present if a["periods_scheduled"] > 0 and not math.isnan(a["periods_absent"])]
        o["partial_day_absence_rate_4wk"] = div(
            sum(a["periods_absent"] for a in by_period), sum(a["periods_scheduled"] for a in by_period)
        )
        special = [flag for j in self.year for flag in steps[j]["special"]]
        pi = Fraction(sum(special), len(special))
        if d_year:
            on_special = sum((a["absence"] for j in self.year for a in self.att[j] if a["special"]), start=Fraction(0))
            o["mon_fri_prebreak_absence_share_ytd"] = (on_special + 4 * pi) / (a_year + 4)
        last_year = [j for j in range(self.i) if steps[j]["year"] == self.step["year"] - 1]
        o["absence_rate_prior_year"] = div(self.absent(last_year), self.taken_days(last_year))
        support = [d4, d_year, len(present), self.items_due_4wk(), pi]
        return o, dict(zip(SUPPORT_COLUMNS, support, strict=True)), d4 > 0

    # ---------------------------------------------------------------- course
    def prepare(self, g):
        s = self.s
        g["due"] = s.step_of(g["due_day"]) if s.in_records(g["due_day"]) else None
        g["has_score"] = not math.isnan(g["score_pct"]) and g["posted_day"] <= self.close
        g["submitted"] = g["submitted_day"] <= self.close
        g["score"] = thousandths(g["score_pct"]) if g["has_score"] else None
        g["points"] = thousandths(1.0 if math.isnan(g["points_weight"]) else g["points_weight"])
        g["posted"] = s.step_of(g["posted_day"]) if g["has_score"] and s.in_records(g["posted_day"]) else None
        g["handed_in"] = g["submitted"] or (g["has_score"] and g["score"] > 0)

    def due_in(self, weeks):
        return [g for g in self.grades if g["due"] in weeks]

    def items_due_4wk(self):
        return len(self.due_in(self.window(0, 3)))

    def averages(self, term, j):
        """{course: (average, posted items, is core, subject)} from what was posted (and fell due) by step j."""
        week, out = self.s.steps[j]["week"], {}
        sums = {}
        for g in self.grades:
            if g["term"] != term:
                continue
            course = (g["course"], g["subject"], g["is_core"])
            total = sums.setdefault(course, [Fraction(0), Fraction(0), 0])
            if g["posted"] is not None and g["posted"] <= j:
                total[0] += g["score"] * g["points"]
                total[1] += g["points"]
                total[2] += 1
            elif self.o.district_posts_zeros and g["due"] is not None and g["due"] <= j:
                submitted = monday(g["submitted_day"]) <= week
                scored = not math.isnan(g["score_pct"]) and monday(g["posted_day"]) <= week
                # A day in a break counts at the next step.
                if not submitted and not scored:
                    total[1] += g["points"]
        for course, (weighted, points, count) in sums.items():
            if points > 0:
                out[course] = (weighted / points, count, course[2], SUBJECTS[course[1]])
        return out

    def grade_points(self, pct):
        return next((Fraction(str(p)) for line, p in self.o.grade_point_cutoffs if pct >= Fraction(str(line))), 0)

    def gpa_term(self):
        """(term, averages) of the latest term of the year in which 2 courses have 2 posted items."""
        terms = []
        for j in reversed(self.year):
            if not terms or terms[-1] != self.s.steps[j]["term"]:
                terms.append(self.s.steps[j]["term"])
        for term in terms:
            courses = self.averages(term, self.i) if term >= 0 else {}
            if sum(count >= 2 for _, count, _, _ in courses.values()) >= 2:
                return term, list(courses.values())
        return None, None

    def course(self):
        o = {}
        term, courses = self.gpa_term()
        if courses:
            o["gpa_current_term"] = sum(self.grade_points(c[0]) for c in courses) / Fraction(len(courses))
            o["courses_failing_count"] = sum(c[0] < Fraction(self.o.passing_pct) for c in courses)
            o["core_courses_failing_count"] = sum(c[0] < Fraction(self.o.passing_pct) and c[2] for c in courses)
        self.transcript(o, term)
        now = self.step["term"]
        current = self.averages(now, self.i).values() if now >= 0 else []
        for subject in ("math", "ela"):
            o[f"{subject}_course_avg"] = min((c[0] for c in current if c[3] == subject), default=NAN)
        points = []
        for j in reversed(self.window(0, 7)):
            if self.s.steps[j]["term"] != now or now < 0:
                break
            values = [c[0] for c in self.averages(now, j).values()]
            if values:
                points.append((j, sum(values) / len(values)))
        if len(points) >= 4:
            o["course_avg_trend_8wk"] = slope(points)
        self.work(o)
        posted_8 = [g for g in self.grades if g["posted"] in self.window(0, 7)]
        results_8 = [
            t
            for t in self.results
            if self.s.in_records(max(t["posted_day"], t["known_day"]))
            and self.s.step_of(max(t["posted_day"], t["known_day"])) in self.window(0, 7)
        ]
        mask = bool(self.due_in(self.window(0, 7)) or posted_8 or results_8)
        if not mask and not self.results:
            o["core_semester_f_count"] = NAN
        return o, mask

    def work(self, o):
        due = self.due_in(self.window(0, 3))
        if len(due) >= 3:
            o["missing_assignment_rate_4wk"] = Fraction(sum(not g["handed_in"] for g in due), len(due))
        submitted = [g for g in due if g["submitted"]]
        if len(submitted) >= 3:
            late = sum(g["submitted_day"] > g["due_day"] for g in submitted)
            o["late_submission_rate_4wk"] = Fraction(late, len(submitted))
        scored = [g for g in self.grades if g["posted"] is not None and (g["score"] > 0 or g["submitted"])]
        recent = [g for g in scored if g["posted"] in self.window(0, 3) and g["points"] > 0]
        if not recent:
            steps = [g["posted"] for g in scored if g["posted"] in self.window(4, 7) and g["points"] > 0]
            recent = [g for g in scored if steps and g["posted"] == max(steps)]
        points = sum(g["points"] for g in recent)
        o["assignment_score_mean_4wk"] = div(sum(g["score"] * g["points"] for g in recent), points)
        last_8 = [g["score"] for g in scored if g["posted"] in self.window(0, 7)]
        if len(last_8) >= 4:
            o["assignment_score_sd_8wk"] = pstdev(float(score) for score in last_8)
        steps = [
            self.s.step_of(g["submitted_day"])
            for g in self.grades
            if g["submitted"] and self.s.in_records(g["submitted_day"])
        ]
        steps = [j for j in steps if j >= self.y0]
        if steps or self.due_in(self.year):
            since = min(8, self.i - max(steps) if steps else self.i - self.y0 + 1)
            owed = self.due_in(self.window(0, since - 1)) if since else []
            o["weeks_since_last_submission"] = since if owed else 0

    # ---------------------------------------------------------------- transcripts
    def entry_year(self, grade):
        steps = self.s.steps
        seen = [steps[j]["year"] for j in range(self.i + 1) if steps[j]["grade"] == grade]
        return seen[0] if seen else steps[0]["year"] - (steps[0]["grade"] - grade)

    def gpa(self, results):
        marked = [t for t in results if not math.isnan(t["final_pct"]) and t["credits_attempted"] > 0]
        credit = sum(thousandths(t["credits_attempted"]) for t in marked)
        points = sum(
            self.grade_points(thousandths(t["final_pct"])) * thousandths(t["credits_attempted"]) for t in marked
        )
        return div(points, credit)

    def transcript(self, o, gpa_term):
        calendar_terms = self.s.cal.terms()
        term_year, term_end = {}, {}
        for (_, year, term), last in calendar_terms.items():
            term_year[term] = max(year, term_year.get(term, -1))
            term_end[term] = max(last, term_end.get(term, -1))
        o["gpa_cumulative"] = self.gpa(self.results)
        by_term = {}
        for t in self.results:
            if not math.isnan(t["final_pct"]) and t["credits_attempted"] > 0:
                by_term.setdefault(t["term"], []).append(t)
        order = sorted(
            (max(t["posted_day"] for t in rows), term_end.get(term, -1), term) for term, rows in by_term.items()
        )
        order = [term for _, _, term in order if term != gpa_term]
        if order and "gpa_current_term" in o:
            o["gpa_change_vs_prior_term"] = o["gpa_current_term"] - self.gpa(by_term[order[-1]])
        grade, first_year = self.step["grade"], self.s.steps[0]["year"]
        entry = self.entry_year(9)
        since = entry if grade >= 9 else self.entry_year(6) if grade >= 6 else -(10**6)
        counted = [
            t
            for t in self.results
            if (term_year[t["term"]] >= since if t["term"] in term_year else since <= first_year)
        ]
        o["core_semester_f_count"] = sum(t["is_core"] and t["final_pct"] < self.o.passing_pct for t in counted)
        if not 9 <= grade <= 12 or not counted:
            return
        first_monday = self.s.steps[0]["week"]
        history = any(t["term"] not in term_end or term_end[t["term"]] < first_monday for t in counted)
        expected = max(0, first_year - entry) * self.o.credits_per_year if history else 0
        school = self.step["school"]
        for (at, year, _), last in calendar_terms.items():
            in_time = year >= max(entry, first_year) and last <= self.close
            if at == school and in_time and (history or last >= first_monday):
                in_year = sum(1 for key in calendar_terms if key[:2] == (school, year))
                expected += self.o.credits_per_year / in_year
        o["credits_earned_ratio"] = div(float(sum(thousandths(t["credits_earned"]) for t in counted)), expected)

    # ---------------------------------------------------------------- discipline
    def discipline(self):
        s, o = self.s, {}
        for d in self.incidents:
            d["step"] = s.step_of(d["day"]) if s.in_records(d["day"]) else None
        inside = [d for d in self.incidents if d["step"] is not None and d["step"] <= self.i]
        counted = [d for d in inside if d["is_objective"] or not self.o.objective_discipline_only]
        known_here = any(d["step"] == self.i for d in inside)
        mask = any(s.steps[j]["reported"] for j in self.window(0, 3)) or any(
            d["step"] in self.window(0, 3) for d in inside
        )
        if not mask:
            return o, mask
        last_8 = [d for d in counted if d["step"] in self.window(0, 7)]
        if self.step["reported"] or known_here:
            o["odr_count_wk"] = sum(d["step"] == self.i for d in counted)
        o["odr_count_8wk"] = len(last_8)
        o["odr_count_ytd"] = sum(d["step"] >= self.y0 for d in counted)
        if len(self.year) >= 10:
            before = sum(d["step"] in self.window(8, 15) for d in counted)
            o["odr_rate_change_8wk"] = (len(last_8) - before) / 8
        o["objective_incident_count_ytd"] = sum(d["step"] >= self.y0 and d["is_objective"] for d in inside)
        o["major_incident_count_8wk"] = sum(bool(d["is_major"]) for d in last_8)
        o["severity_max_8wk"] = max((d["severity"] for d in last_8), default=0)
        ewma = 0.0
        for j in range(self.i + 1):
            ewma *= 2 ** (-1 / 4)
            if j and s.steps[j]["year"] != s.steps[j - 1]["year"]:
                ewma *= 0.5
            ewma += sum(d["severity"] for d in counted if d["step"] == j)
        o["severity_ewma"] = ewma
        o["iss_days_ytd"] = self.served("ISS", self.year)
        o["oss_days_8wk"] = self.served("OSS", self.window(0, 7))
        o["oss_days_ytd"] = self.served("OSS", self.year)
        o["incident_recency"] = math.exp(-(self.i - max(d["step"] for d in inside)) / 8) if inside else 0
        if self.y0 > 0:
            earlier = [
                d
                for d in self.incidents
                if DISCIPLINE_ACTIONS[d["action"]] == "OSS" and (d["step"] is None or d["step"] < self.y0)
            ]
            o["oss_count_prior_years"] = min(len(earlier), 5)
        return o, mask

    def served(self, action, weeks):
        total = 0.0
        days = [(d, j) for j in range(self.i + 1) for d in self.s.steps[j]["days"]]
        for sanction in self.incidents_with(action):
            start = sanction["action_start_day"] if sanction["action_start_day"] != NEVER else sanction["day"]
            left = 1.0 if math.isnan(sanction["action_days"]) else float(sanction["action_days"])
            if not self.s.in_records(start):
                continue
            for d, j in days:
                if d >= start and left > 0:
                    total += min(1.0, left) if j in weeks else 0
                    left -= 1
        return total

    def incidents_with(self, action):
        return [d for d in self.s.known("discipline", self.week) if DISCIPLINE_ACTIONS[d["action"]] == action]

    # ---------------------------------------------------------------- channels
    def aux(self):
        steps = self.s.steps
        gap = (self.week - steps[self.i - 1]["week"]) // 7 if self.i else 0
        first = self.s.cal.session_days(self.step["school"], self.step["year"])
        number = max((self.week - monday(first[0])) // 7, 0) + 1 if first else 1
        n_days = sum(len(steps[j]["days"]) for j in self.year)
        return [math.log1p(gap), number / 40, n_days / 180]

    def context(self):
        birthday = NAN
        if self.s.birth != NEVER:
            september = day_number(pd.Timestamp(self.step["year"], 9, 1).date())
            birthday = (september - self.s.birth) / 365.25 - (5 + self.step["grade"])
        opening = self.s.steps[self.y0]
        days = self.s.cal.session_days(opening["entry_school"], opening["year"])
        midyear = sum(d < opening["entry"] for d in days) > 20
        schools = {e["school"] for e in self.s.known("enrollments", self.week) if e["entry_day"] <= self.close}
        return [self.step["grade"], birthday, float(midyear), len(schools)]

    def all(self):
        attendance, support, has_attendance = self.attendance()
        course, has_course = self.course()
        discipline, has_discipline = self.discipline()
        values = {**attendance, **course, **discipline}
        unknown = set(values) - set(FEATURE_NAMES)
        assert not unknown, unknown
        return {
            "values": [float(values.get(name, NAN)) for name in FEATURE_NAMES],
            "support": [float(support[name]) for name in SUPPORT_COLUMNS],
            "mask": [has_attendance, has_course, has_discipline],
            "aux": self.aux(),
            "context": self.context(),
            "week": self.week,
            "school": self.step["school"],
            "grade_level": self.step["grade"],
            "school_year": self.step["year"],
        }


def oracle_features(records: RecordSet, *, through_week: int, options: FeatureOptions) -> FeatureBlock:
    """What `features.compute.compute_features` should return."""
    tables = {
        name: frame(getattr(records, name))
        for name in ("attendance", "grades", "transcript", "discipline", "enrollments")
    }
    calendar = Calendar(records.calendars)
    rows = [
        [row.all() for row in Student(records, n, through_week, options, tables, calendar).rows()]
        for n in range(records.n_students)
    ]
    length = max((len(r) for r in rows), default=0) or 1

    def stacked(name, width, fill, dtype):
        out = np.full((records.n_students, length, *width), fill, dtype=dtype)
        for n, student_rows in enumerate(rows):
            for i, row in enumerate(student_rows):
                out[n, i] = row[name]
        return out

    return FeatureBlock(
        week=stacked("week", (), PAD, np.int32),
        values=stacked("values", (42,), np.nan, np.float32),
        support=stacked("support", (5,), np.nan, np.float32),
        mask=stacked("mask", (3,), False, bool),
        aux=stacked("aux", (3,), np.nan, np.float32),
        context=stacked("context", (4,), np.nan, np.float32),
        school=stacked("school", (), PAD, np.int32),
        grade_level=stacked("grade_level", (), PAD, np.int32),
        school_year=stacked("school_year", (), PAD, np.int32),
    )
