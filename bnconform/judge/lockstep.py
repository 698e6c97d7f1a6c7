"""An implementation and the oracle in lockstep: after each call on a layer, the oracle takes the same step."""

from __future__ import annotations

from dataclasses import replace

from bnconform.cases.program import Program, Step
from bnconform.execution.trace import Seen, Session, State, Trace
from bnconform.judge.judgement import Judgement, initial_state, judge_step
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import allowance
from bnconform.spec.exact import arithmetic


class Follower:
    """The oracle at one point of the space, going along with a layer.

    Attributes:
        found: the judgement of every call so far.
        holds: whether everything observed so far lies within its bound at this point.
    """

    def __init__(self, config: Config, point: Behaviour) -> None:
        self.found = Judgement(point)
        self.holds = True
        self._program = Program(config, ())
        with arithmetic():
            self._allow = allowance(config, point)
            self._carried = initial_state(config, point)

    def follow(self, number: int, seen: Seen) -> None:
        """Take the step that the layer has taken, and compare."""
        known = len(self.found.comparisons)
        with arithmetic():
            self._carried = judge_step(self.found, number, seen, self._program, self._carried, self._allow)
        new = self.found.comparisons[known:]
        self.holds = self.holds and not self.found.problems and all(comparison.worst <= 1 for comparison in new)


class Lockstep:
    """One new layer of a subject, beside the oracle at the points where it may be: the specified and the declared one.

    Attributes:
        steps: the calls so far, in the subject's dtypes.
    """

    def __init__(self, subject: Subject, config: Config) -> None:
        self.config = replace(config, dtype=subject.dtype, param_dtype=subject.param_dtype)
        self.steps: list[Step] = []
        self._session = Session(lambda: subject.build(self.config))
        self._followers = [Follower(self.config, point) for point in dict.fromkeys((SPECIFIED, subject.declared))]

    def call(self, step: Step) -> None:
        """Make a call, its values rounded to the subject's dtypes."""
        cast = Program(self.config, (step,)).cast(self.config.dtype, self.config.param_dtype).steps[0]
        number = len(self.steps)
        self.steps.append(cast)
        seen = self._session.call(cast)
        if seen is not None:
            for follower in self._followers:
                follower.follow(number, seen)

    @property
    def holds(self) -> bool:
        """Whether one of the points explains every call, and no call has changed what it was given."""
        intact = self._session.broken is None and not self._session.mutated
        return intact and any(follower.holds for follower in self._followers)

    @property
    def state(self) -> State:
        """The layer's state as it shows it."""
        return self._session.state

    @property
    def program(self) -> Program:
        """The calls so far as a program."""
        return Program(self.config, tuple(self.steps))

    @property
    def trace(self) -> Trace:
        """Everything that was seen."""
        return Trace(self.program, self._session.seen, self._session.mutated, self._session.broken)

    @property
    def found(self) -> Judgement:
        """The judgement at the first point that explains every call; at the specified one where none does."""
        return next((f.found for f in self._followers if f.holds), self._followers[0].found)
