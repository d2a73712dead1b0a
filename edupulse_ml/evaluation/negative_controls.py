"""Controls that must find nothing (sources.md 2.5.8): where they find something, the data or the split leaks.

Both judge within strata (a school-week, a landmark), because the share that leaves differs between strata without
any leak.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.sequences import SequenceBatch

SHUFFLE_TOLERANCE: Final = 0.02
PATTERN_LIMIT: Final = 0.55

Floats = NDArray[np.floating]
Labels = NDArray[np.int8]


@dataclass(frozen=True)
class ControlRows:
    """Inputs [B, D] (NaN allowed), labels [B] of 0 and 1, and the stratum [B] of each row."""

    inputs: Floats
    label: Labels
    stratum: Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True)
class ControlResult:
    """AUC within strata of a control, and the bounds in which it must lie."""

    name: str
    auc: float
    lowest: float
    highest: float
    n_rows: int
    n_events: int

    @property
    def passed(self) -> bool:
        return self.lowest <= self.auc <= self.highest


def stratified_auc(label: Labels, score: Floats, stratum: Sequence[int] | NDArray[np.integer]) -> float:
    """How often a leaver has a higher score than a stayer of the same stratum; NaN where no stratum holds both."""
    strata = np.asarray(stratum)
    order = np.argsort(strata, kind="stable")
    _, start = np.unique(strata[order], return_index=True)
    concordant, pairs = 0.0, 0.0
    for rows in np.split(order, start[1:]):
        events = float(label[rows].sum())
        in_stratum = events * (len(rows) - events)
        if in_stratum:
            concordant += in_stratum * float(roc_auc_score(label[rows], score[rows]))
            pairs += in_stratum
    return concordant / pairs if pairs else float("nan")


def shuffled_within(label: Labels, stratum: Sequence[int] | NDArray[np.integer], *, seed: int) -> Labels:
    """The labels, permuted among the rows of each stratum."""
    strata = np.asarray(stratum)
    place = np.lexsort((np.arange(len(label)), strata))
    drawn = np.lexsort((np.random.default_rng(seed).random(len(label)), strata))
    shuffled = np.empty_like(label)
    shuffled[place] = label[drawn]
    return shuffled


def label_shuffle_control(train: ControlRows, test: ControlRows, *, seed: int, repeats: int = 5) -> ControlResult:
    """A model that learned from shuffled labels must not rank the test: AUC 0.50 +- 0.02, mean of `repeats`.

    Raises:
        NotEnoughDataError: the training or test rows hold one class only.
    """
    _require_classes(train, test)
    found = [
        stratified_auc(
            test.label,
            _fit_and_score(train.inputs, shuffled_within(train.label, train.stratum, seed=seed + r), test, seed=seed),
            test.stratum,
        )
        for r in range(repeats)
    ]
    return _result(
        "label shuffle", float(np.mean(found)), test, lowest=0.5 - SHUFFLE_TOLERANCE, highest=0.5 + SHUFFLE_TOLERANCE
    )


def record_pattern_control(train: ControlRows, test: ControlRows, *, seed: int) -> ControlResult:
    """A model of `record_pattern` alone must not rank the test above AUC 0.55: else the length of a record tells.

    Raises:
        NotEnoughDataError: the training or test rows hold one class only.
    """
    _require_classes(train, test)
    score = _fit_and_score(train.inputs, train.label, test, seed=seed)
    return _result(
        "record pattern", stratified_auc(test.label, score, test.stratum), test, lowest=0.0, highest=PATTERN_LIMIT
    )


def record_pattern(batch: SequenceBatch) -> NDArray[np.float32]:
    """[B, 1 + 2 M] what remains of a window without its values: weeks observed, and per modality the share of these
    weeks in which it was recorded and whether it was recorded in the last.
    """
    length = batch.length
    last = np.maximum(length - 1, 0)
    share = batch.mask.sum(axis=1) / np.maximum(length, 1)[:, None]
    in_last = batch.mask[np.arange(batch.n_examples), last]
    return np.concatenate([length[:, None], share, in_last], axis=1).astype(np.float32)


def _fit_and_score(inputs: Floats, label: Labels, test: ControlRows, *, seed: int) -> NDArray[np.float64]:
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=50, learning_rate=0.1, random_state=seed
    )
    model.set_params(early_stopping=False)  # the default would hold out rows of students it learns from
    model.fit(inputs, label)
    return model.predict_proba(test.inputs)[:, 1]


def _result(name: str, auc: float, test: ControlRows, *, lowest: float, highest: float) -> ControlResult:
    return ControlResult(name, auc, lowest, highest, n_rows=len(test.label), n_events=int(test.label.sum()))


def _require_classes(train: ControlRows, test: ControlRows) -> None:
    for name, rows in (("training", train), ("test", test)):
        if len(np.unique(rows.label)) < 2:
            msg = f"The {name} rows of a negative control hold one class only: give it rows of leavers and of stayers."
            raise NotEnoughDataError(msg)
