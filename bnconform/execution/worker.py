"""The process that an implementation lives in: it loads one adapter, runs checks when told to, and answers in JSON.

`execution.worker_pool` starts it and speaks with it, one line each way. Standard output is the channel; what the
implementation prints goes to standard error, which the starter keeps to show where the process dies. The process ends
with its starter.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bnconform.backends.external import line_process
from bnconform.backends.registry import BackendError
from bnconform.cases.probes import cases_of
from bnconform.diagnosis import causes
from bnconform.execution import selection
from bnconform.execution.instrumented import AdapterError
from bnconform.judge.check import Check, Unsupported, Violation, conduct
from bnconform.judge.outcome import CRASHED, Outcome
from bnconform.judge.subject import Subject, devices_of
from bnconform.measure import identify, porting
from bnconform.measure.semantics_profile import as_data
from bnconform.results.run_result import device_name, installed
from bnconform.spec.catalogue import requirement

SUBJECTS: dict[tuple[str, str, str], Subject] = {}
"""The subjects that checks were run on, kept because they remember what explains them."""

Reply = dict[str, Any]

DECLARED = ("deviations", "unsupported", "unsupported_on", "documented")


def describe(key: str) -> Reply:
    """What the adapter says of itself, with its devices; {"refused": why} where it cannot be loaded."""
    try:
        backend = selection.adapter(key)
        devices = devices_of(backend, key)
    except BackendError as problem:
        return {"refused": str(problem)}
    return {
        "name": backend.name,
        **{word: dict(getattr(backend, word, {})) for word in DECLARED},
        "slow_to_start": bool(getattr(backend, "slow_to_start", False)),
        "devices": {device: device_name(backend, device) for device in devices},
        "packages": {**installed(), **getattr(backend, "packages", {})},
    }


def smoked(key: str, device: str) -> Reply:
    """What the smoke check refuses an adapter for: {"refused": why}, or nothing."""
    try:
        selection.smoked(key, device)
    except BackendError as problem:
        return {"refused": str(problem)}
    except KeyboardInterrupt:  # nobody interrupts this process: the implementation raised it, for the suite to tell
        return {}
    return {}


def check(request: Mapping[str, Any], send: Callable[[Reply], None]) -> None:
    """Run one check and send how it ended; then, where that is a violation, the outcome with what explains it."""
    subject = _subject(request["key"], request["device"], request["dtype"])
    rule = requirement(request["requirement"])
    case = None
    if request["case"] is not None:
        case = next(case for case in cases_of(rule.id, subject.dtype) if case.name == request["case"])
    folder = Path(request["folder"]) if request["folder"] else None
    test = getattr(importlib.import_module(request["module"]), request["test"])
    made = Check(subject, rule, case, folder)
    calls, seconds = subject.clock.calls, subject.clock.seconds
    ended, text = _ended(test, made)
    send(
        {
            "ended": ended,
            "text": text,
            "outcomes": [outcome.as_dict() for outcome in made.outcomes],
            "calls": subject.clock.calls - calls,
            "seconds": subject.clock.seconds - seconds,
        }
    )
    if ended != "violation" or not request["explain"]:
        return

    def rerun(other: Subject) -> list[Outcome]:
        return conduct(test, Check(other, rule, case))

    causes.note(made.outcomes[-1], subject, rerun)
    send({"outcome": made.outcomes[-1].as_dict()})


def _ended(test: Callable[[Check], object], made: Check) -> tuple[str, str]:
    """How a check ended, and what it said: held, unsupported, violation, adapter or internal."""
    try:
        test(made)
    except Unsupported as reason:
        return "unsupported", str(reason)
    except Violation as problem:
        return "violation", str(problem)
    except AdapterError as problem:
        made.note_adapter_error(problem)
        return "adapter", str(problem)
    except KeyboardInterrupt:
        # Nobody interrupts this process: the implementation raised it.
        try:
            made.fail("raised KeyboardInterrupt", verdict=CRASHED)
        except Violation as problem:
            return "adapter", str(problem)
    except Exception as error:
        made.note_internal_error(error)
        return "internal", traceback.format_exc()
    return "held", ""


def _identified(request: Mapping[str, Any]) -> Reply:
    """The card of a backend, in the first dtype that it has and answers in."""
    card = identify.first_card(lambda dtype: _subject(request["key"], request["device"], dtype))
    return as_data(card) if card else {"reason": "it has no dtype to measure"}


MEASUREMENTS: Mapping[str, Callable[[Mapping[str, Any]], Reply]] = {
    "identify": _identified,
    "trained": lambda request: porting.trained(_subject(request["key"], request["device"], porting.DTYPE)),
    "carried": lambda request: {
        donor: porting.carried(_subject(request["key"], request["device"], porting.DTYPE), state)
        for donor, state in request["states"].items()
    },
}
"""What else is asked of a backend, by its name in the request."""


def _subject(key: str, device: str, dtype: str) -> Subject:
    place = (key, device, dtype)
    if place not in SUBJECTS:
        SUBJECTS[place] = Subject(key, selection.adapter(key), device, dtype)
    return SUBJECTS[place]


def main() -> None:
    """Answer requests until there are no more."""
    with suppress(OSError, AttributeError):  # Linux only; elsewhere the end of the input is the sign
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")

    def send(reply: Reply) -> None:
        channel.write(json.dumps(reply) + "\n")
        channel.flush()

    def lost(text: str, hung: bool) -> None:
        """A program is lost to its adapter: so is this process, which its starter ends, with its group."""
        send({"lost": text, "hung": hung})
        while True:
            signal.pause()

    line_process.keeper = lost
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "describe":
            send({key: describe(key) for key in request["keys"]})
        elif request["do"] == "smoke":
            send(smoked(request["key"], request["device"]))
        elif request["do"] == "check":
            check(request, send)
        else:
            send(MEASUREMENTS[request["do"]](request))
