"""A program that speaks the protocol, with nothing behind it: y is x. Given the name of a fault, it has that fault.

It imports nothing of ours, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Told = dict[str, Any]

HELLO: Told = {
    "protocol": "bnconform/1", "name": "echo", "devices": ["cpu"],
    "deviations": {}, "documented": {}, "unsupported": {},
}  # fmt: skip
COUNTERS: Told = {"dtype": "int64", "shape": [1], "data": "AQAAAAAAAAA="}
STATE = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")
ABILITIES = ["weight_alone", "vjp", "jvp", "hvp", "masked", "masked_backward", "recomputed", "reset", "set"]
ABILITIES += ["replicated", "replicated_vjp", "saved_statistics", "freeze"]
ABILITIES += ["masked_replicated", "masked_replicated_vjp"]
"""What a program may take besides."""


def honest(request: Told) -> Told:
    """The answer of a program without a fault, but for its `id`."""
    replicas = [{"y": x, **dict.fromkeys(STATE[:3])} for x in request.get("xs", ())]
    gradients = [{"grad_x": g, "grad_weight": None, "grad_bias": None} for g in request.get("grad_outputs", ())]
    return {
        "hello": HELLO,
        "build": {"layer": request["id"]},
        "build_default": {"layer": f"default {request['id']}"},
        "forward": {"y": request.get("x")},
        "vjp": {"y": request.get("x"), "pass": 1},
        "pullback": {"grad_x": request.get("grad_output"), "grad_weight": None, "grad_bias": None},
        "jvp": {"y": request.get("x"), "tangent_y": request.get("tangent")},
        "hvp": {"hvp_x": request.get("vector"), "hvp_weight": None, "hvp_bias": None},
        "masked": {"y": request.get("x")},
        "masked_backward": {"grad_x": request.get("grad_output"), "grad_weight": None, "grad_bias": None},
        "recomputed": {"grad_x": request.get("grad_output"), "grad_weight": None, "grad_bias": None},
        "saved_statistics": dict.fromkeys(("mean", "invstd", "variance")),
        "replicated": {"replicas": replicas},
        "replicated_vjp": {"replicas": gradients},
        "masked_replicated": {"replicas": replicas},
        "masked_replicated_vjp": {"replicas": gradients},
        "backward": {"grad_x": request.get("grad_output"), "grad_weight": None, "grad_bias": None},
        "state": dict.fromkeys(STATE),
    }.get(request["do"], {})  # fmt: skip


def answer(number: int, told: Told) -> None:
    """Print an answer."""
    say(json.dumps({"id": number, **told}) + "\n")


def say(text: str) -> None:
    """Print, now."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _dies(words: str, end: Callable[[], object]) -> None:
    sys.stderr.write(f"\n{words}\n\n")
    sys.stderr.flush()
    end()


def _endless(request: Told) -> None:
    while True:
        say("x" * 2**16)


def _twice(request: Told) -> None:
    answer(request["id"], honest(request))
    say("epoch 1 done\n")


def _closes(request: Told) -> None:
    os.close(1)
    time.sleep(1000)


def _half(request: Told) -> None:
    say('{"id": 3, "y": {"dty')
    os._exit(0)


def with_y(**changes: Any) -> Callable[[Told], None]:
    """A y of which something is changed."""
    return lambda request: answer(request["id"], {"y": {**request["x"], **changes}})


def instead(told: Told) -> Callable[[Told], None]:
    """Another answer."""
    return lambda request: answer(request["id"], told)


def prints(text: str) -> Callable[[Told], None]:
    """Something else than an answer."""
    return lambda request: say(text + "\n")


def error(kind: object, message: object = "no memory") -> Callable[[Told], None]:
    """An error."""
    return instead({"error": {"kind": kind, "message": message}})


