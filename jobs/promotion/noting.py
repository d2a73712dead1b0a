"""Says on a version itself what was decided on it, also where the process that decided was killed before it could."""

import asyncio
from typing import Final

from pydantic import TypeAdapter

from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.evaluation.gate import Verdict
from edupulse_ml.evaluation.promotion_note import PromotionNote, with_note
from edupulse_ml.registry.models import ModelRegistry
from edupulse_ml.storage.promotions import Promotion, PromotionRepository

_DECISION: Final = "promotion.id"
"""The tag that is written last: where it names a decision, all that is to be said of it has been said."""
_CARDS: Final = ("model-card.html", "evaluation/model-card.html")
_VERDICT: Final = TypeAdapter(Verdict)


async def note_decision(registry: ModelRegistry, decision: Promotion) -> None:
    """Say it on the version it is about, the withdrawn one of a rollback: tags, the verdict as a file, and a section of
    its card. Saying it again changes nothing; of a version that is no longer registered nothing is said.
    """
    about = decision.from_version if decision.kind == "rollback" else decision.to_version
    if about is not None:
        await asyncio.to_thread(_note, registry, ModelVersion(about), decision)


async def finish_decision(registry: ModelRegistry, promotions: PromotionRepository, decision: Promotion) -> None:
    """Do what is left of a decision whose process was killed after the champion had moved."""
    if decision.kind != "refusal" and decision.moved_at is None:
        if await asyncio.to_thread(registry.champion) != decision.to_version:
            return
        await promotions.moved(decision.promotion_id)
    await note_decision(registry, decision)


async def finish_last_decision(registry: ModelRegistry, promotions: PromotionRepository) -> None:
    """`finish_decision` of the one made last, if there is any; call it where nobody else may decide."""
    for decision in await promotions.latest(limit=1):
        await finish_decision(registry, promotions, decision)


def _note(registry: ModelRegistry, version: ModelVersion, decision: Promotion) -> None:
    if version not in registry.versions():
        return
    if registry.describe(version).tags.get(_DECISION) == str(decision.promotion_id):
        return
    verdict = _VERDICT.validate_python(decision.figures) if decision.figures else None
    note = PromotionNote(decision.kind, decision.decided_by, decision.decided_at, decision.reason, verdict)
    tags = {"promotion.kind": note.kind, "promotion.by": note.by, "promotion.at": note.at.isoformat(timespec="seconds")}
    if note.reason is not None:
        tags["promotion.reason"] = note.reason
    if verdict is not None:
        tags["promotion.policy"] = verdict.policy_version
        tags["promotion.failed"] = ", ".join(rule.name for rule in verdict.failed)
        registry.write_text(version, "promotion/verdict.json", verdict.to_json())
    registry.set_tags(version, tags)
    for path in _CARDS:
        card = registry.read_text(version, path)
        if card is not None:
            registry.write_text(version, path, with_note(card, note))
    registry.set_tags(version, {_DECISION: str(decision.promotion_id)})
