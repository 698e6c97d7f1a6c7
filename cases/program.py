"""A program: a layer's configuration and the calls to make on it, with what to observe of each.

Programs are plain data, so that a failing one can be written to a file and replayed (`bnconform.cases.casefile`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bnconform.spec.config import ALONE, Affine, Config
from bnconform.spec.formats import DTYPES, numpy_dtype
from bnconform.spec.shards import Shards, counts, join, shapes_of, slices_of

Array = NDArray[Any]
MASKED = ("masked", "masked_backward")
"""The passes that are given a mask."""

MAPPED = ("vmap", "vmap_layers")
"""The passes that the framework maps over several batches at once, one a lane."""

JACOBIANS = ("jacrev", "jacfwd")
"""The passes that give the whole Jacobian of y for x, in reverse and in forward mode."""

MASKED_REPLICATED = ("masked_replicated", "masked_replicated_vjp")
"""The passes of replicas that are each given a mask besides their shard."""

REPLICATED = ("replicated", "replicated_vjp", *MASKED_REPLICATED)
"""The passes of a batch that is spread over replicas."""

WITH_UPSTREAMS = ("replicated_vjp", "masked_replicated_vjp")
"""Those of them that are given a grad_output for each shard."""

WITH_UPSTREAM = ("backward", "hvp", "third", "masked_backward", "recomputed")
"""The passes that are given a grad_output of the shape of x."""

TRANSFORMED = (*MAPPED, *JACOBIANS, "eval_shape")
"""The passes under a transformation of functions."""

DIRECTED = ("jvp", "hvp", "jvp_jvp", "third")
"""The passes that are given a direction in which x moves."""

TWICE_DIRECTED = ("jvp_jvp", "third")
"""Those of them that are given a second one."""

PASSES = (
    "forward", "backward", "vjp", *DIRECTED, *MASKED, "recomputed", *TRANSFORMED, "saved_statistics", *REPLICATED,
)  # fmt: skip
OPERATIONS = ("build", "load", "reset", "set", "freeze", *PASSES, "pullback", "refill")
ABILITIES = (
    "reset", "set", "freeze", "vjp", *DIRECTED, *MASKED, "recomputed", *TRANSFORMED, "saved_statistics", *REPLICATED,
)  # fmt: skip
"""The operations for which a layer may have no method."""

OPTIONS = ("momentum", "eps", "track_running_stats")
"""What of a configuration may be set after the layer was built."""

FROZEN = "frozen"
"""What a freeze step is given as its option: whether the layer is frozen from then on."""

BOUNDED = ("num_features", "eps", "momentum")
"""The options of a configuration that have a range, outside of which a program may ask for a layer."""

STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")
OF_A_PASS = ("pullback", "refill")
"""The operations that are about a pass recorded before."""

GRADIENTS = ("grad_x", "grad_weight", "grad_bias")
HESSIAN = ("hvp_x", "hvp_weight", "hvp_bias")
"""How fast the gradients change as x moves along a vector: rows of the Hessian times that vector."""

SAVED = ("saved_mean", "saved_invstd", "saved_variance")
"""What an operator gives beside y: the statistics of the pass, each (C,), as far as it gives them."""

REPLICA_STATE = ("replica_running_mean", "replica_running_var", "replica_num_batches_tracked")
REPLICA_GRADIENTS = ("replica_grad_weight", "replica_grad_bias")
"""What each of R replicas shows of itself: (R, C), the counters (R,)."""

MAPPED_STATE = ("mapped_running_mean", "mapped_running_var", "mapped_num_batches_tracked")
"""What each of L layers that are mapped remembers afterwards: (L, C), the counters (L,)."""

RESULTS: Mapping[str, tuple[str, ...]] = {
    "forward": ("y",),
    "vjp": ("y",),
    "jvp": ("y", "tangent_y"),
    "jvp_jvp": ("second_y",),
    "backward": GRADIENTS,
    "pullback": GRADIENTS,
    "hvp": HESSIAN,
    "third": ("third_x",),
    "masked": ("y",),
    "masked_backward": GRADIENTS,
    "recomputed": GRADIENTS,
    "vmap": ("y",),
    "vmap_layers": ("y", *MAPPED_STATE),
    "jacrev": ("jacobian",),
    "jacfwd": ("jacobian",),
    "eval_shape": ("abstract_y",),
    "saved_statistics": SAVED,
    "replicated": ("y", *REPLICA_STATE),
    "replicated_vjp": ("grad_x", *REPLICA_GRADIENTS),
    "masked_replicated": ("y", *REPLICA_STATE),
    "masked_replicated_vjp": ("grad_x", *REPLICA_GRADIENTS),
}
"""What an operation returns, by name; the others return nothing."""

SPREAD = ("y", "tangent_y", "second_y", "grad_x", "hvp_x", "third_x", "abstract_y")
"""What has the shape of x, (N, C, *S); a Jacobian has that of y and that of x after it, and every other result (C,), or
one of that for each replica or lane. An abstract y stands for a dtype, and its numbers for nothing."""

COUNTERS = ("replica_num_batches_tracked", "mapped_num_batches_tracked")
"""Of each replica or lane the number of batches that it has seen, where it shows one."""

OBSERVABLES = (
    "y", "tangent_y", "second_y", *GRADIENTS, *HESSIAN, "third_x", "jacobian", "abstract_y", *MAPPED_STATE, *SAVED,
    *REPLICA_STATE, *REPLICA_GRADIENTS, *STATE, "running_var:finite",
)  # fmt: skip
"""What can be judged after a call; `running_var:finite` asks only where the running variance is finite."""


WATCHES = ("", "results", "loaded", "shown", "instances", "formats", "history", "lazy")
"""What may be watched of whose memory is whose, by the side that executes (`bnconform.backends.runner.memory`)."""

LAYOUTS = (
    "contiguous",
    "fortran",
    "channels_last",
    "batch_last",
    "batch_channel_swapped",
    "every_other_element",
    "slice_with_offset",
    "every_third_sample",
    "reversed_batch",
    "expanded_batch",
    "unaligned",
    "reversed_channels",
    "reversed_width",
    "expanded_channels",
    "expanded_positions",
    "expanded_everywhere",
    "channels_last_slice",
    "transposed_positions",
    "overlapping",
    "read_only",
    "channel_position_swapped",
)
"""How an array may lie in memory; the side that executes makes it so (`bnconform.backends.runner.layouts`).

