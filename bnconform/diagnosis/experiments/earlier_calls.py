"""What must have happened before a call for it to fail: passes, loads, and whether it is the first or a later one."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from bnconform.cases.program import PASSES, Program, Step
from bnconform.diagnosis.experiments import variations as vary
from bnconform.diagnosis.experiments.circumstances import Circumstance
from bnconform.diagnosis.experiments.trials import Trials
from bnconform.diagnosis.experiments.value_factors import vary_loaded_values

ORDINALS = {1: "first", 2: "second", 3: "third"}


def earlier_calls(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """The calls before the last without which it does not fail, or that it is the first of its kind."""
    step = vary.last(base)
    earlier = base.steps[:-1]
    needed = _find_needed(trials, base)
    for number in needed:
        if earlier[number].op == "load":
            yield from _load(trials, base, number)
    passes = [earlier[number] for number in needed if earlier[number].op in PASSES]
    if passes:
        yield _passes(trials, base, passes)
    if any(earlier[number].op == "build" for number in needed):
        yield Circumstance("only after a new layer has taken the place of another")
    if step.op in PASSES and not any(one.op in PASSES for one in earlier):
        again = replace(base, steps=(*base.steps, step))
        if trials.show(again) is False:
            yield Circumstance(f"only at the first {kind(step)} of a layer", lambda program: _count(program, step) == 1)


PASSES_TRIED = 4
"""Passes of one kind of which each is left out in turn; of more only the first is, and stands for all."""


def _find_needed(trials: Trials, base: Program) -> list[int]:
    """The earlier calls without which the last does not fail."""
    earlier = base.steps[:-1]
    alike: dict[str, list[int]] = {}
    for number, step in enumerate(earlier):
        alike.setdefault(kind(step) if step.op in PASSES else f"{step.op} {number}", []).append(number)
    found: list[int] = []
    for numbers in alike.values():
        asked = numbers if len(numbers) <= PASSES_TRIED else numbers[:1]
        needed = [number for number in asked if trials.show(vary.without_step(base, number)) is False]
        found += needed if asked is numbers or not needed else numbers
    return sorted(found)


def kind(step: Step) -> str:
    """What a pass is called."""
    words = {
        "backward": "backward pass",
        "jvp": f"{step.mode} pass with a tangent",
        "hvp": "second derivative",
        "jvp_jvp": f"{step.mode} pass with two tangents",
        "third": "third derivative",
        "masked": f"{step.mode} pass with a mask",
        "masked_backward": "backward pass with a mask",
        "recomputed": f"{step.mode} step with recomputation",
        "vmap": f"{step.mode} pass under vmap",
        "vmap_layers": f"{step.mode} pass of layers under vmap",
        "jacrev": f"Jacobian of {step.mode} in reverse mode",
        "jacfwd": f"Jacobian of {step.mode} in forward mode",
        "eval_shape": f"shape of a {step.mode} pass",
        "saved_statistics": f"{step.mode} pass for what is saved",
    }
    return words.get(step.op, f"{step.mode} pass")


def _count(program: Program, like: Step) -> int:
    """How many passes of its kind the last call of a program is, itself included."""
    return sum(kind(step) == kind(like) for step in program.steps if step.op in PASSES)


def _passes(trials: Trials, base: Program, passes: Sequence[Step]) -> Circumstance:
    """What passes must come before."""
    step = vary.last(base)
    if all(kind(one) == kind(step) for one in passes):
        number = len(passes) + 1
        more = replace(base, steps=(*base.steps, step))
        ordinal = ORDINALS.get(number, f"{number}th")
        if trials.show(more) is False:
            return Circumstance(f"only at the {ordinal} {kind(step)}", lambda program: _count(program, step) == number)
        words = f"from the {ordinal} {kind(step)} on"
        if len(passes) == 1 and _needs_another_shape(trials, base):
            words = f"only after {_a(kind(step))} over another shape"
        return Circumstance(words, lambda program: _count(program, step) >= number)
    kinds = [kind(one) for one in passes]
    parts = [_a(one) if kinds.count(one) == 1 else f"{kinds.count(one)} {one}es" for one in dict.fromkeys(kinds)]
    shape = " over another shape" if _needs_another_shape(trials, base) else ""
    return Circumstance(
        f"only after {' and '.join(parts)}{shape}",
        lambda program: {kind(one) for one in program.steps[:-1] if one.op in PASSES} >= set(kinds),
    )


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _needs_another_shape(trials: Trials, base: Program) -> bool:
    """Whether the failure goes away where the earlier passes have the shape of the last."""
    x = vary.last(base).x
    if x is None or all(step.x is None or step.x.shape == x.shape for step in base.steps[:-1]):
        return False
    steps = []
    for step in base.steps[:-1]:
        steps.append(_resize(step, x.shape))
    return trials.show(replace(base, steps=(*steps, vary.last(base)))) is False


def _resize(step: Step, shape: Sequence[int]) -> Step:
    """The step with its arrays in another shape."""
    arrays = {}
    for name in ("x", "grad_output", "tangent", "second"):
        array = getattr(step, name)
        for axis, length in enumerate(shape if array is not None else ()):
            array = vary.resize(array, axis, length)
        arrays[name] = array
    if step.mask is not None:
        arrays["mask"] = np.ones((1,) * len(shape), bool)
    return replace(step, **arrays)


def _load(trials: Trials, base: Program, number: int) -> Iterator[Circumstance]:
    """A load that is needed: for its being one, or for the values that it sets."""
    state = base.steps[number].state
    other = {str(value.dtype) for value in state.values()} - {base.config.param_dtype, "int64"}
    if other and trials.show(vary.load_in_own_dtype(base, number)) is False:
        yield Circumstance(f"only after a load of {' and '.join(sorted(other))} arrays", _loads_other(other))
        return
    plain = base
    for name in state:
        if name != "num_batches_tracked":
            plain = vary.with_defaults_loaded(plain, name)
    if trials.show(plain):
        yield _being_loaded(trials, plain, number)
        return
    told = False
    for name in state:
        if name == "num_batches_tracked":
            continue
        if trials.show(vary.with_defaults_loaded(base, name)) is False:
            told = True
            whole = trials.show(vary.load_with_defaults(base, number))
            if whole is False:
                yield _alone(state)
            else:
                yield from vary_loaded_values(trials, base, name)
    if "num_batches_tracked" in state:
        yield from _counter(trials, base, number)
    elif not told:
        yield Circumstance(f"only after a load of {_names(state)}", _has_load)


def _being_loaded(trials: Trials, base: Program, number: int) -> Circumstance:
    state = base.steps[number].state
    if trials.show(vary.load_with_defaults(base, number)) is False:
        return _alone(state)
    return Circumstance("only after a load", _has_load)


def _alone(state: Iterable[str]) -> Circumstance:
    return Circumstance(f"only after a load of {_names(state)} alone", _has_load)


def _loads_other(dtypes: Container[str]) -> Callable[[Program], bool]:
    return lambda program: any(str(value.dtype) in dtypes for step in program.steps for value in step.state.values())


def _has_load(program: Program) -> bool:
    return any(step.op == "load" for step in program.steps)


def _names(state: Iterable[str]) -> str:
    names = [f"the {name.replace('_', ' ').replace('running var', 'running variance')}" for name in state]
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _counter(trials: Trials, base: Program, number: int) -> Iterator[Circumstance]:
    """From which count of batches on."""
    step = base.steps[number]
    wrong = int(step.state["num_batches_tracked"])

    def shows(count: int) -> bool | None:
        counter = step.state["num_batches_tracked"].dtype.type(count)
        loaded = replace(step, state={**step.state, "num_batches_tracked": counter})
        return trials.show(vary.with_step(base, number, loaded))

    right = 0
    if shows(right) is not False:
        return
    while wrong - right > 1:
        middle = (wrong + right) // 2
        answer = shows(middle)
        if answer is None:
            break
        wrong, right = (middle, right) if answer else (wrong, middle)
    yield Circumstance(f"from a counter of {wrong} batches on")
