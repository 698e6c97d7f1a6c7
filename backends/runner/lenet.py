"""LeNet with BatchNorm, as the documents write it, in NumPy, around any four BatchNorms: it trains, and it predicts.

    convolution 5x5 to 6 -> BatchNorm -> sigmoid -> average pooling 2x2
    convolution 5x5 to 16 -> BatchNorm -> sigmoid -> average pooling 2x2 -> flatten
    dense to 120 -> BatchNorm -> sigmoid, dense to 84 -> BatchNorm -> sigmoid, dense to 10

The loss is the mean of the softmax cross-entropy, the update w - rate * gradient. Images have shape (N, 1, 28, 28);
weights are named and laid out as in WEIGHTS, which is PyTorch's layout. Everything is computed in the dtype of the
weights. Sources: documents 001_2dbeadbd725cf49d (In [4]) and 002_b673ca5c343f0bbc (8.5.4, 8.5.5).

What an operation may err by is told to a `Rounding`, element by element, so that the same code shows how rounding grows
(`bnconform.judge.training.bound`). Of n terms it is (AGREED sqrt(n) + OPERATIONS) u times the sum of their sizes, as
rounding errors of n terms grow like sqrt(n) (Higham and Mary 2019); of any other operation OPERATIONS u times the sizes
of its operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = dict[str, Array]

KERNEL, POOL, CLASSES, SIDE = 5, 2, 10, 28
"""The side of a kernel and of a pool; classes; the side of an image."""

NORMS = ("norm1", "norm2", "norm3", "norm4")
CHANNELS = (6, 16, 120, 84)
"""The BatchNorms and the channels of each."""

AFFINE = ("conv1", "conv2", "dense1", "dense2", "dense3")
SHAPES = ((6, 1, KERNEL, KERNEL), (16, 6, KERNEL, KERNEL), (120, 256), (84, 120), (CLASSES, 84))
"""What stands before them, and last; the shape of each weight, its outputs first."""

WEIGHTS = {
    **{f"{name}.weight": shape for name, shape in zip(AFFINE, SHAPES, strict=True)},
    **{f"{name}.bias": shape[:1] for name, shape in zip(AFFINE, SHAPES, strict=True)},
    **{f"{name}.{what}": (size,) for name, size in zip(NORMS, CHANNELS, strict=True) for what in ("weight", "bias")},
}
"""Every parameter with its shape; the inputs of dense1 are the channels, rows and columns of what is flattened."""

AGREED, OPERATIONS = 4, 16
"""How the rounding of a sum grows with the root of its terms, and the roundings of other operations; in roundoffs."""


class Rounding:
    """What moves every intermediate result; this one moves nothing."""

    def move(self, value: Any, size: Callable[[], Any], terms: int = 0) -> Any:
        """The value, moved by what rounding may: `size()` is that of what was combined, of so many terms."""
        return value


EXACT = Rounding()


@dataclass
class RandomRounding(Rounding):
    """Adds the largest error that the model admits, with random signs.

    Attributes:
        roundoff: u, of the arithmetic whose rounding this stands for.
    """

    roundoff: float
    random: np.random.Generator

    def move(self, value: Any, size: Callable[[], Any], terms: int = 0) -> Any:
        """See `Rounding.move`."""
        factor = (AGREED * math.sqrt(terms) + OPERATIONS if terms else OPERATIONS) * self.roundoff
        signs = self.random.integers(0, 2, np.shape(value), np.int8) * 2.0 - 1.0
        return value + signs * (factor * size())


class NormLayer(Protocol):
    """One BatchNorm of the network."""

    def forward(self, x: Array) -> Array:
        """y, of a training pass, which moves the running statistics."""

    def backward(self, grad_output: Array) -> tuple[Array, Array, Array]:
        """The gradients for x, weight and bias of that pass."""

    def evaluate(self, x: Array) -> Array:
        """y, of an evaluation pass."""

    def update(self, weight: Array, bias: Array) -> None:
        """Set the parameters, each (C,)."""

    def statistics(self) -> tuple[Array, Array]:
        """The running mean and the running variance, each (C,); copies."""


def convolve(x: Array, weight: Array) -> tuple[Array, Array]:
    """(y, columns): y[n, o, i, j] = sum over c, k, l of x[n, c, i + k, j + l] weight[o, c, k, l]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (KERNEL, KERNEL), (2, 3))
    n, _, high, wide = windows.shape[:4]
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * high * wide, -1)
    y = columns @ weight.reshape(len(weight), -1).T
    return y.reshape(n, high, wide, len(weight)).transpose(0, 3, 1, 2), columns


