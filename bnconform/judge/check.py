"""One check: the object that a conformance test is given, and the verdict that it comes to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from bnconform.backends.registry import BackendError
from bnconform.cases.covering.rows import CoveringRow
from bnconform.cases.metamorphic import MetamorphicRelation
from bnconform.cases.models.rows import ModelCase
from bnconform.cases.probes.observed import is_observed
from bnconform.cases.program import PASSES, SAVED, Probe, Program
from bnconform.diagnosis.failure_conditions import quantities_of
from bnconform.execution.trace import LacksAbility, Raised, ReadsAffine, Trace
from bnconform.judge import covering
from bnconform.judge.check_record import CheckRecord, Unsupported, Violation
from bnconform.judge.judgement import Judgement, agrees, can_act, judge
from bnconform.judge.metamorphic import relate
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, UNSUPPORTED, UNTRUSTED, VIOLATES, Outcome
from bnconform.judge.subject import AdapterError, Ended, NotRecorded
from bnconform.render import messages
from bnconform.results.observations import read_observations
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config


@dataclass
class Check(CheckRecord):
    """One requirement, one subject, and a probe or relation where the test is over one.

    The methods record what they find in `outcomes` and raise Violation or Unsupported; a test that ends without having
    recorded anything is untrusted. `reduced` says that a program was cut down to what the implementation has.
    """

    reduced: bool = False
    _judged: tuple[Trace, tuple[Behaviour, str], Judgement] | None = field(default=None, init=False, repr=False)

    # -- what a test calls ---------------------------------------------------------------------------------------

    def run(self) -> Trace | None:
        """Judge the check's own probe or relation."""
        __tracebackhide__ = True
        if isinstance(self.case, MetamorphicRelation):
            self.relation(self.case)
            return None
        assert self.case is not None and not isinstance(self.case, ModelCase)
        return self.program(self._own(self.case), self.case.quality, self.case.name)

    def _own(self, case: Probe | CoveringRow) -> Program:
        """The case's program for the subject."""
        if isinstance(case, CoveringRow):
            case = case.adapt(frozenset(self.subject.unsupported))
        return case.at(self.subject.dtype, self.subject.param_dtype)

    def program(self, program: Program, quality: str = "", name: str = "case") -> Trace:
        """Run a program and record the verdict on everything that it observes."""
        __tracebackhide__ = True
        self.forget(name)
        fitted = self.fit(program)
        if fitted.reads == "end":
            trace = self._read_at_the_end(fitted, quality)
        else:
            trace = self.execute(fitted)
        if isinstance(self.case, CoveringRow) and (reason := covering.reason_not_judged(self.case, trace)):
            self._add(self._outcome(UNSUPPORTED, headline=reason, message=reason))
            raise Unsupported(reason)
        self.judge(trace, quality, name)
        return trace

    def _read_at_the_end(self, program: Program, quality: str) -> Trace:
        """The trace of a program whose state is read at the end only, with the states that it shows when it is read.

        What holds when it is read, and not otherwise, is a fault; unless the layer never does the same twice.
        """
        __tracebackhide__ = True
        always = program.read_always
        read = self.execute(always)
        if read.broken is not None:
            return read  # it cannot be read at all, which is told of it
        trace = covering.fill_states(self.execute(program), read)
        declared = self.subject.declared
        only_unread = not self._judgement(trace, declared, quality).holds and agrees(read, declared, quality)
        return read if only_unread and covering.differs(read, self.execute(always)) else trace

    def fit(self, program: Program, *, keep_rank: bool = False) -> Program:
        """The program without what the implementation lacks; the check ends as unsupported where that leaves nothing.

        A lack of what the requirement is about is never worked around, nor one of a rank that the check compares.
        """
        __tracebackhide__ = True
        fitted = self._prepare(program, keep_rank=keep_rank)
        if fitted is None:
            unasked = [feature for feature in self.missing(program) if feature in self.subject.not_asked]
            if unasked:
                self.record_unsupported(*unasked)
            self.record_lack(program, self.execute(program))
        self.reduced = self.reduced or bool(self.missing(program))
        return fitted

    def run_unjudged(self) -> Trace:
        """Run the check's own probe; every call must answer, and what it answers is for the test to judge."""
        __tracebackhide__ = True
        assert isinstance(self.case, Probe)
        return self.answer(self.case.at(self.subject.dtype, self.subject.param_dtype))

    def answer(self, program: Program) -> Trace:
        """Run a program of which every call must answer, or refuse as the declared point does; no number is judged."""
        __tracebackhide__ = True
        program = self.fit(program)
        trace = self.execute(program)
        found = judge(trace, SPECIFIED)
        if found.problems and judge(trace, self.subject.declared).problems:
            self.fail("", program, CRASHED if found.crashed else VIOLATES, problems=_problems(found))
        return trace

    def execute(self, program: Program) -> Trace:
        """Run a program on a new layer without judging its numbers; a change of its inputs is recorded at once.

        A program that does not come to its end is a crash, and the check ends with it; it ends as unsupported where
        the adapter asks of a layer with one parameter whether it has both.
        """
        __tracebackhide__ = True
        self.features, self.size = self.features | program.features(), program.size
        try:
            trace = self.subject.run(program)
        except NotRecorded as reason:
            self._not_judged(str(reason))
        except Ended as how:
            self._crash(str(how), program)
        for line in trace.mutated[:1]:
            self._note_mutation(line, program)
        if isinstance(trace.broken, ReadsAffine) and not self.missing(program):
            self._reads_affine(program)
        if isinstance(trace.broken, LacksAbility) and not self.missing(program):
            self._lacks(str(trace.broken))
        return trace

    def not_shown(self, text: str) -> NoReturn:
        """Record that the adapter does not show what the check is about, so that nothing is judged, and end it."""
        __tracebackhide__ = True
        self._lacks(text)

    def config(self, **changes: Any) -> Config:
        """A configuration in the subject's dtype."""
        return Config(**{"dtype": self.subject.dtype, "param_dtype": self.subject.param_dtype, **changes})

    def observe(self, program: Program) -> Trace | None:
        """What a program shows, whatever that is; None where only the programs are collected. Raises Ended."""
        trace = self.subject.run(program)
        for line in trace.mutated[:1]:
            self._note_mutation(line, program)
        return trace

    def shows_counter(self) -> bool:
        """Whether the implementation's layers show how many batches they have seen, as far as can be asked."""
        lacking = self.subject.unsupported
        ranks = [rank for rank in (4, 2, 3, 5) if f"rank_{rank}" not in lacking]
        if "track_running_stats" in lacking or not ranks:
            return False
        try:
            return self.subject.shows_counter(self.config(ndim=ranks[0], affine="affine" not in lacking))
        except Ended:
            return False

    def ask(self, program: Program) -> Trace:
        """Run a program whose layer must be built and read, and whose last call must answer; no number is judged."""
        __tracebackhide__ = True
        trace = self.readable(program)
        last = trace.steps[-1] if trace.steps else None
        if last is not None and last.raised:
            self.fail(str(last.raised), verdict=CRASHED)
        if last is not None and last.misfit:
            self.fail(last.misfit)
        return trace

    def readable(self, program: Program) -> Trace:
        """Run a program whose layer must be built and read, whatever its calls do."""
        __tracebackhide__ = True
        trace = self.execute(program)
        if trace.broken is not None:
            self.fail(str(trace.broken), verdict=CRASHED if isinstance(trace.broken, Raised) else VIOLATES)
        return trace

    def ahead(self) -> list[Program]:
        """The programs that `run` will ask for, as far as that is known beforehand; they are kept for it."""
        if self.case is None or isinstance(self.case, ModelCase):
            return []
        place = self.requirement.id, self.case.name
        subject = self.subject
        if place not in subject.prepared:
            if isinstance(self.case, MetamorphicRelation):
                pair = self.case.at(subject.dtype, subject.param_dtype)
                keep = len({program.config.ndim for program in pair}) > 1
                # None keeps its place, so that what is asked for next is never taken for what cannot be asked.
                found = [self._cut_down(program, keep_rank=keep) for program in pair]
            else:
                found = [self._cut_down(self._own(self.case))]
            subject.prepared[place] = found
        waiting = [program for program in subject.prepared[place] if program is not None]
        return [one for program in waiting for one in covering.programs_of(program)]

    def _prepare(self, program: Program, *, keep_rank: bool = False) -> Program | None:
        """The program without what the implementation lacks; None where that leaves nothing to ask."""
        waiting = self.subject.prepared.get((self.requirement.id, self.case.name), []) if self.case else []
        return waiting.pop(0) if waiting else self._cut_down(program, keep_rank=keep_rank)

    def _cut_down(self, program: Program, *, keep_rank: bool = False) -> Program | None:
        lacking = self.missing(program)
        if not lacking:
            return program
        lacks = set(self.subject.unsupported)
        fitted = program.without({name for name in lacks if not name.startswith("rank_")} if keep_rank else lacks)
        wanted = set(self.requirement.features) & set(lacking)
        if wanted or self.missing(fitted) or (program.observes and not fitted.observes) or not fitted.steps:
            return None
        return fitted

    # -- verdicts ------------------------------------------------------------------------------------------------

    def missing(self, program: Program) -> list[str]:
        """The features that the program or the requirement needs and the implementation says it lacks."""
        return sorted(program.features() & set(self.subject.unsupported))

    def _in_the_way(self, program: Program) -> list[str]:
        """Of what is missing that for which the check cannot be made: nothing else stands in the place of it."""
        lacking = set(self.missing(program))
        about = lacking & set(self.requirement.features)
        return sorted(about or set(self.missing(program.without(lacking))) or lacking)

    def record_lack(self, program: Program, trace: Trace) -> NoReturn:
        """Record that a declared lack was seen, or fail because the implementation answers all the same.

        A layer of a dtype without a kernel may be made and loaded: then a pass asks.
        """
        __tracebackhide__ = True
        lacking = self._in_the_way(program)
        if not trace.refused and program.watch:
            # What is watched may need no layer that is built; whether one is refused is asked without that.
            program = replace(program, watch="")
            trace = self.execute(program)
        if not trace.refused and not any(step.op in PASSES for step in program.steps):
            program = program.with_a_pass(training="training" not in self.subject.unsupported)
            trace = self.execute(program)
        if not trace.refused:
            names = " and ".join(f"`{name}`" for name in lacking)
            todo = f"take {names} out of `unsupported`, or refuse it with NotImplementedError"
            self.fail(f"declares {', '.join(lacking)} unsupported, and yet answers: {todo}", program)
        self.record_unsupported(*lacking)

    def _reads_affine(self, program: Program) -> NoReturn:
        """Record that the adapter knows no layers with one parameter, so that nothing was asked of any."""
        __tracebackhide__ = True
        there, absent = ("weight", "bias") if program.config.weight else ("bias", "weight")
        self._lacks(f"the adapter reads config.affine: layers with a {there} and no {absent} were not judged")

    def judge(self, trace: Trace, quality: str, name: str) -> Judgement:
        """Record the verdict on a trace."""
        __tracebackhide__ = True
        found = self._judgement(trace, SPECIFIED, quality)
        ratio = found.error_ratio if found.comparisons else None
        checks = found.checks
        outcome = self._outcome(CONFORMS, checks=checks, bound_share=ratio)
        if not self.subject.brief:
            outcome.ulp = max((comparison.ulps() for comparison in found.comparisons), default=None)
            outcome.judged_quantities = quantities_of(trace.program, found)
            if is_observed(self.requirement.id, name):
                outcome.observed = read_observations(self.requirement.id, name, trace)
        declared = self.subject.declared
        at_declared = self._judgement(trace, declared, quality) if declared != SPECIFIED else found
        if not at_declared.holds and at_declared is not found:
            outcome.contradicted = self._contradictions(trace, quality, found)
        if found.holds:
            if not checks and trace.program.observes <= {"num_batches_tracked"}:
                outcome.verdict = UNSUPPORTED
                outcome.headline = outcome.message = "num_batches_tracked: the layer shows no counter"
            elif not (checks or found.vacuous) and trace.program.observes and trace.program.observes <= set(SAVED):
                outcome.verdict = UNSUPPORTED
                outcome.headline = outcome.message = f"{' and '.join(sorted(trace.program.observes))}: not saved"
            elif not checks and self.reduced:
                outcome.verdict = UNSUPPORTED
                outcome.headline = outcome.message = "without what the implementation lacks nothing is left to compare"
            elif not checks and found.vacuous:
                outcome.verdict, outcome.vacuous = UNTRUSTED, True
                outcome.headline = outcome.message = VACUOUS
            elif not checks:
                outcome.verdict = UNTRUSTED
                outcome.headline = outcome.message = "nothing could be compared"
            self._add(outcome)
            return found
        # What refutes the specified point may lie in a bound at the declared one that says no more than that.
        if at_declared.holds and (at_declared.checks or at_declared.vacuous):
            outcome.verdict = DEVIATES
            outcome.bound_share = at_declared.error_ratio
            self._deviates(outcome, lambda point: agrees(trace, point, quality), trace.program)
            return found
        if at_declared.holds and at_declared.unspecified:
            self._record_unspecified()
            return found
        outcome.verdict = CRASHED if found.crashed else VIOLATES
        return self._raise_judged(outcome, trace, quality, name, found)

    def _judgement(self, trace: Trace, point: Behaviour, quality: str) -> Judgement:
        """What `judge` finds; kept while it is asked of the same trace."""
        if self._judged is None or self._judged[0] is not trace or self._judged[1] != (point, quality):
            self._judged = trace, (point, quality), judge(trace, point, quality)
        return self._judged[2]

    def _deviates(self, outcome: Outcome, holds: Callable[[Behaviour], bool], *programs: Program) -> None:
        """Record a declared deviation, named by the decisions without which it would not be explained."""
        declared, deviations = self.subject.declared, self.subject.deviations
        outcome.verdict = DEVIATES
        outcome.needed = [
            decision
            for decision in deviations
            if any(can_act(decision, declared, program) for program in programs)
            and not holds(declared.but(**{decision: str(getattr(SPECIFIED, decision))}))
        ]
        outcome.diagnosis = [{"coordinate": c, "value": deviations[c]} for c in outcome.needed or deviations]
        words = ", ".join(f"{entry['coordinate']} = {entry['value']}" for entry in outcome.diagnosis)
        outcome.headline = outcome.message = f"as declared: {words}"
        self._add(outcome)

    def _contradictions(self, trace: Trace, quality: str, found: Judgement) -> list[str]:
        """The declared decisions that a trace refutes, which does not hold at the declared point."""
        declared, deviations = self.subject.declared, self.subject.deviations
        refuted = []
        for decision in deviations:
            without = declared.but(**{decision: str(getattr(SPECIFIED, decision))})
            alone = SPECIFIED.but(**{decision: deviations[decision]})
            if agrees(trace, without, quality) or (found.holds and not agrees(trace, alone, quality)):
                refuted.append(decision)
        return refuted

    def _raise_judged(self, outcome: Outcome, trace: Trace, quality: str, name: str, found: Judgement) -> NoReturn:
        __tracebackhide__ = True
        worst = found.worst if found.worst is not None and found.worst.worst > 1 else None
        remark = covering.circumstances(self.case) if isinstance(self.case, CoveringRow) else ""
        self.subject.failing = trace, quality
        self._raise(
            outcome,
            self._save(trace.program, quality, name, found.differing),
            remark=remark,
            problems=_problems(found),
            quantity=messages.worst_quantity(trace.program, worst) if worst else None,
            call=trace.program.describe(),
        )

    def relation(self, relation: MetamorphicRelation) -> None:
        """Run the two programs of a relation and compare their results with each other."""
        __tracebackhide__ = True
        subject = self.subject
        programs = relation.at(subject.dtype, subject.param_dtype)
        ranks = {program.config.ndim for program in programs}
        traces = [self.execute(self.fit(program, keep_rank=len(ranks) > 1)) for program in programs]
        found = relate(relation, traces, SPECIFIED)
        at_declared = found if found.holds else relate(relation, traces, subject.declared)
        if not found.holds and at_declared.holds:
            if at_declared.unspecified and not at_declared.checks:
                self._record_unspecified()
                return
            outcome = self._outcome(DEVIATES, checks=found.checks)
            self._deviates(outcome, lambda point: relate(relation, traces, point).holds, *programs)
            return
        outcome = self._outcome(CONFORMS, checks=found.checks, bound_share=found.error_ratio)
        if found.holds:
            if not found.checks:
                outcome.vacuous = found.vacuous > 0
                text = VACUOUS if outcome.vacuous else "nothing could be compared"
                outcome.verdict, outcome.headline, outcome.message = UNTRUSTED, text, text
            self._add(outcome)
            return
        outcome.verdict = CRASHED if found.crashed else VIOLATES
        worst = found.worst if found.worst is not None and found.worst.worst > 1 else None
        self._raise(
            outcome,
            None,
            problems=tuple(what for _, what in found.problems[:SHOWN_PROBLEMS]),
            quantity=messages.worst_quantity(programs[1], worst) if worst else None,
            relation=relation.statement,
            call=f"(1) {programs[0].describe()} (2) {programs[1].describe()}",
        )


def conduct(test: Callable[[Check], object], check: Check) -> list[Outcome]:
    """Run a conformance test without pytest; the outcomes that it recorded, a failure among them."""
    try:
        with suppress(Violation, Unsupported):
            test(check)
    except AdapterError as problem:
        check.note_adapter_error(problem)
    except BackendError:  # the implementation cannot be asked: nobody's finding
        raise
    except Exception as error:
        check.note_internal_error(error)
    return check.outcomes


VACUOUS = "nothing can be told here: the bounds admit any answer"

SHOWN_PROBLEMS = 3
"""How many problems of one trace a failure names."""


def _problems(found: Judgement) -> tuple[str, ...]:
    return tuple(f"{what} (call {step + 1})" for step, what in found.problems[:SHOWN_PROBLEMS])
