"""Programs behind a pipe: what crosses it, and what becomes of one that breaks the protocol, each in one way."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bnconform.backends import registry
from bnconform.backends.external.line_process import Lost
from bnconform.backends.external.program import LIMIT, Failed, ProgramBackend, ProgramLayer, WrongAnswer
from bnconform.backends.registry import BackendError
from bnconform.backends.runner.instrumented import Clock, InstrumentedLayer, Misfit, Raised
from bnconform.results.result import read
from bnconform.spec.config import Config
from bnconform.tests.selftest.adapters import program as echo
from bnconform.tests.selftest.command import ADAPTERS, bnconform

ECHO = ADAPTERS / "program.py"
X = np.arange(6, dtype=np.float32).reshape(2, 3)
CHANNELS = 3

UNFIT: dict[str, str] = {
    "banner": "it printed 'Welcome to echo 2.0' where its answer to hello was due; standard output is for answers",
    "silent": f"no answer to hello within 1 s ({LIMIT})",
    "no licence": "ended with status 3 when it was asked for hello; its last words: no licence found",
    "other protocol": 'it speaks the protocol "bnconform/9", not bnconform/1',
    "no protocol": "it speaks the protocol null, not bnconform/1",
    "hello is refused": "it answers hello with an error: I speak bnconform/9",
    "name of two words": 'the name "my layer" should be up to 60 letters',
    "no name": "the name null should be",
    "no devices": "the devices [] should be a list of names such as",
    "devices is text": 'the devices "cpu" should be a list',
    "reasons left out": 'unsupported ["float16"] should be an object of words to words',
    "empty reason": 'unsupported {"float16": ""} should be an object of words to words',
    "reasons by device left out": 'unsupported_on {"cuda": ["float64"]} should have an object',
    "version is a number": "version 2 should be a text",
    "slow is a text": 'slow_to_start "no" should be true or false',
    "abilities is a text": 'abilities "vjp" should be a list of words',
}
LOST: dict[str, str] = {
    "aborts": "it died of SIGABRT when it was asked for forward; its last words: kernel: division by zero",
    "exits": "it ended with status 0 when it was asked for forward",
    "half a line": """it ended with status 0, in the middle of '{"id": 3, "y": {"dty', when it was asked for forward""",
    "hangs": f"it gave no answer to forward within 1 s ({LIMIT})",
    "closes its output": "it closed its standard output when it was asked for forward",
    "endless line": "its answer to forward goes on after",
    "no JSON": "it printed 'y = 3' where its answer to forward was due",
    "no object": "its answer to forward is '[1, 2]', which is no JSON object",
    "NaN": "where its answer to forward was due",
    "deep": "it printed '[[[",
    "other id": "its answer to forward has the id 1, not 3",
    "id is text": 'its answer to forward has the id "3", not 3',
    "no id": "its answer to forward has the id null, not 3",
    "no text": r"it printed '\\xff\\xfe' where its answer to forward was due",
    "unknown kind": """the error '{"kind": "sorry", "message": "no memory"}'; give a message in words""",
    "kind is a list": "give a message in words and the kind unsupported or invalid or failed",
    "no message": "give a message in words",
    "error is text": """has the error '"bad"'; give a message""",
    "no handle": "its answer to build names the layer null, no number and no text",
    "handle is true": "names the layer true, no number",
    "handle is a list": "names the layer [1], no number",
}
WRONG: dict[str, str] = {
    "no y": "its answer to forward has no y",
    "y is null": "y is 'null'; it should be an array with dtype, shape and data",
    "y is a list": "y is '[1, 2]'; it should be an array",
    "unknown dtype": 'y has the dtype "float33"; it should be float64 or float32 or float16 or bfloat16',
    "dtype of no float": 'y has the dtype "int64"',
    "shape is a number": "y has the shape 6; it should be a list of sizes",
    "shape below 0": "y has the shape [-2, -3]",
    "shape of true": "y has the shape [true, 6]",
    "no base64": 'y has data that is no base64: "not base64!"',
    "data is a number": "y has data that is no base64: 3",
    "too few bytes": "y has 3 bytes of data; float32 of shape (2, 3) takes 24",
    "state lacks weight": "its answer to state has no weight",
    "counter in a list": "num_batches_tracked has the shape [1]; it should be one number, of shape []",
    "counter is a number": "num_batches_tracked is '1'; it should be an array",
}


def command(fault: str, *more: str) -> str:
    """What --backend is given for the echoing program with a fault."""
    return f"command:{shlex.join([sys.executable, str(ECHO), fault, *more])}"


def start(fault: str, *more: str) -> ProgramBackend:
    """The adapter of a program that has said hello."""
    backend = registry.load(command(fault, *more))
    assert isinstance(backend, ProgramBackend)
    if fault == "hangs":
        backend.pipe.seconds = 1  # not before it has started
    return backend


def run(backend: ProgramBackend) -> None:
    """Ask for a layer, y, and the state."""
    layer = backend.build(Config(ndim=2), "cpu")
    layer.forward(X, training=True)
    layer.state()


def is_gone(group: int) -> bool:
    """Whether every process of a group has ended, given a little time; one that nobody has waited for has ended."""
    for _ in range(50):
        if not any(_is_running_in(group, process) for process in psutil.process_iter()):
            return True
        time.sleep(0.1)
    return False


def _is_running_in(group: int, process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ProcessLookupError):
        return False


def alive(backend: ProgramBackend) -> bool:
    """Whether the program's process still is there."""
    return backend.pipe.process.poll() is None


