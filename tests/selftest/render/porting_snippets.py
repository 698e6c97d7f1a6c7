"""The porting table's cells by a few lines of each framework alone, with no code of ours.

`LAYERS` makes, for a family, a layer of two channels in which the new batch weighs all, with eps 2**-10; a program is
one of these, lines that make the batch, and lines that print what a cell of the table says.
"""

from __future__ import annotations

CHANNELS_LAST = "np.moveaxis(x, 1, -1)"

TORCH = """
import torch
half = dtype in ("float16", "bfloat16")
kind = getattr(torch, "float32" if half else dtype)
layer = {1: torch.nn.BatchNorm1d, 2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm2d, 4: torch.nn.BatchNorm3d}[rank - 1]
layer = layer(2, eps=EPS, momentum=1.0, dtype=kind)

def train(x):
    y = layer(torch.tensor(x.tolist()).reshape(x.shape).to(getattr(torch, dtype)))
    return y.detach().double().numpy(), str(y.dtype).removeprefix("torch.")

def variance():
    return layer.running_var.double().numpy(), str(layer.running_var.dtype).removeprefix("torch.")
"""

KERAS = """
import os
os.environ["KERAS_BACKEND"] = {backend!r}
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if dtype == "float64" and {backend!r} == "jax":
    os.environ["JAX_ENABLE_X64"] = "1"
import keras
policy = dtype if dtype in ("float64", "float32") else "mixed_" + dtype
layer = keras.layers.BatchNormalization(momentum=0.0, epsilon=EPS, dtype=policy)
layer.build((*(None,) * (rank - 1), 2))

def train(x):
    y = layer(keras.ops.convert_to_tensor(np.moveaxis(x, 1, -1).astype(numpy_dtype)), training=True)
    name = keras.backend.standardize_dtype(y.dtype)
    return np.moveaxis(keras.ops.convert_to_numpy(keras.ops.cast(y, "float32")), -1, 1), name

def variance():
    value = layer.moving_variance.value
    return layer.moving_variance.numpy(), keras.backend.standardize_dtype(value.dtype)
"""

NNX = """
import jax
import warnings
warnings.simplefilter("ignore")
jax.config.update("jax_enable_x64", dtype == "float64")
import jax.numpy as jnp
from flax import nnx
layer = nnx.BatchNorm(2, momentum=0.0, epsilon=EPS, param_dtype="float64" if dtype == "float64" else "float32",
                      rngs=nnx.Rngs(0), {options})

def train(x):
    y = layer(jnp.asarray(np.moveaxis(x, 1, -1).astype(numpy_dtype)))
    return np.moveaxis(np.asarray(y, np.float64), -1, 1), str(y.dtype)

def variance():
    return np.asarray(layer.var[...], np.float64), str(layer.var.dtype)
"""

LINEN = """
import jax
jax.config.update("jax_enable_x64", dtype == "float64")
import jax.numpy as jnp
from flax import linen
kind = "float64" if dtype == "float64" else "float32"
module = linen.BatchNorm(use_running_average=False, momentum=0.0, epsilon=EPS, param_dtype=kind, {options})
held = [module.init(jax.random.key(0), jnp.zeros((2,) * (rank - 1) + (2,), numpy_dtype))]

def train(x):
    y, moved = module.apply(held[0], jnp.asarray(np.moveaxis(x, 1, -1).astype(numpy_dtype)), mutable=["batch_stats"])
    held[0] = dict(held[0], **moved)
    return np.moveaxis(np.asarray(y, np.float64), -1, 1), str(y.dtype)

def variance():
    found = held[0]["batch_stats"]["var"]
    return np.asarray(found, np.float64), str(found.dtype)
"""

HAIKU = """
import jax
jax.config.update("jax_enable_x64", dtype == "float64")
import haiku
import jax.numpy as jnp
call = haiku.transform_with_state(lambda x: haiku.BatchNorm(True, True, decay_rate=0.0, eps=EPS)(x, is_training=True))
kind = "float64" if dtype == "float64" else "float32"
held = list(call.init(None, jnp.zeros((2,) * (rank - 1) + (2,), kind)))

def train(x):
    y, held[1] = call.apply(*held, None, jnp.asarray(np.moveaxis(x, 1, -1).astype(numpy_dtype)))
    return np.moveaxis(np.asarray(y, np.float64), -1, 1), str(y.dtype)

def variance():
    found = held[1]["batch_norm/~/var_ema"]["average"].reshape(2)
    return np.asarray(found, np.float64), str(found.dtype)
"""

EQUINOX = """
import jax
jax.config.update("jax_enable_x64", dtype == "float64")
import equinox
import jax.numpy as jnp
kind = jnp.float64 if dtype == "float64" else jnp.float32
layer, state = equinox.nn.make_with_state(equinox.nn.BatchNorm)(
    2, "batch", eps=EPS, momentum=0.0, dtype=kind, mode={mode!r})
held = [state]

def train(x):
    run = jax.vmap(layer, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    y, held[0] = run(jnp.asarray(x.astype(numpy_dtype)), held[0])
    return np.asarray(y, np.float64), str(y.dtype)

def variance():
    found = held[0].get(layer.batch_state_index if {mode!r} == "batch" else layer.ema_state_index)[1]
    return np.asarray(found, np.float64), str(found.dtype)
"""

FUSED = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
held = [tf.zeros(2), tf.ones(2)]
order = {order!r}
names = dict([(4, "NHWC"), (5, "NDHWC")]) if order == "last" else dict([(4, "NCHW"), (5, "NCDHW")])

