"""The constants of the causal model, set so that the rates of sources.md 7.2 and the tests of 7.4 hold.

Engagement, ability and externalising are in standard deviations; `logit` constants are on the log-odds scale.
`docs/generator.md` says what each group does and which figures it was set to reach.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Engagement:
    """Weekly Ornstein-Uhlenbeck process around a personal level that itself wanders slowly."""

    on_ability: float = 0.40
    on_school_climate: float = 0.9
    on_poverty: float = -0.22
    level_sd: float = 0.58
    level_walk_sd: float = 0.30
    level_pull: float = 0.04
    persistence: float = 0.86
    weekly_sd: float = 0.20
    on_shock: float = -0.16
    summer_weeks: int = 10
    shock_rate: float = 0.014
    shock_decay: float = 0.93
    support_gain: float = 0.3
    support_weeks: int = 8
    support_uptake: float = 0.3


@dataclass(frozen=True)
class Hazard:
    """Weekly log-odds of leaving (sources.md 7.3). No group membership appears here."""

    base: float = -10.24
    on_engagement: float = -0.85
    engagement_cap: float = 1.2
    on_ability: float = -0.25
    ability_cap: float = 1.0
    on_credit_deficit: float = 0.5
    deficit_cap: float = 3.0
    on_overage: float = 0.7
    on_shock: float = 0.7
    from_age_16: float = 0.75
    from_age_18: float = 0.5
    on_externalising: float = 0.3
    on_suspension: float = 0.7
    frailty_sd: float = 0.7
    season: float = 0.15
    involved_weekly: float = 0.00010
    summer_weeks: float = 4.0


@dataclass(frozen=True)
class Attendance:
    """Daily absence: disengagement (excused or not), illness (always excused), suspension."""

    base: float = -3.71
    on_engagement: float = -0.72
    on_shock: float = 0.30
    week_sd: float = 0.55
    winter: float = 0.40
    year_trend: float = 0.25
    monday_friday: float = 0.18
    before_break: float = 0.55
    last_week: float = 0.45
    illness_rate: float = 0.030
    illness_winter: float = 0.8
    illness_continues: float = 0.50
    health_shape: float = 0.8
    unexcused_base: float = -1.0
    unexcused_trend: float = 0.95
    unexcused_on_engagement: float = -0.45
    tardy_base: float = -3.2
    tardy_on_engagement: float = -0.5
    partial_base: float = -3.7
    partial_on_engagement: float = -0.75
    shift: float = 0.85


@dataclass(frozen=True)
class Coursework:
    """Items, submission and scores. A missing item counts as `missing_counts_as` in the final mark."""

    item_chance: float = 0.78
    base: float = 98.5
    on_ability: float = 3.6
    on_engagement: float = 2.7
    course_sd: float = 8.5
    noise_sd: float = 9.0
    missing_base: float = -2.95
    missing_on_engagement: float = -1.1
    missing_course_sd: float = 0.7
    missing_when_absent: float = 0.8
    late_base: float = -2.3
    late_on_engagement: float = -0.5
    late_penalty: float = 4.0
    missing_counts_as: float = 30.0
    pass_mark: float = 60.0
    credits_per_course_term: float = 0.5
    recovery_chance: float = 0.5
    recovered_credits: float = 1.5


@dataclass(frozen=True)
class Discipline:
    """Behaviour, who is reported for it, and what follows. Group factors act on the last two only."""

    behaviour_rate: float = 0.0034
    on_externalising: float = 1.8
    on_engagement: float = -0.40
    on_school_climate: float = -0.6
    objective_share: float = 0.25
    oss_given_major: float = 0.205
    iss_given_major: float = 0.26
    detention_share: float = 0.5


@dataclass(frozen=True)
class Movement:
    """Shares of students per year who move, and how records lag behind events."""

    transfer_out: float = 0.025
    transfer_out_summer: float = 0.020
    transfer_in: float = 0.04
    change_school: float = 0.02
    miscoded_day: float = 0.015
    corrected_score: float = 0.004
    late_posting: float = 0.10
    retained_over_age: float = 0.07


ENGAGEMENT: Final = Engagement()
HAZARD: Final = Hazard()
ATTENDANCE: Final = Attendance()
COURSEWORK: Final = Coursework()
DISCIPLINE: Final = Discipline()
MOVEMENT: Final = Movement()
