"""MLX's BatchNorm: the layer mlx.nn.BatchNorm, eager and through mx.compile.

The layer wants its channels last, so the adapter moves the axis on the way in and back on the way out. Its momentum
weighs the new batch. Arrays run on the device that is asked for: the CPU, Apple's GPU (Metal) or a CUDA one. MLX
evaluates lazily; every pass here is evaluated before its result is handed out, the running statistics with it.

Compiled kernels for the CPU are built by the system's C++ compiler, one or more for each shape (seconds each), and are
kept on disk in the folder for temporary files. MLX runs a function uncompiled without a word where compilation is
turned off (MLX_DISABLE_COMPILE); so the graph of each compiled pass must hold a fused kernel, else `NotCompiled`.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.not_compiled import NotCompiled

Array = NDArray[Any]

STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")


def mlx_device(name: str) -> Any:
    """The mx.Device called `name` in PyTorch's words."""
    import mlx.core as mx

    kind, _, index = name.partition(":")
    return mx.Device(mx.cpu if kind == "cpu" else mx.gpu, int(index or 0))


def to_mlx(array: Array) -> Any:
    """The array in MLX, which would make float32 of float64 unless it is told otherwise.

    MLX refuses negative strides; then, and only then, the array is copied. An empty array is made by MLX itself: since
    0.32 MLX keeps the strides of NumPy's, all zero, for which its reductions on the CPU read beyond a list, so that
    mx.sum(mx.array(numpy.zeros((0, 3), "float32")), axis=0) after any mx.eval hangs about every second time. That is
    a fault of the conversion, and a layer is not to be blamed for it.
    """
    import mlx.core as mx

    dtype = getattr(mx, array.dtype.name)
    if array.size == 0:
        return mx.zeros(array.shape, dtype)
    if any(stride < 0 for stride in array.strides):
        array = array.copy(order="K")
    return mx.array(array, dtype=dtype)


def to_array(value: Any) -> Array:
    """A copy as a contiguous array of the same dtype."""
    import mlx.core as mx

    if value.dtype == mx.bfloat16:
        import ml_dtypes

        return np.array(np.array(value.view(mx.uint16)).view(ml_dtypes.bfloat16), order="C")
    return np.array(value, order="C")


