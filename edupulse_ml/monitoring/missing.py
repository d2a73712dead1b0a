"""Features that are not known: a rise over earlier years, a school that lacks what the others have, a whole modality."""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.contract import FEATURES, Modality
from edupulse_ml.monitoring.data_policy import MissingPolicy
from edupulse_ml.monitoring.findings import Finding, listed, per_cent
from edupulse_ml.storage.data_checks import FeatureWeek

Float64 = NDArray[np.float64]

_ENOUGH_STUDENT_WEEKS: Final = 200
_WEEKS_IN_A_ROW: Final = 2


def missing_findings(weeks: Sequence[FeatureWeek], *, policy: MissingPolicy) -> Iterator[Finding]:
    """What is found in the stored features; nothing where none are stored."""
    if not weeks:
        return
    yield from _modalities(weeks, policy)
    yield from _rises(weeks, policy)
    yield from _schools(weeks, policy)


def mask_rates(weeks: Sequence[FeatureWeek]) -> tuple[list[tuple[int, date]], Float64]:
    """School year and week of each row, and [rows, F] the share of the district's student-weeks that lack each feature;
    ordered by week.
    """
    keys = sorted({(week.school_year, week.week) for week in weeks}, key=lambda key: key[1])
    position = {key: row for row, key in enumerate(keys)}
    missing = np.zeros((len(keys), len(FEATURES)))
    total = np.zeros(len(keys))
    for week in weeks:
        row = position[week.school_year, week.week]
        missing[row] += week.missing
        total[row] += week.student_weeks
    return keys, missing / total[:, None]


def _modalities(weeks: Sequence[FeatureWeek], policy: MissingPolicy) -> Iterator[Finding]:
    keys, rates = mask_rates(weeks)
    years = np.array([year for year, _ in keys])
    for modality, limit in policy.block.items():
        columns = _columns(modality)
        for year in sorted(set(years.tolist())):
            # Known is a week in which any feature of the modality is: the least-missing one tells.
            unknown = rates[years == year][:, columns].min(axis=1)
            share = float((unknown > 0.5).mean())
            if share > limit:
                yield Finding(
                    name=f"missing.{modality}",
                    severity="blocker",
                    message=(
                        f"student_features: nothing of {modality} is known of most students in {per_cent(share)} of the"
                        f" weeks of {year}-{year + 1}."
                    ),
                    advice="Import the records of that year, then run `edupulse materialise`.",
                    figure=share,
                    limit=limit,
                )


def _rises(weeks: Sequence[FeatureWeek], policy: MissingPolicy) -> Iterator[Finding]:
    """Weeks in a row, two at least, in which a feature is missing more often than it ever was in the same week of earlier
    years or in the week beside it: terms begin some days earlier or later.
    """
    keys, rates = mask_rates(weeks)
    years = sorted({year for year, _ in keys})
    first = {year: min(week for of, week in keys if of == year) for year in years}
    of_year = np.array([(week - first[year]).days // 7 for year, week in keys])
    year_of = np.array([year for year, _ in keys])
    excess = np.full_like(rates, -1.0)
    for row in range(len(keys)):
        same = (np.abs(of_year - of_year[row]) <= 1) & (year_of < year_of[row])
        if same.any():
            excess[row] = rates[row] - rates[same].max(axis=0)
    for index, feature in enumerate(FEATURES):
        for start, stop in _runs(excess[:, index] > policy.rise):
            if stop - start >= _WEEKS_IN_A_ROW:
                most = float(excess[start:stop, index].max())
                yield Finding(
                    name=f"missing.{feature.name}",
                    severity="warning",
                    message=(
                        f"student_features: {feature.name} is missing in up to {per_cent(rates[start:stop, index].max())}"
                        f" of the student-weeks from the week of {keys[start][1]} to that of {keys[stop - 1][1]}, up to"
                        f" {per_cent(most)} more than in the same weeks of earlier years."
                    ),
                    advice="Look for what was not delivered in these weeks.",
                    first_week=keys[start][1],
                    last_week=keys[stop - 1][1],
                    figure=most,
                    limit=policy.rise,
                )


def _schools(weeks: Sequence[FeatureWeek], policy: MissingPolicy) -> Iterator[Finding]:
    """Schools that lack, in their latest year, a feature that the other schools have."""
    latest = max(week.school_year for week in weeks)
    schools = sorted({week.school_id for week in weeks if week.school_year == latest})
    missing = np.zeros((len(schools), len(FEATURES)))
    total = np.zeros(len(schools))
    for week in weeks:
        if week.school_year == latest:
            missing[schools.index(week.school_id)] += week.missing
            total[schools.index(week.school_id)] += week.student_weeks
    rates = missing / total[:, None]
    for index, feature in enumerate(FEATURES):
        lacking = (rates[:, index] >= policy.school_share) & (total >= _ENOUGH_STUDENT_WEEKS)
        having = ~lacking
        if (
            lacking.any()
            and having.any()
            and float(missing[having, index].sum() / total[having].sum()) < (policy.elsewhere_share)
        ):
            names = [name for name, lacks in zip(schools, lacking, strict=True) if lacks]
            yield Finding(
                name=f"missing.{feature.name}",
                severity="warning",
                message=(
                    f"student_features: {feature.name} is never known at {listed(names)} in {latest}-{latest + 1}, though"
                    " it is at the other schools."
                ),
                advice="The model sees it as unknown there; ask whether the school records it.",
                schools=tuple(names),
                figure=float(rates[lacking, index].min()),
                limit=policy.school_share,
            )


def _columns(modality: Modality) -> list[int]:
    return [index for index, feature in enumerate(FEATURES) if feature.modality == modality]


def _runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open ranges of consecutive marked rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in list(pairwise(edges))[::2]]