FAULTS: dict[str, tuple[str, Callable[[Told], object]]] = {
    "none": ("", honest),
    # before anything is judged
    "banner": ("hello", prints("Welcome to echo 2.0")),
    "silent": ("hello", lambda request: time.sleep(1000)),
    "no licence": ("hello", lambda request: _dies("no licence found", lambda: os._exit(3))),
    "other protocol": ("hello", instead({**HELLO, "protocol": "bnconform/9"})),
    "no protocol": ("hello", instead({**HELLO, "protocol": None})),
    "hello is refused": ("hello", error("unsupported", "I speak bnconform/9")),
    "name of two words": ("hello", instead({**HELLO, "name": "my layer"})),
    "no name": ("hello", instead({**HELLO, "name": None})),
    "no devices": ("hello", instead({**HELLO, "devices": []})),
    "devices is text": ("hello", instead({**HELLO, "devices": "cpu"})),
    "reasons left out": ("hello", instead({**HELLO, "unsupported": ["float16"]})),
    "empty reason": ("hello", instead({**HELLO, "unsupported": {"float16": ""}})),
    "reasons by device left out": ("hello", instead({**HELLO, "unsupported_on": {"cuda": ["float64"]}})),
    "version is a number": ("hello", instead({**HELLO, "version": 2})),
    "slow is a text": ("hello", instead({**HELLO, "slow_to_start": "no"})),
    "abilities is a text": ("hello", instead({**HELLO, "abilities": "vjp"})),
    "able": ("hello", instead({**HELLO, "abilities": ABILITIES})),
    "unknown deviation": ("hello", instead({**HELLO, "deviations": {"running_varience": "biased"}})),
    # in the middle: the program is lost
    "aborts": ("forward", lambda request: _dies("kernel: division by zero", os.abort)),
    "exits": ("forward", lambda request: _dies("", lambda: os._exit(0))),
    "half a line": ("forward", _half),
    "hangs": ("forward", lambda request: time.sleep(1000)),
    "closes its output": ("forward", _closes),
    "endless line": ("forward", _endless),
    "no JSON": ("forward", prints("y = 3")),
    "no object": ("forward", prints("[1, 2]")),
    "NaN": ("forward", prints('{"id": 3, "y": NaN}')),
    "deep": ("forward", prints("[" * 100_000)),
    "other id": ("forward", instead({"id": 1})),
    "id is text": ("forward", instead({"id": "3"})),
    "no id": ("forward", prints('{"y": null}')),
    "no text": ("forward", lambda request: (sys.stdout.buffer.write(b"\xff\xfe\n"), sys.stdout.flush())),
    "unknown kind": ("forward", error("sorry")),
    "kind is a list": ("forward", error(["invalid"])),
    "no message": ("forward", error("invalid", "")),
    "error is text": ("forward", instead({"error": "bad"})),
    "two lines": ("forward", _twice),
    "no handle": ("build", instead({})),
    "handle is true": ("build", instead({"layer": True})),
    "handle is a list": ("build", instead({"layer": [1]})),
    "handle of another": ("build", instead({"layer": 7})),
    # an answer that is wrong
    "no y": ("forward", instead({"why": 1})),
    "y is null": ("forward", instead({"y": None})),
    "y is a list": ("forward", instead({"y": [1, 2]})),
    "unknown dtype": ("forward", with_y(dtype="float33")),
    "dtype of no float": ("forward", with_y(dtype="int64")),
    "shape is a number": ("forward", with_y(shape=6)),
    "shape below 0": ("forward", with_y(shape=[-2, -3])),
    "shape of true": ("forward", with_y(shape=[True, 6])),
    "no base64": ("forward", with_y(data="not base64!")),
    "data is a number": ("forward", with_y(data=3)),
    "too few bytes": ("forward", with_y(data="AAAA")),
    "other shape": ("forward", with_y(shape=[3, 2])),
    "state lacks weight": ("state", instead(dict.fromkeys(STATE[:3]))),
    "counter in a list": ("state", instead({**dict.fromkeys(STATE), "num_batches_tracked": COUNTERS})),
    "counter is a number": ("state", instead({**dict.fromkeys(STATE), "num_batches_tracked": 1})),
    # errors
    "unsupported": ("forward", error("unsupported", "no such mode")),
    "invalid": ("forward", error("invalid", "one value per channel")),
    "failed": ("forward", error("failed", "out of memory")),
    "other name each time": ("hello", lambda request: answer(1, {**HELLO, "name": f"echo-{os.getpid()}"})),
}  # fmt: skip
"""The request in the answer to which a fault shows, and what is done in place of answering."""


def main() -> None:
    """Answer until there is nothing more to answer."""
    faulty, act = FAULTS[sys.argv[1] if len(sys.argv) > 1 else "none"]
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == faulty:
            act(request)
        else:
            answer(request["id"], honest(request))
        if len(sys.argv) > 2 and request["do"] == sys.argv[2]:
            os._exit(4)


if __name__ == "__main__":
    main()