`contiguous` begins at a multiple of 64 bytes, `unaligned` one element later; `SHARING` are for arrays that are equal
where these have the same memory for several elements."""

SHARING = ("expanded_batch", "expanded_channels", "expanded_positions", "expanded_everywhere", "overlapping")
"""Layouts with the same memory for several elements: stride 0 along the batch, the channels, the last axis or all, and
windows of the last two axes, each one element further on."""

ALONG_ONE_AXIS = (
    "contiguous", "unaligned", "every_other_element", "slice_with_offset", "every_third_sample", "reversed_batch",
    "read_only",
)  # fmt: skip
"""Layouts of an array of one axis, as the entries of a state are."""


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes:
        op: "build" (the layer as it is when new: a program begins with a new layer, and later on another new one of
            the same configuration takes its place), "load", "forward", "backward", "vjp" (a forward pass that is
            recorded), "jvp" (a forward pass with a tangent of x), "hvp" (the gradients' derivative along a vector),
            "jvp_jvp" (the derivative of that tangent of y along a second one), "third" (that of the derivative of the
            gradient for x along a vector, along a second one),
            "masked" and "masked_backward" (a forward or backward pass with a mask), "recomputed" (a forward and
            backward pass that keeps nothing in between, so that the forward pass is run again),
            "vmap" (the layer, mapped over several batches), "vmap_layers" (layers like it, each in a state of its own
            and with a batch of its own, mapped together), "jacrev" and "jacfwd" (the Jacobian of y for x),
            "eval_shape" (the shape and dtype of y, without a value),
            "saved_statistics" (a forward pass of which the operator's outputs beside y are asked),
            "reset" (statistics and counter are made as when new), "set" (options are changed), "freeze" (the layer
            is frozen, or not any more, as the option `frozen` says), "pullback" (the
            gradients of a recorded pass), "refill" (the caller writes other numbers into the array that a recorded
            pass was given as x), "replicated" (a forward pass of replicas that are all in the layer's state),
            "replicated_vjp" (their gradients), "masked_replicated" or "masked_replicated_vjp" (the same with a mask
            for each replica).
        training: the mode of a forward or backward pass.
        x, grad_output: (N, C, *S), the values; their dtype is the program's.
        second: for a jvp_jvp the direction in which x moves as the tangent of y is differentiated, as `tangent`; for
            a third, as what an hvp gives for x is.
        tangent: of the shape of x and in its dtype, the direction in which x moves: for a jvp, and for an hvp, which
            calls it a vector.
        mask: bool or int64, of a shape that broadcasts to that of x: of which values the statistics are, those where
            it is not 0; for the passes of MASKED. For those of MASKED_REPLICATED the rows of the masks of all
            replicas, (n, 1, 1, ...), of one channel.
        options: for "set", the new values, by names of OPTIONS.
        state: for "load", the names and values to set, each (C,), in the parameters' dtype.
        x_layout, grad_layout: a key of LAYOUTS; for a load `x_layout` is that of each of its arrays, for a jvp
            `grad_layout` that of its tangent.
        observe: which of OBSERVABLES are judged after the call.
        may_refuse: whether the call may be refused: whatever it does is taken as it is, and nothing of it is judged;
            as a pullback it may be refused, and is judged where it answers.
        refills: whether x, and grad_output, are given as the same array objects as in the call before, refilled, where
            they fit those.
        pass_number: for a pullback or a refill, which of the program's recorded passes it is of; the first is 1.
        shards: for replicated passes, (N_i, *S_i) of what each replica is given; x, and grad_output, then hold the rows
            of all, (n, C, 1, ...), see `bnconform.spec.shards`.
        lanes: for the passes of MAPPED, L, over how many batches; x, (L * N, C, *S), then holds them one after the
            other.
        layers: for "vmap_layers", the names and values that each of the layers is loaded with, each (L, C), the
            counters (L,).
    """

    op: Literal[
        "build", "load", "reset", "set", "forward", "backward", "vjp", "jvp", "hvp", "jvp_jvp", "third", "masked",
        "masked_backward", "recomputed", "vmap", "vmap_layers", "jacrev", "jacfwd", "eval_shape", "pullback", "refill",
        "saved_statistics", "freeze", "replicated", "replicated_vjp", "masked_replicated", "masked_replicated_vjp",
    ]  # fmt: skip
    training: bool = True
    x: Array | None = None
    grad_output: Array | None = None
    state: Mapping[str, Array] = field(default_factory=dict)
    x_layout: str = "contiguous"
    grad_layout: str = "contiguous"
    observe: frozenset[str] = frozenset()
    may_refuse: bool = False
    refills: bool = False
    pass_number: int = 0
    tangent: Array | None = None
    options: Mapping[str, float | bool | None] = field(default_factory=dict)
    shards: Shards = ()
    mask: Array | None = None
    second: Array | None = None
    lanes: int = 0
    layers: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.op not in OPERATIONS:
            raise ValueError(f"unknown operation {self.op!r}; choose one of {', '.join(OPERATIONS)}")
        unknown = sorted(set(self.observe) - set(OBSERVABLES))
        if unknown:
            raise ValueError(f"cannot observe {unknown}; choose from {', '.join(OBSERVABLES)}")
        unknown = sorted(set(self.state) - set(STATE))
        if unknown:
            raise ValueError(f"cannot load {unknown}; choose from {', '.join(STATE)}")
        if self.op == "freeze":
            if set(self.options) != {FROZEN}:
                raise ValueError(f"a freeze step needs the option {FROZEN}, and no other")
        elif (self.op == "set") != bool(self.options) or set(self.options) - set(OPTIONS):
            raise ValueError(f"a set step, and no other, needs options; choose from {', '.join(OPTIONS)}")
        for layout in (self.x_layout, self.grad_layout):
            if layout not in LAYOUTS:
                raise ValueError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
        if self.op == "load" and self.x_layout not in ALONG_ONE_AXIS:
            raise ValueError(f"a load cannot be laid {self.x_layout}; choose one of {', '.join(ALONG_ONE_AXIS)}")
        if self.op in PASSES and self.x is None:
            raise ValueError(f"a {self.op} step needs x")
        given = self.grad_output
        if self.op in (*WITH_UPSTREAM, *WITH_UPSTREAMS) and given is None:
            raise ValueError(f"a {self.op} step needs a grad_output")
        if (self.op in DIRECTED) != (self.tangent is not None):
            raise ValueError("a jvp, hvp, jvp_jvp or third step, and no other, needs a tangent")
        if (self.op in TWICE_DIRECTED) != (self.second is not None):
            raise ValueError("a jvp_jvp or third step, and no other, needs a second tangent")
        if self.second is not None and self.x is not None and self.second.shape != self.x.shape:
            raise ValueError(f"the second tangent has the shape {self.second.shape}; x has {self.x.shape}")
        if self.tangent is not None and self.x is not None and self.tangent.shape != self.x.shape:
            raise ValueError(
                f"the tangent of a {self.op} step has the shape {self.tangent.shape}; x has {self.x.shape}"
            )
        if (self.op in (*MASKED, *MASKED_REPLICATED)) != (self.mask is not None):
            raise ValueError("a masked or masked_backward step, of replicas or not, and no other, needs a mask")
        if self.mask is not None and self.x is not None:
            _check_mask(self.mask, self.x)
            if self.op in MASKED_REPLICATED and self.mask.shape != (len(self.x), *(1,) * (self.x.ndim - 1)):
                raise ValueError(f"a {self.op} step needs a mask of one channel with a row for each row of x")
        if self.op == "pullback" and (given is None or self.x is not None):
            raise ValueError("a pullback step needs a grad_output, and no x")
        if (self.op in OF_A_PASS) != (self.pass_number > 0):
            raise ValueError("a pullback or refill step, and no other, needs the number of a recorded pass, from 1 on")
        if (self.op in REPLICATED) != bool(self.shards):
            raise ValueError(
                "a replicated or replicated_vjp step, masked or not, and no other, needs the shapes of its shards"
            )
        if self.shards and self.x is not None:
            self._must_hold_shards(self.x)
        self._must_hold_lanes()

    def _must_hold_shards(self, x: Array) -> None:
        """ValueError where x, and grad_output, are not the rows of shards of the shapes that are given."""
        rows, given = sum(counts(self.shards)), self.grad_output
        ranks = {len(shape) + 1 for shape in self.shards}
        if ranks != {x.ndim} or any(size < 0 for shape in self.shards for size in shape):
            raise ValueError(f"shards are of the rank of x, {x.ndim}, each shape without the channels")
        if len(x) != rows or set(x.shape[2:]) - {1}:
            raise ValueError(
                f"x of a {self.op} step has the shape {x.shape}; its shards have {rows} rows (n, C, 1, ...)"
            )
        if given is not None and given.shape != x.shape:
            raise ValueError(f"a {self.op} step needs a grad_output of the shape of x")

    def _must_hold_lanes(self) -> None:
        """ValueError where x does not hold a batch for each lane, or `layers` not a state for each."""
        if not (self.lanes or self.layers) and self.op not in MAPPED:
            return
        if (self.op in MAPPED) != (self.lanes > 0):
            raise ValueError("a vmap or vmap_layers step, and no other, needs lanes, from 1 on")
        if self.lanes and self.x is not None and len(self.x) % self.lanes:
            raise ValueError(f"x of a {self.op} step has {len(self.x)} samples, which {self.lanes} lanes do not share")
        unknown = sorted(set(self.layers) - set(STATE))
        if (self.op == "vmap_layers") != bool(self.layers) or unknown:
            raise ValueError(f"a vmap_layers step, and no other, needs layers; choose from {', '.join(STATE)}")
        if any(np.ndim(value) == 0 or len(value) != self.lanes for value in self.layers.values()):
            raise ValueError(f"the layers of a {self.op} step are (L, C) with {self.lanes} lanes")

    @cached_property
    def selected(self) -> Array | None:
        """Whether the mask selects each value of x: bool, the shape of x; None where there is no mask."""
        if self.mask is None or self.x is None:
            return None
        return np.broadcast_to(self.mask != 0, self.x.shape)

    @property
    def mode(self) -> str:
        """In words, whether the pass is one of training."""
        return "training" if self.training else "evaluation"

    def describe(self) -> str:
        """The call in one line, for messages."""
        if self.op in ("build", "reset"):
            return self.op
        if self.op == "freeze":
            return "freeze" if self.options[FROZEN] else "unfreeze"
        if self.op == "set":
            return "set " + ", ".join(f"{name} = {value}" for name, value in self.options.items())
        if self.op == "load":
            text = "load " + ", ".join(f"{name} = {_short(value)}" for name, value in self.state.items())
            return text + ("" if self.x_layout == "contiguous" else f", {self.x_layout}")
        if self.op == "refill":
            return f"refill x of recorded pass {self.pass_number}"
        if self.op == "pullback":
            return f"pullback(grad_output) of recorded pass {self.pass_number}"
        assert self.x is not None
        if self.shards:
            return self._describe_replicas(self.x)
        text = f"{self.op}(x {self.x.dtype} {self.x.shape}"
        text += f" in {self.lanes} lanes" if self.lanes else ""
        text += "" if self.x_layout == "contiguous" else f" {self.x_layout}"
        text += ", the same array object refilled" if self.refills else ""
        if self.grad_output is not None:
            text += ", grad_output" + ("" if self.grad_layout == "contiguous" else f" {self.grad_layout}")
        given = {"jvp": ", tangent", "hvp": ", vector", "jvp_jvp": ", two tangents", "third": ", two vectors"}
        text += given.get(self.op, "")
        if self.mask is not None and self.selected is not None:
            text += f", mask {self.mask.dtype} {self.mask.shape} of {int(self.selected.sum())} values"
        return f"{text}, {self.mode})"

    def _describe_replicas(self, x: Array) -> str:
        channels = x.shape[1]
        shapes = " and ".join(str((shape[0], channels, *shape[1:])) for shape in self.shards)
        upstream = "" if self.grad_output is None else ", grad_outputs"
        text = f"{self.op}(x {x.dtype} of {len(self.shards)} replicas {shapes}{upstream}"
        if self.mask is not None:
            chosen = " and ".join(str(int((self.mask[own] != 0).sum())) for own in slices_of(self.shards))
            text += f", masks {self.mask.dtype} of {chosen} values a channel"
        return f"{text}, {self.mode})"


