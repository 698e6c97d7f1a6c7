"""Implementations as users bring them: right ones by unusual arithmetic pass, a wrong one fails for its fault alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from bnconform.judge.subject import Subject
from bnconform.judge.suite import Test, conformance_tests
from bnconform.results.result import Row, read
from bnconform.spec.catalogue import requirements
from bnconform.spec.formats import DTYPES
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array, Layer
from bnconform.tests.selftest.command import ADAPTERS, Answer, bnconform
from bnconform.tests.selftest.rows import of_methods

SUBJECTS = ADAPTERS / "subjects.py"
DECLARATIONS = ADAPTERS / "declarations.py"
ASKED = [dtype for dtype in DTYPES if dtype != "float32"]


NOT_ASKED = {
    "BN-FLAG-WEIGHT-ALONE", "BN-FLAG-BIAS-ALONE", *(name for name in requirements() if of_methods(name)),
}  # fmt: skip
"""What these adapters are not asked: they read `config.affine`, and have no optional methods."""


@dataclass(frozen=True)
class Run:
    """A run of the suite and what its file says."""

    answer: Answer
    rows: tuple[Row, ...]

    def failing(self, *levels: str) -> list[Row]:
        """The rows of these levels that are not as they must be."""
        return [row for row in self.rows if row.level in levels and row.verdict in ("violates", "crashed", "untrusted")]


def judge(folder: Path, *arguments: str) -> Run:
    """Run the suite in a folder."""
    answer = bnconform(folder, *arguments, "--json", "result.json")
    answer.assert_no_traceback()
    return Run(answer, read(folder / "result.json").rows)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The suite over the two right adapters, but for combinations and single precision, as the kill matrix has them."""
    backends = ("--backend", f"{SUBJECTS}:Welford", "--backend", f"{SUBJECTS}:Folded")
    dtypes = [word for dtype in ASKED for word in ("--dtype", dtype)]
    return judge(tmp_path_factory.mktemp("right"), *backends, *dtypes, "-k", "not BN-PAIR")


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole suite, in one dtype, over the wrong adapter."""
    return judge(tmp_path_factory.mktemp("wrong"), "--backend", f"{SUBJECTS}:RemembersBiased", "--dtype", "float64")


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ASKED)
@pytest.mark.parametrize("name", ["welford", "folded"])
def test_right_adapter_conforms(name: str, dtype: str, right: Run) -> None:
    """A right implementation is accused of nothing that must be so, by whatever algorithm it computes."""
    verdicts = {
        row.requirement: row.verdict
        for row in right.rows
        if row.backend == name and row.dtype == dtype and row.level == "must"
    }
    assert len(verdicts) > 50
    others = {requirement: verdict for requirement, verdict in verdicts.items() if verdict != "conforms"}
    assert others == {name: "unsupported" for name in NOT_ASKED if name in verdicts}


@pytest.mark.thorough
def test_right_adapters_pass(right: Run) -> None:
    """The run over right implementations ends with status 0."""
    assert right.answer.status == 0


def test_wrong_adapter_fails_for_its_fault_alone(wrong: Run) -> None:
    """The biased variance fails the requirement about it, those that look at the remembered variance, and no other."""
    found = {row.requirement for row in wrong.failing("must", "should", "may")}
    assert found == {
        "BN-RUN-VAR", "BN-RUN-SEQUENCE", "BN-PAIR", "BN-RUN-UPDATE", "BN-VIRTUAL-RUN", "BN-VIRTUAL-LAST",
        "BN-NUM-STABLE",
    }  # fmt: skip
    assert wrong.answer.status == 1


@pytest.mark.parametrize("requirement", ["BN-RUN-VAR", "BN-RUN-SEQUENCE"])
def test_wrong_adapter_is_diagnosed(requirement: str, wrong: Run) -> None:
    """The fault is named, in the file and to the reader."""
    row = next(row for row in wrong.rows if row.requirement == requirement)
    assert [tuple(part) for part in row.diagnosis] == [("running_variance", "biased")]
    assert re.search(r"diagnosis  running_variance = biased \(explains (\d+) of \1 failing checks\)", row.message)
    assert "1  V remembers-biased  running_variance = biased (explains " in wrong.answer.out
    assert "BN-RUN-VAR (" in wrong.answer.out.partition("    alike ")[2]


def declare(folder: Path, name: str, *arguments: str) -> Run:
    """Run a part of the suite over one adapter with declarations."""
    return judge(folder, "--backend", f"{DECLARATIONS}:{name}", *arguments)


def test_undeclared_deviation_fails(tmp_path: Path) -> None:
    """Without a declaration the deviation is a violation: what follows rests on the declaration."""
    run = declare(tmp_path, "Undeclared", "--dtype", "float32", "-k", "BN-RUN-VAR")
    assert run.answer.status == 1
    assert [row.verdict for row in run.rows] == ["violates"]


def test_true_declaration_deviates(tmp_path: Path) -> None:
    """A declaration that is true and needed is no failure, and is shown."""
    run = declare(tmp_path, "Declared", "--dtype", "float32", "-k", "BN-RUN-VAR")
    assert run.answer.status == 0
    assert [(row.verdict, row.message, [tuple(part) for part in row.diagnosis]) for row in run.rows] == [
        ("deviates", "as declared: running_variance = biased", [("running_variance", "biased")])
    ]


def test_untrue_declaration_fails(tmp_path: Path) -> None:
    """A declaration that the numbers refute fails the run: which one, by which check, and what to do."""
    run = declare(tmp_path, "Untrue", "--dtype", "float32", "-k", "BN-RUN-VAR")
    assert run.answer.status == 1
    assert [(row.requirement, row.verdict) for row in run.rows] == [("BN-RUN-VAR", "violates")]
    due = "declares running_variance = biased, but BN-RUN-VAR in float32 shows otherwise: correct the declaration"
    assert due in run.rows[0].message
    assert due in " ".join(run.answer.out.split())


def test_deviation_of_another_kind_than_declared_fails(tmp_path: Path) -> None:
    """A declaration excuses what it says, and no other fault of the same decision."""
    run = declare(tmp_path, "OtherThanDeclared", "--dtype", "float32", "-k", "BN-RUN-VAR")
    assert run.answer.status == 1
    assert [(row.requirement, row.verdict) for row in run.rows] == [("BN-RUN-VAR", "violates")]


def test_idle_declaration_fails(tmp_path: Path) -> None:
    """A declaration that nothing in a whole run needs fails it, and all else is as it must be."""
    run = declare(tmp_path, "Idle")
    assert run.answer.status == 1
    assert [row.requirement for row in run.failing("must")] == ["BN-EVAL-EPS"]
    due = "declares evaluation_epsilon_form = inside, but nothing that was measured needs it: remove the declaration"
    assert due in run.failing("must")[0].message
    assert due in " ".join(run.answer.out.split())


def test_missing_dtype_is_unsupported_throughout(tmp_path: Path) -> None:
    """Whatever is asked in a dtype that is declared unsupported, and refused, is unsupported with the reason."""
    run = declare(
        tmp_path, "Idle", "--dtype", "float16", "-k", "BN-RUN-VAR or BN-INV-SHIFT or BN-STATE or BN-EDGE or BN-DTYPE"
    )
    assert {(row.verdict, row.message) for row in run.rows} == {
        ("unsupported", "float16: it computes in single precision")
    }
    assert run.answer.status == 0


PARTS = {
    "by name": ("-k", "BN-RUN-MEAN-2-values"),
    "stopped at the first failure": (
        "--backend",
        f"{ADAPTERS / 'broken.py'}:ForwardRaises",
        "--dtype",
        "float64",
        "-x",
    ),
}


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("arguments", PARTS.values(), ids=list(PARTS))
def test_part_of_a_run_calls_no_declaration_idle(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Where not everything ran, a declaration may simply not have been asked about."""
    run = declare(tmp_path, "Declared", *arguments)
    messages = [row.message for row in run.failing("must", "should", "may") if row.backend == "Declared"]
    assert [message for message in messages if " declares " in message] == []


