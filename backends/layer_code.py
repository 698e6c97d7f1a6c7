"""A BatchNorm in each framework's own code: lines that make it, train it, evaluate it, read it and load it.

`bnconform porting --from A --to B` prints those of two frameworks as two scripts, and `--run` runs them. They take and
give NumPy arrays, x of shape (N, C, H, W), and stand for what a project has; nothing here is used to judge anything.

In the lines EPS and MOMENTUM stand for numbers, MOMENTUM in the framework's own sense. They define

    train(x)             a training pass, which moves the running statistics
    evaluate(x) -> y     a pass in evaluation
    read()               the state by PyTorch's names, as copies: weight, bias, running_mean, running_var, each (C,)
    load(given)          sets such a state
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Layout(NamedTuple):
    """What of a layer is not in its numbers.

    Attributes:
        axis: where the channels lie, in words. mode: how training is told from evaluation.
        counter: what counts the batches, or "".
        reading, loading: what else must be done to read its statistics, or to set them, in words; "" for nothing.
    """

    axis: str
    mode: str
    counter: str = ""
    reading: str = ""
    loading: str = ""


FIRST, LAST = "channels at axis 1, (N, C, *S)", "channels last, (N, *S, C)"
METHODS = "layer.train() and layer.eval()"
ARGUMENT = "the argument training=True or False"
EQUINOX_AXIS = "one sample, channels first, (C, *S), under jax.vmap with an axis_name"
EQUINOX_MODE = "equinox.nn.inference_mode(layer, value), or the argument inference"

LAYOUTS: Mapping[str, Layout] = {
    "torch.nn": Layout(FIRST, METHODS, "num_batches_tracked"),
    "torch.functional": Layout(FIRST, ARGUMENT),
    "torch.native_batch_norm": Layout(FIRST, ARGUMENT),
    "flax.nnx": Layout(LAST, "the argument use_running_average, or layer.train() and layer.eval()"),
    "flax.linen": Layout(LAST, "the argument use_running_average, with mutable=['batch_stats'] in training"),
    "equinox": Layout(
        EQUINOX_AXIS, EQUINOX_MODE, "batch_counter",
        "divide what the state keeps by 1 - momentum**batch_counter, as evaluation does",
        "set batch_counter to a large number such as 10**6, for in evaluation what is kept is divided by "
        "1 - momentum**batch_counter, and with a counter of 0 the next batch would spoil what was loaded",
    ),
    "equinox+ema": Layout(
        EQUINOX_AXIS, EQUINOX_MODE,
        loading="set ema_first_time_index to False, for else the first batch takes the place of what was loaded",
    ),
    "haiku": Layout(
        LAST, "the argument is_training", "counter (of each average)", "take `average`, not `hidden`",
        "give the arrays the shape (1, ..., 1, C), set `hidden` and `average` to the same, and `counter` to a large "
        "number such as 10**6, for the average is hidden / (1 - decay_rate**counter)",
    ),
    "jax.stax": Layout(LAST, "none: the statistics of the batch, always"),
    "keras": Layout(LAST, ARGUMENT, loading="build the layer first: set_weights takes all four arrays, in this order"),
    "tf_keras": Layout(
        LAST, ARGUMENT, loading="build the layer first: set_weights takes all four arrays, in this order"
    ),
    "tf.nn": Layout(LAST, "none: the caller gives the statistics"),
    "tf.fused": Layout(LAST, "the argument is_training"),
    "tf.fused+nchw": Layout(FIRST, "the argument is_training"),
    "onnxruntime": Layout(FIRST, "the attribute training_mode"),
    "onnx.reference": Layout(FIRST, "the attribute training_mode"),
    "mlx": Layout(LAST, METHODS),
    "paddle": Layout(FIRST, METHODS),
    "paddle+channels_last": Layout(LAST, METHODS),
    "tinygrad": Layout(FIRST, "the context Tensor.train(), or Context(TRAINING=1)", "num_batches_tracked"),
    "mindspore": Layout(FIRST, "layer.set_train(True) and layer.set_train(False)"),
}  # fmt: skip
"""By the name of a backend, or that without its variant."""


def layout(name: str) -> Layout | None:
    """What is known of a backend; None for what is no framework."""
    return LAYOUTS.get(name) or LAYOUTS.get(family(name))


def family(name: str) -> str:
    """The name of a backend without its variant."""
    return name.partition("+")[0]


TORCH = """\
import numpy as np
import torch

