"""Regression cases: what is kept, how a case is frozen, and what is said of one that is spoilt."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnconform.cases import casefile, regression
from bnconform.cases.probes import cases_of, probes
from bnconform.cases.program import Probe, Program, backward, build, forward, load
from bnconform.cases.regression import FOLDER, RegressionCase, RegressionError
from bnconform.cli.freeze import LONGEST
from bnconform.cli.main import main
from bnconform.judge.check import Check
from bnconform.judge.check_record import Violation
from bnconform.judge.outcome import CONFORMS
from bnconform.judge.subject import Subject
from bnconform.judge.suite import conformance_tests
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES, parameter_dtype
from bnconform.tests.mutants.layer import Layer
from bnconform.tests.selftest.forgetful import Backend, CounterReset, FreezesAfterTen

CASES = {case.file: case for case in regression.cases()}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))

BREAKS: dict[str, type[Layer]] = {
    "BN-RUN-SEQUENCE-statistics-that-freeze-after-ten-updates.json": FreezesAfterTen,
    "BN-RUN-SEQUENCE-counter-reset-by-a-load-without-it.json": CounterReset,
}
"""The wrong layer that each regression case was found on."""


def probe_of(case: RegressionCase) -> Probe:
    """The probe that a regression case is."""
    return next(probe for probe in probes()[case.requirement] if probe.name == f"frozen-{case.name}")


def ran(case: RegressionCase, kind: type[Layer], dtype: str) -> Check:
    """A check of a regression case, run on a layer of a kind."""
    rule = next(test.rule for test in conformance_tests() if test.rule.id == case.requirement)
    check = Check(Subject(kind.__name__, Backend(kind), "cpu", dtype), rule, probe_of(case))
    check.run()
    return check


@each_case
def test_results_are_those_of_the_oracle(case: RegressionCase) -> None:
    """Every stored result holds the specified layer's, and every dtype holds the program."""
    assert regression.stale(case) == []


@each_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_right_layer_conforms(case: RegressionCase, dtype: str) -> None:
    """A regression case accuses no right layer, in any of its dtypes, and compares something."""
    assert dtype in case.dtypes
    outcome = ran(case, Layer, dtype).outcomes[-1]
    assert outcome.verdict == CONFORMS and outcome.checks > 0


@each_case
def test_the_layer_that_it_was_found_on_fails(case: RegressionCase) -> None:
    """Each case still tells the fault that it was found on."""
    with pytest.raises(Violation, match=case.requirement):
        ran(case, BREAKS[case.file], "float32")


@each_case
def test_it_is_a_case_of_its_requirement(case: RegressionCase) -> None:
    """A test of the suite runs over it."""
    assert probe_of(case) in cases_of(case.requirement, case.dtypes[0])
    assert any(test.over_cases and probe_of(case) in test.cases("float32") for test in conformance_tests())


def test_every_file_is_read() -> None:
    """Nothing else lies in the folder."""
    assert {path.name for path in FOLDER.iterdir()} == set(CASES) == set(BREAKS)


X = [[1.0, 2.0, 3.0], [3.0, 5.0, 8.0]]
STEPS = (
    build("running_mean", "weight"),
    load(("weight",), weight=[2.0, 3.0, 4.0], num_batches_tracked=3),
    forward(X, "y", "running_var", "num_batches_tracked"),
    backward(X, X, "grad_x", "grad_weight", "grad_bias", "running_mean"),
    build("running_var"),
    forward(X, "y", training=False),
)
PROGRAM = Program(Config(ndim=2, momentum=None), STEPS).cast("float32", "float32")


def case_file(folder: Path, program: Program = PROGRAM, requirement: str = "BN-RUN-SEQUENCE") -> Path:
    """A case file as a failing run writes it."""
    path = folder / "case.json"
    casefile.write(path, requirement, "sequence", program, "")
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the suite's."""
    folder = tmp_path / "frozen"
    monkeypatch.setattr(regression, "FOLDER", folder)
    return folder


