"""Implementations that attack the suite: a right verdict on them or one line, and nothing left running.

Each test runs the command on an adapter of `adapters.hostile`. What it starts is known by a token in its environment.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bnconform.results.result import Row, read
from bnconform.tests.selftest.command import ADAPTERS, COMMAND, Answer, bnconform, environment
from bnconform.tests.selftest.rows import of_methods

HOSTILE = ADAPTERS / "hostile.py"
TOKEN = "HOSTILE_RUN"

PART = "BN-EDGE-EMPTY or BN-EVAL-STATS or BN-RUN-VAR-65"
"""Checks of which two give an empty batch, and one sees a biased variance."""

EMPTY = {"BN-EDGE-EMPTY", "BN-EDGE-EMPTY-POLICY"}
TWO = pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["alone", "two workers"])
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what it does there is Linux's")

pytestmark = LINUX


def left(token: str) -> list[str]:
    """The processes that bear a token in their environment or their arguments, but for this one."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            words = process.cmdline()
            own = Path(f"/proc/{process.pid}/environ").read_bytes()
            if process.status() != psutil.STATUS_ZOMBIE and (token in words or f"{TOKEN}={token}".encode() in own):
                found.append(f"{process.pid}: {' '.join(words)[:80]}")
        except (psutil.Error, OSError):
            continue
    return found


@dataclass
class Runs:
    """The command, run in a folder; `token` is in the environment of all that it starts."""

    folder: Path
    token: str
    rows: dict[str, Row] = field(default_factory=dict)

    def judge(self, *names: str, part: str = PART, words: tuple[str, ...] = ()) -> Answer:
        """Judge adapters in float32 at every level; their rows, of the last one by requirement, are in `rows`."""
        backends = [
            word for name in names for word in ("--backend", f"{HOSTILE}:{name}" if name[0].isupper() else name)
        ]
        given = (*backends, "--dtype", "float32", "--level", "may", "--json", "result.json", "-k", part, *words)
        answer = bnconform(self.folder, *given, columns=400)
        answer.assert_no_traceback()
        if (self.folder / "result.json").exists():
            self.look_at(names[-1])
        return answer

    def look_at(self, name: str) -> None:
        """Let `rows` be those of one adapter."""
        found = read(self.folder / "result.json").rows
        self.rows = {row.requirement: row for row in found if row.backend == name}

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict on each requirement."""
        return {name: row.verdict for name, row in self.rows.items()}

    def assert_crashed_only(self, requirements: set[str], *words: str) -> None:
        """These have crashed, for a reason that has all words; every other one conforms."""
        assert {name for name, verdict in self.verdicts.items() if verdict != "conforms"} == requirements
        for name in requirements:
            assert self.rows[name].verdict == "crashed"
            text = " ".join(self.rows[name].message.split())
            assert [word for word in words if word not in text] == [], text


@contextmanager
def leaving_nothing(folder: Path) -> Iterator[Runs]:
    """A command that leaves nothing running."""
    token = secrets.token_hex(8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TOKEN, token)
        yield Runs(folder, token)
    end = time.monotonic() + 2
    while (found := left(token)) and time.monotonic() < end:
        time.sleep(0.05)
    for line in found:
        os.kill(int(line.partition(":")[0]), signal.SIGKILL)
    assert found == []


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """A command that leaves nothing running."""
    with leaving_nothing(tmp_path) as found:
        yield found


Together = Callable[..., Runs]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    """Adapters that are judged by one run, beside NumPy's layer; the rows of one of them.

    The run has failed, left nothing running, and the verdicts on NumPy's layer are as ever.
    """
    done: dict[tuple[object, ...], Runs] = {}

    def judge(name: str, names: Iterable[str], *words: str) -> Runs:
        place = (*names, *words)
        if place not in done:
            with leaving_nothing(tmp_path_factory.mktemp("together")) as found:
                assert found.judge(*names, "numpy", words=words).status == 1
            assert set(found.verdicts.values()) == {"conforms"}
            done[place] = found
        done[place].look_at(name)
        return done[place]

    return judge


# -- processes that an implementation starts -------------------------------------------------------------------------


@TWO
@pytest.mark.parametrize("name", ["Forks", "ForksEverywhere"])
def test_child_that_comes_back_is_nobody(name: str, processes: tuple[str, ...], runs: Runs) -> None:
    """A right layer that forks, and lets the child return, is right."""
    assert runs.judge(name, words=processes).status == 0
    assert set(runs.verdicts.values()) == {"conforms"}


def test_child_that_comes_back_answers_nothing(runs: Runs) -> None:
    """A wrong layer that does it is wrong, as it is without: no answer stands for that to another question."""
    assert runs.judge("ForksWrong").status == 1
    assert runs.verdicts == dict.fromkeys(runs.verdicts, "conforms") | {"BN-RUN-VAR": "violates"}
    assert runs.rows["BN-RUN-VAR"].diagnosis[0].coordinate == "running_variance"


DYING = {
    "ForksAndLeaves": "the process ended with status 0",
    "DaemonThenSegfault": "the process died of SIGSEGV",
    "DaemonThenExit": "the process ended with status 0",
    "StartedThenExit": "the process ended with status 3",
    "StartedThenAbort": "the process died of SIGABRT",
}
"""What each comes to on an empty batch, its child or what it has started living on."""


@pytest.mark.thorough(keep=3)
@TWO
@pytest.mark.parametrize("name", DYING)
def test_what_a_dead_process_leaves_ends(name: str, processes: tuple[str, ...], together: Together) -> None:
    """A daemon, and a process of a session of its own, end with the process that started them."""
    together(name, DYING, *processes).assert_crashed_only(EMPTY, DYING[name])


@pytest.mark.parametrize("name", ["DaemonAlways", "DaemonThenSysExit"])
def test_what_a_process_leaves_ends_with_the_run(name: str, runs: Runs) -> None:
    """So they do where it lives to the end; a layer that asks Python to end has raised, which is no death."""
    assert runs.judge(name).status == 0


def test_process_without_session_and_environment(runs: Runs) -> None:
    """What was seen as a child once is ended, though nothing marks it."""
    assert runs.judge("DaemonWithoutEnvironment").status == 1
    runs.assert_crashed_only(EMPTY, "the process ended with status 3")


# -- noise -----------------------------------------------------------------------------------------------------------


def test_garbage_where_it_is_printed(runs: Runs) -> None:
    """Standard output and error are the implementation's, at any time."""
    answer = runs.judge("SaysGarbage")
    assert answer.status == 0 and "garbage" not in answer.out + answer.err
    assert set(runs.verdicts.values()) == {"conforms"}