class MLXLayer:
    """An mlx.nn layer, channels last, behind arrays with channels at axis 1."""

    def __init__(self, module: Any, device: str) -> None:
        self.module = module
        self.device = mlx_device(device)

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, of the shape of x."""
        import mlx.core as mx

        self.module.train(training)
        with mx.stream(self.device):
            y = self._run(self._normalise, to_mlx(np.moveaxis(x, 1, -1)))
            return np.ascontiguousarray(np.moveaxis(to_array(y), -1, 1))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias, by mx.grad through one more forward pass."""
        import mlx.core as mx

        self.module.train(training)
        with mx.stream(self.device):
            given = [to_mlx(np.moveaxis(array, 1, -1)) for array in (x, grad_output)]
            in_x, in_parameters = self._run(self._gradients, *given)
            grad_x = np.ascontiguousarray(np.moveaxis(to_array(in_x), -1, 1))
            if not in_parameters:
                return grad_x, None, None
            return grad_x, to_array(in_parameters["weight"]), to_array(in_parameters["bias"])

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y), by mx.jvp; the statistics move."""
        import mlx.core as mx

        self.module.train(training)
        with mx.stream(self.device):
            given, direction = (to_mlx(np.moveaxis(array, 1, -1)) for array in (x, tangent))
            (y,), (tangent_y,) = mx.jvp(self.module, (given,), (direction,))
            mx.eval(y, tangent_y, self.module.parameters())
            shown = [np.ascontiguousarray(np.moveaxis(to_array(found), -1, 1)) for found in (y, tangent_y)]
        return shown[0], shown[1]

    def hvp(
        self, x: Array, grad_output: Array, vector: Array, *, training: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """The derivatives of the gradients along the vector, by mx.jvp of mx.grad; the statistics move."""
        import mlx.core as mx

        self.module.train(training)
        parameters = self.module.trainable_parameters()
        with mx.stream(self.device):
            given, upstream, direction = (to_mlx(np.moveaxis(array, 1, -1)) for array in (x, grad_output, vector))

            def gradients(x: Any) -> list[Any]:
                found = self._gradients(x, upstream)
                return [found[0], *(found[1][name] for name in parameters)]

            _, moving = mx.jvp(gradients, (given,), (direction,))
            mx.eval(moving, self.module.parameters())
            by_x, *rest = (to_array(found) for found in moving)
        by_name = dict(zip(parameters, rest, strict=True))
        return np.ascontiguousarray(np.moveaxis(by_x, -1, 1)), by_name.get("weight"), by_name.get("bias")

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array:
        """The derivative of the tangent along a second one, by mx.jvp of mx.jvp; the statistics move."""
        import mlx.core as mx

        self.module.train(training)
        with mx.stream(self.device):
            given, one, other = (to_mlx(np.moveaxis(array, 1, -1)) for array in (x, tangent, second))
            _, (found,) = mx.jvp(lambda x: mx.jvp(self.module, (x,), (one,))[1][0], (given,), (other,))
            mx.eval(found, self.module.parameters())
            return np.ascontiguousarray(np.moveaxis(to_array(found), -1, 1))

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along the vector, along a second one, by mx.vjp three times."""
        import mlx.core as mx

        def gradient(call: Any, upstream: Any) -> Any:
            return lambda x: mx.vjp(call, (x,), (upstream,))[1][0]

        self.module.train(training)
        with mx.stream(self.device):
            given, *upstream = (to_mlx(np.moveaxis(array, 1, -1)) for array in (x, grad_output, vector, second))
            call: Any = self.module
            for each in upstream:
                call = gradient(call, each)
            found = call(given)
            mx.eval(found, self.module.parameters())
            return np.ascontiguousarray(np.moveaxis(to_array(found), -1, 1))

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """ys, by mx.vmap over the batches."""
        import mlx.core as mx

        self.module.train(training)
        with mx.stream(self.device):
            ys = mx.vmap(self.module)(to_mlx(np.moveaxis(xs, 2, -1)))
            return np.ascontiguousarray(np.moveaxis(to_array(ys), -1, 2))

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[dict[str, Array | None]]]:
        """(ys, states), by mx.vmap over batches and what each layer remembers, as a function; the layer stays."""
        import mlx.core as mx

        own = self.module.parameters()
        each = [{**own, **{name: to_mlx(value) for name, value in state.items()}} for state in states]
        layer = type(self)(copy.deepcopy(self.module), "cpu")
        layer.device = self.device

        def call(kept: Any, x: Any) -> Any:
            layer.module.update(kept)
            y = layer.module(x)
            return y, layer.module.parameters()

        layer.module.train(training)
        with mx.stream(self.device):
            stacked = {name: mx.stack([state[name] for state in each]) for name in own}
            ys, moved = mx.vmap(call)(stacked, to_mlx(np.moveaxis(xs, 2, -1)))
            mx.eval(ys, moved)
            shown = np.ascontiguousarray(np.moveaxis(to_array(ys), -1, 2))
            after = [
                {name: to_array(moved[name][lane]) if name in moved else None for name in STATE}
                for lane in range(len(states))
            ]
        return shown, after

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers; MLX counts no batches."""
        arrays = self.module.parameters()
        return {name: to_array(arrays[name]) if name in arrays else None for name in STATE}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries; ValueError, from MLX, for one that the layer does not have."""
        given = {name: to_mlx(value) for name, value in state.items() if value is not None}
        self.module.load_weights(list({**self.module.parameters(), **given}.items()))

    def _normalise(self, x: Any) -> Any:
        return self.module(x)

    def _gradients(self, x: Any, grad_output: Any) -> Any:
        import mlx.core as mx

        def total(x: Any, parameters: Any) -> Any:
            self.module.update(parameters)
            return (self.module(x) * grad_output).sum()

        parameters = self.module.trainable_parameters()
        gradients = mx.grad(total, argnums=(0, 1) if parameters else 0)(x, parameters)
        self.module.update(parameters)
        return gradients if parameters else (gradients, parameters)

    def _run(self, function: Any, *given: Any) -> Any:
        """The function's results, evaluated, the running statistics with them."""
        import mlx.core as mx

        results = function(*given)
        mx.eval(results, self.module.parameters())
        return results


