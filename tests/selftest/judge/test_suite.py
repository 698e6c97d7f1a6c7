"""The suite is whole: every requirement has its check and its cases, and everything has a name that can be typed."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from bnconform.cases import inputs
from bnconform.cases.metamorphic import Relation
from bnconform.cases.probes import all_relations, cases_of, few_of, probes
from bnconform.cases.program import LAYOUTS, Array, Probe, Program
from bnconform.spec.catalogue import Requirement, requirements
from bnconform.spec.formats import DTYPES, numpy_dtype
from bnconform.tests import conformance
from bnconform.tests.selftest.command import bnconform

TYPABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_=-]*")
"""Words that no shell and no -k expression takes apart; a backend's name and a device may add a colon and a dot."""


def conformance_tests() -> dict[str, FunctionType]:
    """Every test function of tests/conformance, by module and name."""
    found = {}
    for module in pkgutil.iter_modules(conformance.__path__):
        loaded = importlib.import_module(f"{conformance.__name__}.{module.name}")
        for name, value in vars(loaded).items():
            if name.startswith("test_") and inspect.isfunction(value) and value.__module__ == loaded.__name__:
                found[f"{module.name}.{name}"] = value
    return found


TESTS = conformance_tests()
CASES: list[Probe | Relation] = [
    case for table in (probes(), all_relations()) for group in table.values() for case in group
]
each_test = pytest.mark.parametrize("test", TESTS.values(), ids=list(TESTS))
each_case = pytest.mark.parametrize("case", CASES, ids=[f"{case.requirement}-{case.name}" for case in CASES])


def marks(test: FunctionType, name: str) -> list[Any]:
    """The marks of that name on a test."""
    return [mark for mark in getattr(test, "pytestmark", []) if mark.name == name]


def named_by(test: FunctionType) -> list[str]:
    """The requirements that a test names."""
    return [word for mark in marks(test, "requirement") for word in mark.args]


@each_test
def test_every_test_names_one_requirement(test: FunctionType) -> None:
    """A conformance test checks one requirement of the catalogue, is given a `check`, and says what it checks."""
    assert len(named_by(test)) == 1
    assert named_by(test)[0] in requirements()
    assert list(inspect.signature(test).parameters) == ["check"]
    assert test.__doc__ and test.__doc__.endswith(".")


@each_test
def test_every_test_has_known_marks(test: FunctionType) -> None:
    """A misspelt mark would change nothing without a word."""
    assert {mark.name for mark in getattr(test, "pytestmark", [])} <= {"requirement", "cases", "once"}


@pytest.mark.parametrize("one", requirements().values(), ids=list(requirements()))
def test_every_requirement_has_a_test(one: Requirement) -> None:
    """A requirement that nothing checks would conform for ever."""
    assert [name for name, test in TESTS.items() if one.id in named_by(test)]


def test_tests_are_in_the_module_of_their_chapter() -> None:
    """One chapter's requirements are checked in one module."""
    modules: dict[str, set[str]] = {}
    for name, test in TESTS.items():
        modules.setdefault(requirements()[named_by(test)[0]].chapter, set()).add(name.partition(".")[0])
    assert {chapter: found for chapter, found in modules.items() if len(found) > 1} == {}
    assert len({module for found in modules.values() for module in found}) == len(modules)


@each_case
def test_every_case_is_run(case: Probe | Relation) -> None:
    """The test of a case's requirement runs over its cases."""
    assert case.requirement in requirements()
    assert [name for name, test in TESTS.items() if case.requirement in named_by(test) and marks(test, "cases")]


@each_test
def test_every_test_over_cases_has_some(test: FunctionType) -> None:
    """A test over cases, of which there are none in any dtype, would never run."""
    found = [case for dtype in DTYPES for case in cases_of(named_by(test)[0], dtype)]
    assert found or not marks(test, "cases")


@each_case
def test_every_case_makes_sense_in_some_dtype(case: Probe | Relation) -> None:
    """Its dtypes are ours, none twice, and it can be cast to each."""
    assert case.dtypes and len(set(case.dtypes)) == len(case.dtypes)
    assert set(case.dtypes) <= set(DTYPES)


@each_case
def test_every_case_observes_something(case: Probe | Relation) -> None:
    """A case that observes nothing could not fail; that nothing is infinite or NaN is asked of everything."""
    programs = (case.program,) if isinstance(case, Probe) else (case.first, case.second)
    assert all(program.steps for program in programs)
    assert case.requirement == "BN-NUM-FINITE" or all(program.observes for program in programs)


@each_case
def test_every_case_needs_what_its_requirement_needs(case: Probe | Relation) -> None:
    """A case of a requirement that needs a feature uses it, so that a backend without it can be excused from it."""
    programs = (case.program,) if isinstance(case, Probe) else (case.first, case.second)
    used = {feature for program in programs for feature in program.config.features()}
    used |= {"backward" for program in programs for step in program.steps if step.op == "backward"}
    assert requirements()[case.requirement].features & {"backward", "momentum_none"} <= used


