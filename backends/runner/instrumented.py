"""A layer whose calls are watched: timed, their inputs checked for mutation, their results for kind and shape.

Nothing that an adapter does reaches the other side as a traceback: it raises (`Raised`), or what it returns does not
fit (`Misfit`), or it is no layer at all (`AdapterError`); each is an observation.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bnconform.backends.runner.layouts import LAYOUTS

Array = NDArray[Any]

LAYER_METHODS = ("forward", "backward", "state", "load")
STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")
GRADIENTS = ("grad_x", "grad_weight", "grad_bias")
HESSIAN = ("hvp_x", "hvp_weight", "hvp_bias")
SAVED = {"mean": "saved_mean", "invstd": "saved_invstd", "variance": "saved_variance"}
"""What an operator may give beside y, by the name that the layer gives it; what it is called in a trace."""
DTYPES = ("float64", "float32", "float16", "bfloat16")
"""The dtypes that a result may have."""

KNOWN = frozenset(np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name) for name in DTYPES)
"""The same, as NumPy's."""

LONGEST = 300
"""Characters of an error's text that are told."""


@dataclass
class Clock:
    """How often an implementation was called and how long it took (seconds), to tell its time from ours."""

    calls: int = 0
    seconds: float = 0.0

    def run(self, function: Callable[[], Any]) -> Any:
        """Call, and count the call and its time whether or not it raises.

        A child that a call forked and that comes back from it ends here, before it makes calls of its own.
        """
        self.calls += 1
        mine, begin = os.getpid(), perf_counter()
        try:
            return function()
        finally:
            if os.getpid() != mine:
                os._exit(0)
            self.seconds += perf_counter() - begin


class NotAnAnswer(Exception):
    """Something else than an answer, as the other side hears of it.

    Attributes:
        kind: "raised", "misfit", "interrupt", "contract", "ability" or "adapter". text: what happened, in one line.
    """

    kind = ""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def as_data(self) -> dict[str, str]:
        """What is sent of it."""
        return {"kind": self.kind, "text": self.text}


class Raised(NotAnAnswer):
    """The implementation raised."""

    kind = "raised"


class Misfit(NotAnAnswer):
    """What the implementation returned is of the wrong kind or shape; the text says what it should have been."""

    kind = "misfit"


class ContractError(NotAnAnswer):
    """The adapter asked what a layer is in a way that has no answer for this one; the program ends there."""

    kind = "contract"


class LacksAbility(NotAnAnswer):
    """The layer has no method for what the program asks; it is no fault, and the program ends there."""

    kind = "ability"


class AdapterError(NotAnAnswer):
    """The adapter does not meet its contract, so that nothing can be judged; one line that says what to change."""

    kind = "adapter"


class Interrupt(NotAnAnswer):
    """The implementation raised KeyboardInterrupt, which is never an answer; the program ends there."""

    kind = "interrupt"


def classify_error(call: str, error: BaseException) -> NotAnAnswer:
    """What an error that came out of an implementation's call is.

    An error whose `is_refusal` is false says that the implementation should have answered.
    """
    text = " ".join(str(error).split())
    text = f"{call} raised {type(error).__name__}" + (f": {text[:LONGEST]}" if text else "")
    if isinstance(error, KeyboardInterrupt):
        return Interrupt(text)
    return Raised(text) if getattr(error, "is_refusal", True) else Misfit(text)


@dataclass
class RecordedPass:
    """A recorded pass of a layer: what gives its gradients, and the array that it was given as x, itself."""

    pullback: Callable[[Array], Any]
    x: Array


