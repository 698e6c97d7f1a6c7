"""A program that speaks JSON lines on its standard input and output: implementations outside Python.

`--backend "command:./my_harness --flag"`. PROTOCOL.md and protocol.schema.json specify the protocol; this is the side
that asks. A program is trusted in nothing: an answer that breaks the protocol ends it (`pipe.Lost`), one whose
arrays do not hold together is a `WrongAnswer`, and neither counts as a refusal. A lost program is started again at the
next `build`.

Arrays cross the pipe in C order, so that strided inputs arrive as tidy copies: what a program makes of strides is not
judged.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from bnconform.backends.external.array_encoding import FLOATS, decode, encode, fault_of
from bnconform.backends.external.line_process import LineProcess, Lost, show
from bnconform.backends.registry import BackendError

Array = NDArray[Any]
Answer = dict[str, Any]
Gradients = tuple[Array, Array | None, Array | None]

PROTOCOL = "bnconform/1"
LIMIT, SECONDS = "BNCONFORM_ANSWER_LIMIT", 60.0
"""The environment variable that says in how many seconds an answer must be there, and what holds without it."""

CONFIG = ("num_features", "eps", "momentum", "track_running_stats", "ndim", "dtype", "param_dtype")
STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")
LATER = {"weight_alone", "bias_alone", "vjp", "jvp", "hvp", "masked", "masked_backward", "reset", "set"} | {
    "recomputed", "saved_statistics", "freeze", "replicated", "replicated_vjp", "masked_replicated",
    "masked_replicated_vjp",
}  # fmt: skip
"""What a program is asked only where its `abilities` name it, since bnconform/1 did not have it at first."""

NOT_ASKED = {
    "any_options": "the protocol has no NaN, and asks for layers as its schema has them",
    **dict.fromkeys(
        ("vmap", "vmap_layers", "jacrev", "jacfwd", "eval_shape"), "the protocol has no transformations of functions"
    ),
    "jvp_jvp": "the protocol has no forward mode of forward mode",
    "third": "the protocol has no third derivatives",
}
"""What no program is asked, and why."""

UNKNOWN = "the program does not name it among its abilities"

ROOM = 2**20
"""Bytes that an answer may have besides its arrays."""

STARTS = 3
"""How often a program is started again in one process."""


class Failed(RuntimeError):
    """The program says that it could not do what it should have been able to do; never a refusal."""

    is_refusal = False


class WrongAnswer(RuntimeError):
    """An answer that keeps to the protocol but for an array in it; never a refusal."""

    is_refusal = False


ERRORS: Mapping[str, type[Exception]] = {
    "unsupported": NotImplementedError,
    "invalid": ValueError,
    "failed": Failed,
}
"""What an error's `kind` is raised as."""


