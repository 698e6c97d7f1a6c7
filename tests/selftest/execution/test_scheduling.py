"""The checks of one subject stay together, and however workers are asked for, every check runs once."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from bnconform.execution.scheduling import column, order, part, portion, row
from bnconform.judge.subject import Subject
from bnconform.tests.selftest.command import bnconform


class _Item:
    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid


IDS = [
    "a.py::test_x[numpy:cpu-float32-BN-RUN-VAR-rank2]",
    "a.py::test_x[torch.nn:cpu-float32-BN-RUN-VAR-rank2]",
    "b.py::test_y[numpy:cpu-float32-BN-GRAD-BIAS]",
    "b.py::test_y[numpy:cuda:0-float32-BN-GRAD-BIAS]",
]


def test_column_is_the_subject() -> None:
    """Backend, device and dtype, whatever the requirement and the case."""
    assert [column(nodeid) for nodeid in IDS] == [
        "numpy:cpu-float32", "torch.nn:cpu-float32", "numpy:cpu-float32", "numpy:cuda:0-float32",
    ]  # fmt: skip


def test_row_is_the_implementation_on_a_device() -> None:
    """All dtypes of it, and the files of the project's own tests."""
    assert [row(nodeid) for nodeid in [*IDS, "c.py::test_z"]] == [
        "numpy:cpu", "torch.nn:cpu", "numpy:cpu", "numpy:cuda:0", "c.py",
    ]  # fmt: skip


@pytest.mark.parametrize(("rows", "workers", "given"), [(8, 2, row), (7, 2, column), (8, 3, column), (1, 3, part)])
def test_portions_leave_every_worker_enough(rows: int, workers: int, given: object) -> None:
    """A whole implementation where there are plenty, one dtype of it where there are some, else the files of that."""
    backends = [SimpleNamespace(name=f"b{number}", deviations={}, unsupported={}) for number in range(rows)]
    subjects = [Subject(b.name, b, "cpu", dtype) for b in backends for dtype in ("float64", "float32", "float16")]
    assert portion(subjects, workers) is given


def test_order_keeps_subjects_together_and_checks_as_they_came() -> None:
    """Nothing else moves, and tests that have no subject stay in their files, whose fixtures they share."""
    items = [_Item(nodeid) for nodeid in IDS]
    order(items)  # type: ignore[arg-type]
    assert [IDS.index(item.nodeid) for item in items] == [0, 2, 1, 3]
    own = [_Item(f"{file}::test_{name}") for file in ("c.py", "d.py") for name in ("x[float32]", "y", "z[BN-RANK-a]")]
    moved = own.copy()
    order(moved)  # type: ignore[arg-type]
    assert moved == own
    assert [column(item.nodeid) for item in own] == ["c.py"] * 3 + ["d.py"] * 3


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize(
    "workers",
    [("-n", "2"), ("-n", "2", "--dist", "loadscope"), ("--dist", "load", "--tx", "2*popen"), ("-d", "--tx", "popen")],
    ids=["-n", "-n and another distribution", "--tx", "-d"],
)
def test_every_way_of_asking_for_workers(workers: tuple[str, ...], tmp_path: Path) -> None:
    """They all run, and come to what a run without workers comes to."""
    part = ("--dtype", "float32", "-k", "BN-RUN-VAR or BN-GRAD-BIAS")
    alone, shared = (bnconform(tmp_path, *part, *given) for given in ((), workers))
    assert (alone.status, shared.status) == (0, 0), shared.err
    assert _checks(alone.out) == _checks(shared.out)


def _checks(out: str) -> str:
    return str(re.findall(r"; (\d+) values compared in", out)[-1])
