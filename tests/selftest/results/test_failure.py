"""The record of a failure: what it holds, how it travels, which text is made of it, and that nothing reads the text."""

from __future__ import annotations

import ast
import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from bnconform.cases.probes import cases_of
from bnconform.judge.check import Check
from bnconform.judge.check_record import Violation
from bnconform.judge.outcome import Outcome
from bnconform.judge.subject import AdapterError, Subject
from bnconform.render import messages
from bnconform.render.evidence import failures
from bnconform.results import baseline_check, run_result
from bnconform.results import result as results
from bnconform.results.compare import _reason_for
from bnconform.results.failure import ADAPTER, DECLARATION, INTERNAL, KINDS, VIOLATION, Failure, Quantity
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.catalogue import requirement
from bnconform.tests.mutants.oracle_layer import OracleBackend
from bnconform.tests.selftest.command import PACKAGE
from bnconform.tests.selftest.rows import row, run

WHO = ("BN-RUN-VAR", "must", "the title", "document 001, page 1", "mine", "cpu", "float32", "mine.py:Mine")
NUMBER = Quantity("running_var[0] after call 1, forward", 1.5, 1.25, "float32", 1e-7, 3.0, 2.5)
FAILURES = {
    "number": Failure(VIOLATION, "violates", *WHO, quantity=NUMBER, call="BatchNorm(3)", case="cases/a b.json"),
    "no number": Failure(VIOLATION, "violates", *WHO, quantity=Quantity("the dtype of y", "float64", "float32")),
    "infinite": Failure(VIOLATION, "violates", *WHO, quantity=replace(NUMBER, got=math.inf, ulps=math.inf)),
    "relation": Failure(VIOLATION, "violates", *WHO, quantity=NUMBER, relation="y(2 x) = y(x)", cause="epsilon"),
    "raised": Failure(VIOLATION, "crashed", *WHO, problems=("forward raised OSError: gone (call 2)",), call="c"),
    "remark": Failure(VIOLATION, "crashed", *WHO, remark="the process died\nof SIGSEGV"),
    "adapter": Failure(ADAPTER, "violates", *WHO, remark="state() gave a list"),
    "suite": Failure(INTERNAL, "untrusted", *WHO, remark="internal error of bnconform, please report it: KeyError: 1"),
    "declaration": Failure(DECLARATION, "violates", *WHO, remark="declares what is not"),
}
each_failure = pytest.mark.parametrize("failure", FAILURES.values(), ids=list(FAILURES))


@each_failure
def test_record_travels(failure: Failure) -> None:
    """What is written as JSON is what is read, between processes and in files, where it fits the schema."""
    data = json.loads(json.dumps(failure.to_json(), allow_nan=False))
    assert Failure.from_json(data) == failure
    outcome = Outcome(*WHO[4:7], *WHO[:2], failure.verdict, failure=failure)
    again = Outcome(**json.loads(json.dumps(outcome.as_dict(), allow_nan=False)))
    assert again == outcome and again.failure == failure
    found = run(replace(run_result.row(outcome), failure=failure))
    assert results.from_json(json.loads(json.dumps(results.to_json(found), allow_nan=False))) == found


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -0.0, 5e-324, 1e308])
def test_every_number_travels(value: float) -> None:
    """Also those that JSON has not."""
    failure = replace(FAILURES["number"], quantity=Quantity("y", value, value, "float64", value, value, value))
    again = Failure.from_json(json.loads(json.dumps(failure.to_json(), allow_nan=False))).quantity
    assert again is not None
    assert {repr(number) for number in (again.got, again.expected, again.bound, again.ulps, again.ratio)} == {
        repr(value)
    }


def test_record_without_what_a_later_version_may_leave_out() -> None:
    """The keys that the schema asks for are enough."""
    data = {
        name: value for name, value in FAILURES["adapter"].to_json().items() if name not in ("title", "source", "key")
    }
    assert Failure.from_json(data).remark == "state() gave a list"
    entry = results.to_json(run(row("violates", failure=FAILURES["adapter"])))
    entry["results"][0]["failure"] = data
    assert results.from_json(entry).rows[0].failure is not None


def test_kinds_are_those_of_the_schema() -> None:
    """A kind that a file could not keep would be lost."""
    schema = json.loads((Path(results.__file__).parent / "result.schema.json").read_text(encoding="utf-8"))
    assert schema["$defs"]["failure"]["properties"]["kind"]["enum"] == list(KINDS)
    names = set(schema["$defs"]["failure"]["properties"])
    assert names == set(Failure.__dataclass_fields__)
    jsonschema.Draft202012Validator.check_schema(schema)


TEXTS = {
    "number": """\
BN-RUN-VAR (must) violated by mine:cpu-float32: the title
  what       running_var[0] after call 1, forward
  got        1.5 (float32)
  should be  1.25, to within 1e-07
  off by     3 ulp, 2.5 times the bound
  the call   BatchNorm(3)
  source     document 001, page 1
  replay     bnconform replay 'cases/a b.json' --backend mine.py:Mine""",
    "relation": """\
BN-RUN-VAR (must) violated by mine:cpu-float32: the title
  what       running_var[0] after call 1, forward
  got        1.5 (float32)
  should be  1.25, to within 1e-07
  off by     3 ulp, 2.5 times the bound
  relation   y(2 x) = y(x)
  diagnosis  epsilon
  source     document 001, page 1
  replay     bnconform --backend mine.py:Mine --dtype float32 --level may -k BN-RUN-VAR-""",
    "remark": """\
BN-RUN-VAR (must) not answered by mine:cpu-float32: the title
  the process died
  of SIGSEGV
  source     document 001, page 1
  replay     bnconform --backend mine.py:Mine --dtype float32 --level may -k BN-RUN-VAR-""",
    "adapter": "state() gave a list",
    "suite": "internal error of bnconform, please report it: KeyError: 1",
    "declaration": "BN-RUN-VAR mine declares what is not",
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str) -> None:
    """The whole of it, in its order."""
    assert messages.message(FAILURES[name]) == TEXTS[name]


