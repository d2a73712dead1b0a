"""The inference network written out as an ONNX graph, laid out for ONNX Runtime.

What the training code computes, rearranged where that costs less and changes nothing but the last digit: time before
batch throughout (the order of the GRU operator, so that no hidden state is transposed), real lengths given to the GRU
(whose last state is then the scored one), keys and values in one product, and the layer norms' scale and shift folded
into the products that follow them.

Legend: B examples, T steps, F features, M modalities, A aux, H hidden units of all branches, U attention units,
E heads, K hazard intervals.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edupulse_ml.core.contract import AUX_COLUMNS, CONTEXT_COLUMNS, FEATURES, MODALITIES, modality_slice
from edupulse_ml.core.outcomes import N_HAZARDS
from edupulse_ml.models.gru import RiskNet

OPSET: Final = 20
INPUT_NAMES: Final = ("z", "mask", "aux", "context", "length")
OUTPUT_NAMES: Final = ("logits", "attention")
_LOWEST: Final = np.float32(-1e9)
"""Score of a step that may not be attended to, as in `RiskNet`."""

Weights = dict[str, NDArray[np.float32]]


class _Graph:
    """Nodes and constants in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[np.generic] | Sequence[int]) -> str:
        array = np.asarray(value, dtype=np.int64) if isinstance(value, list | tuple) else np.asarray(value, order="C")
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, operator: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output


def build_graph(network: RiskNet) -> onnx.ModelProto:
    """The graph of `network.forward`: inputs `INPUT_NAMES`, outputs `OUTPUT_NAMES`, free batch and time axes."""
    weights = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    graph = _Graph()
    one = graph.constant("one", np.array(1, dtype=np.int64))
    length = graph.add("Max", ["length", one], "counted_length")
    hidden_TBH, state_BH = _branches(graph, network, weights, length)
    allowed = _allowed(graph, length)
    attended_BU = _attention(graph, network, weights, hidden_TBH, state_BH, allowed)
    _head(graph, weights, state_BH, attended_BU, length)
    return _model(graph)


def _branches(graph: _Graph, network: RiskNet, weights: Weights, length: str) -> tuple[str, str]:
    """Normalised hidden states of all branches, [T, B, H] and [B, H] at the scored step."""
    hidden = network.config.hidden
    lengths = graph.add("Cast", [length], "sequence_lens", to=TensorProto.INT32)
    time_major = {name: graph.add("Transpose", [name], f"{name}_TB", perm=[1, 0, 2]) for name in ("z", "mask", "aux")}
    graph.constant("axis_last", [2])
    states: list[str] = []
    outputs: list[str] = []
    for index, modality in enumerate(MODALITIES):
        part = modality_slice(modality)
        own = _columns(graph, time_major["z"], part.start, part.stop, f"z_{modality}")
        recorded = _columns(graph, time_major["mask"], index, index + 1, f"mask_{modality}")
        channels = graph.add("Concat", [own, recorded, time_major["aux"]], f"channels_{modality}", axis=2)
        tensors = _gru_tensors(graph, weights, index, modality)
        every, last = f"steps_{modality}", f"last_{modality}"
        graph.nodes.append(
            helper.make_node(
                "GRU",
                [channels, *tensors, lengths],
                [every, last],
                name=f"gru_{modality}",
                hidden_size=hidden,
                linear_before_reset=1,
            )
        )
        outputs.append(every)
        states.append(last)
    branches = len(MODALITIES)
    graph.constant("to_TBH", [0, -1, branches * hidden])
    graph.constant("to_TBMH", [0, 0, branches, hidden])
    joined = graph.add("Concat", outputs, "steps", axis=3)
    joined_state = graph.add("Concat", states, "last", axis=2)
    normalised = _normalise(graph, graph.add("Reshape", [joined, "to_TBH"], "steps_TBH"), "hidden", hidden)
    graph.constant("to_BH", [-1, branches * hidden])
    state = graph.add("Reshape", [_normalise(graph, joined_state, "state", hidden), "to_BH"], "state_BH")
    return normalised, state


def _normalise(graph: _Graph, values: str, name: str, hidden: int) -> str:
    """Each branch to mean 0 and variance 1; the learned scale and shift are in the products that follow."""
    graph.constant("unit_scale", np.ones(hidden, dtype=np.float32))
    split = graph.add("Reshape", [values, "to_TBMH"], f"{name}_by_branch")
    normal = graph.add("LayerNormalization", [split, "unit_scale"], f"{name}_normal", axis=-1, epsilon=1e-5)
    return graph.add("Reshape", [normal, "to_TBH"], f"{name}_TBH")


def _columns(graph: _Graph, source: str, start: int, stop: int, output: str) -> str:
    first, end = graph.constant(f"{output}_from", [start]), graph.constant(f"{output}_to", [stop])
    return graph.add("Slice", [source, first, end, "axis_last"], output)


