"""Behaviour, referral and sanction: three steps, the last two of which differ between groups."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.tables import DISCIPLINE_ACTIONS
from edupulse_ml.simulation.attendance_process import PRESENT, SUSPENDED, TARDY, AttendanceState
from edupulse_ml.simulation.calibration import DISCIPLINE
from edupulse_ml.simulation.population import People
from edupulse_ml.simulation.trajectories import NOT_ENROLLED

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Int8 = NDArray[np.int8]
Bool = NDArray[np.bool_]

OBJECTIVE_CODES: Final = ("fighting", "drugs_alcohol", "theft", "threat", "vandalism", "weapon")
_OBJECTIVE_SHARES: Final = (0.34, 0.27, 0.13, 0.13, 0.11, 0.02)
SUBJECTIVE_CODES: Final = ("disruption", "defiance", "disrespect", "class_cutting", "inappropriate_language")
_SUBJECTIVE_SHARES: Final = (0.33, 0.24, 0.17, 0.16, 0.10)
BEHAVIOUR_CODES: Final = OBJECTIVE_CODES + SUBJECTIVE_CODES
NONE, CONFERENCE, DETENTION, ISS, OSS, _EXPULSION = range(len(DISCIPLINE_ACTIONS))


@dataclass(frozen=True)
class WeekIncidents:
    """Referrals of one week, one entry each. `weekday` 0 to 4; `action_days` 0 without an exclusion."""

    person: Int
    weekday: Int
    behaviour: Int
    is_objective: Bool
    severity: Int
    is_major: Bool
    action: Int
    action_days: Int

    def only(self, keep: Bool) -> "WeekIncidents":
        """The entries where `keep` is true."""
        return WeekIncidents(**{name: values[keep] for name, values in vars(self).items()})


def refer(
    rng: np.random.Generator, people: People, *, engagement: Float, climate: Float, attending: Bool
) -> WeekIncidents:
    """The referrals that a full week at school would bring."""
    behaviour = DISCIPLINE.behaviour_rate * np.exp(
        DISCIPLINE.on_externalising * people.externalising
        + DISCIPLINE.on_engagement * np.clip(engagement, -3, 2)
        + DISCIPLINE.on_school_climate * climate
    )
    objective = rng.poisson(behaviour * DISCIPLINE.objective_share * people.reporting_objective * attending)
    subjective = rng.poisson(behaviour * (1 - DISCIPLINE.objective_share) * people.reporting_subjective * attending)
    everyone = np.arange(people.n_people)
    person = np.concatenate([np.repeat(everyone, objective), np.repeat(everyone, subjective)])
    n = len(person)
    is_objective = np.arange(n) < objective.sum()
    code = np.where(
        is_objective,
        rng.choice(len(OBJECTIVE_CODES), size=n, p=_OBJECTIVE_SHARES),
        len(OBJECTIVE_CODES) + rng.choice(len(SUBJECTIVE_CODES), size=n, p=_SUBJECTIVE_SHARES),
    )
    severity = np.where(is_objective, rng.integers(3, 6, n), rng.integers(1, 4, n))
    is_major = is_objective | (severity >= 3)
    action = _sanction(rng, is_major=is_major, severity=severity, factor=people.sanction[person])
    excluded = (action == ISS) | (action == OSS)
    longest = np.where(action == OSS, severity + 1, 3)
    days = np.where(excluded, 1 + np.floor(rng.random(n) * longest), 0).astype(np.int64)
    return WeekIncidents(person, rng.integers(0, 5, n), code, is_objective, severity, is_major, action, days)


def _sanction(rng: np.random.Generator, *, is_major: Bool, severity: Int, factor: Float) -> Int:
    n = len(severity)
    oss = DISCIPLINE.oss_given_major * factor * np.where(severity >= 4, 1.5, 0.7)
    draw = rng.random(n)
    mild = np.where(rng.random(n) < DISCIPLINE.detention_share, DETENTION, CONFERENCE)
    mild = np.where(rng.random(n) < 0.08, NONE, mild)
    action = np.where(is_major & (draw < oss), OSS, mild)
    return np.where(is_major & (draw >= oss) & (draw < oss + DISCIPLINE.iss_given_major), ISS, action)


def serve_suspensions(
    status: Int8, referrals: WeekIncidents, *, state: AttendanceState, monday: int, attending: Bool
) -> WeekIncidents:
    """Walk through the week: referrals happen only to those at school, suspensions start the next day of school.

    Changes `status` [N, 5] and `state` in place and returns the referrals that happened.
    """
    happened = np.zeros(len(referrals.person), dtype=np.bool_)
    for day in range(5):
        today = status[:, day]
        serving = (state.suspension_left > 0) & (today != NOT_ENROLLED) & attending
        today[serving] = SUSPENDED
        state.suspension_left[serving] -= 1
        at_school = (today == PRESENT) | (today == TARDY)
        state.last_present_day[at_school] = monday + day
        now = (referrals.weekday == day) & at_school[referrals.person]
        happened |= now
        oss = now & (referrals.action == OSS)
        np.maximum.at(state.suspension_left, referrals.person[oss], referrals.action_days[oss])
    return referrals.only(happened)
