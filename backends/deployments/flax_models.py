"""Small models as flax.nnx modules, and what makes a model for deployment of one: jax.jit and jax.export.

Flax has the channels last; a linear layer maps the last axis. So a result lies as the layer that reads it needs it, and
`jnp.moveaxis` stands where that changes. Inference is `model.eval()`, flax's own switch; a BatchNorm that was left in
training keeps `use_running_average=False`.
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

FIRST, LAST = "first", "last"
"""Where the channels of a result lie: axis 1, or the last axis."""

CONVOLUTIONS = ("convolution", "transposed_convolution")


class FlaxModel:
    """A model.

    Attributes:
        module: flax.nnx.Module, whose call takes and gives arrays with the channels at axis 1. place: its precision.
    """

    def __init__(self, module: Any, place: Place) -> None:
        self.module, self.place = module, place


class FlaxDeployment:
    """What the deployments of flax.nnx share."""

    unsupported: ClassVar[Mapping[str, str]] = {}
    deviations: ClassVar[Mapping[str, str]] = {}

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def load(self, model: ModelData, device: str) -> FlaxModel:
        """The module in evaluation; NotImplementedError for what flax has no layers for."""
        place = Place("cpu", model.dtype == "float64")
        with place.enter():
            return FlaxModel(module(model), place)

    def parameters(self, original: FlaxModel) -> dict[str, Array]:
        """Every variable, by its path."""
        from flax import nnx

        with original.place.enter():
            leaves = nnx.to_flat_state(nnx.state(original.module))
            return {"/".join(map(str, path)): to_array(leaf.get_value()) for path, leaf in leaves}

    def deploy(self, original: FlaxModel, example: Array) -> Callable[[Array], Array]:
        """What the tool makes of it."""
        with original.place.enter():
            predict = self.deploy_tool(original.module, example)

        def call(x: Array) -> Array:
            with original.place.enter():
                return to_array(predict(original.place.array(x)))

        return call

    def deploy_tool(self, module: Any, example: Array) -> Callable[[Any], Any]:
        """What the tool makes of a module: a function of JAX arrays."""
        raise NotImplementedError


class FlaxCall(FlaxDeployment):
    """The module itself, called operation by operation: the control."""

    name = "flax.nnx.eval"
    slow_to_start = True

    def deploy_tool(self, module: Any, example: Array) -> Callable[[Any], Any]:
        """Its own call, on a copy, as a BatchNorm in training moves its statistics."""
        from flax import nnx

        graph, state = nnx.split(module)
        return lambda x: nnx.merge(graph, state, copy=True)(x)


class FlaxJit(FlaxCall):
    """jax.jit of the module's call, its variables constants of the program."""

    name = "flax.nnx+jit"

    def deploy_tool(self, module: Any, example: Array) -> Callable[[Any], Any]:
        """The compiled call."""
        import jax

        compiled: Callable[[Any], Any] = jax.jit(super().deploy_tool(module, example))
        return compiled


class FlaxExport(FlaxCall):
    """jax.export for any number of samples: the exported program, serialized and read again."""

    name = "flax.nnx+jax.export"

    def deploy_tool(self, module: Any, example: Array) -> Callable[[Any], Any]:
        """The call of what was read."""
        import jax
        from jax import export

        (batch,) = export.symbolic_shape("batch")
        given = jax.ShapeDtypeStruct((batch, *example.shape[1:]), example.dtype)
        made = export.export(jax.jit(super().deploy_tool(module, example)))(given)
        call: Callable[[Any], Any] = export.deserialize(made.serialize()).call
        return call


def module(model: ModelData) -> Any:
    """A model as a module of flax.nnx, in evaluation but for what was left in training."""
    from flax import nnx

    class Network(nnx.Module):
        """The layers, called in the order of the nodes."""

        def __init__(self) -> None:
            for name, node in model.layers().items():
                setattr(self, name, _layer(model, node))

        def __call__(self, x: Any) -> Any:
            found, places = {"x": x}, {"x": FIRST}
            for node in model.nodes:
                found[node.name], places[node.name] = _result(self, model, node, found, places)
            name = model.nodes[-1].name
            return _at(found[name], places[name], FIRST)

    made = Network()
    made.eval()
    for name, node in model.layers().items():
        if node.kind == "batch_normalization" and node.options["training"]:
            getattr(made, name).use_running_average = False
    return made


def _at(x: Any, now: str, place: str) -> Any:
    """A result with its channels where they are needed."""
    import jax.numpy as jnp

    if now == place or x.ndim == 2:
        return x
    return jnp.moveaxis(x, 1, -1) if place == LAST else jnp.moveaxis(x, -1, 1)