@dataclass
class InstrumentedLayer:
    """One layer of an implementation.

    Attributes:
        mutated: what calls have changed of their own inputs, one line each.
        given, returned: the arrays that the last pass was given and returned, themselves; what the methods give are
            copies, so that a buffer used again does not change what was seen.
        shown: what the last `state` returned, itself.
        passes: the recorded passes, in their order; None for one that was refused.
    """

    layer: Any
    num_features: int
    clock: Clock
    mutated: list[str] = field(default_factory=list)
    given: tuple[Array, ...] = ()
    returned: tuple[Array, ...] = ()
    shown: Mapping[str, Any] = field(default_factory=dict)
    passes: list[RecordedPass | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in LAYER_METHODS:
            if not callable(getattr(self.layer, name, None)):
                kind = type(self.layer).__name__
                raise AdapterError(f"the layer that build returned ({kind}) has no method {name}(); add it")

    def _call(self, name: str, inputs: Mapping[str, Array], function: Callable[[], Any]) -> Any:
        before = {key: _fingerprint(value) for key, value in inputs.items()}
        writeable = {key: value.flags.writeable for key, value in inputs.items()}
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                # What an implementation warns of is its own affair; only what it returns is judged.
                warnings.simplefilter("ignore")
                return self.clock.run(function)
        except BaseException as error:  # a panic of a compiled extension is no Exception
            raise classify_error(name, error) from error
        finally:
            for key, value in inputs.items():
                if before[key] != _fingerprint(value):
                    self.mutated.append(f"{name} changed the array that it was given as {key}")
                elif writeable[key] != value.flags.writeable:
                    self.mutated.append(f"{name} changed whether the array that it was given as {key} can be written")

    def _lay(self, values: Array, layout: str, last: Array | None) -> Array:
        """Values as they are to lie in memory: in `last`, refilled, where it is given and fits."""
        laid = LAYOUTS[layout](values)
        if last is None or (last.shape, last.strides, last.dtype) != (laid.shape, laid.strides, laid.dtype):
            return laid
        writeable = last.flags.writeable
        if not writeable:
            last.flags.writeable = True
        last[...] = laid
        if not writeable:
            last.flags.writeable = False
        return last

    def _last(self, number: int, refills: bool) -> Array | None:
        """An array that the call before was given, by its place, if it is to be refilled."""
        return self.given[number] if refills and number < len(self.given) else None

    def forward(self, x: Array, *, training: bool, layout: str = "contiguous", refills: bool = False) -> Array:
        """y, of the shape of x; Raised or Misfit."""
        given = self._lay(x, layout, self._last(0, refills))
        y = self._call("forward", {"x": given}, lambda: self.layer.forward(given, training=training))
        self.given, self.returned = (given,), (_array(y, "forward", "y", x.shape),)
        return np.array(y)

    def backward(
        self,
        x: Array,
        grad_output: Array,
        *,
        training: bool,
        layout: str = "contiguous",
        grad_layout: str = "contiguous",
        refills: bool = False,
    ) -> tuple[Array, Array | None, Array | None]:
        """(grad_x, grad_weight, grad_bias); None where the implementation gives none; Raised or Misfit."""
        given = self._lay(x, layout, self._last(0, refills))
        upstream = self._lay(grad_output, grad_layout, self._last(1, refills))
        result = self._call(
            "backward",
            {"x": given, "grad_output": upstream},
            lambda: self.layer.backward(given, upstream, training=training),
        )
        self.given = (given, upstream)
        return self._gradients("backward", result, x.shape)

    def reset(self) -> None:
        """Make statistics and counter as when new; Raised, or LacksAbility where the layer has no such method."""
        self._must_have("reset")
        self._call("reset", {}, lambda: self.layer.reset())

    def set(self, options: Mapping[str, Any]) -> None:
        """Change options; Raised, or LacksAbility where the layer has no such method."""
        self._must_have("set")
        self._call("set", {}, lambda: self.layer.set(**options))

    def jvp(
        self,
        x: Array,
        tangent: Array,
        *,
        training: bool,
        layout: str = "contiguous",
        tangent_layout: str = "contiguous",
    ) -> tuple[Array, Array]:
        """(y, tangent_y), each of the shape of x; Raised or Misfit; LacksAbility where the layer has no such method."""
        self._must_have("jvp")
        given, direction = LAYOUTS[layout](x), LAYOUTS[tangent_layout](tangent)
        result = self._call(
            "jvp", {"x": given, "tangent": direction}, lambda: self.layer.jvp(given, direction, training=training)
        )
        if not isinstance(result, tuple) or len(result) != 2:
            raise Misfit(f"jvp returned {kind(result)}; it should return (y, tangent_y)")
        y, tangent_y = (
            _array(value, "jvp", name, x.shape) for value, name in zip(result, ("y", "tangent_y"), strict=True)
        )
        self.given, self.returned = (given, direction), (y, tangent_y)
        return np.array(y), np.array(tangent_y)

    def jvp_jvp(self, x: Array, tangent: Array, second: Array, *, training: bool) -> Array:
        """second_y, of the shape of x; Raised or Misfit; LacksAbility where the layer has no such method."""
        self._must_have("jvp_jvp")
        given, one, other = (np.array(array) for array in (x, tangent, second))
        result = self._call(
            "jvp_jvp",
            {"x": given, "tangent": one, "second": other},
            lambda: self.layer.jvp_jvp(given, one, other, training=training),
        )
        found = _array(result, "jvp_jvp", "second_y", x.shape)
        self.given, self.returned = (given, one, other), (found,)
        return np.array(found)

    def third(self, x: Array, grad_output: Array, vector: Array, second: Array, *, training: bool) -> Array:
        """third_x, of the shape of x; Raised or Misfit; LacksAbility where the layer has no such method."""
        self._must_have("third")
        given, upstream, one, other = (np.array(array) for array in (x, grad_output, vector, second))
        result = self._call(
            "third",
            {"x": given, "grad_output": upstream, "vector": one, "second": other},
            lambda: self.layer.third(given, upstream, one, other, training=training),
        )
        found = _array(result, "third", "third_x", x.shape)
        self.given, self.returned = (given, upstream, one, other), (found,)
        return np.array(found)

    def hvp(
        self,
        x: Array,
        grad_output: Array,
        vector: Array,
        *,
        training: bool,
        layout: str = "contiguous",
        grad_layout: str = "contiguous",
    ) -> tuple[Array, Array | None, Array | None]:
        """(hvp_x, hvp_weight, hvp_bias), as `backward`; LacksAbility where the layer has no such method."""
        self._must_have("hvp")
        given, upstream = LAYOUTS[layout](x), LAYOUTS[grad_layout](grad_output)
        direction = LAYOUTS["contiguous"](vector)
        result = self._call(
            "hvp",
            {"x": given, "grad_output": upstream, "vector": direction},
            lambda: self.layer.hvp(given, upstream, direction, training=training),
        )
        self.given = (given, upstream, direction)
        return self._gradients("hvp", result, x.shape, HESSIAN)

    def replicated(
        self, shards: list[Array], masks: list[Array] | None = None, *, training: bool
    ) -> tuple[list[Array], list[dict[str, Array | None]]]:
        """The outputs and states of replicas, one a shard, each with its mask or none; Raised or Misfit; LacksAbility.

        With masks it is `masked_replicated` that is called.
        """
        call, given = "replicated" if masks is None else "masked_replicated", tuple(shards) + tuple(masks or ())
        self._must_have(call)
        operands = (list(shards),) if masks is None else (list(shards), list(masks))
        result = self._call(
            call,
            _number("x", shards) | _number("mask", masks or []),
            lambda: getattr(self.layer, call)(*operands, training=training),
        )
        pairs = _one_each(call, result, len(shards), ("y", "state"))
        outputs = [
            np.array(_array(y, call, f"y of replica {number}", shard.shape))
            for number, ((y, _), shard) in enumerate(zip(pairs, shards, strict=True))
        ]
        self.given, self.returned = given, tuple(y for y, _ in pairs)
        return outputs, [self._entries(call, state) for _, state in pairs]

    def replicated_vjp(
        self, shards: list[Array], grad_outputs: list[Array], masks: list[Array] | None = None, *, training: bool
    ) -> list[tuple[Array, Array | None, Array | None]]:
        """The gradients that each replica gives, as `backward`; Raised or Misfit; LacksAbility.

        With masks it is `masked_replicated_vjp` that is called.
        """
        call = "replicated_vjp" if masks is None else "masked_replicated_vjp"
        self._must_have(call)
        between = () if masks is None else (list(masks),)
        result = self._call(
            call,
            _number("x", shards) | _number("mask", masks or []) | _number("grad_output", grad_outputs),
            lambda: getattr(self.layer, call)(list(shards), *between, list(grad_outputs), training=training),
        )
        each = _one_each(call, result, len(shards), GRADIENTS)
        self.given = (*shards, *(masks or ()), *grad_outputs)
        return [self._gradients(call, tuple(one), shard.shape) for one, shard in zip(each, shards, strict=True)]

    def masked(self, x: Array, mask: Array, *, training: bool, layout: str = "contiguous") -> Array:
        """y, of the shape of x; Raised or Misfit; LacksAbility where the layer has no such method."""
        self._must_have("masked")
        given, selecting = LAYOUTS[layout](x), np.array(mask)
        y = self._call(
            "masked", {"x": given, "mask": selecting}, lambda: self.layer.masked(given, selecting, training=training)
        )
        self.given, self.returned = (given, selecting), (_array(y, "masked", "y", x.shape),)
        return np.array(y)

    def masked_backward(
        self,
        x: Array,
        mask: Array,
        grad_output: Array,
        *,
        training: bool,
        layout: str = "contiguous",
        grad_layout: str = "contiguous",
    ) -> tuple[Array, Array | None, Array | None]:
        """(grad_x, grad_weight, grad_bias), as `backward`; LacksAbility where the layer has no such method."""
        self._must_have("masked_backward")
        given, upstream = LAYOUTS[layout](x), LAYOUTS[grad_layout](grad_output)
        selecting = np.array(mask)
        result = self._call(
            "masked_backward",
            {"x": given, "mask": selecting, "grad_output": upstream},
            lambda: self.layer.masked_backward(given, selecting, upstream, training=training),
        )
        self.given = (given, selecting, upstream)
        return self._gradients("masked_backward", result, x.shape)

    def recomputed(
        self, x: Array, grad_output: Array, *, training: bool, layout: str = "contiguous"
    ) -> tuple[Array, Array | None, Array | None]:
        """(grad_x, grad_weight, grad_bias), as `backward`; LacksAbility where the layer has no such method."""
        self._must_have("recomputed")
        given, upstream = LAYOUTS[layout](x), LAYOUTS["contiguous"](grad_output)
        result = self._call(
            "recomputed",
            {"x": given, "grad_output": upstream},
            lambda: self.layer.recomputed(given, upstream, training=training),
        )
        self.given = (given, upstream)
        return self._gradients("recomputed", result, x.shape)

    def vmap(self, xs: Array, *, training: bool) -> Array:
        """ys, of the shape of xs, (L, N, C, *S); Raised or Misfit; LacksAbility where the layer has no such method."""
        self._must_have("vmap")
        given = np.array(xs)
        ys = self._call("vmap", {"xs": given}, lambda: self.layer.vmap(given, training=training))
        self.given, self.returned = (given,), (_array(ys, "vmap", "ys", xs.shape),)
        return np.array(ys)

    def vmap_layers(
        self, xs: Array, states: list[dict[str, Array]], *, training: bool
    ) -> tuple[Array, list[dict[str, Array | None]]]:
        """(ys, the state of each layer afterwards), ys of the shape of xs; Raised or Misfit; LacksAbility."""
        self._must_have("vmap_layers")
        given = np.array(xs)
        watched = {"xs": given} | {
            f"{name} of layer {number}": value for number, state in enumerate(states) for name, value in state.items()
        }
        result = self._call(
            "vmap_layers",
            watched,
            lambda: self.layer.vmap_layers(given, [dict(state) for state in states], training=training),
        )
        if not isinstance(result, tuple) or len(result) != 2:
            raise Misfit(f"vmap_layers returned {kind(result)}; it should return (ys, states)")
        ys, after = _array(result[0], "vmap_layers", "ys", xs.shape), result[1]
        if not isinstance(after, list | tuple) or len(after) != len(states):
            raise Misfit(f"vmap_layers returned {kind(after)} as states; it should be a list of {len(states)}")
        self.given, self.returned = (given,), (ys,)
        return np.array(ys), [self._entries("vmap_layers", state) for state in after]

    def jacobian(self, ability: str, x: Array, *, training: bool) -> Array:
        """dy/dx, (N, C, *S, N, C, *S), by the layer's `jacrev` or `jacfwd`; Raised or Misfit; LacksAbility."""
        self._must_have(ability)
        given = np.array(x)
        result = self._call(ability, {"x": given}, lambda: getattr(self.layer, ability)(given, training=training))
        found = _array(result, ability, "the Jacobian", (*x.shape, *x.shape))
        self.given, self.returned = (given,), (found,)
        return np.array(found)

    def eval_shape(self, x: Array, *, training: bool) -> Array:
        """Zeros of the shape and dtype that the layer says y would have; Raised or Misfit; LacksAbility."""
        self._must_have("eval_shape")
        given = np.array(x)
        result = self._call("eval_shape", {"x": given}, lambda: self.layer.eval_shape(given, training=training))
        if not isinstance(result, tuple) or len(result) != 2:
            raise Misfit(f"eval_shape returned {kind(result)}; it should return (shape, dtype), the second a name")
        shape, dtype = result
        if not isinstance(shape, list | tuple) or tuple(shape) != x.shape:
            raise Misfit(f"eval_shape says that y has shape {str(shape)[:LONGEST]}; it has shape {x.shape}")
        if dtype not in DTYPES:
            raise Misfit(f"eval_shape says that y has dtype {str(dtype)[:LONGEST]}; give one of {', '.join(DTYPES)}")
        return np.zeros(x.shape, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)

    def saved_statistics(self, x: Array, *, training: bool, layout: str = "contiguous") -> dict[str, Array | None]:
        """What is given beside y, by the names of SAVED, (C,) or None; Raised or Misfit; LacksAbility."""
        self._must_have("saved_statistics")
        given = LAYOUTS[layout](x)
        result = self._call(
            "saved_statistics", {"x": given}, lambda: self.layer.saved_statistics(given, training=training)
        )
        self.given = (given,)
        if not isinstance(result, Mapping):
            raise Misfit(f"saved_statistics returned {kind(result)}; it should be a dict of {', '.join(SAVED)}")
        unknown = sorted(str(name) for name in result if name not in SAVED)
        if unknown:
            raise Misfit(f"saved_statistics returned the name {unknown[0][:40]!r}; choose from {', '.join(SAVED)}")
        found: dict[str, Array | None] = {}
        for name, theirs in SAVED.items():
            value = result.get(name)
            nothing = value is None or (isinstance(value, np.ndarray) and value.shape == (0,))
            found[theirs] = None if nothing else np.array(_array(value, "saved_statistics", name, (self.num_features,)))
        return found

    def freeze(self, frozen: bool) -> None:
        """Freeze the layer, or let it train again; Raised, or LacksAbility where the layer has no such method."""
        self._must_have("freeze")
        self._call("freeze", {}, lambda: self.layer.freeze(frozen))

    def _must_have(self, name: str) -> None:
        """LacksAbility where the layer has no method of this name."""
        if not callable(getattr(self.layer, name, None)):
            raise LacksAbility(f"the layer ({type(self.layer).__name__}) has no method {name}()")

    def vjp(self, x: Array, *, training: bool, layout: str = "contiguous") -> Array:
        """The output y of a pass that is recorded; Raised or Misfit; LacksAbility where the layer records none."""
        self._must_have("vjp")
        given = LAYOUTS[layout](x)
        self.passes.append(None)
        result = self._call("vjp", {"x": given}, lambda: self.layer.vjp(given, training=training))
        if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
            raise Misfit(f"vjp returned {kind(result)}; it should return (y, pullback), the second a function")
        y = _array(result[0], "vjp", "y", x.shape)
        self.passes[-1] = RecordedPass(result[1], given)
        self.given, self.returned = (given,), (y,)
        return np.array(y)

    def pullback(
        self, number: int, grad_output: Array, *, layout: str = "contiguous"
    ) -> tuple[Array, Array | None, Array | None]:
        """The gradients of recorded pass `number`, from 1 on, of whichever layer it was; as `backward`."""
        recorded = self.passes[number - 1]
        if recorded is None:
            raise Raised(f"pullback was not asked, as recorded pass {number} gave none")
        upstream = LAYOUTS[layout](grad_output)
        result = self._call("pullback", {"grad_output": upstream}, lambda: recorded.pullback(upstream))
        self.given = (upstream,)
        return self._gradients("pullback", result, grad_output.shape)

    def refill(self, number: int) -> None:
        """Write 7 over the array that recorded pass `number` was given as x, as its caller may."""
        recorded = self.passes[number - 1]
        if recorded is not None and recorded.x.flags.writeable:
            recorded.x[...] = 7

    def _gradients(
        self, call: str, result: Any, shape: tuple[int, ...], names: tuple[str, str, str] = GRADIENTS
    ) -> tuple[Array, Array | None, Array | None]:
        """Copies of what a call returned, for an input of `shape`; Misfit."""
        if not isinstance(result, tuple) or len(result) != 3:
            raise Misfit(f"{call} returned {kind(result)}; it should return ({', '.join(names)})")
        grad_x = _array(result[0], call, names[0], shape)
        grad_weight, grad_bias = (
            None if value is None else _array(value, call, name, (self.num_features,))
            for name, value in zip(names[1:], result[1:], strict=True)
        )
        self.returned = tuple(value for value in (grad_x, grad_weight, grad_bias) if value is not None)
        return np.array(grad_x), _copy(grad_weight), _copy(grad_bias)

    def state(self) -> dict[str, Array | None]:
        """A copy of running_mean, running_var, weight, bias, each (C,), and num_batches_tracked (0-d), or None."""
        shown = self._call("state", {}, self.layer.state)
        self.shown = shown if isinstance(shown, Mapping) else {}
        return self._entries("state", shown)

    def _entries(self, call: str, shown: Any) -> dict[str, Array | None]:
        """Copies of the entries of a state that a call returned; Misfit."""
        if not isinstance(shown, Mapping):
            kinds = {"vmap_layers": " as the state of a layer"}
            kinds |= dict.fromkeys(("replicated", "masked_replicated"), " as the state of a replica")
            what = "; it should return" if call == "state" else f"{kinds[call]}; it should be"
            raise Misfit(f"{call} returned {kind(shown)}{what} a dict with the keys {', '.join(STATE)}")
        result: dict[str, Array | None] = {}
        for name in STATE:
            value = shown.get(name)
            if value is None:
                result[name] = None
            elif name == "num_batches_tracked":
                result[name] = _counter(value, call)
            else:
                result[name] = np.array(_array(value, call, name, (self.num_features,)))
        return result

    @property
    def counter_kind(self) -> list[Any] | None:
        """The dtype and the shape of the counter as the last `state` returned it; None where there was none."""
        counter = self.shown.get("num_batches_tracked")
        return None if counter is None else [str(np.asarray(counter).dtype), list(np.asarray(counter).shape)]

    def load(self, state: Mapping[str, Array], layout: str = "contiguous") -> None:
        """Set some of the state, each array laid so; Raised where the implementation refuses."""
        lay = np.array if layout == "contiguous" else LAYOUTS[layout]
        self.load_uncopied({name: lay(value) if value.ndim else np.array(value) for name, value in state.items()})

    def load_uncopied(self, state: Mapping[str, Array]) -> None:
        """The same, of these very arrays, to see whether the implementation keeps them."""
        self._call("load", state, lambda: self.layer.load(dict(state)))


def _fingerprint(array: Array) -> tuple[Any, ...]:
    """The bytes of an array and of the larger one that it is a part of, and how it lies in it."""
    base = array.base
    around = base.tobytes() if isinstance(base, np.ndarray) else b""
    return array.tobytes(), around, array.shape, array.strides, array.dtype


def _copy(value: Array | None) -> Array | None:
    return None if value is None else np.array(value)


def kind(value: Any) -> str:
    """What a value is, in words for a message."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        return f"a {type(value).__name__}, a subclass of numpy.ndarray,"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__name__}"


def _array(value: Any, call: str, name: str, shape: tuple[int, ...]) -> Array:
    if type(value) is not np.ndarray:  # a masked array or a matrix computes by rules of its own
        raise Misfit(f"{call} returned {kind(value)} as {name}; it should be a numpy.ndarray of shape {shape}")
    if value.shape != shape:
        raise Misfit(f"{call} returned {name} of shape {value.shape}; it should have shape {shape}")
    if value.dtype not in KNOWN:
        raise Misfit(f"{call} returned {name} of dtype {value.dtype}; it should be one of {', '.join(DTYPES)}")
    return value


def _number(name: str, arrays: list[Array]) -> dict[str, Array]:
    return {f"{name} of replica {number}": array for number, array in enumerate(arrays)}


def _one_each(call: str, result: Any, count: int, parts: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """What a call returned for each replica, which has some parts; Misfit."""
    if not isinstance(result, list | tuple) or len(result) != count:
        raise Misfit(f"{call} returned {kind(result)}; it should return a list of {count}, one a replica")
    for one in result:
        if not isinstance(one, tuple) or len(one) != len(parts):
            raise Misfit(f"{call} returned {kind(one)} for a replica; it should return ({', '.join(parts)})")
    return list(result)


def _counter(value: Any, call: str) -> Array:
    try:
        array = np.asarray(value)
        whole = array.size == 1 and array.dtype.kind in "iuf" and float(array.reshape(())) == int(array.reshape(()))
    except (ValueError, OverflowError):  # lists of unlike lengths, NaN, infinity
        whole = False
    if not whole:
        raise Misfit(f"{call} returned {kind(value)} as num_batches_tracked; it should be one whole number, or None")
    return np.asarray(int(array.reshape(())), np.int64)
