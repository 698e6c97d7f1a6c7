"""The implementations that the source documents write out, written anew from their descriptions.

They are demonstrations: each does what its document's code does, its deviations are declared, and the suite must
explain it by them. Where a document fixes epsilon at 1e-5 the configured one is used. The documents leave shapes
unchecked and reject nothing but ranks; the adapters refuse shapes that the layer was not built for, before anything
moves. Half-precision input is computed in single precision and the output rounded once.

Documents: 000_9ca3b8e52b8c1ca9 (manual_normalization), 001_2dbeadbd725cf49d (d2l_zh), 002_b673ca5c343f0bbc (d2l_en,
simplified), 004_ba2bfc32778fdfb2 (manual_standardization).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

_NAMES = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")


def _dtype(name: str) -> Any:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


class _Layer:
    """What the layers share: named arrays of shape (C,), a computing dtype, and the refusal of other shapes."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.stored = _dtype(config.param_dtype)
        self.compute = np.float64 if "float64" in (config.dtype, config.param_dtype) else np.float32
        self.values: dict[str, Any] = dict.fromkeys(_NAMES)
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            if getattr(config, name) if name in ("weight", "bias") else config.track_running_stats:
                self.values[name] = np.full(config.num_features, value, self.stored)

    def state(self) -> dict[str, Any]:
        return {name: None if value is None else value.copy() for name, value in self.values.items()}

    def load(self, state: Any) -> None:
        for name, value in state.items():
            current = self.values.get(name)
            if current is None or np.shape(value) != current.shape:
                raise ValueError(f"this layer has no {name} of shape {np.shape(value)}")
        for name, value in state.items():
            self.values[name] = np.array(value, self.stored)

    def check(self, x: Any) -> Any:
        """The input in the computing dtype; ValueError for a rank or a number of channels it was not built for."""
        if x.ndim != self.config.ndim or x.shape[1] != self.config.num_features:
            raise ValueError(f"expected rank {self.config.ndim} and {self.config.num_features} channels, got {x.shape}")
        return np.ascontiguousarray(x, self.compute)

    def backward(self, x: Any, grad_output: Any, *, training: bool) -> Any:
        raise NotImplementedError("the document gives no gradient")

    def along(self, name: str, ndim: int, otherwise: int) -> Any:
        """A parameter along axis 1 in the computing dtype, or `otherwise` where the layer has none."""
        value = self.values[name]
        return otherwise if value is None else value.astype(self.compute).reshape((1, -1) + (1,) * (ndim - 2))


class _ManualNormalization(_Layer):
    """Document 000: its steps by hand, its update rule as the text has it, its evaluation as the code has it."""

    def forward(self, x: Any, *, training: bool) -> Any:
        with np.errstate(all="ignore"):
            wide = self.check(x)
            if training or self.values["running_mean"] is None:
                count = wide.size // wide.shape[1]
                mean = wide.sum((0, 2, 3), keepdims=True) / self.compute(count)
                centred = wide - mean
                variance = (centred * centred).sum((0, 2, 3), keepdims=True) / self.compute(count)
                if training and self.values["running_mean"] is not None:
                    self.remember("running_mean", mean)
                    self.remember("running_var", variance)
            else:
                if wide.shape[3] != wide.shape[1]:
                    raise ValueError("statistics of shape (C,) do not broadcast along the last axis")
                # Arrays of shape (C,), as the document subtracts them: they fall on the columns, not on the channels.
                mean, variance = (self.values[name].astype(self.compute) for name in ("running_mean", "running_var"))
                centred = wide - mean
            standard = centred / np.sqrt(variance + self.compute(self.config.eps))
            return (standard * self.along("weight", 4, 1) + self.along("bias", 4, 0)).astype(x.dtype)

    def remember(self, name: str, batch: Any) -> None:
        momentum = self.compute(self.config.momentum)
        old = self.values[name].astype(self.compute)
        self.values[name] = (batch.reshape(-1) * momentum + old * (1 - momentum)).astype(self.stored)


