"""Which arithmetic a stored model is served with: decided once, when the model is built, and kept in its folder.

Every replica then answers alike; a choice made by each of them would depend on what else its machine was doing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edupulse_ml.core.sequences import SequenceBatch
from edupulse_ml.models.artifact import INT8_ONNX, EngineName, ModelArtifact, write_engine_choice
from edupulse_ml.models.engines import InferenceEngine, sample_inputs
from edupulse_ml.models.quantisation import GateReport, compare_scores, is_worth_it, quantise_weights

_ROUNDS: Final = 5
_RUNS_PER_ROUND: Final = 4
_EXAMPLES_ON_CPU: Final = 64
"""Windows of one forward of the gateway's batches."""


@dataclass(frozen=True)
class EngineChoice:
    """The engine, and the figures it was chosen by: what the gate saw, and seconds per window."""

    engine: EngineName
    gate: GateReport
    exact_s: float
    coarse_s: float


def settle_on_cpu(directory: Path, batch: SequenceBatch, label: NDArray[np.integer]) -> EngineChoice:
    """Try int8 weights on the model stored in `directory`, and write down what `onnx` stands for there.

    `batch` are B windows of a cohort that the model has not learned from, `label` [B] their outcomes for the headline
    task (1, 0, else unknown). The int8 graph stays in the folder only if it is chosen.

    Raises:
        NotFoundError: the folder is not a complete model.
        InvalidInputError: the outcomes are of one kind only.
    """
    exact = ModelArtifact.load(directory, engine="onnx-float32")
    quantise_weights(directory / "model.onnx", directory / INT8_ONNX)
    coarse = ModelArtifact.load(directory, engine="onnx-int8")
    choice = _choice(
        exact, coarse, batch, label, names=("onnx-float32", "onnx-int8"), clock=process_time, examples=_EXAMPLES_ON_CPU
    )
    if choice.engine != "onnx-int8":
        (directory / INT8_ONNX).unlink()
    write_engine_choice(directory, "onnx", asdict(choice))
    return choice


def settle_on_gpu(
    directory: Path, batch: SequenceBatch, label: NDArray[np.integer], *, device: str = "cuda"
) -> EngineChoice:
    """As `settle_on_cpu`: try bfloat16 on `device`, and write down what `torch` stands for."""
    exact = ModelArtifact.load(directory, engine="torch-float32", device=device)
    coarse = ModelArtifact.load(directory, engine="torch-half", device=device)
    names: tuple[EngineName, EngineName] = ("torch-float32", "torch-half")
    many = exact.runner.examples_per_run
    choice = _choice(exact, coarse, batch, label, names=names, clock=perf_counter, examples=many)
    write_engine_choice(directory, "torch", asdict(choice))
    return choice


def measure_engines(
    engines: tuple[InferenceEngine, InferenceEngine], *, steps: int, examples: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of `clock` per window of each engine, the best of five rounds taken in turn."""
    inputs = sample_inputs(examples=examples, steps=steps, seed=0)
    best = [float("inf"), float("inf")]
    for _ in range(_ROUNDS):
        for position, engine in enumerate(engines):
            engine.run(inputs)
            started = clock()
            for _ in range(_RUNS_PER_ROUND):
                engine.run(inputs)
            best[position] = min(best[position], (clock() - started) / (_RUNS_PER_ROUND * examples))
    return best[0], best[1]


def _choice(
    exact: ModelArtifact,
    coarse: ModelArtifact,
    batch: SequenceBatch,
    label: NDArray[np.integer],
    *,
    names: tuple[EngineName, EngineName],
    clock: Callable[[], float],
    examples: int,
) -> EngineChoice:
    report = compare_scores(
        reference=exact.score(batch).risk_score,
        candidate=coarse.score(batch).risk_score,
        label=label,
        policy=exact.policy,
    )
    exact_s, coarse_s = measure_engines(
        (exact.runner, coarse.runner), steps=exact.contract.window_weeks, examples=examples, clock=clock
    )
    chosen = names[is_worth_it(report, exact_s=exact_s, coarse_s=coarse_s)]
    return EngineChoice(chosen, report, exact_s=exact_s, coarse_s=coarse_s)
