"""What a check records: facts that hold, violations, lacks, and the case that a failure is kept as."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from bnconform.cases import casefile
from bnconform.cases.models.rows import ModelCase
from bnconform.cases.probes import Case
from bnconform.cases.program import Program
from bnconform.judge import first_difference
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, UNSUPPORTED, UNTRUSTED, VIOLATES, Outcome
from bnconform.judge.subject import AdapterError, Subject
from bnconform.render import messages
from bnconform.results.failure import ADAPTER, INTERNAL, VIOLATION, Failure, Quantity
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.catalogue import Requirement, requirement

INPUT = "BN-STATE-INPUT"
"""The requirement that what is given is left as it was."""

LARGEST_CASE = 200_000
"""Elements up to which a failing case is written to a file."""

KEPT_CASES = 2
"""Case files that are written of failures of one requirement in the same quantities; after them, smaller ones only."""


class Violation(Exception):
    """A failed check; its text is the whole message, and pytest shows it without a traceback."""


class Unsupported(Exception):
    """The implementation does not have what the check needs, says so, and was seen to refuse it."""


@dataclass
class CheckRecord:
    """One requirement, one subject, and what was found of it, by which verdict.

    Attributes:
        case: the probe, relation or row that is asked, if any. source: the case file that is replayed.
        folder: where failing cases are written to.
        outcomes: what was recorded. features: what the programs have asked for; size: the size of the last one.
    """

    subject: Subject
    requirement: Requirement
    case: Case | None = None
    folder: Path | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    source: Path | None = None
    features: frozenset[str] = frozenset()
    size: tuple[int, ...] = ()

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

    def measure(self, share: float, checks: int, *, deviates: bool = False) -> None:
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

    def find_noted(self) -> Outcome | None:
        """What was recorded of another requirement and is a violation, where the check itself holds; None for none."""
        others = [outcome for outcome in self.outcomes if outcome.requirement != self.requirement.id]
        return next((outcome for outcome in others if outcome.verdict == VIOLATES), None)

    def record_unsupported(self, *lacking: str) -> NoReturn:
        """Record that what the check needs is declared unsupported; the caller has seen it refused."""
        __tracebackhide__ = True
        reason = "; ".join(f"{feature}: {self.subject.unsupported[feature]}" for feature in lacking)
        outcome = self._outcome(UNSUPPORTED, headline=reason, message=reason)
        self._add(outcome)
        raise Unsupported(reason)

    def _lacks(self, text: str) -> NoReturn:
        """Record that the adapter cannot be asked, which is no fault of what it stands for."""
        __tracebackhide__ = True
        self._add(self._outcome(UNSUPPORTED, headline=text, message=text))
        raise Unsupported(text)

    def _record_unspecified(self) -> None:
        """Record that nothing can be compared, as at the declared point nothing is fixed of it."""
        words = ", ".join(f"{name} = {value}" for name, value in self.subject.deviations.items())
        text = f"nothing fixes what is to be compared, as declared: {words}"
        self._add(self._outcome(UNSUPPORTED, headline=text, message=text))

    def _outcome(self, verdict: str, **values: Any) -> Outcome:
        subject = self.subject
        model = self.case.number if isinstance(self.case, ModelCase) else None
        return Outcome(
            subject.name, subject.device, subject.dtype, self.requirement.id, self.requirement.level, verdict,
            model=model, **values,
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

    def _save(self, program: Program, quality: str, name: str, differing: Collection[str]) -> Path | None:
        """Write the case for replay; None where the folder cannot be written or the case need not be kept.

        Kept are the first ones that differ in these quantities, and of the others each that is smaller than all so far:
        an implementation with one fault fails hundreds of checks, and a person opens the smallest.
        """
        if self.source is not None:
            return self.source
        elements = sum(step.x.size for step in program.steps if step.x is not None)
        kept = self.subject.kept_sizes.setdefault((self.requirement.id, frozenset(differing)), [])
        if self.folder is None or elements > LARGEST_CASE or (len(kept) >= KEPT_CASES and program.size >= min(kept)):
            return None
        path = self._case_path(self.folder, name)
        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True)
                (self.folder / ".gitignore").write_text("*\n")
            casefile.write(path, self.requirement.id, name, program, quality)
        except OSError:
            return None
        kept.append(program.size)
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
