"""The example in C is judged over the pipe, in every dtype that it claims; a fault that is planted in it is named."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bnconform.backends import registry
from bnconform.backends.external.program import LIMIT
from bnconform.cli.main import ROOT
from bnconform.results.result import Row, read
from bnconform.tests.selftest.backends.test_array_encoding import validator
from bnconform.tests.selftest.command import COMMAND, Answer, bnconform, environment
from bnconform.tests.selftest.rows import OF_METHODS, of_methods

SOURCE = ROOT / "backends" / "examples" / "batchnorm.c"
PAGE = ROOT / "backends" / "PROTOCOL.md"
PART = (
    "--dtype",
    "float32",
    "--level",
    "should",
    "--json",
    "result.json",
    "-k",
    "BN-EDGE-EMPTY or BN-RUN-VAR or BN-EVAL-STATS",
)
"""A part of the suite in which some checks give an empty batch, and most do not."""

UNBIASED = " * n / (n - 1)"
READY = "    long n = x.size / layer->channels;\n"
"""Two places in the source."""


def compile_program(folder: Path, *changes: tuple[str, str]) -> Path:
    """The program, built with some text of its source replaced."""
    cc = shutil.which("cc")
    if cc is None:
        pytest.fail("there is no C compiler `cc` on the PATH; install one, as the example is to be built and judged")
    text = SOURCE.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "batchnorm.c").write_text(text)
    options = ["-O2", "-std=c99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([cc, *options, "-o", "batchnorm", "batchnorm.c", "-lm"], cwd=folder, check=True)
    return folder / "batchnorm"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as it is."""
    return compile_program(tmp_path_factory.mktemp("example"))


def judge(folder: Path, program: Path, *arguments: str) -> tuple[Answer, list[Row]]:
    """A run on a program, with its rows."""
    answer = bnconform(folder, "--backend", f"command:{program}", *arguments)
    answer.assert_no_traceback()
    return answer, list(read(folder / "result.json").rows)


def running(program: Path) -> list[int]:
    """The processes of a program."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cmdline").read_bytes().split(b"\0")[0] == bytes(program):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def is_gone(program: Path) -> bool:
    """Whether all processes of a program have ended, given a little time."""
    for _ in range(100):
        if not running(program):
            return True
        time.sleep(0.1)
    return False


def test_example_is_short() -> None:
    """It is less than 150 lines in all, of at most 120 characters."""
    lines = SOURCE.read_text().splitlines()
    assert len(lines) < 150
    assert max(map(len, lines)) <= 120


NOT_SAID = ("BN-ERR-MOMENTUM", "BN-ERR-EPSILON", "BN-ERR-NO-CHANNELS")
"""What the protocol has no words for: numbers that are none, and layers without channels."""


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_example_conforms(dtype: str, example: Path, tmp_path: Path) -> None:
    """Every requirement of every level holds, and none is left out but what it does not name among its abilities.

    The many rows of combinations are asked in double precision, by the guide's own command.
    """
    options = ("--dtype", dtype, "--level", "may", "--json", "result.json", "-k", "not BN-PAIR")
    answer, rows = judge(tmp_path, example, *options)
    assert answer.status == 0, answer.out
    besides = [row for row in rows if of_methods(row.requirement) or row.requirement in NOT_SAID]
    assert {row.verdict for row in rows if row not in besides} == {"conforms"}
    assert besides and {row.verdict for row in besides} == {"unsupported"}
    beyond = [row for row in besides if "the protocol has no" in row.message]
    assert {row.requirement[:9] for row in beyond} >= {"BN-TRANS-", "BN-DERIV-"}
    named = [row for row in besides if row.requirement.startswith(OF_METHODS) and row not in beyond]
    assert named and all("the program does not name it among its abilities" in row.message for row in named)
    assert {row.backend for row in rows} == {"batchnorm.c"}
    assert len(rows) > 70


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtype_that_the_example_lacks(dtype: str, example: Path, tmp_path: Path) -> None:
    """What it declares as unsupported it is seen to refuse."""
    answer, rows = judge(tmp_path, example, "--dtype", dtype, "--json", "result.json", "-k", "BN-RUN-VAR or BN-OUT")
    assert answer.status == 0
    assert {row.verdict for row in rows} == {"unsupported"}
    assert "C99 lacks it" in rows[0].message


def test_planted_fault_is_named(tmp_path: Path) -> None:
    """Without the correction of the running variance, the diagnosis says so, and replay says it of the case again."""
    program = compile_program(tmp_path, (UNBIASED, ""))
    answer, rows = judge(tmp_path, program, "--dtype", "float64", "--json", "result.json", "-k", "BN-RUN-VAR or BN-OUT")
    failed = {row.requirement: row for row in rows if row.verdict != "conforms"}
    assert answer.status == 1
    assert list(failed) == ["BN-RUN-VAR"]
    assert list(failed["BN-RUN-VAR"].diagnosis) == [("running_variance", "biased")]
    (kept,) = (check.row.message for check in read(tmp_path / "result.json").failed)
    command = re.search(r"replay +bnconform (replay .*)", kept)
    assert command is not None
    again = bnconform(tmp_path, *shlex.split(command[1]))
    assert again.status == 1
    assert "running_variance = biased" in again.out


LOST = {
    "dies": ("if (!n) abort();", (), "crashed", "the program is lost: it died of SIGABRT when it was asked for"),
    "says why": (
        'if (!n) { fputs("empty\\n", stderr); exit(3); }', (), "crashed",
        "when it was asked for forward; its last words: empty",
    ),
    "hangs": ("while (!n);", (LIMIT, "2"), "crashed", f"it gave no answer to forward within 2 s ({LIMIT})"),
    "prints": ('if (!n) puts("");', (), "crashed", "it printed '{\"id\":"),
    "lies": ('if (!n) { printf(",\\"why\\":1"); return; }', (), "violates", "its answer to forward has no y"),
}  # fmt: skip


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("name", LOST)
def test_program_that_is_lost_costs_its_own_checks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks with an empty batch say what became of the program; the others are judged; no process stays."""
    statement, limit, verdict, words = LOST[name]
    if limit:
        monkeypatch.setenv(*limit)
    program = compile_program(tmp_path, (READY, f"{READY}    {statement}\n"))
    answer, rows = judge(tmp_path, program, *PART)
    verdicts = {row.requirement: row.verdict for row in rows}
    messages = {row.requirement: " ".join(row.message.split()) for row in rows}
    assert answer.status == 1
    assert verdicts["BN-RUN-VAR"] == verdicts["BN-EVAL-STATS"] == "conforms"
    assert verdicts["BN-EDGE-EMPTY"] == verdict
    assert words in messages["BN-EDGE-EMPTY"]
    assert is_gone(program)


