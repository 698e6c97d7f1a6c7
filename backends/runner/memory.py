"""Whose memory is whose: what only the side that holds the arrays can see.

Each watch runs a program's calls in its own way and notes facts, each a dict whose `what` says what kind it is; the
other side says what they should be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import product

import numpy as np

from bnconform.backends.runner.instrumented import STATE, Array, InstrumentedLayer, Misfit, Raised, classify_error
from bnconform.backends.runner.layouts import LAYOUTS
from bnconform.backends.runner.programs import Data, Execution, LayerConfig, values

COUNTER = "num_batches_tracked"
THE_ARRAY, THE_LAYER = "the array", "the layer"
"""What must not follow the other: the array that a counter was loaded from, and the layer's counter."""


def results(execution: Execution) -> None:
    """Whether results share memory with inputs or earlier results, or change when their inputs are overwritten.

    Facts: {"what": "shared", "step", "name", "owner", "holds"}, {"what": "writeable", "step", "holds"} and
    {"what": "kept", "step", "name", "holds"}, in the order in which they were seen.
    """
    layer = execution.build()
    execution.read(layer)
    kept: list[tuple[str, Array, bytes]] = []
    for number, step in enumerate(execution.program["steps"]):
        _must(execution, layer, number)
        if step["op"] == "load":
            continue
        names = ("y",) if step["op"] == "forward" else ("grad_x", "grad_weight", "grad_bias")
        new = dict(zip(names, layer.returned, strict=False))
        memory = {"what was given": layer.given, "an earlier result": tuple(array for _, array, _ in kept)}
        for (name, array), (owner, others) in product(new.items(), memory.items()):
            shared = any(np.shares_memory(array, other) for other in others)
            _note(execution, "shared", step=number, name=name, owner=owner, holds=not shared)
        kept += [(name, array, array.tobytes()) for name, array in new.items()]
        for array in layer.given:
            _note(execution, "writeable", step=number, holds=bool(array.flags.writeable))
            if array.flags.writeable:
                array[...] = 0
        for name, array, before in kept:
            _note(execution, "kept", step=number, name=name, holds=array.tobytes() == before)


def check_load(execution: Execution) -> None:
    """Whether entries that are loaded from one array, the first step's, stay independent of it and of one another.

    Facts: {"what": "none"} where the layer has nothing to load; {"what": "after calls", "state", "array"};
    {"what": "overwritten", "before", "after"}, two states of another layer around the array's being overwritten; and
    where there is a counter, and the first step loads one, {"what": "counter", "name": which of the two, "holds"}.
    """
    first, *steps = execution.program["steps"]
    layer = execution.build()
    shown = execution.read(layer)
    there = [name for name in STATE if shown[name] is not None and name in first["state"]]
    names = [name for name in there if name != COUNTER]
    if not there:
        _note(execution, "none")
        return
    # At a boundary, where an implementation that takes arrays over without a copy always does, and not now and then.
    numbers = LAYOUTS["contiguous"](first["state"][names[0]]) if names else np.zeros(layer.num_features)
    count = {COUNTER: np.array(first["state"][COUNTER])} if COUNTER in there else {}
    layer.load_uncopied({**dict.fromkeys(names, numbers), **count})
    for number in range(1, len(steps) + 1):
        _must(execution, layer, number)
    for array in count.values():
        _note(execution, "counter", name=THE_ARRAY, holds=bool(array == first["state"][COUNTER]))
    _note(execution, "after calls", state=_only(layer.state(), names), array=np.array(numbers))
    fresh = execution.build()
    if names:
        numbers[...] = first["state"][names[0]]
    for array in count.values():
        array[...] = first["state"][COUNTER]
    fresh.load_uncopied({**dict.fromkeys(names, numbers), **count})
    before = fresh.state()
    numbers[...] = 9
    for array in count.values():
        array[...] = 9
    after = fresh.state()
    _note(execution, "overwritten", before=_only(before, names), after=_only(after, names))
    if count:
        _note(execution, "counter", name=THE_LAYER, holds=bool(before[COUNTER] == after[COUNTER]))


def show(execution: Execution) -> None:
    """Whether what `state` returns is a copy: written to after the first step, and looked at after all steps.

    Facts: {"what": "none"} where the layer shows nothing; {"what": "overwritten", "before", "after"};
    {"what": "kept", "name", "array" (as text), "holds"} after more calls. Entries that are no part of a state are left.
    """
    layer = execution.build()
    execution.read(layer)
    _must(execution, layer, 0)
    before = layer.state()
    arrays = _arrays(layer)
    for array in arrays.values():
        if array.flags.writeable:
            array[...] = 7
    after = layer.state()
    if not arrays:
        _note(execution, "none")
        return
    _note(execution, "overwritten", before=_only(before, arrays), after=_only(after, arrays))
    kept = {name: (value, value.tobytes()) for name, value in _arrays(layer).items()}
    for number in range(len(execution.program["steps"])):
        _must(execution, layer, number)
    for name, (array, bytes_before) in kept.items():
        # A counter may be of any dtype, of which not all can be sent.
        _note(execution, "kept", name=name, array=str(array), holds=array.tobytes() == bytes_before)


OTHER_EPSILON = 7.0
"""What epsilon of one of two layers is set to: so large that it shows in any output of the other that has it, too."""


