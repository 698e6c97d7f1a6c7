"""One check: the object that a conformance test is given, and the verdict that it comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from bnconform.backends.registry import BackendError
from bnconform.cases import casefile
from bnconform.cases.covering.rows import Row
from bnconform.cases.metamorphic import Relation
from bnconform.cases.models.rows import ModelCase
from bnconform.cases.probes import Case
from bnconform.cases.probes.observed import is_observed
from bnconform.cases.program import PASSES, Probe, Program
from bnconform.diagnosis.failure_conditions import sightings
from bnconform.execution.trace import LacksAbility, Raised, ReadsAffine, Trace
from bnconform.judge import covering, first_difference
from bnconform.judge.judgement import Judgement, agrees, can_act, judge
from bnconform.judge.metamorphic import related
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, UNSUPPORTED, UNTRUSTED, VIOLATES, Outcome
from bnconform.judge.subject import AdapterError, Ended, NotRecorded, Subject
from bnconform.render import messages
from bnconform.results.failure import ADAPTER, INTERNAL, VIOLATION, Failure, Quantity
from bnconform.results.observations import observed
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.catalogue import Requirement, requirement
from bnconform.spec.config import Config


class Violation(Exception):
    """A failed check; its text is the whole message, and pytest shows it without a traceback."""


class Unsupported(Exception):
    """The implementation does not have what the check needs, says so, and was seen to refuse it."""


@dataclass
class Check:
    """One requirement, one subject, and a probe or relation where the test is over one.

    The methods record what they find in `outcomes` and raise Violation or Unsupported; a test that ends without having
    recorded anything is untrusted. `reduced` says that a program was cut down to what the implementation has; `source`
    is the case file that is replayed; `features` are what its programs have asked for, `size` is that of the last one.
    """

    subject: Subject
    requirement: Requirement
    case: Case | None = None
    folder: Path | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    reduced: bool = False
    source: Path | None = None
    features: frozenset[str] = frozenset()
    size: tuple[int, ...] = ()
    _judged: tuple[Trace, tuple[Behaviour, str], Judgement] | None = field(default=None, init=False, repr=False)

    # -- what a test calls ---------------------------------------------------------------------------------------

    def run(self) -> Trace | None:
        """Judge the check's own probe or relation."""
        __tracebackhide__ = True
        if isinstance(self.case, Relation):
            self.relation(self.case)
            return None
        assert self.case is not None and not isinstance(self.case, ModelCase)
        return self.program(self._own(self.case), self.case.quality, self.case.name)

    def _own(self, case: Probe | Row) -> Program:
        """The case's program for the subject."""
        if isinstance(case, Row):
            case = case.adapt(frozenset(self.subject.unsupported))
        return case.at(self.subject.dtype, self.subject.param_dtype)

    def program(self, program: Program, quality: str = "", name: str = "case") -> Trace:
        """Run a program and record the verdict on everything that it observes."""
        __tracebackhide__ = True
        self.forget(name)
        fitted = self.fitted(program)
        if fitted.reads == "end":
            trace = self._read_at_the_end(fitted, quality)
        else:
            trace = self.executed(fitted)
        if isinstance(self.case, Row) and (reason := covering.reason_not_judged(self.case, trace)):
            self._add(self._outcome(UNSUPPORTED, headline=reason, message=reason))
            raise Unsupported(reason)
        self.judged(trace, quality, name)
        return trace

    def _read_at_the_end(self, program: Program, quality: str) -> Trace:
        """The trace of a program whose state is read at the end only, with the states that it shows when it is read.

        What holds when it is read, and not otherwise, is a fault; unless the layer never does the same twice.
        """
        __tracebackhide__ = True
        always = program.read_always
        read = self.executed(always)
        if read.broken is not None:
            return read  # it cannot be read at all, which is told of it
        trace = covering.fill_states(self.executed(program), read)
        declared = self.subject.declared
        only_unread = not self._judgement(trace, declared, quality).holds and agrees(read, declared, quality)
        return read if only_unread and covering.differs(read, self.executed(always)) else trace

    def fitted(self, program: Program, *, keep_rank: bool = False) -> Program:
        """The program without what the implementation lacks; the check ends as unsupported where that leaves nothing.

        A lack of what the requirement is about is never worked around, nor one of a rank that the check compares.
        """
        __tracebackhide__ = True
        fitted = self._prepared(program, keep_rank=keep_rank)
        if fitted is None:
            unasked = [feature for feature in self.missing(program) if feature in self.subject.not_asked]
            if unasked:
                self.unsupported_feature(*unasked)
            self.unsupported(program, self.executed(program))
        self.reduced = self.reduced or bool(self.missing(program))
        return fitted

    def unjudged(self) -> Trace:
        """Run the check's own probe; every call must answer, and what it answers is for the test to judge."""
        __tracebackhide__ = True
        assert isinstance(self.case, Probe)
        return self.answered(self.case.at(self.subject.dtype, self.subject.param_dtype))

    def answered(self, program: Program) -> Trace:
        """Run a program of which every call must answer, or refuse as the declared point does; no number is judged."""
        __tracebackhide__ = True
        program = self.fitted(program)
        trace = self.executed(program)
        found = judge(trace, SPECIFIED)
        if found.problems and judge(trace, self.subject.declared).problems:
            self.fail("", program, CRASHED if found.crashed else VIOLATES, problems=_problems(found))
        return trace

    def executed(self, program: Program) -> Trace:
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

    def require(
        self, holds: bool, what: str = "", got: object = "", due: object = "", program: Program | None = None
    ) -> None:
        """Record one fact: it holds, or the check fails saying what, got and should be; of arrays where they differ."""
        __tracebackhide__ = True
        if holds:
            self._add(self._outcome(CONFORMS, checks=1))
        else:
            self.fail("", program, quantity=first_difference.quantity(what, got, due))

    def fail(
        self,
        remark: str,
        program: Program | None = None,
        verdict: str = VIOLATES,
        share: float | None = None,
        **facts: Any,
    ) -> NoReturn:
        """Record a violation: a remark, or `facts` of a Failure; `share` is the distance over its bound, if any."""
        __tracebackhide__ = True
        call = program.describe() if program else ""
        self._raise(self._outcome(verdict, checks=1, bound_share=share), None, remark=remark, call=call, **facts)

    def note_adapter_error(self, problem: AdapterError) -> None:
        """Record that the adapter does not meet its contract."""
        self._note(ADAPTER, self._outcome(VIOLATES, checks=1), str(problem))

    def note_internal_error(self, error: Exception) -> None:
        """Record that the suite itself is at fault, so that nothing can be trusted."""
        text = f"internal error of bnconform, please report it: {type(error).__name__}: {error}"
        self._note(INTERNAL, self._outcome(UNTRUSTED), text)

    def measured(self, share: float, checks: int, *, deviates: bool = False) -> None:
        """Record that something lay within its bound."""
        outcome = self._outcome(DEVIATES if deviates else CONFORMS, checks=checks, bound_share=share)
        if deviates:
            outcome.diagnosis = [{"coordinate": c, "value": v} for c, v in self.subject.deviations.items()]
            outcome.headline = outcome.message = "as declared"
        self._add(outcome)

    def fact(self, decision: str, got: object, due: Callable[[Behaviour], object], what: str, program: Program) -> None:
        """Record a fact that one decision fixes: `due` is what each of its values would have shown.

        Raises Violation, naming the value that explains it, where it is neither the specified nor the declared one.
        """
        __tracebackhide__ = True
        declared = self.subject.declared
        outcome = self._outcome(CONFORMS, checks=1)
        differs = due(declared) != due(SPECIFIED)
        if differs and got == due(declared):
            outcome.needed.append(decision)
            outcome.verdict = DEVIATES
            outcome.diagnosis = [{"coordinate": decision, "value": self.subject.deviations[decision]}]
            outcome.headline = outcome.message = f"as declared: {decision} = {self.subject.deviations[decision]}"
        elif differs:
            outcome.contradicted.append(decision)
        if outcome.verdict == DEVIATES or got == due(SPECIFIED):
            self._add(outcome)
            return
        outcome.verdict = VIOLATES
        quantity = Quantity(what, str(got), str(due(SPECIFIED)))
        self._raise(outcome, None, quantity=quantity, call=program.describe())

    def policy(self, decision: str, values: list[str], holds: Callable[[Behaviour], bool]) -> None:
        """Record which value of a decision that is left open explains what was seen; it never fails."""
        declared = self.subject.declared
        shown = [value for value in values if holds(declared.but(**{decision: value}))]
        outcome = self._outcome(CONFORMS, checks=1)
        outcome.headline = outcome.message = f"{decision} = {' or '.join(shown) or 'none of the known policies'}"
        if decision in self.subject.deviations:
            (outcome.needed if self.subject.deviations[decision] in shown else outcome.contradicted).append(decision)
        self._add(outcome)

    def note(self, text: str) -> None:
        """Record what was measured where the requirement leaves it open."""
        self._add(self._outcome(CONFORMS, checks=1, headline=text, message=text))

    def noted(self) -> Outcome | None:
        """What was recorded of another requirement and is a violation, where the check itself holds; None for none."""
        others = [outcome for outcome in self.outcomes if outcome.requirement != self.requirement.id]
        return next((outcome for outcome in others if outcome.verdict == VIOLATES), None)

    def config(self, **changes: Any) -> Config:
        """A configuration in the subject's dtype."""
        return Config(**{"dtype": self.subject.dtype, "param_dtype": self.subject.param_dtype, **changes})

    def seen_through(self, program: Program) -> Trace | None:
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

    def asked(self, program: Program) -> Trace:
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
        trace = self.executed(program)
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
            if isinstance(self.case, Relation):
                pair = self.case.at(subject.dtype, subject.param_dtype)
                keep = len({program.config.ndim for program in pair}) > 1
                # None keeps its place, so that what is asked for next is never taken for what cannot be asked.
                found = [self._cut_down(program, keep_rank=keep) for program in pair]
            else:
                found = [self._cut_down(self._own(self.case))]
            subject.prepared[place] = found
        waiting = [program for program in subject.prepared[place] if program is not None]
        return [one for program in waiting for one in covering.programs_of(program)]

    def _prepared(self, program: Program, *, keep_rank: bool = False) -> Program | None:
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

    def unsupported(self, program: Program, trace: Trace) -> NoReturn:
        """Record that a declared lack was seen, or fail because the implementation answers all the same.

        A layer of a dtype without a kernel may be made and loaded: then a pass asks.
        """
        __tracebackhide__ = True
        lacking = self._in_the_way(program)
        if not trace.refused and not any(step.op in PASSES for step in program.steps):
            program = program.with_a_pass(training="training" not in self.subject.unsupported)
            trace = self.executed(program)
        if not trace.refused:
            names = " and ".join(f"`{name}`" for name in lacking)
            todo = f"take {names} out of `unsupported`, or refuse it with NotImplementedError"
            self.fail(f"declares {', '.join(lacking)} unsupported, and yet answers: {todo}", program)
        self.unsupported_feature(*lacking)

    def unsupported_feature(self, *lacking: str) -> NoReturn:
        """Record that what the check needs is declared unsupported; the caller has seen it refused."""
        __tracebackhide__ = True
        reason = "; ".join(f"{feature}: {self.subject.unsupported[feature]}" for feature in lacking)
        outcome = self._outcome(UNSUPPORTED, headline=reason, message=reason)
        self._add(outcome)
        raise Unsupported(reason)

    def _reads_affine(self, program: Program) -> NoReturn:
        """Record that the adapter knows no layers with one parameter, so that nothing was asked of any."""
        __tracebackhide__ = True
        there, absent = ("weight", "bias") if program.config.weight else ("bias", "weight")
        self._lacks(f"the adapter reads config.affine: layers with a {there} and no {absent} were not judged")

    def _lacks(self, text: str) -> NoReturn:
        """Record that the adapter cannot be asked, which is no fault of what it stands for."""
        __tracebackhide__ = True
        self._add(self._outcome(UNSUPPORTED, headline=text, message=text))
        raise Unsupported(text)

    def judged(self, trace: Trace, quality: str, name: str) -> Judgement:
        """Record the verdict on a trace."""
        __tracebackhide__ = True
        found = self._judgement(trace, SPECIFIED, quality)
        ratio = found.error_ratio if found.comparisons else None
        checks = found.checks
        outcome = self._outcome(CONFORMS, checks=checks, bound_share=ratio)
        if not self.subject.brief:
            outcome.ulp = max((comparison.ulps() for comparison in found.comparisons), default=None)
            outcome.sightings = sightings(trace.program, found)
            if is_observed(self.requirement.id, name):
                outcome.observed = observed(self.requirement.id, name, trace)
        declared = self.subject.declared
        at_declared = self._judgement(trace, declared, quality) if declared != SPECIFIED else found
        if not at_declared.holds and at_declared is not found:
            outcome.contradicted = self._contradictions(trace, quality, found)
        if found.holds:
            if not checks and trace.program.observes <= {"num_batches_tracked"}:
                outcome.verdict = UNSUPPORTED
                outcome.headline = outcome.message = "num_batches_tracked: the layer shows no counter"
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
            self._unspecified()
            return found
        outcome.verdict = CRASHED if found.crashed else VIOLATES
        return self._raise_judged(outcome, trace, quality, name, found)

    def _judgement(self, trace: Trace, point: Behaviour, quality: str) -> Judgement:
        """What `judge` finds; kept while it is asked of the same trace."""
        if self._judged is None or self._judged[0] is not trace or self._judged[1] != (point, quality):
            self._judged = trace, (point, quality), judge(trace, point, quality)
        return self._judged[2]

    def _unspecified(self) -> None:
        """Record that nothing can be compared, as at the declared point nothing is fixed of it."""
        words = ", ".join(f"{name} = {value}" for name, value in self.subject.deviations.items())
        text = f"nothing fixes what is to be compared, as declared: {words}"
        self._add(self._outcome(UNSUPPORTED, headline=text, message=text))

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
        remark = covering.circumstances(self.case) if isinstance(self.case, Row) else ""
        self.subject.failing = trace, quality
        self._raise(
            outcome,
            self._save(trace.program, quality, name),
            remark=remark,
            problems=_problems(found),
            quantity=messages.compared(trace.program, worst) if worst else None,
            call=trace.program.describe(),
        )

    def relation(self, relation: Relation) -> None:
        """Run the two programs of a relation and compare their results with each other."""
        __tracebackhide__ = True
        subject = self.subject
        programs = relation.at(subject.dtype, subject.param_dtype)
        ranks = {program.config.ndim for program in programs}
        traces = [self.executed(self.fitted(program, keep_rank=len(ranks) > 1)) for program in programs]
        found = related(relation, traces, SPECIFIED)
        at_declared = found if found.holds else related(relation, traces, subject.declared)
        if not found.holds and at_declared.holds:
            if at_declared.unspecified and not at_declared.checks:
                self._unspecified()
                return
            outcome = self._outcome(DEVIATES, checks=found.checks)
            self._deviates(outcome, lambda point: related(relation, traces, point).holds, *programs)
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
            quantity=messages.compared(programs[1], worst) if worst else None,
            relation=relation.statement,
            call=f"(1) {programs[0].describe()} (2) {programs[1].describe()}",
        )

    # -- recording -----------------------------------------------------------------------------------------------

    def _outcome(self, verdict: str, **values: Any) -> Outcome:
        subject = self.subject
        return Outcome(
            subject.name, subject.device, subject.dtype, self.requirement.id, self.requirement.level, verdict, **values
        )  # fmt: skip

    def _add(self, outcome: Outcome) -> None:
        outcome.features, outcome.size = sorted(self.features), list(self.size)
        self.outcomes.append(outcome)

    def _note_mutation(self, line: str, program: Program) -> None:
        """Record, once for a subject and a change, that a call changed its input; the numbers are judged still."""
        subject, mine = self.subject, self.requirement
        if subject.assumed is not None or (line in subject.mutations and mine.id != INPUT):
            return
        subject.mutations.append(line)
        self.requirement = requirement(INPUT)
        try:
            self.fail(line if mine.id == INPUT else f"{line} (seen while checking {mine.id})", program)
        except Violation:
            self.outcomes[-1].mutation, self.outcomes[-1].aside = line, mine.id != INPUT
            if mine.id == INPUT:
                raise
        finally:
            self.requirement = mine

    def _not_judged(self, reason: str) -> NoReturn:
        """Record that a recording does not have what the check asks for."""
        __tracebackhide__ = True
        text = f"not judged: {reason}; record it again with this version of bnconform"
        outcome = self._outcome(UNTRUSTED, headline=text, message=text)
        self._add(outcome)
        raise Violation(text)

    def _crash(self, how: str, program: Program) -> NoReturn:
        """Record that a program did not come to its end."""
        __tracebackhide__ = True
        self._raise(
            self._outcome(CRASHED, checks=1, died=True), None, headline=how, problems=(how,), call=program.describe()
        )

    def _raise(self, outcome: Outcome, case: Path | None, headline: str = "", **facts: Any) -> NoReturn:
        __tracebackhide__ = True
        outcome.case = str(case) if case is not None else outcome.case
        outcome.failure = self._failure(VIOLATION, outcome, **facts)
        outcome.message = messages.message(outcome.failure)
        outcome.headline = headline or self.requirement.title
        self._add(outcome)
        raise Violation(outcome.message)

    def _note(self, kind: str, outcome: Outcome, text: str) -> None:
        outcome.failure = self._failure(kind, outcome, remark=text)
        outcome.headline = outcome.message = messages.message(outcome.failure)
        self._add(outcome)

    def _failure(self, kind: str, outcome: Outcome, **facts: Any) -> Failure:
        subject, rule = self.subject, self.requirement
        return Failure(
            kind, outcome.verdict, rule.id, rule.level, rule.title, messages.sources(rule),
            subject.name, subject.device, subject.dtype, subject.key, case=outcome.case, **facts,
        )  # fmt: skip

    def _save(self, program: Program, quality: str, name: str) -> Path | None:
        """Write the case for replay; None where the folder cannot be written or the case is too large to keep."""
        if self.source is not None:
            return self.source
        size = sum(step.x.size for step in program.steps if step.x is not None)
        if self.folder is None or size > LARGEST_CASE:
            return None
        path = self._case_path(self.folder, name)
        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True)
                (self.folder / ".gitignore").write_text("*\n")
            casefile.write(path, self.requirement.id, name, program, quality)
        except OSError:
            return None
        return path

    def forget(self, name: str) -> None:
        """Remove the case that an earlier run wrote of this check: it is made anew if it fails again."""
        if self.folder is not None and self.source is None:
            with suppress(OSError):
                self._case_path(self.folder, name).unlink(missing_ok=True)

    def _case_path(self, folder: Path, name: str) -> Path:
        subject = self.subject
        words = f"{subject.label}-{self.requirement.id}-{name}"
        digest = hashlib.sha256(f"{subject.key} {words}".encode()).hexdigest()[:6]
        safe = "".join(character if character.isalnum() or character in "+.-_" else "-" for character in words)
        return folder / f"{safe}-{digest}.json"


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

INPUT = "BN-STATE-INPUT"
"""The requirement that what is given is left as it was."""

LARGEST_CASE = 200_000
"""Elements up to which a failing case is written to a file."""


SHOWN_PROBLEMS = 3
"""How many problems of one trace a failure names."""


def _problems(found: Judgement) -> tuple[str, ...]:
    return tuple(f"{what} (call {step + 1})" for step, what in found.problems[:SHOWN_PROBLEMS])