def test_garbage_of_a_wrong_layer(runs: Runs) -> None:
    """It hides nothing."""
    assert runs.judge("SaysGarbageWrong").status == 1
    assert runs.verdicts["BN-RUN-VAR"] == "violates"


def test_garbage_on_every_descriptor_while_it_says_what_it_is(runs: Runs) -> None:
    """A description that is none is refused."""
    runs.judge("GarblesDevices").assert_refused(
        "GarblesDevices cannot be loaded: what it sent is no message", "garbage"
    )


def test_garbage_on_every_descriptor_in_the_smoke_check(runs: Runs) -> None:
    """A smoke check that cannot be made says nothing against an adapter; the suite judges."""
    assert runs.judge("GarblesSmoke").status == 0


DISTURBING = {
    "GarblesChecks": "what it sent is no message: b'\\x00\\xff garbage",
    "ClosesAll": "the process ended with status 87",
    "ReadsRequests": "",
    "SaysTwelveLines": " | ".join(rf"line {number} of the kernel's last words \x1b[2J" for number in range(2, 12)),
}
"""What each does to the conversation, or says, on an empty batch."""


@pytest.mark.thorough(keep=3)
@TWO
@pytest.mark.parametrize("name", DISTURBING)
def test_disturbed_conversation_costs_its_own_check(name: str, processes: tuple[str, ...], together: Together) -> None:
    """Garbage on every descriptor, none left open, requests that are read by another, as far as there are any."""
    runs = together(name, DISTURBING, *processes)
    crashed = {requirement for requirement, verdict in runs.verdicts.items() if verdict != "conforms"}
    assert crashed <= EMPTY and (crashed or name == "ReadsRequests")
    runs.assert_crashed_only(crashed, DISTURBING[name])