def _check_mask(mask: Array, x: Array) -> None:
    """ValueError for one that is no mask of x."""
    if str(mask.dtype) not in ("bool", "int64"):
        raise ValueError(f"a mask is bool or int64, not {mask.dtype}")
    try:
        fits = np.broadcast_shapes(mask.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"a mask of shape {mask.shape} does not broadcast to x of shape {x.shape}")


def _short(values: Array) -> str:
    flat = [f"{float(value):.6g}" for value in np.asarray(values).reshape(-1)[:4]]
    more = ", ..." if np.size(values) > 4 else ""
    return "[" + ", ".join(flat) + more + "]" if np.ndim(values) else flat[0]


@dataclass(frozen=True)
class Program:
    """A configuration and its steps. Values are rounded to the configuration's dtypes by `cast`.

    Attributes:
        reads: when the layer's state is read: "always" (when new and after every call) or "end" (after the last one).
        watch: what is watched of whose memory is whose, a word of WATCHES, or "": then nothing is judged but the facts.
        default: whether the layer is one with the implementation's own defaults; `config` then says its channels only.
        outside: options, by name, that lie outside of what a configuration may have: the layer is asked for with them,
            and nothing of it can be judged but what the policies of BN-ERR-... record.
    """

    config: Config
    steps: tuple[Step, ...]
    reads: Literal["always", "end"] = "always"
    watch: str = ""
    default: bool = False
    outside: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted({name for name, _ in self.outside} - set(BOUNDED))
        if unknown:
            raise ValueError(f"no option {unknown} has a range to be outside of; choose from {', '.join(BOUNDED)}")
        if self.watch not in WATCHES:
            raise ValueError(f"unknown watch {self.watch!r}; choose one of {', '.join(WATCHES)}")
        shapes: list[tuple[int, ...]] = []
        for step in self.steps:
            if step.op == "vjp" and step.x is not None:
                shapes.append(step.x.shape)
            if step.pass_number > len(shapes):
                raise ValueError(f"there is no recorded pass {step.pass_number} before that {step.op}")
            if step.grad_output is not None and step.pass_number:
                due = shapes[step.pass_number - 1]
                if step.grad_output.shape != due:
                    raise ValueError(f"the pullback of recorded pass {step.pass_number} needs a grad_output of {due}")

    @cached_property
    def read_always(self) -> Program:
        """The same, its state read after every call; always the same object, as runs are kept by the program's."""
        return self if self.reads == "always" else replace(self, reads="always")

    @property
    def num_features(self) -> int:
        """C, the number of channels that the layer is asked to have; 0 only where that is `outside`."""
        return int(dict(self.outside).get("num_features", self.config.num_features))

    def message(self) -> dict[str, Any]:
        """The program as the side that executes is sent it."""
        return {
            "config": None if self.default else {**self.config.as_dict(), **dict(self.outside)},
            "num_features": self.num_features,
            "reads": self.reads,
            "watch": self.watch,
            "steps": [
                {
                    "op": step.op, "training": step.training, "x": step.x, "grad_output": step.grad_output,
                    "state": dict(step.state), "x_layout": step.x_layout, "grad_layout": step.grad_layout,
                    "may_refuse": step.may_refuse, "refills": step.refills,
                    "pass_number": step.pass_number, "tangent": step.tangent, "second": step.second,
                    "mask": step.mask,
                    "lanes": step.lanes, "layers": dict(step.layers),
                    "options": dict(step.options), "shards": [list(shape) for shape in step.shards],
                }
                for step in self.steps
            ],
        }  # fmt: skip

    def cast(self, dtype: str, param_dtype: str) -> Program:
        """The same program for another dtype, every value rounded to it once."""
        target, parameters = numpy_dtype(dtype), numpy_dtype(param_dtype)

        def load_values(name: str, value: Array) -> Array:
            array = np.asarray(value)
            return array.astype(np.int64 if name == "num_batches_tracked" else parameters)

        def operands(value: Array | None) -> Array | None:
            return None if value is None else np.asarray(value).astype(target)

        steps = tuple(
            replace(
                step,
                x=operands(step.x),
                grad_output=operands(step.grad_output),
                tangent=operands(step.tangent),
                second=operands(step.second),
                state={name: load_values(name, value) for name, value in step.state.items()},
                layers={name: load_values(name, value) for name, value in step.layers.items()},
            )
            for step in self.steps
        )
        return replace(self, config=replace(self.config, dtype=dtype, param_dtype=param_dtype), steps=steps)

    def without(self, unsupported: Container[str]) -> Program:
        """The same program for an implementation that lacks something, as far as it can be asked.

        What does not exist (affine, tracking) is neither loaded nor observed, passes of a mode or kind that is
        missing are left out, and where rank 2 or 3 is missing, the values are given at rank 4. In the place of a layer
        with a weight or a bias alone there is one with both, or with none. The program may then observe nothing.
        """
        affine = self._affine(unsupported)
        tracked = self.config.track_running_stats and "track_running_stats" not in unsupported
        config = replace(self.config, affine=affine, track_running_stats=tracked)
        gone = {"weight"} if self.config.weight and not config.weight else set()
        gone |= {"bias"} if self.config.bias and not config.bias else set()
        gone |= {f"{kind}_{name}" for name in gone for kind in ("grad", "hvp", "replica_grad")}
        if tracked != self.config.track_running_stats:
            gone |= {"running_mean", "running_var", "running_var:finite", "num_batches_tracked"}
            gone |= {*REPLICA_STATE, *MAPPED_STATE}
        steps = []
        numbers: list[int] = []  # of the recorded passes that are left, 0 for one that is not
        for step in self.steps:
            state = {name: value for name, value in step.state.items() if name not in gone}
            leaves = step.op in unsupported or (step.op in PASSES and step.mode in unsupported)
            if step.op == "vjp":
                numbers.append(0 if leaves else max(numbers, default=0) + 1)
            if leaves or (step.pass_number and not numbers[step.pass_number - 1]):
                continue
            if step.pass_number:
                step = replace(step, pass_number=numbers[step.pass_number - 1])
            layers = {name: value for name, value in step.layers.items() if name not in gone}
            if (step.op == "load" and step.state and not state) or (step.layers and not layers):
                continue
            steps.append(replace(step, state=state, layers=layers, observe=step.observe - gone))
        program = replace(self, config=config, steps=tuple(steps))
        if program.config.ndim < 4 and f"rank_{program.config.ndim}" in unsupported and "rank_4" not in unsupported:
            return program._at_rank_4()
        return program

    def _affine(self, unsupported: Container[str]) -> Affine:
        """Which parameters a layer has that is as near as an implementation comes."""
        affine = self.config.affine
        if isinstance(affine, str) and ALONE[affine] in unsupported:
            affine = True
        return affine if not affine or "affine" not in unsupported else False

    def _at_rank_4(self) -> Program:
        def lift(values: Array | None) -> Array | None:
            return None if values is None else values.reshape(values.shape + (1,) * (4 - values.ndim))

        def lift_mask(mask: Array | None) -> Array | None:
            return None if mask is None else lift(mask.reshape((1,) * (self.config.ndim - mask.ndim) + mask.shape))

        steps = tuple(
            replace(
                step,
                x=lift(step.x),
                grad_output=lift(step.grad_output),
                tangent=lift(step.tangent),
                second=lift(step.second),
                mask=lift_mask(step.mask),
                shards=tuple(shape + (1,) * (3 - len(shape)) for shape in step.shards),
            )
            for step in self.steps
        )
        return replace(self, config=replace(self.config, ndim=4), steps=steps)

    def with_a_pass(self, *, training: bool) -> Program:
        """The same program and one forward pass more, over ordinary values of the configuration's rank and dtype."""
        c = self.config
        x = np.arange(4.0 * c.num_features).reshape(4, c.num_features, *(1,) * (c.ndim - 2))
        steps = (*self.steps, forward(x, "y", training=training))
        return replace(self, steps=steps).cast(c.dtype, c.param_dtype)

    def features(self) -> frozenset[str]:
        """The ones of `config.FEATURES` that the configuration and the calls ask for."""
        wanted = set(self.config.features()) | ({"any_options"} if self.outside else set())
        for step in self.steps:
            if step.op in PASSES:
                wanted |= {step.op, step.mode}
            if step.op in ABILITIES:
                wanted.add(step.op)
            wanted |= _of_shards(step.shards)
            if step.training and self.config.track_running_stats:
                wanted |= _of_update(step.op, self.config.momentum)
            if step.options.get("momentum", 0) is None:
                wanted.add("momentum_none")
            if "track_running_stats" in step.options:
                wanted.add("track_running_stats_off")
        return frozenset(wanted)

    @property
    def size(self) -> tuple[int, int]:
        """How much there is to look at: the calls, and the values that are given to them."""
        arrays = (array for step in self.steps for array in (step.x, step.grad_output, *step.state.values()))
        return len(self.steps), sum(int(np.size(array)) for array in arrays if array is not None)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the large operands of all its calls."""
        operands = (value for step in self.steps for value in (step.x, step.grad_output, step.tangent, step.second))
        return sum(value.nbytes for value in operands if value is not None)

    @property
    def key(self) -> bytes:
        """What is the same for the same calls on the same configuration, and quickly found."""
        found = hashlib.sha256(repr((self.config, self.reads, self.watch, self.default)).encode())
        if self.outside:
            found.update(repr(self.outside).encode())
        for step in self.steps:
            arrays = (step.x, step.grad_output, *step.state.values())
            arrays += () if step.tangent is None else (step.tangent,)
            arrays += () if step.mask is None else (step.mask,)
            arrays += () if step.second is None else (step.second,)
            arrays += tuple(step.layers.values())
            shapes = [value if value is None else (value.shape, str(value.dtype)) for value in arrays]
            kind = step.op, step.training, step.x_layout, step.grad_layout, step.may_refuse, step.refills
            found.update(repr((kind, list(step.state), shapes, sorted(step.observe))).encode())
            if step.pass_number:
                found.update(b"of recorded pass %d" % step.pass_number)
            if step.shards:
                found.update(f"shards {step.shards}".encode())
            if step.lanes:
                found.update(f"lanes {step.lanes} {list(step.layers)}".encode())
            if step.options:
                found.update(repr(sorted(step.options.items())).encode())
            for value in arrays:
                if value is not None:
                    found.update(np.ascontiguousarray(value).view(np.uint8).data if value.size else b"")
        return found.digest()

    @property
    def observes(self) -> frozenset[str]:
        """Everything that some step observes."""
        return frozenset().union(*(step.observe for step in self.steps))

    def describe(self) -> str:
        """The configuration and the calls, for messages."""
        c = self.config
        if self.outside:
            options = ", ".join(f"{name}={value:g}" for name, value in self.outside)
            return "; ".join([f"BatchNorm({options})", *(step.describe() for step in self.steps)])
        if self.default:
            return "; ".join([f"BatchNorm({c.num_features}) by default", *(step.describe() for step in self.steps)])
        head = f"num_features={c.num_features}, eps={c.eps:g}, momentum={c.momentum}, affine={c.affine}, "
        head += f"track_running_stats={c.track_running_stats}, {c.dtype}, parameters {c.param_dtype}"
        unread = ["the state is read after the last call only"] if self.reads == "end" else []
        return "; ".join([f"BatchNorm({head})", *(step.describe() for step in self.steps), *unread])


def _of_update(op: str, momentum: float | None) -> set[str]:
    """The features that a pass in training asks for, which moves statistics under a transformation."""
    if op in JACOBIANS:
        return {"jacobian_tracked"}
    if op == "vmap_layers":
        return {"vmap_cumulative"} if momentum is None else set()
    return {"vmap_tracked"} if op == "vmap" else set()


def _of_shards(shards: Shards) -> set[str]:
    """The features that shards ask for."""
    found = {"replicas_unequal"} if len({shape[0] for shape in shards}) > 1 else set()
    found |= {"replicas_sizes"} if len({shape[1:] for shape in shards}) > 1 else set()
    return found | ({"replicas_empty"} if 0 in counts(shards) else set())


def result_shape(name: str, step: Step, num_features: int) -> tuple[int, ...]:
    """The shape of what a call returns under a name of RESULTS."""
    given = step.grad_output if step.x is None else step.x
    if name in SPREAD and given is not None:
        return given.shape
    if name == "jacobian" and given is not None:
        return (*given.shape, *given.shape)
    if name in COUNTERS:
        return (len(step.shards) or step.lanes,)
    if name in MAPPED_STATE:
        return (step.lanes, num_features)
    return (len(step.shards), num_features) if name in (*REPLICA_STATE, *REPLICA_GRADIENTS) else (num_features,)


def forward(x: Any, *observe: str, training: bool = True, layout: str = "contiguous") -> Step:
    """A forward step that observes the given quantities."""
    return Step("forward", training, np.asarray(x), x_layout=layout, observe=frozenset(observe))


def backward(
    x: Any,
    grad_output: Any,
    *observe: str,
    training: bool = True,
    layout: str = "contiguous",
    grad_layout: str = "contiguous",
) -> Step:
    """A backward step that observes the given quantities."""
    return Step(
        "backward", training, np.asarray(x), np.asarray(grad_output),
        x_layout=layout, grad_layout=grad_layout, observe=frozenset(observe),
    )  # fmt: skip


def reset(*observe: str) -> Step:
    """Make statistics and counter as they are when new."""
    return Step("reset", observe=frozenset(observe))


def set_options(*observe: str, **options: float | bool | None) -> Step:
    """Change options of a layer that has been built."""
    return Step("set", observe=frozenset(observe), options=options)


def vjp(x: Any, *observe: str, training: bool = True, layout: str = "contiguous") -> Step:
    """A forward step that is recorded, and observes the given quantities."""
    return Step("vjp", training, np.asarray(x), x_layout=layout, observe=frozenset(observe))


def jvp(
    x: Any,
    tangent: Any,
    *observe: str,
    training: bool = True,
    layout: str = "contiguous",
    tangent_layout: str = "contiguous",
) -> Step:
    """A forward step with a tangent of x, that observes the given quantities."""
    return Step(
        "jvp", training, np.asarray(x), x_layout=layout, grad_layout=tangent_layout, tangent=np.asarray(tangent),
        observe=frozenset(observe),
    )  # fmt: skip


def hvp(x: Any, grad_output: Any, vector: Any, *observe: str, training: bool = True) -> Step:
    """A step for the derivative of the gradients along a vector, that observes the given quantities."""
    return Step(
        "hvp", training, np.asarray(x), np.asarray(grad_output), tangent=np.asarray(vector), observe=frozenset(observe)
    )


def jvp_jvp(x: Any, tangent: Any, second: Any, *observe: str, training: bool = True) -> Step:
    """A step for the derivative of the output's tangent along a second one, that observes the given quantities."""
    return Step(
        "jvp_jvp", training, np.asarray(x), tangent=np.asarray(tangent), second=np.asarray(second),
        observe=frozenset(observe),
    )  # fmt: skip


