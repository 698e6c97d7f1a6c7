"""A program: a layer's configuration and the calls to make on it, with what to observe of each.

Programs are plain data, so that a failing one can be written to a file and replayed (`bnconform.cases.casefile`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES, numpy_dtype

Array = NDArray[Any]
PASSES = ("forward", "backward")
OPERATIONS = ("build", "load", "forward", "backward")
STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")
OBSERVABLES = ("y", "grad_x", "grad_weight", "grad_bias", *STATE, "running_var:finite")
"""What can be judged after a call; `running_var:finite` asks only where the running variance is finite."""


WATCHES = ("", "results", "loaded", "shown", "instances")
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
)
"""How an array may lie in memory; the side that executes makes it so (`bnconform.backends.runner.layouts`).

`contiguous` begins at a multiple of 64 bytes, `unaligned` one element later; `expanded_batch` (stride 0) is for arrays
that are equal along axis 0."""


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes:
        op: "build" (the layer as it is when new: a program begins with a new layer, and later on another new one of
            the same configuration takes its place), "load", "forward" or "backward".
        training: the mode of a forward or backward pass.
        x, grad_output: (N, C, *S), the values; their dtype is the program's.
        state: for "load", the names and values to set, each (C,), in the parameters' dtype.
        x_layout, grad_layout: a key of LAYOUTS.
        observe: which of OBSERVABLES are judged after the call.
        may_refuse: whether, in a program that watches memory, the call may be refused.
    """

    op: Literal["build", "load", "forward", "backward"]
    training: bool = True
    x: Array | None = None
    grad_output: Array | None = None
    state: Mapping[str, Array] = field(default_factory=dict)
    x_layout: str = "contiguous"
    grad_layout: str = "contiguous"
    observe: frozenset[str] = frozenset()
    may_refuse: bool = False

    def __post_init__(self) -> None:
        if self.op not in OPERATIONS:
            raise ValueError(f"unknown operation {self.op!r}; choose one of {', '.join(OPERATIONS)}")
        unknown = sorted(set(self.observe) - set(OBSERVABLES))
        if unknown:
            raise ValueError(f"cannot observe {unknown}; choose from {', '.join(OBSERVABLES)}")
        unknown = sorted(set(self.state) - set(STATE))
        if unknown:
            raise ValueError(f"cannot load {unknown}; choose from {', '.join(STATE)}")
        for layout in (self.x_layout, self.grad_layout):
            if layout not in LAYOUTS:
                raise ValueError(f"unknown layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
        if self.op in ("forward", "backward") and self.x is None:
            raise ValueError(f"a {self.op} step needs x")
        given = self.grad_output
        if self.op == "backward" and (given is None or self.x is None or given.shape != self.x.shape):
            raise ValueError("a backward step needs a grad_output of the shape of x")

    @property
    def mode(self) -> str:
        """In words, whether the pass is one of training."""
        return "training" if self.training else "evaluation"

    def describe(self) -> str:
        """The call in one line, for messages."""
        if self.op == "build":
            return "build"
        if self.op == "load":
            return "load " + ", ".join(f"{name} = {_short(value)}" for name, value in self.state.items())
        assert self.x is not None
        text = f"{self.op}(x {self.x.dtype} {self.x.shape}"
        text += "" if self.x_layout == "contiguous" else f" {self.x_layout}"
        if self.op == "backward":
            text += ", grad_output" + ("" if self.grad_layout == "contiguous" else f" {self.grad_layout}")
        return f"{text}, {self.mode})"


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
    """

    config: Config
    steps: tuple[Step, ...]
    reads: Literal["always", "end"] = "always"
    watch: str = ""
    default: bool = False

    def __post_init__(self) -> None:
        if self.watch not in WATCHES:
            raise ValueError(f"unknown watch {self.watch!r}; choose one of {', '.join(WATCHES)}")

    def message(self) -> dict[str, Any]:
        """The program as the side that executes is sent it."""
        return {
            "config": None if self.default else self.config.as_dict(),
            "num_features": self.config.num_features,
            "reads": self.reads,
            "watch": self.watch,
            "steps": [
                {
                    "op": step.op, "training": step.training, "x": step.x, "grad_output": step.grad_output,
                    "state": dict(step.state), "x_layout": step.x_layout, "grad_layout": step.grad_layout,
                    "may_refuse": step.may_refuse,
                }
                for step in self.steps
            ],
        }  # fmt: skip

    def cast(self, dtype: str, param_dtype: str) -> Program:
        """The same program for another dtype, every value rounded to it once."""
        target, parameters = numpy_dtype(dtype), numpy_dtype(param_dtype)

        def loaded(name: str, value: Array) -> Array:
            array = np.asarray(value)
            return array.astype(np.int64 if name == "num_batches_tracked" else parameters)

        steps = tuple(
            replace(
                step,
                x=None if step.x is None else np.asarray(step.x).astype(target),
                grad_output=None if step.grad_output is None else np.asarray(step.grad_output).astype(target),
                state={name: loaded(name, value) for name, value in step.state.items()},
            )
            for step in self.steps
        )
        return replace(self, config=replace(self.config, dtype=dtype, param_dtype=param_dtype), steps=steps)

    def without(self, unsupported: Container[str]) -> Program:
        """The same program for an implementation that lacks something, as far as it can be asked.

        What does not exist (affine, tracking) is neither loaded nor observed, passes of a mode or kind that is
        missing are left out, and where rank 2 or 3 is missing, the values are given at rank 4. The program may then
        observe nothing.
        """
        affine = self.config.affine and "affine" not in unsupported
        tracked = self.config.track_running_stats and "track_running_stats" not in unsupported
        gone = set() if affine == self.config.affine else {"weight", "bias", "grad_weight", "grad_bias"}
        if tracked != self.config.track_running_stats:
            gone |= {"running_mean", "running_var", "running_var:finite", "num_batches_tracked"}
        steps = []
        for step in self.steps:
            state = {name: value for name, value in step.state.items() if name not in gone}
            if step.op in unsupported or (step.op in PASSES and step.mode in unsupported):
                continue
            if step.op == "load" and step.state and not state:
                continue
            steps.append(replace(step, state=state, observe=step.observe - gone))
        config = replace(self.config, affine=affine, track_running_stats=tracked)
        program = replace(self, config=config, steps=tuple(steps))
        if program.config.ndim < 4 and f"rank_{program.config.ndim}" in unsupported and "rank_4" not in unsupported:
            return program._at_rank_4()
        return program

    def _at_rank_4(self) -> Program:
        def lifted(values: Array | None) -> Array | None:
            return None if values is None else values.reshape(values.shape + (1,) * (4 - values.ndim))

        steps = tuple(replace(step, x=lifted(step.x), grad_output=lifted(step.grad_output)) for step in self.steps)
        return replace(self, config=replace(self.config, ndim=4), steps=steps)

    def with_a_pass(self, *, training: bool) -> Program:
        """The same program and one forward pass more, over ordinary values of the configuration's rank and dtype."""
        c = self.config
        x = np.arange(4.0 * c.num_features).reshape(4, c.num_features, *(1,) * (c.ndim - 2))
        steps = (*self.steps, forward(x, "y", training=training))
        return replace(self, steps=steps).cast(c.dtype, c.param_dtype)

    @property
    def key(self) -> bytes:
        """What is the same for the same calls on the same configuration, and quickly found."""
        found = hashlib.sha256(repr((self.config, self.reads, self.watch, self.default)).encode())
        for step in self.steps:
            arrays = (step.x, step.grad_output, *step.state.values())
            shapes = [value if value is None else (value.shape, str(value.dtype)) for value in arrays]
            head = step.op, step.training, step.x_layout, step.grad_layout, step.may_refuse, list(step.state), shapes
            found.update(repr((head, sorted(step.observe))).encode())
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
        if self.default:
            return "; ".join([f"BatchNorm({c.num_features}) by default", *(step.describe() for step in self.steps)])
        head = f"num_features={c.num_features}, eps={c.eps:g}, momentum={c.momentum}, affine={c.affine}, "
        head += f"track_running_stats={c.track_running_stats}, {c.dtype}, parameters {c.param_dtype}"
        return "; ".join([f"BatchNorm({head})", *(step.describe() for step in self.steps)])


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


def load(observe: Iterable[str] = (), **state: Any) -> Step:
    """A load step."""
    return Step("load", state={name: np.asarray(value) for name, value in state.items()}, observe=frozenset(observe))


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
