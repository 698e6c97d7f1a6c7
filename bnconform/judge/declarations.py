"""The verdict on what an adapter declares: a deviation that nothing bears out, or that something refutes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from bnconform.judge.outcome import UNSUPPORTED, VIOLATES, Outcome
from bnconform.render import messages
from bnconform.results.failure import DECLARATION, Failure
from bnconform.spec.behaviour import decision as values_of
from bnconform.spec.catalogue import fixing


class Declaring(Protocol):
    """A subject, as far as this module looks at it."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def deviations(self) -> Mapping[str, str]: ...


def stale(outcomes: Sequence[Outcome], subjects: Iterable[Declaring], whole: bool) -> list[Outcome]:
    """An outcome for each declared decision that no check bore out, or that some check refuted.

    Args:
        whole: whether every check ran; without that, a declaration may simply not have been asked about.
    """
    found = []
    seen: set[str] = set()
    for subject in subjects:
        if subject.name in seen:
            continue
        seen.add(subject.name)
        mine = [outcome for outcome in outcomes if outcome.backend == subject.name]
        judged = {outcome.dtype for outcome in mine if outcome.verdict != UNSUPPORTED}
        for decision, value in subject.deviations.items():
            needed = any(decision in outcome.needed for outcome in mine)
            contradicted = next((outcome for outcome in mine if decision in outcome.contradicted), None)
            if contradicted is None and (needed or not whole or not mine):
                continue
            if contradicted is None and not judged & {*values_of(decision)(value).dtypes}:
                continue  # it shows in none of the dtypes that were judged
            rule = fixing(decision)
            about = [outcome for outcome in mine if outcome.requirement == rule.id]
            if contradicted is None and about and all(outcome.verdict == UNSUPPORTED for outcome in about):
                continue  # what it is about is not to be had here, such as training on several CPUs
            text = f"declares {decision} = {value}, "
            if contradicted is not None:
                text += (
                    f"but {contradicted.requirement} in {contradicted.dtype} shows otherwise: correct the declaration"
                )
            else:
                text += "but nothing that was measured needs it: remove the declaration"
            at = contradicted or mine[0]
            failure = Failure(
                DECLARATION, VIOLATES, rule.id, rule.level, rule.title, messages.sources(rule),
                subject.name, at.device, at.dtype, subject.key, remark=text,
            )  # fmt: skip
            found.append(
                Outcome(
                    subject.name,
                    at.device,
                    at.dtype,
                    rule.id,
                    rule.level,
                    VIOLATES,
                    headline=text,
                    message=messages.message(failure),
                    failure=failure,
                    about_declaration=True,
                )
            )
    return found