def third(x: Any, grad_output: Any, vector: Any, second: Any, *observe: str, training: bool = True) -> Step:
    """A step for the derivative of an hvp's hvp_x along a second vector, that observes the given quantities."""
    return Step(
        "third", training, np.asarray(x), np.asarray(grad_output), tangent=np.asarray(vector),
        second=np.asarray(second), observe=frozenset(observe),
    )  # fmt: skip


def masked(x: Any, mask: Any, *observe: str, training: bool = True) -> Step:
    """A forward step whose statistics are of what a mask selects, that observes the given quantities."""
    return Step("masked", training, np.asarray(x), mask=np.asarray(mask), observe=frozenset(observe))


def masked_backward(x: Any, mask: Any, grad_output: Any, *observe: str, training: bool = True) -> Step:
    """A backward step with a mask that observes the given quantities."""
    return Step(
        "masked_backward", training, np.asarray(x), np.asarray(grad_output), mask=np.asarray(mask),
        observe=frozenset(observe),
    )  # fmt: skip


def recomputed(x: Any, grad_output: Any, *observe: str, training: bool = True) -> Step:
    """A forward and backward step with recomputation, that observes the given quantities."""
    return Step("recomputed", training, np.asarray(x), np.asarray(grad_output), observe=frozenset(observe))


