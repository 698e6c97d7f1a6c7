"""A session that answers as a recording does: each program once, and none that it was not asked for at first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bnconform.cases.program import Program
from bnconform.execution.sessions import Session
from bnconform.execution.trace import Trace, lose_trace


@dataclass
class Forgetful:
    """The first program is run; of any other nothing is known."""

    session: Session
    known: list[Trace] = field(default_factory=list)

    def run(self, program: Program) -> Trace:
        """What the first program showed, or that there is no other."""
        if not self.known:
            self.known.append(self.session.run(program))
        if program.key == self.known[0].program.key:
            return self.known[0]
        return replace(lose_trace(program, "it was not recorded"), missing=True)

    def ahead(self, programs: Iterable[Program]) -> None:
        """Nothing."""