def test_killed_run_leaves_no_program(tmp_path: Path) -> None:
    """Where the command itself is killed, the program that hangs ends with it."""
    program = compile_program(tmp_path, (READY, f"{READY}    while (!n);\n"))
    command = [*COMMAND, "--backend", f"command:{program}", *PART[:2], "-k", "BN-EDGE-EMPTY"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) as run:
        for _ in range(300):
            if len(found := running(program)) == 1 and _busy(found[0]):
                break
            time.sleep(0.1)
        else:
            run.kill()
            pytest.fail("the program was never asked for the pass in which it hangs")
        os.kill(run.pid, signal.SIGKILL)
    assert is_gone(program)


def _busy(pid: int) -> bool:
    """Whether a process has used a second of processor time or more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[11]) >= os.sysconf("SC_CLK_TCK")


def test_exchange_of_the_page(example: Path) -> None:
    """The exchange in PROTOCOL.md is what the example answers, letter by letter but for handles."""
    block = PAGE.read_text().split("## An exchange")[1].split("```")[1]
    lines = [line for line in block.splitlines() if line]
    asked = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    told = [line.removeprefix("< ") for line in lines if line.startswith("< ")]
    assert len(asked) == len(told) == len(lines) // 2 > 5
    handle = ""
    with subprocess.Popen([example], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdin is not None and process.stdout is not None
        for request, due in zip(asked, told, strict=True):
            validator("request").validate(json.loads(request))
            process.stdin.write(request.replace("L1", handle) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            handle = json.loads(answer).get("layer", handle)
            assert answer.rstrip("\n") == due.replace("L1", handle)
            kind = "error" if "error" in answer else f"answer_to_{json.loads(request)['do']}"
            validator(kind).validate(json.loads(due))
        process.stdin.close()
        assert process.wait(5) == 0


def test_defaults_in_the_page_hold(example: Path) -> None:
    """The page's array is the one that it describes, and its example of an error is one."""
    page = PAGE.read_text()
    blocks = [json.loads(line) for line in page.splitlines() if line.startswith("    {")]
    validator("array").validate(blocks[0])
    validator("error").validate(blocks[1])
    assert registry.load(f"command:{example}").devices() == ["cpu"]