def vmap(batches: Iterable[Any], *observe: str, training: bool = True) -> Step:
    """A step of the layer mapped over batches of one shape (N, C, *S), that observes the given quantities."""
    arrays = [np.asarray(batch) for batch in batches]
    return Step("vmap", training, np.concatenate(arrays), observe=frozenset(observe), lanes=len(arrays))


def vmap_layers(
    batches: Iterable[Any], states: Iterable[Mapping[str, Any]], *observe: str, training: bool = True
) -> Step:
    """A step of layers mapped together, each with its batch and loaded with its state, that observes the quantities."""
    arrays, each = [np.asarray(batch) for batch in batches], list(states)
    layers = {name: np.stack([np.asarray(state[name]) for state in each]) for name in each[0]}
    return Step(
        "vmap_layers", training, np.concatenate(arrays), observe=frozenset(observe), lanes=len(arrays), layers=layers
    )


def jacrev(x: Any, *observe: str, training: bool = True) -> Step:
    """A step for the Jacobian of y for x in reverse mode, that observes the given quantities."""
    return Step("jacrev", training, np.asarray(x), observe=frozenset(observe))


def jacfwd(x: Any, *observe: str, training: bool = True) -> Step:
    """A step for the Jacobian of y for x in forward mode, that observes the given quantities."""
    return Step("jacfwd", training, np.asarray(x), observe=frozenset(observe))


