"""What happened to the people of one chunk, week by week: plain arrays, before anything is written down.

Legend: N people, T calendar weeks over all simulated years, D = 5 weekdays, C = 6 courses, Y years, K = 2 terms,
I incidents, P enrolment spells.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

NOT_ENROLLED: Final = -1
N_COURSES: Final = 6
PERIODS_PER_DAY: Final = 6


@dataclass(frozen=True)
class Spells:
    """Enrolments. Days are day numbers; `exit_day` is the first day no longer enrolled.

    `exit_code` is what was recorded on `exit_known_day`. Where `corrected_code` differs from it, the correction was
    recorded on `corrected_day`.
    """

    person: Int
    school: Int
    grade_level: Int
    entry_day: Int
    exit_day: Int
    last_attended_day: Int
    exit_code: NDArray[np.str_]
    exit_known_day: Int
    corrected_code: NDArray[np.str_]
    corrected_day: Int


@dataclass(frozen=True)
class Incidents:
    """Referrals that were written, in the order of their days. `action_days` is 0 without an exclusion."""

    person: Int
    day: Int
    school: Int
    behaviour: Int
    is_objective: Bool
    severity: Int
    is_major: Bool
    action: Int
    action_days: Int


@dataclass(frozen=True)
class Trajectory:
    """The recordable and the hidden course of N people over T weeks.

    `status` is a position in `ATTENDANCE_STATUSES` or `NOT_ENROLLED`. `periods_absent` counts missed periods.
    `score` is NaN where nothing was handed in; `submitted_after` counts days from the due date, -128 for never.
    `item_due` [S, T, C] is the weekday on which a school's course has an item due, -1 without one.
    `final_pct` [N, Y, K, C] is NaN without a mark.
    """

    monday: Int32
    year_of_week: Int
    school: Int16
    grade_level: Int8
    status: Int8
    periods_absent: Int8
    score: Float32
    submitted_after: Int8
    item_due: Int8
    final_pct: Float32
    spells: Spells
    incidents: Incidents
    hidden: "Hidden"


@dataclass(frozen=True)
class Hidden:
    """Latents and hazard, [N, T] each; NaN where not enrolled or no longer attending.

    `leaving_day` [N] is the last day attended of those who left school for good, -1 for the others.
    `leaving_kind` [N] is 0 without leaving, 1 for the modelled hazard, 2 for reasons outside all records,
    3 for leaving over a summer. `support_week` [N] is the week index in which support first began, -1 for none;
    `support_person` and `support_began` have one entry per time that somebody was supported: who, and from which week.
    """

    engagement: Float32
    shock: Float32
    credit_deficit: Float32
    hazard: Float32
    leaving_day: Int
    leaving_kind: Int8
    support_week: Int
    support_person: Int
    support_began: Int
