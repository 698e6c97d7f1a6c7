"""The options of a run, which the command `bnconform` and pytest in a clone take alike."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from bnconform.backends.registry import COMMAND
from bnconform.cli.parser import dtype_name
from bnconform.results.result import LEVELS
from bnconform.results.shard import Share


def _share(text: str) -> str:
    """The share that --shard names, as text: pytest-xdist hands the options on as plain values."""
    try:
        return str(Share.parse(text))
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _times(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_TIMES:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of repetitions; give one from 1 to {MOST_TIMES}")
    return int(text)


MOST_TIMES = 1000
"""Repetitions of a check; more would take longer than anybody waits."""

OPTIONS: dict[str, dict[str, Any]] = {
    "--backend": {
        "action": "append",
        "default": [],
        "metavar": "B",
        "help": "a name, FILE.py, FILE.py:CLASS, MODULE:CLASS, command:PROGRAM, or all (default: numpy); "
        "may be repeated",
    },
    "--backend-command": {
        "action": "append",
        "default": [],
        "metavar": "C",
        "help": "as --backend command:C, a program that speaks the protocol of backends/PROTOCOL.md; may be repeated",
    },
    "--device": {
        "action": "append",
        "default": [],
        "metavar": "D",
        "help": "a device, such as cpu or cuda:0 (default: all that the backend lists); may be repeated",
    },
    "--dtype": {
        "action": "append",
        "default": [],
        "type": dtype_name,
        "metavar": "T",
        "help": "float64, float32, float16 or bfloat16; or f64, f32, f16, bf16 (default: all); may be repeated",
    },
    "--chapter": {
        "action": "append",
        "default": [],
        "metavar": "CHAPTER",
        "help": "a chapter of the requirements, such as replicas (default: all); may be repeated",
    },
    "--level": {
        "choices": LEVELS,
        "default": "must",
        "help": "the requirements whose violation fails the run (default: must)",
    },
    "--baseline": {
        "metavar": "PATH",
        "help": "known failures, which do not fail the run; `bnconform baseline` makes it",
    },
    "--json": {"dest": "bnconform_json", "metavar": "PATH", "help": "write the result to a file"},
    "--html": {"metavar": "PATH", "help": "write the result as a page (needs the extra `report`)"},
    "--kill-matrix": {"metavar": "PATH", "help": "the kill matrix that the page shows (default: the package's)"},
    "--markdown": {"metavar": "PATH", "help": "write it as Markdown; to $GITHUB_STEP_SUMMARY it is added, as to a log"},
    "--badge": {"metavar": "PATH", "help": "write it as a badge: an .svg, or a .json for shields.io"},
    "--annotations": {"action": "store_true", "help": "print failures as GitHub annotations"},
    "--time-limit": {
        "type": float,
        "default": 300.0,
        "metavar": "SECONDS",
        "help": "in which a program of calls must be done; what takes longer has hung (default: 300)",
    },
    "--memory-limit": {
        "type": float,
        "default": 0.0,
        "metavar": "GIB",
        "help": "that an implementation's process may hold (Linux; default: no limit)",
    },
    "--python": {
        "action": "append",
        "default": [],
        "metavar": "B=PATH",
        "help": "the interpreter, of another environment, that runs backend B and its variants; may be repeated",
    },
    "--run-in": {
        "action": "append",
        "default": [],
        "metavar": "B=COMMAND",
        "help": 'start the process of backend B behind a command: "ssh gpu-box", "docker run -i --rm IMAGE"; '
        "the runner is sent over standard input, and --python names the interpreter there (default: python3)",
    },
    "--thorough": {
        "action": "store_true",
        "help": "ask every row of the covering array in every dtype, every three of some circumstances, and a thousand "
        "updates: some four times as many rows, for a nightly run; recordings hold the everyday ones",
    },
    "--shard": {
        "type": _share,
        "metavar": "K/N",
        "help": "make the K-th of N shares of the checks of each column, each on a machine of its own; `report`, "
        "`compare` and `baseline` take all N result files for the one of the whole run",
    },
    "--repeat": {
        "type": _times,
        "default": 1,
        "metavar": "N",
        "help": "make each check N times, on new layers: the worst counts, and what differs is told as flaky",
    },
    "--in-process": {
        "action": "store_true",
        "help": "run implementations in pytest's own process, for a debugger; one that dies takes the run with it",
    },
    "--cases": {
        "default": "bnconform-cases",
        "metavar": "DIR",
        "help": "where failing cases are written for `bnconform replay` (default: bnconform-cases)",
    },
}
"""Each option, with what argparse's `add_argument` takes of it."""

PYTESTS: dict[str, dict[str, Any]] = {
    "--junit-xml": {
        "dest": "xmlpath",
        "metavar": "PATH",
        "help": "write it as JUnit's XML: a suite for each column, a failure for each requirement and cause",
    },
}
"""Options that pytest has and a run of ours fills otherwise: the command's help has them, and pytest registers them."""


def backends(option: Any) -> list[str]:
    """What is to be judged, programs among it."""
    return [*option.backend, *(f"{COMMAND}{command}" for command in option.backend_command)]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register them.

    The command gives pytest the plugin that calls this. Options that only a conftest knew would be unknown when pytest
    looks for conftests, and it would take `--baseline known.json` for a place of tests, with conftests of its own.
    """
    declare(parser.getgroup("bnconform", "bnconform: conformance of Batch Normalization").addoption)


def declare(add: Callable[..., object]) -> None:
    """Declare every option by `add`, which takes what argparse's `add_argument` takes."""
    for name, details in OPTIONS.items():
        add(name, **details)


def declare_all(add: Callable[..., object]) -> None:
    """Declare those of the command: every option, and pytest's own that we say something of."""
    declare(add)
    for name, details in PYTESTS.items():
        add(name, **details)
