"""From scores to probabilities that can be read as such, fitted on a cohort later than training."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.errors import NotEnoughDataError

Float64 = NDArray[np.float64]
Method = Literal["isotonic", "platt", "identity"]

EVENTS_FOR_ISOTONIC: Final = 1000
EVENTS_FOR_PLATT: Final = 10
PLATT_SHARE: Final = 0.05
"""Weight of the logistic curve in the isotonic one: without it all students on one step would tie."""
_SMALLEST: Final = 1e-7


@dataclass(frozen=True)
class Calibrator:
    """A monotone map from raw to calibrated probability.

    `slope` and `intercept` act on the logit; `knots_x`, `knots_y` are the isotonic curve, empty for other methods.
    `students_with_event` and `rows` say what it was fitted on.
    """

    method: Method
    slope: float = 1.0
    intercept: float = 0.0
    knots_x: tuple[float, ...] = ()
    knots_y: tuple[float, ...] = ()
    students_with_event: int = 0
    rows: int = 0

    def apply(self, probability: NDArray[np.floating]) -> Float64:
        """Calibrated probabilities, same shape and same order (ties stay ties)."""
        raw = np.asarray(probability, dtype=np.float64)
        if self.method == "identity":
            return raw
        logistic = 1.0 / (1.0 + np.exp(-(self.slope * _logit(raw) + self.intercept)))
        if self.method == "platt":
            return logistic
        stepped = np.interp(raw, self.knots_x, self.knots_y)
        return (1.0 - PLATT_SHARE) * stepped + PLATT_SHARE * logistic


def fit_calibrator(
    probability: NDArray[np.floating],
    label: NDArray[np.integer],
    *,
    student: NDArray[np.integer],
    allow_small: bool = False,
) -> Calibrator:
    """Isotonic with at least 1,000 students who had the event, else Platt's logistic curve on the logit.

    `probability`, `label` (0 or 1) and `student` have one entry per student-week. With `allow_small`, fewer than 10
    students with the event leave the scores as they are (`identity`).

    Raises:
        NotEnoughDataError: fewer than 10 students with, or student-weeks without, the event.
    """
    raw = np.asarray(probability, dtype=np.float64)
    event = np.asarray(label) == 1
    students, others = len(np.unique(student[event])), int((~event).sum())
    if min(students, others) < EVENTS_FOR_PLATT:
        if allow_small:
            return Calibrator("identity", students_with_event=students, rows=len(raw))
        msg = (
            f"The calibration cohort has {students} students with the event and {others} student-weeks without it: "
            f"at least {EVENTS_FOR_PLATT} of each are needed, so take a larger cohort or a longer follow-up."
        )
        raise NotEnoughDataError(msg)
    slope, intercept = _platt(raw, event)
    if students < EVENTS_FOR_ISOTONIC:
        return Calibrator("platt", slope, intercept, students_with_event=students, rows=len(raw))
    # Scoring applies calibrators without fitting any, and scikit-learn takes as long to import as torch.
    from sklearn.isotonic import IsotonicRegression

    isotonic = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(raw, event.astype(np.float64))
    return Calibrator(
        "isotonic",
        slope,
        intercept,
        knots_x=tuple(isotonic.X_thresholds_.tolist()),
        knots_y=tuple(isotonic.y_thresholds_.tolist()),
        students_with_event=students,
        rows=len(raw),
    )


def save_calibrators(calibrators: Mapping[str, Calibrator], path: Path) -> None:
    """Write the calibrator of each task as JSON."""
    path.write_text(json.dumps({task: asdict(calibrator) for task, calibrator in calibrators.items()}, indent=1))


def load_calibrators(path: Path) -> dict[str, Calibrator]:
    """Read what `save_calibrators` wrote."""
    stored = json.loads(path.read_text())
    for fields in stored.values():
        fields["knots_x"], fields["knots_y"] = tuple(fields["knots_x"]), tuple(fields["knots_y"])
    return {task: Calibrator(**fields) for task, fields in stored.items()}


def _platt(raw: Float64, event: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept; where the fitted slope would turn the order round, slope 1 and the matching mean."""
    from sklearn.linear_model import LogisticRegression

    solver = LogisticRegression(C=1e4, max_iter=1000).fit(_logit(raw)[:, None], event)
    slope, intercept = float(solver.coef_[0, 0]), float(solver.intercept_[0])
    if slope > 0.01:
        return slope, intercept
    return 1.0, float(_logit(np.array([event.mean()]))[0] - _logit(raw).mean())


def _logit(probability: Float64) -> Float64:
    clipped = np.clip(probability, _SMALLEST, 1.0 - _SMALLEST)
    return np.log(clipped) - np.log1p(-clipped)
