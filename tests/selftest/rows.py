"""Rows and runs for the tests of the report."""

from __future__ import annotations

import itertools
from typing import Any

from bnconform.results.result import VERDICTS, Difference, Environment, Result, Row, Usage, merge

CHAPTERS = {
    "BN-TRAIN-NORM": "Training forward",
    "BN-RUN-VAR": "Running statistics",
    "BN-EDGE-ONE-VALUE-POLICY": "Edge cases",
    "BN-NUM-STABLE": "Numerical quality",
}
TITLES = {name: f"What {name} asks for, in more words than there may be room for in a line" for name in CHAPTERS}
STRICTNESS = {"BN-EDGE-ONE-VALUE-POLICY": "may", "BN-NUM-STABLE": "should"}
ALL_DTYPES = ("float64", "float32", "float16", "bfloat16")


def row(verdict: str = "conforms", **given: Any) -> Row:
    """A row about BN-RUN-VAR of numpy, or about what is given."""
    defaults = {"backend": "numpy", "device": "cpu", "dtype": "float32", "requirement": "BN-RUN-VAR"}
    values: dict[str, Any] = defaults | {"verdict": verdict} | given
    values.setdefault("level", STRICTNESS.get(values["requirement"], "must"))
    return Row(**values)


def run(*rows: Row, backends: dict[str, Usage] | None = None) -> Result:
    """A run with these rows that took 8 seconds."""
    return Result(
        Environment(
            python="3.11.7",
            platform="Linux x86_64",
            bnconform="0.1.0",
            packages={"numpy": "2.4.6", "torch": "2.13.0"},
            devices={"cpu": "x86_64, 2 cores"},
            started="2026-01-31T12:00:00+00:00",
            seconds=8.0,
            backends=backends or {},
        ),
        merge(rows),
    )


def grid(backends: list[str], dtypes: tuple[str, ...] = ALL_DTYPES, devices: tuple[str, ...] = ("cpu",)) -> list[Row]:
    """A row for each place and requirement, every verdict among them."""
    places = itertools.product(backends, devices, dtypes, CHAPTERS)
    verdicts = itertools.cycle(VERDICTS)
    return [
        row(
            verdict,
            backend=backend,
            device=device,
            dtype=dtype,
            requirement=name,
            message="" if verdict == "conforms" else f"{verdict} because " + "of that, " * 24 + "\nsecond line",
        )
        for (backend, device, dtype, name), verdict in zip(places, verdicts, strict=False)
    ]


FULL = run(
    row(
        "violates",
        checks=3,
        bound_share=12.5,
        ulp=400.0,
        diagnosis=(Difference("running_variance", "biased"),),
        message="is 1.0,\nshould be 1.25",
        case="cases/BN-RUN-VAR.json",
    ),
    row("conforms", dtype="float64", bound_share=0.25, ulp=0.5),
    row("unsupported", backend="torch.nn", message="no reason"),
    backends={"numpy": Usage(40, 2.0), "torch.nn": Usage(7, 0.5)},
)
"""A run with a violation, a success and a gap."""


OF_METHODS = (
    "BN-REC-", "BN-REMAT-", "BN-DERIV-", "BN-MASK-", "BN-REP-", "BN-SET-", "BN-TRANS-", "BN-SAVED-", "BN-FROZEN-",
)  # fmt: skip
ALONE = {"BN-ACC-STEPS", "BN-STATE-RESET", "BN-STATE-HISTORY", "BN-STATE-LAZY", "BN-LAYOUT-FORMAT"}


def of_methods(requirement: str) -> bool:
    """Whether a requirement is about what an adapter may have besides, and the plainest one has not."""
    return requirement.startswith(OF_METHODS) or requirement in ALONE
