"""Put the Serve application on a Ray head through its REST API, and wait until it runs."""

import re
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from edupulse_ml.core.errors import DependencyDownError, InvalidInputError
from jobs.stack.ports import LOOPBACK
from jobs.stack.web import answers

CONFIG_FILE: Final = Path(__file__).parents[2] / "serve_config.yaml"
_ROUTE: Final = "/api/serve/applications/"
_DEPLOY_TIMEOUT_S: Final = 300.0
_REACH_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.1
_DELETE_TIMEOUT_S: Final = 60.0
_FAILED: Final = "DEPLOY_FAILED"
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


class DeployFailedError(DependencyDownError):
    """The Serve application does not come up; the message holds what its deployments say and where the logs are."""


@dataclass(frozen=True)
class ServeClient:
    """Ray's Serve REST API at `dashboard_url`, with Ray's own token."""

    dashboard_url: str
    ray_token: str
    logs: Path
    """Folder of Serve's logs, named in error messages."""

    def deploy(self, document: Mapping[str, Any]) -> None:
        """Make the applications what `document` says and return when all run; what runs already stays untouched.

        Raises:
            DeployFailedError: an application fails, or does not run in time.
        """
        if any(application.get("status") == _FAILED for application in self.applications().values()):
            self._delete_all()  # Serve does not try the same configuration again.
        self._request("PUT", document)
        deadline = time.monotonic() + _DEPLOY_TIMEOUT_S
        names = [str(application["name"]) for application in document["applications"]]
        while True:
            applications = self.applications()
            states = {name: applications.get(name, {}).get("status", "NOT_STARTED") for name in names}
            if all(state == "RUNNING" for state in states.values()):
                return
            if _FAILED in states.values() or time.monotonic() > deadline:
                raise DeployFailedError(self._explain(applications, states), dependency="ray serve")
            time.sleep(_POLL_S)

    def wait_until_reached(self, url: str) -> None:
        """Return once a GET of `url`, which passes through the proxy to a replica, succeeds.

        Raises:
            DeployFailedError: it does not in time.
        """
        deadline = time.monotonic() + _REACH_TIMEOUT_S
        while not answers(url):
            if time.monotonic() > deadline:
                msg = f"The API runs but is not reached at {url}: see the proxy's logs in {self.logs}."
                raise DeployFailedError(msg, dependency="ray serve")
            time.sleep(_POLL_S)

    def applications(self) -> Mapping[str, Any]:
        """What is deployed, by application name; empty if nothing is.

        Raises:
            DeployFailedError: Ray's dashboard does not answer.
        """
        return self._request("GET", None).get("applications", {})

    def _request(self, method: str, document: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            response = httpx.request(
                method,
                self.dashboard_url + _ROUTE,
                json=document,
                headers={"Authorization": f"Bearer {self.ray_token}"},
                timeout=60.0,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            msg = f"Ray's dashboard at {self.dashboard_url} does not answer: run `make down up`."
            raise DeployFailedError(msg, dependency="ray serve") from error
        if not response.is_success:
            msg = f"Ray Serve refuses the request with status {response.status_code}: {response.text[:2000].strip()}"
            raise DeployFailedError(msg, dependency="ray serve")
        return response.json() if response.content.startswith(b"{") else {}

    def _delete_all(self) -> None:
        self._request("DELETE", None)
        deadline = time.monotonic() + _DELETE_TIMEOUT_S
        while self.applications() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _explain(self, applications: Mapping[str, Any], states: Mapping[str, str]) -> str:
        lines = ["The API does not come up."]
        for name, state in states.items():
            application = applications.get(name, {})
            lines.append(f"Application {name} is {state}. {gist(application.get('message', ''))}".rstrip())
            lines.extend(
                f"  {title} is {deployment.get('status')}. {gist(deployment.get('message', ''))}".rstrip()
                for title, deployment in application.get("deployments", {}).items()
                if deployment.get("status") != "HEALTHY"
            )
        return "\n".join([*lines, f"Its logs are in {self.logs}."])


def gist(message: str) -> str:
    """The first and the last line of a message of Ray's, between which a traceback may stand, without colours."""
    lines = [line.strip() for line in _COLOUR.sub("", message).splitlines() if line.strip()]
    return " ... ".join(dict.fromkeys([*lines[:1], *lines[-1:]]))


def load_config(path: Path = CONFIG_FILE) -> dict[str, Any]:
    """The Serve configuration as a document.

    Raises:
        InvalidInputError: the file is missing or is not a Serve configuration.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        msg = f"The Serve configuration {path} cannot be read: run from a checkout of EduPulse, or mend the file."
        raise InvalidInputError(msg) from error
    if not isinstance(document, dict) or not document.get("applications"):
        msg = f"The Serve configuration {path} names no application."
        raise InvalidInputError(msg)
    return document


def local_config(document: Mapping[str, Any], *, http_port: int) -> dict[str, Any]:
    """`document` for a head on this machine: HTTP on the loopback address and `http_port`, one proxy, no CPU reserved for
    training runs.
    """
    local = deepcopy(dict(document))
    local["proxy_location"] = "HeadOnly"
    local["http_options"] = {**local.get("http_options", {}), "host": LOOPBACK, "port": http_port}
    for application in local["applications"]:
        if "training_cpus" in application.get("args", {}):
            # The only node runs everything: a CPU reserved beside the replicas and Ray Train's workers keeps no load away
            # from anything, and a run would wait for one that never gets free.
            application["args"]["training_cpus"] = 0
    return local
