"""ncnn's BatchNorm, on the CPU and on Vulkan: evaluation alone, as ncnn trains nothing.

    bnconform --backend backends/examples/ncnn_layers.py:Ncnn --dtype float32
    bnconform --backend backends/examples/ncnn_layers.py:NcnnHalf --dtype float32

A network of one layer is made of text and numbers, as ncnn's converters write them, anew where the state has changed.
ncnn knows no samples: each one is a pass of its own. `Ncnn` switches half precision off; `NcnnHalf` leaves ncnn's
options as they are, which on Vulkan means half precision. Without a GPU Vulkan is Mesa's lavapipe
(`apt-get install libvulkan1 mesa-vulkan-drivers`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ORDER = ("weight", "running_mean", "running_var", "bias")
"""What the layer remembers, in the order of a model's file."""

HALF = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")
"""ncnn's options for half precision, each after `use_`."""

BOTH = "ncnn's layer has four arrays, the weight (slope) and the bias among them"


class WrongDevice(RuntimeError):
    """The layer would run on another device than was asked for."""

    is_refusal = False


def network(channels: int, eps: float | None, kept: Mapping[str, Array], device: str, *, half: bool) -> Any:
    """An ncnn.Net of one layer, on the device; WrongDevice where ncnn would run it elsewhere without a word."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = device != "cpu"
    if not half:
        for name in HALF:
            setattr(net.opt, f"use_{name}", False)
    given = "" if eps is None else f" 1={eps!r}"
    if net.load_param_mem(f"7767517\n2 2\nInput x 0 1 x\nBatchNorm normalisation 1 1 x y 0={channels}{given}\n"):
        raise ValueError("ncnn does not take the layer's description")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.bin"
        file.write_bytes(b"".join(np.asarray(kept[name], np.float32).tobytes() for name in ORDER))
        if net.load_model(str(file)):
            raise ValueError("ncnn does not take the layer's numbers")
    on_vulkan = net.opt.use_vulkan_compute and all(layer.support_vulkan for layer in net.layers())
    if on_vulkan != (device != "cpu"):
        raise WrongDevice(f"asked of {device}, and found on {'vulkan' if on_vulkan else 'cpu'}")
    return net


class Layer:
    """The network behind arrays, with what it is made of."""

    def __init__(self, channels: int, ndim: int, eps: float | None, device: str, *, half: bool) -> None:
        self.channels, self.ndim, self.eps, self.device, self.half = channels, ndim, eps, device, half
        self.kept = {name: np.full(channels, name in ("weight", "running_var"), np.float32) for name in ORDER}
        self.net: Any = None

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, a sample at a time; NotImplementedError in training, ValueError where ncnn refuses."""
        if training:
            raise NotImplementedError("ncnn trains nothing")
        if self.net is None:
            self.net = network(self.channels, self.eps, self.kept, self.device, half=self.half)
        return np.stack([self._sample(sample) for sample in x]) if len(x) else x.copy()

    def _sample(self, sample: Array) -> Array:
        import ncnn

        # A copy that is ncnn's own: on memory that is NumPy's it writes y over x, or dies. The Mat keeps no array
        # alive, so that what it is made of has a name until it is copied.
        contiguous = np.ascontiguousarray(sample)
        given = ncnn.Mat(contiguous).clone()
        extractor = self.net.create_extractor()
        if extractor.input("x", given):
            raise ValueError("ncnn does not take x")
        status, y = extractor.extract("y")
        if status:
            raise ValueError(f"ncnn gives no y, and the status {status}")
        return np.array(y)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """NotImplementedError: ncnn has no gradients."""
        raise NotImplementedError("ncnn has no gradients")

    def state(self) -> dict[str, Array | None]:
        """Copies of what the network is made of."""
        return {**{name: value.copy() for name, value in self.kept.items()}, "num_batches_tracked": None}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; ValueError, nothing set, for one that there is not."""
        given = {name: value for name, value in state.items() if value is not None}
        for name, value in given.items():
            if name not in self.kept or value.shape != (self.channels,):
                raise ValueError(f"there is no {name} of shape {value.shape} here")
        self.kept |= {name: value.copy() for name, value in given.items()}
        self.net = None


class Ncnn:
    """Single precision."""

    name = "ncnn"
    half = False
    deviations: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        "training": "ncnn trains nothing",
        "backward": "ncnn has no gradients",
        "momentum_none": "ncnn trains nothing, and so averages nothing",
        "track_running_stats_off": "ncnn normalises by the statistics of its model alone",
        **dict.fromkeys(("affine_off", "weight_alone", "bias_alone"), BOTH),
        **dict.fromkeys(("float64", "float16", "bfloat16"), "ncnn is given and gives single precision"),
    }

    @property
    def packages(self) -> dict[str, str]:
        """What a result names."""
        return {"ncnn": version("ncnn")}

    def devices(self) -> list[str]:
        """The CPU, and Vulkan's first device."""
        import ncnn

        return ["cpu", *(["vulkan"] if ncnn.get_gpu_count() else [])]

    def describe_device(self, device: str) -> str:
        """What Vulkan's driver calls the device."""
        import ncnn

        return "CPU" if device == "cpu" else str(ncnn.get_gpu_info(0).device_name())

    def build(self, config: Any, device: str) -> Layer:
        """A layer of this configuration; NotImplementedError for what ncnn lacks."""
        lacking = [
            None if config.weight and config.bias else "affine_off",
            None if config.track_running_stats else "track_running_stats_off",
            "momentum_none" if config.momentum is None else None,
            *(name for name in (config.dtype, config.param_dtype) if name != "float32"),
        ]
        for feature in filter(None, lacking):
            raise NotImplementedError(self.unsupported[feature])
        return Layer(config.num_features, config.ndim, float(config.eps), device, half=self.half)

    def build_default(self, num_features: int, device: str) -> Layer:
        """A layer whose description gives nothing but the channels."""
        return Layer(num_features, 4, None, device, half=self.half)


class NcnnHalf(Ncnn):
    """ncnn's own options, half precision where the device has it."""

    name = "ncnn+half"
    half = True
