"""Programs that differ from a given one in one factor: shape, layout, mode, flags, numbers, values, earlier calls.

Each function returns another program, or None where the factor does not apply. The last call is the one that is looked
at; what concerns shapes changes all calls alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bnconform.cases.inputs import uneven, upstream
from bnconform.cases.program import PASSES, STATE, Array, Program, Step
from bnconform.spec.formats import numpy_dtype

EQUAL_SAMPLES = "expanded_batch"


def last(program: Program) -> Step:
    """The call that is looked at."""
    return program.steps[-1]


def with_last(program: Program, **changes: Any) -> Program:
    """The same with another last call."""
    return replace(program, steps=(*program.steps[:-1], replace(program.steps[-1], **changes)))


def with_config(program: Program, **changes: Any) -> Program:
    """The same with another configuration."""
    return replace(program, config=replace(program.config, **changes))


def _with_arrays(program: Program, change: Callable[[Array], Array], **config: Any) -> Program:
    """The same with every x, grad_output, tangent, second tangent and mask changed."""

    def change_array(values: Array | None) -> Array | None:
        return None if values is None else np.ascontiguousarray(change(values))

    steps = tuple(
        replace(
            step,
            x=change_array(step.x),
            grad_output=change_array(step.grad_output),
            tangent=change_array(step.tangent),
            second=change_array(step.second),
            mask=_change_mask(step, change),
        )
        for step in program.steps
    )
    return with_config(replace(program, steps=steps), **config)


def _change_mask(step: Step, change: Callable[[Array], Array]) -> Array | None:
    """The mask of a step whose x is changed, with a length of 1 along samples, channels and positions as before."""
    if step.mask is None or step.x is None:
        return None
    whole = np.ascontiguousarray(change(np.array(np.broadcast_to(step.mask, step.x.shape))))
    samples, channels, *positions = (1,) * (step.x.ndim - step.mask.ndim) + step.mask.shape
    one = slice(0, 1)
    place = [one if samples == 1 else slice(None), one if channels == 1 else slice(None)]
    place += [one if set(positions) <= {1} else slice(None)] * (whole.ndim - 2)
    return np.ascontiguousarray(whole[tuple(place)])


def resize(values: Array, axis: int, length: int, *, varied: bool = True) -> Array:
    """The array with another length along an axis: cut, or continued by scaled copies of itself."""
    here = values.shape[axis]
    if not here:
        return values
    found: Array = np.take(values, np.arange(length) % here, axis=axis)
    if length <= here or not varied:
        return found
    copies = np.arange(length) // here * 5 % 8
    shape = [-1 if a == axis else 1 for a in range(values.ndim)]
    with np.errstate(all="ignore"):
        scaled: Array = (found * (1 + copies / 16).reshape(shape)).astype(values.dtype)
        return scaled


def is_plain(values: Array) -> bool:
    """Whether values are finite and their means moderate, so that scaled copies of them are of their kind."""
    numbers = values.astype(np.float64)
    return bool(np.isfinite(numbers).all()) and bool(abs(numbers.mean()) < 30 * max(numbers.std(), 1e-300))


def samples(program: Program) -> int:
    """N of the last call."""
    x = last(program).x
    return 0 if x is None else x.shape[0]


def positions(program: Program) -> int:
    """The positions of the last call."""
    x = last(program).x
    return 0 if x is None or not x.shape[0] else int(x[0, 0].size)


def with_samples(program: Program, count: int) -> Program | None:
    """The same over so many samples."""
    if count < 1:
        return None
    expanded = {layout for step in program.steps for layout in (step.x_layout, step.grad_layout)}

    def change_array(values: Array) -> Array:
        return resize(values, 0, count, varied=EQUAL_SAMPLES not in expanded and is_plain(values))

    return _with_arrays(program, change_array)


def with_positions(program: Program, count: int) -> Program | None:
    """The same over so many positions, all along the first axis of positions; None at rank 2."""
    ndim = program.config.ndim
    if ndim < 3 or count < 1:
        return None

    def change_array(values: Array) -> Array:
        flat = values.reshape(*values.shape[:2], -1)
        return resize(flat, 2, count, varied=is_plain(values)).reshape(*values.shape[:2], count, *(1,) * (ndim - 3))

    return _with_arrays(program, change_array)


def with_channels(program: Program, count: int) -> Program | None:
    """The same with so many channels, also of what is loaded."""
    if count < 1:
        return None
    found = _with_arrays(program, lambda values: resize(values, 1, count, varied=False), num_features=count)

    def load_values(name: str, value: Array) -> Array:
        return value if name == "num_batches_tracked" else resize(value, 0, count, varied=False)

    steps = tuple(
        replace(step, state={name: load_values(name, value) for name, value in step.state.items()})
        for step in found.steps
    )
    return replace(found, steps=steps)


def roll_channels(program: Program) -> Program:
    """The same with every channel's values one channel further on."""

    def load_values(name: str, value: Array) -> Array:
        return value if name == "num_batches_tracked" else np.roll(value, 1)

    found = _with_arrays(program, lambda values: np.roll(values, 1, axis=1))
    steps = tuple(
        replace(step, state={name: load_values(name, value) for name, value in step.state.items()})
        for step in found.steps
    )
    return replace(found, steps=steps)


