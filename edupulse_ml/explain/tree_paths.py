"""Shapley values of boosted trees against one reference each: which column moved the logit, and by how much.

The game of a student: a column holds the student's value, or the reference's. A leaf is reached by a coalition if every
condition on the way to it holds; with U the columns whose conditions only the student meets and V those that only the
reference meets, a column of U is given v (|U| - 1)! |V|! / (|U| + |V|)! of a leaf of value v, and a column of V
- v |U|! (|V| - 1)! / (|U| + |V|)! (interventional TreeSHAP, Lundberg et al. 2020, with a single reference). The values
of a student add up to the logit minus the reference's.

LightGBM's own contributions (`pred_contrib`) compare with its training rows, whose mean no sentence could name; here the
reference is the typical student, as it is for the network.

Legend: B students, D columns, N split nodes, P conditions merged per leaf and column, L leaves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Positions = NDArray[np.intp]

STUDENTS_PER_PASS: Final = 32
"""Rows whose conditions are looked at together: they stay in a core's cache."""


@dataclass(frozen=True)
class _Condition:
    leaf: int
    column: int
    node: int
    left: bool


class TreePaths:
    """The paths of boosters whose mean logit is explained; made once, used by several threads."""

    def __init__(self, *boosters: lgb.Booster) -> None:
        found = _Walk.of(boosters)
        # By leaf, then column: a pair is a run of conditions, a leaf a run of pairs.
        conditions = sorted(found.conditions, key=lambda each: (each.leaf, each.column))
        self._column = np.array([each[0] for each in found.nodes], dtype=np.intp)
        self._threshold = np.array([each[1] for each in found.nodes])
        self._missing_left = np.array([each[2] for each in found.nodes], dtype=np.bool_)
        self._node = np.array([each.node for each in conditions], dtype=np.intp)
        self._left = np.array([each.left for each in conditions], dtype=np.bool_)
        keys = np.array([(each.leaf, each.column) for each in conditions], dtype=np.intp).reshape(-1, 2)
        self._pair_start = _run_starts(keys)
        leaf, column = keys[self._pair_start].T
        self._leaf_start = _run_starts(leaf[:, None])
        self._leaf_of_pair = np.repeat(np.arange(len(self._leaf_start)), np.diff([*self._leaf_start, len(leaf)]))
        self._value = np.array(found.values)[leaf[self._leaf_start]]
        self._by_column = np.argsort(column, kind="stable")
        self._columns, self._column_start = np.unique(column[self._by_column], return_index=True)
        self._shares = _shares(int(np.bincount(self._leaf_of_pair).max(initial=0)))

    def contributions(self, rows: NDArray[np.floating], reference: NDArray[np.floating]) -> Float64:
        """[B, D] what each column adds to the logit; a row's sum is logit(rows) - logit(reference), both [B, D]."""
        out = np.zeros(rows.shape)
        if len(self._node):
            for start in range(0, len(rows), STUDENTS_PER_PASS):
                part = slice(start, start + STUDENTS_PER_PASS)
                out[part, self._columns] = self._of(rows[part], reference[part])
        return out

    def _of(self, rows: NDArray[np.floating], reference: NDArray[np.floating]) -> Float64:
        own, other = self._met(rows), self._met(reference)
        only_own, only_other = own & ~other, other & ~own
        n_own, n_other = self._count(only_own), self._count(only_other)
        reachable = self._count(~(own | other)) == 0
        value = np.where(reachable, self._value, 0.0)
        to_own = value * self._shares[n_own, n_other]
        to_other = -value * self._shares[n_other, n_own]
        given = np.where(only_own, to_own[:, self._leaf_of_pair], 0.0)
        given += np.where(only_other, to_other[:, self._leaf_of_pair], 0.0)
        return np.add.reduceat(given[:, self._by_column], self._column_start, axis=1)

    def _met(self, rows: NDArray[np.floating]) -> Bool:
        """[B, P] whether all conditions of a leaf on a column hold."""
        values = rows[:, self._column].astype(np.float64)
        left = np.where(np.isnan(values), self._missing_left, values <= self._threshold)
        return np.logical_and.reduceat(left[:, self._node] == self._left, self._pair_start, axis=1)

    def _count(self, pairs: Bool) -> Positions:
        """[B, L] how many of a leaf's pairs."""
        return np.add.reduceat(pairs, self._leaf_start, axis=1, dtype=np.intp)


@dataclass(frozen=True)
class _Walk:
    """Split nodes (column, threshold, whether missing goes left), conditions on the way to each leaf, leaf values;
    `share` is what a booster counts in the mean.
    """

    nodes: list[tuple[int, float, bool]]
    conditions: list[_Condition]
    values: list[float]
    share: float

    @classmethod
    def of(cls, boosters: Sequence[lgb.Booster]) -> Self:
        walk = cls([], [], [], 1.0 / len(boosters))
        for booster in boosters:
            for tree in booster.dump_model()["tree_info"]:
                walk.visit(tree["tree_structure"], ())
        return walk

    def visit(self, part: dict[str, Any], way: tuple[tuple[int, bool], ...]) -> None:
        if "split_feature" not in part:
            leaf = len(self.values)
            self.values.append(self.share * float(part["leaf_value"]))
            self.conditions.extend(_Condition(leaf, self.nodes[node][0], node, left) for node, left in way)
            return
        node, threshold = len(self.nodes), float(part["threshold"])
        # LightGBM reads a missing value as 0 where it has seen none in training.
        missing_left = bool(part["default_left"]) if part["missing_type"] == "NaN" else threshold >= 0.0
        self.nodes.append((int(part["split_feature"]), threshold, missing_left))
        self.visit(part["left_child"], (*way, (node, True)))
        self.visit(part["right_child"], (*way, (node, False)))


def _run_starts(keys: Positions) -> Positions:
    """Where each run of equal rows of `keys` begins."""
    if not len(keys):
        return np.zeros(0, dtype=np.intp)
    return np.flatnonzero(np.append(True, (np.diff(keys, axis=0) != 0).any(axis=1)))


def _shares(most: int) -> Float64:
    """[n, m] (n - 1)! m! / (n + m)!, 0 for n = 0."""
    out = np.zeros((most + 1, most + 1))
    for n in range(1, most + 1):
        for m in range(most + 1 - n):
            out[n, m] = math.factorial(n - 1) * math.factorial(m) / math.factorial(n + m)
    return out
