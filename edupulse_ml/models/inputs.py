"""From raw features to what a model reads: shrinkage, transforms and z-scores against frozen norms.

Legend: B examples, T steps, N students, S steps, F features, M modalities, A aux, C context, G grade levels, W weeks.
Zero means "typical for this grade band and week of the school year"; missing is zero too, and the masks tell them apart.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import CONTEXT_COLUMNS, FEATURES, SUPPORT_INDEX
from edupulse_ml.core.errors import NotEnoughDataError
from edupulse_ml.core.sequences import Float32, Int32, SequenceBatch, week_of_school_year
from edupulse_ml.models.norms_fit import (
    N_BANDS,
    N_GRADES,
    N_WEEKS,
    band_index,
    deviation_table,
    grade_index,
    mean_table,
    moments,
    week_index,
)
from edupulse_ml.models.protocol import TrainingData

Z_LIMIT: Final = 5.0
MINIMUM_FOR_PRIOR: Final = 30
MINIMUM_FOR_NORM: Final = 100
DEVIATION_FLOOR_SHARE: Final = 0.25
CHUNK_CELLS: Final = 200_000
"""Values standardised at a time: about a hundred windows, whose intermediate arrays stay in a core's cache."""


def _columns(condition: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.flatnonzero(condition)


_SHRUNK = _columns(np.array([column.shrink_m > 0 for column in FEATURES]))
_SHRUNK_SUPPORT = np.array([SUPPORT_INDEX[FEATURES[i].support or ""] for i in _SHRUNK])
_SHRINK_M = np.array([FEATURES[i].shrink_m for i in _SHRUNK], dtype=np.float32)
_LOG1P = _columns(np.array([column.transform == "log1p" for column in FEATURES]))
_LESS_SUPPORT = _columns(np.array([column.transform == "minus_support" for column in FEATURES]))
_LESS_SUPPORT_SUPPORT = np.array([SUPPORT_INDEX[FEATURES[i].support or ""] for i in _LESS_SUPPORT])
_AFFINE = _columns(np.array([column.transform == "affine" for column in FEATURES]))
_SCALE = np.array([[FEATURES[i].scale] for i in _AFFINE], dtype=np.float32)
_OFFSET = np.array([[FEATURES[i].offset] for i in _AFFINE], dtype=np.float32)


@dataclass(frozen=True)
class ModelInputs:
    """What a network reads, all finite; left-aligned, zeros after the last real step."""

    z: Float32
    """[B, T, F]"""
    mask: Float32
    """[B, T, M] 1 where the modality was recorded."""
    aux: Float32
    """[B, T, A]"""
    context: Float32
    """[B, C] z-scores, 0 where unknown."""
    length: NDArray[np.int64]
    """[B] real steps."""

    def select(self, rows: slice | NDArray[np.integer], *, z: Float32 | None = None) -> "ModelInputs":
        """The examples at `rows`; with `z` [rows, T, F] in place of their own."""
        own = self.z[rows] if z is None else z
        return ModelInputs(own, self.mask[rows], self.aux[rows], self.context[rows], self.length[rows])

    def shortened(self, steps: int) -> "ModelInputs":
        """The first `steps` steps, which must hold every real one."""
        return ModelInputs(self.z[:, :steps], self.mask[:, :steps], self.aux[:, :steps], self.context, self.length)

    def latest(self, steps: int) -> "ModelInputs":
        """The last `steps` real steps of each window: what a window of that length would have held."""
        start = np.maximum(self.length - steps, 0)
        column, row = start[:, None] + np.arange(steps)[None, :], np.arange(len(start))[:, None]
        length = np.minimum(self.length, steps)
        return ModelInputs(self.z[row, column], self.mask[row, column], self.aux[row, column], self.context, length)


@dataclass(frozen=True)
class _Steps:
    """R steps: values [R, F], support [R, P], and the places [R] of each in the norms' tables."""

    values: Float32
    support: Float32
    grade: NDArray[np.int64]
    band: NDArray[np.int64]
    week: NDArray[np.int64]


def _steps(values: Float32, support: Float32, aux: Float32, grade_level: Int32) -> _Steps:
    """Steps of any leading dimensions, one after the other."""
    grade = grade_level.reshape(-1)
    week = week_index(week_of_school_year(aux.reshape(-1, aux.shape[-1])))
    return _Steps(
        values.reshape(-1, values.shape[-1]),
        support.reshape(-1, support.shape[-1]),
        grade_index(grade),
        band_index(grade),
        week,
    )


@dataclass(frozen=True)
class InputNorms:
    """Norms of one training cohort, frozen in the artefact.

    `typical` [G+1, W, F] is the mean raw value per grade level and week (the shrinkage prior `p0` of rates);
    `mean` and `deviation` [bands+1, W, F] standardise the transformed, shrunk value per grade band (elementary,
    middle, high); the last row of each pools all grades. Means and deviations come from the weeks within two of the
    week asked for, else from all grades, else from all weeks. NaN in `typical`: never observed. Infinite `deviation`: constant in training, hence ignored.
    """

    typical: Float32
    mean: Float32
    deviation: Float32
    context_mean: Float32
    context_deviation: Float32

    @classmethod
    def fit(cls, data: TrainingData) -> Self:
        """Norms of the eligible student-weeks of `data` and of nothing else.

        Raises:
            NotEnoughDataError: `data` has no eligible student-week.
        """
        block, chosen = data.block, data.eligible
        if not chosen.any():
            msg = "There is no eligible student-week to fit input norms on: check the dates of the training split."
            raise NotEnoughDataError(msg)
        steps = _steps(block.values[chosen], block.support[chosen], block.aux[chosen], block.grade_level[chosen])
        raw = moments(steps.values, group=steps.grade, week=steps.week, n_groups=N_GRADES)
        typical = mean_table(raw, minimum=MINIMUM_FOR_PRIOR).astype(np.float32)
        transformed = _transform(steps, _shrinkage_prior(typical), out=np.empty_like(steps.values))
        sums = moments(transformed, group=steps.band, week=steps.week, n_groups=N_BANDS)
        mean = np.nan_to_num(mean_table(sums, minimum=MINIMUM_FOR_NORM), nan=0.0)
        deviation = deviation_table(sums, minimum=MINIMUM_FOR_NORM, floor_share=DEVIATION_FLOOR_SHARE)
        context_mean, context_deviation = _context_norms(block.context[chosen])
        return cls(
            typical,
            mean.astype(np.float32),
            deviation.astype(np.float32),
            context_mean.astype(np.float32),
            context_deviation.astype(np.float32),
        )

    def standardise(self, batch: SequenceBatch, *, keep_missing: bool = False) -> Float32:
        """[B, T, F] z-scores clipped to +-5; missing and padding are 0, or NaN with `keep_missing`."""
        return self.standardise_steps(
            values=batch.values,
            support=batch.support,
            aux=batch.aux,
            grade_level=batch.grade_level,
            keep_missing=keep_missing,
        )

    def standardise_steps(
        self, *, values: Float32, support: Float32, aux: Float32, grade_level: Int32, keep_missing: bool = False
    ) -> Float32:
        """As `standardise`, for any leading dimensions: a batch's [B, T] or a block's [N, S]."""
        z = np.empty(values.shape, dtype=np.float32)
        rows = max(1, CHUNK_CELLS // max(1, int(np.prod(values.shape[1:]))))
        for start in range(0, values.shape[0], rows):
            part = slice(start, start + rows)
            steps = _steps(values[part], support[part], aux[part], grade_level[part])
            scores = self._scores(steps, out=z[part].reshape(steps.values.shape))
            if not keep_missing:
                # A product of the bits with 0 or 1: a conditional store mispredicts at every other cell.
                bits = scores.view(np.int32)
                np.multiply(bits, np.isfinite(scores), out=bits)
        return z

    def standardise_context(self, context: Float32) -> Float32:
        """[..., C] z-scores of the context, clipped to +-5, 0 where unknown."""
        z = (_finite(context) - self.context_mean) / self.context_deviation
        return np.nan_to_num(np.clip(z, -Z_LIMIT, Z_LIMIT), nan=0.0).astype(np.float32)

    def prepare(self, batch: SequenceBatch, *, z: Float32 | None = None) -> ModelInputs:
        """The batch as a network reads it; `z` are its z-scores, where they have been made already."""
        return ModelInputs(
            z=self.standardise(batch) if z is None else z,
            mask=batch.mask.astype(np.float32),
            aux=_zero_where_unknown(batch.aux),
            context=self.standardise_context(batch.context),
            length=batch.length.astype(np.int64),
        )

    def typical_values(self, *, grade_level: Int32, week_of_year: Int32) -> Float32:
        """[B, F] mean raw value of every feature among students of these grade levels [B] in these weeks [B].

        NaN where the training cohort never had it. Weeks are 1-based weeks of the school year.
        """
        return self.typical[grade_index(grade_level), week_index(week_of_year)]

    def save(self, path: Path) -> None:
        """Write as `.npz`."""
        names = np.array(json.dumps({"features": [c.name for c in FEATURES], "context": list(CONTEXT_COLUMNS)}))
        np.savez_compressed(
            path,
            names=names,
            typical=self.typical,
            mean=self.mean,
            deviation=self.deviation,
            context_mean=self.context_mean,
            context_deviation=self.context_deviation,
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(
                stored["typical"],
                stored["mean"],
                stored["deviation"],
                stored["context_mean"],
                stored["context_deviation"],
            )

    @cached_property
    def _prior(self) -> Float32:
        return _shrinkage_prior(self.typical)

    def _scores(self, steps: _Steps, *, out: Float32) -> Float32:
        """`out` [R, F], filled with z-scores, NaN where unknown."""
        transformed = _transform(steps, self._prior, out=out)
        place = steps.band * N_WEEKS + steps.week
        transformed -= self.mean.reshape(-1, self.mean.shape[-1]).take(place, axis=0)
        transformed /= self.deviation.reshape(-1, self.deviation.shape[-1]).take(place, axis=0)
        return np.clip(transformed, -Z_LIMIT, Z_LIMIT, out=transformed)


def _finite(values: Float32) -> Float32:
    """A copy with NaN for what is not finite."""
    return _unknown_if_infinite(values.copy())


def _unknown_if_infinite(out: Float32) -> Float32:
    infinite = np.isinf(out)
    if infinite.any():
        out[infinite] = np.nan
    return out


def _zero_where_unknown(values: Float32) -> Float32:
    return np.nan_to_num(values, nan=0.0).astype(np.float32, copy=False)


def _shrinkage_prior(typical_GWF: Float32) -> Float32:
    """[shrunk features, G * W] what rates are drawn to; features first, so that a gather of steps is contiguous."""
    return np.ascontiguousarray(typical_GWF[:, :, _SHRUNK].reshape(-1, len(_SHRUNK)).T)


def _transform(steps: _Steps, prior: Float32, *, out: Float32) -> Float32:
    """`out` [R, F], filled with shrunk and transformed values, NaN where unknown."""
    np.copyto(out, steps.values)
    _unknown_if_infinite(out)
    support_PR = _finite(steps.support).T
    # Features first: operations on a few of the columns then run over contiguous memory.
    raw = out.T[_SHRUNK]
    known = np.maximum(support_PR[_SHRUNK_SUPPORT], 0.0)
    shrunk = prior.take(steps.grade * N_WEEKS + steps.week, axis=1)
    shrunk *= _SHRINK_M[:, None]
    shrunk += raw * known
    known += _SHRINK_M[:, None]
    shrunk /= known
    out[:, _SHRUNK] = np.where(np.isfinite(shrunk), shrunk, raw).T
    counts = out[:, _LOG1P]
    zero_or_unknown = counts - counts
    # `fmax` turns NaN into 0, because log1p takes a slow path for NaN.
    np.log1p(np.fmax(counts, 0.0, out=counts), out=counts)
    counts += zero_or_unknown
    out[:, _LOG1P] = counts
    out[:, _LESS_SUPPORT] -= support_PR[_LESS_SUPPORT_SUPPORT].T
    affine = out.T[_AFFINE]
    affine *= _SCALE
    affine += _OFFSET
    out[:, _AFFINE] = affine.T
    return out


def _context_norms(context_RC: Float32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = _finite(context_RC).astype(np.float64)
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(deviation > 1e-6, deviation, np.inf)
