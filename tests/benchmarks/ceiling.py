"""The most that scoring could reach: ONNX Runtime on inputs that lie prepared in memory, one process per core.

`python -m tests.benchmarks.ceiling MODEL INPUTS SECONDS` scores for that long and prints students per second.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

import numpy as np

from edupulse_ml.models.artifact import ModelArtifact
from edupulse_ml.models.inputs import ModelInputs

_ROOT: Final = Path(__file__).parents[2]
_BATCH_SIZES: Final = (32, 64, 128, 256, 512, 1024)
_TRIAL_S: Final = 0.3


def save_inputs(inputs: ModelInputs, path: Path) -> None:
    """Write prepared inputs for the processes of `ceiling`."""
    np.savez(path, **{field.name: getattr(inputs, field.name) for field in fields(ModelInputs)})


def ceiling(model: Path, inputs: Path, *, processes: int, seconds: float) -> float:
    """Students per second of all processes together."""
    command = [sys.executable, "-m", "tests.benchmarks.ceiling", str(model), str(inputs), str(seconds)]
    running = [
        subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    rates = []
    for process in running:
        output, errors = process.communicate()
        if process.returncode != 0:
            msg = f"The bare ONNX Runtime process failed: {errors[-2000:]}"
            raise AssertionError(msg)
        rates.append(float(output))
    return sum(rates)


def main(arguments: Sequence[str]) -> None:
    """Find the best batch size, then score with it."""
    model, inputs, seconds = Path(arguments[0]), Path(arguments[1]), float(arguments[2])
    engine = ModelArtifact.load(model, threads=1).engine
    if engine is None:
        msg = "a loaded artifact has an engine"
        raise AssertionError(msg)
    stored = np.load(inputs)
    everything = ModelInputs(**{field.name: stored[field.name] for field in fields(ModelInputs)})

    def rate(parts: Sequence[ModelInputs], limit_s: float) -> float:
        scored, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < limit_s:
            for part in parts:
                engine.run(part)
                scored += len(part.length)
        return scored / elapsed

    trials = {size: _parts(everything, size) for size in _BATCH_SIZES}
    best = max(trials, key=lambda size: rate(trials[size], _TRIAL_S))
    sys.stdout.write(str(rate(trials[best], seconds)))


def _parts(inputs: ModelInputs, size: int) -> list[ModelInputs]:
    n = len(inputs.length)
    return [
        ModelInputs(**{field.name: getattr(inputs, field.name)[at : at + size] for field in fields(ModelInputs)})
        for at in range(0, max(n - size, 0) + 1, size)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