class MLXCompiledLayer(MLXLayer):
    """The same layer, each pass through mx.compile with the layer's state as an input and an output."""

    def __init__(self, module: Any, device: str) -> None:
        super().__init__(module, device)
        self.compiled: dict[Any, Any] = {}

    jvp: Any = None
    hvp: Any = None
    jvp_jvp: Any = None
    third: Any = None
    vmap: Any = None
    vmap_layers: Any = None
    """What is compiled is a pass, or a pass and its gradients, and no transformation of it."""

    def _run(self, function: Any, *given: Any) -> Any:
        import mlx.core as mx

        key = (function.__name__, self.module.training)
        if key not in self.compiled:
            state = self.module.state
            self.compiled[key] = mx.compile(function, inputs=state, outputs=state)
        results = self.compiled[key](*given)
        graph = io.StringIO()
        mx.export_to_dot(graph, results if function.__name__ == "_normalise" else results[0])
        if "Compiled" not in graph.getvalue():
            raise NotCompiled("the pass holds no compiled kernel")
        mx.eval(results, self.module.parameters())
        return results


class MLX:
    """mlx.nn.BatchNorm, eager."""

    name = "mlx"
    deviations: Mapping[str, str] = {}
    unsupported: Mapping[str, str] = {
        "rank_5": "mlx.nn.BatchNorm takes inputs of 2, 3 or 4 dimensions",
        "momentum_none": "MLX has no cumulative average: it takes None and fails in the first training pass",
        "weight_alone": "affine is about weight and bias together",
        "bias_alone": "affine is about weight and bias together",
        "masked": "MLX' layer takes no mask",
    }
    layer: type[MLXLayer] = MLXLayer

    def devices(self) -> list[str]:
        """The CPU, and the GPU that this build of MLX has: Apple's, or every CUDA device."""
        import mlx.core as mx

        if mx.metal.is_available():
            return ["cpu", "mps"]
        counted = getattr(mx, "device_count", None)  # before 0.31 there is none, and no CUDA
        return ["cpu", *(f"cuda:{index}" for index in range(counted(mx.gpu) if counted is not None else 0))]

    def build(self, config: Any, device: str) -> MLXLayer:
        """A layer of this configuration; NotImplementedError for momentum=None, at which MLX fails only in training."""
        import mlx.core as mx
        from mlx import nn

        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        if config.weight != config.bias:
            raise NotImplementedError(self.unsupported["weight_alone" if config.weight else "bias_alone"])
        with mx.stream(mlx_device(device)):
            module = nn.BatchNorm(
                config.num_features,
                eps=config.eps,
                momentum=config.momentum,
                affine=config.weight,
                track_running_stats=config.track_running_stats,
            )
            module.set_dtype(getattr(mx, config.param_dtype))
            mx.eval(module.parameters())
        return self.layer(module, device)

    def build_default(self, num_features: int, device: str) -> MLXLayer:
        """The layer with its own defaults."""
        from mlx import nn

        return self.layer(nn.BatchNorm(num_features), device)


class MLXCompiled(MLX):
    """mlx.nn.BatchNorm through mx.compile."""

    name = "mlx+compile"
    layer = MLXCompiledLayer
    slow_to_start = True