@pytest.mark.parametrize(("name", "status"), [("Flood", 0), ("FloodWrong", 1)])
def test_a_hundred_megabytes_of_output(name: str, status: int, runs: Runs) -> None:
    """They change no verdict, and are not kept."""
    assert runs.judge(name).status == status
    assert runs.verdicts["BN-RUN-VAR"] == ("violates" if status else "conforms")


def test_last_ten_lines_are_told(together: Together) -> None:
    """What a process said before its death is told, without what a terminal would obey."""
    runs = together("SaysTwelveLines", DISTURBING)
    text = "".join(row.message for row in runs.rows.values())
    assert "its last words: line 2 of" in " ".join(text.split()) and "\x1b" not in text


def test_texts_are_made_fit_to_be_shown(runs: Runs) -> None:
    """An error's text may hold anything."""
    assert runs.judge("SpeaksStrangely", words=("-v",)).status == 0


# -- answers ---------------------------------------------------------------------------------------------------------


FALSE = {
    "Duplicates": "answered what it was not asked (request 2)",
    "WrongNonce": "it answered what it was not asked",
    "Ahead": "",
    "NoNumber": "what came back is no trace",
    "Absurd": "far beyond what is due",
    "Endless": "a message of 34359738368 and 34359738368 bytes, far beyond what is due",
    "Overlapping": "arrays that overlap",
}
"""What is said of each answer."""


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", FALSE)
def test_false_answer_is_a_crash(name: str, together: Together) -> None:
    """What is not the answer that is due ends the process, and is no answer."""
    runs = together(name, FALSE, "-k", "BN-RUN-VAR-65 or BN-RUN-LOAD")
    assert "conforms" not in runs.verdicts.values() and "crashed" in runs.verdicts.values()
    assert FALSE[name] in " ".join(" ".join(row.message for row in runs.rows.values()).split())


