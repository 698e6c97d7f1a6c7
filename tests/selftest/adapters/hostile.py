"""Adapters that attack the suite: each does one thing that it must outlive, on layers that are right or wrong.

What shall be wrong is a running variance that is biased, which BN-RUN-VAR tells. Where not said otherwise the attack is
made in every forward pass.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from bnconform.backends.numpy_layer import Array, NumpyLayer
from bnconform.backends.runner import frames
from bnconform.tests.selftest.adapters.broken import Broken

GARBAGE = b"\x00\xff garbage, which is no message\n"
TOKEN = os.environ.get("HOSTILE_RUN", "")
"""By which the test knows the processes that a run has started; among the arguments of those that shed all else."""

FOREVER = "import time\nwhile True: time.sleep(1)"


class Right(NumpyLayer):
    """A layer that calls `attack` in each forward pass, with the input, and is right."""

    def attack(self, x: Array) -> None:
        """Do what is to be outlived."""

    def forward(self, x: Array, *, training: bool) -> Array:
        self.attack(x)
        return super().forward(x, training=training)


class Wrong(Right):
    """The same, but the running variance is biased."""

    def _remember(self, mean: Array, variance: Array, count: int | Array) -> None:
        super()._remember(mean, variance * np.maximum(np.subtract(count, 1), 1) / count, count)


def right(attack: Callable[[Array], object]) -> type[NumpyLayer]:
    """A right layer that makes an attack."""
    return type("Layer", (Right,), {"attack": lambda _, x: attack(x)})


def wrong(attack: Callable[[Array], object]) -> type[NumpyLayer]:
    """A wrong layer that makes an attack."""
    return type("Layer", (Wrong,), {"attack": lambda _, x: attack(x)})


def once(attack: Callable[[], object]) -> Callable[[Array], None]:
    """An attack that is made at the first pass that a process makes over an empty batch."""
    done: list[bool] = []

    def make(x: Array) -> None:
        if not x.size and not done:
            done.append(True)
            attack()

    return make


# -- processes ---------------------------------------------------------------------------------------------------------


def fork(_: object = None) -> None:
    """Let the child return too."""
    os.fork()


class Forks(Broken):
    """Two processes come back from each pass."""

    kind = right(fork)


class ForksWrong(Broken):
    """The same, of a wrong layer: the child's answers must not stand for those to other questions."""

    kind = wrong(fork)


class ForksAndLeaves(Broken):
    """The child goes on, and the process that is spoken with ends."""

    kind = right(once(lambda: os.fork() and os._exit(0)))


class ForksEverywhere(Broken):
    """So do building, showing and loading."""

    def __init__(self) -> None:
        super().__init__()
        fork()

    def devices(self) -> list[str]:
        fork()
        return super().devices()

    def build(self, config: Any, device: str) -> Any:
        fork()
        return super().build(config, device)


def daemon() -> None:
    """A process that has left parent and session, as daemons do."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execv(sys.executable, [sys.executable, "-c", FOREVER, TOKEN])


def start(environment: Mapping[str, str] | None = None) -> None:
    """A process in a session of its own, with standard output as it is here."""
    subprocess.Popen([sys.executable, "-c", FOREVER, TOKEN], start_new_session=True, env=environment)


def segfault() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)


def dying(*ways: Callable[[], object]) -> type[Broken]:
    """An adapter that does these on an empty batch."""

    def attack(x: Array) -> None:
        for way in ways if not x.size else ():
            way()

    return type("Dying", (Broken,), {"kind": right(attack)})


class DaemonThenSegfault(dying(daemon, segfault)):  # type: ignore[misc]
    """A daemon is left behind by a process that crashes."""


class DaemonThenExit(dying(daemon, lambda: os._exit(0))):  # type: ignore[misc]
    """A daemon is left behind by a process that ends as if all were well."""


class StartedThenExit(dying(start, lambda: os._exit(3))):  # type: ignore[misc]
    """A process of another session is left behind by one that ends with a status."""


class StartedThenAbort(dying(start, os.abort)):  # type: ignore[misc]
    """A process of another session, which holds standard output, is left behind by one that aborts."""


class DaemonThenSysExit(dying(daemon, sys.exit)):  # type: ignore[misc]
    """A daemon, and a request to Python to end, which the runner hears."""


class DaemonWithoutEnvironment(dying(lambda: start({}), lambda: time.sleep(1), lambda: os._exit(3))):  # type: ignore[misc]
    """It has left its session and its environment behind, but was there for a while."""


class DaemonAlways(Broken):
    """It is there at the end of a run without any death."""

    kind = right(once(daemon))


# -- noise -------------------------------------------------------------------------------------------------------------


def garble(_: object = None) -> None:
    """Write garbage to everything that is open, but for what nobody reads."""
    for place in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            os.write(int(place.name), GARBAGE)


def say(_: object = None) -> None:
    """Write garbage to standard output and error."""
    for descriptor in (1, 2):
        os.write(descriptor, GARBAGE)


class SaysGarbage(Broken):
    """Garbage on standard output and error from the first to the last, which is nobody's business."""

    kind = right(say)

    def __init__(self) -> None:
        super().__init__()
        say()

    def devices(self) -> list[str]:
        say()
        return super().devices()


