"""The result of a training as a file: each implementation's verdict, with its error ratios step by step.

The file's form is `training.schema.json`. Numbers are kept to DIGITS significant digits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnconform.cases.json_files import JsonForm
from bnconform.results import files
from bnconform.results.files import FileError

SCHEMA = "bnconform/training/1"

DIGITS = 3
"""Significant digits of an error ratio, and INFINITE in the place of one that is not finite."""

INFINITE = 1e300


class TrainingFileError(FileError):
    """A file of a training that cannot be used; the message says why, in one line."""


FORM = JsonForm(
    "training",
    Path(__file__).parent / "training.schema.json",
    TrainingFileError,
    "`bnconform train --json PATH` writes one",
)


@dataclass(frozen=True)
class TrainingRow:
    """One implementation in one dtype.

    Attributes:
        whole: whether the network is the framework's own; else it is ours around the implementation's BatchNorms.
        verdict: as everywhere. ratios: by quantity the error ratio of each step; {} where no step was made.
        left_step, left: the first step, from 1 on, at which it was beyond the bound (0: none), and the quantities that
            were, the worst first. explained: what explains that. words: why it did not go on.
        packages: the version of each distribution where it ran.
    """

    backend: str
    dtype: str
    whole: bool
    verdict: str
    ratios: Mapping[str, tuple[float, ...]]
    left_step: int = 0
    left: tuple[str, ...] = ()
    explained: tuple[str, ...] = ()
    words: str = ""
    packages: Mapping[str, str] | None = None

    def largest(self, quantity: str) -> float:
        """The largest error ratio of a quantity; 0 where there is none."""
        return max(self.ratios.get(quantity, ()), default=0.0)


@dataclass(frozen=True)
class TrainingResult:
    """A training of many.

    Attributes:
        source: where the images come from. steps, batch, held_out: how many steps, images of each, and of the
            evaluation loss. losses: the reference's, by "loss" and "evaluation_loss".
        bounds: by dtype and quantity the bound of each step: of statistics that of the layer with the largest.
    """

    source: str
    steps: int
    batch: int
    held_out: int
    losses: Mapping[str, tuple[float, ...]]
    bounds: Mapping[str, Mapping[str, tuple[float, ...]]]
    rows: tuple[TrainingRow, ...]


def round_values(values: Sequence[float]) -> tuple[float, ...]:
    """The values to DIGITS significant digits."""
    return tuple(float(f"{value:.{DIGITS}g}") if math.isfinite(value) else INFINITE for value in values)


def to_text(result: TrainingResult) -> str:
    """The file: a line a row; the same for the same result."""
    head = {
        "schema": SCHEMA, "source": result.source, "steps": result.steps, "batch": result.batch,
        "held_out": result.held_out, "losses": _lists(result.losses),
        "bounds": {dtype: _lists(found) for dtype, found in result.bounds.items()},
    }  # fmt: skip
    rows = ",\n".join("  " + json.dumps(_row(row), ensure_ascii=False) for row in result.rows)
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items())
    return f'{{\n{lines},\n "rows": [\n{rows}\n ]\n}}\n'


def write(path: Path, result: TrainingResult) -> None:
    """Write the file whole, or leave what was there and raise FileError."""
    files.write(path, to_text(result), "the training")


def read(path: Path) -> TrainingResult:
    """The training in a file; TrainingFileError, naming file and place, for what is none."""
    data = FORM.read(path)
    return TrainingResult(
        data["source"], data["steps"], data["batch"], data["held_out"], _tuples(data["losses"]),
        {dtype: _tuples(found) for dtype, found in data["bounds"].items()}, tuple(map(_of, data["rows"])),
    )  # fmt: skip


def _row(row: TrainingRow) -> dict[str, Any]:
    return {
        "backend": row.backend, "dtype": row.dtype, "whole": row.whole, "verdict": row.verdict,
        "left_step": row.left_step, "left": list(row.left), "explained": list(row.explained), "words": row.words,
        "packages": dict(row.packages or {}), "ratios": {name: list(round_values(v)) for name, v in row.ratios.items()},
    }  # fmt: skip


def _of(data: Mapping[str, Any]) -> TrainingRow:
    return TrainingRow(
        data["backend"], data["dtype"], data["whole"], data["verdict"], _tuples(data["ratios"]), data["left_step"],
        tuple(data["left"]), tuple(data["explained"]), data["words"], data["packages"],
    )  # fmt: skip


def _lists(values: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    return {name: list(round_values(found)) for name, found in values.items()}


def _tuples(values: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(found) for name, found in values.items()}