layer = torch.nn.BatchNorm2d(3, eps=EPS, momentum=MOMENTUM)


def train(x):
    layer.train()
    layer(torch.from_numpy(x))


def evaluate(x):
    layer.eval()
    with torch.no_grad():
        return layer(torch.from_numpy(x)).numpy()


def read():
    return {name: value.numpy().copy() for name, value in layer.state_dict().items() if name != "num_batches_tracked"}


def load(given):
    names = ("weight", "bias", "running_mean", "running_var")
    state = {name: torch.from_numpy(given[name]) for name in names}
    layer.load_state_dict({**state, "num_batches_tracked": torch.tensor(0)})
"""

TORCH_FUNCTIONAL = """\
import numpy as np
import torch
from torch.nn import functional

held = {name: torch.zeros(3) for name in ("weight", "bias", "running_mean", "running_var")}


def call(x, training):
    return functional.batch_norm(torch.from_numpy(x), **held, training=training, momentum=MOMENTUM, eps=EPS)


def train(x):
    call(x, True)


def evaluate(x):
    return call(x, False).numpy()


def read():
    return {name: value.numpy().copy() for name, value in held.items()}


def load(given):
    held.update({name: torch.tensor(given[name]) for name in held})
"""

FLAX_NNX = """\
import jax.numpy as jnp
import numpy as np
from flax import nnx

layer = nnx.BatchNorm(3, epsilon=EPS, momentum=MOMENTUM, rngs=nnx.Rngs(0))
OWN = {"weight": layer.scale, "bias": layer.bias, "running_mean": layer.mean, "running_var": layer.var}


def train(x):
    layer(jnp.asarray(x.transpose(0, 2, 3, 1)), use_running_average=False)


def evaluate(x):
    y = layer(jnp.asarray(x.transpose(0, 2, 3, 1)), use_running_average=True)
    return np.asarray(y).transpose(0, 3, 1, 2)


def read():
    return {name: np.array(variable[...]) for name, variable in OWN.items()}


def load(given):
    for name, variable in OWN.items():
        variable[...] = jnp.asarray(given[name])
"""

FLAX_LINEN = """\
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

layer = linen.BatchNorm(epsilon=EPS, momentum=MOMENTUM)
held = dict(layer.init(jax.random.key(0), jnp.zeros((1, 1, 1, 3)), use_running_average=True))


def train(x):
    x = jnp.asarray(x.transpose(0, 2, 3, 1))
    _, moved = layer.apply(held, x, use_running_average=False, mutable=["batch_stats"])
    held.update(moved)


def evaluate(x):
    y = layer.apply(held, jnp.asarray(x.transpose(0, 2, 3, 1)), use_running_average=True)
    return np.asarray(y).transpose(0, 3, 1, 2)


def read():
    found = {**held["params"], **held["batch_stats"]}
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    return {name: np.array(found[own]) for name, own in names.items()}


def load(given):
    given = {name: jnp.asarray(given[name]) for name in ("weight", "bias", "running_mean", "running_var")}
    held["params"] = {"scale": given["weight"], "bias": given["bias"]}
    held["batch_stats"] = {"mean": given["running_mean"], "var": given["running_var"]}
"""

EQUINOX = """\
import equinox
import jax
import jax.numpy as jnp
import numpy as np

layer, state = equinox.nn.make_with_state(equinox.nn.BatchNorm)(
    3, "batch", eps=EPS, momentum=MOMENTUM, mode="batch"
)