class SaysGarbageWrong(SaysGarbage):
    """The same, of a wrong layer."""

    kind = wrong(say)


class GarblesDevices(Broken):
    """Garbage on every descriptor while it says what it is."""

    def devices(self) -> list[str]:
        garble()
        return super().devices()


class GarblesSmoke(Broken):
    """Garbage on every descriptor in the smoke check, which alone builds a layer by default of three channels."""

    def build_default(self, num_features: int, device: str) -> Any:
        garble()
        return super().build_default(num_features, device)


class GarblesChecks(Broken):
    """Garbage on every descriptor in the first pass over an empty batch."""

    kind = right(once(garble))


class ClosesAll(Broken):
    """Every descriptor is closed in a pass over an empty batch."""

    kind = right(once(lambda: os.closerange(0, 4096)))


def _read_all() -> None:
    for place in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            os.set_blocking(int(place.name), False)
            os.read(int(place.name), 100)


class ReadsRequests(Broken):
    """It reads what is meant for the runner."""

    kind = right(once(_read_all))


class Flood(Broken):
    """A hundred megabytes on each stream in one pass."""

    kind = right(once(lambda: [os.write(1 + (number & 1), b"0123456789abcdef" * 2**16) for number in range(200)]))


class FloodWrong(Broken):
    """The same, of a wrong layer."""

    kind = wrong(once(lambda: [os.write(1 + (number & 1), b"0123456789abcdef" * 2**16) for number in range(200)]))


def twelve_lines_and_abort() -> None:
    """Say more than is told, with signs that a terminal would obey."""
    for number in range(12):
        sys.stderr.write(f"line {number} of the kernel's last words \x1b[2J\n")
    sys.stderr.flush()
    os.abort()


class SaysTwelveLines(dying(twelve_lines_and_abort)):  # type: ignore[misc]
    """The last ten lines are told."""


# -- answers -----------------------------------------------------------------------------------------------------------

SOUND = frames.encode


