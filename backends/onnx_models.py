"""ONNX's BatchNormalization: a model of one node, and a layer that keeps the state which the operator does not.

The operator is a function: scale, B, mean and variance go in, and in training the new mean and variance come out. So
whoever builds the model says where the state starts; here 1, 0, 0, 1. As in models that are exported, what does not
change is a constant of the model: all four in evaluation, scale and B and the two unused statistics without tracking.
Without tracking the node is one in training whose statistics nobody takes up, which is how torch.onnx writes it, too.

The operator's `momentum` weighs the *old* running value, so 1 - momentum is passed. `epsilon` and `momentum` are
attributes of type float32, whatever the type of x, which shows in float64. There is neither a counter nor a gradient.

The definition changed: 6 tells the mode by `is_test`; 7 and 9 have no attribute for it (training is asked for by naming
five outputs), and all three one type for all inputs; 14 has `training_mode`, defines training, and gives the statistics
a type of their own; 15 also scale and B. At 14 scale and B are given in the type of x, as a converter of models to half
precision writes them, and what is loaded is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], list[Array]]
"""A model ready to run: its inputs by name in, its outputs out."""

INPUTS = {"weight": "scale", "bias": "B", "running_mean": "input_mean", "running_var": "input_var"}
"""What the layer remembers, and the operator's inputs that take it, in the operator's order."""

UNSUPPORTED = {
    "backward": "an ONNX model has no gradient",
    "momentum_none": "the attribute momentum is a number; there is no cumulative average",
    "masked": "the operator has no input for a mask",
    **dict.fromkeys(("affine_off", "weight_alone", "bias_alone"), "scale and B are required inputs of the operator"),
}
"""What no definition of the operator has, with the reason."""

BEFORE_14 = dict.fromkeys(("float16", "bfloat16"), "before opset 14 everything has the type of x, half precision")

PAGE = "https://onnx.ai/onnx/operators/onnx__BatchNormalization.html"
POPULATION = (
    f"{PAGE}: 'running_var = input_var * momentum + current_var * "
    "(1 - momentum)', where current_var 'refers to the population variance'"
)
DOCUMENTED = {
    "epsilon_value": f"{PAGE}: 'epsilon - FLOAT', single precision, whatever the type of X",
    "momentum_value": f"{PAGE}: 'momentum - FLOAT', single precision, whatever the type of X; it weighs the old value",
    "running_variance": POPULATION,
    "single_value": POPULATION + ", which one value has: it is 0",
}
TRAINING = {
    "epsilon_value": "single_precision",
    "momentum_value": "single_precision",
    "running_variance": "biased",
    "single_value": "bias_output",
}
"""What the operator's page documents otherwise than the specification: the first two always, the others since 14."""


class ModelKey(NamedTuple):
    """What distinguishes one model from another.

    `dtype` and `param_dtype` by name, `attributes` as given to the node; `tracked`: whether the statistics that come
    out are taken up; `saved`: whether what is saved for the gradient is; `convolved`: whether a convolution comes
    before the node, which multiplies each channel by 1.
    """

    opset: int
    ndim: int = 4
    dtype: str = "float32"
    param_dtype: str = "float32"
    attributes: tuple[tuple[str, float], ...] = ()
    training: bool = False
    tracked: bool = True
    convolved: bool = False
    saved: bool = False


def node_of(config: Any, opset: int) -> ModelKey:
    """The evaluation node of a configuration; NotImplementedError for what the operator cannot be asked."""
    if not (config.weight and config.bias):
        raise NotImplementedError(UNSUPPORTED["affine_off"])
    if config.momentum is None:
        raise NotImplementedError(UNSUPPORTED["momentum_none"])
    attributes = (("epsilon", float(config.eps)), ("momentum", 1.0 - config.momentum))
    return ModelKey(
        opset, config.ndim, config.dtype, config.param_dtype, attributes, tracked=config.track_running_stats
    )


def dtype_of(node: ModelKey, name: str) -> str:
    """The dtype of one of the inputs that keep the state: before opset 15 scale and B have the type of x."""
    return node.dtype if node.opset < 15 and name in ("scale", "B") else node.param_dtype


