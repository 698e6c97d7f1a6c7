"""The suite is whole: every requirement has its check and its cases, and everything has a name that can be typed."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from types import FunctionType

import numpy as np
import pytest

from bnconform.cases.covering.rows import REQUIREMENT, SINGLE, CoveringRow
from bnconform.cases.metamorphic import MetamorphicRelation
from bnconform.cases.models.rows import ModelCase
from bnconform.cases.probes import Case, all_relations, cases_of, covering, probes
from bnconform.cases.program import Probe, Program
from bnconform.judge.check import Check
from bnconform.judge.check_record import Unsupported
from bnconform.judge.marks import Marks, marks_of
from bnconform.judge.outcome import UNSUPPORTED
from bnconform.judge.subject import Subject
from bnconform.judge.suite import Test, conformance_tests, requirements_of_catalogue
from bnconform.spec.catalogue import Requirement, requirements
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES
from bnconform.tests import conformance
from bnconform.tests.mutants.layer import Layer
from bnconform.tests.selftest.command import bnconform
from bnconform.tests.selftest.forgetful import Backend

TYPABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_=-]*")
"""Words that no shell and no -k expression takes apart; a backend's name and a device may add a colon and a dot."""


def functions_of_tests() -> dict[str, FunctionType]:
    """Every test function of tests/conformance, by module and name."""
    found = {}
    for module in pkgutil.iter_modules(conformance.__path__):
        loaded = importlib.import_module(f"{conformance.__name__}.{module.name}")
        for name, value in vars(loaded).items():
            if name.startswith("test_") and inspect.isfunction(value) and value.__module__ == loaded.__name__:
                found[f"{module.name}.{name}"] = value
    return found


TESTS = functions_of_tests()
CATALOGUED = [name for name, test in TESTS.items() if marks_of(test) == Marks(over_cases=True)]
OWN = {name: test for name, test in TESTS.items() if name not in CATALOGUED}
"""The tests of one requirement each; the others run over the cases of whatever no test of its own takes."""

LayerCase = Probe | CoveringRow | MetamorphicRelation
"""What a layer is asked; models are asked of tools that deploy them."""

CASES: list[LayerCase] = [
    case
    for table in (probes(), all_relations(), {name: covering(name) for name in (REQUIREMENT, SINGLE)})
    for group in table.values()
    for case in group
]
BY_REQUIREMENT: dict[str, list[LayerCase]] = {}
for _case in CASES:
    BY_REQUIREMENT.setdefault(_case.requirement, []).append(_case)

each_test = pytest.mark.parametrize("test", OWN.values(), ids=list(OWN))
all_cases = pytest.mark.parametrize(("name", "cases"), BY_REQUIREMENT.items(), ids=list(BY_REQUIREMENT))
"""Of a requirement: there are thousands of cases, and one test for each would take longer than the tests."""


def marks(test: FunctionType) -> Marks:
    """What a test says of itself; nothing where it says nothing."""
    return marks_of(test) or Marks()


@each_test
def test_every_test_names_one_requirement(test: FunctionType) -> None:
    """A conformance test checks one requirement of the catalogue, is given a `check`, and says what it checks."""
    assert marks(test).requirement in requirements()
    assert list(inspect.signature(test).parameters) == ["check"]
    assert test.__doc__ and test.__doc__.endswith(".")


def test_one_test_runs_the_catalogue() -> None:
    """What no test of its own takes is run by one test, which names no requirement and does no more than run cases."""
    assert CATALOGUED == ["test_cases.test_case"]
    assert not marks(TESTS[CATALOGUED[0]]).requirement


@each_test
def test_no_test_has_marks_of_pytest(test: FunctionType) -> None:
    """They would be unknown, and refused, where another project's pytest runs the suite."""
    assert not hasattr(test, "pytestmark")


@pytest.mark.parametrize("one", requirements().values(), ids=list(requirements()))
def test_every_requirement_has_a_test(one: Requirement) -> None:
    """A requirement that nothing checks would conform for ever."""
    assert [test for test in conformance_tests() if test.rule is one and (not test.over_cases or _cases(test))]


def test_tests_are_in_the_module_of_their_chapter() -> None:
    """One module checks the requirements of one chapter."""
    chapters: dict[str, set[str]] = {}
    for name, test in OWN.items():
        chapters.setdefault(name.partition(".")[0], set()).add(requirements()[marks(test).requirement].chapter)
    assert {module: found for module, found in chapters.items() if len(found) > 1} == {}


@all_cases
def test_every_case_is_run(name: str, cases: list[LayerCase]) -> None:
    """One test runs over the cases of a requirement, and over each of them."""
    (test,) = [test for test in conformance_tests() if test.over_cases and test.rule.id == name]
    run = {id(case) for case in _cases(test)}
    assert [case.name for case in cases if id(case) not in run] == []