PEAK = """
import resource, sys
from bnconform.cli.main import main
status = main()
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", ["Flood", "Absurd", "Endless", "Overlapping"])
def test_memory_of_the_judge_is_bounded(name: str, runs: Runs) -> None:
    """Whatever an implementation prints and answers, this side keeps little of it."""
    peaks = []
    for backend in ("numpy", f"{HOSTILE}:{name}"):
        words = ["--backend", backend, "--dtype", "float32", "-k", "BN-EDGE-EMPTY or BN-RUN-VAR-65"]
        done = subprocess.run(
            [sys.executable, "-P", "-c", PEAK, *words], cwd=runs.folder, env=environment(), capture_output=True,
            encoding="utf-8", timeout=300, check=False,
        )  # fmt: skip
        peaks.append(int(done.stderr.split("peak")[1]) / 2**10)
    assert peaks[1] < peaks[0] + 200, peaks


def test_false_description_is_refused(runs: Runs) -> None:
    """What an adapter says of itself is looked at again on this side."""
    runs.judge("DescribesNonsense").assert_refused("DescribesNonsense cannot be loaded: what it says of itself is no")


# -- what an implementation changes around it ------------------------------------------------------------------------


CHANGING = (
    "PatchesJson", "PatchesPickle", "PatchesStruct", "ClosesStreams", "PatchesWrite",
    "PatchesClock", "PatchesProcess", "PatchesJudge",
)  # fmt: skip


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", CHANGING)
def test_wrong_layer_that_changes_python_around_it(name: str, together: Together) -> None:
    """It is found out, and the verdict on another, judged in the same run, is as ever."""
    assert together(name, CHANGING).verdicts["BN-RUN-VAR"] in ("violates", "crashed")


@pytest.mark.parametrize(
    ("name", "words"), [("PatchesNumpy", "load() loads nothing"), ("PatchesNumpyToFail", "state() raised")]
)
def test_adapter_whose_numpy_is_broken_is_refused(name: str, words: str, runs: Runs) -> None:
    """The smoke check says what is to be seen of it."""
    runs.judge(name).assert_refused(words)


# -- ends and delays -------------------------------------------------------------------------------------------------


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", ["ExitsInForward", "ExitsInBuild"])
def test_exit_is_never_silent(name: str, runs: Runs) -> None:
    """`identify` and `replay` say that the process ended, though it did with status 0."""
    backend = f"{HOSTILE}:{name}"
    answer = bnconform(runs.folder, "identify", "--backend", backend, "--dtype", "float32")
    answer.assert_no_traceback()
    assert answer.status == 1 and "the process ended with status 0" in answer.out
    assert runs.judge("FloodWrong", part="BN-RUN-VAR-65").status == 1
    case = next((runs.folder / "bnconform-cases").glob("*.json"))
    answer = bnconform(runs.folder, "replay", str(case), "--backend", backend)
    answer.assert_no_traceback()
    assert answer.status == 1 and "the process ended with status 0" in answer.out


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", ["HangsInForward", "HangsWithAGrandchild", "StopsItself"])
def test_hang_costs_its_own_checks(name: str, runs: Runs) -> None:
    """The time limit counts from the call, whoever holds standard output."""
    begin = time.monotonic()
    assert runs.judge(name, words=("--time-limit", "1.5")).status == 1
    runs.assert_crashed_only(EMPTY, "no answer within 1.5 s (--time-limit)")
    assert time.monotonic() - begin < 30


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", ["HangsInState", "HangsInBuild"])
def test_hang_at_rank_2(name: str, runs: Runs) -> None:
    """So it does in `state` and `build`; that it is rank 2 is said, and every other rank is judged."""
    answer = runs.judge(name, part="BN-RANK or BN-EDGE-SINGLE or BN-AXIS", words=("--time-limit", "1.5"))
    assert answer.status == 1
    messages = " ".join(row.message for row in runs.rows.values() if row.verdict == "crashed")
    assert "no answer within 1.5 s (--time-limit)" in messages


def test_hang_while_it_is_loaded(runs: Runs) -> None:
    """An adapter that never comes to say what it is has the time limit too."""
    runs.judge("HangsInImport", words=("--time-limit", "2")).assert_refused("HangsInImport", "no answer within 2 s")


def test_memory_of_children_counts(runs: Runs) -> None:
    """A child that takes too much memory ends both."""
    assert runs.judge("ChildHoards", words=("--memory-limit", "1")).status == 1
    runs.assert_crashed_only(EMPTY, "GiB of memory (--memory-limit 1)")


def test_memory_that_is_shared_counts_once(runs: Runs) -> None:
    """Children that were forked share what they have not changed."""
    assert runs.judge("ForkedChildShares", words=("--memory-limit", "1")).status == 0


# -- deaths that have something in common ----------------------------------------------------------------------------


@pytest.mark.thorough
def test_death_at_one_rank_costs_that_rank_alone(runs: Runs) -> None:
    """The whole suite in one dtype: what needs rank 5 has crashed and says so; all else is judged; few deaths."""
    assert runs.judge("DiesAtRank5", part="BN").status == 1
    assert set(runs.verdicts.values()) == {"conforms", "crashed", "unsupported"}
    unsupported = [name for name, verdict in runs.verdicts.items() if verdict == "unsupported"]
    assert [name for name in unsupported if not of_methods(name)] == []
    crashed = [" ".join(row.message.split()) for row in runs.rows.values() if row.verdict == "crashed"]
    left_out = [text for text in crashed if "not asked" in text]
    assert all("SIGSEGV" in text for text in crashed)
    assert left_out and all("not asked: SIGSEGV, only rank 5 (" in text for text in left_out)
    assert max(int(found) for text in left_out for found in re.findall(r"\((\d+) deaths\)", text)) <= 8


def test_hang_at_one_rank_costs_three_time_limits(runs: Runs) -> None:
    """Where each death costs the time limit, what names them is left out at once."""
    assert (
        runs.judge("HangsAtRank5", part="BN-RANK or BN-AXIS or BN-TRAIN-AXES", words=("--time-limit", "1")).status == 1
    )
    text = " ".join(" ".join(row.message for row in runs.rows.values()).split())
    assert "not asked: no answer in time, only rank 5 (3 deaths)" in text or "no answer within 1 s" in text


def test_death_in_one_dtype_costs_that_dtype_alone(runs: Runs) -> None:
    """The other column of the matrix is judged."""
    part = "BN-TRAIN-NORM or BN-GRAD-BIAS or BN-RUN-INIT"
    assert runs.judge("DiesAtFloat16", part=part, words=("--dtype", "float16")).status == 1
    rows = read(runs.folder / "result.json").rows
    assert {row.verdict for row in rows if row.dtype == "float32"} == {"conforms"}
    assert {row.requirement: row.verdict for row in rows if row.dtype == "float16"} == {
        "BN-TRAIN-NORM": "crashed", "BN-GRAD-BIAS": "crashed",
        "BN-RUN-INIT-MEAN": "conforms", "BN-RUN-INIT-VAR": "conforms",
    }  # fmt: skip
    text = " ".join(" ".join(row.message for row in rows).split())
    assert "not asked: SIGABRT, only float16" in text


# -- environments ----------------------------------------------------------------------------------------------------


def _script(folder: Path, *lines: str) -> Path:
    path = folder / "python"
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    path.chmod(0o755)
    return path


OLD = "import sys; sys.version_info = (3, 9, 1, 'final', 0); sys.version = '3.9.1 (old)'; exec(sys.argv.pop(1))"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("exit 0",), ("the process ended with status 0",)),
        (("echo cannot find libpython >&2", "exit 127"), ("status 127; its last words: cannot find libpython",)),
        ((f'exec "{sys.executable}" -I -S "$@"',), ("lacks numpy and ml_dtypes", "-m pip install numpy ml_dtypes")),
        (("shift", f'exec {sys.executable} -c "{OLD}" "$@"'), ("lacks Python 3.11 or newer (this is 3.9.1)",)),
        (("exec sleep 1000",), ("no answer within 2 s (--time-limit)",)),
    ],
    ids=["ends", "fails", "without packages", "old", "silent"],
)
def test_interpreter_that_will_not_do(lines: tuple[str, ...], words: tuple[str, ...], runs: Runs) -> None:
    """One line says what is wrong, or all that is lacking."""
    python = _script(runs.folder, *lines)
    runs.judge("numpy", words=("--python", f"numpy={python}", "--time-limit", "2")).assert_refused("numpy", *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [("/no/such/python", "--python"), (str(ADAPTERS), "Permission denied"), (str(HOSTILE), "--python")],
    ids=["missing", "folder", "no program"],
)
def test_interpreter_that_is_none(given: str, words: str, runs: Runs) -> None:
    """A missing file, a folder, a file that cannot be run."""
    runs.judge("numpy", words=("--python", f"numpy={given}")).assert_refused(words, given)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/no/such/command", ("/no/such/command: No such file",)),
        ("true", ("the process ended with status 0",)),
        ("sh -c 'echo no route to host >&2; exit 255'", ("status 255; its last words: no route to host",)),
        ("sh -c 'echo Welcome; exec \"$@\"' sh", ("what it sent is no message", "Welcome")),
        ("sh -c 'sleep 1000'", ("no answer within 2 s",)),
        ("sh -c 'yes | head -c 100000000'", ("what it sent is no message",)),
    ],
    ids=["missing", "ends", "fails", "greets", "silent", "floods"],
)
def test_command_that_will_not_do(command: str, words: tuple[str, ...], runs: Runs) -> None:
    """One line, whatever the command does instead of what it is for."""
    given = ("--run-in", f"numpy={command}", "--python", f"numpy={sys.executable}", "--time-limit", "2")
    runs.judge("numpy", words=given).assert_refused("numpy", *words)


DAEMON = """
import os, subprocess, sys, time
from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer
class Layer(NumpyLayer):
    def forward(self, x, *, training):
        if not x.size:
            words = [sys.executable, "-c", "import time; time.sleep(600)", "TOKEN"]
            subprocess.Popen(words, start_new_session=True, env={})
            time.sleep(1)
            os._exit(3)
        return super().forward(x, training=training)
