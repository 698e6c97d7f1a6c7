"""A user's own PyTorch model: what it predicts, how far rounding may move that, and what a tool makes of it.

What is due is the model's own prediction in float64. Rounding is found by experiment, as the nodes of such a model are
not all known: see `OwnTorch.reference`. A BatchNorm is hidden from a tool by what stands between it and its neighbours
and changes no number; nothing here computes one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.backends.runner.own_models import (
    AGREED,
    LOWER_OPERATIONS,
    OPERATIONS,
    RUNS,
    Given,
    OwnModelError,
    factory,
    two_inputs,
)
from bnconform.backends.torch_tensors import Array, to_array, to_tensor

ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


class OwnTorch:
    """A model of torch.nn, in evaluation.

    Attributes:
        model: as its factory made it. x, example: what is predicted, and what tools that trace are given.
    """

    def __init__(self, place: str, given: Given) -> None:
        import torch

        made = factory(place)()
        model, own = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(model, torch.nn.Module):
            raise OwnModelError(f"{place} gives a {type(model).__name__} and no torch.nn.Module")
        floating = [value for value in model.parameters() if value.is_floating_point()]
        if not floating:
            raise OwnModelError(f"{place} gives a model without parameters")
        self.dtype = str(floating[0].dtype).removeprefix("torch.")
        if self.dtype not in ROUNDOFF:
            raise OwnModelError(f"{place} gives a model in {self.dtype}; give one in {', '.join(ROUNDOFF)}")
        self.model = model.eval()
        own = to_array(own) if isinstance(own, torch.Tensor) else own
        self.x, self.example = two_inputs(place, given, own, self.dtype)
        self.example = self.example if self.example.size else self.x
        with torch.no_grad():
            found = _outputs(self.model(to_tensor(self.x.copy(), "cpu")), place)
        if len(found) > 1:
            self.model = _join(self.model, [one.ndim for one in found])
        self.shapes = [tuple(one.shape) for one in found]

    def facts(self) -> Mapping[str, Any]:
        """What it is: its dtype, its BatchNorms with what stands around each, the shape of x and of the outputs."""
        return {
            "dtype": self.dtype, "shape": list(self.x.shape), "outputs": [list(shape) for shape in self.shapes],
            "norms": list(self._around()), "traced": _trace(self.model) is not None,
        }  # fmt: skip

    def reference(self, lower: str = "") -> tuple[Array, Array]:
        """(y, spread): the prediction in float64, and how far it moved at most, of each sample: (N,).

        Each run adds to every intermediate result what an algorithm in the model's dtype may err by, with random
        signs. Of linear layers and convolutions of n terms that is (AGREED sqrt(n) + OPERATIONS) u (|W| |x| + |b|), as
        rounding errors of n terms grow like sqrt(n) (Higham and Mary 2019); of a BatchNorm OPERATIONS u (|k| (|x| +
        |mean|) + |bias|); of whatever else OPERATIONS u times the sample's largest element. For a tool that rounds to
        a lower dtype LOWER_OPERATIONS u of that one come besides.
        """
        import torch

        wide = copy.deepcopy(self.model).double()
        x = to_tensor(self.x, "cpu")
        x = x.double() if x.is_floating_point() else x
        with torch.no_grad():
            y = wide(x)
            spread = torch.zeros(len(y), dtype=torch.float64)
            for seed in range(RUNS):
                moved = _perturb(wide, x, ROUNDOFF[self.dtype], LOWER_OPERATIONS * ROUNDOFF.get(lower, 0.0), seed)
                spread = torch.maximum(spread, (moved - y).abs().reshape(len(y), -1).amax(dim=1))
        return to_array(y), to_array(spread)

    def deploy(self, adapter: Any, hidden: Sequence[str]) -> Array:
        """What a tool's result predicts of x, with these BatchNorms hidden from it."""
        model = copy.deepcopy(self.model)
        for name in hidden:
            _hide(model, name)
        predict = adapter.deploy(adapter.own(model), self.example.copy())
        return np.asarray(predict(self.x.copy()))

    def _around(self) -> Iterator[Mapping[str, Any]]:
        """Each BatchNorm with its name, the shape of what it reads, and what stands before and after it."""
        import torch

        kinds = torch.nn.modules.batchnorm._BatchNorm
        modules = {name: part for name, part in self.model.named_modules() if isinstance(part, kinds)}
        shapes: dict[str, list[int]] = {}

        def remember(name: str) -> Callable[[Any, Any], None]:
            def hook(_: Any, given: Any) -> None:
                shapes.setdefault(name, list(given[0].shape))

            return hook

        handles = [part.register_forward_pre_hook(remember(name)) for name, part in modules.items()]
        with torch.no_grad():
            self.model(to_tensor(self.x.copy(), "cpu"))
        for handle in handles:
            handle.remove()
        traced = _trace(self.model)
        for name, part in modules.items():
            entry = {"name": name, "kind": type(part).__name__, "shape": shapes.get(name, [])}
            yield {**entry, **(_beside(traced, name) if traced is not None else {})}


def _outputs(found: Any, place: str) -> list[Any]:
    """The tensors of what a model gives, one level deep."""
    import torch

    parts = (
        [found] if isinstance(found, torch.Tensor) else list(found.values() if isinstance(found, Mapping) else found)
    )
    if not parts or not all(isinstance(one, torch.Tensor) and one.is_floating_point() and one.ndim for one in parts):
        raise OwnModelError(f"{place} gives a model that predicts other things than arrays of floating-point numbers")
    return parts


