"""Arrays into PyTorch and back, memory layout and all; shared by the PyTorch adapters."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def devices() -> list[str]:
    """The devices that this machine and this PyTorch offer: the CPU, every CUDA device, Apple's GPU."""
    import torch

    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def torch_dtype(name: str, device: str) -> Any:
    """The torch.dtype called `name`; NotImplementedError where the device does not have it."""
    import torch

    if name == "float64" and torch.device(device).type == "mps":
        raise NotImplementedError("Apple's GPU has no float64")
    return getattr(torch, name)


def to_tensor(array: Array, device: str) -> Any:
    """The array as a tensor with the same strides, so that a fault in reading them is seen.

    On the CPU the tensor shares the array's memory, so that an operation that writes to its input is seen too.
    A negative stride has no equivalent in PyTorch: then, and only then, the array is copied.
    """
    import torch

    if any(stride < 0 for stride in array.strides):
        array = array.copy(order="K")
    native = array.view(np.int16) if array.dtype.name == "bfloat16" else array
    with warnings.catch_warnings():
        # Of a read-only array PyTorch warns that writing to it would do harm; nothing here writes.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(native)
    if native is not array:
        tensor = tensor.view(torch.bfloat16)
    return tensor if torch.device(device).type == "cpu" else to_device(tensor, device)


def to_device(tensor: Any, device: str) -> Any:
    """A copy on the device with the same strides, which Tensor.to keeps only where no memory is skipped or shared."""
    import torch

    # Nothing can be copied into an expanded tensor, so its core is, and is expanded there.
    core = tensor[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in tensor.stride())]
    copy = torch.empty_strided(core.shape, core.stride(), dtype=core.dtype, device=device)
    return copy.copy_(core).expand(tensor.shape)


def to_array(tensor: Any) -> Array:
    """A copy of the tensor as an array of the same dtype, its axes in the same order in memory."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        import ml_dtypes

        return np.array(tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16), order="K")
    return np.array(tensor.numpy(), order="K")