def eval_shape(x: Any, *observe: str, training: bool = True) -> Step:
    """A step that asks for the shape and dtype of y alone, and observes the given quantities."""
    return Step("eval_shape", training, np.asarray(x), observe=frozenset(observe))


def saved_statistics(x: Any, *observe: str, training: bool = True, layout: str = "contiguous") -> Step:
    """A forward step of which what the operator gives beside y is observed."""
    return Step("saved_statistics", training, np.asarray(x), x_layout=layout, observe=frozenset(observe))


def freeze(frozen: bool = True, *observe: str) -> Step:
    """Freeze the layer, or let it train again."""
    return Step("freeze", options={FROZEN: frozen}, observe=frozenset(observe))


def pullback(
    number: int, grad_output: Any, *observe: str, may_refuse: bool = False, layout: str = "contiguous"
) -> Step:
    """The gradients of a recorded pass, of which the first has the number 1, for an upstream gradient."""
    return Step(
        "pullback", grad_output=np.asarray(grad_output), grad_layout=layout, observe=frozenset(observe),
        may_refuse=may_refuse, pass_number=number,
    )  # fmt: skip


def replicated(shards: Iterable[Any], *observe: str, training: bool = True) -> Step:
    """A forward step of replicas, one a shard (N_i, C, *S_i), that observes the given quantities."""
    arrays = [np.asarray(shard) for shard in shards]
    return Step("replicated", training, join(arrays), observe=frozenset(observe), shards=shapes_of(arrays))