class _Simplified(_Layer):
    """Document 002's NumPy function: mean and variance over axis 0 alone."""

    def forward(self, x: Any, *, training: bool) -> Any:
        with np.errstate(all="ignore"):
            wide = self.check(x)
            if wide.size == 0:
                return x.copy()
            standard = (wide - np.mean(wide, 0)) / np.sqrt(np.var(wide, 0) + self.compute(self.config.eps))
            return (self.along("weight", x.ndim, 1) * standard + self.along("bias", x.ndim, 0)).astype(x.dtype)


class _ManualStandardization(_Layer):
    """Document 004: the values of each channel gathered, their mean subtracted, divided by std + eps."""

    def forward(self, x: Any, *, training: bool) -> Any:
        with np.errstate(all="ignore"):
            wide = self.check(x)
            y = np.empty(x.shape, x.dtype)
            for channel in range(x.shape[1] if x.size else 0):
                values = wide[:, channel]
                y[:, channel] = (values - np.mean(values)) / (np.std(values) + self.compute(self.config.eps))
            return y


class _D2l(_Layer):
    """Documents 001 and 002: the layer from scratch, whose mode is whether gradients are enabled.

    `weighs_old` is document 001's update, which multiplies the old value by the momentum.
    """

    def __init__(self, config: Any, weighs_old: bool) -> None:
        super().__init__(config)
        self.weighs_old = weighs_old

    def forward(self, x: Any, *, training: bool) -> Any:
        import torch

        with torch.set_grad_enabled(training):
            y, _, _, _ = self.call(x)
        return self.narrow(y, x.dtype)

    def backward(self, x: Any, grad_output: Any, *, training: bool) -> Any:
        import torch

        # A gradient needs gradients enabled, so this trains in either mode: the declared mode_source.
        with torch.enable_grad():
            y, *leaves = self.call(x)
            upstream = torch.tensor(_forwards(self.check(grad_output)))
            grads = torch.autograd.grad(y, leaves, upstream)
        return (self.narrow(grads[0], x.dtype), *(self.narrow(grad.reshape(-1), self.stored) for grad in grads[1:]))

    def narrow(self, values: Any, dtype: Any) -> Any:
        with np.errstate(all="ignore"):
            return values.detach().numpy().astype(dtype)

    def call(self, x: Any) -> Any:
        """(y, x, gamma, beta) as tensors; moves the moving statistics where gradients are enabled."""
        import torch

        data = torch.tensor(_forwards(self.check(x)), requires_grad=torch.is_grad_enabled())
        shape = (1, -1) if data.dim() == 2 else (1, -1, 1, 1)
        old_mean, old_var, gamma, beta = (
            torch.tensor(self.values[name].astype(self.compute)).reshape(shape)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        gamma.requires_grad_(torch.is_grad_enabled())
        beta.requires_grad_(torch.is_grad_enabled())
        if torch.is_grad_enabled():
            over = (0,) if data.dim() == 2 else (0, 2, 3)
            mean = data.mean(dim=over, keepdim=True)
            var = ((data - mean) ** 2).mean(dim=over, keepdim=True)
            keep = self.config.momentum if self.weighs_old else 1.0 - self.config.momentum
            take = 1.0 - self.config.momentum if self.weighs_old else self.config.momentum
            self.values["running_mean"] = self.narrow((keep * old_mean + take * mean).reshape(-1), self.stored)
            self.values["running_var"] = self.narrow((keep * old_var + take * var).reshape(-1), self.stored)
        else:
            mean, var = old_mean, old_var
        y = gamma * ((data - mean) / torch.sqrt(var + self.config.eps)) + beta
        return y, data, gamma, beta


TOGETHER = dict.fromkeys(("weight_alone", "bias_alone"), "the document has weight and bias together or not at all")


def _forwards(array: Any) -> Any:
    """The same values; copied where a stride is negative, of which PyTorch has none, also that of an axis of one."""
    return np.array(array, order="C") if any(stride < 0 for stride in array.strides) else array


class _Backend:
    """What the backends share; `default` holds the document's own arguments."""

    name = ""
    deviations: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {}
    default: Mapping[str, Any] = {}

    def devices(self) -> list[str]:
        return ["cpu"]

    def layer(self, config: Any) -> Any:
        raise NotImplementedError

    def build(self, config: Any, device: str) -> Any:
        if config.weight != config.bias:
            raise NotImplementedError(TOGETHER["weight_alone"])
        asked = {f"rank_{config.ndim}", "affine" if config.weight else "affine_off"}
        asked.add("track_running_stats" if config.track_running_stats else "track_running_stats_off")
        if config.momentum is None:
            asked.add("momentum_none")
        for feature in sorted(asked & set(self.unsupported)):
            raise NotImplementedError(self.unsupported[feature])
        return self.layer(config)

    def build_default(self, num_features: int, device: str) -> Any:
        common = {"eps": 1e-5, "momentum": 0.1, "weight": True, "bias": True, "track_running_stats": True, "ndim": 4}
        dtypes = {"dtype": "float32", "param_dtype": "float32"}
        return self.build(SimpleNamespace(num_features=num_features, **{**common, **self.default}, **dtypes), device)


class ManualNormalization(_Backend):
    """Document 000's normalisation by hand (NumPy)."""

    name = "documents.manual_normalization"
    deviations: Mapping[str, str] = {
        "evaluation_broadcast": "last_axis",
        "running_variance": "biased",
        "single_value": "bias_output",
        "empty_batch": "nan_statistics",
    }
    unsupported: Mapping[str, str] = {
        **TOGETHER,
        "backward": "the document gives no gradient",
        "momentum_none": "the document's update rule by hand needs a number",
        **{f"rank_{rank}": "the document's code reduces the axes of a rank 4 input" for rank in (2, 3, 5)},
    }

    def layer(self, config: Any) -> Any:
        return _ManualNormalization(config)


class D2lEn(_Backend):
    """Document 002's layer from scratch (torch, autograd). Its momentum weighs the new batch, as config.momentum."""

    name = "documents.d2l_en"
    deviations: Mapping[str, str] = {
        "running_variance": "biased",
        "mode_source": "gradients_enabled",
        "single_value": "bias_output",
        "empty_batch": "nan_statistics",
    }
    unsupported: Mapping[str, str] = {
        **TOGETHER,
        "affine_off": "the document's layer always has gamma and beta",
        "track_running_stats_off": "the document's layer always has moving statistics",
        "momentum_none": "the document's update needs a number",
        **{f"rank_{rank}": "the document's code asserts rank 2 or 4" for rank in (3, 5)},
    }

    def layer(self, config: Any) -> Any:
        return _D2l(config, weighs_old=False)


class D2lZh(D2lEn):
    """Document 001's layer from scratch (torch, autograd), with the return that its forward lacks.

    config.momentum, the weight of the new batch, is passed as it is, because the text calls momentum the influence of
    the current batch; the code then weighs the old value by it, which is the declared momentum_weighs.
    """

    name = "documents.d2l_zh"
    deviations: Mapping[str, str] = {**D2lEn.deviations, "momentum_weighs": "running"}
    default: Mapping[str, Any] = {"momentum": 0.9}

    def layer(self, config: Any) -> Any:
        return _D2l(config, weighs_old=True)


class Simplified(_Backend):
    """Document 002's simplified function (NumPy); gamma and beta lie along axis 1."""

    name = "documents.simplified"
    deviations: Mapping[str, str] = {"statistics_axes": "per_position", "single_value": "bias_output"}
    unsupported: Mapping[str, str] = {
        **TOGETHER,
        "backward": "the document gives no gradient",
        "track_running_stats": "the document's function remembers nothing",
    }
    default: Mapping[str, Any] = {"track_running_stats": False}

    def layer(self, config: Any) -> Any:
        return _Simplified(config)


class ManualStandardization(_Backend):
    """Document 004's standardisation by hand (NumPy), applied to each channel."""

    name = "documents.manual_standardization"
    deviations: Mapping[str, str] = {"epsilon_form": "outside", "single_value": "bias_output"}
    unsupported: Mapping[str, str] = {
        **TOGETHER,
        "backward": "the document gives no gradient",
        "affine": "the document's standardisation by hand has no weight and bias",
        "track_running_stats": "the document's standardisation by hand remembers nothing",
    }
    default: Mapping[str, Any] = {"weight": False, "bias": False, "track_running_stats": False}

    def layer(self, config: Any) -> Any:
        return _ManualStandardization(config)


BACKENDS = (ManualNormalization, D2lEn, D2lZh, Simplified, ManualStandardization)
"""The backends of this module."""