def call(x, training):
    held = equinox.nn.inference_mode(layer, value=not training)
    return jax.vmap(held, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(jnp.asarray(x), state)


def train(x):
    global state
    _, state = call(x, True)


def evaluate(x):
    return np.asarray(call(x, False)[0])


def read():
    # In evaluation the layer divides what it keeps by 1 - momentum**counter.
    counter = state.get(layer.batch_counter)
    part = jnp.where(counter == 0, 1, 1 - layer.momentum**counter)
    mean, variance = (np.array(value / part) for value in state.get(layer.batch_state_index))
    return {
        "weight": np.array(layer.weight), "bias": np.array(layer.bias), "running_mean": mean, "running_var": variance
    }


def load(given):
    global layer, state
    parameters = (jnp.asarray(given["weight"]), jnp.asarray(given["bias"]))
    layer = equinox.tree_at(lambda held: (held.weight, held.bias), layer, parameters)
    statistics = (jnp.asarray(given["running_mean"]), jnp.asarray(given["running_var"]))
    state = state.set(layer.batch_state_index, statistics)
    # After so many batches it divides by 1: what was loaded is what evaluation uses, and the average goes on from it.
    state = state.set(layer.batch_counter, jnp.asarray(10**6))
"""

EQUINOX_EMA = """\
import equinox
import jax
import jax.numpy as jnp
import numpy as np

layer, state = equinox.nn.make_with_state(equinox.nn.BatchNorm)(
    3, "batch", eps=EPS, momentum=MOMENTUM, mode="ema"
)


def call(x, training):
    held = equinox.nn.inference_mode(layer, value=not training)
    return jax.vmap(held, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(jnp.asarray(x), state)


def train(x):
    global state
    _, state = call(x, True)


def evaluate(x):
    return np.asarray(call(x, False)[0])


def read():
    mean, variance = (np.array(value) for value in state.get(layer.ema_state_index))
    return {
        "weight": np.array(layer.weight), "bias": np.array(layer.bias), "running_mean": mean, "running_var": variance
    }


def load(given):
    global layer, state
    parameters = (jnp.asarray(given["weight"]), jnp.asarray(given["bias"]))
    layer = equinox.tree_at(lambda held: (held.weight, held.bias), layer, parameters)
    statistics = (jnp.asarray(given["running_mean"]), jnp.asarray(given["running_var"]))
    state = state.set(layer.ema_state_index, statistics)
    # Else the first batch takes the place of what was loaded.
    state = state.set(layer.ema_first_time_index, jnp.asarray(False))
"""

HAIKU = """\
import haiku
import jax
import jax.numpy as jnp
import numpy as np

norm = haiku.without_apply_rng(haiku.transform_with_state(
    lambda x, training: haiku.BatchNorm(True, True, decay_rate=MOMENTUM, eps=EPS)(x, is_training=training)
))
parameters, state = norm.init(jax.random.key(0), jnp.zeros((1, 1, 1, 3)), True)


def train(x):
    global state
    _, state = norm.apply(parameters, state, jnp.asarray(x.transpose(0, 2, 3, 1)), True)


def evaluate(x):
    y, _ = norm.apply(parameters, state, jnp.asarray(x.transpose(0, 2, 3, 1)), False)
    return np.asarray(y).transpose(0, 3, 1, 2)


def read():
    own, mean, var = parameters["batch_norm"], state["batch_norm/~/mean_ema"], state["batch_norm/~/var_ema"]
    found = {"weight": own["scale"], "bias": own["offset"]}
    found |= {"running_mean": mean["average"], "running_var": var["average"]}
    return {name: np.array(value).reshape(-1) for name, value in found.items()}


def load(given):
    global parameters, state
    given = {name: jnp.asarray(given[name]).reshape(1, 1, 1, -1) for name in read()}
    parameters = {"batch_norm": {"scale": given["weight"], "offset": given["bias"]}}
    # The average is hidden / (1 - decay_rate**counter): after so many batches that is hidden, and goes on from it.
    counter = jnp.asarray(10**6, jnp.int32)
    state = {
        f"batch_norm/~/{own}": {"counter": counter, "hidden": given[name], "average": given[name]}
        for own, name in (("mean_ema", "running_mean"), ("var_ema", "running_var"))
    }
"""

KERAS = """\
import os

os.environ["KERAS_BACKEND"] = "CHOSEN"
import keras
import numpy as np

layer = keras.layers.BatchNormalization(epsilon=EPS, momentum=MOMENTUM)
layer.build((None, None, None, 3))


def train(x):
    layer(x.transpose(0, 2, 3, 1), training=True)


def evaluate(x):
    y = layer(x.transpose(0, 2, 3, 1), training=False)
    return keras.ops.convert_to_numpy(y).transpose(0, 3, 1, 2)


def read():
    names = ("weight", "bias", "running_mean", "running_var")  # gamma, beta, moving_mean, moving_variance
    return {name: np.array(value) for name, value in zip(names, layer.get_weights(), strict=True)}


def load(given):
    layer.set_weights([given[name] for name in ("weight", "bias", "running_mean", "running_var")])
"""

TF_KERAS = """\
import numpy as np
import tf_keras

layer = tf_keras.layers.BatchNormalization(epsilon=EPS, momentum=MOMENTUM)
layer.build((None, None, None, 3))


def train(x):
    layer(x.transpose(0, 2, 3, 1), training=True)


def evaluate(x):
    return layer(x.transpose(0, 2, 3, 1), training=False).numpy().transpose(0, 3, 1, 2)


def read():
    names = ("weight", "bias", "running_mean", "running_var")  # gamma, beta, moving_mean, moving_variance
    return {name: np.array(value) for name, value in zip(names, layer.get_weights(), strict=True)}


def load(given):
    layer.set_weights([given[name] for name in ("weight", "bias", "running_mean", "running_var")])
"""

TF_FUSED = """\
import numpy as np
import tensorflow as tf

held = {name: tf.zeros(3) for name in ("weight", "bias", "running_mean", "running_var")}


def call(x, training):
    factor = {"exponential_avg_factor": MOMENTUM} if training else {}
    return tf.compat.v1.nn.fused_batch_norm(
        x.transpose(0, 2, 3, 1), held["weight"], held["bias"], held["running_mean"], held["running_var"],
        epsilon=EPS, is_training=training, **factor,
    )


def train(x):
    _, held["running_mean"], held["running_var"] = call(x, True)


def evaluate(x):
    return call(x, False)[0].numpy().transpose(0, 3, 1, 2)


def read():
    return {name: value.numpy().copy() for name, value in held.items()}


def load(given):
    held.update({name: tf.constant(given[name]) for name in held})
"""

ONNX = """\
import numpy as np
from onnx import TensorProto, helper
IMPORT

held = {}


def model(training):
    own = ["x", "scale", "B", "input_mean", "input_var"]
    made = ["y", "running_mean", "running_var"] if training else ["y"]
    given = {"epsilon": EPS, "momentum": MOMENTUM, "training_mode": int(training)}
    node = helper.make_node("BatchNormalization", own, made, **given)
    shapes = {"x": ["N", 3, "H", "W"], "y": ["N", 3, "H", "W"]}
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes.get(name, [3])) for name in [*own, *made]
    }
    graph = helper.make_graph([node], "norm", [values[name] for name in own], [values[name] for name in made])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def call(x, training):
    given = {
        "x": x, "scale": held["weight"], "B": held["bias"],
        "input_mean": held["running_mean"], "input_var": held["running_var"],
    }
    RUN


