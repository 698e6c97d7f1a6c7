"""A failure says what, got, should be, how far, the call, the requirement and its source, and how to see it again."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bnconform.cases import casefile
from bnconform.cases.probes import cases_of
from bnconform.cases.program import Probe
from bnconform.cli.main import main
from bnconform.judge.check import Check
from bnconform.judge.check_record import Violation
from bnconform.judge.subject import Subject
from bnconform.results.result import read
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.catalogue import requirement
from bnconform.tests.conformance import test_dtypes
from bnconform.tests.mutants.oracle_layer import OracleBackend
from bnconform.tests.selftest.command import ADAPTERS, bnconform

DECLARATIONS = ADAPTERS / "declarations.py"
HALF_DIGIT = 0.5e-2
"""A number written in three significant digits is off by at most this much of itself."""


@dataclass(frozen=True)
class Failure:
    """A violated check and the exception that it raised."""

    check: Check
    violation: pytest.ExceptionInfo[Violation]

    @property
    def text(self) -> str:
        """The whole message."""
        return str(self.violation.value)

    def line(self, label: str) -> str:
        """What stands behind a label, of which there is one."""
        found = re.findall(rf"^  {label}\s+(.*)$", self.text, flags=re.MULTILINE)
        assert len(found) == 1, self.text
        return str(found[0])

    def number(self, label: str, pattern: str) -> float:
        """The number at the group of a pattern in a line."""
        found = re.search(pattern, self.line(label))
        assert found is not None, self.line(label)
        return float(found[1])


def fail(
    backend: OracleBackend, identifier: str, name: str, folder: Path | None = None, dtype: str = "float32"
) -> Failure:
    """Run one case on an implementation that must fail it."""
    case = next(case for case in cases_of(identifier, dtype) if case.name == name)
    check = Check(Subject("wrong.py:Wrong", backend, "cpu", dtype), requirement(identifier), case, folder)
    with pytest.raises(Violation) as caught:
        check.run()
    return Failure(check, caught)


WRONG: dict[str, tuple[str, str, str]] = {
    # decision=value: requirement, case, what is observed in which call
    "running_variance=biased": ("BN-RUN-VAR", "2-values", "running_var"),
    "running_mean=bessel_scaled": ("BN-RUN-MEAN", "3-values", "running_mean"),
    "epsilon_form=outside": ("BN-TRAIN-EPS", "variance-around-0.1", "y"),
    "normalizing_variance=unbiased": ("BN-TRAIN-VAR", "3-values", "y"),
    "momentum_weighs=running": ("BN-RUN-MOMENTUM", "momentum0.3", "running_mean"),
    "initial_running_variance=zero": ("BN-RUN-INIT-VAR", "new-layer-rank2", "running_var"),
    "training_update=twice": ("BN-RUN-UPDATE", "once-momentum0.5", "running_mean"),
}
each_wrong = pytest.mark.parametrize("wrong", WRONG)


def of(wrong: str, folder: Path | None = None) -> Failure:
    """The failure of one of WRONG."""
    decision, _, value = wrong.partition("=")
    identifier, name, _ = WRONG[wrong]
    return fail(OracleBackend(SPECIFIED.but(**{decision: value})), identifier, name, folder)


@each_wrong
def test_headline(wrong: str) -> None:
    """The first line has the requirement, its level and title, the backend, device and dtype."""
    failure = of(wrong)
    rule = failure.check.requirement
    first = f"{rule.id} (must) violated by {failure.check.subject.label}: {rule.title}"
    assert failure.text.splitlines()[0] == first
    assert failure.check.outcomes[-1].message == failure.text


@each_wrong
def test_what(wrong: str) -> None:
    """The quantity, the element and the call are named, and the call is one of the program's."""
    failure = of(wrong)
    assert isinstance(failure.check.case, Probe)
    steps = failure.check.case.at("float32", "float32").steps
    found = re.fullmatch(r"(\w+)\[([\d, ]+)\] after call (\d+), (.*)", failure.line("what"))
    assert found is not None
    assert found[1] == WRONG[wrong][2]
    assert found[4] == steps[int(found[3]) - 1].describe()


@each_wrong
def test_got_should_be_and_off_by_agree(wrong: str) -> None:
    """The distance in ulp and in bounds is that of the two numbers, as closely as three digits say.

    `got` and `should be` are written in full. The bound b and the share s are written in three digits, each off by at
    most HALF_DIGIT of itself, so s b is off by at most (1 + HALF_DIGIT)**2 - 1 of |got - should be|; the ulps by
    HALF_DIGIT. That `should be` is rounded to float64 changes it by 2**-53 of itself, far less than the distance's
    digits: 1e-9 of the distance covers it wherever the distance is 1e-6 of the number or more.
    """
    failure = of(wrong)
    got = failure.number("got", r"^(\S+) \(float32\)$")
    due, bound = failure.number("should be", r"^(\S+), to within"), failure.number("should be", r"to within (\S+)$")
    ulps, share = failure.number("off by", r"^(\S+) ulp,"), failure.number("off by", r", (\S+) times the bound$")
    distance = abs(got - due)
    assert distance >= 1e-6 * abs(due) > 0 or due == 0
    assert got == float(np.float32(got))
    spacing = float(np.spacing(np.float32(abs(due)))) if due else float(np.finfo(np.float32).smallest_subnormal)
    assert abs(ulps - distance / spacing) <= (HALF_DIGIT + 1e-9) * ulps
    assert share > 1
    if bound:
        assert abs(share * bound - distance) <= ((1 + HALF_DIGIT) ** 2 - 1 + 1e-9) * share * bound
    else:
        assert share == float("inf")


