"""Strategies that can be served, behind one interface: `load_strategy` reads whatever the registry names."""

from edupulse_ml.models.strategies.loading import SERVABLE, load_strategy
from edupulse_ml.models.strategies.protocol import ServableModel

__all__ = ["SERVABLE", "ServableModel", "load_strategy"]