def forge(change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Callable[[object], None]:
    """From now on, frames are encoded otherwise: those that a message is changed into."""

    def attack(_: object) -> None:
        frames.encode = lambda message: b"".join(SOUND(one) for one in change(message))

    return attack


class Duplicates(Broken):
    """Every reply comes twice."""

    kind = wrong(forge(lambda message: [message, message]))


class WrongNonce(Broken):
    """Replies have an id that is due, and another nonce."""

    kind = wrong(forge(lambda message: [message | {"nonce": "0" * 16}]))


class Ahead(Broken):
    """The reply to the next question comes before it is asked."""

    kind = wrong(forge(lambda message: [message, message | {"id": message["id"] + 1}]))


class NoNumber(Broken):
    """Where a number of seconds is due, there is none."""

    kind = wrong(forge(lambda message: [_with(message, seconds=float("nan"))]))


class Endless(Broken):
    """A reply that has no end."""

    kind = wrong(lambda _: _endless())


def _endless() -> None:
    frames.encode = lambda message: frames.HEAD.pack(frames.MAGIC, 2**35, 2**35) + bytes(2**24)


class Overlapping(Broken):
    """A short reply with very many arrays, all of the same bytes."""

    kind = wrong(lambda _: _overlapping())


def _overlapping() -> None:
    entry = '{"$":["float64",[131072],0,1048576]}'
    head = ('{"trace":[' + ",".join([entry] * 10_000) + "]}").encode()
    frames.encode = lambda message: frames.HEAD.pack(frames.MAGIC, len(head), 2**20) + head + bytes(2**20)


class Absurd(Broken):
    """A million steps, of which none is one."""

    kind = wrong(forge(lambda message: [_with(message, steps=[{}] * 10**6)]))


class DescribesNonsense(Broken):
    """It says of itself what no words are, past what is looked at where it runs."""

    def devices(self) -> list[str]:
        description = {"name": np.zeros(3), "devices": {"cpu": float("nan")}, "deviations": [[]], "packages": None}
        frames.encode = lambda message: SOUND(
            {**message, "described": dict.fromkeys(message["described"], description)}
        )
        return super().devices()


def _with(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return message if "trace" not in message else message | {"trace": {**message["trace"], **changes}}


# -- patches -----------------------------------------------------------------------------------------------------------


def _nothing(*_: Any, **__: Any) -> Any:
    return None


def patch(owner: ModuleType, *names: str, by: object = _nothing) -> Callable[[Array], None]:
    """Put something in the place of what a module has."""

    def attack(_: Array) -> None:
        for name in names:
            setattr(owner, name, by)

    return attack


class PatchesJson(Broken):
    """`json` writes and reads nothing any more."""

    kind = wrong(patch(json, "dumps", "loads", "dump", "load"))


class PatchesNumpy(Broken):
    """NumPy makes zeros of everything."""

    kind = wrong(patch(np, "array", "asarray", by=lambda *_, **__: np.zeros(3)))


class PatchesNumpyToFail(Broken):
    """NumPy makes nothing."""

    kind = wrong(patch(np, "array", "asarray", "frombuffer", "errstate"))


class PatchesPickle(Broken):
    """Nothing is pickled, so that nothing changes."""

    kind = wrong(patch(pickle, "dumps", "loads"))


class PatchesStruct(Broken):
    """`struct` packs nothing."""

    kind = wrong(patch(struct, "pack", "unpack", "Struct"))


class ClosesStreams(Broken):
    """Python's streams are closed and gone."""

    kind = wrong(patch(sys, "stdin", "stdout", "stderr", by=None))


class PatchesWrite(Broken):
    """`os.write` writes to nobody."""

    kind = wrong(patch(os, "write", "writev", "fdopen"))


class PatchesClock(Broken):
    """Time is no number."""

    kind = wrong(patch(time, "perf_counter", "monotonic", "time", by=lambda: "noon"))


class PatchesProcess(Broken):
    """It says that it is another process, and cannot be ended by itself."""

    kind = wrong(patch(os, "getpid", "_exit", by=lambda *_: 1))


def patch_judge(_: object) -> None:
    """Set every distance to zero, wherever a function measures it, and let every module be found so."""
    if any(sys.modules.get(name) is sys.modules[__name__] for name in list(sys.modules) if name != __name__):
        return
    from bnconform.judge import error_ratio, judgement

    for module in (error_ratio, judgement):
        vars(module)["error_ratios"] = lambda observed, *_, **__: np.zeros(np.shape(observed))
    judgement.judge = _nothing
    for thing in gc.get_objects():
        if getattr(thing, "__name__", "") == "error_ratios" and hasattr(thing, "__code__"):
            thing.__code__ = (lambda *_, **__: np.zeros(3)).__code__
    for name in [name for name in sys.modules if name.startswith("bnconform.judge")]:
        sys.modules[name] = sys.modules[__name__]


class PatchesJudge(Broken):
    """It does to our judge what it can reach."""

    kind = wrong(patch_judge)


# -- ends and delays ---------------------------------------------------------------------------------------------------


class ExitsInForward(Broken):
    """Every pass ends the process, as if all were well."""

    kind = right(lambda _: os._exit(0))


class ExitsInBuild(Broken):
    """Building a layer ends the process, as if all were well."""

    def build(self, config: Any, device: str) -> Any:
        os._exit(0)

    def build_default(self, num_features: int, device: str) -> Any:
        os._exit(0)


def sleep_for_ever(before: Callable[[], None] = lambda: None) -> Any:
    """Do something, and hang."""
    before()
    while True:
        time.sleep(1)


class HangsInForward(Broken):
    """A pass over an empty batch never returns."""

    kind = right(lambda x: sleep_for_ever() if not x.size else None)


class _HangsInState(NumpyLayer):
    def state(self) -> dict[str, Array | None]:
        return super().state() if self.ndim != 2 else sleep_for_ever()


class HangsInState(Broken):
    """The state of a layer of rank 2 never comes."""

    kind = _HangsInState


class HangsInBuild(Broken):
    """A layer of rank 2 is never built."""

    def build(self, config: Any, device: str) -> Any:
        return super().build(config, device) if config.ndim != 2 else sleep_for_ever()


class HangsWithAGrandchild(dying(start, sleep_for_ever)):  # type: ignore[misc]
    """It hangs, and another process holds its standard output."""


class HangsInImport(Broken):
    """It never comes to say what it is, and holds a process."""

    def __init__(self) -> None:
        super().__init__()
        start()
        sleep_for_ever()


class HangsInForwardAlways(Broken):
    """No pass returns, and a process is there for each."""

    kind = right(lambda _: sleep_for_ever(start))


class StopsItself(dying(lambda: os.kill(os.getpid(), signal.SIGSTOP))):  # type: ignore[misc]
    """The process is stopped, as by a debugger."""


class ChildHoards(Broken):
    """A child takes one and a half gibibytes, and the layer waits for it."""

    kind = right(
        once(
            lambda: subprocess.run(
                [sys.executable, "-c", "import time\nheld = b'x' * (3 * 2**29)\ntime.sleep(1000)", TOKEN], check=False
            )
        )
    )


class ForkedChildShares(Broken):
    """Four children share 400 MiB with it, which are not five times as many."""

    kind = right(once(lambda: _share()))


HELD: list[bytes] = []


def _share() -> None:
    HELD.append(b"x" * (400 * 2**20))
    for _ in range(4):
        if not os.fork():
            sleep_for_ever()
    time.sleep(1.5)


class _OnlyAt(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        self.die(x)
        return super().forward(x, training=training)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        self.die(x)
        return super().backward(x, grad_output, training=training)

    def die(self, x: Array) -> None:
        raise NotImplementedError


class _AtRank5(_OnlyAt):
    def die(self, x: Array) -> None:
        if x.ndim == 5:
            segfault()


class _AtHalf(_OnlyAt):
    def die(self, x: Array) -> None:
        if x.dtype == np.float16:
            os.abort()


class _AtEmpty(_OnlyAt):
    def die(self, x: Array) -> None:
        if not x.size:
            os._exit(7)


class _AtTwoThings(_OnlyAt):
    def die(self, x: Array) -> None:
        if x.ndim == 5:
            segfault()
        if not x.size:
            os.abort()


class _AtBoth(_OnlyAt):
    def die(self, x: Array) -> None:
        if x.ndim == 5 and x.dtype == ml_dtypes.bfloat16:
            segfault()


class _HangsAtRank5(_OnlyAt):
    def die(self, x: Array) -> None:
        if x.ndim == 5:
            sleep_for_ever()


class DiesAtRank5(Broken):
    """A kernel of rank 5 crashes."""

    kind = _AtRank5


class DiesAtFloat16(Broken):
    """A kernel of half precision crashes."""

    kind = _AtHalf


class DiesAtAnEmptyBatch(Broken):
    """A kernel for empty batches ends the process."""

    kind = _AtEmpty


class DiesOfTwoThings(Broken):
    """Two kernels crash, of which neither has to do with the other."""

    kind = _AtTwoThings


class DiesOfBoth(Broken):
    """A kernel of rank 5 in bfloat16 crashes; neither alone does."""

    kind = _AtBoth


class HangsAtRank5(Broken):
    """A kernel of rank 5 does not return."""

    kind = _HangsAtRank5


class SpeaksStrangely(Broken):
    """Its errors hold what no encoding has, and what a terminal would obey."""

    kind = right(once(lambda: _raise("\ud800 \x1b[2J\n\n" + "x" * 10**6)))


def _raise(text: str) -> None:
    raise RuntimeError(text)
