"""Composition root of the Serve application: `import_path: deployments.app:build`."""

from ray.serve import Application

from deployments.components import Components, StandardComponents
from deployments.feature_fetcher import FeatureFetcher
from deployments.gateway import Gateway
from deployments.risk_model import ChallengerModel, RiskModel
from deployments.settings import AppArgs


def build(args: AppArgs) -> Application:
    """The application; each replica completes `args` from its own environment."""
    return bind_graph(args, StandardComponents())


def bind_graph(args: AppArgs, components: Components) -> Application:
    """Gateway over feature fetcher, risk model and the model that challenges it, made of `components`."""
    fetcher = FeatureFetcher.bind(args, components)
    model = RiskModel.bind(args, components)
    challenger = ChallengerModel.bind(args, components)
    return Gateway.bind(args, components, fetcher=fetcher, model=model, challenger=challenger)
