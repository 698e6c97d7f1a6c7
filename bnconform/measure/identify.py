"""What a black box does, measured: the point of the behaviour space, the defaults, the variance algorithm, the dtypes.

Nothing of what an adapter declares is used but what it says it lacks; what it declares is compared with what was
measured afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from bnconform.cases import inputs
from bnconform.cases.distinguishing import distinguishing_programs
from bnconform.cases.program import Program, forward
from bnconform.diagnosis import search
from bnconform.diagnosis.search import Evidence, Refutation
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Ended, Subject
from bnconform.measure.defaults import NotAnswered, measure
from bnconform.measure.semantics_profile import MeasuredDecision, SemanticsProfile
from bnconform.spec.behaviour import OF_ABILITY, SPECIFIED, Behaviour, decision, decisions
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES, format_of

RATIOS = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7)
"""Mean over standard deviation of the inputs that tell variance algorithms apart."""

IN_ALL_DTYPES = ("output_dtype", "statistics_dtype")
"""The decisions that are looked at in every dtype; the others in the subject's own."""

PREFERRED = ("float32", "float64", "bfloat16", "float16")


def first_profile(
    subject_of: Callable[[str], Subject],
    dtypes: Iterable[str] = PREFERRED,
    progress: Callable[[str], None] = lambda _: None,
) -> SemanticsProfile | None:
    """The profile in the first dtype that the implementation has and answers in; None where it has none of them.

    Where it answers in none, the profile of the last one, which says what it refused.
    """
    profile = None
    for dtype in dtypes:
        subject = subject_of(dtype)
        if dtype not in subject.unsupported:
            profile = identify(subject, progress)
            if profile.seen:
                break
    return profile


def identify(subject: Subject, progress: Callable[[str], None] = lambda _: None) -> SemanticsProfile:
    """Measure a subject; its own dtype is where the point is looked for, dtypes are looked at in all."""
    progress("running the distinguishing programs")
    evidence = search.gather(subject)
    progress("searching the behaviour space")
    found = search.explain(evidence, SPECIFIED)
    point = found.points[0]
    progress("looking for what refutes every other value")
    findings = list(_findings(subject, evidence, found.points))
    profile = SemanticsProfile(
        subject.name, subject.device, subject.dtype, point, findings, list(_describe_unexplained(evidence, point)),
        len(evidence.traces), evidence.refused, evidence.steady, ended=evidence.ended,
    )  # fmt: skip
    profile.share = max((judge(trace, point).error_ratio for trace in evidence.traces.values()), default=0.0)
    progress("measuring dtypes, defaults and the variance algorithm")
    _dtypes(profile, subject)
    if {"training", "float32"} & set(subject.unsupported):
        profile.no_defaults = "they would be measured in training, in float32"
        return _with_algorithm(profile, subject, evidence)
    try:
        profile.defaults = measure(subject, point)
    except (NotAnswered, Ended) as reason:
        profile.no_defaults = str(reason)
    return _with_algorithm(profile, subject, evidence)


def _with_algorithm(profile: SemanticsProfile, subject: Subject, evidence: Evidence) -> SemanticsProfile:
    if not evidence.traces or not _output_is_known(evidence, profile.point):
        profile.algorithm = "not measured, as the output is not that of a known behaviour"
    else:
        profile.growth, profile.algorithm = _algorithm(replace(subject, assumed=profile.point))
    return profile


def _output_is_known(evidence: Evidence, point: Behaviour) -> bool:
    """Whether the point explains every output of training passes over more than one value a channel.

    Answers that differ from call to call within their bounds, as where memory is aligned otherwise, are known as well.
    """
    for name, atoms in evidence.wrong(point).items():
        for step, what in atoms:
            call = evidence.traces[name].program.steps[step]
            ordinary = call.x is not None and call.x.size > call.x.shape[1]
            if call.op == "forward" and call.training and what in ("y", "the call") and ordinary:
                return False
    return True


def _findings(subject: Subject, evidence: Evidence, points: tuple[Behaviour, ...]) -> Iterator[MeasuredDecision]:
    point = points[0]
    others = search.alternatives(evidence, point)
    asked = {step.op for trace in evidence.traces.values() for step in trace.program.steps}
    for name in decisions():
        if OF_ABILITY.get(name, "forward") not in asked | {"forward"}:
            continue  # it has no such pass
        value = str(getattr(point, name))
        open_values = [
            other for other, refuted in others[name].items() if refuted is None and _tells(subject, point, name, other)
        ]
        also = [str(getattr(other, name)) for other in points[1:]]
        values = tuple(dict.fromkeys((value, *also, *open_values)))
        refutations = {other: refuted for other, refuted in others[name].items() if refuted is not None}
        yield MeasuredDecision(name, values, subject.deviations.get(name, ""), *_evidence(refutations))


def _tells(subject: Subject, point: Behaviour, name: str, value: str) -> bool:
    """Whether a value means something else than the point's: an evaluation form that is training's does not.

    Nor does one that shows in none of the dtypes that are looked at; where it is declared, it stays possible.
    """
    if name == "evaluation_epsilon_form":
        return value not in ("as_training", str(point.epsilon_form))
    shows = name in IN_ALL_DTYPES or subject.dtype in decision(name)(value).dtypes
    return shows or subject.deviations.get(name) == value


def _evidence(refuted: dict[str, Refutation]) -> tuple[str, str]:
    """The value that is hardest to refute, and what refutes it."""
    if not refuted:
        return "", "nothing that it shows depends on it"
    value, closest = min(refuted.items(), key=lambda item: item[1].margin)
    margin = "no number" if closest.margin == np.inf else f"{closest.margin:.2g} bounds off"
    return value, f"{closest.atom[1]}, {closest.name}: {margin}"


