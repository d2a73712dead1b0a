"""Who is enrolled where: entries, moves, leaving, graduation, and the spells that the registrar writes."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.simulation.calibration import HAZARD, MOVEMENT
from edupulse_ml.simulation.population import LAST_GRADE, People
from edupulse_ml.simulation.school_calendar import SchoolYear
from edupulse_ml.simulation.trajectories import Spells

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Int8 = NDArray[np.int8]
Bool = NDArray[np.bool_]

AWAITED, ATTENDING, LEFT, BETWEEN_YEARS, GONE = range(5)
BY_HAZARD, BY_OTHER_CAUSE, OVER_SUMMER = 1, 2, 3
_FAR: Final = 2**40
_TERM_WEEKS: Final = 37
_MAX_DEFICIT_TO_GRADUATE: Final = 5.0
_RETENTION_DEFICIT: Final = 2.0
_OTHER_EXITS: Final = ("transfer_out", "emigrated", "ged_transfer", "long_illness", "deceased")
_OTHER_EXIT_SHARES: Final = (0.90, 0.04, 0.03, 0.02, 0.01)


@dataclass
class Registrar:
    """Enrolment of N people now. `exit_due` is the day on which a leaver will be taken off the roll."""

    place: Int
    school: Int
    grade: Int
    entry_day: Int
    exit_due: Int
    leaving_day: Int
    leaving_kind: Int8
    spell_parts: list[Spells] = field(default_factory=list)

    @staticmethod
    def at_start(people: People) -> "Registrar":
        n = people.n_people
        return Registrar(
            place=np.full(n, AWAITED),
            school=np.full(n, people.home_school),
            grade=people.start_grade.copy(),
            entry_day=np.zeros(n, dtype=np.int64),
            exit_due=np.full(n, _FAR),
            leaving_day=np.full(n, -1),
            leaving_kind=np.zeros(n, dtype=np.int8),
        )

    @property
    def enrolled(self) -> Bool:
        """[N] on the roll, attending or not."""
        return (self.place == ATTENDING) | (self.place == LEFT)

    def enter(self, who: Bool, *, day: int) -> None:
        """Open an enrolment."""
        self.place[who] = ATTENDING
        self.entry_day[who] = day
        self.exit_due[who] = _FAR

    def close(
        self,
        who: Bool,
        *,
        exit_day: Int,
        last_attended_day: Int,
        code: NDArray[np.str_],
        known_day: Int,
        corrected_code: NDArray[np.str_] | None = None,
        corrected_day: Int | None = None,
    ) -> None:
        """Close the enrolments of `who` [N]; the other arguments have one entry per closed enrolment."""
        person = np.flatnonzero(who)
        self.spell_parts.append(
            Spells(
                person=person,
                school=self.school[person],
                grade_level=self.grade[person],
                entry_day=self.entry_day[person],
                exit_day=exit_day,
                last_attended_day=last_attended_day,
                exit_code=code,
                exit_known_day=known_day,
                corrected_code=code if corrected_code is None else corrected_code,
                corrected_day=known_day if corrected_day is None else corrected_day,
            )
        )

    def leave(self, who: Bool, *, kind: int, last_present_day: Int) -> None:
        """From now on `who` [N] do not come any more, though the registrar does not know yet."""
        self.leaving_day[who] = last_present_day[who]
        self.leaving_kind[who] = kind
        self.place[who] = LEFT

    def spells(self) -> Spells:
        """All enrolments so far."""
        names = list(vars(self.spell_parts[0]))
        return Spells(**{name: np.concatenate([getattr(part, name) for part in self.spell_parts]) for name in names})


def _codes(code: str, n: int) -> NDArray[np.str_]:
    return np.full(n, code, dtype="U16")


def leave_by_hazard(
    rng: np.random.Generator,
    registrar: Registrar,
    *,
    weekly_hazard: Float,
    at_risk: Bool,
    monday: int,
    last_present: Int,
) -> None:
    """Draw this week's leavers. Their exit is written 5 to 30 days after the last day at school."""
    n = len(weekly_hazard)
    draw = rng.random(n)
    delay = 5 + np.floor(26 * rng.beta(5.0, 0.9, n)).astype(np.int64)
    at_risk = at_risk & (last_present >= registrar.entry_day)
    by_hazard = at_risk & (draw < weekly_hazard)
    by_other_cause = at_risk & ~by_hazard & (draw < weekly_hazard + HAZARD.involved_weekly)
    registrar.leave(by_hazard, kind=BY_HAZARD, last_present_day=last_present)
    registrar.leave(by_other_cause, kind=BY_OTHER_CAUSE, last_present_day=last_present)
    gone = by_hazard | by_other_cause
    registrar.exit_due[gone] = np.maximum(last_present + np.minimum(delay, 30), monday + 5)[gone]