def train(x):
    _, held["running_mean"], held["running_var"] = call(x, True)


def evaluate(x):
    return call(x, False)[0]


def read():
    return {name: np.array(value) for name, value in held.items()}


def load(given):
    held.update({name: np.array(given[name]) for name in ("weight", "bias", "running_mean", "running_var")})
"""

MLX = """\
import mlx.core as mx
import numpy as np
from mlx import nn

layer = nn.BatchNorm(3, eps=EPS, momentum=MOMENTUM)


def train(x):
    layer.train()
    mx.eval(layer(mx.array(x.transpose(0, 2, 3, 1))), layer.parameters())


def evaluate(x):
    layer.eval()
    return np.array(layer(mx.array(x.transpose(0, 2, 3, 1)))).transpose(0, 3, 1, 2)


def read():
    return {name: np.array(value) for name, value in layer.parameters().items()}


def load(given):
    layer.load_weights([(name, mx.array(given[name])) for name in ("weight", "bias", "running_mean", "running_var")])
"""

PADDLE = """\
import numpy as np
import paddle

layer = paddle.nn.BatchNorm2D(3, epsilon=EPS, momentum=MOMENTUM)
OWN = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}


def train(x):
    layer.train()
    layer(paddle.to_tensor(x))


def evaluate(x):
    layer.eval()
    with paddle.no_grad():
        return layer(paddle.to_tensor(x)).numpy()


def read():
    state = layer.state_dict()
    return {name: np.array(state[own].numpy()) for name, own in OWN.items()}


def load(given):
    layer.set_state_dict({own: paddle.to_tensor(given[name]) for name, own in OWN.items()})
"""

TINYGRAD = """\
import numpy as np
from tinygrad import Tensor
from tinygrad.helpers import Context
from tinygrad.nn import BatchNorm
from tinygrad.nn.state import get_state_dict, load_state_dict

layer = BatchNorm(3, eps=EPS, momentum=MOMENTUM)


def train(x):
    with Context(TRAINING=1):
        layer(Tensor(np.ascontiguousarray(x))).realize(*get_state_dict(layer).values())


def evaluate(x):
    with Context(TRAINING=0):
        return layer(Tensor(np.ascontiguousarray(x))).numpy()