def test_text_of_what_must_be_exact() -> None:
    """A bound of zero is called exact, and what is not finite is called so."""
    exact = replace(NUMBER, bound=0.0, ratio=math.inf)
    text = messages.message(replace(FAILURES["number"], quantity=exact))
    assert "  should be  1.25, exactly\n  off by     3 ulp, where nothing is computed\n" in text
    lost = replace(NUMBER, ratio=math.inf, ulps=math.inf)
    assert "  off by     finite and not, inf times the bound" in messages.message(
        replace(FAILURES["number"], quantity=lost)
    )


def test_words_of_several_lines_are_indented() -> None:
    """An array that was got may go over lines."""
    failure = replace(FAILURES["no number"], quantity=Quantity("y", str(np.eye(2)), "zeros"))
    assert "  got        [[1. 0.]\n   [0. 1.]]\n  should be  zeros" in messages.message(failure)


def test_diagnosis_is_a_line_of_every_kind() -> None:
    """What explains a failure stands before how to go on, or else at the end."""
    for failure in FAILURES.values():
        lines = messages.message(replace(failure, cause="the cause")).splitlines()
        [place] = [number for number, line in enumerate(lines) if line == "  diagnosis  the cause"]
        assert len(lines) - place == (1 if failure.kind != VIOLATION else 3 + bool(failure.call))


SUMMARIES = {
    "number": NUMBER.what,
    "raised": "forward raised OSError: gone (call 2)",
    "remark": "the process died",
    "adapter": "state() gave a list",
    "declaration": "declares what is not",
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_summary(name: str) -> None:
    """What was seen, in one line, which every report takes from the record."""
    failing = row("violates", failure=FAILURES[name], message="another text\n  what       of no account")
    assert failing.summary == SUMMARIES[name]
    assert [finding.headline for finding in failures([failing])] == [SUMMARIES[name]]


def test_facts_come_from_the_record() -> None:
    """Neither the comparison nor the baseline looks for a fact in the text."""
    assert _reason_for(row("violates", failure=FAILURES["number"], message="BN-RUN-VAR lies")) == "not met: the title"
    inside = row("untrusted", failure=FAILURES["suite"], message="renamed")
    assert baseline_check.internal(inside)
    assert not baseline_check.internal(
        replace(inside, failure=FAILURES["adapter"], message="internal error of bnconform")
    )


def test_check_records_what_it_saw() -> None:
    """The record of a failing check has the numbers of its message, in full."""
    check = Check(
        Subject("wrong.py:Wrong", OracleBackend(SPECIFIED.but(running_variance="biased")), "cpu", "float32"),
        requirement("BN-RUN-VAR"),
        next(case for case in cases_of("BN-RUN-VAR", "float32") if case.name == "2-values"),
    )
    with pytest.raises(Violation) as caught:
        check.run()
    failure = check.outcomes[-1].failure
    assert failure is not None and failure.quantity is not None
    assert str(caught.value) == check.outcomes[-1].message == messages.message(failure)
    quantity = failure.quantity
    assert isinstance(quantity.got, float) and isinstance(quantity.expected, float) and quantity.bound is not None
    off = abs(quantity.got - quantity.expected)
    rounding = 2.0**-53 * (abs(quantity.expected) / off + 3)  # of what is expected, the difference and the quotients
    assert quantity.ratio == pytest.approx(off / quantity.bound, rel=rounding)
    assert quantity.ratio == check.outcomes[-1].bound_share
    assert shlex.split(str(caught.value).rpartition("replay     ")[2]) == messages.replay(failure)


def test_every_kind_of_fault_is_recorded() -> None:
    """The adapter's faults and our own are failures of a kind of their own, which their text alone would not tell."""
    check = Check(Subject("a.py:A", OracleBackend(SPECIFIED), "cpu", "float32"), requirement("BN-RUN-VAR"))
    check.note_adapter_error(AdapterError("gave a list"))
    check.note_internal_error(KeyError("x"))
    found = [outcome.failure for outcome in check.outcomes]
    assert [one.kind for one in found if one] == [ADAPTER, INTERNAL]
    assert check.outcomes[0].message == "gave a list"


READERS = {"splitlines", "split", "partition", "rpartition", "removeprefix", "startswith", "find", "index", "replace"}
OLDER_FILES = {"results/result.py", "results/baseline_check.py", "render/terminal.py"}
"""Where the text of a file of an earlier version is shown line by line, for want of a record."""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_text_is_read_back(path: Path) -> None:
    """No code takes a message apart."""
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in READERS
        and any(isinstance(part, ast.Attribute) and part.attr == "message" for part in ast.walk(node.func.value))
    ]
    assert not found or path.relative_to(PACKAGE).as_posix() in OLDER_FILES, ast.unparse(found[0])
