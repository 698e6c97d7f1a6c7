"""A recording is judged as the live implementation is, and a damaged or partial one is said to be so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bnconform.backends.runner import frames, recording
from bnconform.cases.program import Program, forward
from bnconform.execution.packing import pack
from bnconform.execution.recording import RecordedSession
from bnconform.results.result import read
from bnconform.spec.config import Config
from bnconform.tests.selftest.command import bnconform

WRONG = (
    "import numpy as np\nfrom bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer\n"
    "class Layer(NumpyLayer):\n"
    " def forward(self, x, *, training):\n"
    "  y = super().forward(x, training=training)\n"
    "  return -y if x.ndim == 3 and training else y\n"
    "class Wrong(NumpyBackend):\n name = 'wrong'\n"
    " def build(self, config, device):\n"
    "  layer = super().build(config, device)\n  layer.__class__ = Layer\n  return layer\n"
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed runner for NumPy, PyTorch and a wrong layer, in double precision."""
    folder = tmp_path_factory.mktemp("runner")
    (folder / "wrong.py").write_text(WRONG)
    before = Path.cwd()
    os.chdir(folder)
    try:
        path = folder / "runner.pyz"
        path.write_bytes(pack(["numpy", "torch.nn", "wrong.py:Wrong"], ["float64"]))
    finally:
        os.chdir(before)
    return path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter whose environment has NumPy and ml_dtypes, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    links = folder / "links"
    links.mkdir()
    site = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs", Path(ml_dtypes.__file__).parent.name):
        if (site / name).exists():
            (links / name).symlink_to(site / name)
    packages = next((folder / "env").glob("lib/python*/site-packages"))
    (packages / "links.pth").write_text(f"{links}\n")
    return folder / "env" / "bin" / "python"


