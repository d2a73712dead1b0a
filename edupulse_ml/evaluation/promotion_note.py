"""What a model card says of a promotion: a section that is added to the page, or replaced in it."""

import re
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Final

from edupulse_ml.evaluation.gate import Verdict

_BEGIN, _END = "<!-- promotion: begin -->", "<!-- promotion: end -->"
_SECTION: Final = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
_MARKS: Final = {"passed": "met", "failed": "not met", "untold": "too few to tell"}


@dataclass(frozen=True)
class PromotionNote:
    """`kind` is promotion, refusal, override or rollback; `verdict` None: nothing was judged."""

    kind: str
    by: str
    at: datetime
    reason: str | None = None
    verdict: Verdict | None = None

    @property
    def headline(self) -> str:
        """What happened, in a sentence."""
        day = f"{self.at:%Y-%m-%d}"
        match self.kind:
            case "override":
                return f"Promoted on {day} against the policy by {self.by}: {self.reason}"
            case "rollback":
                return f"Withdrawn on {day} by {self.by}: {self.reason}"
            case "refusal":
                return f"Refused on {day}: the policy is not met."
            case _ if self.verdict is None:
                return f"Made the first champion on {day} by {self.by}: there was none to compare it with, and nothing was judged."
            case _:
                return f"Promoted on {day} by {self.by}: the policy is met."


def with_note(page: str, note: PromotionNote) -> str:
    """The HTML page with the note as its last section; an earlier note gives way to it."""
    section = f"{_BEGIN}\n{_section(note)}\n{_END}"
    if _SECTION.search(page):
        return _SECTION.sub(lambda _: section, page, count=1)
    body, closing, rest = page.rpartition("</body>")
    return f"{body}{section}\n{closing}{rest}" if closing else f"{page}\n{section}\n"


def _section(note: PromotionNote) -> str:
    lines = ["<section>", "<h2>Promotion</h2>", f"<p>{escape(note.headline)}</p>"]
    if note.verdict is not None:
        lines.append(f"<p>Judged by policy {escape(note.verdict.policy_version)}:</p>")
        lines.append("<table><tr><th>rule</th><th>limit</th><th>result</th><th>figure</th></tr>")
        lines += [
            f"<tr><td>{escape(rule.name)}</td><td>{escape(rule.limit)}</td><td>{_MARKS[rule.outcome]}</td>"
            f"<td>{escape(rule.sentence)}</td></tr>"
            for rule in note.verdict.results
        ]
        lines.append("</table>")
    return "\n".join([*lines, "</section>"])
