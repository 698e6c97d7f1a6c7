"""Which failing cases are written to files: the first ones that differ alike, and each that is smaller than they."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from bnconform.cases import casefile
from bnconform.judge.check_record import KEPT_CASES
from bnconform.judge.subject import Subject
from bnconform.judge.suite_run import SuiteRun, plan_checks
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array, Layer

RULES = ("BN-LAYOUT-X", "BN-TRAIN-NORM", "BN-GRAD-INPUT")


class EpsilonOutside(Layer):
    """It adds the epsilon to the deviation."""

    def inverse_std(self, variance: Array, training: bool) -> Array:
        return np.asarray(1 / (np.sqrt(variance) + self.work.type(self.config.eps)))


def run(folder: Path) -> SuiteRun:
    """The checks of RULES, made of a layer with one fault."""
    subject = Subject("mine", Mutant("mine", "epsilon outside of the root", EpsilonOutside), "cpu", "float32")
    made = SuiteRun(plan_checks([subject], RULES), folder)
    for _ in made:
        pass
    return made


def test_few_cases_are_written_and_the_smallest_is_among_them(tmp_path: Path) -> None:
    """Of each requirement and each set of quantities that differ, so that every card has its replay line."""
    failed = [one for one in run(tmp_path / "cases").outcomes if one.verdict == "violates"]
    kept = [one for one in failed if one.case is not None]
    assert 0 < len(kept) < len(failed) / 2
    groups: dict[tuple[str, frozenset[str]], list[tuple[tuple[int, ...], bool]]] = {}
    for one in failed:
        differing = frozenset(quantity["what"] for quantity in one.judged_quantities if quantity["wrong"])
        groups.setdefault((one.requirement, differing), []).append((tuple(one.size), one.case is not None))
    for members in groups.values():
        assert (min(members)[0], True) in members
        assert sum(kept for _, kept in members) <= KEPT_CASES + math.log2(len(members)) + 4


def test_a_written_case_is_read_as_it_was(tmp_path: Path) -> None:
    """Each step stands in a line of its own, and nothing of it is lost."""
    run(tmp_path / "cases")
    files = sorted((tmp_path / "cases").glob("*.json"))
    assert files
    for path in files:
        identifier, name, program, quality = casefile.read(path)
        casefile.write(tmp_path / "again.json", identifier, name, program, quality)
        assert (tmp_path / "again.json").read_text() == path.read_text()
        assert len(path.read_text().splitlines()) == len(program.steps) + 10 - (program.reads == "always")


def test_an_earlier_run_s_case_is_gone_where_it_is_not_written_again(tmp_path: Path) -> None:
    """The folder has the cases of the last run only."""
    run(tmp_path / "cases")
    first = sorted(path.name for path in (tmp_path / "cases").iterdir())
    run(tmp_path / "cases")
    assert sorted(path.name for path in (tmp_path / "cases").iterdir()) == first
