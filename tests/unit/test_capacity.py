"""The capacity table: what it is made of, and that the document holds it."""

import dataclasses
from pathlib import Path

import pytest

from jobs.capacity import MEASURED, SIZES, USE, Size, capacity_of, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "capacity.md"


def test_the_document_holds_the_table_of_the_figures() -> None:
    assert table([capacity_of(size) for size in SIZES]) in DOCUMENT.read_text()


def test_work_and_disk_grow_with_the_students() -> None:
    one, ten = capacity_of(Size("a", 1_000_000)), capacity_of(Size("b", 10_000_000))
    for field in ("peak_per_s", "peak_cores", "nightly_core_h", "disk_gb"):
        assert getattr(ten, field) == pytest.approx(10 * getattr(one, field))


def test_a_night_is_the_sum_of_its_parts() -> None:
    measured = dataclasses.replace(
        MEASURED,
        import_s_per_row=0.0,
        features_s_per_student_week=0.0,
        score_s_per_student=0.036,
        reasons_s_per_student=0.36,
    )
    use = dataclasses.replace(USE, share_explained=0.1, interactive_per_week=0, nightly_hours=5.1, utilisation=0.5)
    found = capacity_of(Size("a", 1_000_000), measured=measured, use=use)
    assert found.nightly_core_h == pytest.approx(20)
    assert found.cores == 8, "20 core-hours in 5.1 hours, half of the cores free"


def test_the_busiest_hour_counts_where_it_needs_more_than_the_night() -> None:
    use = dataclasses.replace(USE, interactive_per_week=10, peak_share=0.5, nightly_hours=1e9)
    found = capacity_of(Size("a", 7_200_000), use=use)
    assert found.peak_per_s == pytest.approx(10_000)
    assert found.cores == pytest.approx(found.peak_cores * 2, abs=2)


def test_two_small_nodes_are_the_least() -> None:
    assert capacity_of(Size("a", 1)).cores == 4