def replicated_vjp(shards: Iterable[Any], grad_outputs: Iterable[Any], *observe: str, training: bool = True) -> Step:
    """A step for the gradients of replicas, one a shard, that observes the given quantities."""
    arrays, upstream = ([np.asarray(shard) for shard in each] for each in (shards, grad_outputs))
    if shapes_of(arrays) != shapes_of(upstream):
        raise ValueError("a replicated_vjp step needs a grad_output of the shape of each shard")
    return Step(
        "replicated_vjp", training, join(arrays), join(upstream), observe=frozenset(observe),
        shards=shapes_of(arrays),
    )  # fmt: skip


def masked_replicated(shards: Iterable[Any], masks: Iterable[Any], *observe: str, training: bool = True) -> Step:
    """A forward step of replicas, each with a shard (N_i, C, *S_i) and a mask (N_i, 1, *S_i)."""
    arrays = [np.asarray(shard) for shard in shards]
    return Step(
        "masked_replicated", training, join(arrays), observe=frozenset(observe), shards=shapes_of(arrays),
        mask=_join_masks(arrays, masks),
    )  # fmt: skip


def masked_replicated_vjp(
    shards: Iterable[Any], masks: Iterable[Any], grad_outputs: Iterable[Any], *observe: str, training: bool = True
) -> Step:
    """A step for the gradients of replicas, each with a shard and a mask, that observes the given quantities."""
    arrays, upstream = ([np.asarray(shard) for shard in each] for each in (shards, grad_outputs))
    if shapes_of(arrays) != shapes_of(upstream):
        raise ValueError("a masked_replicated_vjp step needs a grad_output of the shape of each shard")
    return Step(
        "masked_replicated_vjp", training, join(arrays), join(upstream), observe=frozenset(observe),
        shards=shapes_of(arrays), mask=_join_masks(arrays, masks),
    )  # fmt: skip


