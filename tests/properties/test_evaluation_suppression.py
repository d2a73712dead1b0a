"""No sum or difference of what is told describes fewer than ten students, checked the slow way."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.audit_groups import MAX_GROUPS, audit_families
from edupulse_ml.evaluation.suppression import discloses, groups_to_tell


def derivable(published: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether `wanted` is a sum of multiples of the published sets: least squares leaves nothing over."""
    solution = np.linalg.lstsq(published.T, wanted, rcond=None)[0]
    return bool(np.allclose(published.T @ solution, wanted, atol=1e-6))


def cells_of(counts: list[int], *, rows: int, columns: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Members of the row groups, column groups and cells of a table with these counts."""
    cells = [cell for cell, n in zip(product(range(rows), range(columns)), counts, strict=True) for _ in range(n)]
    groups = [[r == row for r, _ in cells] for row in range(rows)]
    groups += [[c == column for _, c in cells] for column in range(columns)]
    groups += [[cell == wanted for cell in cells] for wanted in product(range(rows), range(columns))]
    return np.asarray(groups, dtype=bool), cells


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 25), min_size=6, max_size=6), st.randoms(use_true_random=False))
def test_no_sum_of_told_groups_is_a_small_set(counts: list[int], random: object) -> None:
    member, cells = cells_of(counts, rows=3, columns=2)
    if not cells:
        return
    counted = np.asarray([random.random() < 0.7 for _ in cells])  # type: ignore[attr-defined]
    told = groups_to_tell(member, counted)
    everyone = [sorted(set(cells)).index(cell) for cell in cells]
    n_atoms = len(set(cells))
    counts_of_atoms = np.bincount(np.asarray(everyone)[counted], minlength=n_atoms)
    indicator = np.zeros((len(member), n_atoms))
    for group in range(len(member)):
        indicator[group, [everyone[i] for i in np.flatnonzero(member[group])]] = 1
    published = np.concatenate([np.ones((1, n_atoms)), indicator[told]])
    if not told.any():
        return
    for chosen in product([0.0, 1.0], repeat=n_atoms):
        wanted = np.asarray(chosen)
        if wanted.any() and counts_of_atoms @ wanted < 10:
            assert not derivable(published, wanted), (counts_of_atoms, told, wanted)


def test_the_only_small_group_takes_another_with_it() -> None:
    member = np.repeat(np.eye(3, dtype=bool), [60, 30, 4], axis=1)
    assert groups_to_tell(member, np.ones(94, bool)).tolist() == [True, False, False]
    two = np.repeat(np.eye(2, dtype=bool), [90, 4], axis=1)
    assert not groups_to_tell(two, np.ones(94, bool)).any()


def test_large_groups_are_all_told() -> None:
    member = np.repeat(np.eye(4, dtype=bool), [40, 30, 20, 10], axis=1)
    assert groups_to_tell(member, np.ones(100, bool)).all()


def test_nobody_in_a_group_is_hidden_too() -> None:
    member = np.repeat(np.eye(2, dtype=bool), [50, 20], axis=1)
    left = np.arange(70) < 30
    assert not groups_to_tell(member, left).any()


def test_a_cell_that_its_margins_give_away_is_not_hidden_alone() -> None:
    member, cells = cells_of([40, 30, 50, 3], rows=2, columns=2)
    told = groups_to_tell(member, np.ones(len(cells), bool))
    assert told[:4].all()
    assert not told[4:].any()


def test_disclosure_by_difference() -> None:
    count = np.asarray([20.0, 15.0, 4.0])
    assert not discloses(np.asarray([[1.0, 1, 1]]), count)
    assert discloses(np.asarray([[1.0, 1, 1], [1, 1, 0]]), count)
    assert not discloses(np.asarray([[1.0, 1, 1], [1, 0, 0]]), count)


def test_families_hold_both_attributes_and_their_pairs() -> None:
    values = {
        "sex": ["f", "m", None, "f"],
        "race_ethnicity": ["a", "a", "b", None],
        "homeless": ["no", "no", "yes", "no"],
        "foster_care": [None] * 4,
    }
    crossed, alone = audit_families(values)
    assert dict(zip(zip(crossed.attribute, crossed.group, strict=True), crossed.members.tolist(), strict=True)) == {
        ("race_ethnicity", "a"): [True, True, False, False],
        ("race_ethnicity", "b"): [False, False, True, False],
        ("race_ethnicity", "not recorded"): [False, False, False, True],
        ("sex", "f"): [True, False, False, True],
        ("sex", "m"): [False, True, False, False],
        ("sex", "not recorded"): [False, False, True, False],
        ("race_ethnicity × sex", "a × f"): [True, False, False, False],
        ("race_ethnicity × sex", "a × m"): [False, True, False, False],
    }
    assert alone.group == ("no", "yes")


def test_free_text_is_no_group() -> None:
    with pytest.raises(InvalidInputError, match="free text"):
        audit_families({"sex": [str(i) for i in range(MAX_GROUPS + 1)]})