def model(node: ModelKey, constants: Mapping[str, Array]) -> bytes:
    """The model, all sizes symbolic, so that one serves all shapes; ONNX's error where there is no such model.

    `constants` are values of the node's inputs; those that are not among them are inputs of the model.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    types = {"float64": "DOUBLE", "float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "BFLOAT16"}
    sizes = ["N", "C", "D1", "D2", "D3"][: node.ndim]

    def type_values(name: str) -> Any:
        dtype, shape = (node.dtype, sizes) if name in ("x", "y") else (dtype_of(node, name), ["C"])
        return helper.make_tensor_value_info(name, getattr(TensorProto, types[dtype]), shape)

    attributes: dict[str, Any] = dict(node.attributes)
    if node.opset >= 14:
        attributes["training_mode"] = int(node.training)
    if node.opset < 7:
        attributes["is_test"] = int(not node.training)
    statistics = ["running_mean", "running_var"] if node.training else []
    saved = ["saved_mean", "saved_var"] if node.training and node.opset < 14 else []
    inputs = ["convolved" if node.convolved else "x", *INPUTS.values()]
    operators = [helper.make_node("BatchNormalization", inputs, ["y", *statistics, *saved], **attributes)]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    if node.convolved:
        kernel = np.ones((len(constants["scale"]), *(1,) * (node.ndim - 1)), node.dtype)
        tensors.append(numpy_helper.from_array(kernel, "kernel"))
        operators.insert(0, helper.make_node("Conv", ["x", "kernel"], ["convolved"], group=len(kernel)))
    given = [type_values(name) for name in ("x", *INPUTS.values()) if name not in constants]
    taken = [type_values(name) for name in ("y", *(statistics if node.tracked else []), *(saved if node.saved else []))]
    graph = helper.make_graph(operators, "normalization", given, taken, tensors)
    opsets = [helper.make_opsetid("", node.opset)]
    version = max(helper.find_min_ir_version_for(opsets), 4)  # in 3, constants had to be inputs as well
    made = helper.make_model(graph, opset_imports=opsets, ir_version=version)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


class OnnxLayer:
    """A BatchNormalization and its state; `prepare` makes a node ready to run with some of its inputs constant."""

    def __init__(
        self, node: ModelKey, num_features: int, prepare: Callable[[ModelKey, Mapping[str, Array]], Run]
    ) -> None:
        self.node = node
        self.prepare = prepare
        self.dtype = _dtype(node.param_dtype)
        self.kept = {name: np.full(num_features, name in ("weight", "running_var"), self.dtype) for name in INPUTS}
        self.constant: Run | None = None
        self._evaluation()  # here, so that a dtype that the runtime lacks is refused when the layer is built

    def forward(self, x: Array, *, training: bool) -> Array:
        """y; in training the node's second and third output become the running statistics."""
        if not (training and self.node.tracked):
            return np.array(self._evaluation()({"x": x})[0])
        y, new_mean, new_var = self.prepare(self.node._replace(training=True), {})({"x": x, **self._inputs()})
        self.kept |= {"running_mean": np.array(new_mean), "running_var": np.array(new_var)}
        self.constant = None
        return np.array(y)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """NotImplementedError: there is nothing to ask."""
        raise NotImplementedError(UNSUPPORTED["backward"])

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers; the operator has no counter, and the statistics may be unused."""
        shown: dict[str, Array | None] = {name: value.copy() for name, value in self.kept.items()}
        unused = {} if self.node.tracked else {"running_mean": None, "running_var": None}
        return {**shown, **unused, "num_batches_tracked": None}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; ValueError, nothing set, for one that does not exist here or has another shape."""
        there = self.state()
        given = {name: value for name, value in state.items() if value is not None}
        for name, value in given.items():
            own = there.get(name)
            if own is None or own.shape != value.shape:
                raise ValueError(f"there is no {name} of shape {value.shape} here")
        self.kept |= {name: value.astype(self.dtype) for name, value in given.items()}
        self.constant = None

    def _evaluation(self) -> Run:
        """The model for passes that change nothing, made anew where the state has changed since."""
        if self.constant is None:
            self.constant = self.prepare(self.node._replace(training=not self.node.tracked), self._inputs())
        return self.constant

    def _inputs(self) -> dict[str, Array]:
        """What the layer remembers as the operator's inputs, in the types that the definition gives them."""
        named = {INPUTS[name]: value for name, value in self.kept.items()}
        return {name: value.astype(_dtype(dtype_of(self.node, name)), copy=False) for name, value in named.items()}


class SavingOnnxLayer(OnnxLayer):
    """The same of an opset, before 14, whose operator has outputs for what its gradient wants."""

    def saved_statistics(self, x: Array, *, training: bool) -> dict[str, Array]:
        """saved_mean and saved_var, the last two outputs of the node in training, or nothing; nothing is moved."""
        if not training and self.node.tracked:
            return {}
        node = self.node._replace(training=True, saved=True)
        *_, saved_mean, saved_var = self.prepare(node, {})({"x": x, **self._inputs()})
        return {"mean": np.array(saved_mean), "variance": np.array(saved_var)}


def _dtype(name: str) -> Any:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
