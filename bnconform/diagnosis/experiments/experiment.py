"""The experiment: a failing program is made small, and run again with one factor changed at a time.

A factor whose change makes the failure go away is a circumstance of it. Where no single change does, and an ordinary
program holds, pairs of changes are tried: then either of two circumstances is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from bnconform.cases.inputs import everything
from bnconform.cases.probes.layout import BY_HAND
from bnconform.cases.program import PASSES, SHARING, Program
from bnconform.diagnosis.experiments import variations as vary
from bnconform.diagnosis.experiments.circumstances import Circumstance
from bnconform.diagnosis.experiments.earlier_calls import earlier_calls
from bnconform.diagnosis.experiments.mask_factors import masks
from bnconform.diagnosis.experiments.shape_factors import shapes
from bnconform.diagnosis.experiments.trials import CALL, Trials
from bnconform.diagnosis.experiments.value_factors import values
from bnconform.spec.config import ALONE

MOMENTA = (0.1, 0.3, 0.5, 0.9, 1.0, 0.0, None)
EPSILONS = (1e-7, 1e-5, 1e-3, 0.1, 0.37, 1.0)

SMALL = (1, 2, 3, 4, 5, 6, 8, 16, 64)
"""Lengths that a failing program is cut to, where it then fails still."""

FEWEST = {"backward": 3}
"""Samples that are left at least, where not 2: of two values a channel grad_x is nearly zero, whatever was given."""


def small(trials: Trials, program: Program) -> Program:
    """A failing program without the calls and the length that its failure does not need."""
    program = _alike_passes(trials, _few_steps(trials, program))
    for with_length, here, least in (
        (vary.with_channels, program.config.num_features, 2),
        (vary.with_positions, vary.positions(program), 1),
        (vary.with_samples, vary.samples(program), FEWEST.get(vary.last(program).op, 2)),
    ):
        lengths = [length for length in SMALL if least <= length < here]
        program = next(
            (shorter for length in lengths if (shorter := with_length(program, length)) and trials.show(shorter)),
            program,
        )
    return program


def _alike_passes(trials: Trials, program: Program) -> Program:
    """With earlier passes that are the same as the last, where it then fails still."""
    last = vary.last(program)
    steps = [replace(last, observe=frozenset()) if step.op in PASSES else step for step in program.steps[:-1]]
    alike = replace(program, steps=(*steps, last))
    return alike if last.op in PASSES and trials.show(alike) else program


SEVERAL = 8
"""Earlier calls up to which each is left out in turn."""


def _latest(trials: Trials, program: Program) -> Program:
    """With as few of the latest earlier calls as it fails with, found by bisection where there are many."""
    enough = len(program.steps) - 1
    too_few = -1
    while enough > SEVERAL and enough - too_few > 1:
        middle = (enough + too_few) // 2
        fewer = replace(program, steps=program.steps[len(program.steps) - 1 - middle :])
        enough, too_few = (middle, too_few) if trials.show(fewer) else (enough, middle)
    return replace(program, steps=program.steps[len(program.steps) - 1 - enough :])


def _few_steps(trials: Trials, program: Program) -> Program:
    """Without earlier calls: all of them at once, then halves, quarters and so on of what is left."""
    program = _latest(trials, program)
    size = len(program.steps) - 1
    if size > SEVERAL:
        return program  # how many there are is what matters
    while size:
        start = len(program.steps) - 1 - size
        while start > -size:
            numbers = range(max(start, 0), min(start + size, len(program.steps) - 1))
            fewer = vary.without_step(program, *numbers)
            if len(numbers) and trials.show(fewer):
                program = fewer
            start -= size
        size //= 2
    return program


def vary_operands(program: Program) -> Iterator[Program]:
    """Programs that differ in the operands on which relations tell one thing from another."""
    channels = program.config.num_features
    rich = vary.with_ordinary_values(vary.loading(program, everything(channels)))
    for one in (rich, program):
        config = one.config
        yield vary.with_config(one, eps=0.3 if config.eps < 0.1 else 0.02)
        yield vary.with_config(one, momentum=0.35 if config.momentum != 0.35 else 0.6)
        for count in (vary.samples(one) + 1, 2 * vary.samples(one), 2 * vary.samples(one) + 3):
            changed = vary.with_samples(one, count)
            if changed is not None:
                yield changed
        changed = vary.with_positions(one, vary.positions(one) + 2)
        if changed is not None:
            yield changed
        yield one
        if vary.last(one).op in PASSES:
            yield replace(one, steps=(*one.steps, vary.last(one)))


def circumstances(trials: Trials, base: Program) -> list[Circumstance]:
    """What makes the failure of a program go away when it is changed, in the order in which it is told."""
    found: list[Circumstance] = []
    factors: list[Factor] = [_rank, shapes, _layouts, _mode, _flags, _numbers, values, masks, earlier_calls, _reading]
    if vary.last(base).mask is not None:  # which says most, and leaves nothing for shapes to say
        factors.insert(0, factors.pop(factors.index(masks)))
    if len(base.steps) > SEVERAL:  # then each program takes long, and how many calls there are matters most
        factors.insert(0, factors.pop(factors.index(earlier_calls)))
    for factor in factors:
        found += _ask_factor(factor, trials, base)
    return found or list(_pairs(trials, base))


Factor = Callable[[Trials, Program], Iterable[Circumstance]]


def _ask_factor(factor: Factor, trials: Trials, base: Program) -> list[Circumstance]:
    """What one factor has to do with a failure.

    Where nothing was found, and some changes gave programs in which the failure could not be seen, the same changes are
    made to an ordinary program that fails as well, with ordinary numbers in its state, or of a new layer. Where a cause
    is known, it says itself where it would not show.
    """
    unseen = trials.unseen
    found = list(factor(trials, base))
    seen = found or trials.unseen == unseen or trials.hides is not None
    if seen or factor is earlier_calls or vary.last(base).op not in PASSES:
        return found
    ordinary = vary.with_ordinary_values(base)
    for program in (vary.loading(ordinary, everything(base.config.num_features)), ordinary):
        if program.key != base.key and trials.show(program):
            found = found or list(factor(trials, program))
    return found


def _rank(trials: Trials, base: Program) -> Iterator[Circumstance]:
    if vary.last(base).op not in PASSES:
        return
    shows: dict[int, bool] = {base.config.ndim: True}
    for ndim in range(2, 6):
        if ndim == base.config.ndim:
            continue
        answers = [trials.show(program) for program in vary.with_rank(base, ndim)]
        if True in answers or False in answers:
            shows[ndim] = True in answers
    wrong = [ndim for ndim, seen in shows.items() if seen]
    right = [ndim for ndim, seen in shows.items() if not seen]
    if right:
        words = f"not rank {right[0]}" if len(right) == 1 < len(wrong) else f"only rank {_or(sorted(wrong))}"
        yield Circumstance(words, lambda program: program.config.ndim in wrong)


def _or(values: Sequence[object]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last


def _layouts(trials: Trials, base: Program) -> Iterator[Circumstance]:
    for field, noun in (("x_layout", "x"), ("grad_layout", "grad_output")):
        here = getattr(vary.last(base), field)
        array = vary.last(base).x if field == "x_layout" else vary.last(base).grad_output
        if array is None or array.size < 2:
            continue
        shows: dict[str, bool] = {here: True}
        for layout in ("contiguous", *BY_HAND):
            if layout != here and layout not in SHARING:
                answer = trials.show(vary.with_last(base, **{field: layout}))
                if answer is not None:
                    shows[layout] = answer
        wrong = {layout for layout, seen in shows.items() if seen}
        right = shows.keys() - wrong
        if right:
            words = _layout_words(wrong, right)
            yield Circumstance(f"only {words} {noun}", _lies(field, wrong))


def _lies(field: str, layouts: set[str]) -> Callable[[Program], bool]:
    return lambda program: getattr(vary.last(program), field) in layouts


def _layout_words(wrong: set[str], right: set[str]) -> str:
    if right <= {"contiguous", "unaligned"}:
        return "non-contiguous"
    if wrong == {"contiguous"} or wrong == {"contiguous", "unaligned"}:
        return "contiguous"
    if len(wrong) <= len(right):
        return _or(sorted(wrong))
    return f"other than {_or(sorted(right))}"


def _mode(trials: Trials, base: Program) -> Iterator[Circumstance]:
    step = vary.last(base)
    if trials.targets <= {"running_mean", "running_var", "num_batches_tracked"}:
        return  # what moves in training only is wrong in training only
    if step.op in PASSES and trials.show(vary.with_last(base, training=not step.training)) is False:
        yield Circumstance(f"only in {step.mode}", lambda program: vary.last(program).mode == step.mode)


def _flags(trials: Trials, base: Program) -> Iterator[Circumstance]:
    for name, words in (
        ("affine", ("only with weight and bias", "only without weight and bias")),
        ("track_running_stats", ("only with running statistics", "only without running statistics")),
    ):
        if name == "affine" and base.config.affine in ALONE:
            yield from _alone(trials, base)
            continue
        here = bool(getattr(base.config, name))
        if here and any(set(step.state) & set(LOADED[name]) for step in base.steps):
            continue  # what is loaded is there
        other = base.without({name}) if here else vary.with_config(base, **{name: True})
        if trials.show(other) is False:
            yield Circumstance(words[not here], _vary_config(name, {here}))


def _alone(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """What a failure of a layer with a weight alone, or with a bias alone, has to do with that."""
    here, other = ("weight", "bias") if base.config.weight else ("bias", "weight")
    with_both = trials.show(vary.with_config(base, affine=True))
    is_loaded = any(here in step.state for step in base.steps)
    with_none = None if is_loaded else trials.show(base.without({"affine", *ALONE.values()}))
    if with_both is False and with_none is False:
        yield Circumstance(f"only with {here} and without {other}", _vary_config("affine", {here}))
    elif with_both is False:
        yield Circumstance(f"only without {other}", _vary_config(other, {False}))
    elif with_none is False:
        yield Circumstance(f"only with {here}", _vary_config(here, {True}))


LOADED = {"affine": ("weight", "bias"), "track_running_stats": ("running_mean", "running_var", "num_batches_tracked")}
"""What a layer has by each flag."""


def _vary_config(name: str, values: Container[object], *, excluded: bool = False) -> Callable[[Program], bool]:
    return lambda program: (getattr(program.config, name) in values) is not excluded


def _numbers(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """Momentum and epsilon."""
    for name, noun, levels in (("momentum", "momentum", MOMENTA), ("eps", "epsilon", EPSILONS)):
        here = getattr(base.config, name)
        shows: dict[float | None, bool] = {here: True}
        for level in levels:
            if level != here:
                answer = trials.show(vary.with_config(base, **{name: level}))
                if answer is not None:
                    shows[level] = answer
        wrong = [level for level, seen in shows.items() if seen]
        right = [level for level, seen in shows.items() if not seen]
        if right:
            yield Circumstance(_level_words(noun, wrong, right), _vary_config(name, set(right), excluded=True))


def _level_words(noun: str, wrong: Sequence[float | None], right: Sequence[float | None]) -> str:
    if len(right) == 1:
        return f"not {noun} {_level(right[0])}"
    if len(wrong) == 1:
        return f"only {noun} {_level(wrong[0])}"
    numbers = [level for level in wrong if level is not None], [level for level in right if level is not None]
    if None not in wrong and None not in right:
        if min(numbers[0]) > max(numbers[1]):
            return f"only {noun} above {_level(max(numbers[1]))}"
        if max(numbers[0]) < min(numbers[1]):
            return f"only {noun} below {_level(min(numbers[1]))}"
    if None in right and len(right) == 1:
        return f"not {noun} None"
    return f"only {noun} such as {_or([_level(level) for level in wrong])} (not {_or([_level(one) for one in right])})"


def _level(value: float | None) -> str:
    return "None" if value is None else f"{value:.17g}" if f"{value:g}" == "1" and value != 1 else f"{value:g}"


def _reading(trials: Trials, base: Program) -> Iterator[Circumstance]:
    if len(base.steps) < 2 or CALL in trials.targets:
        return
    if base.reads == "end":
        if trials.show(base.read_always) is False:
            yield Circumstance("only where the state is not read between the calls")
    elif trials.show_unread(base) is False:
        yield Circumstance("only where the state is read between the calls")


# -- pairs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What a program has, in words, and the same program without it."""

    words: str
    make: Callable[[Program], Program | None]


