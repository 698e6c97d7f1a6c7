"""Where something shows that no point of the behaviour space explains: the narrowest description of the failing checks.

Every judged quantity says what it was, under which circumstances, and whether it lay within its bound. A
circumstance that all wrong ones share, and that the right ones of the same quantities do not, is worth telling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bnconform.cases.program import MAPPED_STATE, OF_A_PASS, SPREAD, Array, Program, Step
from bnconform.judge.judgement import Comparison, Judgement
from bnconform.judge.outcome import Outcome

JudgedQuantity = dict[str, Any]
"""what, wrong, and circumstances: words, numbers, or None where a circumstance does not apply."""

CIRCUMSTANCES = {
    "dtype": "only {}", "device": "only on {}", "rank": "only rank {}", "mode": "only in {}", "pass": "only {} passes",
    "x": "only {} x", "grad_output": "only {} grad_output", "samples_are": "only batches of {} samples",
    "affine": "only affine={}", "tracked": "only track_running_stats={}",
}  # fmt: skip
"""What is told of each circumstance in words."""

LESSER = {"momentum": "only momentum={}", "eps": "only eps={}", "parameters": "only {} parameters", "after": "only {}"}
"""What is told where nothing else is left to tell: the programs of one requirement have these in common anyway."""

ALTERNATIVES = 2
"""Values of one circumstance that are told together; more are no common circumstance."""

SIZES = {
    "channels": "channels", "samples": "samples", "values": "values a channel", "mean_over_std": "mean over deviation",
}  # fmt: skip
"""What is told of each circumstance in numbers."""

ENOUGH = 4
"""Right judged quantities that a description must shut out, so that it is no coincidence."""

SHARE_LET_IN = 0.2
"""The share of right judged quantities up to which a threshold may let them in."""


def quantities_of(program: Program, judgement: Judgement) -> list[JudgedQuantity]:
    """One for each quantity that was compared, and for each call that did something else than answer."""
    found = []
    numbers = {comparison.step for comparison in judgement.comparisons}
    circumstances = {number: _circumstances(program, number) for number in numbers}
    for comparison in judgement.comparisons:
        wrong = comparison.worst > 1
        seen = {"what": comparison.name, "wrong": wrong, **circumstances[comparison.step]}
        if wrong:
            seen["relative"] = _relative(comparison)
            seen["channels_wrong"] = _channels(comparison)
        found.append(seen)
    for number, _ in judgement.problems:
        found.append({"what": "the call", "wrong": True, **_circumstances(program, number)})
    return found


def _circumstances(program: Program, number: int) -> JudgedQuantity:
    config = program.config
    found: JudgedQuantity = {
        "rank": config.ndim, "channels": config.num_features, "affine": config.affine,
        "tracked": config.track_running_stats, "momentum": str(config.momentum), "eps": f"{config.eps:g}",
    }  # fmt: skip
    step = program.steps[number] if 0 <= number < len(program.steps) else None
    if step is None or step.x is None:
        return found
    x = step.x
    found |= {
        "mode": step.mode, "pass": step.op, "after": _after(program.steps[:number]),
        "samples": len(x), "values": x.size // x.shape[1] if x.shape[1] else 0,
        "samples_are": "an odd number of" if len(x) % 2 else "an even number of", "x": _layout(x, step.x_layout),
        "parameters": "exactly default" if _is_untouched(program.steps[:number]) else "other than default",
        "mean_over_std": _ratio(x),
    }  # fmt: skip
    if step.grad_output is not None:
        found["grad_output"] = _layout(step.grad_output, step.grad_layout)
    return found


def _layout(values: Array, layout: str) -> str:
    if layout == "unaligned":
        return "unaligned"
    return "contiguous" if layout == "contiguous" or values.size <= 1 else "non-contiguous"


def _after(steps: Sequence[Step]) -> str:
    """What the layer did last."""
    if not steps or steps[-1].op == "build":
        return "on a new layer"
    last = steps[-1]
    if last.op in (*OF_A_PASS, "reset", "set"):
        return f"after a {last.op}"
    return "after a load" if last.op == "load" else f"after {last.mode}"


def _is_untouched(steps: Sequence[Step]) -> bool:
    return not any(step.op == "load" for step in steps)


def _ratio(x: Array) -> float | None:
    """The largest |mean| over standard deviation of a channel."""
    if x.size < 2 * x.shape[1]:
        return None
    values = np.moveaxis(x.astype(np.float64), 1, 0).reshape(x.shape[1], -1)
    with np.errstate(all="ignore"):
        deviation = values.std(axis=1)
        ratio = np.where(deviation > 0, np.abs(values.mean(axis=1)) / deviation, np.nan)
    return None if np.isnan(ratio).all() else float(np.nanmax(ratio))


def _relative(comparison: Comparison) -> float | None:
    """The worst element's error relative to what is due."""
    due, got = float(comparison.exact.nearest[comparison.index]), float(comparison.observed[comparison.index])
    return abs(got - due) / abs(due) if due and np.isfinite(due) and np.isfinite(got) else None


def _channels(comparison: Comparison) -> list[int] | None:
    """The first and last channel that are wrong, where others are right; None for what has no channels."""
    ratio = comparison.error_ratio
    axis = 1 if comparison.name in (*SPREAD, *MAPPED_STATE, "jacobian") else 0
    if ratio.ndim <= axis:
        return None
    wrong = np.flatnonzero((ratio > 1).any(axis=tuple(a for a in range(ratio.ndim) if a != axis)))
    return [int(wrong[0]), int(wrong[-1])] if 0 < len(wrong) < ratio.shape[axis] else None


