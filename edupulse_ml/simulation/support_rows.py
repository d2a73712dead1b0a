"""The support that people were given, as a district lists it (docs/feedback.md)."""

import numpy as np
import pyarrow as pa

from edupulse_ml.core.feedback import FEEDBACK_FILE
from edupulse_ml.simulation.arrow_tables import EVENING, at, dates, moments, names
from edupulse_ml.simulation.calibration import ENGAGEMENT
from edupulse_ml.simulation.population import People, student_ids
from edupulse_ml.simulation.trajectories import Trajectory


def support_rows(people: People, trajectory: Trajectory, *, last_day: int | None) -> pa.Table:
    """One row per time that somebody was supported, recorded on the day it began; with the columns of `FEEDBACK_FILE`."""
    start = trajectory.monday[trajectory.hidden.support_began].astype(np.int64)
    shown = np.ones(len(start), dtype=np.bool_) if last_day is None else start <= last_day
    start, person = start[shown], trajectory.hidden.support_person[shown]
    end = start + 7 * ENGAGEMENT.support_weeks - 1
    ids = student_ids(people)
    columns: dict[str, pa.Array] = {
        "key": pa.array([f"support-{ids[who]}-{day}" for who, day in zip(person, start, strict=True)], pa.string()),
        "kind": _constant("intervention", len(start)),
        "student_id": names(person, ids),
        "value": _constant("mentoring", len(start)),
        "starts_on": dates(start),
        "ends_on": dates(end) if last_day is None else dates(np.where(end <= last_day, end, -1)),
        "given_by": _constant("counselor", len(start)),
        "recorded_at": moments(at(start, EVENING)),
        "retracted": pa.array(np.zeros(len(start), dtype=np.bool_)),
    }
    return pa.table({column.name: columns[column.name] for column in FEEDBACK_FILE.columns})


def _constant(word: str, length: int) -> pa.Array:
    return pa.repeat(pa.scalar(word), length)