def _join_masks(shards: list[Array], masks: Iterable[Any]) -> Array:
    """The rows of masks (N_i, 1, *S_i), one a shard; ValueError where one has another shape."""
    arrays = [np.asarray(mask) for mask in masks]
    if [mask.shape for mask in arrays] != [(len(shard), 1, *shard.shape[2:]) for shard in shards]:
        raise ValueError("each replica needs a mask of the shape of its shard, with one channel")
    return join(arrays)


def refill(number: int) -> Step:
    """The caller writes other numbers into the array that a recorded pass was given as x."""
    return Step("refill", pass_number=number)


def load(observe: Iterable[str] = (), layout: str = "contiguous", /, **state: Any) -> Step:
    """A load step; `layout` is how each array lies in memory."""
    arrays = {name: np.asarray(value) for name, value in state.items()}
    return Step("load", state=arrays, x_layout=layout, observe=frozenset(observe))


def build(*observe: str) -> Step:
    """Observe the layer as it is when new; anywhere but at the beginning, a new one takes the place of the old."""
    return Step("build", observe=frozenset(observe))


@dataclass(frozen=True)
class Probe:
    """One case of one requirement: a program that is made for any dtype.

    Attributes:
        requirement: its id. name: words that a person can type; unique within the requirement.
        program: in float64; `at` rounds it to a dtype.
        quality: which algorithms the bound excludes (see bnconform.spec.error_bounds.error_model); "" for level must.
        dtypes: the dtypes that the case makes sense in.
    """

    requirement: str
    name: str
    program: Program
    quality: str = ""
    dtypes: tuple[str, ...] = DTYPES

    def at(self, dtype: str, param_dtype: str) -> Program:
        """The program for a dtype."""
        return self.program.cast(dtype, param_dtype)