def _describe_unexplained(evidence: Evidence, point: Behaviour) -> Iterator[str]:
    for name, atoms in evidence.wrong(point).items():
        for step, what in sorted(atoms):
            yield f"{what} of call {step + 1}, {evidence.traces[name].program.steps[step].describe()} ({name})"


def _dtypes(profile: SemanticsProfile, subject: Subject) -> None:
    """The dtypes of y and of the running statistics for each dtype of the input, and the decisions that they fix."""
    refuting: dict[str, set[str]] = {name: set() for name in IN_ALL_DTYPES}
    for dtype in DTYPES:
        if dtype in subject.unsupported:
            profile.dtypes[dtype] = subject.unsupported[dtype]
            continue
        other = replace(subject, dtype=dtype)
        mode = "evaluation" if "training" in subject.unsupported else "training"
        evidence = search.gather(other, {mode: distinguishing_programs()[mode]})
        trace = evidence.traces.get(mode)
        seen = trace.steps[-1] if trace is not None else None
        if trace is None or seen is None or seen.raised or seen.misfit:
            reason = seen and (seen.raised or seen.misfit)
            profile.dtypes[dtype] = str(reason or next(iter(evidence.refused.values()), "not offered"))
            continue
        y, statistics = seen.values["y"], seen.after["running_var"]
        profile.dtypes[dtype] = (
            str(y.dtype) if y is not None else "none",
            (str(statistics.dtype) if statistics is not None else "none"),
        )
        for name, refuted in refuting.items():
            for value in decisions()[name]:
                point = profile.point.but(**{name: str(value)})
                view = search.view(trace, judge(trace, point), point)
                if any(what.startswith("the dtype") for _, what in view.wrong):
                    refuted.add(str(value))
    for number, finding in enumerate(profile.findings):
        if finding.decision in refuting:
            allowed = tuple(str(v) for v in decisions()[finding.decision] if v not in refuting[finding.decision])
            if len(allowed) == 1:
                pairs = {d: " and ".join(kept) for d, kept in profile.dtypes.items() if isinstance(kept, tuple)}
                shown = "; ".join(f"{dtype}: {words}" for dtype, words in pairs.items())
                profile.findings[number] = replace(
                    finding, values=allowed, refuted="", evidence=f"y and statistics of {shown}"
                )
                profile.point = profile.point.but(**{finding.decision: allowed[0]})


UNITS_OF_FIRST_POWER = 64
"""Units of rounding error (times mean over deviation) up to which growth is of the first power.

With n = 16 values an updating algorithm stays below 3.2 n = 51 of them (`spec.error_bounds.forward`); one-pass errs by
some mean/deviation times as much, at 1000 a multiple of this.
"""


VALUES = 16
"""Values a channel. The mean of so many errs by at most that many units times mean over deviation, and the two-pass
variance by the square of it."""


def _algorithm(subject: Subject) -> tuple[list[tuple[float, float]], str]:
    """How the relative error of the variance grows with mean over deviation, and what that says of the algorithm."""
    growth = list(_growth(subject))
    u = format_of(subject.dtype).unit_roundoff
    # Beyond an error of 1/10 everything is lost, and below a ratio of 100 all algorithms are alike.
    told = [(ratio, error) for ratio, error in growth if ratio >= 100 and error < 0.1]
    if not told:
        return growth, "not measured: no output shows it"
    ratio, error = max(told)
    shown = f"at mean/deviation {ratio:g} the variance errs by {error:.1g} of itself"
    if max(error / ratio for ratio, error in told) > UNITS_OF_FIRST_POWER * u:
        return growth, f"one-pass: {shown}, and the error grows with the square"
    if all(error <= UNITS_OF_FIRST_POWER * u + (VALUES * ratio * u) ** 2 for ratio, error in told):
        return growth, f"two-pass, or in wider arithmetic: {shown}"
    return growth, f"updating or folded: {shown}, and the error grows with the first power"


def growth_programs(subject: Subject) -> list[Program]:
    """A training pass for each of RATIOS that the subject's dtype can hold."""
    ratios = [ratio for ratio in RATIOS if ratio <= 0.2 / format_of(subject.dtype).unit_roundoff]
    batches = [inputs.ill_conditioned((4, 3, 2, VALUES // 8), ratio) for ratio in ratios]
    whole = [Program(Config(num_features=3), (forward(x, "y"),)).without(set(subject.unsupported)) for x in batches]
    return [program.cast(subject.dtype, subject.param_dtype) for program in whole]


def _growth(subject: Subject) -> Iterator[tuple[float, float]]:
    """(mean over deviation, the largest relative error of the variance that normalises in training).

    The spread of y over that of the exact y is the root of the true variance over the one that was computed; an error
    of the mean shifts y and leaves its spread. Judged at the point that was measured.
    """
    for ratio, program in zip(RATIOS, growth_programs(subject), strict=False):
        try:
            trace = subject.run(program)
        except Ended:
            return
        seen = [comparison for comparison in judge(trace, subject.declared).comparisons if comparison.name == "y"]
        if not seen or trace.broken is not None or not np.isfinite(seen[0].observed.astype(np.float64)).all():
            return
        y, due = seen[0].observed.astype(np.float64), seen[0].exact.nearest
        axes = (0, *range(2, y.ndim))
        if not (due.var(axis=axes) > 0).all():
            return
        with np.errstate(all="ignore"):
            error = np.abs(due.var(axis=axes) / y.var(axis=axes) - 1)
        yield ratio, float(np.where(np.isfinite(error), error, np.inf).max())
