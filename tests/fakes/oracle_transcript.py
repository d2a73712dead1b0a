"""Transcript features of the oracle: cumulative GPA, failed semesters and credits."""

import math
from fractions import Fraction

from tests.fakes.oracle_numbers import div, thousandths
from tests.fakes.oracle_student import Cutoff


class Transcript(Cutoff):
    """Final marks of one student, seen at one cutoff."""

    def __init__(self, student, i):
        super().__init__(student, i)
        self.results = [
            t
            for t in self.known("transcript")
            if max(t["posted_day"], t["known_day"]) <= self.close and t["posted_day"] <= self.close
        ]

    def grade_points(self, pct):
        return next((Fraction(str(p)) for line, p in self.o.grade_point_cutoffs if pct >= Fraction(str(line))), 0)

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

    def add_features(self, o, gpa_term):
        """Adds the features of final marks to `o`, which holds the GPA of `gpa_term`."""
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