def test_every_fault_is_tried() -> None:
    """Each fault of the program is in one of the tables below, or has a test of its own."""
    own = {"none", "unknown deviation", "two lines", "handle of another", "other shape", "other name each time"}
    own |= {"unsupported", "invalid", "failed", "able"}
    assert set(echo.FAULTS) == {*UNFIT, *LOST, *WRONG, *own}


@pytest.mark.parametrize("fault", UNFIT)
def test_unfit_program_is_refused(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not introduce itself is no backend, and one line says why."""
    if fault == "silent":
        monkeypatch.setenv(LIMIT, "1")
    with pytest.raises(BackendError) as refusal:
        start(fault)
    assert UNFIT[fault] in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("fault", LOST)
def test_program_that_breaks_the_protocol_is_lost(fault: str) -> None:
    """It is ended, the error says what it did on which request, and it is no refusal."""
    backend = start(fault)
    with pytest.raises(Lost) as loss:
        run(backend)
    assert LOST[fault] in str(loss.value)
    assert len(str(loss.value)) < 700 and "\n" not in str(loss.value)
    assert loss.value.hung == (fault == "hangs")
    assert not loss.value.is_refusal
    assert not alive(backend)


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_answer_is_a_violation(fault: str) -> None:
    """An array that does not hold together is no refusal and no answer, and the program is asked further."""
    backend = start(fault)
    with pytest.raises(WrongAnswer) as wrong:
        run(backend)
    assert WRONG[fault] in str(wrong.value)
    layer = InstrumentedLayer(backend.build(Config(ndim=2), "cpu"), CHANNELS, Clock())
    with pytest.raises(Misfit) as misfit:
        layer.state() if fault.startswith(("state", "counter")) else layer.forward(X, training=True)
    assert WRONG[fault] in str(misfit.value)
    assert alive(backend)


def test_program_is_asked_for_what_it_can() -> None:
    """What bnconform/1 did not have at first is asked of a program that names it among its abilities, and no other."""
    backend = start("none")
    later = {"weight_alone", "bias_alone", "vjp", "jvp", "hvp", "masked", "masked_backward", "reset", "set"}
    later |= {"recomputed", "saved_statistics", "freeze", "replicated", "replicated_vjp", "masked_replicated"}
    assert later | {"masked_replicated_vjp"} <= set(backend.unsupported)
    asked = backend.requests
    for affine in ("weight", "bias"):
        with pytest.raises(NotImplementedError, match="among its abilities"):
            backend.build(Config(ndim=2, affine=affine), "cpu")
    assert backend.requests == asked
    layer = backend.build(Config(ndim=2), "cpu")
    assert not hasattr(layer, "vjp") and (layer.reset, layer.set, layer.jvp, layer.hvp) == (None,) * 4
    assert (layer.masked, layer.masked_backward, layer.recomputed) == (None, None, None)
    assert (layer.replicated, layer.replicated_vjp) == (None, None)
    assert (layer.masked_replicated, layer.masked_replicated_vjp) == (None, None)
    assert (layer.saved_statistics, layer.freeze) == (None, None)


def test_program_with_abilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told which parameter there is, and keeps a pass under a handle of its own."""
    backend = start("able")
    transforms = {"vmap", "vmap_layers", "jacrev", "jacfwd", "eval_shape", "jvp_jvp", "third"}
    assert set(backend.unsupported) == {"bias_alone", "any_options", *transforms}
    heard: list[tuple[str, Any]] = []
    ask = backend.ask

    def note(what: str, elements: int = 0, **request: Any) -> Any:
        heard.append((what, request))
        return ask(what, elements, **request)

    monkeypatch.setattr(backend, "ask", note)
    layer = InstrumentedLayer(backend.build(Config(ndim=2, affine="weight"), "cpu"), CHANNELS, Clock())
    assert layer.vjp(X, training=True).tobytes() == X.tobytes()
    grad_x, grad_weight, grad_bias = layer.pullback(1, X + 1)
    assert grad_x.tobytes() == (X + 1).tobytes() and grad_weight is grad_bias is None
    y, tangent_y = layer.jvp(X, X - 1, training=True)
    assert (y.tobytes(), tangent_y.tobytes()) == (X.tobytes(), (X - 1).tobytes())
    hvp_x, hvp_weight, hvp_bias = layer.hvp(X, X + 1, X - 1, training=False)
    assert hvp_x.tobytes() == (X - 1).tobytes() and hvp_weight is hvp_bias is None
    assert layer.masked(X, X[:1] > 0, training=True).tobytes() == X.tobytes()
    grad_x, grad_weight, grad_bias = layer.masked_backward(X, (X > 0).astype(np.int64), X + 1, training=False)
    assert grad_x.tobytes() == (X + 1).tobytes() and grad_weight is grad_bias is None
    grad_x, grad_weight, grad_bias = layer.recomputed(X, X + 2, training=True)
    assert grad_x.tobytes() == (X + 2).tobytes() and grad_weight is grad_bias is None
    pairs = layer.replicated([X, X[:1]], training=True)[0]
    assert [y.tobytes() for y in pairs] == [X.tobytes(), X[:1].tobytes()]
    [(by_x, by_weight, by_bias)] = layer.replicated_vjp([X], [X + 1], training=True)
    assert by_x.tobytes() == (X + 1).tobytes() and by_weight is by_bias is None
    pairs = layer.replicated([X, X[:1]], [X[:, :1] > 0, X[:1, :1] > 0], training=True)[0]
    assert [y.tobytes() for y in pairs] == [X.tobytes(), X[:1].tobytes()]
    [(by_x, by_weight, by_bias)] = layer.replicated_vjp([X], [X + 1], [X[:, :1] > 0], training=True)
    assert by_x.tobytes() == (X + 1).tobytes() and by_weight is by_bias is None
    nothing = {"saved_mean": None, "saved_invstd": None, "saved_variance": None}
    assert layer.saved_statistics(X, training=False) == nothing
    layer.freeze(True)
    layer.reset()
    layer.set({"momentum": None, "eps": 0.5})
    calls = ["vjp", "pullback", "jvp", "hvp", "masked", "masked_backward", "recomputed", "replicated", "replicated_vjp"]
    calls += ["masked_replicated", "masked_replicated_vjp", "saved_statistics", "freeze"]
    assert [what for what, _ in heard] == ["build", *calls, "reset", "set"]
    assert heard[-3][1]["frozen"] is True
    assert heard[-1][1]["options"] == {"momentum": None, "eps": 0.5}
    masks = [request["mask"] for what, request in heard if what in ("masked", "masked_backward")]
    assert [(mask["dtype"], mask["shape"]) for mask in masks] == [("bool", [1, 3]), ("int64", [2, 3])]
    masks = [request["masks"] for what, request in heard if what.startswith("masked_replicated")]
    assert [[mask["shape"] for mask in each] for each in masks] == [[[2, 1], [1, 1]], [[2, 1]]]
    assert heard[0][1]["config"]["affine"] == "weight"
    assert heard[2][1]["pass"] == 1 and "x" not in heard[2][1]
    with pytest.raises(NotImplementedError, match="among its abilities"):
        backend.build(Config(ndim=2, affine="bias"), "cpu")


@pytest.mark.parametrize("told", [{}, {"replicas": [{}]}, {"replicas": 2}, {"replicas": [1, 2]}], ids=str)
def test_answer_that_is_not_of_each_replica(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one object for each of them, in a list."""
    layer = start("able").build(Config(ndim=2), "cpu")
    monkeypatch.setattr(layer.backend, "ask", lambda *_, **__: told)
    with pytest.raises(WrongAnswer, match="no list `replicas` of 2 objects, one a replica"):
        layer.over_replicas([X, X], training=True)


def test_array_of_another_shape() -> None:
    """It is what any implementation may return, and judged as such."""
    layer = InstrumentedLayer(start("other shape").build(Config(ndim=2), "cpu"), CHANNELS, Clock())
    with pytest.raises(Misfit, match=r"y of shape \(3, 2\); it should have shape \(2, 3\)"):
        layer.forward(X, training=True)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("unsupported", NotImplementedError, "no such mode"),
        ("invalid", ValueError, "one value per channel"),
        ("failed", Failed, "out of memory"),
    ],
)
def test_errors(fault: str, kind: type[Exception], words: str) -> None:
    """The kinds of errors are told apart; `failed` alone is no refusal; the layer lives on."""
    backend = start(fault)
    layer = InstrumentedLayer(backend.build(Config(ndim=2), "cpu"), CHANNELS, Clock())
    with pytest.raises(kind, match=words):
        layer.layer.forward(X, training=True)
    with pytest.raises(Misfit if kind is Failed else Raised, match=words):
        layer.forward(X, training=True)
    assert set(layer.state().values()) == {None}


def test_more_than_one_line() -> None:
    """What is printed after an answer ends the program, whether it comes before the next request or after."""
    backend = start("two lines")
    layer = backend.build(Config(ndim=2), "cpu")
    layer.forward(X, training=True)
    with pytest.raises(Lost, match="it printed 'epoch 1 done"):
        layer.state()


def test_handle_of_another_layer() -> None:
    """A handle that a living layer has is no handle, and one that was dropped is."""
    backend = start("handle of another")
    first = backend.build(Config(ndim=2), "cpu")
    with pytest.raises(Lost, match="names the layer 7, as another that lives"):
        backend.build(Config(ndim=2), "cpu")
    with pytest.raises(Lost, match="forward was not asked: the program is lost: its answer to build"):
        first.forward(X, training=True)
    del first
    for _ in range(3):
        backend.build(Config(ndim=2), "cpu")


def test_lost_program_is_started_again() -> None:
    """The next layer is built by a new process, layers of the old one say that they are lost, and that has an end."""
    backend = start("none", "forward")  # which ends after its answer to forward
    for _ in range(4):
        layer = backend.build(Config(ndim=2), "cpu")
        np.testing.assert_array_equal(layer.forward(X, training=True), X)
        with pytest.raises(Lost, match="ended with status 4 when it was asked for state"):
            layer.state()
    with pytest.raises(Lost, match="started 4 times and did not last, and is given up"):
        backend.build(Config(ndim=2), "cpu")


def test_program_that_changes_its_name() -> None:
    """Started again, a program says the same of itself."""
    backend = start("other name each time", "forward")
    layer = backend.build(Config(ndim=2), "cpu")
    layer.forward(X, training=True)
    with pytest.raises(Lost):
        layer.state()
    with pytest.raises(Lost, match="it says another name of itself than before"):
        backend.build(Config(ndim=2), "cpu")


def test_program_that_does_not_read() -> None:
    """A request that is larger than the pipe does not hang us."""
    backend = registry.load(f"command:{sys.executable} {ECHO} none")
    layer = backend.build(Config(ndim=2), "cpu")
    backend.pipe.seconds = 1
    os.kill(backend.pipe.process.pid, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(Lost, match="did not read the request to its end"):
        layer.forward(np.zeros((100_000, 3)), training=True)
    assert time.monotonic() - begin < 10
    assert not alive(backend)


def test_what_a_program_has_started_ends_with_it() -> None:
    """A program behind a shell is ended with the shell, without waiting for either."""
    backend = registry.load(f"command:sh -c '{sys.executable} {ECHO} hangs; true'")
    backend.pipe.seconds = 1
    group = os.getpgid(backend.pipe.process.pid)
    with pytest.raises(Lost):
        run(backend)
    assert is_gone(group)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("command:", "names no program"),
        ("command:  ", "names no program"),
        ("command:./x 'y", "is no command: No closing quotation"),
        ("command:./no_such_program", "cannot be started: ./no_such_program: No such file or directory"),
        (f"command:{ECHO}", "Permission denied"),
    ],
)
def test_command_that_cannot_be_started(given: str, words: str, tmp_path: Path) -> None:
    """One line says why, and that from the command line, too."""
    with pytest.raises(BackendError) as refusal:
        registry.load(given)
    assert words in str(refusal.value)
    bnconform(tmp_path, "--backend", given).assert_refused(words)


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf"])
def test_limit_that_is_no_number(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit that is none is refused before anything is started."""
    monkeypatch.setenv(LIMIT, given)
    with pytest.raises(BackendError, match=f"{LIMIT} is '{given}'; give a number of seconds above 0"):
        start("none")


@pytest.mark.parametrize("fault", ["banner", "silent", "no licence", "no devices", "unknown deviation"])
def test_unfit_program_on_the_command_line(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is judged: one line, exit status 2."""
    if fault == "silent":
        monkeypatch.setenv(LIMIT, "1")
    words = UNFIT.get(fault, "deviation that does not exist")
    bnconform(tmp_path, "--backend", command(fault), "--json", "result.json").assert_refused(words)
    assert list(tmp_path.iterdir()) == []


def test_name_that_changes_between_processes(tmp_path: Path) -> None:
    """A program that is called otherwise each time it is started is found out, and judged under its first name."""
    answer = bnconform(
        tmp_path, "--backend", command("other name each time"), "--dtype", "float32", "-k", "BN-RUN-VAR-", "--json", "r"
    )
    answer.assert_no_traceback()
    rows = read(tmp_path / "r").rows
    assert answer.status == 1
    assert [row.verdict for row in rows] == ["crashed"]
    assert f"{rows[0].backend} when first asked" in " ".join(rows[0].message.split())


def test_layers_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is told of each layer that nobody needs any more, before the next is built."""
    asked: list[str] = []
    backend = start("none")
    ask = backend.ask

    def note(what: str, *more: Any, **request: Any) -> Any:
        asked.append(what)
        return ask(what, *more, **request)

    monkeypatch.setattr(backend, "ask", note)
    kept = backend.build(Config(), "cpu")
    for _ in range(3):
        backend.build(Config(), "cpu")
    assert isinstance(kept, ProgramLayer)
    assert asked == ["build", "build", "drop", "build", "drop", "build"]
    assert kept.handle in backend.layers and len(backend.layers) == 2
