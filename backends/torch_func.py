"""PyTorch's layers as functions of their tensors, through torch.func: functional_call, vjp and jvp.

The functions of torch.func refuse a layer that writes to its own buffers. So every call is given copies of them, as
torch.func.functional_call takes them, and what it leaves there is set on the layer afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bnconform.backends.torch_layers import UNSUPPORTED, Gradients, TorchLayer, TorchNN, module
from bnconform.backends.torch_tensors import Array, to_array


class FuncLayer(TorchLayer):
    """A torch.nn module, called as a function of its parameters, its buffers and x."""

    def forward(self, x: Array, *, training: bool) -> Array:
        """y; the statistics move."""
        y, moved = self._function(training)(self._parameters(), self._tensor(x))
        self._set(moved)
        return to_array(y)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The gradients for x, weight and bias, by torch.func.vjp; the statistics stay."""
        from torch.func import vjp

        _, pull, _ = vjp(self._function(training), self._parameters(), self._tensor(x), has_aux=True)
        return self._gradients_of(pull(self._tensor(grad_output)))

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback), by torch.func.vjp, which keeps x: so it is given a copy. The statistics move."""
        from torch.func import vjp

        y, pull, moved = vjp(self._function(training), self._parameters(), self._tensor(x).clone(), has_aux=True)
        self._set(moved)
        return to_array(y), lambda grad_output: self._gradients_of(pull(self._tensor(grad_output)))

    def jvp(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y), by torch.func.jvp; the statistics move."""
        from torch.func import jvp

        call, parameters = self._function(training), self._parameters()
        y, tangent_y, moved = jvp(
            lambda x: call(parameters, x), (self._tensor(x),), (self._tensor(tangent),), has_aux=True
        )
        self._set(moved)
        return to_array(y), to_array(tangent_y)

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array:
        """The derivative of the tangent along a second one, by jvp of jvp, both of torch.func; the statistics stay."""
        from torch.func import jvp

        call, parameters = self._function(training), self._parameters()
        one, other = self._tensor(tangent), self._tensor(second)

        def along(x: Any) -> Any:
            return jvp(lambda x: call(parameters, x)[0], (x,), (one,))[1]

        return to_array(jvp(along, (self._tensor(x),), (other,))[1])

    def hvp(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """The derivatives of the gradients along the vector, by jvp of vjp, both of torch.func; the statistics stay."""
        from torch.func import jvp, vjp

        call, parameters, upstream = self._function(training), self._parameters(), self._tensor(grad_output)

        def gradients(x: Any) -> Any:
            return vjp(call, parameters, x, has_aux=True)[1](upstream)

        return self._gradients_of(jvp(gradients, (self._tensor(x),), (self._tensor(vector),))[1])

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """The derivative of that of the gradient along the vector, along a second one, by vjp of vjp of vjp."""
        from torch.func import vjp

        whole, parameters = self._function(training), self._parameters()

        def gradient(call: Callable[[Any], Any], upstream: Any) -> Callable[[Any], Any]:
            return lambda x: vjp(call, x)[1](upstream)[0]

        def call(x: Any) -> Any:
            return whole(parameters, x)[0]

        found: Callable[[Any], Any] = call
        for array in (grad_output, vector, second):
            found = gradient(found, self._tensor(array))
        return to_array(found(self._tensor(x)))

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """ys, by torch.func.vmap over the batches, each with a copy of the buffers; the statistics stay."""
        from torch.func import vmap

        call, parameters = self._function(training), self._parameters()
        return to_array(vmap(lambda x: call(parameters, x)[0])(self._lanes(xs)))

    def jacrev(self, x: Array, *, training: bool) -> Array:
        """dy/dx, by torch.func.jacrev; the statistics stay."""
        from torch.func import jacrev

        return to_array(
            jacrev(self._function(training), argnums=1, has_aux=True)(self._parameters(), self._tensor(x))[0]
        )

    def jacfwd(self, x: Array, *, training: bool) -> Array:
        """dy/dx, by torch.func.jacfwd; the statistics stay."""
        from torch.func import jacfwd

        return to_array(
            jacfwd(self._function(training), argnums=1, has_aux=True)(self._parameters(), self._tensor(x))[0]
        )

    def _function(self, training: bool) -> Callable[[Any, Any], tuple[Any, Any]]:
        """(parameters, x) -> (y, buffers as the pass leaves them)."""
        from torch.func import functional_call

        called = self.module.train(training)

        def function(parameters: Mapping[str, Any], x: Any) -> tuple[Any, Any]:
            buffers = {name: value.clone() for name, value in called.named_buffers()}
            return functional_call(called, (dict(parameters), buffers), (x,)), buffers

        return function

    def _parameters(self) -> dict[str, Any]:
        return {name: value.detach() for name, value in self.module.named_parameters()}

    def _set(self, buffers: Mapping[str, Any]) -> None:
        self.module.load_state_dict({**self.module.state_dict(), **buffers})

    def _gradients_of(self, found: Any) -> Gradients:
        """What there is for the parameters and for x, as arrays."""
        parameters, by_x = found
        return self._as_gradients(parameters, (by_x, *parameters.values()))


class TorchFunc(TorchNN):
    """BatchNorm1d, BatchNorm2d and BatchNorm3d through torch.func."""

    name = "torch.nn+func"
    unsupported: Mapping[str, str] = {
        feature: reason for feature, reason in UNSUPPORTED.items() if feature != "jacobian_tracked"
    }

    def build(self, config: Any, device: str) -> FuncLayer:
        """A layer of this configuration; NotImplementedError for what the row or the device does not have."""
        return FuncLayer(module(config, device, num_features=config.num_features), device)

    def build_default(self, num_features: int, device: str) -> FuncLayer:
        """BatchNorm2d with its own defaults."""
        return FuncLayer(super().build_default(num_features, device).module, device)
