"""The command of a packed runner: it records what an implementation shows, to be judged elsewhere.

    python RUNNER.pyz list
    python RUNNER.pyz record torch.nn --device cuda:0 --dtype float32 --out trace

The implementation runs in a child process, which is started again where it dies.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import select
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bnconform.backends.runner import frames, recording, serve

Data = dict[str, Any]

PLANS = "plans.json"
PROGRAMS = "programs/"
IN_A_ROW = 5
"""Deaths without an answer in between after which the rest is not asked."""


class RecordError(Exception):
    """What was asked for cannot be recorded; one line that says what to do."""


def main(archive: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command line of the archive; the exit status: 0, or 2 with one line that says why not."""
    parser = argparse.ArgumentParser(prog=f"python {archive}", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the backends that this file can record, and their dtypes")
    record = verbs.add_parser("record", help="record one backend on one device")
    record.add_argument("backend", help="a name that `list` shows")
    record.add_argument("--device", help="a device such as cuda:0 (default: the backend's first)")
    record.add_argument("--dtype", action="append", default=[], help="may be repeated (default: all)")
    record.add_argument("--out", type=Path, required=True, help="the file to write")
    record.add_argument("--time-limit", type=float, default=300.0, help="seconds for a program (default: 300)")
    hidden = verbs.add_parser("serve")
    hidden.add_argument("descriptors", nargs=2, type=int)
    known = parser.parse_args(arguments)
    try:
        with zipfile.ZipFile(archive) as packed:
            if known.verb == "serve":
                _give_sources(packed)
                serve.over_descriptors(*known.descriptors)
                return 0
            plans: Data = json.loads(packed.read(PLANS))
            if known.verb == "list":
                for key, kinds in plans["backends"].items():
                    print(f"{key}: {', '.join(kinds[''])}")
                return 0
            Recorder(archive, packed, plans, known).run()
    except RecordError as problem:
        print(f"bnconform: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"bnconform: stopped; the same command goes on from here ({known.out}.part)", file=sys.stderr)
        return 2
    return 0


def _give_sources(packed: zipfile.ZipFile) -> None:
    """Let adapters that came as files be found."""
    from bnconform.backends import registry

    registry.SENT.update(json.loads(packed.read(PLANS)).get("files", {}))


class Recorder:
    """One recording in the making."""

    def __init__(self, archive: str, packed: zipfile.ZipFile, plans: Data, known: argparse.Namespace) -> None:
        self.archive, self.packed, self.plans, self.known = archive, packed, plans, known
        if known.backend not in plans["backends"]:
            raise RecordError(f"this file has no backend {known.backend!r}; it has {', '.join(plans['backends'])}")
        self.child: Child | None = None

    def run(self) -> None:
        """Write the recording, whole."""
        known = self.known
        description = self._describe()
        device = known.device or next(iter(description["devices"]))
        if device not in description["devices"]:
            raise RecordError(
                f"{known.backend} has no device {device!r} here; it has {', '.join(description['devices'])}"
            )
        kinds = self.plans["backends"][known.backend]
        plan: Data = kinds.get(device.partition(":")[0], kinds[""])
        for dtype in known.dtype:
            if dtype not in plan:
                raise RecordError(f"this file has no plan for {known.backend} in {dtype!r}; it has {', '.join(plan)}")
        dtypes = known.dtype or list(plan)
        programs = list(dict.fromkeys(name for dtype in dtypes for name in plan[dtype]))
        head = {
            "recording": recording.FORMAT, "bnconform": self.plans["bnconform"], "plan": self.plans["digest"],
            "key": known.backend, "device": device, "dtypes": dtypes, "description": description,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        part = known.out.with_name(known.out.name + ".part")
        try:
            done = set(recording.continue_recording(part, head))
            with part.open("ab") as stream:
                if not done:
                    stream.write(frames.encode(head))
                for name, trace in self._record([name for name in programs if name not in done], device, len(done)):
                    stream.write(frames.encode({"program": name, "trace": trace}))
                    stream.flush()
                stream.write(frames.encode({"end": len(programs)}))
            part.replace(known.out)
        except OSError as problem:
            raise RecordError(f"cannot write {known.out}: {problem.strerror or problem}") from None
        print(f"{known.out}: {len(programs)} programs of {known.backend} on {device} in {', '.join(dtypes)}")
        print(f"judge it where bnconform is installed: bnconform judge {known.out.name}")

    def _describe(self) -> Data:
        key = self.known.backend
        found: Data = self._ask({"do": "describe", "keys": [key]})["described"][key]
        if "refused" not in found:
            refused = self._ask({"do": "smoke", "key": key, "device": next(iter(found["devices"]))})["refused"]
            found = {"refused": refused} if refused else found
        if "refused" in found:
            raise RecordError(str(found["refused"]))
        return found

    def _record(self, names: Sequence[str], device: str, done: int) -> Iterator[tuple[str, Data]]:
        """Each program with its trace; {"ended": how} for one of which the process died."""
        in_a_row, begin = 0, time.monotonic()
        for number, name in enumerate(names, 1):
            program = frames.read(_taking(self.packed.read(f"{PROGRAMS}{name}")))
            if in_a_row >= IN_A_ROW:
                yield name, {"ended": f"not asked, because the process has died {in_a_row} times in a row"}
                continue
            try:
                reply = self._ask({"do": "run", "key": self.known.backend, "device": device, "program": program})
                if "trace" not in reply:
                    raise RecordError(f"internal error of bnconform, please report it: {reply.get('internal')}")
                yield name, reply["trace"]
                in_a_row = 0
            except ProcessEnded as how:
                in_a_row += 1
                yield name, {"ended": str(how)}
            self._say(done + number, done + len(names), begin, number)

    def _say(self, number: int, count: int, begin: float, made: int) -> None:
        """Progress: a line that is written over on a terminal, a line now and then elsewhere."""
        left = (time.monotonic() - begin) / made * (count - number)
        if sys.stderr.isatty():
            print(f"\r{number} of {count} programs, {left:.0f} s left   ", end="", file=sys.stderr, flush=True)
        elif number % 500 == 0 or number == count:
            print(f"{number} of {count} programs, {left:.0f} s left", file=sys.stderr, flush=True)

    def _ask(self, request: Data) -> Data:
        if self.child is None:
            self.child = Child(self.archive)
        try:
            return self.child.ask(request, self.known.time_limit)
        except ProcessEnded:
            self.child = None
            if request["do"] != "run":
                raise RecordError(f"{self.known.backend} cannot be loaded: its process ended") from None
            raise


class ProcessEnded(Exception):
    """The implementation's process ended before it answered."""


class Child:
    """A process of this same file that holds the implementation."""

    def __init__(self, archive: str) -> None:
        requests_out, requests_in = os.pipe()
        replies_out, replies_in = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, archive, "serve", str(requests_out), str(replies_in)],
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            pass_fds=(requests_out, replies_in), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(requests_out)
        os.close(replies_in)
        self.requests, self.replies = os.fdopen(requests_in, "wb"), os.fdopen(replies_out, "rb")
        self.nonce, self.number = secrets.token_hex(8), 0

    def ask(self, request: Data, seconds: float) -> Data:
        """The reply; ProcessEnded where none comes in time."""
        self.number += 1
        try:
            self.requests.write(frames.encode({"id": self.number, "nonce": self.nonce, **request}))
            self.requests.flush()
            if not select.select([self.replies], [], [], seconds)[0]:
                raise ProcessEnded(f"no answer within {seconds:g} s (--time-limit)")
            reply = frames.read(self.replies.read)
        except (OSError, frames.FrameError):
            reply = None
        except ProcessEnded:
            self.process.kill()
            self.process.wait()
            raise
        if reply is None or reply.get("id") != self.number or reply.get("nonce") != self.nonce:
            self.process.kill()
            raise ProcessEnded(f"the process ended with status {self.process.wait()}")
        if "lost" in reply:
            self.process.kill()
            raise ProcessEnded(str(reply["lost"]))
        return reply


def _taking(data: bytes) -> Callable[[int], bytes]:
    """Reads from bytes."""
    place = 0

    def take(count: int) -> bytes:
        nonlocal place
        part = data[place : place + count]
        place += len(part)
        return part

    return take