def take_off_the_roll(registrar: Registrar, *, next_monday: int) -> None:
    """Write the exits of leavers that fall before `next_monday`, each known on the day it takes effect."""
    due = (registrar.place == LEFT) & (registrar.exit_due <= next_monday)
    if not due.any():
        return
    day = registrar.exit_due[due]
    registrar.close(
        due,
        exit_day=day,
        last_attended_day=registrar.leaving_day[due],
        code=_codes("dropout", len(day)),
        known_day=day,
    )
    registrar.place[due] = GONE


def move_away(
    rng: np.random.Generator, registrar: Registrar, *, next_monday: int, last_present: Int, schools: int
) -> None:
    """This week's transfers out of the district, and moves to another of its schools."""
    n = len(registrar.place)
    draw, delay = rng.random(n), rng.integers(0, 8, n)
    code = rng.choice(_OTHER_EXITS, size=n, p=_OTHER_EXIT_SHARES)
    other = (registrar.school + rng.integers(1, schools, n)) % schools
    settled = (registrar.place == ATTENDING) & (last_present >= registrar.entry_day)
    out = settled & (draw < MOVEMENT.transfer_out / _TERM_WEEKS)
    within = settled & ~out & (draw < (MOVEMENT.transfer_out + MOVEMENT.change_school) / _TERM_WEEKS)
    for who, codes in ((out, code[out]), (within, _codes("changed_school", int(within.sum())))):
        if who.any():
            exit_day = np.full(int(who.sum()), next_monday)
            registrar.close(
                who,
                exit_day=exit_day,
                last_attended_day=last_present[who],
                code=codes.astype("U16"),
                known_day=exit_day + np.where(codes == "changed_school", 0, delay[who]),
            )
    registrar.place[out] = GONE
    registrar.school[within] = other[within]
    registrar.enter(within, day=next_monday)


@dataclass(frozen=True)
class YearEnd:
    """What decides how people leave a school year: [N] each."""

    last_present: Int
    credit_deficit: Float
    new_deficit: Float
    weekly_hazard: Float


def end_year(rng: np.random.Generator, registrar: Registrar, year: SchoolYear, *, end: YearEnd) -> None:
    """Graduate, promote, retain; those who will not come back over the summer look like everyone else in June."""
    n = len(registrar.place)
    summer_draw, transfer_draw = rng.random(n), rng.random(n)
    late = rng.integers(60, 115, n)
    retain_draw = rng.random(n)
    enrolled, attending = registrar.enrolled, registrar.place == ATTENDING
    attending &= end.last_present >= registrar.entry_day
    graduates = attending & (registrar.grade == LAST_GRADE) & (end.credit_deficit <= _MAX_DEFICIT_TO_GRADUATE)
    summer_hazard = 1 - (1 - np.minimum(end.weekly_hazard + HAZARD.involved_weekly, 0.5)) ** HAZARD.summer_weeks
    gives_up = attending & ~graduates & (summer_draw < summer_hazard)
    transfers = attending & ~graduates & ~gives_up & (transfer_draw < MOVEMENT.transfer_out_summer)
    registrar.leave(gives_up, kind=OVER_SUMMER, last_present_day=end.last_present)
    exit_day = np.full(int(enrolled.sum()), year.last_day + 1)
    code = np.where(graduates, "graduated", "year_end").astype("U16")
    corrected = np.where(transfers, "transfer_out", code).astype("U16")
    attended = np.where(registrar.leaving_day >= 0, registrar.leaving_day, end.last_present)
    attended = np.where(attended >= registrar.entry_day, attended, -1)
    registrar.close(
        enrolled,
        exit_day=exit_day,
        last_attended_day=attended[enrolled],
        code=code[enrolled],
        known_day=exit_day,
        corrected_code=corrected[enrolled],
        corrected_day=(exit_day + late[enrolled]),
    )
    returns = attending & ~graduates & ~gives_up & ~transfers
    registrar.place[enrolled] = np.where(returns, BETWEEN_YEARS, GONE)[enrolled]
    retained = (end.new_deficit >= _RETENTION_DEFICIT) & (retain_draw < 0.4)
    promoted = returns & ~retained & (registrar.grade < LAST_GRADE)
    registrar.grade[promoted] += 1


def start_year(rng: np.random.Generator, registrar: Registrar, year: SchoolYear, *, schools: int) -> None:
    """Those who come back enrol on the first day, a few of them at another school of the district."""
    n = len(registrar.place)
    draw, step = rng.random(n), rng.integers(1, schools, n)
    returning = registrar.place == BETWEEN_YEARS
    moving = returning & (draw < MOVEMENT.change_school)
    registrar.school[moving] = ((registrar.school + step) % schools)[moving]
    registrar.enter(returning, day=year.first_day)