class Daemon(NumpyBackend):
    name = "daemon"
    def build(self, config, device):
        layer = super().build(config, device)
        layer.__class__ = Layer
        return layer
"""


def test_command_with_an_environment_of_its_own(runs: Runs) -> None:
    """Behind a command that takes everything away, death and daemon are as they are here."""
    # There the runner is all that there is of ours, so that the adapter imports no more than that.
    (runs.folder / "daemon.py").write_text(DAEMON.replace("TOKEN", runs.token))
    backend = "daemon.py:Daemon"
    given = ("--run-in", f"{backend}=env -i {TOKEN}={runs.token}", "--python", f"{backend}={sys.executable}")
    assert runs.judge(backend, words=given).status == 1
    runs.look_at("daemon")
    runs.assert_crashed_only(EMPTY, "the process ended with status 3")


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(
    ("limit", "processes"),
    [(f"-n {count}", "") for count in (16, 18, 19, 20, 21, 24, 40)]
    + [("-n 40", "-n 2"), ("-v 600000", ""), ("-v 600000", "-n 2")],
)
def test_few_descriptors(limit: str, processes: str, runs: Runs) -> None:
    """With few descriptors, or little memory, there is a right verdict, or one line and status 2."""
    line = f"ulimit {limit}; exec {' '.join(COMMAND)} --dtype float32 -k BN-RUN-VAR --json result.json {processes}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=runs.folder, env=environment(COLUMNS="100"), capture_output=True, encoding="utf-8",
        timeout=120, check=False,
    )  # fmt: skip
    _assert_judged_or_refused(Answer(done.returncode, done.stdout, done.stderr), runs.folder)


def _assert_judged_or_refused(answer: Answer, folder: Path) -> None:
    answer.assert_no_traceback()
    if answer.status == 2:
        assert len([line for line in answer.lines if "bnconform: the backend numpy cannot " in line]) == 1, answer
        return
    assert answer.status == 0, answer
    assert [row.verdict for row in read(folder / "result.json").rows] == ["conforms"]


NOBODY = (
    "setpriv", "--reuid=54321", "--clear-groups", "--inh-caps=-all,+dac_override,+dac_read_search",
    "--ambient-caps=-all,+dac_override,+dac_read_search",
)  # fmt: skip
"""A command as a user who has no other processes, and may read all files."""


@pytest.mark.thorough(keep=3)
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can be a user without processes")
@pytest.mark.parametrize("limit", [2, 3, 4, 8])
def test_few_processes(limit: int, runs: Runs) -> None:
    """With few processes and threads there is a right verdict, or one line and status 2; root has no such limit."""
    runs.folder.chmod(0o777)
    line = f"ulimit -u {limit}; exec {' '.join(COMMAND)} --dtype float32 -k BN-RUN-VAR --json result.json"
    done = subprocess.run(
        [*NOBODY, "bash", "-c", line], cwd=runs.folder, env=environment(COLUMNS="100", HOME=str(runs.folder)),
        capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    _assert_judged_or_refused(Answer(done.returncode, done.stdout, done.stderr), runs.folder)


# -- interrupts ------------------------------------------------------------------------------------------------------


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize(
    "words",
    [
        ("--backend", f"{HOSTILE}:HangsWithAGrandchild", "-k", "BN-EDGE-EMPTY"),
        ("--backend", f"{HOSTILE}:HangsWithAGrandchild", "-k", "BN-EDGE-EMPTY", "-n", "2"),
        ("--backend", f"{HOSTILE}:HangsInImport"),
        ("--backend", f"{HOSTILE}:HangsInImport", "--backend", f"{HOSTILE}:HangsInForward"),
        ("identify", "--backend", f"{HOSTILE}:HangsInImport"),
    ],
    ids=["run", "two workers", "loading", "loading two", "identify"],
)
def test_interrupt_in_a_call_that_hangs(words: tuple[str, ...], number: signal.Signals, runs: Runs) -> None:
    """The command ends soon, with a status that is no success, and with everything that it started."""
    with subprocess.Popen(
        [*COMMAND, *words, "--dtype", "float32"], cwd=runs.folder, env=environment(), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
    ) as command:  # fmt: skip
        end = time.monotonic() + 60
        while not any("import time" in line for line in left(runs.token)):  # the process that it starts before it hangs
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.2)
        begin = time.monotonic()
        command.send_signal(number)
        out, _ = command.communicate(timeout=30)
        seconds = time.monotonic() - begin
    assert command.returncode == 2
    assert "Traceback" not in out and "nterrupt" in out
    assert seconds < 5  # two on a quiet machine
