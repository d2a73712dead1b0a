"""A registered model as it is served, beside the reference that it must answer like."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.config.training_order import WITH_NETWORKS
from edupulse_ml.core.ids import ModelVersion
from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.evaluation.gate_evidence import Parity
from edupulse_ml.explain.explanation import ExplainableModel
from edupulse_ml.explain.strategies import explainable
from edupulse_ml.models.strategies.loading import load_strategy
from edupulse_ml.models.strategies.protocol import ServableModel
from edupulse_ml.registry.models import FetchedModel
from jobs.reporting import SPLIT_SEED, TEST_YEAR


@dataclass(frozen=True)
class Contender:
    """One version under judgement. `reference` is what `model` must answer like: the network in torch, or the model
    written and read again; `exact` is `model` without coarser arithmetic; `explained` is what its reasons come from, and
    `fitted` holds the networks, if any, that these are tested on.
    """

    version: ModelVersion
    model: ServableModel
    exact: ServableModel
    reference: ServableModel
    reference_name: str
    explained: ExplainableModel
    fitted: ServableModel

    @property
    def test_year(self) -> int | None:
        """The school year that the model may be tested on; None: it was split by person only."""
        stored = self.model.metadata[TEST_YEAR]
        return int(stored) if stored else None

    @property
    def split_seed(self) -> int:
        """The seed that says which people the model has learned from."""
        return int(self.model.metadata[SPLIT_SEED])


def load_contender(fetched: FetchedModel) -> Contender:
    """The version's files as a contender.

    Raises:
        NotFoundError: the folder is not a complete model of this release.
    """
    model = load_strategy(fetched.path, threads=0)
    if model.strategy in WITH_NETWORKS:
        exact = load_strategy(fetched.path, engine="onnx-float32", threads=0)
        reference, name = load_strategy(fetched.path, engine="torch-float32"), "torch"
    else:
        exact, reference, name = model, _written_and_read(model), "the model written and read again"
    return Contender(fetched.version, model, exact, reference, name, explainable(model), model)


def measure_parity(contender: Contender, batch: SequenceBatch) -> Parity:
    """What is served beside the reference, on the students of the batch. `largest` is measured on hazards where there are
    any, else on the answers themselves: calibration may have steps, at which two equal models differ. `p99` is measured
    on what a student is told, the risk score, one each.
    """
    served, exact, reference = (contender.model, contender.exact, contender.reference)
    is_coarse = exact is not served and not np.array_equal(_exactly(served, batch), _exactly(exact, batch))
    exactly = np.abs(_exactly(exact, batch) - _exactly(reference, batch))
    told = np.abs(served.score(batch).risk_score - reference.score(batch).risk_score)
    return Parity(
        served=served.strategy if contender.reference_name != "torch" else "ONNX Runtime",
        reference=contender.reference_name,
        largest=float(exactly.max(initial=0.0)),
        p99=float(np.quantile(told, 0.99)) if len(told) else 0.0,
        is_coarse=is_coarse,
    )


def _exactly(model: ServableModel, batch: SequenceBatch) -> NDArray[np.float64]:
    """[B, K] what two equal models agree on to the last digits."""
    hazards = model.score(batch).hazards
    if hazards.size and np.isfinite(hazards).all():
        return hazards
    return np.stack(list(model.predict(batch).values()), axis=1)


def _written_and_read(model: ServableModel) -> ServableModel:
    with tempfile.TemporaryDirectory(prefix="edupulse-parity-") as scratch:
        folder = Path(scratch) / "model"
        model.save(folder)
        return load_strategy(folder, threads=0)
