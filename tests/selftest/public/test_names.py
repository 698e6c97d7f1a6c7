"""The names of the public API: that they are there, explained, all there is, and cost nothing before they are used."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from typing import Any

import pytest

import bnconform
from bnconform.tests.selftest.command import environment

NAMES = {
    "UserError", "__version__", "compare", "identify", "judge", "parametrize", "read_result", "reference", "testing",
}  # fmt: skip

FORWARD = {
    "weight", "bias", "running_mean", "running_var", "num_batches_tracked", "training", "momentum", "eps", "dtype",
    "behaviour",
}  # fmt: skip


def fresh(source: str) -> Any:
    """What a new interpreter prints as JSON."""
    command = [sys.executable, "-P", "-c", source]
    done = subprocess.run(command, env=environment(), capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_names_are_these() -> None:
    """What people import is what is said to be there, in the order of the alphabet."""
    assert set(bnconform.__all__) == NAMES
    assert list(bnconform.__all__) == sorted(NAMES)
    assert set(dir(bnconform)) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_there_and_explained(name: str) -> None:
    """Each can be had from a new interpreter, and says what it is for."""
    assert fresh(f"import bnconform; bnconform.{name}; print('true')")
    value = getattr(bnconform, name)
    assert isinstance(value, str) or (inspect.getdoc(value) or "").strip()
    assert name in (bnconform.__doc__ or "") or name in ("__version__", "read_result")


@pytest.mark.parametrize("module", ["reference", "testing"])
def test_modules_say_what_is_public(module: str) -> None:
    """The two modules list their names, and each is explained."""
    held = getattr(bnconform, module)
    for name in held.__all__:
        assert inspect.getdoc(getattr(held, name))


def test_nothing_else_leaks() -> None:
    """After the import nothing is there that is neither listed nor marked as our own."""
    found = fresh("import bnconform, json; print(json.dumps([n for n in vars(bnconform) if n[0] != '_']))")
    assert set(found) <= NAMES


def test_an_unknown_name_is_refused() -> None:
    """An attribute that is not there is an AttributeError, as everywhere."""
    with pytest.raises(AttributeError, match="no attribute 'judgement'"):
        _ = bnconform.judgement  # type: ignore[attr-defined]  # that it is not there is the point


@pytest.mark.parametrize("statement", ["import bnconform", "import bnconform.judge"])
def test_import_brings_nothing(statement: str) -> None:
    """Importing imports nothing that costs time, until something is used."""
    heavy = ("numpy", "pytest", "gmpy2", "hypothesis", "rich", "jsonschema", "ml_dtypes", "importlib.metadata")
    source = f"import sys, json; {statement}; print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    # An editable install has imported some of them before; so it is asked without site-packages.
    place = os.path.dirname(os.path.dirname(bnconform.__file__))  # noqa: PTH120  # as in the module itself
    command = [sys.executable, "-S", "-P", "-c", source]
    done = subprocess.run(
        command, env={"PYTHONPATH": place}, capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    assert json.loads(done.stdout) == []


def test_import_is_quick() -> None:
    """Importing takes less than ten milliseconds: the least of several times, as machines are shared."""
    source = (
        "import time, sys, json\n"
        "times = []\n"
        "for _ in range(5):\n"
        "    sys.modules.pop('bnconform', None)\n"
        "    begin = time.perf_counter(); import bnconform; times.append(time.perf_counter() - begin)\n"
        "print(json.dumps(min(times)))"
    )
    assert fresh(source) < 0.01


def test_judge_is_a_function_and_a_package() -> None:
    """`bnconform.judge` can be called, and what lies in it can be imported, whichever comes first."""
    after = "import bnconform; from bnconform.judge.check import Check; print(int(callable(bnconform.judge)))"
    assert fresh(f"import bnconform; bnconform.judge; {after}")
    assert fresh(f"import bnconform.judge.check; {after}")
    assert "requirements" in inspect.signature(bnconform.judge).parameters


def test_arguments_have_one_name_everywhere() -> None:
    """The functions that take a backend call the same thing the same."""
    judge = inspect.signature(bnconform.judge).parameters
    shared = set(judge) - {"progress"}
    assert set(inspect.signature(bnconform.parametrize).parameters) == shared
    assert {"in_process", "time_limit", "memory_limit", "python", "run_in"} <= set(
        inspect.signature(bnconform.identify).parameters
    )
    for name in shared - {"backend"}:
        one, other = judge[name], inspect.signature(bnconform.parametrize).parameters[name]
        assert (one.default, one.kind) == (other.default, other.kind), name
    for function in (bnconform.reference.forward, bnconform.reference.backward):
        assert set(inspect.signature(function).parameters) >= FORWARD | {"x"}