def test_answer_to_what_is_declared_unsupported_fails(tmp_path: Path) -> None:
    """What is declared unsupported must be refused: an answer fails the run with what to do."""
    run = declare(tmp_path, "Answers", "--dtype", "float32", "-k", "BN-RUN-NONE or BN-RUN-MOMENTUM")
    assert run.answer.status == 1
    found = {row.requirement: row.verdict for row in run.rows}
    assert found == {"BN-RUN-NONE": "violates", "BN-RUN-MOMENTUM": "conforms"}
    assert (
        "declares momentum_none unsupported, and yet answers: take `momentum_none` out of `unsupported`"
        in run.rows[-1].message
    )


def test_refusal_of_what_is_declared_unsupported_passes(tmp_path: Path) -> None:
    """A lack that is declared and seen is no failure; its reason is shown."""
    run = declare(tmp_path, "Refuses", "--dtype", "float32", "-k", "BN-RUN-NONE or BN-RUN-VAR")
    assert run.answer.status == 0
    assert {row.requirement: row.verdict for row in run.rows} == {
        "BN-RUN-NONE": "unsupported",
        "BN-RUN-VAR": "conforms",
    }
    assert "momentum_none: there is no cumulative average" in run.answer.out


def test_a_dtype_without_a_kernel_is_asked_for_a_pass(tmp_path: Path) -> None:
    """Where a check makes a layer and calls nothing, a pass tells whether the dtype is there."""
    options = ("--backend", f"{DECLARATIONS}:AKernelAfterAll", "--dtype", "float16", "-k", "BN-RUN-INIT-MEAN")
    run = declare(tmp_path, "NoKernel", *options)
    assert {row.backend: row.verdict for row in run.rows} == {"NoKernel": "unsupported", "AKernelAfterAll": "violates"}
    (untrue,) = run.failing("must")
    assert "declares float16 unsupported, and yet answers: take `float16` out of `unsupported`" in untrue.message