def spread(rows: Array, shape: tuple[int, ...]) -> Array:
    """The sum of rows of columns at the places that they came from, of shape (N, C, H, W)."""
    n, channels, high, wide = shape
    parts = rows.reshape(n, high - KERNEL + 1, wide - KERNEL + 1, channels, KERNEL, KERNEL)
    found = np.zeros(shape, rows.dtype)
    for k in range(KERNEL):
        for m in range(KERNEL):
            place = found[:, :, k : k + parts.shape[1], m : m + parts.shape[2]]
            place += parts[..., k, m].transpose(0, 3, 1, 2)
    return found


def as_rows(y: Array) -> Array:
    """(N, C, *S) as (N * S, C)."""
    return y if y.ndim == 2 else y.transpose(0, 2, 3, 1).reshape(-1, y.shape[1])


def pool(x: Array) -> Array:
    """The mean of each 2x2 square."""
    n, channels, high, wide = x.shape
    squares = x.reshape(n, channels, high // POOL, POOL, wide // POOL, POOL)
    mean: Array = squares.mean((3, 5), dtype=x.dtype)
    return mean


def unpool(grad: Array) -> Array:
    """The gradient for what was pooled."""
    found: Array = np.repeat(np.repeat(grad, POOL, 2), POOL, 3) / grad.dtype.type(POOL * POOL)
    return found


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    found: Array = np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)
    return found


