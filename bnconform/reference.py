"""What BatchNorm gives: values from the oracle, and to within what an implementation must give them.

The values are exact to float64; each bound is derived for an implementation that computes in the dtype of the input, by
any reasonable algorithm (`bnconform.spec.error_bounds`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnconform.spec import oracle
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import ErrorModel, error_model_of
from bnconform.spec.error_bounds.forward import ForwardErrors
from bnconform.spec.error_bounds.gradients import bias_gradient, input_gradient, weight_gradient
from bnconform.spec.exact import Exact, arithmetic, exact, floats
from bnconform.spec.formats import DTYPES, numpy_dtype, parameter_dtype

__all__ = ["GradientReference", "Gradients", "OutputReference", "StateAfter", "backward", "forward"]

Floats = NDArray[np.float64]


class StateAfter(NamedTuple):
    """What a pass leaves behind.

    Attributes:
        running_mean, running_var: (C,), float64; None where there are none.
        num_batches_tracked: None where none was given.
        running_mean_bound, running_var_bound: (C,), float64, how far those of an implementation may lie from these: 0
            where nothing moved. None where there are none.
    """

    running_mean: Floats | None
    running_var: Floats | None
    num_batches_tracked: int | None
    running_mean_bound: Floats | None
    running_var_bound: Floats | None


class OutputReference(NamedTuple):
    """One forward pass: y and its bound, float64 of the shape of x, and the state afterwards."""

    y: Floats
    bound: Floats
    state: StateAfter


class Gradients(NamedTuple):
    """The gradients of sum(y * grad_output), or their bounds: float64, of the shapes of x, (C,) and (C,).

    That for weight or bias is None where none was given.
    """

    grad_x: Floats
    grad_weight: Floats | None
    grad_bias: Floats | None


class GradientReference(NamedTuple):
    """One forward and backward pass: the gradients, and how far those of an implementation may lie from them."""

    gradients: Gradients
    bounds: Gradients


def forward(
    x: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    num_batches_tracked: int | None = None,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    dtype: str | None = None,
    behaviour: Behaviour | Mapping[str, str] | None = None,
) -> OutputReference:
    """What a forward pass gives, and to within what.

    Args:
        x: (N, C, *S), of rank 2 to 5.
        weight, bias: (C,); None where the layer has none.
        running_mean, running_var: (C,), before the pass, both or neither. Without them the batch's statistics normalise
            in evaluation, too.
        num_batches_tracked: how many batches have been seen; momentum None needs it.
        training: the mode.
        momentum: the weight of the new batch, or None for the cumulative average.
        eps: what is added to the variance.
        dtype: what the implementation computes in: "float64", "float32", "float16" or "bfloat16"; by default the dtype
            of x, where it is one of these, else float64. x is rounded to it first, and the parameters and statistics to
            the dtype that goes with it (float32 for the 16-bit ones).
        behaviour: what is done instead of what is specified, such as {"running_variance": "biased"}.

    Returns:
        (y, bound, state). Where nothing fixes a value (0/0 by the formula), it is NaN and its bound infinite.

    Raises:
        ValueError: for what BatchNorm must refuse: one value per channel in training, parameters that do not fit the
            channels, another rank, momentum outside [0, 1]; and for a dtype or a behaviour that does not exist.
    """
    layer = _Layer.of(x, weight, bias, running_mean, running_var, num_batches_tracked, momentum, eps, dtype, behaviour)
    with arithmetic():
        record = oracle.forward(layer.config, layer.behaviour, layer.state, layer.batch, training=training)
        if record.refused:
            raise ValueError(record.refused)
        errors = ForwardErrors(record, layer.model)
        unknown = "y" in record.unspecified
        y, bound = _numbers(record.y, errors.output if record.x.size else np.zeros(record.x.shape), unknown)
        return OutputReference(y, bound, _state(record, errors))


def backward(
    x: ArrayLike,
    grad_output: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    num_batches_tracked: int | None = None,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    dtype: str | None = None,
    behaviour: Behaviour | Mapping[str, str] | None = None,
) -> GradientReference:
    """The gradients of sum(y * grad_output) of a forward pass, and to within what.

    Args:
        grad_output: (N, C, *S), of the shape of x, rounded to the same dtype.
        x, weight, bias, running_mean, running_var, num_batches_tracked, training, momentum, eps, dtype, behaviour: as
            of `forward`; the statistics are those before its pass.

    Returns:
        (gradients, bounds), each (grad_x, grad_weight, grad_bias).

    Raises:
        ValueError: as `forward` does, and where the shape of grad_output is not that of x.
    """
    layer = _Layer.of(x, weight, bias, running_mean, running_var, num_batches_tracked, momentum, eps, dtype, behaviour)
    upstream = np.asarray(grad_output).astype(numpy_dtype(layer.config.dtype))
    if upstream.shape != layer.batch.x.shape:
        raise ValueError(f"grad_output has shape {upstream.shape}; x has {layer.batch.x.shape}")
    with arithmetic():
        record = oracle.backward(
            layer.config, layer.behaviour, layer.state, layer.batch, exact(upstream), training=training
        )
        if record.forward.refused:
            raise ValueError(record.forward.refused)
        errors = ForwardErrors(record.forward, layer.model)
        found: list[tuple[Floats, Floats] | None] = []
        for name, given, limit in (
            ("grad_x", True, input_gradient),
            ("grad_weight", weight is not None, weight_gradient),
            ("grad_bias", bias is not None, bias_gradient),
        ):
            value: Exact | None = getattr(record, name)
            if not given or value is None:
                found.append(None)
                continue
            bound = limit(record, layer.model, errors) if upstream.size else np.zeros(value.shape)
            found.append(_numbers(value, bound, name in record.forward.unspecified))
    grad_x, grad_weight, grad_bias = found
    assert grad_x is not None
    return GradientReference(
        *(
            Gradients(grad_x[which], grad_weight and grad_weight[which], grad_bias and grad_bias[which])
            for which in (0, 1)
        )
    )


class _Layer(NamedTuple):
    """A layer, and a batch, as the oracle takes them."""

    config: Config
    behaviour: Behaviour
    model: ErrorModel
    state: oracle.State
    batch: oracle.Batch

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        weight: ArrayLike | None,
        bias: ArrayLike | None,
        running_mean: ArrayLike | None,
        running_var: ArrayLike | None,
        num_batches_tracked: int | None,
        momentum: float | None,
        eps: float,
        dtype: str | None,
        behaviour: Behaviour | Mapping[str, str] | None,
    ) -> _Layer:
        """What the arguments of `forward` mean; ValueError for what makes no layer."""
        values = np.asarray(x)
        name = dtype or (str(values.dtype) if str(values.dtype) in DTYPES else "float64")
        point = behaviour if isinstance(behaviour, Behaviour) else SPECIFIED.but(**(behaviour or {}))
        if values.ndim < 2:
            raise ValueError(f"x has rank {values.ndim}; it must be (N, C) or (N, C, ...)")
        if (running_mean is None) != (running_var is None):
            raise ValueError("give running_mean and running_var, or neither")
        tracked = running_mean is not None
        if tracked and momentum is None and num_batches_tracked is None:
            raise ValueError("momentum None weighs by num_batches_tracked; give it")
        affine = weight is not None or bias is not None
        channels = values.shape[1]
        config = Config(channels, eps, momentum, affine, tracked, values.ndim, name, parameter_dtype(name))
        kept = numpy_dtype(config.param_dtype)

        def channelwise(given: ArrayLike | None, what: str, default: float | None) -> Exact | None:
            if given is None and default is None:
                return None
            array = np.full(channels, default) if given is None else np.asarray(given)
            if array.shape != (channels,):
                raise ValueError(f"{what} has shape {array.shape}; x has {channels} channels")
            return exact(array.astype(kept))

        with arithmetic():
            state = oracle.State(
                channelwise(running_mean, "running_mean", None),
                channelwise(running_var, "running_var", None),
                None if num_batches_tracked is None or not tracked else int(num_batches_tracked),
                channelwise(weight, "weight", 1.0 if affine else None),
                channelwise(bias, "bias", 0.0 if affine else None),
            )
            batch = oracle.Batch(exact(values.astype(numpy_dtype(name))))
        return cls(config, point, error_model_of(config, point), state, batch)


def _state(record: oracle.Forward, errors: ForwardErrors) -> StateAfter:
    after, before = record.state, record.before
    if after.running_mean is None or after.running_var is None:
        return StateAfter(None, None, None, None, None)
    moved = after.running_mean is not before.running_mean or after.running_var is not before.running_var
    zeros = np.zeros(after.running_mean.shape)
    limits = errors.running if moved else (zeros, zeros)
    (mean, mean_bound), (variance, variance_bound) = (
        _numbers(value, limit, name in record.unspecified, moved=moved)
        for name, value, limit in zip(
            ("running_mean", "running_var"), (after.running_mean, after.running_var), limits, strict=True
        )
    )
    return StateAfter(mean, variance, after.num_batches_tracked, mean_bound, variance_bound)


def _numbers(value: Exact, bound: Any, unknown: bool, *, moved: bool = True) -> tuple[Floats, Floats]:
    """The nearest float64s, and the bound with what that rounding adds to a distance from them."""
    nearest = floats(value)
    if unknown:
        return np.full(nearest.shape, np.nan), np.full(nearest.shape, np.inf)
    limit = np.asarray(np.broadcast_to(bound, nearest.shape), np.float64)
    with np.errstate(all="ignore"):
        rounding = np.where(np.isfinite(nearest), np.spacing(np.abs(nearest)) / 2, 0.0) if moved else 0.0
    return nearest, np.asarray(limit + rounding)
