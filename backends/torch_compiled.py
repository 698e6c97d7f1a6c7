"""PyTorch's layers through torch.compile (TorchInductor), made certain that it is the compiled code that is judged.

torch.compile returns to eager code without an error when it meets something that it cannot compile, when it has
compiled a function too often, or after an earlier failure. So the compiler is wrapped: whatever it makes of a graph
that holds the normalisation counts its calls, and a pass that was not counted raises `NotCompiled`.

momentum=None is unsupported. The layer then reads its counter back (`float(self.num_batches_tracked)`), at which
torch.compile gives up on the layer as a whole and runs it eagerly; `fullgraph=True` makes that an error, and
`capture_scalar_outputs` does not help (seen with PyTorch 2.13).

Each new configuration, mode, shape, dtype or memory layout is compiled anew (`dynamic=False`), so that a case means
the same alone as after others: about 1 s for the forward and 0.7 s for the backward pass, 0.15 s where Inductor's
cache on disk knows them, and 2 s (20 s with no cache at all) for the first. A C++ compiler is needed. What was compiled
belongs to one module; a module whose layer is gone is therefore reset to its first state, by PyTorch's own
load_state_dict, and taken for the next layer of the same configuration.
"""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bnconform.backends.not_compiled import NotCompiled
from bnconform.backends.torch_layers import TorchLayer, TorchNN, module
from bnconform.backends.torch_tensors import Array, to_array

GRAPHS_KEPT = 128
"""How many graphs are kept: PyTorch tries the guards of all of them, one by one, at each call."""


@dataclass
class Calls:
    """How often compiled code ran, and how many graphs were compiled since the last reset; one for the process."""

    forward: int = 0
    backward: int = 0
    graphs: int = 0


CALLS = Calls()

FREE: dict[object, list[tuple[Any, Any, Any]]] = {}
"""Modules whose layers are gone, each with its compiled form and its first state, by device and configuration."""


def compile_counted(graph: Any, inputs: Any) -> Any:
    """TorchInductor, as a backend of torch.compile, whose results count their calls in CALLS."""
    from torch._functorch import config
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner

    normalises = any("batch_norm" in str(node.target) for node in graph.graph.nodes)

    def count(part: Any, part_inputs: Any, **options: Any) -> Any:
        compiled: Any = compile_fx_inner(part, part_inputs, **options)
        run = compiled.current_callable
        way = "backward" if options.get("is_backward") else "forward"

        def count(*arguments: Any, **keywords: Any) -> Any:
            setattr(CALLS, way, getattr(CALLS, way) + int(normalises))
            return run(*arguments, **keywords)

        compiled.current_callable = count
        return compiled

    CALLS.graphs += 1
    # Taken from this cache, compiled code would come without its counter; Inductor's own cache stays in use.
    with config.patch(enable_autograd_cache=False):
        return compile_fx(graph, inputs, inner_compile=count)


class CompiledLayer(TorchLayer):
    """A torch.nn module and its compiled form, which share their state."""

    def __init__(self, layer: Any, compiled: Any, device: str) -> None:
        super().__init__(layer, device)
        self.compiled = compiled

    def forward(self, x: Array, *, training: bool) -> Array:
        """y; x asks for its gradient here too, so that both passes share one compiled graph."""
        return to_array(self.call(self._tensor(x).requires_grad_(), training))

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The gradients for x, weight and bias; NotCompiled if either pass ran eagerly."""
        before = CALLS.backward
        gradients = super().backward(x, grad_output, training=training)
        if CALLS.backward == before:
            raise NotCompiled("the backward pass did not go through compiled code")
        return gradients

    set: Any = None
    """A compiled module is kept for another layer of its configuration."""

    vjp: Any = None
    """Compiled code gives back the buffers of its first backward pass, so that a graph cannot be asked twice."""

    vmap: Any = None
    vmap_layers: Any = None
    jacrev: Any = None
    jacfwd: Any = None
    eval_shape: Any = None
    """The transformations of torch.func run what is compiled eagerly, or refuse it."""

    def call(self, x: Any, training: bool) -> Any:
        """One forward pass; NotCompiled if it ran eagerly."""
        self.module.train(training)
        before = CALLS.forward
        y = self.compiled(x)
        if CALLS.forward == before:
            raise NotCompiled("the forward pass did not go through compiled code")
        return y


class TorchCompiled(TorchNN):
    """BatchNorm1d, BatchNorm2d and BatchNorm3d, compiled by TorchInductor."""

    name = "torch.nn+compile"
    unsupported: Mapping[str, str] = {
        **TorchNN.unsupported,
        "jvp": "what torch.compile makes has no forward mode: 'You must implement the jvp function'",
        **dict.fromkeys(
            ("hvp", "third"), "PyTorch: 'torch.compile with aot_autograd does not currently support double backward'"
        ),
        "momentum_none": "torch.compile runs the layer eagerly then, because reading its counter breaks the graph",
    }
    slow_to_start = True

    def build(self, config: Any, device: str) -> CompiledLayer:
        """A layer of this configuration; NotImplementedError for momentum=None."""
        if config.momentum is None:
            raise NotImplementedError(self.unsupported["momentum_none"])
        return self._compile(lambda: module(config, device, num_features=config.num_features), device, config)

    def build_default(self, num_features: int, device: str) -> CompiledLayer:
        """BatchNorm2d with its own defaults."""
        made = super().build_default
        return self._compile(lambda: made(num_features, device).module, device, num_features)

    def _compile(self, make: Callable[[], Any], device: str, configuration: object) -> CompiledLayer:
        with warnings.catch_warnings():
            # Importing the compiler warns of PyTorch's own use of what PyTorch deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            import torch._dynamo
            import torch._inductor.compile_fx
        config = torch._dynamo.config
        config.fail_on_recompile_limit_hit = True
        config.recompile_limit = config.accumulated_recompile_limit = 2 * GRAPHS_KEPT
        if CALLS.graphs >= GRAPHS_KEPT:
            torch._dynamo.reset()
            CALLS.graphs = 0
            FREE.clear()
        free = FREE.setdefault((device, configuration), [])
        if free:
            found, compiled, first = free.pop()
            found.load_state_dict(first)
        else:
            found = make()
            first = copy.deepcopy(found.state_dict())
            compiled = torch.compile(found, backend=compile_counted, fullgraph=True, dynamic=False)
        layer = CompiledLayer(found, compiled, device)
        weakref.finalize(layer, free.append, (found, compiled, first))
        return layer
