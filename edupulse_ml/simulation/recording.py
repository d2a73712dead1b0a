"""Collects the weekly arrays of one chunk into a `Trajectory`."""

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.simulation.coursework_process import NEVER_SUBMITTED
from edupulse_ml.simulation.discipline_process import WeekIncidents
from edupulse_ml.simulation.enrolment_process import Registrar
from edupulse_ml.simulation.school_calendar import DistrictCalendar
from edupulse_ml.simulation.trajectories import N_COURSES, NOT_ENROLLED, Hidden, Incidents, Spells, Trajectory

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Int8 = NDArray[np.int8]
Bool = NDArray[np.bool_]


class Recorder:
    """Writes weeks into arrays of [people, weeks]."""

    def __init__(self, n: int, *, calendar: DistrictCalendar) -> None:
        self._monday = np.concatenate([year.weeks for year in calendar.years])
        self._year_of_week = np.concatenate([np.full(year.n_weeks, i) for i, year in enumerate(calendar.years)])
        weeks = len(self._monday)
        self._school = np.zeros((n, weeks), dtype=np.int16)
        self._grade = np.zeros((n, weeks), dtype=np.int8)
        self._status = np.full((n, weeks, 5), NOT_ENROLLED, dtype=np.int8)
        self._periods = np.zeros((n, weeks, 5), dtype=np.int8)
        self._score = np.full((n, weeks, N_COURSES), np.nan, dtype=np.float32)
        self._submitted_after = np.full((n, weeks, N_COURSES), NEVER_SUBMITTED, dtype=np.int8)
        self._final = np.full((n, len(calendar.years), 2, N_COURSES), np.nan, dtype=np.float32)
        self._hidden = {
            name: np.full((n, weeks), np.nan, dtype=np.float32)
            for name in ("engagement", "shock", "credit_deficit", "hazard")
        }
        self._n = n
        self._support: list[tuple[Int, Int]] = []
        self._incidents: list[Incidents] = []

    def add_days(self, column: int, status: Int8, periods_absent: Int8) -> None:
        """One week of attendance."""
        self._status[:, column] = status
        self._periods[:, column] = periods_absent

    def add_places(self, column: int, registrar: Registrar) -> None:
        """School and grade of this week."""
        self._school[:, column] = registrar.school
        self._grade[:, column] = registrar.grade

    def add_items(self, column: int, score: Float, submitted_after: Int8) -> None:
        """One week of coursework."""
        self._score[:, column] = score
        self._submitted_after[:, column] = submitted_after

    def add_incidents(self, week: WeekIncidents, *, monday: int, school: Int) -> None:
        """One week of referrals."""
        self._incidents.append(
            Incidents(
                person=week.person,
                day=monday + week.weekday,
                school=school[week.person],
                behaviour=week.behaviour,
                is_objective=week.is_objective,
                severity=week.severity,
                is_major=week.is_major,
                action=week.action,
                action_days=week.action_days,
            )
        )

    def add_hidden(
        self, column: int, at_risk: Bool, *, engagement: Float, shock: Float, credit_deficit: Float, hazard: Float
    ) -> None:
        """Latents of those who attend."""
        latents = {"engagement": engagement, "shock": shock, "credit_deficit": credit_deficit, "hazard": hazard}
        for name, values in latents.items():
            self._hidden[name][at_risk, column] = values[at_risk]

    def add_marks(self, year_index: int, term: int, final_pct: Float) -> None:
        """Marks at the end of a term."""
        self._final[:, year_index, term] = final_pct

    def add_support(self, supported: Bool, column: int) -> None:
        """Support that began this week."""
        person = np.flatnonzero(supported)
        self._support.append((person, np.full(len(person), column)))

    def finish(self, *, spells: Spells, item_due: Int8, leaving_day: Int, leaving_kind: Int8) -> Trajectory:
        """Everything that was recorded."""
        nobody = np.empty(0, dtype=np.int64)
        support_person = np.concatenate([nobody, *(person for person, _ in self._support)])
        support_began = np.concatenate([nobody, *(week for _, week in self._support)])
        first_support = np.full(self._n, -1, dtype=np.int64)
        first_support[support_person[::-1]] = support_began[::-1]
        names = list(vars(self._incidents[0]))
        incidents = Incidents(**{name: np.concatenate([getattr(i, name) for i in self._incidents]) for name in names})
        return Trajectory(
            monday=self._monday,
            year_of_week=self._year_of_week,
            school=self._school,
            grade_level=self._grade,
            status=self._status,
            periods_absent=self._periods,
            score=self._score,
            submitted_after=self._submitted_after,
            item_due=item_due,
            final_pct=self._final,
            spells=spells,
            incidents=incidents,
            hidden=Hidden(
                **self._hidden,
                leaving_day=leaving_day,
                leaving_kind=leaving_kind,
                support_week=first_support,
                support_person=support_person,
                support_began=support_began,
            ),
        )
