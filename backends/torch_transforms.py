"""PyTorch's layers under torch.func: vmap over batches and over layers, jacrev and jacfwd; and on the meta device.

Everything is called as a user calls it: the transformation is given the layer itself, or for several layers their
stacked parameters and buffers, as torch.func.stack_module_state gives them. What PyTorch refuses, it refuses here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnconform.backends.torch_tensors import Array, to_array

PAGE = "https://docs.pytorch.org/docs/stable/func.batch_norm.html"

REFUSED = {
    "vmap_tracked": f"running statistics cannot be updated in place by a map over batches: {PAGE}",
    "vmap_cumulative": "momentum=None makes the layer read its counter, and vmap supports no .item()",
    "jacobian_tracked": f"torch.func refuses a layer that updates its own running statistics in place: {PAGE}",
}
"""What torch.func refuses of a layer that it is given as it is."""

ABILITIES = ("vmap", "vmap_layers", "jacrev", "jacfwd", "eval_shape")


class TransformedTorchLayer:
    """What a `TorchLayer` does under transformations."""

    module: Any
    device: str
    call: Callable[[Any, bool], Any]
    _tensor: Callable[[Array], Any]

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """ys, by torch.func.vmap over the batches."""
        from torch.func import vmap

        return to_array(vmap(lambda x: self.call(x, training))(self._lanes(xs)))

    def vmap_layers(
        self, xs: Array, states: Sequence[Mapping[str, Array]], *, training: bool
    ) -> tuple[Array, list[dict[str, Array | None]]]:
        """(ys, states), by torch.func.vmap over batches and stacked layers; the layer itself stays."""
        import torch
        from torch.func import functional_call, stack_module_state, vmap

        each = [copy.copy(self) for _ in states]
        for layer, state in zip(each, states, strict=True):
            layer.module = copy.deepcopy(self.module)
            layer.load(state)
        parameters, buffers = stack_module_state([layer.module for layer in each])
        base = copy.deepcopy(self.module).to("meta").train(training)

        def call(parameters: Any, buffers: Any, x: Any) -> Any:
            return functional_call(base, (parameters, buffers), (x,))

        ys = to_array(vmap(call)(parameters, buffers, self._lanes(xs)))
        for lane, layer in enumerate(each):
            with torch.no_grad():
                for name, buffer in layer.module.named_buffers():
                    buffer.copy_(buffers[name][lane])
        return ys, [layer.state() for layer in each]

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """dy/dx, by torch.func.jacrev."""
        from torch.func import jacrev

        return to_array(jacrev(lambda x: self.call(x, training))(self._tensor(x)))

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """dy/dx, by torch.func.jacfwd."""
        from torch.func import jacfwd

        return to_array(jacfwd(lambda x: self.call(x, training))(self._tensor(x)))

    def eval_shape(self, x: Array, *, training: bool) -> tuple[tuple[int, ...], str]:
        """(shape, dtype) of y, by a copy of the layer on the meta device."""
        layer = copy.deepcopy(self.module).to("meta").train(training)
        y = layer(self._tensor(x).to("meta"))
        return tuple(y.shape), str(y.dtype).removeprefix("torch.")

    def _lanes(self, xs: Array) -> Any:
        import torch

        return torch.stack([self._tensor(x) for x in xs])

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries."""
        raise NotImplementedError

    def state(self) -> dict[str, Array | None]:
        """Copies of what the layer remembers."""
        raise NotImplementedError
