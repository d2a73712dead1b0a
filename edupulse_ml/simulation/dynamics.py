"""The weekly loop: one chunk of people through all simulated years."""

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.simulation import enrolment_process as enrolment
from edupulse_ml.simulation.attendance_process import (
    EXCUSED,
    SUSPENDED,
    UNEXCUSED,
    AttendanceState,
    SchoolWeek,
    finish_periods,
    plan_week,
)
from edupulse_ml.simulation.calibration import ATTENDANCE, COURSEWORK, ENGAGEMENT
from edupulse_ml.simulation.coursework_process import NEVER_SUBMITTED, Syllabus, TermMarks, hand_in
from edupulse_ml.simulation.discipline_process import OSS, refer, serve_suspensions
from edupulse_ml.simulation.engagement import Circumstances, leaving_logit, new_state, probability
from edupulse_ml.simulation.population import People, Schools
from edupulse_ml.simulation.recording import Recorder
from edupulse_ml.simulation.school_calendar import DistrictCalendar, SchoolYear
from edupulse_ml.simulation.settings import DistrictPlan
from edupulse_ml.simulation.trajectories import Trajectory

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

_SUPPORT_OFFERED_IN_WEEKS = (10, 20, 30)
_WINTER_PEAK = 0.52


class Chunk:
    """The people whose first school is the same, on their way through the years."""

    def __init__(
        self,
        plan: DistrictPlan,
        people: People,
        *,
        schools: Schools,
        calendar: DistrictCalendar,
        syllabus: Syllabus,
    ) -> None:
        self._rng = np.random.default_rng([plan.seed, 5, people.home_school])
        self._plan, self._people, self._schools = plan, people, schools
        self._calendar, self._syllabus = calendar, syllabus
        n = people.n_people
        self._engagement = new_state(people, self._rng)
        self._attendance = AttendanceState(
            is_ill=np.zeros(n, dtype=np.bool_),
            suspension_left=np.zeros(n, dtype=np.int64),
            last_present_day=np.full(n, -1, dtype=np.int64),
        )
        self._registrar = enrolment.Registrar.at_start(people)
        self._deficit = people.credit_deficit.copy()
        self._new_deficit = np.zeros(n)
        self._weekly_hazard = np.zeros(n)
        self._days_absent = np.zeros(n)
        self._days_enrolled = np.zeros(n)
        self._marks = TermMarks.empty(n)
        self._recorder = Recorder(n, calendar=calendar)

    def run(self) -> Trajectory:
        """Live through all years."""
        column = 0
        for index, year in enumerate(self._calendar.years):
            enrolment.start_year(self._rng, self._registrar, year, schools=self._schools.n_schools)
            self._new_deficit[:] = 0
            self._days_absent[:] = 0
            self._days_enrolled[:] = 0
            for week in range(year.n_weeks):
                self._week(index, year, week=week, column=column)
                column += 1
            self._end_year(year)
        return self._recorder.finish(
            spells=self._registrar.spells(),
            item_due=self._syllabus.due_weekday,
            leaving_day=self._registrar.leaving_day,
            leaving_kind=self._registrar.leaving_kind,
        )

    def _week(self, year_index: int, year: SchoolYear, *, week: int, column: int) -> None:
        people, registrar = self._people, self._registrar
        monday = int(year.weeks[week])
        arriving = (people.start_year == year_index) & (people.start_week == week)
        registrar.enter(arriving & (registrar.place == enrolment.AWAITED), day=monday)
        self._engagement.advance(self._rng)
        self._offer_support(week, column=column)
        self._recorder.add_places(column, registrar)
        school_week = self._school_week(year_index, year, week=week)
        if school_week.in_school.any():
            self._school_days(school_week, column=column, year=year)
        if week in (year.second_term_week - 1, year.n_weeks - 1):
            self._close_term(year_index, term=year.term_of_week(week))
        enrolment.take_off_the_roll(registrar, next_monday=monday + 7)
        if week < year.n_weeks - 2:
            enrolment.move_away(
                self._rng,
                registrar,
                next_monday=monday + 7,
                last_present=self._attendance.last_present_day,
                schools=self._schools.n_schools,
            )

    def _school_week(self, year_index: int, year: SchoolYear, *, week: int) -> SchoolWeek:
        registrar = self._registrar
        monday = int(year.weeks[week])
        not_yet_out = (monday + np.arange(5))[None, :] < registrar.exit_due[:, None]
        progress = week / (year.n_weeks - 1)
        return SchoolWeek(
            monday=monday,
            in_school=year.is_instructional[registrar.school, week] & registrar.enrolled[:, None] & not_yet_out,
            before_break=year.sees_break_after()[registrar.school, week],
            progress=progress,
            winter=float(np.exp(-0.5 * ((progress - _WINTER_PEAK) / 0.16) ** 2)),
            is_last=week == year.n_weeks - 1,
            absence_shift=ATTENDANCE.shift if self._plan.shift and year_index >= 2 else 0.0,
        )

    def _school_days(self, school_week: SchoolWeek, *, column: int, year: SchoolYear) -> None:
        people, registrar, engagement = self._people, self._registrar, self._engagement.effective
        attending = registrar.place == enrolment.ATTENDING
        plan = plan_week(
            self._rng,
            school_week,
            state=self._attendance,
            engagement=engagement,
            shock=self._engagement.shock,
            health=people.health,
            attending=attending,
        )
        climate = self._schools.climate[registrar.school]
        referrals = refer(self._rng, people, engagement=engagement, climate=climate, attending=attending)
        referrals = serve_suspensions(
            plan.status, referrals, state=self._attendance, monday=school_week.monday, attending=attending
        )
        absent = np.isin(plan.status, (EXCUSED, UNEXCUSED, SUSPENDED)).sum(axis=1)
        self._days_absent += absent
        self._days_enrolled += school_week.in_school.sum(axis=1)
        self._recorder.add_days(column, plan.status, finish_periods(plan))
        self._recorder.add_incidents(referrals, monday=school_week.monday, school=registrar.school)
        self._coursework(school_week, absent=absent, attending=attending, column=column)
        suspended = np.zeros(people.n_people, dtype=np.bool_)
        suspended[referrals.person[referrals.action == OSS]] = True
        self._leave(year, school_week, suspended=suspended, attending=attending, column=column)

    def _coursework(self, week: SchoolWeek, *, absent: Int, attending: Bool, column: int) -> None:
        school = self._registrar.school
        weekday = self._syllabus.due_weekday[school, column]
        enrolled_then = np.take_along_axis(week.in_school, np.maximum(weekday, 0).astype(np.int64), axis=1)
        due = (weekday >= 0) & enrolled_then
        score, submitted_after = hand_in(
            self._rng,
            self._people,
            engagement=self._engagement.effective,
            days_absent=absent.astype(np.float64),
            due=due,
            attending=attending,
        )
        self._marks.add(score=score, weight=self._syllabus.weight[school, column], due=due)
        self._recorder.add_items(column, score, np.where(due, submitted_after, NEVER_SUBMITTED).astype(np.int8))

    def _leave(self, year: SchoolYear, week: SchoolWeek, *, suspended: Bool, attending: Bool, column: int) -> None:
        people, state, registrar = self._people, self._engagement, self._registrar
        september = year.first_day + 11
        now = Circumstances(
            credit_deficit=self._deficit,
            over_age=np.maximum((september - people.birth_day) // 365.25 - 5 - registrar.grade, 0).astype(np.int64),
            age_years=(week.monday - people.birth_day) / 365.25,
            suspended_this_week=suspended,
            season=2 * week.progress - 1,
        )
        self._weekly_hazard = probability(leaving_logit(people, state, now))
        at_risk = attending & week.in_school.any(axis=1)
        self._recorder.add_hidden(
            column,
            at_risk,
            engagement=state.effective,
            shock=state.shock,
            credit_deficit=self._deficit,
            hazard=self._weekly_hazard,
        )
        enrolment.leave_by_hazard(
            self._rng,
            registrar,
            weekly_hazard=self._weekly_hazard,
            at_risk=at_risk,
            monday=week.monday,
            last_present=self._attendance.last_present_day,
        )

    def _close_term(self, year_index: int, *, term: int) -> None:
        final = self._marks.final_pct()
        final[~self._registrar.enrolled] = np.nan
        failed = (final < COURSEWORK.pass_mark).sum(axis=1)
        self._deficit += COURSEWORK.credits_per_course_term * failed
        self._new_deficit += COURSEWORK.credits_per_course_term * failed
        self._recorder.add_marks(year_index, term, final)
        self._marks = TermMarks.empty(self._people.n_people)

    def _offer_support(self, week: int, *, column: int) -> None:
        if not self._plan.intervention or week not in _SUPPORT_OFFERED_IN_WEEKS:
            return
        missed = self._days_absent / np.maximum(self._days_enrolled, 1) >= 0.1
        accepts = self._rng.random(self._people.n_people) < ENGAGEMENT.support_uptake
        supported = missed & accepts & (self._registrar.place == enrolment.ATTENDING)
        self._engagement.support_weeks_left[supported] = ENGAGEMENT.support_weeks
        self._recorder.add_support(supported, column)

    def _recover_credits(self) -> None:
        """Summer courses, taken with other providers: they count for graduation and stand in no transcript."""
        takes_part = self._rng.random(self._people.n_people) < COURSEWORK.recovery_chance
        recovered = np.minimum(self._new_deficit, COURSEWORK.recovered_credits) * takes_part
        self._deficit -= recovered
        self._new_deficit -= recovered

    def _end_year(self, year: SchoolYear) -> None:
        self._recover_credits()
        end = enrolment.YearEnd(
            last_present=self._attendance.last_present_day,
            credit_deficit=self._deficit,
            new_deficit=self._new_deficit,
            weekly_hazard=self._weekly_hazard,
        )
        enrolment.end_year(self._rng, self._registrar, year, end=end)
        self._attendance.is_ill[:] = False
        self._attendance.suspension_left[:] = 0
        for _ in range(ENGAGEMENT.summer_weeks):
            self._engagement.advance(self._rng)
