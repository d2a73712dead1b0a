"""Running the network: torch, or ONNX Runtime, behind one protocol.

Legend: B examples, T steps, K hazard intervals.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURES, MODALITIES
from edupulse_ml.core.errors import EduPulseError
from edupulse_ml.core.sequences import Float32
from edupulse_ml.models.gru import RiskNet
from edupulse_ml.models.inputs import ModelInputs
from edupulse_ml.models.onnx_graph import INPUT_NAMES, OUTPUT_NAMES, build_graph

PARITY_TOLERANCE: Final = 1e-5
EXAMPLES_PER_RUN: Final = {"onnx": 128, "torch": 256, "cuda": 8192}
"""Windows of one forward. On a CPU, what stays in one core's cache: 30 us a window of 40 weeks at 32 to 128 windows, 39 us
at 1,024 (ONNX Runtime); torch 48 us at 256, 53 us at 128 and at 1,024. A GPU wants as many as
its memory holds with ease: by the size of the arrays 8,192 windows of 40 weeks take about 1 GB.
"""


class OnnxParityError(EduPulseError):
    """The exported network does not answer as the trained one does."""

    exit_code = 65
    title = "ONNX export differs"


@dataclass(frozen=True)
class NetworkOutput:
    """Hazard logits and attention of B examples."""

    logits: Float32
    """[B, K]"""
    attention: Float32
    """[B, T] sums to 1 over the real steps, 0 at padding."""

    @property
    def hazards(self) -> NDArray[np.float64]:
        """[B, K] probability of the event in each interval, given none before."""
        return 1.0 / (1.0 + np.exp(-self.logits.astype(np.float64)))


class InferenceEngine(Protocol):
    """Runs the network on prepared inputs, best `examples_per_run` at a time."""

    name: str
    examples_per_run: int

    def run(self, inputs: ModelInputs) -> NetworkOutput: ...


class TorchEngine:
    """The network itself, on a CPU or a GPU.

    With `half`, products are made in bfloat16: it keeps float32's range, which the mask of the attention needs.
    """

    name = "torch"

    def __init__(self, network: RiskNet, *, device: str = "cpu", half: bool = False) -> None:
        self._device = torch.device(device)
        self._half = half
        self.examples_per_run = EXAMPLES_PER_RUN["torch" if self._device.type == "cpu" else "cuda"]
        self._network = network.to(self._device).eval()

    def run(self, inputs: ModelInputs) -> NetworkOutput:
        arrays = (inputs.z, inputs.mask, inputs.aux, inputs.context, inputs.length)
        precision = torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half)
        with torch.inference_mode(), precision:
            logits, attention = self._network(*(torch.from_numpy(a).to(self._device) for a in arrays))
        return NetworkOutput(logits.float().cpu().numpy(), attention.float().cpu().numpy())


class OnnxEngine:
    """The exported network on ONNX Runtime's CPU provider; `threads` 0 means one per core.

    Optimisation level, memory arena, memory patterns, parallel execution and bound outputs change the time of a forward
    by less than 5 % here (docs/experiments.md), so they are left at their defaults.
    """

    name = "onnxruntime"
    examples_per_run = EXAMPLES_PER_RUN["onnx"]

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, inputs: ModelInputs) -> NetworkOutput:
        if not len(inputs.length):
            steps = inputs.z.shape[1]
            return NetworkOutput(np.zeros((0, self._width), np.float32), np.zeros((0, steps), np.float32))
        feed = {name: getattr(inputs, name) for name in INPUT_NAMES}
        logits, attention = self._session.run(list(OUTPUT_NAMES), feed)
        return NetworkOutput(np.asarray(logits), np.asarray(attention))

    @property
    def _width(self) -> int:
        return int(self._session.get_outputs()[0].shape[1])


def export_onnx(network: RiskNet, path: Path) -> float:
    """Write the inference network with free batch and time axes; the largest difference to torch on test inputs.

    Raises:
        OnnxParityError: a logit or an attention weight differs by more than 1e-5.
    """
    network = network.cpu().eval()
    onnx.save(build_graph(network), path)
    return require_parity(network, path)


def require_parity(network: RiskNet, path: Path) -> float:
    """Largest absolute difference between torch and ONNX Runtime over several batch and window sizes.

    Raises:
        OnnxParityError: it exceeds 1e-5.
    """
    reference, exported = TorchEngine(network), OnnxEngine(path)
    largest = 0.0
    for examples, steps in ((1, 1), (1, 20), (5, 9), (64, 20), (2, 40)):
        inputs = sample_inputs(examples=examples, steps=steps, seed=examples + steps)
        expected, answered = reference.run(inputs), exported.run(inputs)
        difference = max(
            float(np.abs(expected.hazards - answered.hazards).max()),
            float(np.abs(expected.attention - answered.attention).max()),
        )
        largest = max(largest, difference)
    if not largest <= PARITY_TOLERANCE:
        msg = f"The ONNX export differs from the trained network by {largest:.1e} (limit {PARITY_TOLERANCE:.0e}): do not deploy it; check the versions of torch and onnxruntime."
        raise OnnxParityError(msg)
    return largest


def sample_inputs(*, examples: int, steps: int, seed: int) -> ModelInputs:
    """Random inputs of all lengths, for parity checks and warm-up."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, steps + 1, examples)
    real = (np.arange(steps)[None, :] < length[:, None])[:, :, None]

    def normal(width: int) -> Float32:
        return (rng.normal(size=(examples, steps, width)) * real).astype(np.float32)

    return ModelInputs(
        z=np.clip(2 * normal(len(FEATURES)), -5, 5),
        mask=((rng.random((examples, steps, len(MODALITIES))) < 0.8) & real).astype(np.float32),
        aux=np.abs(normal(len(AUX_COLUMNS))),
        context=rng.normal(size=(examples, len(CONTEXT_COLUMNS))).astype(np.float32),
        length=length.astype(np.int64),
    )
