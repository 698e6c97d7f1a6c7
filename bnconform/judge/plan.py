"""Every program that a judgement of a subject asks for, found beforehand, for a recording that is judged elsewhere.

The checks themselves are run, against an implementation that answers everything with zeros, and judge nothing: what
they ask for is kept. So a check that is new or changed is in the plan by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnconform.cases.metamorphic import MetamorphicRelation
from bnconform.cases.probes import cases_of
from bnconform.cases.program import RESULTS, SPREAD, STATE, Array, Program, Step, result_shape
from bnconform.diagnosis import search
from bnconform.execution.trace import State, StepResult, Trace
from bnconform.judge.check import Check
from bnconform.judge.check_record import Unsupported
from bnconform.judge.subject import Subject
from bnconform.judge.suite import conformance_tests
from bnconform.measure import defaults, identify
from bnconform.spec.behaviour import Behaviour
from bnconform.spec.formats import numpy_dtype


def plan_programs(backend: Any, device: str, dtype: str) -> list[Program]:
    """The programs, each once, in the order in which they are asked for.

    Args:
        backend: what the adapter declares. device: a name, of which the part before ":" says what it lacks.
    """
    collector = Collector()
    subject = Subject(backend.name, backend, device, dtype, collector)
    for test in (test for test in conformance_tests() if test.fits(subject)):
        cases = cases_of(test.rule.id, dtype, subject.cost) if test.over_cases else (None,)
        for case in cases:
            for counter in (True, False):
                with suppress(Unsupported, Collected):
                    test.function(CollectingCheck(subject, test.rule, case, counter=counter))
                if case is not None:
                    break
    search.gather(subject)
    for program in (*defaults.programs(), *identify.growth_programs(subject)):
        collector.run(program)
    return list(collector.programs.values())


class Collected(Exception):
    """A check has asked for all that it asks for whatever the answers are."""


@dataclass
class Collector:
    """A session that keeps programs and answers with zeros; see `bnconform.execution.sessions.Session`.

    Attributes:
        programs: those that were asked for, by their keys.
    """

    programs: dict[bytes, Program] = field(default_factory=dict)

    def run(self, program: Program) -> Trace:
        """A trace of the right shapes."""
        self.programs.setdefault(program.key, program)
        state = _state(program)
        seen = [StepResult(step, state, state, _values(step, program)) for step in program.steps]
        return Trace(program, seen, [], counter=("int64", ()))

    def ahead(self, programs: Iterable[Program]) -> None:
        """Nothing."""


def _state(program: Program) -> State:
    config = program.config
    state: State = {}
    for name in STATE:
        there = getattr(config, name) if name in ("weight", "bias") else config.track_running_stats
        if name == "num_batches_tracked":
            state[name] = np.zeros((), np.int64) if there else None
        else:
            state[name] = np.zeros(config.num_features, numpy_dtype(config.param_dtype)) if there else None
    return state


def _values(step: Step, program: Program) -> dict[str, Array | None]:
    given = step.x if step.grad_output is None else step.grad_output
    if given is None:
        return {}
    config = program.config
    kinds = {
        name: given.dtype if name in (*SPREAD, "jacobian") else numpy_dtype(config.param_dtype)
        for name in RESULTS[step.op]
    }
    return {name: np.zeros(result_shape(name, step, config.num_features), kind) for name, kind in kinds.items()}


@dataclass
class CollectingCheck(Check):
    """A check that records nothing, so that it asks for all of its programs.

    Attributes:
        counter: whether the implementation is taken to show how many batches it has seen.
    """

    counter: bool = True

    def shows_counter(self) -> bool:
        """As was said, having asked."""
        super().shows_counter()
        return self.counter

    def observe(self, program: Program) -> Trace | None:
        """Nothing to judge."""
        self.subject.run(program)
        return None

    def judge(self, trace: Trace, quality: str, name: str) -> Any:
        """Nothing is judged."""

    def relation(self, relation: MetamorphicRelation) -> None:
        """Ask for both programs."""
        programs = relation.at(self.subject.dtype, self.subject.param_dtype)
        ranks = {program.config.ndim for program in programs}
        for program in programs:
            self.execute(self.fit(program, keep_rank=len(ranks) > 1))

    def answer(self, program: Program) -> Trace:
        """What a program shows."""
        return self.execute(self.fit(program))

    def ask(self, program: Program) -> Trace:
        """What a program shows."""
        return self.execute(program)

    def require(self, *_: object, **__: object) -> None:
        """Nothing is recorded."""

    def fact(self, *_: object, **__: object) -> None:
        """Nothing is recorded."""

    def note(self, *_: object, **__: object) -> None:
        """Nothing is recorded."""

    def policy(self, decision: str, values: list[str], holds: Callable[[Behaviour], bool]) -> None:
        """Nothing is recorded."""

    def measure(self, *_: object, **__: object) -> None:
        """Nothing is recorded."""

    def fail(self, *_: object, **__: object) -> Any:
        """The check goes on, as far as it asks for anything."""
