"""Exits, from which labels are made: how late they are known, and whether their codes say where a student went."""

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import groupby
from typing import Final

from edupulse_ml.evaluation.outcomes import CODES_SETTLED_ON_COUNT_DAY, COMPLETION_CODES, COUNT_DAY, COUNT_MONTH
from edupulse_ml.monitoring.data_policy import LeaverPolicy
from edupulse_ml.monitoring.findings import Finding, listed, per_cent
from edupulse_ml.storage.data_checks import ExitCount

_TABLE: Final = "enrollments"
_YEAR_END: Final = "year_end"
_DROPOUT: Final = "dropout"
_SILENT: Final = frozenset(CODES_SETTLED_ON_COUNT_DAY) - {_YEAR_END}
"""Codes that count as dropping out only because nobody enrolled the student again."""


def leaver_findings(exits: Sequence[ExitCount], *, today: date, policy: LeaverPolicy) -> Iterator[Finding]:
    """Findings on school years that began before `today` and of which enough exits are known."""
    of_year = sorted(exits, key=lambda count: count.school_year)
    for year, run in groupby(of_year, key=lambda count: count.school_year):
        counts = list(run)
        yield from _late(year, counts, policy)
        if date(year + 1, COUNT_MONTH, COUNT_DAY) <= today:
            yield from _not_returned(year, counts, policy)
            yield from _unresolved(year, counts, policy)


def _late(year: int, counts: Sequence[ExitCount], policy: LeaverPolicy) -> Iterator[Finding]:
    slow = [
        count
        for count in counts
        if count.exit_code == _DROPOUT
        and count.exits >= policy.min_exits
        and count.p90_delay_days > policy.p90_delay_days
    ]
    if slow:
        most = max(count.p90_delay_days for count in slow)
        schools = tuple(sorted(count.school_id for count in slow))
        yield Finding(
            name=f"label_delay.{_TABLE}",
            severity="warning",
            message=(
                f"{_TABLE}: of the dropouts of {year}-{year + 1}, one in ten was known {most} days or more after the last"
                f" day attended at {listed(schools)} (median {max(count.median_delay_days for count in slow)} days)."
            ),
            advice="Until then they look like students who stay; do not judge a model on weeks that recent.",
            schools=schools,
            figure=float(most),
            limit=policy.p90_delay_days,
        )


def _not_returned(year: int, counts: Sequence[ExitCount], policy: LeaverPolicy) -> Iterator[Finding]:
    """School years after which far more students did not come back than leave over a summer: the enrolments of the next
    year are missing, and everybody of whom they would tell counts as a dropout.
    """
    ended = [count for count in counts if count.exit_code == _YEAR_END]
    exits = sum(count.exits for count in ended)
    if exits < policy.min_exits:
        return
    share = sum(count.gone for count in ended) / exits
    if share <= policy.not_returned_share:
        return
    is_blocker = share > policy.block_not_returned_share
    yield Finding(
        name=f"not_returned.{_TABLE}",
        severity="blocker" if is_blocker else "warning",
        message=(
            f"{_TABLE}: of those who were enrolled to the end of {year}-{year + 1}, {per_cent(share)} are enrolled nowhere"
            " by the next 1 October; they count as dropouts."
        ),
        advice=f"Import the enrolments of {year + 1}-{year + 2}, or look from a day before that 1 October.",
        schools=tuple(sorted({count.school_id for count in ended if count.gone})),
        figure=share,
        limit=policy.block_not_returned_share if is_blocker else policy.not_returned_share,
    )


def _unresolved(year: int, counts: Sequence[ExitCount], policy: LeaverPolicy) -> Iterator[Finding]:
    """Leavers whose code says nothing of where they went, among all who left for good during the year."""
    ordinary = {_YEAR_END, *COMPLETION_CODES}
    gone = sum(count.gone for count in counts if count.exit_code not in ordinary)
    silent = [count for count in counts if count.exit_code in _SILENT and count.gone]
    unresolved = sum(count.gone for count in silent)
    if gone < policy.min_exits or unresolved <= policy.unknown_share * gone:
        return
    share = unresolved / gone
    schools = tuple(sorted({count.school_id for count in silent}))
    is_blocker = share > policy.block_unknown_share
    yield Finding(
        name=f"leaver_codes.{_TABLE}",
        severity="blocker" if is_blocker else "warning",
        message=(
            f"{_TABLE}: of those who left during {year}-{year + 1} and did not come back by 1 October, {per_cent(share)}"
            f" have a code that does not say where they went, at {listed(schools)}; they count as dropouts."
        ),
        advice="Have the registrar resolve them: each transfer among them is a false dropout to learn from.",
        schools=schools,
        figure=share,
        limit=policy.block_unknown_share if is_blocker else policy.unknown_share,
    )
