"""Random programs of many calls: a state machine drives a layer and the oracle, and shrinks to the shortest failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings, target
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from bnconform.cases.program import PASSES, Array, Program, Step, backward, build, forward
from bnconform.cases.strategies import GRADIENTS, STATISTICS, arrays, batches, configs, loads, parts
from bnconform.errors import UserError
from bnconform.execution.trace import Trace
from bnconform.judge.check import Check
from bnconform.judge.lockstep import Lockstep, follow
from bnconform.judge.outcome import CONFORMS, DEVIATES, Outcome
from bnconform.judge.subject import Ended, NotRecorded
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config

AGES = (0, 0, 0, 10)
"""Training passes that a layer has behind it when a program begins: some faults come with age."""

CLIMBING = 200
"""Programs from which on Hypothesis climbs towards larger shares of the bound; fewer are better drawn at random."""


BRIEF = 15
"""Programs where only the verdict matters."""


class EffortError(UserError):
    """BNCONFORM_EXAMPLES or BNCONFORM_SEED cannot be used; the message says what to give, in one line."""


@dataclass(frozen=True)
class Effort:
    """How long to look for a program that fails.

    Attributes:
        examples: programs to try. calls: rules of each. shapes: how many of the shapes of a rank to use.
        shrinks: programs to try for a shorter failing one; 0 ends the search at the first that fails.
        seed: which programs; the same number gives the same ones.
    """

    examples: int = 30
    calls: int = 11
    shapes: int = 2
    shrinks: int = 60
    seed: int = 1


SLOW = Effort(examples=2, calls=6, shapes=1, shrinks=15)
"""For implementations to which each configuration and shape costs seconds."""


def effort(environment: Mapping[str, str] | None = None) -> Effort:
    """The usual effort, or what BNCONFORM_EXAMPLES (programs a subject) and BNCONFORM_SEED (which) ask for instead.

    Args:
        environment: the variables; those of the process by default.

    Raises:
        EffortError: where they are no whole numbers, or there are no examples.
    """
    given = os.environ if environment is None else environment
    usual = Effort()
    examples, chosen = _whole(given, "BNCONFORM_EXAMPLES", 1), _whole(given, "BNCONFORM_SEED", 0)
    return replace(
        usual,
        examples=usual.examples if examples is None else examples,
        seed=usual.seed if chosen is None else chosen,
    )


def _whole(given: Mapping[str, str], name: str, least: int) -> int | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise EffortError(f"{name} is {text!r}; give a whole number from {least} on, such as {name}=1000")
    return int(text)


class Departure(Exception):
    """A program after one of whose calls no point at which the layer may be explains what was seen."""


class Enough(BaseException):
    """A failing program has been shortened for long enough. No Exception, so that Hypothesis lets it through."""


@dataclass
class Exploration:
    """What the random programs of one check have come to.

    Attributes:
        counter: whether the implementation's layers show how many batches they have seen.
        passed: the outcomes of the programs that hold.
        shortest: the last program that failed; Hypothesis makes each simpler than the one before.
        tries: programs since the first that failed.
    """

    check: Check
    effort: Effort
    counter: bool = True
    passed: list[Outcome] = field(default_factory=list)
    shortest: Program | None = None
    tries: int = 0

    def begin(self) -> None:
        """Count a program that begins, or end the search."""
        if self.shortest is not None:
            self.tries += 1
            if self.tries > self.effort.shrinks:
                raise Enough

    def conclude(self, program: Program) -> None:
        """Run a program that has been drawn, and go on unless it fails.

        How near to its bound each quantity came is told to Hypothesis, for it to come nearer.
        """
        failing = failing_part(self.check, program)
        if isinstance(failing, Program):
            self.shortest = failing
            if not self.effort.shrinks:
                raise Enough
            raise Departure(failing.describe())
        if failing is None:
            return
        trace, layer = failing
        nearest: dict[str, float] = {}
        for comparison in layer.found.comparisons:
            nearest[comparison.name] = max(comparison.worst, nearest.get(comparison.name, 0.0))
        for name, share in nearest.items():
            target(share, label=name)
        self.passed += _outcomes(self.check, trace, layer)


class Machine(RuleBasedStateMachine):
    """Programs of training and evaluation passes, gradients, loads, switches of the mode and new layers.

    The mode is a part of the machine's state: a pass sets it, and `switch` asks again, in the other mode, what the last
    pass was asked. What is drawn does not depend on what the layer answers.
    """

    def __init__(self, exploration: Exploration) -> None:
        super().__init__()
        exploration.begin()
        self.exploration = exploration
        self.subject = exploration.check.subject
        self.config = Config()
        self.steps: list[Step] = []
        self.training = True
        self.last: Step | None = None
        self.age = 0
        self.handled = sys.exc_info()[1]  # by whoever asks for an explanation of a failure

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """A layer, new or with some training behind it."""
        drawn = data.draw(configs(frozenset(self.subject.unsupported)))
        self.config = replace(drawn, dtype=self.subject.dtype, param_dtype=self.subject.param_dtype)
        passes, x = data.draw(st.sampled_from(AGES)), self.batch(data)
        if self.can(training=True):
            for number in range(passes):
                # In turn with its negative, so that the averages keep moving.
                self.make(forward(-x if number % 2 else x, "y", *STATISTICS))

    @precondition(lambda self: self.can(training=True))
    @rule(data=st.data())
    def train(self, data: st.DataObject) -> None:
        """A training pass."""
        self.make(forward(self.batch(data), "y", *STATISTICS))

    @precondition(lambda self: self.can(training=False))
    @rule(data=st.data())
    def evaluate(self, data: st.DataObject) -> None:
        """An evaluation pass."""
        self.make(forward(self.batch(data), "y", *STATISTICS, training=False))

    @precondition(lambda self: "backward" not in self.subject.unsupported)
    @rule(data=st.data(), again=st.booleans(), training=st.booleans())
    def differentiate(self, data: st.DataObject, again: bool, training: bool) -> None:
        """Gradients in either mode, of the last batch or of another."""
        x = self.batch(data)
        if again and self.last is not None and self.last.x is not None:
            x = self.last.x
        mode = training if self.can(training=training) else not training
        self.make(backward(x, data.draw(arrays(x.shape)), *GRADIENTS, *STATISTICS, training=mode))

    @precondition(lambda self: self.last is not None and self.can(training=not self.training))
    @rule()
    def switch(self) -> None:
        """The last pass again, in the other mode."""
        assert self.last is not None
        self.make(replace(self.last, training=not self.training))

    @precondition(lambda self: bool(parts(self.config)))
    @rule(data=st.data())
    def load(self, data: st.DataObject) -> None:
        """Some of the state; the rest stays as it is."""
        self.make(data.draw(loads(self.config, self.exploration.counter and self.config.track_running_stats)))

    @precondition(lambda self: self.age > 3)
    @rule()
    def reset(self) -> None:
        """A new layer of the same configuration in place of the old one."""
        self.make(build(*parts(self.config)))
        self.age = 0

    def teardown(self) -> None:
        """Run the program, unless Hypothesis gave it up."""
        if self.steps and sys.exc_info()[1] is self.handled:
            self.exploration.conclude(Program(self.config, tuple(self.steps)))

    def can(self, *, training: bool) -> bool:
        """Whether the implementation has a mode."""
        return ("training" if training else "evaluation") not in self.subject.unsupported

    def batch(self, data: st.DataObject) -> Array:
        """A batch of one of the shapes."""
        return data.draw(batches(self.config.ndim, self.exploration.effort.shapes))

    def make(self, step: Step) -> None:
        """Add a call; none that makes the program longer than one which fails already."""
        self.age += 1
        if step.op in PASSES:
            self.last, self.training = step, step.training
        shortest = self.exploration.shortest
        if shortest is None or len(self.steps) < len(shortest.steps):
            cast = Program(self.config, (step,)).cast(self.config.dtype, self.config.param_dtype)
            self.steps += cast.steps


def _outcomes(check: Check, trace: Trace, layer: Lockstep) -> list[Outcome]:
    """The outcome of a program that holds."""
    found = layer.found
    before = list(check.outcomes)
    check.outcomes.clear()
    if check.subject.deviations and not check.subject.brief:
        # This also says which declarations were needed, and which are contradicted.
        check.judge(trace, "", "sequence")
    elif found.worst is not None:
        check.measure(found.error_ratio, found.checks, deviates=found.behaviour != SPECIFIED)
        check.outcomes[-1].ulp = found.worst.ulps()
    made = list(check.outcomes)
    check.outcomes[:] = before
    return made


def failing_part(check: Check, program: Program) -> Program | tuple[Trace, Lockstep] | None:
    """The program up to the call after which nothing explains what was seen; its trace where all is explained."""
    try:
        trace = check.observe(program)
    except NotRecorded:
        return None
    except Ended:
        return program
    if trace is None:
        return None
    layer = follow(trace, check.subject)
    return (trace, layer) if layer.failing is None else replace(program, steps=program.steps[: layer.failing + 1])


def explore(check: Check, work: Effort | None = None) -> None:
    """Judge random programs; the outcome is that of all of them, or of the shortest that fails.

    The programs are the same in every run, so that a run which found nothing says the same when nothing changed.

    Args:
        work: how long to look; by default what the environment asks for, or little for an implementation that is slow.

    Raises:
        Violation: for the shortest program that fails. Unsupported: where the implementation lacks the dtype.
        EffortError: where the environment asks for what cannot be.
    """
    __tracebackhide__ = True
    subject = check.subject
    work = work or (SLOW if subject.slow else effort())
    if subject.brief:
        work = replace(work, shrinks=0, examples=min(work.examples, BRIEF))
    if subject.dtype in subject.unsupported:
        check.fit(
            Program(check.config(), (forward(np.ones((2, 3, 2, 2)), "y"),)).cast(subject.dtype, subject.param_dtype)
        )
    check.forget("sequence")
    exploration = Exploration(check, work, check.shows_counter())
    unsteady = False
    try:
        _run(partial(Machine, exploration), work)
    except (Departure, Enough):
        pass
    except Flaky:
        unsteady = True
    noted = [outcome for outcome in check.outcomes if outcome.requirement != check.requirement.id]
    check.outcomes[:] = noted
    found = exploration.shortest
    if found is not None:
        # Once more and on its own: its message, diagnosis and case file are those of any other case.
        found = shorten(check, found) if work.shrinks else found
        check.program(found, name="sequence")
        unsteady = True
    if unsteady:
        check.outcomes[:] = noted
        what = "a program that failed, run again"
        check.require(False, what, "other answers", "the same answers", found)
    if exploration.passed:
        check.outcomes[:] = [*noted, _sum_up(exploration.passed)]


def shorten(check: Check, program: Program) -> Program:
    """A failing program without the calls that its failure does not need, each left out in turn, the last first."""
    for number in reversed(range(len(program.steps) - 1)):
        fewer = failing_part(check, replace(program, steps=program.steps[:number] + program.steps[number + 1 :]))
        program = fewer if isinstance(fewer, Program) else program
    return program


class Provider(HypothesisProvider):
    """Hypothesis's random choices, without the constants that it finds in whatever modules happen to be imported.

    With those the same seed gives other programs beside another framework. Beside a provider that is not its own,
    Hypothesis also draws every program anew, rather than making five variations of each.
    """

    def _maybe_draw_constant(self, *choice: Any, **details: Any) -> None:
        return None


AVAILABLE_PROVIDERS["bnconform"] = f"{__name__}.Provider"


def _run(machine: Callable[[], Machine], work: Effort) -> None:
    """Let Hypothesis run the machine, silently and without a database."""
    many = work.examples >= CLIMBING
    chosen = settings(
        max_examples=work.examples,
        stateful_step_count=work.calls,
        backend="hypothesis" if many else "bnconform",
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, *((Phase.target,) if many else ()), *((Phase.shrink,) if work.shrinks else ())),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    # A function that makes a machine serves as well as its class, though the annotation asks for the class.
    run_state_machine_as_test(seed(work.seed)(machine), settings=chosen)  # type: ignore[arg-type]


def _sum_up(passed: list[Outcome]) -> Outcome:
    """The outcome of all programs: that of the one that came nearest to its bounds, with what all of them showed."""
    rank = {CONFORMS: 1, DEVIATES: 2}
    worst = max(passed, key=lambda outcome: (rank.get(outcome.verdict, 0), outcome.bound_share or 0.0))
    worst.checks = sum(outcome.checks for outcome in passed)
    worst.needed = sorted({name for outcome in passed for name in outcome.needed})
    worst.contradicted = sorted({name for outcome in passed for name in outcome.contradicted})
    assert worst.verdict in (CONFORMS, DEVIATES) or not worst.checks
    return worst