def _join(model: Any, ranks: Sequence[int]) -> Any:
    """A module that predicts all outputs of another one as one array, (N, everything)."""
    import torch

    class Joined(torch.nn.Module):
        """The same with one output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.model(x)
            parts = found.values() if hasattr(found, "values") else [found[i] for i in range(len(ranks))]
            flat = [
                torch.flatten(one, 1) if rank > 1 else one.unsqueeze(1) for one, rank in zip(parts, ranks, strict=False)
            ]
            return torch.cat(flat, 1)

    return Joined().eval()


def _trace(model: Any) -> Any:
    """The model's graph; None where it cannot be traced."""
    import torch

    try:
        return torch.fx.symbolic_trace(copy.deepcopy(model))
    except Exception:  # whatever its own code raises: the graph is only for words
        return None


def _beside(traced: Any, name: str) -> Mapping[str, Any]:
    """What stands around a BatchNorm in a graph, and how often its neighbours are called and read."""
    calls = [node for node in traced.graph.nodes if node.op == "call_module" and node.target == name]
    if not calls:
        return {}
    call = calls[0]
    before = next(iter(call.all_input_nodes), None)
    after = next(iter(call.users), None)
    found: dict[str, Any] = {"calls": len(calls), "readers": len(call.users)}
    if before is not None:
        found |= {
            "before": _words(traced, before), "before_readers": len(before.users),
            "before_calls": sum(
                node.op == "call_module" and node.target == before.target for node in traced.graph.nodes
            ) if before.op == "call_module" else 1,
        }  # fmt: skip
    if after is not None and after.op != "output":
        found["after"] = _words(traced, after)
    return found


def _words(traced: Any, node: Any) -> str:
    if node.op == "call_module":
        return f"{type(traced.get_submodule(node.target)).__name__} {node.target}"
    if node.op == "placeholder":
        return "the input"
    target = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _hide(model: Any, name: str) -> None:
    """Put two operations that change no number before a BatchNorm and after it, wherever the model holds it."""
    import torch

    norm = model.get_submodule(name)

    class Hidden(torch.nn.Module):
        """relu(x) - relu(-x) is x."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:  # TorchScript reads the types
            y = self.inner(torch.relu(x) - torch.relu(-x))
            return torch.relu(y) - torch.relu(-y)

    hidden = Hidden(norm).eval()
    for owner in [part for part in model.modules() if part is not hidden]:
        for attribute, part in list(owner.named_children()):
            if part is norm:
                setattr(owner, attribute, hidden)


def _perturb(wide: Any, x: Any, roundoff: float, lower: float, seed: int) -> Any:
    """What a model in float64 predicts where every intermediate result is moved by what rounding may move it.

    Args:
        roundoff: of the model's dtype. lower: what rounding to a lower one may change besides, relatively.
    """
    import torch

    random = torch.Generator().manual_seed(seed)
    sizes = _Sizes(roundoff, lower)

    def move(y: Any, size: Any) -> Any:
        signs = torch.randint(0, 2, y.shape, generator=random).to(torch.float64) * 2 - 1
        return y + signs * size

    traced = _trace(wide)
    if traced is not None:

        class Moving(torch.fx.Interpreter):
            """Moves every floating-point result."""

            def run_node(self, n: Any) -> Any:
                y = super().run_node(n)
                if not n.op.startswith("call_") or not isinstance(y, torch.Tensor) or not y.is_floating_point():
                    return y
                part = self.fetch_attr(n.target) if n.op == "call_module" else None
                given = self.fetch_args_kwargs_from_env(n)[0]
                return move(y, sizes.of(part, given[0] if given else None, y))

        return Moving(traced).run(x)
    model = copy.deepcopy(wide)
    for part, plain in zip(model.modules(), wide.modules(), strict=True):
        if not list(part.children()):
            # The sizes are those of the module without a hook.
            part.register_forward_hook(lambda _, given, y, plain=plain: move(y, sizes.of(plain, given[0], y)))
    return model(x)


class _Sizes:
    """How far an operation may err, element by element; see `_perturb`."""

    def __init__(self, roundoff: float, lower: float) -> None:
        self.roundoff, self.others = roundoff, OPERATIONS * roundoff + lower
        self.copies: dict[int, Any] = {}

    def of(self, part: Any, x: Any, y: Any) -> Any:
        """Of a module that gave y of x; of another operation where there is none."""
        import torch

        linear = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
        if isinstance(part, linear) and isinstance(x, torch.Tensor):
            out = part.weight.shape[1] * part.groups if getattr(part, "transposed", False) else part.weight.shape[0]
            terms = part.weight.numel() / out
            error = AGREED * terms**0.5 * self.roundoff + self.others
            return error * self._of_sizes(part)(x.abs())
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            return self.others * self._of_sizes(part)(x.abs())
        largest = y.abs().reshape(len(y), -1).amax(dim=1) if y.dim() else y.abs()
        return self.others * largest.reshape(-1, *(1 for _ in y.shape[1:]))

    def _of_sizes(self, part: Any) -> Callable[[Any], Any]:
        """The same module with the sizes of its parameters: what it gives of sizes is the sum of all sizes."""
        if id(part) not in self.copies:
            made = copy.deepcopy(part)
            for value in made.parameters():
                value.abs_()
            if getattr(made, "running_mean", None) is not None:
                made.running_mean.abs_().neg_()
            self.copies[id(part)] = made
        found: Callable[[Any], Any] = self.copies[id(part)]
        return found
