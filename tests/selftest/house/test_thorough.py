"""The everyday run of the self-tests leaves out what is marked; a thorough one, or one by name, leaves nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bnconform.tests.selftest.command import environment
from bnconform.tests.selftest.execution import test_hostile

ROOT = Path(__file__).parents[3]
TEST = "test_few_processes"
FILE = Path(test_hostile.__file__).relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    ("words", "collected"),
    [((FILE, "-k", TEST), 2), ((FILE, "-k", TEST, "--thorough"), 4), ((f"{FILE}::{TEST}",), 4)],
    ids=["everyday", "thorough", "by name"],
)
def test_one_in_three_stays(words: tuple[str, ...], collected: int) -> None:
    """The first of a test's cases, and every third after it, where it says so."""
    words = (*words, "--collect-only", "-q", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert sum(TEST in line for line in done.stdout.splitlines()) == collected


@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_what_is_left_out_is_counted(processes: tuple[str, ...]) -> None:
    """The end of a run says how many tests it has not run, with worker processes, too."""
    words = (FILE, "-k", "no_such_test", "-p", "no:cacheprovider", *processes)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert " tests are left to a thorough run; --thorough takes them, too\n" in done.stdout
