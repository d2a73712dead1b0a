"""What no school could record, kept apart from the records for judging the generator itself."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edupulse_ml.simulation.arrow_tables import dates, names
from edupulse_ml.simulation.population import People, student_ids
from edupulse_ml.simulation.trajectories import Trajectory


def person_truth(people: People, trajectory: Trajectory) -> pa.Table:
    """One row per person: traits, the last day attended of those who left for good (null: did not leave) and why."""
    hidden = trajectory.hidden
    support = np.where(hidden.support_week >= 0, trajectory.monday[np.maximum(hidden.support_week, 0)], -1)
    return pa.table(
        {
            "student_id": pa.array(student_ids(people)),
            "ability": people.ability,
            "externalising": people.externalising,
            "health": people.health,
            "frailty": people.frailty,
            "leaving_date": dates(hidden.leaving_day),
            "leaving_kind": names(hidden.leaving_kind.astype(np.int64), ("stayed", "hazard", "other_cause", "summer")),
            "support_from": dates(support.astype(np.int64)),
        }
    )


def weekly_truth(people: People, trajectory: Trajectory, *, last_day: int | None) -> pa.Table:
    """One row per person and week of school attended: engagement, shock, credit deficit, weekly hazard of leaving."""
    hidden = trajectory.hidden
    shown: NDArray[np.bool_] = ~np.isnan(hidden.hazard)
    if last_day is not None:
        shown &= trajectory.monday[None, :] <= last_day
    person, week = np.nonzero(shown)
    columns = {
        name: getattr(hidden, name)[person, week] for name in ("engagement", "shock", "credit_deficit", "hazard")
    }
    return pa.table(
        {
            "student_id": names(person, student_ids(people)),
            "week": dates(trajectory.monday[week].astype(np.int64)),
            **columns,
        }
    )
