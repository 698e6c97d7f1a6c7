"""On which values of the inputs a failure depends: ordinary ones are put in the place of special ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from bnconform.cases.inputs import uneven, upstream
from bnconform.cases.program import PASSES, Array, Program
from bnconform.diagnosis.experiments import variations as vary
from bnconform.diagnosis.experiments.circumstances import Circumstance
from bnconform.diagnosis.experiments.trials import Trials
from bnconform.spec.exact import Floats


def values(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """The values of x, grad_output and tangents in the last call, where ordinary ones make the failure go away."""
    step = vary.last(base)
    if step.op not in PASSES or step.x is None or not step.x.size:
        return
    layouts = {"x": step.x_layout, "grad_output": step.grad_layout, "tangent": "contiguous", "second": "contiguous"}
    for field, noun in zip(layouts, ("x", "grad_output", "the tangent", "the second tangent"), strict=True):
        array = getattr(step, field)
        if array is None:
            continue
        ordinary = _ordinary(field, array, layouts[field])
        if trials.show(vary.with_last(base, **{field: ordinary})) is False:
            yield Circumstance(_words(trials, base, field, noun, array, ordinary))


def _ordinary(field: str, array: Array, layout: str) -> Array:
    found = (uneven if field == "x" else upstream)(array.shape).astype(array.dtype)
    return np.repeat(found[:1], len(found), axis=0) if layout == vary.EQUAL_SAMPLES else found


def _words(trials: Trials, base: Program, field: str, noun: str, array: Array, ordinary: Array) -> str:
    """Which property of the values matters."""
    numbers = array.astype(np.float64)

    def goes(changed: Floats | Array) -> bool:
        return trials.show(vary.with_last(base, **{field: np.asarray(changed).astype(array.dtype)})) is False

    finite = np.isfinite(numbers)
    if not finite.all():
        if goes(np.where(finite, numbers, ordinary.astype(np.float64))):
            kind = "NaN" if np.isnan(numbers).any() else "an infinity"
            return f"only where {noun} has {kind}"
        return f"only with the values of {noun} in this case"
    axes = (0, *range(2, numbers.ndim))
    mean = numbers.mean(axis=axes, keepdims=True)
    deviation = numbers.std(axis=axes, keepdims=True)
    if (deviation == 0).any() and goes(numbers + np.where(deviation == 0, ordinary - ordinary.mean(), 0)):
        return f"only where a channel of {noun} is constant"
    if goes(numbers - mean):
        return _mean_words(trials, base, field, noun, numbers, mean, deviation)
    scale = float(np.median(deviation)) or 1.0
    if not 0.1 < scale < 10 and goes(numbers / scale):
        size = "small" if scale < 1 else "large"
        return f"only {size} values of {noun}, such as with a deviation of {scale:.1g}"
    if (numbers < 0).any() and goes(np.abs(numbers)):
        return f"only where {noun} is negative"
    if (numbers > 0).any() and goes(-np.abs(numbers)):
        return f"only where {noun} is positive"
    return f"only with the values of {noun} in this case"


def _mean_words(
    trials: Trials, base: Program, field: str, noun: str, numbers: Floats, mean: Floats, deviation: Floats
) -> str:
    """From which mean over deviation on, to a factor of two."""
    ratio = float(np.abs(mean / np.where(deviation > 0, deviation, np.inf)).max())
    if ratio < 3:
        return f"only with the means of {noun} in this case"
    right, wrong = 0.0, 1.0
    while wrong - right > wrong / 2:
        middle = wrong / 4 if right == 0 else (right + wrong) / 2
        changed = (numbers - mean + middle * mean).astype(getattr(vary.last(base), field).dtype)
        if trials.show(vary.with_last(base, **{field: changed})):
            wrong = middle
        else:
            right = middle
        if wrong * ratio < 1:
            break
    return f"only from a mean of about {wrong * ratio:.1g} deviations of {noun} on"


def vary_loaded_values(trials: Trials, base: Program, name: str) -> Iterator[Circumstance]:
    """Which property of a loaded entry matters, where its value in a new layer makes the failure go away."""
    noun = name.replace("_", " ")
    if trials.show(_with_entry(base, name, np.abs)) is False:
        yield Circumstance(f"only a negative {noun}")
    elif trials.show(_with_entry(base, name, lambda value: np.where(value == 0, 1, value))) is False:
        yield Circumstance(f"only a {noun} of 0")
    else:
        default = "1" if name in ("weight", "running_var") else "0"
        yield Circumstance(f"only a {noun} other than {default}")


def _with_entry(program: Program, name: str, change: Callable[[Array], Array]) -> Program:
    steps = []
    for step in program.steps:
        value = step.state.get(name)
        changed = {} if value is None else {name: np.asarray(change(value)).astype(value.dtype)}
        steps.append(replace(step, state={**step.state, **changed}))
    return replace(program, steps=tuple(steps))
