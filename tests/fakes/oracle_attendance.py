"""Attendance features of the oracle."""

import math
from fractions import Fraction

from edupulse_ml.core.contract import SUPPORT_COLUMNS
from edupulse_ml.core.tables import ATTENDANCE_STATUSES
from tests.fakes.oracle_numbers import NAN, div, slope, thousandths
from tests.fakes.oracle_student import Cutoff

ABSENT = {"absent_excused", "absent_unexcused", "suspended_out"}


class Attendance(Cutoff):
    """Attendance of one student, seen at one cutoff."""

    def __init__(self, student, i):
        super().__init__(student, i)
        self.att = self.attendance_by_step()

    def attendance_by_step(self):
        steps = self.s.steps
        out = {j: [] for j in range(self.i + 1)}
        by_day = {d: j for j in range(self.i + 1) for d in steps[j]["days"]}
        for a in self.known("attendance"):
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

    def features(self, items_due_4wk):
        """(features, support, mask)"""
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
        support = [d4, d_year, len(present), items_due_4wk, pi]
        return o, dict(zip(SUPPORT_COLUMNS, support, strict=True)), d4 > 0