def test_process_that_dies_takes_one_check_with_it(tmp_path: Path) -> None:
    """A process that ends without a word is a crash of the check that it ran; everything else is judged."""
    options = ("--dtype", "float32", "-k", "BN-RUN-NONE-five-batches or BN-RUN-VAR-2-values")
    run = declare(tmp_path, "Dies", "--backend", "numpy", *options)
    assert run.answer.status == 1
    assert {(row.backend, row.requirement): row.verdict for row in run.rows} == {
        ("Dies", "BN-RUN-NONE"): "crashed",
        ("Dies", "BN-RUN-VAR"): "conforms",
        ("numpy", "BN-RUN-NONE"): "conforms",
        ("numpy", "BN-RUN-VAR"): "conforms",
    }
    assert "the process ended with status 3" in json.dumps([row.message for row in run.rows])


class EvaluationOnly(Layer):
    """Training and gradients are refused."""

    def forward(self, x: Array, *, training: bool) -> Array:
        if training:
            raise NotImplementedError("evaluation only")
        return super().forward(x, training=training)

    def backward(self, x: Array, grad_output: Array, *, training: bool) -> tuple[Array, Array | None, Array | None]:
        raise NotImplementedError("evaluation only")


class EvaluationOnlyBackend(Mutant):
    """It says so."""

    unsupported: ClassVar[dict[str, str]] = {"training": "evaluation only", "backward": "evaluation only"}


@pytest.mark.thorough(keep=9)
@pytest.mark.parametrize("test", conformance_tests(), ids=lambda test: test.function.__name__)
def test_evaluation_alone_is_judged(test: Test) -> None:
    """Without training every check comes to a verdict, and to none against the implementation."""
    backend = EvaluationOnlyBackend("evaluation-only", "It evaluates", EvaluationOnly)
    subject = Subject("evaluation-only", backend, "cpu", "float32")
    for case in test.cases("float32"):
        found = test.run(subject, case)
        assert found, case
        assert [outcome.message for outcome in found if outcome.verdict not in ("conforms", "unsupported")] == []
