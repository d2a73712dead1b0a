"""The catalogue names every feature of the contract, and its page is up to date."""

from pathlib import Path

import pytest

from edupulse_ml.core.contract import FEATURE_NAMES, FEATURES, SUPPORT_COLUMNS
from features.catalog import CATALOG, entry_of, render_catalog, transform_in_words

PAGE = Path(__file__).parents[2] / "docs" / "feature-catalog.md"


def test_names_and_order_are_those_of_the_contract():
    assert tuple(entry.name for entry in CATALOG) == FEATURE_NAMES


def test_numbers_count_within_each_modality():
    expected = [f"A{n}" for n in range(1, 15)] + [f"G{n}" for n in range(1, 16)] + [f"D{n}" for n in range(1, 14)]
    assert [entry.number for entry in CATALOG] == expected


def test_every_field_says_something():
    for entry in CATALOG:
        assert all((entry.definition, entry.unit, entry.missing, entry.evidence)), entry.number
        assert entry.maximum is None or entry.minimum < entry.maximum


def test_the_page_is_generated_from_the_catalogue():
    command = "python -c 'from features.catalog import render_catalog; print(render_catalog(), end=\"\")'"
    assert PAGE.read_text() == render_catalog(), f"run: {command} > docs/feature-catalog.md"


def test_entries_are_found_by_name():
    assert entry_of("severity_ewma").number == "D8"
    with pytest.raises(KeyError):
        entry_of("risk")


def test_transforms_in_words():
    words = {column.name: transform_in_words(column) for column in FEATURES}
    assert words["absence_rate_wk"] == "x"
    assert words["odr_count_wk"] == "log(1 + x)"
    assert words["math_course_avg"] == "x · 0.04 − 3"
    assert words["absence_rate_ytd"] == "x; shrunk with days_enrolled_ytd (m = 5)"
    assert words["mon_fri_prebreak_absence_share_ytd"] == f"x − {SUPPORT_COLUMNS[4]}"