def train(x):
    x = tf.cast(tf.constant(np.moveaxis(x, 1, -1) if order == "last" else x), dtype)
    y, *held[:] = tf.compat.v1.nn.fused_batch_norm(
        x, tf.ones(2), tf.zeros(2), held[0], held[1], epsilon=EPS, data_format=names[rank], exponential_avg_factor=1.0)
    found = tf.cast(y, tf.float64).numpy()
    return np.moveaxis(found, -1, 1) if order == "last" else found, y.dtype.name

def variance():
    return held[1].numpy(), held[1].dtype.name
"""

ONNX = """
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
types = dict(float64="DOUBLE", float32="FLOAT", float16="FLOAT16", bfloat16="BFLOAT16")
kind = "float64" if dtype == "float64" else "float32"
given = ["x", "scale", "B", "mean", "var"]
node = helper.make_node("BatchNormalization", given, ["y", "rm", "rv"], epsilon=EPS, momentum=0.0, training_mode=1)
sizes = ["N", "C", "D", "E", "F"][:rank]
made = dict((name, helper.make_tensor_value_info(
    name, getattr(TensorProto, types[dtype if name in "xy" else kind]), sizes if name in "xy" else [2]))
    for name in (*given, "y", "rm", "rv"))
graph = helper.make_graph([node], "g", [made[name] for name in given], [made[name] for name in ("y", "rm", "rv")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
if {reference}:
    run = ReferenceEvaluator(model).run
else:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run
held = [np.zeros(2, kind), np.ones(2, kind)]

def train(x):
    feed = dict(x=x.astype(numpy_dtype), scale=np.ones(2, kind), B=np.zeros(2, kind), mean=held[0], var=held[1])
    y, *held[:] = run(None, feed)
    return y.astype(np.float64), str(y.dtype)

def variance():
    return held[1].astype(np.float64), str(held[1].dtype)
"""

LAYERS = {
    "torch.nn": TORCH,
    "keras+tensorflow": KERAS.format(backend="tensorflow"),
    "keras+jax": KERAS.format(backend="jax"),
    "keras+torch": KERAS.format(backend="torch"),
    "keras+numpy": KERAS.format(backend="numpy"),
    "flax.nnx": NNX.format(options=""),
    "flax.nnx+two_pass": NNX.format(options="use_fast_variance=False"),
    "flax.linen": LINEN.format(options=""),
    "flax.linen+two_pass": LINEN.format(options="use_fast_variance=False"),
    "haiku": HAIKU,
    "equinox": EQUINOX.format(mode="batch"),
    "equinox+ema": EQUINOX.format(mode="ema"),
    "tf.fused+nhwc": FUSED.format(order="last"),
    "tf.fused+nchw": FUSED.format(order="first"),
    "onnxruntime": ONNX.format(reference=False),
    "onnx.reference": ONNX.format(reference=True),
}
"""By row: lines that make `train`, which gives y and its dtype, and `variance`, the remembered one and its dtype."""

HEAD = """\
import numpy as np
import ml_dtypes
rank, dtype, EPS = {rank}, {dtype!r}, 2.0**-10
numpy_dtype = np.dtype(getattr(ml_dtypes, dtype) if dtype == "bfloat16" else dtype)
column = np.array([1.0, 3.0, 3.0, 9.0])
batch = np.stack([column, 2 * column], axis=1).reshape((4, 2) + (1,) * (rank - 2))
one = np.array([5.0, -2.0]).reshape((1, 2) + (1,) * (rank - 2))

def estimator(value):
    return min(("biased", "unbiased"), key=lambda word: abs(value - dict(biased=9, unbiased=12)[word]))
"""

ASKED = {
    "training estimator": "print(estimator((5 / train(batch)[0][3, 0].ravel()[0]) ** 2 - EPS))",
    "remembered estimator": "train(batch)\nprint(estimator(variance()[0][0]))",
    "initial variance": "print(f'{variance()[0][0]:g}')",
    "output dtype": "print(train(batch)[1])",
    "statistics dtype": """\
before = variance()[1]
train(batch)
after = variance()[1]
print(before if before == after else f"{before}, {after} after training")""",
    "empty batch": """\
before = variance()[0].copy()
try:
    train(np.zeros((0, 2) + (1,) * (rank - 2)))
except Exception:
    print("refused")
else:
    moved = variance()[0]
    print("statistics kept" if (moved == before).all() else "variance NaN" if np.isnan(moved).any() else moved)""",
    "one value": """\
try:
    y = train(one)[0].ravel()
except Exception:
    print("refused")
else:
    print("bias" if np.abs(y).max() < 1e-2 else "input" if (y == one.ravel()).all() else y)""",
}
"""By kind of cell: lines that print it, of what `bnconform.measure.porting_cells` says the part that they can see."""


def code(row: str, place: str, kind: str) -> str:
    """The program for one cell; `place` is a dtype and a rank."""
    dtype, _, rank = place.partition(" ")
    return "\n".join([HEAD.format(rank=int(rank), dtype=dtype), LAYERS[row], ASKED[kind], ""])


def agrees(printed: str, told: str, kind: str) -> bool:
    """Whether what a program printed is what the table says, as far as the program sees it."""
    if kind == "empty batch":
        return printed == told or (printed == "variance NaN" and told.endswith("variance NaN"))
    return printed == (told.partition(",")[0] if kind == "one value" else told)
