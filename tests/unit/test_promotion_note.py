"""What a model card says of a promotion."""

from datetime import UTC, datetime

from edupulse_ml.evaluation.gate import judge_candidate
from edupulse_ml.evaluation.promotion_note import PromotionNote, with_note
from edupulse_ml.evaluation.promotion_policy import load_policy
from tests.unit.test_gate import GOOD

AT = datetime(2026, 3, 4, 12, tzinfo=UTC)
CARD = "<html><body><h1>Card</h1></body></html>"


def test_the_note_is_the_pages_last_section() -> None:
    page = with_note(CARD, PromotionNote("promotion", "ada", AT, verdict=judge_candidate(GOOD, load_policy())))
    assert page.startswith("<html><body><h1>Card</h1>")
    assert page.endswith("</body></html>")
    assert "Promoted on 2026-03-04 by ada" in page
    assert "not worse than the champion" in page


def test_a_later_note_takes_the_place_of_the_earlier() -> None:
    once = with_note(CARD, PromotionNote("promotion", "ada", AT))
    twice = with_note(once, PromotionNote("rollback", "bob", AT, r"it \1 failed <b>"))
    assert twice.count("<h2>Promotion</h2>") == 1
    assert r"Withdrawn on 2026-03-04 by bob: it \1 failed &lt;b&gt;" in twice


def test_an_override_names_who_answers_and_why() -> None:
    page = with_note("no page", PromotionNote("override", "ada", AT, "the old one is broken"))
    assert "against the policy by ada: the old one is broken" in page
    assert "Refused on" in with_note(CARD, PromotionNote("refusal", "x", AT))
