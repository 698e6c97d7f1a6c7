"""A recording in the place of a live implementation: made elsewhere by a packed runner, judged here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from bnconform.backends.registry import BackendError
from bnconform.backends.runner import recording
from bnconform.backends.runner.frames import FrameError
from bnconform.cases.program import Program
from bnconform.execution.sessions import Description
from bnconform.execution.trace import Trace, UnreadableTrace, from_data, lose_trace

PREFIX = "recording:"
"""What --backend begins with where it names a recording."""

REMEMBERED = 8
"""Programs whose beginnings can be told from them: what a search for a shorter failing program asks for."""


@dataclass
class RecordedSession:
    """The backend and device of a recording; see `bnconform.execution.sessions.Session`."""

    path: Path
    _last: list[Trace] = field(default_factory=list)

    @cached_property
    def _content(self) -> tuple[recording.Data, dict[str, recording.Data]]:
        try:
            return recording.read(self.path)
        except OSError as problem:
            raise BackendError(f"cannot read the recording {self.path}: {problem.strerror or problem}") from None
        except (FrameError, KeyError, TypeError) as problem:
            raise BackendError(f"{self.path} is no recording that can be judged: {problem}") from None

    @cached_property
    def description(self) -> Description:
        """What the adapter said of itself, on the device of the recording."""
        head, _ = self._content
        try:
            found = Description.of(head["description"])
            device = str(head["device"])
            return replace(found, offered={device: found.offered[device]})
        except (KeyError, TypeError, AttributeError) as problem:
            raise BackendError(f"{self.path} is no recording that can be judged: {problem!r} of its head") from None

    @property
    def dtypes(self) -> list[str]:
        """The dtypes that were recorded."""
        return [str(dtype) for dtype in self._content[0]["dtypes"]]

    @property
    def version(self) -> str:
        """The version of the suite whose programs were recorded."""
        return str(self._content[0].get("bnconform", ""))

    def run(self, program: Program) -> Trace:
        """What the recording shows of a program, or of one that begins with it."""
        data = self._content[1].get(program.key.hex())
        if data is None:
            return self._beginning(program)
        if "ended" in data:
            return lose_trace(program, str(data["ended"]))
        try:
            trace = from_data(program, data)
        except UnreadableTrace as problem:
            raise BackendError(f"{self.path} is no recording that can be judged: {problem}") from None
        self._last = [trace, *self._last[: REMEMBERED - 1]]
        return trace

    def _beginning(self, program: Program) -> Trace:
        for trace in self._last:
            known = trace.program
            same = all(one is other for one, other in zip(program.steps, known.steps, strict=False))
            if same and len(program.steps) <= len(known.steps) and replace(known, steps=program.steps) == program:
                return replace(trace, program=program, steps=trace.steps[: len(program.steps)])
        return replace(lose_trace(program, f"{self.path.name} does not have this program"), missing=True)

    def ahead(self, programs: Iterable[Program]) -> None:
        """Nothing: all is there."""