class ProgramBackend:
    """The implementation behind a command; BackendError, in one line, where it cannot be started or says no hello."""

    def __init__(self, command: str) -> None:
        self.where = f"the program {command.strip() or command!r}"
        try:
            self.command = shlex.split(command)
        except ValueError as problem:
            raise BackendError(f"{self.where} is no command: {problem}; quote it as for a shell") from None
        if not self.command:
            raise BackendError("command: names no program; give command:PROGRAM, with its arguments")
        given = os.environ.get(LIMIT, str(SECONDS))
        try:
            self.seconds = float(given)
        except ValueError:
            self.seconds = math.nan
        if not 0 < self.seconds < math.inf:
            raise BackendError(f"{LIMIT} is {given!r}; give a number of seconds above 0")
        self.starts = 0
        self.told: Answer = {}
        self.pipe: LineProcess
        self.requests = 0
        self.unneeded: list[int | str] = []
        self.layers: set[int | str] = set()
        try:
            self._start()
        except Lost as problem:
            raise BackendError(f"{self.where} does not speak {PROTOCOL}: {problem}") from None
        self.name = str(self.told["name"])
        self.deviations: Mapping[str, str] = self.told["deviations"]
        self.documented: Mapping[str, str] = self.told["documented"]
        lacking = dict.fromkeys(LATER - set(self.told.get("abilities", ())), UNKNOWN)
        self.unsupported: Mapping[str, str] = {**lacking, **NOT_ASKED, **self.told["unsupported"]}
        self.unsupported_on: Mapping[str, Mapping[str, str]] = self.told.get("unsupported_on", {})
        self.slow_to_start = bool(self.told.get("slow_to_start", False))
        version = self.told.get("version")
        self.packages: Mapping[str, str] = {self.name: version} if version else {}

    def devices(self) -> list[str]:
        """Those that the program lists."""
        return list(self.told["devices"])

    def build(self, config: Any, device: str) -> ProgramLayer:
        """A layer in the program; NotImplementedError or ValueError where it refuses."""
        if is_outside(config):
            raise NotImplementedError(NOT_ASKED["any_options"])
        asked: dict[str, Any] = {name: getattr(config, name) for name in CONFIG}
        if config.weight == config.bias:
            asked["affine"] = config.weight
        else:
            asked["affine"] = "weight" if config.weight else "bias"
            alone = f"{asked['affine']}_alone"
            if alone in self.unsupported:  # a program that does not know the word is not given it
                raise NotImplementedError(self.unsupported[alone])
        return self._layer("build", config.num_features, config=asked, device=device)

    def build_default(self, num_features: int, device: str) -> ProgramLayer:
        """A layer in the program with the implementation's own defaults."""
        return self._layer("build_default", num_features, num_features=num_features, device=device)

    def _layer(self, what: str, channels: int, **request: Any) -> ProgramLayer:
        if not self.pipe.alive:
            self._start()
        while self.unneeded:
            gone = self.unneeded.pop()
            self.ask("drop", layer=gone)
            self.layers.discard(gone)
        handle = self.ask(what, **request).get("layer")
        if isinstance(handle, bool) or not isinstance(handle, int | str):
            raise self._break_off(
                f"its answer to {what} names the layer {json.dumps(handle)[:80]}, no number and no text"
            )
        if handle in self.layers:
            raise self._break_off(
                f"its answer to {what} names the layer {json.dumps(handle)[:80]}, as another that lives"
            )
        self.layers.add(handle)
        kind = ProgramLayer if "vjp" in self.unsupported else RecordingProgramLayer
        layer = kind(self, self.pipe, handle, channels)
        if "reset" not in self.unsupported:
            layer.reset = layer.start_anew
        if "set" not in self.unsupported:
            layer.set = layer.change
        if "jvp" not in self.unsupported:
            layer.jvp = layer.output_along
        if "hvp" not in self.unsupported:
            layer.hvp = layer.gradients_along
        if "replicated" not in self.unsupported:
            layer.replicated = layer.over_replicas
        if "replicated_vjp" not in self.unsupported:
            layer.replicated_vjp = layer.gradients_over_replicas
        if "masked_replicated" not in self.unsupported:
            layer.masked_replicated = layer.over_masked_replicas
        if "masked_replicated_vjp" not in self.unsupported:
            layer.masked_replicated_vjp = layer.gradients_over_masked_replicas
        if "masked" not in self.unsupported:
            layer.masked = layer.output_of_selected
        if "masked_backward" not in self.unsupported:
            layer.masked_backward = layer.gradients_of_selected
        if "recomputed" not in self.unsupported:
            layer.recomputed = layer.gradients_recomputed
        if "saved_statistics" not in self.unsupported:
            layer.saved_statistics = layer.read_saved
        if "freeze" not in self.unsupported:
            layer.freeze = layer.keep_from_training
        weakref.finalize(layer, self.unneeded.append, handle)
        return layer

    # -- the program -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the program and hear what it says of itself, which must be the same each time."""
        if self.starts > STARTS:
            raise Lost(f"the program is lost: it was started {self.starts} times and did not last, and is given up")
        self.starts += 1
        self.layers, self.unneeded, self.requests = set(), [], 0
        try:
            self.pipe = LineProcess(self.command, self.seconds, LIMIT)
        except OSError as problem:
            raise BackendError(f"{self.where} cannot be started: {self.command[0]}: {problem.strerror}") from None
        try:
            told = self.ask("hello", protocol=PROTOCOL)
        except tuple(ERRORS.values()) as refusal:
            raise self._break_off(f"it answers hello with an error: {refusal}") from None
        if told.get("protocol") != PROTOCOL:
            raise self._break_off(f"it speaks the protocol {json.dumps(told.get('protocol'))[:80]}, not {PROTOCOL}")
        fault = fault_of(told)
        if fault:
            raise self._break_off(f"its answer to hello is no introduction: {fault}")
        told.pop("id")
        if self.told and told != self.told:
            changed = sorted(key for key in {*told, *self.told} if told.get(key) != self.told.get(key))
            raise self._break_off(f"started again, it says another {' and '.join(changed)} of itself than before")
        self.told = told

    def ask(self, what: str, elements: int = 0, **request: Any) -> Answer:
        """The program's answer; raises what the program refuses with, or Lost.

        Args:
            elements: how many numbers there can be in the answer.
        """
        if not self.pipe.alive:
            raise Lost(f"{what} was not asked: {self.pipe.fate}")
        self.requests += 1
        line = json.dumps({"id": self.requests, "do": what, **request}, allow_nan=False, separators=(",", ":"))
        text = self.pipe.exchange(line.encode(), ROOM + 64 * elements, what)
        try:
            answer = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise self._break_off(
                f"it printed {show(text)} where its answer to {what} was due; standard output is for answers alone, "
                "one JSON object a line, and standard error for all else"
            ) from None
        if not isinstance(answer, dict):
            raise self._break_off(f"its answer to {what} is {show(text)}, which is no JSON object")
        number = answer.get("id")
        if type(number) is not int or number != self.requests:
            raise self._break_off(f"its answer to {what} has the id {json.dumps(number)[:80]}, not {self.requests}")
        if "error" not in answer:
            return answer
        error = answer["error"]
        kind, message = (error.get("kind"), error.get("message")) if isinstance(error, dict) else (None, None)
        if not isinstance(kind, str) or kind not in ERRORS or not isinstance(message, str) or not message:
            raise self._break_off(
                f"its answer to {what} has the error {show(json.dumps(error).encode())}; "
                f"give a message in words and the kind {' or '.join(ERRORS)}"
            )
        raise ERRORS[kind](message)

    def _break_off(self, text: str) -> Lost:
        return self.pipe.lose(text)