def read():
    state = get_state_dict(layer)
    return {name: np.array(state[name].numpy()) for name in ("weight", "bias", "running_mean", "running_var")}


def load(given):
    state = {name: Tensor(given[name]) for name in ("weight", "bias", "running_mean", "running_var")}
    load_state_dict(layer, {**get_state_dict(layer), **state}, verbose=False)
"""

MINDSPORE = """\
import mindspore
import numpy as np
from mindspore import Tensor

mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
layer = mindspore.nn.BatchNorm2d(3, eps=EPS, momentum=MOMENTUM)
OWN = {
    "weight": layer.gamma, "bias": layer.beta,
    "running_mean": layer.moving_mean, "running_var": layer.moving_variance,
}


def train(x):
    layer.set_train(True)(Tensor(x))


def evaluate(x):
    return layer.set_train(False)(Tensor(x)).asnumpy()


def read():
    return {name: np.array(parameter.asnumpy()) for name, parameter in OWN.items()}


def load(given):
    for name, parameter in OWN.items():
        parameter.set_data(Tensor(given[name]))
"""

CODE: Mapping[str, str] = {
    "torch.nn": TORCH,
    "torch.functional": TORCH_FUNCTIONAL,
    "flax.nnx": FLAX_NNX,
    "flax.linen": FLAX_LINEN,
    "equinox": EQUINOX,
    "equinox+ema": EQUINOX_EMA,
    "haiku": HAIKU,
    **{f"keras+{name}": KERAS.replace("CHOSEN", name) for name in ("tensorflow", "jax", "torch", "numpy")},
    "tf_keras": TF_KERAS,
    "tf.fused+nhwc": TF_FUSED,
    "onnxruntime": ONNX.replace("IMPORT", "from onnxruntime import InferenceSession").replace(
        "RUN", "session = InferenceSession(model(training).SerializeToString(), providers=[\"CPUExecutionProvider\"])\n"
        "    return session.run(None, given)"
    ),
    "onnx.reference": ONNX.replace("IMPORT", "from onnx.reference import ReferenceEvaluator").replace(
        "RUN", "return ReferenceEvaluator(model(training)).run(None, given)"
    ),
    "mlx": MLX,
    "paddle": PADDLE,
    "tinygrad": TINYGRAD,
    "mindspore": MINDSPORE,
}  # fmt: skip
"""By the name of a backend; its variants that are not here have the lines of the one without the variant."""

ALIKE: Mapping[str, str] = {"keras+tensorflow+function": "keras+tensorflow", "keras+tensorflow+xla": "keras+tensorflow",
                            "tf.fused+nchw": "tf.fused+nhwc", "tf.fused+xla": "tf.fused+nhwc"}  # fmt: skip
"""Variants of what is itself a variant by its name."""

SAVE = """\


# What stands for your trained layer: parameters of its own, and a few batches.
def batch(seed):
    return np.random.default_rng(seed).normal(1, 2, (8, 3, 4, 5)).astype("float32")


learnt = {"weight": [0.5, 1.5, -2], "bias": [0.25, 1, -1], "running_mean": [0, 0, 0], "running_var": [1, 1, 1]}
load({name: np.array(value, "float32") for name, value in learnt.items()})
for seed in range(3):
    train(batch(seed))

learnt, x = read(), batch(9)
y = evaluate(x)
train(x)
np.savez("carried.npz", **learnt, x=x, y=y, **{f"later_{name}": value for name, value in read().items()})
"""

LOAD = """\


carried = np.load("carried.npz")
load(carried)
y = evaluate(carried["x"])
print(f"the evaluations differ by at most {abs(y - carried['y']).max():.1e}")
train(carried["x"])
later = read()
for name in ("running_mean", "running_var"):
    off = abs(later[name] - carried[f"later_{name}"]).max()
    print(f"after one more batch {name} differs by at most {off:.1e}")
"""


def row(name: str) -> str:
    """The name under which `CODE` has the lines for a backend; "" where it has none."""
    found = ALIKE.get(name, name)
    return found if found in CODE else family(name) if family(name) in CODE else ""


def layer(name: str, eps: float, momentum: float) -> str:
    """The lines that define a backend's layer and the four functions.

    Args:
        momentum: in the framework's own sense.

    Raises:
        KeyError: for a backend of which there are none; see `row`.
    """
    return CODE[row(name)].replace("EPS", repr(float(eps))).replace("MOMENTUM", repr(float(momentum)))