def _pairs(trials: Trials, base: Program) -> Iterator[Circumstance]:
    """Two circumstances of which either is enough."""
    changes = list(_changes(base))
    for one, other in combinations(changes, 2):
        first, alone = one.make(base), other.make(base)
        second = None if first is None else other.make(first)
        if not (trials.show(first) and trials.show(alone)):
            continue
        if second is not None and trials.show(second) is False:
            yield Circumstance(f"only {one.words} or {other.words}")
            return


def _at_rank(ndim: int) -> Callable[[Program], Program | None]:
    return lambda program: next(vary.with_rank(program, ndim), None)


def _contiguous(field: str) -> Callable[[Program], Program | None]:
    return lambda program: vary.with_last(program, **{field: "contiguous"})


def _with_contiguous_loads(program: Program) -> Program:
    steps = (replace(step, x_layout="contiguous") if step.op == "load" else step for step in program.steps)
    return replace(program, steps=tuple(steps))


def _changes(base: Program) -> Iterator[Change]:
    """One change of each factor."""
    step, config = vary.last(base), base.config
    count = vary.samples(base)
    for ndim in (2, 3, 4, 5):
        if ndim != config.ndim:
            yield Change(f"rank {config.ndim}", _at_rank(ndim))
    parity = "an odd" if count % 2 else "an even"
    yield Change(f"{parity} number of samples", lambda program: vary.with_samples(program, vary.samples(program) + 1))
    if step.op in PASSES:
        yield Change(f"in {step.mode}", lambda program: vary.with_last(program, training=not step.training))
    for field, noun in (("x_layout", "x"), ("grad_layout", "grad_output")):
        layout = getattr(step, field)
        if layout != "contiguous":
            yield Change(f"{layout} {noun}", _contiguous(field))
    for layout in {one.x_layout for one in base.steps if one.op == "load"} - {"contiguous"}:
        yield Change(f"loaded arrays {layout}", _with_contiguous_loads)
    other = 0.3 if config.momentum != 0.3 else 0.1
    yield Change(f"momentum {_level(config.momentum)}", lambda program: vary.with_config(program, momentum=other))
    eps = 1e-5 if config.eps != 1e-5 else 0.1
    yield Change(f"epsilon {_level(config.eps)}", lambda program: vary.with_config(program, eps=eps))
    yield Change("the values of this case", vary.with_ordinary_values)
    if len(base.steps) > 1:
        yield Change("after the calls of this case", lambda program: replace(program, steps=program.steps[-1:]))
