"""BatchNorm written out in NumPy: the default backend, there on every machine, and a second opinion on the oracle.

This is one of the few subjects whose formulas are our own. It follows Ioffe and Szegedy 2015 (algorithm 1 for the
forward pass, section 3 for the gradients), with PyTorch's flags and conventions, and shares nothing with the rest.

Arithmetic: float64 where x or the parameters are float64, otherwise float32, so that half-precision input is widened,
computed in single precision and rounded once. The variance is two-pass with the rounding of the mean corrected (Chan,
Golub and LeVeque 1983, section 2), and sums run along contiguous memory, where NumPy adds pairwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Gradients = tuple[Array, Array | None, Array | None]


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name)


class NumpyBackend:
    """The hand-written layer, on the CPU."""

    name = "numpy"
    deviations: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {}

    def devices(self) -> list[str]:
        """The CPU alone."""
        return ["cpu"]

    def build(self, config: Any, device: str) -> NumpyLayer:
        """A layer of this configuration; ValueError for a device other than the CPU."""
        if device != "cpu":
            raise ValueError(f"NumPy knows no device {device!r}, only 'cpu'")
        return NumpyLayer(
            config.num_features,
            eps=config.eps,
            momentum=config.momentum,
            weight=config.weight,
            bias=config.bias,
            track_running_stats=config.track_running_stats,
            ndim=config.ndim,
            param_dtype=config.param_dtype,
        )

    def build_default(self, num_features: int, device: str) -> NumpyLayer:
        """A layer with its own defaults, for float32 input of rank 4."""
        if device != "cpu":
            raise ValueError(f"NumPy knows no device {device!r}, only 'cpu'")
        return NumpyLayer(num_features)


class NumpyLayer:
    """One layer; the defaults are those of PyTorch's BatchNorm2d."""

    keeps_strides = True

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        weight: bool = True,
        bias: bool = True,
        track_running_stats: bool = True,
        ndim: int = 4,
        param_dtype: str = "float32",
    ) -> None:
        self.eps, self.momentum, self.ndim, self.num_features = eps, momentum, ndim, num_features
        self.dtype = dtype = _dtype(param_dtype)
        self.track_running_stats = track_running_stats
        self.frozen = False
        self.entries: dict[str, Array | None] = {
            **dict.fromkeys(("running_mean", "running_var", "num_batches_tracked")),
            "weight": np.ones(num_features, dtype) if weight else None,
            "bias": np.zeros(num_features, dtype) if bias else None,
        }

        if track_running_stats:
            self._start()

    def _start(self) -> None:
        self.entries["running_mean"] = np.zeros(self.num_features, self.dtype)
        self.entries["running_var"] = np.ones(self.num_features, self.dtype)
        self.entries["num_batches_tracked"] = np.zeros((), np.int64)

    def reset(self) -> None:
        """Make statistics and counter as they are when new; weight and bias stay."""
        if self.entries["running_mean"] is not None:
            self._start()

    def set(self, **options: Any) -> None:
        """Change momentum, eps or track_running_stats; without tracking the statistics stay, and are used."""
        for name, value in options.items():
            setattr(self, name, value)

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, of the shape and dtype of x; ValueError, the state as it was, for input that has no answer."""
        with np.errstate(all="ignore"):
            values, mean, variance = self._centre(x, training)
            if self._trains(training) and self.track_running_stats:
                self._remember(mean, variance, values.shape[1])
            z = values * (1 / np.sqrt(variance + self.eps))[:, None]
            weight, bias = self._entry("weight", values), self._entry("bias", values)
            z = z if weight is None else weight[:, None] * z
            z = z if bias is None else z + bias[:, None]
            return _as_input(z, x.shape, x.dtype)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients of sum(y * grad_output) for x, weight and bias; the running statistics stay as they are."""
        with np.errstate(all="ignore"):
            values, _, variance = self._centre(x, training)
            return self._record(values, variance, x, training)(grad_output)

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback): the pass is recorded, so that its gradients may be asked for later, and more than once."""
        with np.errstate(all="ignore"):
            values, _, variance = self._centre(x, training)
            pullback = self._record(values, variance, x, training)
        return self.forward(x, training=training), pullback

    def _record(self, values: Array, variance: Array, x: Array, training: bool) -> Callable[[Array], Gradients]:
        """The gradients of a pass, by its upstream gradient, of what the layer is now; x is not kept."""
        inverse_std = (1 / np.sqrt(variance + self.eps))[:, None]
        z = values * inverse_std
        weight = self._entry("weight", values)
        scale = inverse_std if weight is None else weight[:, None] * inverse_std
        through, shape, dtype = self._from_batch(training) and bool(x.size), x.shape, x.dtype
        frozen = self.frozen

        def pullback(grad_output: Array) -> Gradients:
            if grad_output.shape != shape:
                raise ValueError(f"grad_output has shape {grad_output.shape} and x {shape}; they must agree")
            with np.errstate(all="ignore"):
                upstream = _by_channel(grad_output, z.dtype)
                by_weight, by_bias = (upstream * z).sum(axis=1), upstream.sum(axis=1)
                if through:
                    # Through mean and variance: what a shift or a stretch of the channel would absorb is taken off.
                    count = z.shape[1]
                    upstream = upstream - (by_bias / count)[:, None] - z * (by_weight / count)[:, None]
                grad_x = _as_input(scale * upstream, shape, dtype)
                by_name = self._as_entry("weight", by_weight, frozen), self._as_entry("bias", by_bias, frozen)
                return grad_x, *by_name

        return pullback

    def recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """A forward pass of which x alone is kept, and the gradients, for which it is run again and moves nothing."""
        self.forward(x, training=training)
        return self.backward(x, grad_output, training=training)

    def saved_statistics(self, x: Array, *, training: bool) -> dict[str, Array | None]:
        """Mean, inverse deviation and variance of a pass, each (C,), if they are the batch's; the statistics move."""
        with np.errstate(all="ignore"):
            _, mean, variance = self._centre(x, training)
            found = {"mean": mean, "invstd": 1 / np.sqrt(variance + self.eps), "variance": variance}
            from_batch = self._from_batch(training)
        self.forward(x, training=training)
        return {name: np.array(value, self.dtype) if from_batch else None for name, value in found.items()}

    def freeze(self, frozen: bool) -> None:
        """From now on every pass is one of evaluation, and weight and bias have no gradients; or not any more."""
        self.frozen = frozen

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y): the derivative of y as x moves along the tangent, by the chain rule; the statistics move."""
        with np.errstate(all="ignore"):
            values, _, variance = self._centre(x, training)
            inverse_std = (1 / np.sqrt(variance + self.eps))[:, None]
            z, moving = values * inverse_std, _by_channel(tangent, values.dtype)
            if self._from_batch(training) and x.size:
                moving = moving - moving.mean(axis=1, keepdims=True)
                moving = moving - z * (z * moving).mean(axis=1, keepdims=True)
            weight = self._entry("weight", values)
            moving = inverse_std * moving if weight is None else weight[:, None] * inverse_std * moving
        return self.forward(x, training=training), _as_input(moving, x.shape, x.dtype)

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array:
        """The derivative of the tangent of y along a second tangent; the running statistics stay as they are.

        With p = mean(z t), q = mean(z u) and s the covariance of t and u, it is w / (var + eps) times
        p (mean(u) - u) + q (mean(t) - t) + z (3 p q - s), as of the gradient in `hvp`.
        """
        return self.hvp(x, tangent, second, training=training)[0]

    def hvp(
        self, x: Array, grad_output: Array, vector: Array, *, training: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """The derivatives of the three gradients as x moves along the vector; the running statistics stay as they are.

        With p = mean(z t), q = mean(z g) and s the covariance of g and t, t the vector, the gradient for x moves by
        w / (var + eps) times p (mean(g) - g) + q (mean(t) - t) + z (3 p q - s).
        """
        with np.errstate(all="ignore"):
            values, _, variance = self._centre(x, training)
            inverse_std = (1 / np.sqrt(variance + self.eps))[:, None]
            z, upstream, moving = values * inverse_std, *(_by_channel(a, values.dtype) for a in (grad_output, vector))
            if not self._from_batch(training) or not x.size:
                by_x, by_weight = z * 0, (upstream * inverse_std * moving).sum(axis=1)
            else:
                upstream = upstream - upstream.mean(axis=1, keepdims=True)
                moving = moving - moving.mean(axis=1, keepdims=True)
                along_t, along_g = ((z * a).mean(axis=1, keepdims=True) for a in (moving, upstream))
                both = (upstream * moving).mean(axis=1, keepdims=True)
                by_x = z * (3 * along_t * along_g - both) - along_t * upstream - along_g * moving
                by_weight = (z.shape[1] * inverse_std * (both - along_t * along_g)).reshape(-1)
            weight = self._entry("weight", values)
            scale = inverse_std**2 if weight is None else weight[:, None] * inverse_std**2
            none = np.zeros(self.num_features, values.dtype)
            grad_x = _as_input(scale * by_x, x.shape, x.dtype)
        return grad_x, self._as_entry("weight", by_weight), self._as_entry("bias", none)

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient for x along the vector, along a second one; the statistics stay.

        With g, t and u less their means, p_a = mean(z a) and s_ab = mean(a b), it is w / (var + eps)**(3/2) times
        3 (z (p_u s_gt + p_t s_gu + p_g s_tu) + p_t p_u g + p_g p_u t + p_g p_t u) - 15 p_g p_t p_u z
        - (s_tu g + s_gu t + s_gt u).
        """
        with np.errstate(all="ignore"):
            values, _, variance = self._centre(x, training)
            if not self._from_batch(training) or not x.size:
                return _as_input(values * 0, x.shape, x.dtype)
            inverse_std = (1 / np.sqrt(variance + self.eps))[:, None]
            z = values * inverse_std

            def mean(product: Array) -> Array:
                return np.asarray(product.mean(axis=1, keepdims=True))

            g, t, u = (_by_channel(array, values.dtype) for array in (grad_output, vector, second))
            g, t, u = g - mean(g), t - mean(t), u - mean(u)
            along_g, along_t, along_u = mean(z * g), mean(z * t), mean(z * u)
            with_gt, with_gu, with_tu = mean(g * t), mean(g * u), mean(t * u)
            single = along_u * with_gt + along_t * with_gu + along_g * with_tu
            double = along_t * along_u * g + along_g * along_u * t + along_g * along_t * u
            found = 3 * (z * single + double) - 15 * along_g * along_t * along_u * z
            found = found - (with_tu * g + with_gu * t + with_gt * u)
            weight = self._entry("weight", values)
            scale = inverse_std**3 if weight is None else weight[:, None] * inverse_std**3
            return _as_input(scale * found, x.shape, x.dtype)

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """The outputs for the batches (L, N, C, *S), one after the other, each from the state before; none is moved."""
        return np.stack([copy.deepcopy(self).forward(x, training=training) for x in xs])

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[dict[str, Array | None]]]:
        """(ys, states) of layers like this one, each loaded with its state and called with its batch."""
        layers = [copy.deepcopy(self) for _ in states]
        for layer, state in zip(layers, states, strict=True):
            layer.load(state)
        ys = [layer.forward(x, training=training) for layer, x in zip(layers, xs, strict=True)]
        return np.stack(ys), [layer.state() for layer in layers]

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """dy/dx, row by row: the gradient for x of each element of y; the running statistics stay as they are."""
        rows = [self.backward(x, unit, training=training)[0] for unit in _units(x)]
        return np.stack(rows).reshape(x.shape + x.shape)

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """dy/dx, column by column: the tangent of y as each element of x moves; the running statistics stay."""
        columns = [copy.deepcopy(self).jvp(x, unit, training=training)[1] for unit in _units(x)]
        return np.stack(columns, axis=-1).reshape(x.shape + x.shape)

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of y, which are those of x; ValueError where the layer does not take such an x."""
        self._check(x)
        return x.shape, str(x.dtype)

    def masked(self, x: Array, mask: Array, *, training: bool) -> Array:
        """The output by the statistics of what the mask selects; a channel of which it selects nothing stays."""
        with np.errstate(all="ignore"):
            values, selected = self._select(x, mask)
            mean, variance, count = self._statistics_of_selected(values, selected, training)
            if self._trains(training) and self.track_running_stats:
                self._remember(mean, variance, count)
            z = (values - mean[:, None]) * (1 / np.sqrt(variance + self.eps))[:, None]
            weight, bias = self._entry("weight", values), self._entry("bias", values)
            z = z if weight is None else weight[:, None] * z
            z = z if bias is None else z + bias[:, None]
            return _as_input(z, x.shape, x.dtype)

    def masked_backward(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients of sum(y * grad_output); what is hidden and has no gradient counts as 0, whatever it is."""
        with np.errstate(all="ignore"):
            values, selected = self._select(x, mask)
            upstream = _by_channel(grad_output, values.dtype)
            values = np.where(selected | (upstream != 0), values, 0)
            mean, variance, count = self._statistics_of_selected(values, selected, training)
            inverse_std = (1 / np.sqrt(variance + self.eps))[:, None]
            z = (values - mean[:, None]) * inverse_std
            by_weight, by_bias = (upstream * z).sum(axis=1), upstream.sum(axis=1)
            flowing = upstream
            if self._from_batch(training):
                through = by_bias[:, None] + z * by_weight[:, None]
                flowing = upstream - np.where(selected, through / np.maximum(count, 1)[:, None], 0)
            weight = self._entry("weight", values)
            scale = inverse_std if weight is None else weight[:, None] * inverse_std
            grad_x = _as_input(scale * flowing, x.shape, x.dtype)
            return grad_x, self._as_entry("weight", by_weight), self._as_entry("bias", by_bias)

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        return {name: None if value is None else value.copy() for name, value in self.entries.items()}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; ValueError, nothing set, where one does not exist here or has another shape."""
        given = {name: np.asarray(value) for name, value in state.items() if value is not None}
        for name, value in given.items():
            current = self.entries.get(name)
            if current is None:
                raise ValueError(f"this layer has no {name}")
            if value.shape != current.shape:
                raise ValueError(f"{name} has shape {value.shape}; this layer's has {current.shape}")
        for name, value in given.items():
            current = self.entries[name]
            assert current is not None
            self.entries[name] = value.astype(current.dtype)

    def _from_batch(self, training: bool) -> bool:
        return self._trains(training) or self.entries["running_mean"] is None

    def _trains(self, training: bool) -> bool:
        return training and not self.frozen

    def _entry(self, name: str, like: Array) -> Array | None:
        value = self.entries[name]
        return None if value is None else value.astype(like.dtype)

    def _as_entry(self, name: str, gradient: Array, frozen: bool | None = None) -> Array | None:
        """The gradient in the dtype of a parameter; None where there is no such parameter, or it is frozen."""
        stored = self.entries[name]
        without = stored is None or (self.frozen if frozen is None else frozen)
        return None if without or stored is None else gradient.astype(stored.dtype)

    def _check(self, x: Array) -> None:
        """ValueError for x of another rank or number of channels."""
        if x.ndim != self.ndim:
            raise ValueError(f"x has rank {x.ndim}; this layer takes rank {self.ndim}")
        if x.shape[1] != self.num_features:
            raise ValueError(f"x has {x.shape[1]} channels; this layer has {self.num_features}")

    def _arithmetic(self, x: Array) -> np.dtype[Any]:
        """The dtype in which x is computed with: double where x or the parameters are, else single."""
        wide = np.float64 in (x.dtype, next((v.dtype for v in self.entries.values() if v is not None), x.dtype))
        return np.dtype(np.float64 if wide else np.float32)

    def _centre(self, x: Array, training: bool) -> tuple[Array, Array, Array]:
        """The values less their mean (C, n), with the mean (C,) and the variance (C,) that normalise."""
        self._check(x)
        running_mean = self.entries["running_mean"]
        values = _by_channel(x, self._arithmetic(x))
        if not self._from_batch(training) and running_mean is not None:
            mean, variance = self._entry("running_mean", values), self._entry("running_var", values)
            assert mean is not None and variance is not None
            return values - mean[:, None], mean, variance
        count = values.shape[1]
        if count == 1:
            raise ValueError(f"x of shape {x.shape} has one value per channel, which has no variance")
        if count == 0:
            return values, np.zeros(self.num_features, values.dtype), np.ones(self.num_features, values.dtype)
        mean = values.mean(axis=1)
        values = values - mean[:, None]
        # The mean was rounded: what is left of it in the centred values is small, and so known far more closely.
        rest = values.mean(axis=1)
        values -= rest[:, None]
        return values, mean + rest, np.square(values).mean(axis=1)

    def _select(self, x: Array, mask: Array) -> tuple[Array, Array]:
        """The values and whether each is selected, (C, n)."""
        self._check(x)
        whole = np.broadcast_to(mask != 0, x.shape)
        return _by_channel(x, self._arithmetic(x)), _by_channel(whole, np.dtype(bool))

    def _statistics_of_selected(self, values: Array, selected: Array, training: bool) -> tuple[Array, Array, Array]:
        """The mean and variance that normalise, and how many values of each channel are selected, (C,)."""
        count = selected.sum(axis=1)
        if not self._from_batch(training):
            mean, variance = self._entry("running_mean", values), self._entry("running_var", values)
            assert mean is not None and variance is not None
            return mean, variance, count
        n = np.maximum(count, 1).astype(values.dtype)
        mean = np.where(selected, values, 0).sum(axis=1) / n
        centred = np.where(selected, values - mean[:, None], 0)
        return mean, np.square(centred).sum(axis=1) / n, count

    def _remember(self, mean: Array, variance: Array, count: int | Array) -> None:
        """Move the running statistics by one batch of `count` values a channel, or of each channel; not by none.

        Of a channel with one value the variance, which is 0, is remembered as it is.
        """
        counter = self.entries["num_batches_tracked"]
        if counter is None:
            return
        self.entries["num_batches_tracked"] = counter = counter + np.int64(1)
        new = 1 / int(counter) if self.momentum is None else self.momentum
        correction = np.asarray(count / np.maximum(np.subtract(count, 1), 1), mean.dtype)
        for name, value in (("running_mean", mean), ("running_var", variance * correction)):
            old = self._entry(name, value)
            stored = self.entries[name]
            assert old is not None and stored is not None
            moved = ((1 - new) * old + new * value).astype(stored.dtype)
            self.entries[name] = np.where(np.equal(count, 0), stored, moved)


def _units(x: Array) -> Iterator[Array]:
    """For each element of x an array of its shape and dtype that is 1 there and 0 elsewhere."""
    return (row.reshape(x.shape) for row in np.eye(x.size, dtype=x.dtype))


def _by_channel(x: Array, dtype: np.dtype[Any]) -> Array:
    """A copy as (C, n), contiguous, so that each channel is summed pairwise."""
    return np.ascontiguousarray(np.moveaxis(x, 1, 0).reshape(x.shape[1], x.size // x.shape[1]), dtype=dtype)


def _as_input(values: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """(C, n) back as a new contiguous array of the shape and dtype of x."""
    channels_first = (shape[1], shape[0], *shape[2:])
    return np.array(np.moveaxis(values.reshape(channels_first), 0, 1), dtype=dtype, order="C")