class ProgramLayer:
    """A layer that lives in a program; the program forgets it when nobody needs it any more."""

    def __init__(self, backend: ProgramBackend, pipe: LineProcess, handle: int | str, channels: int) -> None:
        self.backend, self.pipe, self.handle, self.channels = backend, pipe, handle, channels
        self.reset: Callable[[], None] | None = None
        self.set: Callable[..., None] | None = None
        self.jvp: Callable[..., tuple[Array, Array]] | None = None
        self.hvp: Callable[..., Gradients] | None = None
        self.replicated: Callable[..., list[tuple[Array, dict[str, Array | None]]]] | None = None
        self.replicated_vjp: Callable[..., list[Gradients]] | None = None
        self.masked_replicated: Callable[..., list[tuple[Array, dict[str, Array | None]]]] | None = None
        self.masked_replicated_vjp: Callable[..., list[Gradients]] | None = None
        self.masked: Callable[..., Array] | None = None
        self.masked_backward: Callable[..., Gradients] | None = None
        self.recomputed: Callable[..., Gradients] | None = None
        self.saved_statistics: Callable[..., dict[str, Array | None]] | None = None
        self.freeze: Callable[[bool], None] | None = None

    def forward(self, x: Array, *, training: bool) -> Array:
        """y, of whatever shape and dtype the program gives it."""
        told = self._ask("forward", x.size, x=encode(x), training=training)
        return _array(told, "forward", "y")

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        """The three gradients, None where the program has none."""
        told = self._ask("backward", x.size, x=encode(x), grad_output=encode(grad_output), training=training)
        grad_weight, grad_bias = (_maybe(told, "backward", name) for name in ("grad_weight", "grad_bias"))
        return _array(told, "backward", "grad_x"), grad_weight, grad_bias

    def state(self) -> dict[str, Array | None]:
        """What the layer remembers."""
        told = self._ask("state", 0)
        return {name: _maybe(told, "state", name) for name in STATE}

    def load(self, state: Mapping[str, Array | None]) -> None:
        """Set the given entries."""
        self._ask("load", 0, state={name: encode(value) for name, value in state.items() if value is not None})

    def start_anew(self) -> None:
        """Make statistics and counter as they are when new; `reset` of a program with that ability."""
        self._ask("reset", 0)

    def change(self, **options: Any) -> None:
        """Change options of the layer; `set` of a program with that ability."""
        self._ask("set", 0, options=options)

    def output_along(self, x: Array, tangent: Array, *, training: bool) -> tuple[Array, Array]:
        """(y, tangent_y); `jvp` of a program with that ability."""
        told = self._ask("jvp", 2 * x.size, x=encode(x), tangent=encode(tangent), training=training)
        return _array(told, "jvp", "y"), _array(told, "jvp", "tangent_y")

    def gradients_along(self, x: Array, grad_output: Array, vector: Array, *, training: bool) -> Gradients:
        """(hvp_x, hvp_weight, hvp_bias), None where the program has none; `hvp` of a program with that ability."""
        operands = {"x": encode(x), "grad_output": encode(grad_output), "vector": encode(vector)}
        told = self._ask("hvp", x.size, **operands, training=training)
        by_weight, by_bias = (_maybe(told, "hvp", name) for name in ("hvp_weight", "hvp_bias"))
        return _array(told, "hvp", "hvp_x"), by_weight, by_bias

    def over_replicas(self, xs: Sequence[Array], *, training: bool) -> list[tuple[Array, dict[str, Array | None]]]:
        """(y, state) of each replica; `replicated` of a program with that ability."""
        return _replica_outputs("replicated", self._of_each("replicated", xs, training=training))

    def gradients_over_replicas(
        self, xs: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[Gradients]:
        """The gradients that each replica gives; `replicated_vjp` of a program with that ability."""
        upstream = [encode(g) for g in grad_outputs]
        return _replica_gradients(
            "replicated_vjp", self._of_each("replicated_vjp", xs, grad_outputs=upstream, training=training)
        )

    def over_masked_replicas(
        self, xs: Sequence[Array], masks: Sequence[Array], *, training: bool
    ) -> list[tuple[Array, dict[str, Array | None]]]:
        """(y, state) of each replica with its mask; `masked_replicated` of a program with that ability."""
        selecting = [encode(mask) for mask in masks]
        return _replica_outputs(
            "masked_replicated", self._of_each("masked_replicated", xs, masks=selecting, training=training)
        )

    def gradients_over_masked_replicas(
        self, xs: Sequence[Array], masks: Sequence[Array], grad_outputs: Sequence[Array], *, training: bool
    ) -> list[Gradients]:
        """The gradients of each replica with its mask; `masked_replicated_vjp` of a program with that ability."""
        operands = {"masks": [encode(mask) for mask in masks], "grad_outputs": [encode(g) for g in grad_outputs]}
        return _replica_gradients(
            "masked_replicated_vjp", self._of_each("masked_replicated_vjp", xs, **operands, training=training)
        )

    def _of_each(self, what: str, shards: Sequence[Array], **request: Any) -> list[Answer]:
        """What is answered of each replica; WrongAnswer where it is no list with one object for each."""
        count, given = len(shards), [encode(x) for x in shards]
        elements = count * (max(x.size for x in shards) + 3 * self.channels)
        told = self._ask(what, elements, xs=given, **request).get("replicas")
        if not isinstance(told, list) or len(told) != count or not all(isinstance(one, dict) for one in told):
            raise WrongAnswer(f"its answer to {what} has no list `replicas` of {count} objects, one a replica")
        return told

    def output_of_selected(self, x: Array, mask: Array, *, training: bool) -> Array:
        """The output; `masked` of a program with that ability."""
        told = self._ask("masked", x.size, x=encode(x), mask=encode(mask), training=training)
        return _array(told, "masked", "y")

    def gradients_of_selected(self, x: Array, mask: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The three gradients, None where the program has none; `masked_backward` of a program with that ability."""
        operands = {"x": encode(x), "mask": encode(mask), "grad_output": encode(grad_output)}
        told = self._ask("masked_backward", x.size, **operands, training=training)
        by_weight, by_bias = (_maybe(told, "masked_backward", name) for name in ("grad_weight", "grad_bias"))
        return _array(told, "masked_backward", "grad_x"), by_weight, by_bias

    def gradients_recomputed(self, x: Array, grad_output: Array, *, training: bool) -> Gradients:
        """The three gradients, None where the program has none; `recomputed` of a program with that ability."""
        operands = {"x": encode(x), "grad_output": encode(grad_output)}
        told = self._ask("recomputed", x.size, **operands, training=training)
        by_weight, by_bias = (_maybe(told, "recomputed", name) for name in ("grad_weight", "grad_bias"))
        return _array(told, "recomputed", "grad_x"), by_weight, by_bias

    def read_saved(self, x: Array, *, training: bool) -> dict[str, Array | None]:
        """What the operator gives beside y; `saved_statistics` of a program with that ability."""
        told = self._ask("saved_statistics", 2 * self.channels, x=encode(x), training=training)
        return {name: _maybe(told, "saved_statistics", name) for name in ("mean", "invstd", "variance")}

    def keep_from_training(self, frozen: bool) -> None:
        """Freeze the layer, or let it train again; `freeze` of a program with that ability."""
        self._ask("freeze", 0, frozen=frozen)

    def _ask(self, what: str, elements: int, **request: Any) -> Answer:
        if self.pipe is not self.backend.pipe:
            raise Lost(f"{what} was not asked of this layer: {self.pipe.fate}")
        return self.backend.ask(what, elements + self.channels, layer=self.handle, **request)


class RecordingProgramLayer(ProgramLayer):
    """One whose program can record a pass. The program forgets its recorded passes together with the layer."""

    def vjp(self, x: Array, *, training: bool) -> tuple[Array, Callable[[Array], Gradients]]:
        """(y, pullback) of a pass that the program keeps under a handle of its own."""
        told = self._ask("vjp", x.size, x=encode(x), training=training)
        handle = told.get("pass")
        if isinstance(handle, bool) or not isinstance(handle, int | str):
            raise WrongAnswer(f"its answer to vjp names the pass {json.dumps(handle)[:80]}, no number and no text")

        def pullback(grad_output: Array) -> Gradients:
            asked = {"pass": handle, "grad_output": encode(grad_output)}
            told = self._ask("pullback", grad_output.size, **asked)
            grad_weight, grad_bias = (_maybe(told, "pullback", name) for name in ("grad_weight", "grad_bias"))
            return _array(told, "pullback", "grad_x"), grad_weight, grad_bias

        return _array(told, "vjp", "y"), pullback


def _replica_outputs(what: str, each: Sequence[Answer]) -> list[tuple[Array, dict[str, Array | None]]]:
    """(y, state) of each replica, as it is answered."""
    names = ("running_mean", "running_var", "num_batches_tracked")
    return [(_array(told, what, "y"), {name: _maybe(told, what, name) for name in names}) for told in each]


def _replica_gradients(what: str, each: Sequence[Answer]) -> list[Gradients]:
    """The gradients that each replica gives, as it is answered."""
    return [
        (_array(told, what, "grad_x"), _maybe(told, what, "grad_weight"), _maybe(told, what, "grad_bias"))
        for told in each
    ]


def is_outside(config: Any) -> bool:
    """Whether an option has a value that the protocol's schema does not let it have."""
    momentum = 0 if config.momentum is None else config.momentum
    return not (config.num_features >= 1 and config.eps >= 0 and 0 <= momentum <= 1)


def _array(told: Answer, what: str, name: str) -> Array:
    """One array of an answer; WrongAnswer where it is none."""
    if name not in told:
        raise WrongAnswer(f"its answer to {what} has no {name}")
    counter = name == "num_batches_tracked"
    try:
        array = decode(told[name], ("int64",) if counter else FLOATS)
        if counter and array.shape:
            raise ValueError(f"has the shape {list(array.shape)}; it should be one number, of shape []")
    except ValueError as problem:
        raise WrongAnswer(f"in its answer to {what}, {name} {problem}") from None
    return array


def _maybe(told: Answer, what: str, name: str) -> Array | None:
    return None if name in told and told[name] is None else _array(told, what, name)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