def _record(python: object, archive: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), str(archive), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows and diagnoses of a result, without the paths and commands that name who was judged.

    A random program that fails is made shorter by running others, which a recording does not have.
    """
    result = json.loads(path.read_text())
    kept = ["backend", "dtype", "requirement", "verdict", "checks", "bound_share", "ulp", "diagnosis"]
    rows: list[dict[str, Any]] = [
        row for row in result["results"] if (row["requirement"], row["verdict"]) != ("BN-RUN-SEQUENCE", "violates")
    ]
    # Under which circumstances it fails is an experiment, which a recording does not allow: it says so.
    diagnoses = [{name: one[name] for name in one if name != "text"} for one in result["diagnoses"]]
    return [{name: row[name] for name in kept} for row in rows] + diagnoses


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("backend", ["wrong.py:Wrong", "torch.nn", "numpy"])
def test_recording_is_judged_as_the_live_implementation(backend: str, archive: Path, tmp_path: Path) -> None:
    """Verdicts, error ratios and diagnoses of the recording are those of the live run."""
    (tmp_path / "wrong.py").write_text(WRONG)
    made = _record(sys.executable, archive, "record", backend, "--out", "trace", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    live = bnconform(tmp_path, "--backend", backend, "--dtype", "float64", "--json", "live.json")
    judged = bnconform(tmp_path, "judge", "trace", "--json", "recorded.json")
    judged.assert_no_traceback()
    # PyTorch's evaluation gradient: backends/findings/torch-evaluation-gradient-after-training.md.
    assert judged.status == live.status == int(backend != "numpy")
    assert _rows(tmp_path / "recorded.json") == _rows(tmp_path / "live.json")
    if backend.startswith("wrong"):
        texts = [read(tmp_path / name).diagnoses[0].text for name in ("live.json", "recorded.json")]
        named = r"y has the opposite sign \(explains (\d+) of \1 failing checks\); only rank 3, only in training"
        assert re.fullmatch(named, texts[0]), texts[0]
        assert "as far as a recording tells, which can only be correlated: " in texts[1] and "only rank 3" in texts[1]
    verdicts = [
        {(row.requirement, row.verdict) for row in read(tmp_path / name).rows}
        for name in ("recorded.json", "live.json")
    ]
    assert verdicts[0] == verdicts[1]


def test_runner_needs_nothing_of_ours(archive: Path, bare: Path, tmp_path: Path) -> None:
    """It records under an interpreter that has NumPy and ml_dtypes alone."""
    probe = subprocess.run([str(bare), "-c", "import gmpy2"], capture_output=True, check=False)
    assert probe.returncode != 0
    made = _record(bare, archive, "record", "numpy", "--out", "trace", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    count = made.stdout.partition(": ")[2].partition(" programs of numpy on cpu in float64")[0]
    assert made.stderr.splitlines()[-1] == f"{count} of {count} programs, 0 s left"
    assert bnconform(tmp_path, "judge", "trace").status == 0


def test_a_lack_is_said(tmp_path: Path, archive: Path) -> None:
    """An environment without NumPy is told what it lacks, in one line."""
    venv.create(tmp_path / "empty", with_pip=False, symlinks=True)
    made = _record(tmp_path / "empty" / "bin" / "python", archive, "list", folder=tmp_path)
    assert (made.returncode, made.stderr.strip()) == (86, "numpy and ml_dtypes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("record", "nothing", "--out", "t"), "no backend 'nothing'; it has numpy"),
        (("record", "numpy", "--dtype", "float32", "--out", "t"), "no plan for numpy in 'float32'"),
        (("record", "numpy", "--device", "cuda:0", "--out", "t"), "no device 'cuda:0' here; it has cpu"),
        (("record", "numpy", "--out", "gone/t"), "cannot write gone/t"),
    ],
)
def test_bad_requests_are_one_line(arguments: tuple[str, ...], words: str, archive: Path, tmp_path: Path) -> None:
    """What cannot be recorded is said in one line, and nothing is written."""
    made = _record(sys.executable, archive, *arguments, folder=tmp_path)
    assert made.returncode == 2
    assert words in made.stderr
    assert "Traceback" not in made.stderr
    assert not list(tmp_path.iterdir())


def test_recording_goes_on_where_it_stopped(archive: Path, tmp_path: Path) -> None:
    """One that was cut short, in the middle of a frame, is continued by the same command, and is whole or absent."""
    _record(sys.executable, archive, "record", "numpy", "--out", "trace", folder=tmp_path)
    whole = (tmp_path / "trace").read_bytes()
    (tmp_path / "trace").unlink()
    (tmp_path / "trace.part").write_bytes(whole[: len(whole) // 2])
    _, first = _numbers(tmp_path / "trace.part")
    assert 0 < first < _numbers(_write(tmp_path / "every", whole))[1]
    made = _record(sys.executable, archive, "record", "numpy", "--out", "trace", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert not (tmp_path / "trace.part").exists()
    _, traces = recording.read(tmp_path / "trace")
    _, all_traces = recording.read(_write(tmp_path / "whole", whole))
    assert set(traces) == set(all_traces)


def _numbers(path: Path) -> tuple[bool, int]:
    """Whether a recording is whole, and how many programs it has."""
    with path.open("rb") as stream:
        count = 0
        try:
            while (frame := frames.read(stream.read)) is not None:
                count += "program" in frame
        except frames.FrameError:
            return False, count
    return True, count


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _head(**changes: Any) -> dict[str, Any]:
    description = {"name": "n", "devices": {"cpu": "a cpu"}, "deviations": {}, "unsupported": {}}
    head = {"recording": recording.FORMAT, "key": "n", "device": "cpu", "dtypes": ["float32"], "plan": "p"}
    return {**head, "description": description, **changes}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not begin as a recording"),
        (b"not a recording at all, but a text", "where a message should begin"),
        (frames.encode(_head()), "not whole"),
        (frames.encode(_head()) + frames.encode({"end": 3}), "says 3"),
        (frames.encode(_head(description={})) + frames.encode({"end": 0}), "KeyError"),
        (frames.encode(_head(recording="bnconform-recording/9")) + frames.encode({"end": 0}), "does not begin"),
    ],
    ids=["empty", "text", "cut", "miscounted", "no description", "of another format"],
)
def test_damaged_recording_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    """A file that is no whole recording is one line and exit status 2."""
    (tmp_path / "trace").write_bytes(content)
    bnconform(tmp_path, "judge", "trace").assert_refused("trace", words)


def test_what_was_not_recorded_is_not_judged(tmp_path: Path) -> None:
    """Checks whose programs a recording lacks are untrusted, and the run is not green."""
    (tmp_path / "trace").write_bytes(frames.encode(_head()) + frames.encode({"end": 0}))
    answer = bnconform(tmp_path, "judge", "trace", "-k", "BN-RUN-VAR", "--json", "result.json")
    answer.assert_no_traceback()
    assert answer.status == 1
    assert {row.verdict for row in read(tmp_path / "result.json").rows} == {"untrusted"}


def test_beginning_of_a_recorded_program_is_known(tmp_path: Path) -> None:
    """A program that another one begins with shows what that one showed up to there; others are missing."""
    x = np.ones((2, 3, 1, 2), np.float32)
    longer = Program(Config(3), (forward(x), forward(x + 1)))
    zeros = {"running_mean": np.zeros(3, np.float32), "running_var": np.ones(3, np.float32)}
    state = {**zeros, "num_batches_tracked": np.asarray(0), "weight": None, "bias": None}
    step = {"values": {"y": x}, "raised": None, "misfit": "", "after": state}
    trace = {
        "steps": [step, step],
        "before": state,
        "broken": None,
        "mutated": [],
        "facts": [],
        "calls": 2,
        "seconds": 0,
    }
    content = (_head(), {"program": longer.key.hex(), "trace": trace}, {"end": 1})
    (tmp_path / "trace").write_bytes(b"".join(frames.encode(frame) for frame in content))
    session = RecordedSession(tmp_path / "trace")
    assert len(session.run(longer).steps) == 2
    assert len(session.run(Program(longer.config, longer.steps[:1])).steps) == 1
    assert session.run(Program(longer.config, longer.steps[1:])).missing