def _result(network: Any, model: ModelData, node: NodeData, found: Any, places: Any) -> tuple[Any, str]:
    """(what a node gives, where its channels lie)."""
    import jax.numpy as jnp
    from flax import linen, nnx

    x, place = found[node.inputs[0]], places[node.inputs[0]]
    o = node.options
    if node.kind in CONVOLUTIONS:
        given = _at(x, place, LAST)
        y = getattr(network, node.layer)(given)
        return (_crop(y, given, model, node) if node.kind != "convolution" else y), LAST
    if node.kind in ("average_pooling", "max_pooling"):
        pool = linen.avg_pool if node.kind == "average_pooling" else linen.max_pool
        padding = [(p, p) for p in o["padding"]]
        return pool(_at(x, place, LAST), tuple(o["kernel"]), strides=tuple(o["stride"]), padding=padding), LAST
    if node.kind == "linear":
        return getattr(network, node.layer)(_at(x, place, FIRST)), FIRST
    if node.kind == "batch_normalization":
        # The layer's axis is fixed when it is made: it has the channels at axis 1.
        return getattr(network, node.layer)(_at(x, place, FIRST)), FIRST
    if node.kind in ("relu", "sigmoid"):
        return getattr(nnx, node.kind)(x), place
    if node.kind in ("add", "concatenate"):
        other = _at(found[node.inputs[1]], places[node.inputs[1]], place)
        axis = 1 if place == FIRST or x.ndim == 2 else -1
        return (x + other if node.kind == "add" else jnp.concatenate([x, other], axis)), place
    given = _at(x, place, FIRST)
    return jnp.reshape(given, (given.shape[0], *(o["to"] if node.kind == "reshape" else (-1,)))), FIRST


def _crop(y: Any, x: Any, model: ModelData, node: NodeData) -> Any:
    """A transposed convolution of x, channels last, without what its padding takes away, and what flax adds."""
    o, weight = node.options, model.array(node.layer, "weight")
    assert weight is not None
    cuts = [slice(None)]
    for axis, k in enumerate(weight.shape[2:]):
        size = (x.shape[1 + axis] - 1) * o["stride"][axis] + o["dilation"][axis] * (k - 1) + 1
        cuts.append(slice(o["padding"][axis], size - o["padding"][axis]))
    return y[tuple(cuts)]


def _layer(model: ModelData, node: NodeData) -> Any:
    """A layer of flax.nnx with the model's arrays."""
    import jax.numpy as jnp
    from flax import nnx

    weight, bias = model.array(node.layer, "weight"), model.array(node.layer, "bias")
    kinds = {"dtype": model.dtype, "param_dtype": model.dtype, "rngs": nnx.Rngs(0)}
    o = node.options
    if node.kind == "batch_normalization":
        return _norm(model, node, kinds)
    assert weight is not None
    if node.kind == "linear":
        made = nnx.Linear(weight.shape[1], weight.shape[0], use_bias=bias is not None, **kinds)
        kernel = weight.T
    else:
        spatial = weight.ndim - 2
        settings = {
            "kernel_size": tuple(weight.shape[2:]), "strides": tuple(o["stride"]),
            "kernel_dilation": tuple(o["dilation"]), "use_bias": bias is not None, **kinds,
        }  # fmt: skip
        if node.kind == "convolution":
            made = nnx.Conv(
                weight.shape[1] * o["groups"], len(weight), padding=[(p, p) for p in o["padding"]],
                feature_group_count=o["groups"], **settings,
            )  # fmt: skip
            kernel = np.moveaxis(weight, (0, 1), (-1, -2))
        else:
            if o["groups"] > 1:
                raise NotImplementedError("flax has no transposed convolution with groups")
            made = nnx.ConvTranspose(len(weight), weight.shape[1], padding="VALID", **settings)
            # Flax slides the kernel over the spread input as it is, where PyTorch's definition turns it round.
            kernel = np.moveaxis(np.flip(weight, tuple(range(2, 2 + spatial))), (0, 1), (-2, -1))
    made.kernel.set_value(jnp.array(kernel))
    if bias is not None:
        made.bias.set_value(jnp.array(bias))
    return made


def _norm(model: ModelData, node: NodeData, kinds: Mapping[str, Any]) -> Any:
    import jax.numpy as jnp
    from flax import nnx

    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    arrays = {ours: model.array(node.layer, theirs) for ours, theirs in names.items()}
    if arrays["mean"] is None:
        raise NotImplementedError("flax has no BatchNorm without running statistics")
    made = nnx.BatchNorm(
        len(arrays["mean"]), axis=1, epsilon=node.options["epsilon"], use_bias=arrays["bias"] is not None,
        use_scale=arrays["scale"] is not None, **kinds,
    )  # fmt: skip
    for name, value in arrays.items():
        if value is not None:
            getattr(made, name).set_value(jnp.array(value))
    return made