def _gru_tensors(graph: _Graph, weights: Weights, index: int, modality: str) -> tuple[str, str, str]:
    """Input weights, recurrent weights and biases, gates in ONNX's order (update, reset, new) instead of torch's."""
    prefix = f"branches.{index}"
    input_weight, recurrent, input_bias, recurrent_bias = (
        _reordered(weights[f"{prefix}.{name}_l0"]) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return (
        graph.constant(f"W_{modality}", input_weight[None]),
        graph.constant(f"R_{modality}", recurrent[None]),
        graph.constant(f"B_{modality}", np.concatenate([input_bias, recurrent_bias])[None]),
    )


def _reordered(gates: NDArray[np.float32]) -> NDArray[np.float32]:
    reset, update, new = np.split(gates, 3)
    return np.concatenate([update, reset, new])


def _allowed(graph: _Graph, length: str) -> str:
    """[B, 1, T] True at real steps."""
    zero = graph.constant("zero", np.array(0, dtype=np.int64))
    graph.constant("axis_time", np.array(1, dtype=np.int64))
    graph.constant("to_B11", [-1, 1, 1])
    shape = graph.add("Shape", ["z"], "shape_z")
    steps = graph.add("Gather", [shape, "axis_time"], "n_steps", axis=0)
    step = graph.add("Range", [zero, steps, "one"], "step")
    return graph.add("Less", [step, graph.add("Reshape", [length, "to_B11"], "length_B11")], "allowed")


def _attention(graph: _Graph, network: RiskNet, weights: Weights, hidden: str, state: str, allowed: str) -> str:
    """[B, U] what the scored step attends to; adds the output `attention`."""
    units, heads = network.config.attention, network.config.heads
    scale, shift = _norm_affine(weights)
    per_head = units // heads
    query_weight, query_bias = _folded(weights, "query", scale, shift)
    graph.constant("query_weight", query_weight / np.float32(per_head**0.5))
    graph.constant("query_bias", query_bias / np.float32(per_head**0.5))
    # The key's constant part is the same at every step of an example, so the softmax does not see it.
    key_weight, _ = _folded(weights, "key", scale, shift)
    value_weight, value_bias = _folded(weights, "value", scale, shift)
    graph.constant("key_weight", key_weight)
    graph.constant("value_weight", value_weight)
    graph.constant("value_bias", value_bias)
    head_of_unit = np.repeat(np.eye(heads, dtype=np.float32), per_head, axis=0)
    graph.constant("unit_to_head", head_of_unit)
    graph.constant("head_to_unit", np.ascontiguousarray(head_of_unit.T))
    query = graph.add("Gemm", [state, "query_weight", "query_bias"], "query_BU")
    key = graph.add("MatMul", [hidden, "key_weight"], "key_TBU")
    score = graph.add("MatMul", [graph.add("Mul", [key, query], "match_TBU"), "unit_to_head"], "score_TBE")
    by_head = graph.add("Transpose", [score], "score_BET", perm=[1, 2, 0])
    graph.constant("lowest", np.array(_LOWEST, dtype=np.float32))
    masked = graph.add("Where", [allowed, by_head, "lowest"], "masked_BET")
    weight = graph.add("Softmax", [masked], "weight_BET", axis=-1)
    graph.add("ReduceMean", [weight, graph.constant("axis_heads", [1])], "attention", keepdims=0)
    weight_TBE = graph.add("Transpose", [weight], "weight_TBE", perm=[2, 0, 1])
    value = graph.add("MatMul", [hidden, "value_weight"], "value_TBU")
    spread = graph.add("MatMul", [weight_TBE, "head_to_unit"], "weight_TBU")
    weighted = graph.add("Mul", [value, spread], "weighted_TBU")
    total = graph.add("ReduceSum", [weighted, graph.constant("axis_first", [0])], "attended_sum", keepdims=0)
    # The weights sum to 1, so the value's constant part can be added once, at the end.
    return graph.add("Add", [total, "value_bias"], "attended_BU")


def _head(graph: _Graph, weights: Weights, state: str, attended: str, length: str) -> None:
    scale, shift = _norm_affine(weights)
    width = len(scale)
    fusion = weights["fusion.weight"].T.copy()
    bias = weights["fusion.bias"] + shift @ fusion[:width]
    fusion[:width] *= scale[:, None]
    graph.constant("fusion_weight", fusion)
    graph.constant("fusion_bias", bias.astype(np.float32))
    graph.constant("to_B1", [-1, 1])
    last = graph.add("Sub", [length, "one"], "last_step")
    position = graph.add("Reshape", [last, "to_B1"], "last_step_B1")
    recorded = graph.add("GatherND", ["mask", position], "mask_last", batch_dims=1)
    joined = graph.add("Concat", [state, attended, "context", recorded], "fusion_input", axis=1)
    fused = graph.add("Gelu", [graph.add("Gemm", [joined, "fusion_weight", "fusion_bias"], "fusion")], "fused")
    graph.constant("head_weight", np.ascontiguousarray(weights["head.weight"].T))
    graph.constant("head_bias", weights["head.bias"])
    graph.add("Gemm", [fused, "head_weight", "head_bias"], "logits")


def _norm_affine(weights: Weights) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[H] learned scale and shift of the layer norms of all branches."""
    branches = range(len(MODALITIES))
    return (
        np.concatenate([weights[f"norms.{index}.weight"] for index in branches]),
        np.concatenate([weights[f"norms.{index}.bias"] for index in branches]),
    )


def _folded(
    weights: Weights, name: str, scale: NDArray[np.float32], shift: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight [H, out] and bias of a linear layer that reads unscaled, unshifted hidden states."""
    weight = weights[f"{name}.weight"].T
    bias = weights[f"{name}.bias"] + shift @ weight
    return weight * scale[:, None], bias.astype(np.float32)


def _model(graph: _Graph) -> onnx.ModelProto:
    widths = {"z": len(FEATURES), "mask": len(MODALITIES), "aux": len(AUX_COLUMNS)}
    floats = {name: ["examples", "steps", width] for name, width in widths.items()}
    floats["context"] = ["examples", len(CONTEXT_COLUMNS)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in floats.items()]
    inputs.append(helper.make_tensor_value_info("length", TensorProto.INT64, ["examples"]))
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["examples", N_HAZARDS]),
        helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["examples", "steps"]),
    ]
    body = helper.make_graph(graph.nodes, "edupulse", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edupulse")
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model