def with_rank(program: Program, ndim: int) -> Iterator[Program]:
    """The same values at another rank; at rank 2 with the positions as samples, and with the first position alone."""

    def shape(values: Array) -> Array:
        flat = values.reshape(*values.shape[:2], -1)
        return flat.reshape(*flat.shape[:3], *(1,) * (ndim - 3))

    def fold(values: Array) -> Array:
        flat = values.reshape(*values.shape[:2], -1)
        return np.moveaxis(flat, 1, 2).reshape(-1, flat.shape[1])

    if ndim > 2:
        yield _with_arrays(program, shape, ndim=ndim)
        return
    yield _with_arrays(program, fold, ndim=2)
    if positions(program) > 1:
        yield _with_arrays(program, lambda values: values.reshape(*values.shape[:2], -1)[:, :, 0], ndim=2)


def without_step(program: Program, *numbers: int) -> Program:
    """The same without some of the calls before the last."""
    steps = tuple(step for number, step in enumerate(program.steps) if number not in numbers)
    return replace(program, steps=steps)


def with_step(program: Program, number: int, step: Step) -> Program:
    """The same with another call in a place."""
    return replace(program, steps=(*program.steps[:number], step, *program.steps[number + 1 :]))


def default_value(name: str, like: Array) -> Array:
    """What an entry of the state is in a new layer."""
    return np.full_like(like, name in ("running_var", "weight"))


def with_defaults_loaded(program: Program, name: str) -> Program:
    """The same, every load of an entry setting it to what it is in a new layer."""
    steps = tuple(
        replace(step, state={k: default_value(k, v) if k == name else v for k, v in step.state.items()})
        for step in program.steps
    )
    return replace(program, steps=steps)


def entries(program: Program) -> dict[str, tuple[int, ...]]:
    """What of the state a layer of the program has, with its shape; the counter is left out."""
    config = program.config
    has = {"weight": config.weight, "bias": config.bias}
    has |= {"running_mean": config.track_running_stats, "running_var": config.track_running_stats}
    return {name: (config.num_features,) for name in STATE if has.get(name)}


def load_with_defaults(program: Program, number: int) -> Program:
    """The same, a load setting everything: what it left out as it is in a new layer."""
    step = program.steps[number]
    kept = numpy_dtype(program.config.param_dtype)
    rest = {
        name: default_value(name, np.zeros(shape, kept))
        for name, shape in entries(program).items()
        if name not in step.state
    }
    return with_step(program, number, replace(step, state={**step.state, **rest}))


def load_in_own_dtype(program: Program, number: int) -> Program:
    """The same, a load's arrays in the dtype of the layer's parameters."""
    step, kept = program.steps[number], numpy_dtype(program.config.param_dtype)
    state = {k: v if k == "num_batches_tracked" else v.astype(kept) for k, v in step.state.items()}
    return with_step(program, number, replace(step, state=state))


def loading(program: Program, state: dict[str, Array]) -> Program:
    """The same, with a load before everything else of what the layer has."""
    names = entries(program)
    kept = numpy_dtype(program.config.param_dtype)
    chosen = {name: np.asarray(value).astype(kept) for name, value in state.items() if name in names}
    return replace(program, steps=(Step("load", state=chosen), *program.steps)) if chosen else program


def with_ordinary_values(program: Program) -> Program:
    """The same over ordinary values of x, of grad_output and of tangents in every call."""
    steps = []
    for number, step in enumerate(program.steps):
        if step.op not in PASSES or step.x is None:
            steps.append(step)
            continue
        dtype = step.x.dtype
        x, g = uneven(step.x.shape, number).astype(dtype), step.grad_output
        if step.x_layout == EQUAL_SAMPLES:
            x = np.repeat(x[:1], len(x), axis=0)
        if g is not None:
            g = upstream(step.x.shape, number).astype(dtype)
            g = np.repeat(g[:1], len(g), axis=0) if step.grad_layout == EQUAL_SAMPLES else g
        t = None if step.tangent is None else upstream(step.x.shape, number + 1).astype(dtype)
        u = None if step.second is None else upstream(step.x.shape, number + 2).astype(dtype)
        steps.append(replace(step, x=x, grad_output=g, tangent=t, second=u))
    return replace(program, steps=tuple(steps))
