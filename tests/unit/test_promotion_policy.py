"""The policy file: what comes with the release, and what is refused."""

from pathlib import Path

import pytest
import yaml

from edupulse_ml.core.errors import InvalidInputError
from edupulse_ml.evaluation.promotion_policy import load_policy, parse_policy


def changed(**sections) -> str:
    return yaml.safe_dump({**load_policy().model_dump(mode="json"), **sections})


def test_the_policy_of_this_release_holds_the_limits_of_the_literature() -> None:
    policy = load_policy()
    assert policy.calibration.slope == (0.9, 1.1)
    assert policy.calibration.ece_limit(0.05) == 0.01
    assert policy.calibration.ece_limit(0.2) == 0.03
    assert policy.fairness.gap_at_most == 0.10
    assert policy.faithfulness.deletion_gain_at_least == 3.0
    assert policy.parity.exact_at_most == 1e-5


def test_a_policy_survives_being_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(changed(version="ours-1"))
    assert load_policy(file) == load_policy().model_copy(update={"version": "ours-1"})


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"fairnes": {}}, "fairnes"),
        ({"fairness": {"gap_at_most": 0.1}}, "fairness.min_students"),
        ({"lists": {"shares": [0.2], "advantage_above": 0.0}}, "lists.shares.0"),
        ({"too_few_to_tell": "maybe"}, "too_few_to_tell"),
        ({"version": ""}, "version"),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_what_does_not_fit_is_named(sections, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        parse_policy(changed(**sections), "ours.yaml")


def test_small_groups_cannot_be_told_of_by_any_policy() -> None:
    fairness = load_policy().fairness.model_dump() | {"min_students": 5}
    with pytest.raises(InvalidInputError, match="min_students"):
        parse_policy(changed(fairness=fairness), "ours.yaml")


def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"absent\.yaml"):
        load_policy(tmp_path / "absent.yaml")
    with pytest.raises(InvalidInputError, match="no YAML"):
        parse_policy("a: [1", "broken.yaml")
