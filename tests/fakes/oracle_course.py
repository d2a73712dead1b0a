"""Course features of the oracle: averages, term GPA and assigned work."""

import math
from fractions import Fraction
from statistics import pstdev

from edupulse_ml.core.tables import SUBJECTS
from tests.fakes.oracle_numbers import NAN, div, slope, thousandths
from tests.fakes.oracle_student import Cutoff, monday
from tests.fakes.oracle_transcript import Transcript


class Course(Cutoff):
    """Course work of one student, seen at one cutoff."""

    def __init__(self, student, i):
        super().__init__(student, i)
        self.transcript = Transcript(student, i)
        self.grades = self.known("grades")
        for g in self.grades:
            self.prepare(g)

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

    def features(self):
        """(features, mask)"""
        o = {}
        term, courses = self.gpa_term()
        if courses:
            o["gpa_current_term"] = sum(self.transcript.grade_points(c[0]) for c in courses) / Fraction(len(courses))
            o["courses_failing_count"] = sum(c[0] < Fraction(self.o.passing_pct) for c in courses)
            o["core_courses_failing_count"] = sum(c[0] < Fraction(self.o.passing_pct) and c[2] for c in courses)
        self.transcript.add_features(o, term)
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
            for t in self.transcript.results
            if self.s.in_records(max(t["posted_day"], t["known_day"]))
            and self.s.step_of(max(t["posted_day"], t["known_day"])) in self.window(0, 7)
        ]
        mask = bool(self.due_in(self.window(0, 7)) or posted_8 or results_8)
        if not mask and not self.transcript.results:
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
