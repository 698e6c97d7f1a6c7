"""Arrays into TensorFlow and back, channels last; shared by the adapters that run on TensorFlow."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.wrong_device import WrongDevice

Array = NDArray[Any]

CPU_DEVICES = "BNCONFORM_CPU_DEVICES"
"""The environment variable that says how many devices to make of the CPU; TensorFlow has none of its own for that."""


def prepare() -> None:
    """What must be set before TensorFlow is imported: no word of its start, one thread.

    With one thread a sum does not depend on how many cores there are, and small arrays are no slower.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")


@cache
def split_cpu() -> int:
    """How many devices TensorFlow has made of the CPU: those of BNCONFORM_CPU_DEVICES, if it was not used before."""
    import tensorflow as tf

    count = int(os.environ.get(CPU_DEVICES) or 1)
    if count > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        with suppress(RuntimeError):  # it has been used, with as many devices as it has
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return len(tf.config.list_logical_devices("CPU")) if count > 1 else 1


def devices() -> list[str]:
    """The CPU, and the GPUs and TPUs that TensorFlow reports, in PyTorch's words; the CPU's others are cpu:1 and on."""
    prepare()
    import tensorflow as tf

    others = [
        f"{ours}:{number}"
        for kind, ours in (("GPU", "cuda"), ("TPU", "tpu"))
        for number in range(len(tf.config.list_physical_devices(kind)))
    ]
    return ["cpu", *(f"cpu:{number}" for number in range(1, split_cpu())), *others]


def on(device: str) -> Any:
    """The context in which everything runs on this device."""
    import tensorflow as tf

    split_cpu()
    return tf.device(device.replace("cuda", "gpu"))


def to_tensor(array: Array, axis: int = -1) -> Any:
    """The array as a tensor with its channels, axis 1, moved to `axis`; TensorFlow has no strides to keep."""
    import tensorflow as tf

    return tf.convert_to_tensor(np.moveaxis(array, 1, axis))


def assert_on(tensor: Any, device: str) -> None:
    """WrongDevice unless a tensor or variable lies on the device: where it was computed, and read from."""
    kind, _, index = device.replace("cuda", "gpu").partition(":")
    if not tensor.device.endswith(f"device:{kind.upper()}:{index or 0}"):
        raise WrongDevice(device, tensor.device)


def to_array(tensor: Any, axis: int = -1) -> Array:
    """A copy of the tensor as a contiguous array, its channels moved back."""
    return np.array(np.moveaxis(tensor.numpy(), axis, 1), order="C") if tensor.ndim > 1 else np.array(tensor.numpy())


def gradients_in_turn(call: Callable[[Any], Any], x: Any, upstream: Sequence[Any]) -> Any:
    """The gradient for x of the sum of call(x) times the first, and of its product with each other one in turn.

    By nested GradientTapes; what no derivative flows to is asked of TensorFlow as zeros.
    """
    import tensorflow as tf

    if not upstream:
        return call(x)
    *rest, last = upstream
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = gradients_in_turn(call, x, rest)
    return tape.gradient(found, x, output_gradients=last, unconnected_gradients="zero")


def tangent_of_tangent(call: Callable[[Any], Any], x: Any, tangent: Any, second: Any) -> Any:
    """The derivative of the tangent of call(x) along a second one, by nested ForwardAccumulators; None from them."""
    import tensorflow as tf

    with tf.autodiff.ForwardAccumulator(x, second) as outer:
        with tf.autodiff.ForwardAccumulator(x, tangent) as inner:
            y = call(x)
        tangent_y = inner.jvp(y)
    return outer.jvp(tangent_y)