@pytest.mark.parametrize(
    "test", [test for test in conformance_tests() if test.over_cases], ids=lambda test: test.rule.id
)
def test_every_test_over_cases_has_some(test: Test) -> None:
    """A test over cases, of which there are none in any dtype, would never run."""
    assert _cases(test)


def _cases(test: Test) -> list[Case | None]:
    return [case for dtype in DTYPES for case in test.cases(dtype)]


def test_the_catalogue_takes_what_no_test_takes() -> None:
    """The requirements of the one test over the catalogue are those with cases and without a test over them."""
    own = {marks(test).requirement for test in OWN.values() if marks(test).over_cases}
    assert set(requirements_of_catalogue()) == {case.requirement for case in CASES} - own
    assert len(set(requirements_of_catalogue())) == len(requirements_of_catalogue())


class RefusesImages(Layer):
    """A layer that has no rank 4."""

    def __init__(self, config: Config) -> None:
        if config.ndim == 4:
            raise NotImplementedError(config.ndim)
        super().__init__(config)


def test_a_relation_without_its_first_program_is_unsupported() -> None:
    """What is sent ahead keeps its places: the second program is not taken for the first that cannot be asked."""
    backend = Backend(RefusesImages, unsupported={"rank_4": "it has no images"})
    (relation,) = [one for one in all_relations()["BN-INV-FLATTEN"] if one.name == "rank4-to-rank2"]
    check = Check(Subject(backend.name, backend, "cpu", "float32"), requirements()[relation.requirement], relation)
    assert [program.config.ndim for program in check.ahead()] == [2]
    with pytest.raises(Unsupported, match="it has no images"):
        check.run()
    assert [outcome.verdict for outcome in check.outcomes] == [UNSUPPORTED]


def programs_of(case: LayerCase) -> tuple[Program, ...]:
    """What a case runs."""
    return (case.first, case.second) if isinstance(case, MetamorphicRelation) else (case.program,)


@all_cases
def test_every_case_makes_sense_in_some_dtype(name: str, cases: list[LayerCase]) -> None:
    """Its dtypes are ours, none twice, and there is one."""
    assert [case.name for case in cases if not case.dtypes or len(set(case.dtypes)) < len(case.dtypes)] == []
    assert [case.name for case in cases if not set(case.dtypes) <= set(DTYPES)] == []


@all_cases
def test_every_case_observes_something(name: str, cases: list[LayerCase]) -> None:
    """A case that observes nothing could not fail; that nothing is infinite or NaN is asked of everything."""
    assert [case.name for case in cases if not all(program.steps for program in programs_of(case))] == []
    blind = [case.name for case in cases if not all(program.observes for program in programs_of(case))]
    assert name == "BN-NUM-FINITE" or blind == []


@all_cases
def test_every_case_needs_what_its_requirement_needs(name: str, cases: list[LayerCase]) -> None:
    """A case of a requirement that needs a feature uses it, so that a backend without it can be excused from it."""
    needed = requirements()[name].features & {"backward", "momentum_none"}
    assert [case.name for case in cases if not needed <= features_of(case)] == []


def features_of(case: LayerCase) -> set[str]:
    """What a case uses."""
    used = {feature for program in programs_of(case) for feature in program.config.features()}
    return used | {"backward" for program in programs_of(case) for step in program.steps if step.op == "backward"}


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
    """The default run, of a layer, contains a check of every requirement on layers, and of no other."""
    asked = [one for one in requirements() if any(f"-{one}-" in name for name in ids)]
    assert asked == [one.id for one in requirements().values() if not one.is_of_deployments]


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_cases_need_no_more_than_the_first(dtype: str) -> None:
    """For what compiles, a check keeps its first case, and of the others those whose calls are compiled already."""
    names = {*probes(), *all_relations()} - {REQUIREMENT, SINGLE}
    chosen = {name: cases_of(name, dtype, "configurations") for name in names}
    firsts = {name: cases_of(name, dtype)[:1] for name in chosen}
    assert {name: cases[:1] for name, cases in chosen.items()} == firsts
    compiled = {call for cases in firsts.values() for case in cases for call in _calls(case)}
    assert {call for cases in chosen.values() for case in cases for call in _calls(case)} == compiled
    assert sum(map(len, chosen.values())) > 1.5 * sum(map(len, firsts.values()))


def _calls(case: Case) -> set[tuple[object, ...]]:
    assert not isinstance(case, ModelCase)
    found = case.at("float64", "float64")
    programs = (found,) if isinstance(found, Program) else found
    return {
        (program.config, step.op, step.training, np.shape(step.x))
        for program in programs
        for step in program.steps
        if step.x is not None
    }