@each_wrong
def test_the_call(wrong: str) -> None:
    """The configuration and every call stand in the message."""
    failure = of(wrong)
    assert isinstance(failure.check.case, Probe)
    assert failure.line("the call") == failure.check.case.at("float32", "float32").describe()
    assert failure.line("the call").startswith("BatchNorm(num_features=3, eps=")


@each_wrong
def test_source(wrong: str) -> None:
    """One source of the requirement is given with its place, and the command that shows the others."""
    failure = of(wrong)
    rule = failure.check.requirement
    first, *others = rule.sources
    more = f" ({len(others)} more: bnconform explain {rule.id})" if others else ""
    assert failure.line("source") == f"{first.document}, {first.place}{more}"


@each_wrong
def test_replay_of_a_law_without_a_folder(wrong: str) -> None:
    """Where no case could be written, the requirement's checks are named."""
    identifier = WRONG[wrong][0]
    due = f"bnconform --backend wrong.py:Wrong --dtype float32 --level may -k {identifier}-"
    assert of(wrong).line("replay") == due


@each_wrong
def test_replay_command_fails_again(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command in the message runs the case that failed: a right backend conforms to it."""
    failure = of(wrong, tmp_path)
    command = shlex.split(failure.line("replay"))
    assert command[:2] == ["bnconform", "replay"] and command[3:] == ["--backend", "wrong.py:Wrong"]
    assert isinstance(failure.check.case, Probe)
    assert failure.check.outcomes[-1].case == command[2]
    identifier, name, program, _ = casefile.read(Path(command[2]))
    assert (identifier, name) == WRONG[wrong][:2]
    assert program.describe() == failure.line("the call")
    assert main(["replay", command[2], "--backend", "numpy"]) == 0
    assert f"{identifier} conforms: numpy:cpu-float32" in capsys.readouterr().out


def test_names_that_a_shell_would_take_apart_are_quoted(tmp_path: Path) -> None:
    """A command can be pasted whatever the names in it."""
    subject = Subject(
        "my adapters/it's.py:Wrong", OracleBackend(SPECIFIED.but(running_variance="biased")), "cpu", "float32"
    )
    check = Check(subject, requirement("BN-RUN-VAR"), cases_of("BN-RUN-VAR", "float32")[0], tmp_path / "failing cases")
    with pytest.raises(Violation) as caught:
        check.run()
    command = shlex.split(str(caught.value).partition("  replay     ")[2])
    assert command[-1] == "my adapters/it's.py:Wrong"
    assert Path(command[2]).is_file()


def test_relation_is_stated() -> None:
    """A relation that does not hold is stated in words, with both runs."""
    relation = cases_of("BN-INV-RUNNING", "float32")[0]
    failure = fail(OracleBackend(SPECIFIED.but(training_statistics="running")), "BN-INV-RUNNING", relation.name)
    assert failure.line("relation") == relation.statement  # type: ignore[union-attr]
    assert failure.line("the call").startswith("(1) BatchNorm(") and " (2) BatchNorm(" in failure.line("the call")
    assert failure.number("off by", r", (\S+) times the bound$") > 1


def test_fact_is_told() -> None:
    """What is no number, such as a dtype, says what, got and should be all the same."""
    subject = Subject("wrong", OracleBackend(SPECIFIED.but(output_dtype="parameter")), "cpu", "float16")
    with pytest.raises(Violation) as caught:
        test_dtypes.test_output_dtype(Check(subject, requirement("BN-DTYPE-OUTPUT")))
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  what       the dtype of y after forward(x float16")
    assert lines[2:4] == ["  got        float32", "  should be  float16"]


def test_helper_frames_are_hidden() -> None:
    """What pytest would show of a failed check begins and ends in the test; what it calls hides its frames."""
    failure = fail(OracleBackend(SPECIFIED.but(running_variance="biased")), "BN-RUN-VAR", "2-values")
    shown = failure.violation.traceback.filter(failure.violation)
    assert {Path(entry.path).name for entry in shown} == {Path(__file__).name}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The output of a failing run with pytest's longest tracebacks, and the message in its result."""
    folder = tmp_path_factory.mktemp("long")
    options = ("--dtype", "float32", "-k", "BN-RUN-VAR-2-values", "--tb=long", "--json", "result.json")
    answer = bnconform(folder, "--backend", f"{DECLARATIONS}:Undeclared", *options, columns=1000)
    assert answer.status == 1
    return answer.out, read(folder / "result.json").rows[0].message


def test_no_frame_is_shown_whatever_is_asked(long: tuple[str, str]) -> None:
    """Even --tb=long shows the message and no line of the suite's code."""
    assert long[1] in long[0]
    assert not re.search(r"(tests/conformance|bnconform)/[\w/]+\.py:\d+|__tracebackhide__|Traceback", long[0])


def test_the_card_shows_the_whole_message(long: tuple[str, str]) -> None:
    """Every line of the message, but the first, and the diagnosis, which heads the card, stands on it."""
    card = long[0].partition("What fails: 1 cause\n")[2]
    said = [line.strip() for line in long[1].splitlines()[1:]]
    assert [line for line in said if line.removeprefix("diagnosis  ") not in card] == []
