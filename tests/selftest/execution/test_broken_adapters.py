"""Adapters that break their contract: each is a finding about the adapter, in its words, and the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnconform.cases import casefile
from bnconform.cases.probes import probes
from bnconform.cli.main import main
from bnconform.results.result import read
from bnconform.tests.selftest.command import ADAPTERS, Answer, bnconform

BROKEN: dict[str, tuple[str, str]] = {
    "ForwardGivesAList": ("violates", "forward returned a list as y; it should be a numpy.ndarray of shape (2, 3)"),
    "ForwardGivesNone": ("violates", "forward returned None as y; it should be a numpy.ndarray of shape (2, 3)"),
    "ForwardGivesAnotherShape": ("violates", "forward returned y of shape (6,); it should have shape (2, 3)"),
    "ForwardGivesIntegers": ("violates", "forward returned y of dtype int64; it should be one of float64, float32"),
    "ForwardRaises": ("crashed", "forward raised RuntimeError: the kernel was not found"),
    "ForwardExits": ("crashed", "forward raised SystemExit: 0"),
    "ForwardChangesItsInput": ("violates", "forward changed the array that it was given as x"),
    "BackwardGivesTwo": (
        "violates",
        "backward returned a tuple of 2; it should return (grad_x, grad_weight, grad_bias)",
    ),
    "StateGivesAList": ("violates", "state returned a list; it should return a dict with the keys running_mean"),
    "StateGivesAnotherShape": ("violates", "state returned running_mean of shape (1, 3); it should have shape (3,)"),
    "StateCountsInFractions": ("violates", "num_batches_tracked; it should be one whole number, or None"),
    "StateCountsNothing": ("violates", "num_batches_tracked; it should be one whole number, or None"),
    "StateCountsInLists": ("violates", "num_batches_tracked; it should be one whole number, or None"),
    "StateRaises": ("crashed", "state raised KeyError: 'running_mean'"),
    "LoadRaises": ("crashed", "load raised TypeError: load takes tensors"),
    "BuildRaises": ("crashed", "build raised OSError: no driver"),
}
"""The classes of adapters/broken.py that show at once, with their verdict and what is said of them."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answer, Path]:
    """A run of a few checks over all broken adapters and a whole one, and its result file."""
    folder = tmp_path_factory.mktemp("broken")
    backends = [word for name in BROKEN for word in ("--backend", f"{ADAPTERS / 'broken.py'}:{name}")]
    selected = "BN-RUN-VAR-2-values or BN-RUN-LOAD-rank4 or BN-GRAD-AFFINE-affine"
    options = ("--dtype", "float32", "--json", "result.json", "-k", selected)
    return bnconform(folder, *backends, "--backend", "numpy", *options), folder / "result.json"


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(("name", "verdict", "words"), [(name, *due) for name, due in BROKEN.items()], ids=list(BROKEN))
def test_broken_adapter_is_told(name: str, verdict: str, words: str, broken: tuple[Answer, Path]) -> None:
    """What an adapter returns that it should not, or raises, is a finding about it, in words of its contract."""
    rows = [row for row in read(broken[1]).rows if row.backend == name]
    found = [row for row in rows if row.verdict == verdict and words.partition("(2, 3")[0] in row.message]
    assert found, [(row.requirement, row.verdict, row.message) for row in rows]
    assert {row.verdict for row in rows} <= {verdict, "conforms"}


def test_the_others_go_on(broken: tuple[Answer, Path]) -> None:
    """A run with broken adapters ends with status 1, without a traceback, and judges the whole ones."""
    broken[0].assert_no_traceback()
    assert broken[0].status == 1
    verdicts = {row.requirement: row.verdict for row in read(broken[1]).rows if row.backend == "numpy"}
    assert verdicts == dict.fromkeys(("BN-GRAD-AFFINE", "BN-RUN-LOAD", "BN-RUN-VAR"), "conforms")


AT_ONCE = [name for name in BROKEN if name not in ("BackwardGivesTwo", "LoadRaises")]


def test_build_that_exits(tmp_path: Path) -> None:
    """A backend that asks Python to end is a backend that crashed, and the run goes on to its end."""
    backend = f"{ADAPTERS / 'broken.py'}:BuildExits"
    answer = bnconform(
        tmp_path, "--backend", backend, "--dtype", "float32", "-k", "BN-RUN-VAR", "--json", "result.json"
    )
    answer.assert_no_traceback()
    assert answer.status == 1
    assert [
        (row.verdict, "build raised SystemExit: 0" in row.message) for row in read(tmp_path / "result.json").rows
    ] == [("crashed", True)]


@pytest.mark.parametrize("name", AT_ONCE)
def test_broken_adapter_replayed(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each fails the replay of a case by itself, with exit status 1 and the same words."""
    probe = probes()["BN-RUN-VAR"][0]
    path = tmp_path / "case.json"
    casefile.write(path, probe.requirement, probe.name, probe.at("float32", "float32"), probe.quality)
    status = main(["replay", str(path), "--backend", f"{ADAPTERS / 'broken.py'}:{name}"])
    answer = Answer(status, *capsys.readouterr())
    assert answer.status == 1
    assert BROKEN[name][1] in answer.out
    answer.assert_no_traceback()


def test_another_dtype_is_told(tmp_path: Path) -> None:
    """An output in double precision is a number like any other, and violates the requirement on its dtype alone."""
    backend = f"{ADAPTERS / 'broken.py'}:ForwardGivesAnotherDtype"
    options = ("--dtype", "float32", "--json", "result.json", "-k", "BN-DTYPE-OUTPUT or BN-RANK")
    answer = bnconform(tmp_path, "--backend", backend, *options)
    assert answer.status == 1
    rows = {row.requirement: row for row in read(tmp_path / "result.json").rows}
    assert {name: row.verdict for name, row in rows.items()} == {"BN-DTYPE-OUTPUT": "violates", "BN-RANK": "conforms"}
    assert "got        float64" in rows["BN-DTYPE-OUTPUT"].message
    assert "should be  float32" in rows["BN-DTYPE-OUTPUT"].message
