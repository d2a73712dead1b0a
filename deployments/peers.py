"""Whether the other replicas of a deployment have a model."""

from typing import Any, Final

from ray import serve
from ray.serve.handle import DeploymentHandle

PATIENCE_S: Final = 5.0


class Peers:
    """The running replicas of the deployment that this process is a replica of.

    Args:
        registry: Where this replica's models come from. Replicas of another registry do not count: a deployment that
            changes it replaces them.
    """

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self._handle: DeploymentHandle[Any] | None = None

    async def have_a_model(self) -> bool:
        """Whether one of them has a model. False where none says so in time, or none runs yet."""
        try:
            if self._handle is None:
                here = serve.get_replica_context()
                self._handle = serve.get_deployment_handle(here.deployment, here.app_name)
            asked = self._handle.broadcast("has_model_of", self._registry)
            said = await asked.results_async(timeout_s=PATIENCE_S, return_exceptions=True)
        except Exception:  # noqa: BLE001 - Serve has many errors for "nobody there", and all of them are the answer no
            return False
        return any(one is True for one in said)
