"""The hidden weekly course of engagement, and the hazard of leaving that follows from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.simulation.calibration import ENGAGEMENT, HAZARD
from edupulse_ml.simulation.population import People

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

_BURN_IN_WEEKS = 30


@dataclass
class EngagementState:
    """Engagement of N people now. `level` is the personal level that `value` returns to."""

    level: Float
    home_level: Float
    value: Float
    shock: Float
    support_weeks_left: Int

    def advance(self, rng: np.random.Generator) -> None:
        """One week passes."""
        n = len(self.value)
        pull = ENGAGEMENT.level_pull * (self.home_level - self.level)
        self.level += pull + ENGAGEMENT.level_walk_sd * rng.normal(size=n)
        struck = rng.random(n) < ENGAGEMENT.shock_rate
        self.shock *= ENGAGEMENT.shock_decay
        self.shock += np.where(struck, rng.exponential(1.0, n), 0.0)
        self.value += (
            (1 - ENGAGEMENT.persistence) * (self.level - self.value)
            + ENGAGEMENT.on_shock * self.shock
            + ENGAGEMENT.weekly_sd * rng.normal(size=n)
        )
        self.support_weeks_left = np.maximum(self.support_weeks_left - 1, 0)

    @property
    def effective(self) -> Float:
        """Engagement as it shows, support included."""
        return self.value + ENGAGEMENT.support_gain * (self.support_weeks_left > 0)


def new_state(people: People, rng: np.random.Generator) -> EngagementState:
    """Everyone's engagement before the first school year, after a burn-in so that no drift is seen at the start."""
    wandered = ENGAGEMENT.level_walk_sd / np.sqrt(2 * ENGAGEMENT.level_pull)
    level = people.engagement_level + wandered * rng.normal(size=people.n_people)
    state = EngagementState(
        level=level,
        home_level=people.engagement_level.copy(),
        value=level.copy(),
        shock=np.zeros(people.n_people),
        support_weeks_left=np.zeros(people.n_people, dtype=np.int64),
    )
    for _ in range(_BURN_IN_WEEKS):
        state.advance(rng)
    return state


@dataclass(frozen=True)
class Circumstances:
    """What else the hazard depends on, per person. `age_years` and `over_age` as of now; `season` in [-1, 1]."""

    credit_deficit: Float
    over_age: Int
    age_years: Float
    suspended_this_week: Bool
    season: float


def leaving_logit(people: People, state: EngagementState, now: Circumstances) -> Float:
    """[N] weekly log-odds of leaving for good (sources.md 7.3).

    Reads traits, hidden engagement and lived circumstances only: no record, no feature, no group membership.
    """
    return (
        HAZARD.base
        + HAZARD.on_engagement * np.minimum(state.effective, HAZARD.engagement_cap)
        + HAZARD.on_ability * np.minimum(people.ability, HAZARD.ability_cap)
        + HAZARD.on_credit_deficit * np.minimum(now.credit_deficit, HAZARD.deficit_cap)
        + HAZARD.on_overage * np.minimum(now.over_age, 2)
        + HAZARD.on_shock * np.minimum(state.shock, 3.0)
        + HAZARD.from_age_16 * (now.age_years >= 16)
        + HAZARD.from_age_18 * (now.age_years >= 18)
        + HAZARD.on_externalising * people.externalising
        + HAZARD.on_suspension * now.suspended_this_week
        + HAZARD.season * now.season
        + people.frailty
    )


def probability(logit: Float) -> Float:
    """Inverse of the log-odds."""
    return 1.0 / (1.0 + np.exp(-logit))
