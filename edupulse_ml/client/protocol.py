"""Requests and answers of the API, and when to ask again; shared by the client that waits and the one that awaits."""

import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from edupulse_ml.client.errors import ServiceUnreachableError, error_of, retry_after_s
from edupulse_ml.client.results import (
    Answer,
    BatchAnswer,
    CurrentModel,
    ScoreChanges,
    ScoredStudent,
    parse_answer,
    parse_batch_item,
    parse_changes,
    parse_model,
    parse_scored,
)
from edupulse_ml.config.address import read_api_url
from edupulse_ml.config.settings import load_settings
from edupulse_ml.core.errors import EduPulseError
from edupulse_ml.security.tokens import read_token

BATCH_SIZE: Final = 100
"""Most students of one request."""
DEFAULT_BASE_URL: Final = "http://127.0.0.1:8000"
_RETRIED: Final = frozenset({429, 503})


@dataclass(frozen=True)
class RetryPolicy:
    """How often a request is repeated when the service is busy (429), lacks a server (503) or refuses the connection.

    The pause doubles from `first_pause_s` to `longest_pause_s`, shortened at random by up to half so that many
    clients do not come back together; `Retry-After` is waited out instead, if it is not longer than
    `longest_pause_s`.
    """

    attempts: int = 4
    first_pause_s: float = 0.2
    longest_pause_s: float = 10.0

    def pauses(self) -> Iterator[float]:
        """Seconds to wait before each repetition."""
        for attempt in range(self.attempts - 1):
            longest = min(self.first_pause_s * 2**attempt, self.longest_pause_s)
            yield longest * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, keeps no secret

    def pause(self, planned: float, outcome: object) -> float | None:
        """Seconds to wait now; None where the service asks for more patience than this policy has."""
        asked = retry_after_s(outcome) if isinstance(outcome, httpx.Response) else None
        if asked is None:
            return planned
        return asked if asked <= self.longest_pause_s else None


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


def resolve_base_url(base_url: str | None) -> str:
    """`base_url`, else `EDUPULSE_API_URL`, else the API started from the home folder, else this machine's port 8000."""
    if base_url:
        return base_url
    settings = load_settings()
    return settings.api_url or read_api_url(settings.home) or DEFAULT_BASE_URL


def trusts_environment(base_url: str) -> bool:
    """Whether proxies of the environment may be used: not for this machine, whose token and ids would leave it."""
    host = httpx.URL(base_url).host
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def resolve_token(token: str | None) -> str:
    """`token`, else `EDUPULSE_TOKEN`, else the token of the home folder.

    Raises:
        TokenMissingError: there is none.
    """
    if token:
        return token
    settings = load_settings()
    return read_token(Path(settings.home), given=settings.token)


def headers(token: str) -> dict[str, str]:
    """Headers of every request."""
    return {"Authorization": f"Bearer {token}", "Accept": "application/json, application/problem+json"}


def predict_call(student_id: str, *, as_of: date | datetime | None, include_reasons: bool) -> Call:
    """The request for one student."""
    return Call(
        "POST", "/api/v1/predict", _options({"student_id": student_id}, as_of=as_of, include_reasons=include_reasons)
    )


def batch_calls(
    student_ids: Sequence[str], *, as_of: date | datetime | None, include_reasons: bool
) -> list[tuple[Sequence[str], Call]]:
    """Requests of at most 100 students each, in order, with their students."""
    chunks = [student_ids[start : start + BATCH_SIZE] for start in range(0, len(student_ids), BATCH_SIZE)]
    return [
        (
            chunk,
            Call(
                "POST",
                "/api/v1/predict/batch",
                _options({"student_ids": list(chunk)}, as_of=as_of, include_reasons=include_reasons),
            ),
        )
        for chunk in chunks
    ]


def history_call(student_id: str, *, limit: int) -> Call:
    """The request for stored predictions."""
    return Call("GET", f"/api/v1/predict/history/{_quoted(student_id)}", params={"limit": limit})


def changes_call(student_id: str, *, since: str | None) -> Call:
    """The request for what moved a score."""
    params = {} if since is None else {"since": since}
    return Call("GET", f"/api/v1/predict/changes/{_quoted(student_id)}", params=params)


MODEL_CALL: Final = Call("GET", "/api/v1/models/current")


def one_answer(body: dict[str, Any]) -> Answer:
    """What `predict` returns."""
    return parse_answer(body)


def batch_answers(body: dict[str, Any], chunk: Sequence[str]) -> list[BatchAnswer]:
    """What `predict_many` returns for one chunk."""
    return [parse_batch_item(item, student_id) for item, student_id in zip(body["results"], chunk, strict=True)]


def history_answers(body: dict[str, Any]) -> list[ScoredStudent]:
    """What `history` returns."""
    return [parse_scored(item) for item in body["predictions"]]


def changes_answer(body: dict[str, Any]) -> ScoreChanges:
    """What `changes` returns."""
    return parse_changes(body)


def model_answer(body: dict[str, Any]) -> CurrentModel:
    """What `current_model` returns."""
    return parse_model(body)


Outcome = httpx.Response | httpx.TransportError
Exchange = Generator[Call | float, Outcome | None, dict[str, Any]]
"""Yields a call (to be answered with its outcome) or a pause in seconds; returns the JSON of the answer, a page under
`html`.
"""


def exchange(call: Call, *, retry: RetryPolicy, base_url: str) -> Exchange:
    """One call with its repetitions, without doing any I/O itself.

    Raises:
        EduPulseError: the service answers with a problem, or not at all.
    """
    pauses = retry.pauses()
    while True:
        outcome = yield call
        planned = next(pauses, None)
        pause = retry.pause(planned, outcome) if planned is not None and _may_succeed_later(outcome) else None
        if pause is not None:
            yield pause
        elif isinstance(outcome, httpx.Response):
            return _body_of(outcome)
        else:
            raise _unreachable(base_url, outcome) from outcome


def _may_succeed_later(outcome: Outcome | None) -> bool:
    """Whether to repeat. A request that was sent and got no answer may have been audited, so it is not sent again."""
    if isinstance(outcome, httpx.Response):
        return outcome.status_code in _RETRIED
    return isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)


def _body_of(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        raise error_of(response)
    if response.headers.get("content-type", "").startswith("text/html"):
        return {"html": response.text}
    return response.json()


def _unreachable(base_url: str, error: httpx.TransportError | None) -> EduPulseError:
    msg = f"No EduPulse service answers at {base_url} ({type(error).__name__}): run `make up`, or check base_url."
    return ServiceUnreachableError(msg, dependency="edupulse")


def _options(body: dict[str, Any], *, as_of: date | datetime | None, include_reasons: bool) -> dict[str, Any]:
    body["include_reasons"] = include_reasons
    if as_of is not None:
        body["as_of"] = as_of.isoformat()
    return body


def _quoted(student_id: str) -> str:
    return quote(student_id, safe="")
