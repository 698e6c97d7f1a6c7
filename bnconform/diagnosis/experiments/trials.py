"""Programs run for a diagnosis: whether a failure shows in them, within a budget of programs and seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from bnconform.cases.program import PASSES, Program
from bnconform.diagnosis.experiments.variations import EQUAL_SAMPLES
from bnconform.execution.trace import Trace
from bnconform.judge.covering import fill_states
from bnconform.judge.judgement import Comparison, Judgement, initial_state, judge, judge_step
from bnconform.judge.subject import AdapterError, Ended, NotRecorded, Subject
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.exact import arithmetic

CALL = "the call"
"""What fails where no number does: an error, a wrong shape, an answer where there is none."""

MANY = 6
"""Calls from which on only the last is judged."""

LARGEST = 6_000
"""Elements of x of a program that is made up for an experiment, all calls together; the truth of one takes some
10 microseconds."""


def run(subject: Subject, program: Program) -> Trace:
    """The trace of a program; where its state is read at the end only, with the states that the same calls show."""
    trace = subject.run(program)
    if program.reads == "always":
        return trace
    read = subject.run(program.read_always)
    return read if read.broken is not None or len(read.steps) < len(trace.steps) else fill_states(trace, read)


@dataclass(frozen=True)
class FailingCall:
    """The last call of a program that failed: what was seen of the quantities that are looked at."""

    trace: Trace
    comparisons: tuple[Comparison, ...]

    @property
    def is_pass(self) -> bool:
        """Whether the call is a forward or backward pass."""
        return self.trace.steps[-1].step.op in PASSES


@dataclass
class Trials:
    """Programs asked of one subject, and whether the failure shows in the last call of each.

    Attributes:
        targets: the names of what is wrong, one of them enough; or CALL.
        point: where the subject should stand. quality: of the bounds.
        programs, seconds: the budget. is_cut: whether it was spent.
        relative: how far the failing quantity is off in the first failing program, beside its largest element.
        failing: the programs in which it showed.
        unseen: programs that were run, or known, in which it could not be seen whether the failure shows.
        hides: whether what is suspected of the failure would not show in a call (`relations`): then nothing follows
            from not seeing it.
    """

    subject: Subject
    targets: frozenset[str]
    point: Behaviour
    quality: str = ""
    programs: int = 120
    seconds: float = 1.5
    relative: float = np.inf
    is_cut: bool = False
    asked: int = 0
    unseen: int = 0
    failing: list[FailingCall] = field(default_factory=list)
    hides: Callable[[FailingCall], bool] | None = None
    _known: dict[bytes, bool | None] = field(default_factory=dict)
    _calls: dict[bytes, FailingCall] = field(default_factory=dict)
    _end: float = field(default_factory=lambda: time.perf_counter())

    def __post_init__(self) -> None:
        self._end = time.perf_counter() + self.seconds

    def show(self, program: Program | None) -> bool | None:
        """Whether the failure shows in the last call of a program; None where that cannot be seen."""
        if program is None or not program.steps or _elements(program) > LARGEST or not _can_lie(program):
            return None
        key = program.key
        if key not in self._known:
            if self.is_cut or self.asked >= self.programs or time.perf_counter() > self._end:
                self.is_cut = True
                return None
            self._known[key] = self._run(program, key)
        found = self._known[key]
        if found is False and self.hides is not None and key in self._calls and self.hides(self._calls[key]):
            found = None
        self.unseen += found is None
        return found

    def show_unread(self, program: Program) -> bool | None:
        """Whether the failure shows where the state of a program that was run is read at the end only.

        The calls are then judged from the states that were seen where it was read after each.
        """
        known = self._calls.get(program.key)
        if known is None or self.is_cut or program.reads == "end":
            return None
        self.asked += 1
        try:
            trace = self.subject.run(replace(program, reads="end"))
        except NotRecorded:
            raise
        except (Ended, AdapterError):
            return None
        if trace.broken is not None or len(trace.steps) < len(program.steps):
            return None
        steps = [
            replace(seen, before=read.before, after=seen.after or read.after)
            for seen, read in zip(trace.steps, known.trace.steps, strict=True)
        ]
        trace = replace(trace, program=program, steps=steps)
        return self.see(trace, judge(trace, self.point, self.quality))

    def call(self, program: Program) -> FailingCall | None:
        """What was seen of the last call of a program that was run; None where it was not."""
        return self._calls.get(program.key)

    def _run(self, program: Program, key: bytes) -> bool | None:
        self.asked += 1
        try:
            trace = run(self.subject, program)
        except NotRecorded:
            raise
        except Ended:
            self.is_cut = True  # what ends a process is not asked twice
            return None
        except AdapterError:
            return None
        if trace.broken is not None or len(trace.steps) < len(program.steps):
            return None
        found = self._judge(trace)
        shows = self.see(trace, found)
        last = FailingCall(trace, self.compare(found, len(program.steps) - 1))
        if shows and last.comparisons:
            self.failing.append(last)
        self._calls[key] = last
        return shows

    def _judge(self, trace: Trace) -> Judgement:
        """The judgement of a trace; of one with many calls, of the last alone, from the state that was seen before it.

        That state says everything, where the weight of a batch does not depend on how many there were.
        """
        program, config = trace.program, trace.program.config
        by_count = config.momentum is None or self.point.averaging is not SPECIFIED.averaging
        if len(program.steps) <= MANY or by_count or "num_batches_tracked" in self.targets:
            return judge(trace, self.point, self.quality)
        found = Judgement(self.point)
        with arithmetic():
            model = error_model_of(config, self.point, quality=self.quality)
            carried = initial_state(config, self.point)
            judge_step(found, len(program.steps) - 1, trace.steps[-1], program, carried, model)
        return found

    def compare(self, found: Judgement, last: int) -> tuple[Comparison, ...]:
        """What is looked at of the last call."""
        return tuple(one for one in found.comparisons if one.step == last and one.name in self.targets)

    def see(self, trace: Trace, found: Judgement) -> bool | None:
        """Whether a judged trace shows the failure in its last call."""
        last = len(trace.program.steps) - 1
        problem = any(step == last for step, _ in found.problems)
        if CALL in self.targets:
            return problem
        compared = self.compare(found, last)
        if problem or not compared:
            return None
        if any(one.worst > 1 for one in compared):
            return True
        return False if any(self._would_show(one) for one in compared) else None

    def _would_show(self, comparison: Comparison) -> bool:
        """Whether the bound is fine enough for an error as large as the one that was seen first."""
        size = largest(comparison)
        finite = comparison.bound[np.isfinite(comparison.bound)]
        if comparison.unspecified or not finite.size:
            return False
        return bool(np.median(finite) <= self.relative * size / 2) or not np.isfinite(self.relative)


def _can_lie(program: Program) -> bool:
    """Whether the arrays can lie in memory as they are to: with a stride of 0 only equal samples can."""
    return all(
        array is None or layout != EQUAL_SAMPLES or (array == array[:1]).all()
        for step in program.steps
        for array, layout in ((step.x, step.x_layout), (step.grad_output, step.grad_layout))
    )


def _elements(program: Program) -> int:
    return sum(step.x.size for step in program.steps if step.x is not None)


def largest(comparison: Comparison) -> float:
    """The largest finite element of what is due."""
    due = np.abs(comparison.exact.nearest)
    return float(due[np.isfinite(due)].max(initial=0.0))


def relative_error(comparison: Comparison) -> float:
    """How far the worst element is off beside the largest that is due; infinite where a number is missing."""
    with np.errstate(all="ignore"):
        off = np.abs(comparison.observed.astype(np.float64) - comparison.exact.nearest)
    wrong = comparison.error_ratio > 1
    size = largest(comparison)
    if not wrong.any() or not np.isfinite(off[wrong]).all() or size == 0:
        return float("inf")
    return float(off[wrong].max()) / size