@dataclass
class LeNet:
    """The network.

    Attributes:
        weights: by the names of WEIGHTS; their dtype is that of all arithmetic. norms: the four, which have been given
            their weight and bias. rate: the learning rate.
    """

    weights: Weights
    norms: Sequence[NormLayer]
    rate: float
    rounding: Rounding = EXACT
    _kept: list[Any] = field(default_factory=list)

    def step(self, images: Array, labels: Array) -> float:
        """One step on a batch; the loss before it."""
        self._kept = []
        logits = self._logits(images, training=True)
        loss, grad = self._loss(logits, labels)
        gradients = self._gradients(grad)
        for name, gradient in gradients.items():
            self.weights[name] = self._update(self.weights[name], gradient)
        for name, norm in zip(NORMS, self.norms, strict=True):
            norm.update(self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
        return loss

    def evaluate(self, images: Array, labels: Array) -> float:
        """The loss in evaluation mode."""
        return self._loss(self._logits(images, training=False), labels)[0]

    def statistics(self) -> list[tuple[Array, Array]]:
        """Running mean and running variance of each BatchNorm."""
        return [norm.statistics() for norm in self.norms]

    # -- forwards ----------------------------------------------------------------------------------------------------

    def _logits(self, images: Array, *, training: bool) -> Array:
        x = images
        for place, name in enumerate(AFFINE[:-1]):
            if x.ndim == 4 and name.startswith("dense"):
                x = x.reshape(len(x), -1)
            z, given = self._affine(name, x)
            y = self.norms[place].forward(z) if training else self.norms[place].evaluate(z)
            bright = self.rounding.move(sigmoid(y), lambda: 1.0)
            if training:
                self._kept.append((given, x.shape, bright))
            x = bright
            if name.startswith("conv"):
                x = self._pool(bright)
        logits, given = self._affine(AFFINE[-1], x)
        if training:
            self._kept.append((given, x.shape, None))
        return logits

    def _pool(self, x: Array) -> Array:
        found: Array = self.rounding.move(pool(x), lambda: pool(np.abs(x)))
        return found

    def _affine(self, name: str, x: Array) -> tuple[Array, Array]:
        """(what a convolution or a dense layer gives, its input as rows)."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        if name.startswith("conv"):
            y, rows = convolve(x, weight)
            y = y + bias.reshape(-1, 1, 1)
            terms = weight[0].size

            def size() -> Array:
                return convolve(np.abs(x), np.abs(weight))[0] + np.abs(bias).reshape(-1, 1, 1)
        else:
            y, rows = x @ weight.T + bias, x
            terms = weight.shape[1]

            def size() -> Array:
                found: Array = np.abs(x) @ np.abs(weight).T + np.abs(bias)
                return found

        return self.rounding.move(y, size, terms), rows

    def _loss(self, logits: Array, labels: Array) -> tuple[float, Array]:
        """(loss, gradient for the logits)."""
        count = logits.dtype.type(len(logits))
        high = logits.max(1, keepdims=True)
        powers = np.exp(logits - high)
        total = powers.sum(1, keepdims=True)
        logarithms = logits - high - np.log(total)
        own = -logarithms[np.arange(len(labels)), labels]
        sizes = np.abs(logits).max(1) + np.abs(np.log(total[:, 0]))
        own = self.rounding.move(own, lambda: sizes)
        loss = self.rounding.move(own.mean(dtype=own.dtype), lambda: np.abs(own).mean(), len(own))
        chosen = np.zeros_like(logits)
        chosen[np.arange(len(labels)), labels] = 1
        shares = powers / total
        grad = self.rounding.move((shares - chosen) / count, lambda: (shares + chosen) / count)
        return float(loss), grad

    # -- backwards ---------------------------------------------------------------------------------------------------

    def _gradients(self, grad: Array) -> Weights:
        found: Weights = {}
        for place in reversed(range(len(AFFINE))):
            name = AFFINE[place]
            rows, shape, bright = self._kept[place]
            if bright is not None:
                if name.startswith("conv"):
                    grad = unpool(grad.reshape(len(grad), len(self.weights[f"{name}.bias"]), *_half(bright.shape)))
                slope = bright * (1 - bright)
                grad = self._times(grad, slope)
                norm = NORMS[place]
                grad, found[f"{norm}.weight"], found[f"{norm}.bias"] = self.norms[place].backward(grad)
            grad = self._affine_gradients(name, rows, shape, grad, found)
        return found

    def _times(self, grad: Array, slope: Array) -> Array:
        found: Array = self.rounding.move(grad * slope, lambda: np.abs(grad))
        return found

    def _affine_gradients(self, name: str, rows: Array, shape: tuple[int, ...], grad: Array, found: Weights) -> Array:
        """Enter the gradients of a convolution or a dense layer; that for its input, or what it was if it is first."""
        weight = self.weights[f"{name}.weight"]
        flat, moved = as_rows(grad), self.rounding.move
        in_weight = flat.T @ rows
        in_weight = moved(in_weight, lambda: np.abs(flat).T @ np.abs(rows), len(rows))
        found[f"{name}.weight"] = in_weight.reshape(weight.shape)
        found[f"{name}.bias"] = moved(flat.sum(0), lambda: np.abs(flat).sum(0), len(flat))
        if name == AFFINE[0]:
            return grad
        kernel = weight.reshape(len(weight), -1)

        def place(left: Array, right: Array) -> Array:
            product: Array = left @ right
            return spread(product, shape) if name.startswith("conv") else product

        terms = len(weight) * (KERNEL * KERNEL if name.startswith("conv") else 1)
        found_x: Array = moved(place(flat, kernel), lambda: place(np.abs(flat), np.abs(kernel)), terms)
        return found_x

    def _update(self, weight: Array, gradient: Array) -> Array:
        rate = weight.dtype.type(self.rate)
        found: Array = self.rounding.move(
            weight - rate * gradient.astype(weight.dtype, copy=False),
            lambda: np.abs(weight) + self.rate * np.abs(gradient),
        )
        return found


def _half(shape: Sequence[int]) -> tuple[int, int]:
    return shape[2] // POOL, shape[3] // POOL


def convert(weights: Mapping[str, Array], dtype: str) -> Weights:
    """Copies of the weights in a dtype."""
    return {name: np.array(value, dtype) for name, value in weights.items()}
