"""Traces kept while explanations of one failing check are tried: each program runs once, and is judged many times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bnconform.cases.program import Program
from bnconform.execution.sessions import Session
from bnconform.execution.trace import Trace


@dataclass
class KeptTraces:
    """A session that asks another for each program once; see `bnconform.execution.sessions.Session`."""

    session: Session
    _traces: dict[bytes, Trace] = field(default_factory=dict)

    def run(self, program: Program) -> Trace:
        """What the program showed when it was run first."""
        key = program.key
        if key not in self._traces:
            self._traces[key] = self.session.run(program)
        return self._traces[key]

    @property
    def traces(self) -> list[Trace]:
        """What was asked for so far, in this order."""
        return list(self._traces.values())

    def ahead(self, programs: Iterable[Program]) -> None:
        """Nothing."""
