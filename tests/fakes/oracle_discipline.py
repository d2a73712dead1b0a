"""Discipline features of the oracle."""

import math

from edupulse_ml.core.tables import DISCIPLINE_ACTIONS
from edupulse_ml.core.weeks import NEVER
from tests.fakes.oracle_student import Cutoff


class Discipline(Cutoff):
    """Discipline of one student, seen at one cutoff."""

    def __init__(self, student, i):
        super().__init__(student, i)
        self.incidents = [d for d in self.known("discipline") if d["day"] <= self.close]

    def features(self):
        """(features, mask)"""
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
        return [d for d in self.known("discipline") if DISCIPLINE_ACTIONS[d["action"]] == action]
