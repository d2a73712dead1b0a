"""Which engine a stored model is served with on a CPU: decided once, when the model is built, and kept in its folder.

Every replica then answers alike; a choice made by each of them would depend on what else its machine was doing.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.artifact import INT8_ONNX, ModelArtifact, write_engine_choice
from edupulse_ml.models.engines import InferenceEngine, sample_inputs
from edupulse_ml.models.quantisation import CpuEngine, GateReport, choose_cpu_engine, compare_scores, quantise_weights

_ROUNDS: Final = 5
_RUNS_PER_ROUND: Final = 4
_EXAMPLES: Final = 64


@dataclass(frozen=True)
class EngineChoice:
    """The engine, and the figures it was chosen by."""

    engine: CpuEngine
    gate: GateReport
    float32_s: float
    """CPU seconds per window."""
    int8_s: float


def settle_engine(directory: Path, batch: SequenceBatch, label: NDArray[np.integer]) -> EngineChoice:
    """Try int8 weights on the model stored in `directory` and write down what it is to be served with.

    `batch` are B windows of a cohort that the model has not learned from, `label` [B] their outcomes for the headline
    task (1, 0, else unknown). The int8 graph stays in the folder only if it is chosen.

    Raises:
        NotFoundError: the folder is not a complete model.
        InvalidInputError: the outcomes are of one kind only.
    """
    exact = ModelArtifact.load(directory, engine="onnx-float32")
    quantise_weights(directory / "model.onnx", directory / INT8_ONNX)
    coarse = ModelArtifact.load(directory, engine="onnx-int8")
    report = compare_scores(
        reference=exact.score(batch).risk_score,
        candidate=coarse.score(batch).risk_score,
        label=label,
        policy=exact.policy,
    )
    float32_s, int8_s = measure_engines((exact.runner, coarse.runner), steps=exact.contract.window_weeks)
    choice = EngineChoice(
        choose_cpu_engine(report, float32_s=float32_s, int8_s=int8_s), report, float32_s=float32_s, int8_s=int8_s
    )
    if choice.engine == "onnx":
        (directory / INT8_ONNX).unlink()
    write_engine_choice(directory, json.dumps(asdict(choice), indent=1))
    return choice


def measure_engines(engines: tuple[InferenceEngine, ...], *, steps: int) -> tuple[float, ...]:
    """CPU seconds per window of each engine, the best of five rounds taken in turn."""
    inputs = sample_inputs(examples=_EXAMPLES, steps=steps, seed=0)
    best = [float("inf")] * len(engines)
    for _ in range(_ROUNDS):
        for position, engine in enumerate(engines):
            engine.run(inputs)
            started = process_time()
            for _ in range(_RUNS_PER_ROUND):
                engine.run(inputs)
            best[position] = min(best[position], (process_time() - started) / (_RUNS_PER_ROUND * _EXAMPLES))
    return tuple(best)