@pytest.mark.parametrize("one", requirements().values(), ids=list(requirements()))
def test_case_names_are_unique_and_typable(one: Requirement) -> None:
    """Within a requirement a name means one case, and a person can type it."""
    names = [case.name for case in CASES if case.requirement == one.id]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert [name for name in names if not TYPABLE.fullmatch(name)] == []


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The id of every check of the default run."""
    answer = bnconform(tmp_path_factory.mktemp("ids"), "--collect-only")
    assert answer.status == 0
    return [line.partition("[")[2].removesuffix("]") for line in answer.lines if "::" in line]


def test_ids_are_unique_and_say_what_they_are(ids: list[str]) -> None:
    """numpy:cpu-float32-BN-RUN-VAR-2-values: backend, device, dtype, requirement, case."""
    assert len(ids) > 1000
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    known = "|".join(sorted(requirements(), key=len, reverse=True))
    form = re.compile(rf"numpy:cpu-({'|'.join(DTYPES)})-({known})-{TYPABLE.pattern}")
    assert [name for name in ids if not form.fullmatch(name)] == []


def test_every_requirement_is_run(ids: list[str]) -> None:
    """The default run contains a check of every requirement."""
    assert [one for one in requirements() if not any(f"-{one}-" in name for name in ids)] == []


def _c_order(values: Array) -> tuple[int, ...]:
    return np.empty(values.shape, values.dtype).strides


STRIDES: dict[str, Callable[[Array], bool]] = {
    "contiguous": lambda a: a.strides == _c_order(a) and a.ctypes.data % 64 == 0,
    "unaligned": lambda a: a.strides == _c_order(a) and a.ctypes.data % 64 == a.itemsize,
    "fortran": lambda a: a.strides == np.empty(a.shape, a.dtype, order="F").strides,
    "channels_last": lambda a: np.moveaxis(a, 1, -1).strides == _c_order(np.moveaxis(a, 1, -1)),
    "batch_last": lambda a: np.moveaxis(a, 0, -1).strides == _c_order(np.moveaxis(a, 0, -1)),
    "batch_channel_swapped": lambda a: np.swapaxes(a, 0, 1).strides == _c_order(np.swapaxes(a, 0, 1)),
    "every_other_element": lambda a: a.strides == tuple(2 * stride for stride in _c_order(a)),
    "slice_with_offset": lambda a: (
        a.strides == np.empty([length + 3 for length in a.shape], a.dtype).strides
        and a.base is not None
        and a.ctypes.data - a.base.ctypes.data == 2 * sum(a.strides)
    ),
    "every_third_sample": lambda a: a.strides == (3 * _c_order(a)[0], *_c_order(a)[1:]) and _starts_inside(a),
    "reversed_batch": lambda a: a.strides == (-_c_order(a)[0], *_c_order(a)[1:]),
    "expanded_batch": lambda a: a.strides == (0, *_c_order(a)[1:]),
}
"""What each layout promises."""


def _starts_inside(values: Array) -> bool:
    return values.base is not None and values.ctypes.data > values.base.ctypes.data


def test_every_layout_has_a_promise() -> None:
    """The table above leaves none out."""
    assert set(STRIDES) == set(LAYOUTS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", inputs.SHAPES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_lie_in_memory_as_they_promise(name: str, rank: int, dtype: str) -> None:
    """The strides are those that the name says, and the values, shape and dtype are those that were given."""
    x = inputs.values(inputs.SHAPES[rank], 1).astype(numpy_dtype(dtype))
    if name == "expanded_batch":
        x = np.array(np.broadcast_to(x[:1], x.shape))
    laid = LAYOUTS[name](x)
    assert STRIDES[name](laid), laid.strides
    assert laid.shape == x.shape and laid.dtype == x.dtype
    assert laid.tobytes() == x.tobytes()
    assert not np.shares_memory(laid, x)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in ("contiguous", "unaligned", "channels_last")])
def test_layouts_are_not_contiguous(name: str) -> None:
    """Each is one that a layer which ignores strides would read wrongly, at the rank where all of them are used."""
    x = inputs.values(inputs.SHAPES[4], 1)
    if name == "expanded_batch":
        x = np.array(np.broadcast_to(x[:1], x.shape))
    assert not LAYOUTS[name](x).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_cases_need_no_more_than_the_first(dtype: str) -> None:
    """For what compiles, a check keeps its first case, and of the others those whose calls are compiled already."""
    chosen = {name: few_of(name, dtype) for name in (*probes(), *all_relations())}
    firsts = {name: cases_of(name, dtype)[:1] for name in chosen}
    assert {name: cases[:1] for name, cases in chosen.items()} == firsts
    compiled = {call for cases in firsts.values() for case in cases for call in _calls(case)}
    assert {call for cases in chosen.values() for case in cases for call in _calls(case)} == compiled
    assert sum(map(len, chosen.values())) > 1.5 * sum(map(len, firsts.values()))


def _calls(case: Probe | Relation) -> set[tuple[object, ...]]:
    found = case.at("float64", "float64")
    programs = (found,) if isinstance(found, Program) else found
    return {
        (program.config, step.op, step.training, np.shape(step.x))
        for program in programs
        for step in program.steps
        if step.x is not None
    }
