"""Small models as Equinox modules, and equinox.nn.inference_mode, which makes one predict.

Equinox has the channels first and sees one sample; the batch is `jax.vmap`, with the axis that its BatchNorm is told.
The running statistics lie in a state beside the module. In mode "batch" its BatchNorm takes out of them, by a counter
of batches, that averages began at zero; of statistics that came from elsewhere the counter is 0, and they are used as
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bnconform.backends.jax_arrays import Place, to_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnconform.backends.runner.deployments import ModelData, NodeData

    Array = NDArray[Any]

AXIS = "batch"
ALONE = "an Equinox BatchNorm has weight and bias, or neither"


class EquinoxModel:
    """A model.

    Attributes:
        module, state: equinox.Module and equinox.nn.State. place: its precision.
    """

    def __init__(self, module: Any, state: Any, place: Place) -> None:
        self.module, self.state, self.place = module, state, place


class EquinoxInference:
    """equinox.nn.inference_mode of the module, under jax.jit."""

    name = "equinox.inference_mode"
    slow_to_start = True
    unsupported: ClassVar[Mapping[str, str]] = {}
    deviations: ClassVar[Mapping[str, str]] = {}

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def load(self, model: ModelData, device: str) -> EquinoxModel:
        """The module, each layer in its own mode; NotImplementedError for what Equinox has no layers for."""
        import equinox

        place = Place("cpu", model.dtype == "float64")
        with place.enter():
            made, state = equinox.nn.make_with_state(network_class())(model)
            for layer in model.layers():
                mean, variance = model.array(layer, "running_mean"), model.array(layer, "running_var")
                if mean is not None and variance is not None:
                    held = place.array(mean), place.array(variance)
                    state = state.set(made.parts[layer].batch_state_index, held)
            return EquinoxModel(made, state, place)

    def parameters(self, original: EquinoxModel) -> dict[str, Array]:
        """Every array of the module and of its state, and the mode of each BatchNorm, in their order."""
        import equinox
        import jax

        leaves = jax.tree_util.tree_leaves((original.module, original.state))
        told = [leaf for leaf in leaves if equinox.is_array(leaf) or isinstance(leaf, bool)]
        return {str(i): np.array(leaf) for i, leaf in enumerate(told)}

    def deploy(self, original: EquinoxModel, example: Array) -> Callable[[Array], Array]:
        """The compiled call of the module in inference."""
        import equinox
        import jax

        module = equinox.nn.inference_mode(original.module)

        over_samples = jax.vmap(module, axis_name=AXIS, in_axes=(0, None), out_axes=(0, None))
        predict = jax.jit(lambda state, x: over_samples(x, state)[0])

        def call(x: Array) -> Array:
            with original.place.enter():
                return to_array(predict(original.state, original.place.array(x)))

        return call


def network_class() -> Any:
    """The class of the modules; Equinox is imported when it is asked for."""
    import equinox

    class Network(equinox.Module):
        """The layers, called in the order of the nodes."""

        parts: dict[str, Any]
        model: Any = equinox.field(static=True)

        def __init__(self, model: ModelData) -> None:
            self.model = _Hashable(model)
            self.parts = {name: _layer(model, node) for name, node in model.layers().items()}

        def __call__(self, x: Any, state: Any) -> Any:
            found = {"x": x}
            nodes = self.model.model.nodes
            for node in nodes:
                given = [found[name] for name in node.inputs]
                if node.kind == "batch_normalization":
                    found[node.name], state = self.parts[node.layer](given[0], state)
                else:
                    found[node.name] = _result(self.parts, node, given)
            return found[nodes[-1].name], state

    return Network


class _Hashable:
    """A model as a static field, which is compared by what it is."""

    def __init__(self, model: ModelData) -> None:
        self.model = model


def _result(parts: Mapping[str, Any], node: NodeData, given: list[Any]) -> Any:
    """What a node other than a BatchNorm gives of one sample, the channels first."""
    import equinox
    import jax
    import jax.numpy as jnp

    x, o = given[0], node.options
    if node.kind == "linear":
        call = parts[node.layer]
        for _ in range(x.ndim - 1):
            call = jax.vmap(call)
        return call(x)
    if node.layer:
        return parts[node.layer](x)
    if node.kind in ("average_pooling", "max_pooling"):
        name = "AvgPool" if node.kind == "average_pooling" else "MaxPool"
        if node.kind == "average_pooling" and not o["counts_padding"] and any(o["padding"]):
            raise NotImplementedError("Equinox' average counts the padding")
        pool = getattr(equinox.nn, f"{name}{x.ndim - 1}d")
        return pool(*(tuple(o[part]) for part in ("kernel", "stride", "padding")))(x)
    if node.kind in ("relu", "sigmoid"):
        return getattr(jax.nn, node.kind)(x)
    if node.kind == "add":
        return x + given[1]
    if node.kind == "concatenate":
        return jnp.concatenate(given, axis=0)
    return jnp.reshape(x, tuple(o["to"]) if node.kind == "reshape" else (-1,))


def _layer(model: ModelData, node: NodeData) -> Any:
    """A layer of Equinox with the model's arrays."""
    import equinox
    import jax
    import jax.numpy as jnp

    if node.kind == "batch_normalization":
        return _norm(model, node)
    weight, bias = model.array(node.layer, "weight"), model.array(node.layer, "bias")
    assert weight is not None
    o, key = node.options, jax.random.key(0)
    kinds = {"use_bias": bias is not None, "dtype": weight.dtype, "key": key}
    if node.kind == "linear":
        made = equinox.nn.Linear(weight.shape[1], weight.shape[0], **kinds)
    else:
        settings = {name: tuple(o[name]) for name in ("stride", "padding", "dilation")}
        spatial, kernel, groups = weight.ndim - 2, weight.shape[2:], o["groups"]
        if node.kind == "convolution":
            made = equinox.nn.Conv(
                spatial, weight.shape[1] * groups, len(weight), kernel, groups=groups, **settings, **kinds
            )
        else:
            outputs = weight.shape[1] * groups
            made = equinox.nn.ConvTranspose(spatial, len(weight), outputs, kernel, groups=groups, **settings, **kinds)
            # Its weight is that of the convolution which it transposes, turned round, the outputs first.
            turned = np.flip(weight, tuple(range(2, weight.ndim)))
            parts = turned.reshape(groups, len(weight) // groups, *turned.shape[1:])
            weight = np.swapaxes(parts, 1, 2).reshape(outputs, len(weight) // groups, *kernel)
        bias = None if bias is None else bias.reshape(-1, *(1,) * spatial)
    made = equinox.tree_at(lambda layer: layer.weight, made, jnp.asarray(weight))
    return made if bias is None else equinox.tree_at(lambda layer: layer.bias, made, jnp.asarray(bias))


def _norm(model: ModelData, node: NodeData) -> Any:
    import equinox
    import jax.numpy as jnp

    arrays = {name: model.array(node.layer, name) for name in ("weight", "bias", "running_mean")}
    if arrays["running_mean"] is None:
        raise NotImplementedError("Equinox has no BatchNorm without running statistics")
    if (arrays["weight"] is None) != (arrays["bias"] is None):
        raise NotImplementedError(ALONE)
    made = equinox.nn.BatchNorm(
        len(arrays["running_mean"]), AXIS, eps=node.options["epsilon"], mode="batch",
        channelwise_affine=arrays["weight"] is not None, inference=not node.options["training"],
        dtype=arrays["running_mean"].dtype,
    )  # fmt: skip
    if arrays["weight"] is None:
        return made
    parts = (jnp.asarray(arrays["weight"]), jnp.asarray(arrays["bias"]))
    return equinox.tree_at(lambda layer: (layer.weight, layer.bias), made, parts)