def narrowest(failing: Sequence[Outcome], every: Sequence[Outcome]) -> str:
    """In words, what the failing checks have in common that the others have not; "" where there is nothing to tell."""
    wrong = [seen for outcome in failing for seen in _place_quantities(outcome) if seen["wrong"]]
    if not wrong:
        names = sorted({outcome.requirement for outcome in failing})
        return f"only in {', '.join(names[:4])}{' and others' if len(names) > 4 else ''}"
    quantities = {seen["what"] for seen in wrong}
    right = [seen for outcome in every for seen in _place_quantities(outcome) if not seen["wrong"]]
    parts = []
    names = sorted(quantities - {"the call"})
    others = {seen["what"] for seen in right} - quantities
    if names and others:
        parts.append(f"only {', '.join(names)}")
    if any(not outcome.steady for outcome in failing):
        parts.append("differs from call to call")
    if len(failing) == 1:
        return ", ".join([*parts, f"seen in one check ({_all(wrong[0])})"])
    alike = [seen for seen in right if seen["what"] in quantities] if names else right
    asked = {outcome.requirement for outcome in failing}
    parts += _words(wrong, alike, asked)
    parts += _places(wrong)
    parts += _sizes(wrong)
    return ", ".join(parts)


def _all(seen: JudgedQuantity) -> str:
    """The circumstances of one judged quantity, which may or may not matter."""
    phrases = {**CIRCUMSTANCES, **LESSER}
    words = [phrase.format(seen[name]).removeprefix("only ") for name, phrase in phrases.items() if name in seen]
    return ", ".join([*words, *(f"{_size(seen[name])} {noun}" for name, noun in SIZES.items() if seen.get(name))])


def _place_quantities(outcome: Outcome) -> Iterator[JudgedQuantity]:
    for seen in outcome.judged_quantities:
        yield {**seen, "dtype": outcome.dtype, "device": outcome.device, "requirement": outcome.requirement}


def _words(wrong: Sequence[JudgedQuantity], right: list[JudgedQuantity], asked: set[str]) -> Iterator[str]:
    """What all of the wrong share, each time what shuts out most of the right that are left.

    What the programs of one requirement have in common is told where it shuts out some of the requirements that fail.
    """
    for tier in (_common_first, _common_lesser):
        if tier is _common_lesser:
            right = [seen for seen in right if seen["requirement"] in asked]
        while right:
            told = [(len(out), phrase, out) for phrase, out in tier(wrong, right)]
            most, phrase, out = max(told, key=lambda one: one[0], default=(0, "", right))
            if most < max(ENOUGH, TELLING * len(right)):
                break
            yield phrase
            gone = set(map(id, out))
            right = [seen for seen in right if id(seen) not in gone]


Shared = Iterator[tuple[str, list[JudgedQuantity]]]
"""Circumstances that all of the wrong share, in words, each with the right ones that it shuts out."""


def _common_first(wrong: Sequence[JudgedQuantity], right: Sequence[JudgedQuantity]) -> Shared:
    yield from _common_words(CIRCUMSTANCES, wrong, right)
    yield from _common_sizes(wrong, right)


def _common_lesser(wrong: Sequence[JudgedQuantity], right: Sequence[JudgedQuantity]) -> Shared:
    yield from _common_words(LESSER, wrong, right)


def _common_words(
    phrases: Mapping[str, str], wrong: Sequence[JudgedQuantity], right: Sequence[JudgedQuantity]
) -> Shared:
    for name, phrase in phrases.items():
        values = {seen.get(name) for seen in wrong}
        if None not in values and len(values) <= ALTERNATIVES:
            told = phrase.format(" or ".join(str(value) for value in sorted(values, key=str)))
            yield told, [seen for seen in right if seen.get(name) is not None and seen[name] not in values]


def _common_sizes(wrong: Sequence[JudgedQuantity], right: Sequence[JudgedQuantity]) -> Shared:
    for name, noun in SIZES.items():
        numbers = [seen[name] for seen in wrong if seen.get(name) is not None]
        if len(numbers) < len(wrong):
            continue
        least, largest = min(numbers), max(numbers)
        known = [seen for seen in right if seen.get(name) is not None]
        below = [seen for seen in known if seen[name] < least]
        above = [seen for seen in known if seen[name] > largest]
        sides = (
            (">=", least, below, max((seen[name] for seen in below), default=None)),
            ("<=", largest, above, min((seen[name] for seen in above), default=None)),
        )
        for sign, wrong_at, out, right_at in sides:
            # A limit between two numbers that print alike is none.
            told = _size(wrong_at), "" if right_at is None else _size(right_at)
            if right_at is not None and len(out) >= (1 - SHARE_LET_IN) * len(known) and told[0] != told[1]:
                yield f"only {noun} {sign} {told[0]} (not at {told[1]})", out


def _size(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


TELLING = 0.3
"""The share of the right judged quantities that are left which a further circumstance must shut out."""


def _places(wrong: Sequence[JudgedQuantity]) -> Iterator[str]:
    """Which channels are wrong, where in every wrong one only some are."""
    found = [seen["channels_wrong"] for seen in wrong if "channels_wrong" in seen]
    if len(found) >= ENOUGH and all(found):
        first, last = min(one[0] for one in found), max(one[1] for one in found)
        yield f"only channel{f's {first} to {last}' if first != last else f' {first}'}"


def _sizes(wrong: Sequence[JudgedQuantity]) -> Iterator[str]:
    """The relative error, where it is about the same everywhere."""
    errors = [seen["relative"] for seen in wrong if seen.get("relative")]
    if len(errors) >= ENOUGH and max(errors) < 10 * min(errors) and max(errors) < SMALL:
        yield f"a relative error of {min(errors):.1g} to {max(errors):.1g}"


SMALL = 1e-2
"""Relative errors up to which their size is worth telling."""