def instances(execution: Execution) -> None:
    """Whether two layers that were built alike share anything.

    Facts: {"what": "other", "before", "after"}, the states of the one that is not used; and, of layers whose options
    can be set, {"what": "output", "holds"}, whether it gives the same in evaluation before and after the other's are.
    """
    one, other = execution.build(), execution.build()
    state = execution.read(one)
    before = other.state()
    for step in execution.program["steps"]:
        with suppress(Raised, Misfit):  # whether it answers is for other checks to judge
            values(one, step, state)
    _note(execution, "other", before=before, after=other.state())
    given = next((step["x"] for step in execution.program["steps"] if step["op"] == "forward"), None)
    if given is None or not callable(getattr(one.layer, "set", None)):
        return
    with suppress(Raised, Misfit):
        shown = other.forward(given, training=False)
        one.set({"eps": OTHER_EPSILON})
        one.forward(given, training=False)
        _note(execution, "output", holds=shown.tobytes() == other.forward(given, training=False).tobytes())


def formats(execution: Execution) -> None:
    """In which memory format the results of each call are, where the layer says that they come as they lay.

    Facts: {"what": "none"} where it does not (see `keeps_strides` in `bnconform.backends`), or {"what": "format",
    "step", "name", "format"}, the last one of `contiguous`, `channels_last` and `other`.
    """
    layer = execution.build()
    execution.read(layer)
    if not getattr(layer.layer, "keeps_strides", False):
        _note(execution, "none")
        return
    for number, step in enumerate(execution.program["steps"]):
        _must(execution, layer, number)
        names = ("y",) if step["op"] == "forward" else ("grad_x",)
        for name, array in zip(names, layer.returned, strict=False):
            _note(execution, "format", step=number, name=name, format=format_of(array))


def format_of(array: Array) -> str:
    """The memory format of an array that has no axis of length 1."""
    if array.flags.c_contiguous:
        return "contiguous"
    return "channels_last" if np.moveaxis(array, 1, -1).flags.c_contiguous else "other"


def history(execution: Execution) -> None:
    """Whether running statistics carry a gradient history after each call, where the layer can tell.

    Facts: {"what": "none"} where it cannot (see `gradient_history` in `bnconform.backends`), or {"what": "history",
    "step", "name", "holds"} of each statistic, `holds` where it carries none.
    """
    layer = execution.build()
    execution.read(layer)
    told = getattr(layer.layer, "gradient_history", None)
    if not callable(told):
        _note(execution, "none")
        return
    for number in range(len(execution.program["steps"])):
        _must(execution, layer, number)
        names = tuple(told())
        for name in ("running_mean", "running_var"):
            _note(execution, "history", step=number, name=name, holds=name not in names)


def lazy(execution: Execution) -> None:
    """What a layer that has seen no input does when it is asked for its state, or evaluates, or is loaded.

    Facts: {"what": "none"} where the backend makes no such layers (see `build_lazy` in `bnconform.backends`), or
    {"what": "lazy", "name", "says"}: of the state, a load and a pass in either mode, each asked of a layer of its own,
    what state there is then, or that it was refused.
    """
    build = getattr(execution.backend, "build_lazy", None)
    if not callable(build):
        _note(execution, "none")
        return
    config = LayerConfig.of(execution.program["config"])

    def make() -> InstrumentedLayer:
        try:
            layer = execution.clock.run(lambda: build(config, execution.device))
        except BaseException as error:
            raise classify_error("build_lazy", error) from error
        return InstrumentedLayer(layer, config.num_features, execution.clock, execution.trace["mutated"])

    for step in (None, *execution.program["steps"]):
        layer = make()
        name = "state" if step is None else step["op"] if step["op"] == "load" else mode(step)
        try:
            if step is not None:
                values(layer, step, {})
            state = layer.state()
            there = [entry for entry in STATE if state[entry] is not None]
            says = f"has {', '.join(there)}" if there else "has nothing"
        except (Raised, Misfit) as problem:
            says = "refused" if isinstance(problem, Raised) else "something else than a state"
        _note(execution, "lazy", name=name, says=says)


def mode(step: Data) -> str:
    """In words, what kind of pass a step is."""
    return "training" if step["training"] else "evaluation"


WATCHES: Mapping[str, Callable[[Execution], None]] = {
    "results": results,
    "loaded": check_load,
    "shown": show,
    "instances": instances,
    "formats": formats,
    "history": history,
    "lazy": lazy,
}
"""By the word in a program's "watch"."""


def _must(execution: Execution, layer: InstrumentedLayer, number: int) -> None:
    """Make call `number`, which must answer unless its step says that it may refuse."""
    step = execution.program["steps"][number]
    try:
        values(layer, step, execution.state)
    except Raised:
        if not step.get("may_refuse"):
            raise


def _arrays(layer: InstrumentedLayer) -> dict[str, Array]:
    """The arrays that the last `state` returned, themselves."""
    shown = {name: layer.shown.get(name) for name in STATE}
    return {name: value for name, value in shown.items() if isinstance(value, np.ndarray)}


def _only(state: Data, names: object) -> Data:
    return {name: state[name] for name in state if name in names}  # type: ignore[operator]


def _note(execution: Execution, what: str, **fact: object) -> None:
    execution.trace["facts"].append({"what": what, **fact})
