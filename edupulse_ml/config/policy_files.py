"""Reads a written policy: a YAML file that must fit a typed model to the last key."""

from importlib import resources
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from edupulse_ml.core.errors import InvalidInputError


class PolicySection(BaseModel):
    """Part of a policy: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Policy = TypeVar("Policy", bound=PolicySection)


def read_policy(kind: type[Policy], path: Path | None, *, package: str, file: str, guide: str) -> Policy:
    """The policy of `path`; None: `file` of `package`, which comes with this release. `guide` is the page of docs/ that
    lists every key.

    Raises:
        InvalidInputError: the file is missing, is no YAML, or a key is unknown, missing or out of range; the message
            names the keys.
    """
    if path is None:
        return parse_policy(
            kind, resources.files(package).joinpath(file).read_text(encoding="utf-8"), name=file, guide=guide
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The policy {path} cannot be read ({type(error).__name__}): name a YAML file."
        raise InvalidInputError(msg) from error
    return parse_policy(kind, text, name=str(path), guide=guide)


def parse_policy(kind: type[Policy], text: str, *, name: str, guide: str) -> Policy:
    """The policy that `text` holds; `name` is what messages call it.

    Raises:
        InvalidInputError: as `read_policy`.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f"The policy {name} is no YAML: {error}"
        raise InvalidInputError(msg) from error
    return fit_policy(kind, content, name=name, guide=guide)


def fit_policy(kind: type[Policy], content: object, *, name: str, guide: str) -> Policy:
    """The policy that parsed YAML holds.

    Raises:
        InvalidInputError: a key is unknown, missing or out of range.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'the file'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        msg = f"The policy {name} does not fit: {problems}. docs/{guide} lists every key."
        raise InvalidInputError(msg) from error