def test_freezing_writes_the_case(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file has the case, its reason, dtypes and results; what is printed says where it is and how it runs."""
    words = ("--name", "Loads, then averages!", "--reason", "It was\n wrong.")
    assert main(["freeze", str(case_file(tmp_path)), *words]) == 0
    path = place / "BN-RUN-SEQUENCE-loads-then-averages.json"
    assert list(place.iterdir()) == [path]
    case = regression.read(path)
    assert (case.requirement, case.name, case.reason) == ("BN-RUN-SEQUENCE", "loads-then-averages", "It was wrong.")
    assert case.dtypes == DTYPES
    assert [set(shown) for shown in case.expected] == [set(step.observe) for step in STEPS]
    assert regression.stale(case) == []
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"Frozen: {path}"
    assert out[1].startswith("It runs from now on as a case of BN-RUN-SEQUENCE in float64, float32, float16, bfloat16")
    assert out[2] == "  bnconform --backend B -k BN-RUN-SEQUENCE-frozen-loads-then-averages"


def test_results_lie_between_neighbours(place: Path, tmp_path: Path) -> None:
    """The ends of a result are next to each other, or next to the number where float64 holds it."""
    assert main(["freeze", str(case_file(tmp_path)), "--name", "a"]) == 0
    case = regression.read(place / "BN-RUN-SEQUENCE-a.json")
    # momentum None, three batches counted: (3 * 1 + var) / 4 of the variances 2, 4.5 and 12.5
    interval = case.expected[2]["running_var"]
    low, high = ([float.fromhex(text) for text in interval[end]] for end in ("low", "high"))
    due = [1.25, 1.875, 3.875]
    assert low == [float(np.nextafter(value, -np.inf)) for value in due]
    assert high == [float(np.nextafter(value, np.inf)) for value in due]
    y = case.expected[5]["y"]
    low, high = ([float.fromhex(text) for text in y[end]] for end in ("low", "high"))
    assert [float(np.nextafter(value, np.inf)) for value in low] == high


def test_freezing_is_reproducible(place: Path, tmp_path: Path) -> None:
    """The same case gives the same bytes, in whatever dtype it was found."""
    path = case_file(tmp_path)
    assert main(["freeze", str(path), "--name", "a", "--reason", "r"]) == 0
    written = (place / "BN-RUN-SEQUENCE-a.json").read_bytes()
    half = case_file(tmp_path, PROGRAM.cast("float16", "float32"))
    assert main(["freeze", str(half), "--name", "a", "--reason", "r", "--into", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "BN-RUN-SEQUENCE-a.json").read_bytes() == written


def test_freezing_elsewhere_says_where_it_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case in another folder does not run by itself, and that is said; without a name it gets one."""
    assert main(["freeze", str(case_file(tmp_path)), "--into", str(tmp_path / "there")]) == 0
    (path,) = (tmp_path / "there").iterdir()
    assert path.name.startswith("BN-RUN-SEQUENCE-case-")
    assert f"Put into {FOLDER}, it runs as a case of BN-RUN-SEQUENCE" in capsys.readouterr().out
    assert regression.read(path).reason == "the case sequence of BN-RUN-SEQUENCE failed in float32"


def test_a_frozen_case_can_be_replayed(place: Path, tmp_path: Path) -> None:
    """`bnconform replay` takes it as any other case."""
    assert main(["freeze", str(case_file(tmp_path)), "--name", "a"]) == 0
    assert main(["replay", str(place / "BN-RUN-SEQUENCE-a.json"), "--backend", "numpy"]) == 0


def test_only_dtypes_that_hold_the_program_run_it(place: Path, tmp_path: Path) -> None:
    """A value that half precision would round makes another program there."""
    program = Program(Config(ndim=2), (forward([[1 + 2.0**-9, 2, 3], [3, 5, 8]], "y"),)).cast("float32", "float32")
    assert main(["freeze", str(case_file(tmp_path, program)), "--name", "a"]) == 0
    assert regression.read(place / "BN-RUN-SEQUENCE-a.json").dtypes == ("float64", "float32", "float16")
    program = Program(Config(ndim=2), (forward([[0.1, 2, 3], [3, 5, 8]], "y"),)).cast("float32", "float32")
    assert main(["freeze", str(case_file(tmp_path, program)), "--name", "b"]) == 0
    assert regression.read(place / "BN-RUN-SEQUENCE-b.json").dtypes == ("float64", "float32")


def refuse(arguments: list[str], capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """The command ends with status 2 and one line that has all the words."""
    capsys.readouterr()
    assert main(["freeze", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("bnconform: ")
    assert [word for word in words if word not in line] == []


def test_a_program_is_frozen_once(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same calls are refused under any other name and in any other dtype, and nothing is written."""
    assert main(["freeze", str(case_file(tmp_path)), "--name", "a"]) == 0
    again = case_file(tmp_path, PROGRAM.cast("float64", "float64"))
    refuse([str(again), "--name", "b"], capsys, "frozen already", "BN-RUN-SEQUENCE-a.json")
    refuse([str(place / "BN-RUN-SEQUENCE-a.json")], capsys, "frozen already")
    assert len(list(place.iterdir())) == 1


def test_a_name_is_given_once(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another program under the same name is refused."""
    assert main(["freeze", str(case_file(tmp_path)), "--name", "a"]) == 0
    other = case_file(tmp_path, Program(PROGRAM.config, PROGRAM.steps[2:]))
    refuse([str(other), "--name", "a"], capsys, "of this name", "--name")


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the folder cannot be made, that is said."""
    (tmp_path / "taken").write_text("a file")
    refuse([str(case_file(tmp_path)), "--into", str(tmp_path / "taken" / "here")], capsys, "cannot write", "taken")


def test_a_long_name_is_cut(place: Path, tmp_path: Path) -> None:
    """A file system takes the name of the file whatever was given; the case can be read, and no end is a hyphen."""
    given = "a" * (LONGEST - 1) + " " + "b" * 400
    assert main(["freeze", str(case_file(tmp_path)), "--name", given]) == 0
    (path,) = place.iterdir()
    assert regression.read(path).name == "a" * (LONGEST - 1)


def test_a_name_that_no_file_has(place: Path) -> None:
    """A name that the file system refuses is refused in our words."""
    case = regression.freeze("BN-RUN-SEQUENCE", "a" * 400, PROGRAM, "", "reason")
    with pytest.raises(RegressionError, match="cannot write"):
        regression.write(case, place)


def test_a_case_is_written_whole_or_not_at_all(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the last step of writing fails, nothing is left."""

    def full(path: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    refuse([str(case_file(tmp_path)), "--name", "a"], capsys, "cannot write", "No space left on device")
    assert list(place.iterdir()) == []


SMALL = Program(Config(ndim=2), (forward(X, "y"),)).cast("float32", "float32")
EMPTY = Program(Config(ndim=2), (forward(np.zeros((1, 3)), "y"),)).cast("float32", "float32")
PROGRAMS: dict[str, tuple[Program, str, tuple[str, ...]]] = {
    "nothing observed": (Program(Config(ndim=2), (forward(X),)), "BN-RUN-SEQUENCE", ("no step observes",)),
    "only finiteness observed": (
        Program(Config(ndim=2), (forward(X, "running_var:finite"),)), "BN-RUN-SEQUENCE", ("no step observes",),
    ),
    "refused by the specified layer": (EMPTY, "BN-RUN-SEQUENCE", ("refuses step 1", "one value per channel")),
    "loads what is not there": (
        Program(Config(ndim=2, affine=False), (load(weight=[1.0, 2.0, 3.0]), forward(X, "y"))),
        "BN-RUN-SEQUENCE", ("step 1 loads weight",),
    ),
    "unknown requirement": (SMALL, "BN-RUN-SEQUENZ", ("unknown requirement", "BN-RUN-SEQUENCE")),
    "requirement without cases": (SMALL, "BN-STATE-INPUT", ("BN-STATE-INPUT", "takes no cases")),
}  # fmt: skip


@pytest.mark.parametrize(("program", "requirement", "words"), PROGRAMS.values(), ids=list(PROGRAMS))
def test_what_cannot_be_frozen(
    program: Program,
    requirement: str,
    words: tuple[str, ...],
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A case that would compare nothing, or never run, is refused with the reason, and nothing is written."""
    path = case_file(tmp_path, program.cast("float32", "float32"), requirement)
    refuse([str(path)], capsys, *words)
    assert not place.exists()


def test_parameters_that_no_subject_has(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half-precision parameters belong to no subject."""
    assert parameter_dtype("float16") == "float32"
    path = case_file(tmp_path, SMALL.cast("float16", "float16"))
    refuse([str(path)], capsys, "the parameters are float16")


ARGUMENTS = {
    "nothing": ((), ("freeze: the following arguments are required: CASE.json",)),
    "an unknown option": (("case.json", "--backend", "numpy"), ("freeze does not take '--backend'",)),
    "half an option": (("case.json", "--name"), ("--name",)),
    "a missing file": (("missing.json",), ("cannot read the case missing.json",)),
    "a name without letters": (("{case}", "--name", "?!"), ("--name is '?!'",)),
    "no folder": (("{case}", "--into", ""), ("--into is empty",)),
}


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS.values(), ids=list(ARGUMENTS))
def test_what_is_asked_wrongly(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong request is refused in one line that says what is wrong."""
    case = str(case_file(tmp_path))
    refuse([word.format(case=case) for word in arguments], capsys, *words)


Spoil = Callable[[dict[str, Any]], object]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "schema": (lambda d: d.update(schema="bnconform/case/0"), "at schema"),
    "requirement unknown": (lambda d: d.update(requirement="BN-RUN-VARIANCE"), "unknown requirement"),
    "requirement another": (lambda d: d.update(requirement="BN-RUN-VAR"), "should be BN-RUN-VAR-a.json"),
    "name": (lambda d: d.update(name="b"), "should be BN-RUN-SEQUENCE-b.json"),
    "quality": (lambda d: d.update(quality="fast"), "at quality"),
    "configuration": (lambda d: d["config"].update(num_features=4), "weight of step 2"),
    "steps": (lambda d: d["steps"].pop(), "results of 6 steps, of which there are 5"),
    "operation": (lambda d: d["steps"][0].update(op="rebuild"), "at steps/0/op"),
    "values": (lambda d: d["steps"][2]["x"]["data"].pop(), "reshape"),
    "value no number": (lambda d: d["steps"][2]["x"]["data"].__setitem__(0, "one"), "hexadecimal"),
    "observed": (lambda d: d["steps"][5].update(observe=["y", "bias"]), "frozen/expected/5: results of y, but"),
    "not frozen": (lambda d: d.pop("frozen"), "is not frozen"),
    "reason missing": (lambda d: d["frozen"].pop("reason"), "at frozen: 'reason'"),
    "reason empty": (lambda d: d["frozen"].update(reason=" "), "at frozen/reason"),
    "dtypes none": (lambda d: d["frozen"].update(dtypes=[]), "at frozen/dtypes"),
    "dtype unknown": (lambda d: d["frozen"].update(dtypes=["float8"]), "at frozen/dtypes/0"),
    "results missing": (lambda d: d["frozen"]["expected"].pop(), "results of 5 steps, of which there are 6"),
    "result missing": (lambda d: d["frozen"]["expected"][2].pop("y"), "frozen/expected/2: results of"),
    "numbers missing": (lambda d: d["frozen"]["expected"][2]["y"]["low"].pop(), "expected/2/y/low: 5 numbers"),
    "number no number": (
        lambda d: d["frozen"]["expected"][2]["y"]["high"].__setitem__(0, "0x1.gp+0"), "expected/2/y/high: '0x1.gp",
    ),
    "more than there is": (lambda d: d.update(owner="me"), "'owner' was unexpected"),
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """The data of a regression case."""
    path = case_file(tmp_path)
    assert main(["freeze", str(path), "--name", "a", "--into", str(tmp_path / "sound")]) == 0
    loaded: dict[str, Any] = json.loads((tmp_path / "sound" / "BN-RUN-SEQUENCE-a.json").read_text())
    return loaded


@pytest.mark.parametrize(("spoil", "message"), SPOILT.values(), ids=list(SPOILT))
def test_a_spoilt_case_is_refused(spoil: Spoil, message: str, data: dict[str, Any], tmp_path: Path) -> None:
    """A change to any part of a file gives one error, in one line, that names the file and the place."""
    path = tmp_path / "BN-RUN-SEQUENCE-a.json"
    path.write_text(json.dumps(data))
    assert regression.stale(regression.read(path)) == []
    spoil(data)
    path.write_text(json.dumps(data))
    with pytest.raises(RegressionError) as caught:
        regression.read(path)
    text = str(caught.value)
    assert message in text and path.name in text and "\n" not in text


def test_a_file_that_is_cut_short_is_refused(data: dict[str, Any], tmp_path: Path) -> None:
    """What is not JSON is named."""
    path = tmp_path / "BN-RUN-SEQUENCE-a.json"
    path.write_text(json.dumps(data)[:-10])
    with pytest.raises(RegressionError, match="is not JSON"):
        regression.read(path)


def test_a_program_that_lies_there_twice_is_refused(data: dict[str, Any], tmp_path: Path) -> None:
    """A copy under another name is found when the folder is read."""
    twin = copy.deepcopy(data) | {"name": "b"}
    (tmp_path / "sound" / "BN-RUN-SEQUENCE-b.json").write_text(json.dumps(twin))
    with pytest.raises(RegressionError, match=r"b\.json: this program is frozen already: BN-RUN-SEQUENCE-a\.json"):
        regression.read_all(tmp_path / "sound")


def _twice(texts: list[str]) -> None:
    texts[0] = (2 * float.fromhex(texts[0]) + 1).hex()


def _less(texts: list[str]) -> None:
    texts[0] = (float.fromhex(texts[0]) - 1).hex()


STALE: dict[str, tuple[Spoil, str]] = {
    "input": (lambda d: _twice(d["steps"][2]["x"]["data"]), "step 3: y"),
    "upstream gradient": (lambda d: _twice(d["steps"][3]["grad_output"]["data"]), "step 4: grad_bias"),
    "loaded": (lambda d: _twice(d["steps"][1]["state"]["weight"]["data"]), "step 2: weight"),
    "momentum": (lambda d: d["config"].update(momentum=0.5), "step 3: running_var"),
    "eps": (lambda d: d["config"].update(eps=0.5), "step 3: y"),
    "mode": (lambda d: d["steps"][5].update(training=True), "step 6: y"),
    "low end": (lambda d: _twice(d["frozen"]["expected"][2]["running_var"]["low"]), "step 3: running_var"),
    "high end": (lambda d: _less(d["frozen"]["expected"][3]["grad_bias"]["high"]), "step 4: grad_bias"),
    "absent": (lambda d: d["frozen"]["expected"][0].update(weight=None), "step 1: weight"),
}


@pytest.mark.parametrize(("spoil", "place"), STALE.values(), ids=list(STALE))
def test_changed_numbers_are_stale(spoil: Spoil, place: str, data: dict[str, Any], tmp_path: Path) -> None:
    """A change of a number or of the configuration shows as a result that is not the specified layer's."""
    path = tmp_path / "BN-RUN-SEQUENCE-a.json"
    spoil(data)
    path.write_text(json.dumps(data))
    wrong = regression.stale(regression.read(path))
    assert place in wrong


def test_a_dtype_that_does_not_hold_the_values_is_stale(data: dict[str, Any], tmp_path: Path) -> None:
    """A program runs only where it is the same program."""
    path = tmp_path / "BN-RUN-SEQUENCE-a.json"
    data["steps"][2]["x"]["data"][0] = (2 + 2.0**-20).hex()
    path.write_text(json.dumps(data))
    assert {"dtype float16", "dtype bfloat16"} <= set(regression.stale(regression.read(path)))
