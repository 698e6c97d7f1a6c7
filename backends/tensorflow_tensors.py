"""Arrays into TensorFlow and back, channels last; shared by the adapters that run on TensorFlow."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def prepare() -> None:
    """What must be set before TensorFlow is imported: no word of its start, one thread.

    With one thread a sum does not depend on how many cores there are, and small arrays are no slower.
    """
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")


def devices() -> list[str]:
    """The CPU, and the GPUs and TPUs that TensorFlow reports, in PyTorch's words."""
    prepare()
    import tensorflow as tf

    kinds = (("GPU", "cuda"), ("TPU", "tpu"))
    return ["cpu", *(f"{ours}:{i}" for kind, ours in kinds for i in range(len(tf.config.list_physical_devices(kind))))]


def on(device: str) -> Any:
    """The context in which everything runs on this device."""
    import tensorflow as tf

    return tf.device(device.replace("cuda", "gpu"))


def to_tensor(array: Array, axis: int = -1) -> Any:
    """The array as a tensor with its channels, axis 1, moved to `axis`; TensorFlow has no strides to keep."""
    import tensorflow as tf

    return tf.convert_to_tensor(np.moveaxis(array, 1, axis))


def to_array(tensor: Any, axis: int = -1) -> Array:
    """A copy of the tensor as a contiguous array, its channels moved back."""
    return np.array(np.moveaxis(tensor.numpy(), axis, 1), order="C") if tensor.ndim > 1 else np.array(tensor.numpy())
