"""The programs that carry a layer: run, judged, and told where they carry it wrongly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnconform import reference
from bnconform.backends import registry
from bnconform.cli.main import main
from bnconform.measure import porting_scripts
from bnconform.results.porting_list import FILE, Scripts, read, scripts
from bnconform.tests.mutants.layer import Array

DATA = read(Path(registry.__file__).with_name(FILE))
SECONDS = 120.0
HERE = (sys.executable, sys.executable)


def programs() -> Scripts:
    """From torch.nn to itself by its functions, which needs no other framework."""
    found = scripts(DATA, "torch.nn", "torch.functional")
    assert found is not None
    return found


def test_many_are_run_in_one_process(tmp_path: Path) -> None:
    """Of each target, with the states of all sources; a program that fails costs itself."""
    pytest.importorskip("torch")
    right = programs()
    broken = replace(right, load="import nothing_of_this_name\n")
    pairs = {"a": {"b": right, "c": broken}}
    ran = porting_scripts.run_all(pairs, dict.fromkeys("abc", sys.executable), tmp_path, SECONDS)["a"]
    assert ran["b"].reason == "" and len(ran["b"].printed.splitlines()) == 3
    assert 0 < ran["b"].evaluation < 1 and 0 < ran["b"].continued < 1
    assert ran["c"].reason.startswith("the second program: ModuleNotFoundError: ")


FAILING = {
    "raises": ("raise SystemExit('no')\n", "the first program: SystemExit: no"),
    "dies": ("import os\nos._exit(3)\n", "ended with status 3"),
    "saves nothing": ("x = 1\n", "the second program: FileNotFoundError"),
    "hangs": ("import time\ntime.sleep(60)\n", "not done in 0.5 s"),
}


@pytest.mark.parametrize(("text", "words"), FAILING.values(), ids=list(FAILING))
def test_what_goes_wrong_is_told(text: str, words: str, tmp_path: Path) -> None:
    """In one line, for each of the two."""
    load = 'import numpy as np\nnp.load("carried.npz")\n'
    made = Scripts(text, load, ("torch.nn", "torch.nn"), 1e-5, 0.1, ("unbiased", "unbiased"))
    ran = porting_scripts.run(made, HERE, tmp_path, 0.5 if "sleep" in text else SECONDS)
    assert words in ran.reason and "\n" not in ran.reason


# -- judging, without running anything -------------------------------------------------------------------------------

STATE: dict[str, Array] = {
    "weight": np.array([0.5, 1.5, -2], np.float32), "bias": np.array([0.25, 1, -1], np.float32),
    "running_mean": np.array([0.1, -0.2, 3], np.float32), "running_var": np.array([0.5, 2, 4], np.float32),
}  # fmt: skip
X = np.random.default_rng(1).normal(1, 2, (8, 3, 4, 5)).astype(np.float32)


def show(state: dict[str, Array] = STATE, *, momentum: float = 0.1, remembered: str = "unbiased") -> dict[str, Any]:
    """What a right layer with this state shows."""
    given: dict[str, Any] = {**state, "momentum": momentum, "behaviour": {"running_variance": remembered}}
    y = reference.forward(X, **given, training=False).y
    after = reference.forward(X, **given, training=True).state
    assert after.running_mean is not None and after.running_var is not None
    return {
        "y": y.astype(np.float32),
        "later_running_mean": after.running_mean.astype(np.float32),
        "later_running_var": after.running_var.astype(np.float32),
    }


def judge(arrived: dict[str, Any], remembered: str = "unbiased") -> tuple[float, float]:
    """What comes of a right first program, and of a second that shows this."""
    made = Scripts("", "", ("torch.nn", "torch.nn"), 1e-5, 0.1, ("unbiased", remembered))
    return porting_scripts.judge({**STATE, "x": X, **show()}, arrived, made)


def test_right_programs_hold() -> None:
    """Rounding to single precision lies far within the bounds, and so does the variance that is known to be kept."""
    assert max(judge(show())) < 0.5
    assert max(judge(show(remembered="biased"), "biased")) < 0.5


def swap(state: dict[str, Array], one: str, other: str) -> dict[str, Array]:
    """Two arrays in the place of each other."""
    return {**state, one: state[other], other: state[one]}


WRONG: dict[str, tuple[Callable[[], dict[str, Any]], bool]] = {
    "bias forgotten": (lambda: show({**STATE, "bias": np.zeros(3, np.float32)}), True),
    "weight and bias swapped": (lambda: show(swap(STATE, "weight", "bias")), True),
    "deviation for variance": (lambda: show({**STATE, "running_var": np.sqrt(STATE["running_var"])}), True),
    "momentum weighs the old value": (lambda: show(momentum=0.9), False),
    "momentum forgotten": (lambda: show(momentum=0.01), False),
    "another estimator": (lambda: show(remembered="biased"), False),
    "axes not moved back": (lambda: {**show(), "y": show()["y"].transpose(0, 2, 3, 1)}, True),
    "not a number": (lambda: {**show(), "y": np.full(X.shape, np.nan, np.float32)}, True),
}


@pytest.mark.parametrize(("made", "at_once"), WRONG.values(), ids=list(WRONG))
def test_a_layer_that_is_carried_wrongly_is_told(made: Callable[[], dict[str, Any]], at_once: bool) -> None:
    """In evaluation where that shows it, else after one more batch."""
    evaluation, continued = judge(made())
    assert (evaluation > 1) == at_once
    assert at_once or continued > 1


# -- the command -----------------------------------------------------------------------------------------------------


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The status of `bnconform porting`, and what it says."""
    status = main(["porting", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_command_says_what_there_is_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Names, what to do, how far it was measured to hold, and code that was run, as Markdown."""
    status, out, err = ask(capsys, "--from", "flax.nnx", "--to", "torch.nn")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "# From flax.nnx to torch.nn"
    assert [line for line in lines if line.startswith("## ")] == [
        "## Names", "## To do", "## Does it hold?", "## In code",
    ]  # fmt: skip
    assert "| `mean` | `running_mean` |" in lines
    assert sum(line.startswith("- [ ] **") for line in lines) >= 6
    assert out.count("```python\n") == 2 and "They were run on 20" in out and "with flax 0." in out
    assert "both frameworks within 0." in out


def test_command_writes_page_and_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The programs are files that run as they are."""
    folder = tmp_path / "way"
    status, out, _ = ask(capsys, "--from", "mlx", "--to", "keras+jax", "--into", str(folder))
    assert status == 0 and out == f"mlx-to-keras+jax.md, save.py, load.py are in {folder}\n"
    made = scripts(DATA, "mlx", "keras+jax")
    assert made is not None
    assert (folder / "save.py").read_text() == made.save and (folder / "load.py").read_text() == made.load


def test_command_runs_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """With --run, here and now."""
    pytest.importorskip("torch")
    status, out, err = ask(capsys, "--from", "torch.nn", "--to", "torch.functional", "--run")
    assert (status, err) == (0, "") and "both frameworks within 0." in out


def test_command_fails_where_the_code_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --run under an interpreter that lacks the framework the status is 1, and the page says why."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    given = ("--from", "torch.nn", "--to", "torch.functional", "--run", "--python", f"torch.nn={bare}")
    status, out, _ = ask(capsys, *given)
    assert status == 1 and "and failed: the first program: ModuleNotFoundError" in out


def test_list_without_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Where one of the two is no framework's layer the list is there, and no code."""
    status, out, _ = ask(capsys, "--from", "torch.nn", "--to", "documents.d2l_en")
    assert status == 0 and "## To do" in out and "## In code" not in out


REFUSED = {
    "no target": (("--from", "torch.nn"), "--to is missing"),
    "no source": (("--to", "torch.nn"), "--from is missing"),
    "unknown": (("--from", "torch.nn", "--to", "flax.nmx"), "did you mean flax.nnx"),
    "no framework": (("--from", "torch", "--to", "flax.nnx"), "did you mean torch.nn"),
    "its own": (("--from", "mine.py", "--to", "torch.nn"), "--table DIR/porting.json takes that"),
    "the same": (("--from", "torch.nn", "--to", "torch.nn"), "to itself"),
    "two things": (("--from", "torch.nn", "--to", "mlx", "--backend", "numpy"), "--backend and --code make a table"),
    "nothing to run": (("--run",), "give --from A --to B, too"),
    "no code": (("--from", "torch.nn", "--to", "jax.stax", "--run"), "there is no code"),
    "no table": (("--from", "torch.nn", "--to", "mlx", "--table", "gone.json"), "cannot read the porting table gone"),
    "a file": (("--from", "torch.nn", "--to", "mlx", "--into", "file"), "cannot write into file"),
    "elsewhere": (
        ("--from", "torch.nn", "--to", "torch.functional", "--run", "--run-in", "torch.nn=ssh x"), "--run-in does not"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=list(REFUSED))
def test_bad_request_is_refused(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line that says what to do, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine\n")
    status, out, err = ask(capsys, *words)
    assert (status, out) == (2, "") and err.startswith("bnconform: ") and err.count("\n") == 1 and said in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
