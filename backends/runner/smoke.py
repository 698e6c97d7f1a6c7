"""The smoke check: a handful of calls on a tiny layer, which tell a broken adapter from a broken implementation.

It comes before anything is judged. What only an adapter can do wrong is refused, in one line that says what to change:
a method that cannot be called as the contract calls it, a key of `state` that does not exist, a tensor or a list where
an array is due, axes that were not moved back, a `load` that loads nothing, one layer for two builds, a misspelt name
or a missing import in the adapter's own file.

Everything else is left to the suite: wrong numbers, dtypes and sizes, an input that was changed, and every exception
that comes from anywhere else, since a framework's exception is its own. An implementation that is merely wrong is
never refused; `tests/selftest/backends/runner/test_smoke.py` tries every wrong implementation that there is.
"""

from __future__ import annotations

import difflib
import inspect
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bnconform.backends.registry import BackendError
from bnconform.backends.runner.frames import NUMPY
from bnconform.backends.runner.instrumented import DTYPES, LAYER_METHODS, STATE, AdapterError, Array, kind
from bnconform.backends.runner.programs import LayerConfig

SHAPES = {4: (2, 3, 4, 5), 2: (6, 3), 3: (2, 3, 4), 5: (2, 3, 2, 1, 4)}
"""The input at each rank, the preferred rank first: no two axes of the first are of one size, so that it shows where
they were exchanged."""

CHANNELS = 3

SIGNATURES = {
    "build": "build(self, config, device)",
    "build_default": "build_default(self, num_features, device)",
    "forward": "forward(self, x, *, training)",
    "backward": "backward(self, x, grad_output, *, training)",
    "state": "state(self)",
    "load": "load(self, state)",
}


class _Left(Exception):
    """A call that raised what is not the adapter's fault: the suite will say it."""


def smoke(backend: Any, given: str, device: str, *, unsupported: Mapping[str, str], slow: bool) -> None:
    """Raise BackendError, saying what to change, where the adapter breaks its contract.

    Args:
        backend: the adapter, which has a name, its methods and its declarations. given: what --backend was given.
        unsupported: what it declares for this device.
        slow: whether a first pass costs time, as with compilers; then none is made, since what is compiled here is
            lost with the process, and the suite says the same of what the passes return.
    """
    ranks = [rank for rank in SHAPES if f"rank_{rank}" not in unsupported]
    dtypes = [dtype for dtype in DTYPES if dtype not in unsupported]
    if not ranks or not dtypes:
        return
    config = LayerConfig(
        num_features=CHANNELS,
        weight="affine" not in unsupported,
        bias="affine" not in unsupported,
        track_running_stats="track_running_stats" not in unsupported,
        ndim=ranks[0],
        dtype=dtypes[0],
        param_dtype=dtypes[0] if dtypes[0] in ("float64", "float32") else "float32",
    )
    try:
        with suppress(_Left):
            _layer(backend, "build_default", CHANNELS, device)
        with suppress(_Left):
            layer = _layer(backend, "build", config, device)
            if _layer(backend, "build", config, device) is layer:
                raise AdapterError("build() returned one layer twice; make a new one in each call")
            for method, arguments in (("state", ()), ("load", ({},))):
                _check_signature(layer, method, arguments, {})
            _check_passes(layer, config, set(unsupported), slow=slow)
            with suppress(_Left):
                _check_load(layer, config)
    except AdapterError as problem:
        raise BackendError(f"the backend {given}: {problem}") from None


def _check_passes(layer: Any, config: LayerConfig, unsupported: set[str], *, slow: bool) -> None:
    """The passes that the implementation has, each by itself: one that it refuses says nothing about the next."""
    dtype = NUMPY[config.dtype]
    x = (np.arange(np.prod(SHAPES[config.ndim])) % 7 - 2).reshape(SHAPES[config.ndim]).astype(dtype)
    passes: list[tuple[str, tuple[Array, ...], bool]] = [
        ("forward", (x,), True),
        ("forward", (x,), False),
        ("backward", (x, x[::-1].copy()), True),
    ]
    for method, arguments, training in passes:
        _check_signature(layer, method, arguments, {"training": training})
        if unsupported & {"training" if training else "evaluation", method} or slow:
            continue
        with suppress(_Left):
            result = _call(layer, method, *(array.copy() for array in arguments), training=training)
            if method == "forward":
                _check_array(result, "forward()", "y", x.shape)
            else:
                _check_gradients(result, x.shape)


def _check_gradients(result: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(result, tuple) or len(result) != 3:
        raise AdapterError(f"backward() returned {kind(result)}; return a tuple (grad_x, grad_weight, grad_bias)")
    _check_array(result[0], "backward()", "grad_x", shape)
    for name, value in zip(("grad_weight", "grad_bias"), result[1:], strict=True):
        if value is not None:
            _check_array(value, "backward()", name, (CHANNELS,))


def _check_load(layer: Any, config: LayerConfig) -> None:
    """The state under its names, as arrays; and what is loaded must arrive, or be refused."""
    before = _state(layer)
    _call(layer, "load", {name: value.copy() for name, value in before.items() if isinstance(value, np.ndarray)})
    new = {
        name: np.array([0.5, 1.5, 2.5]).astype(NUMPY[config.param_dtype])
        for name in ("running_mean", "running_var", "weight", "bias")
        if before.get(name) is not None
    }
    _call(layer, "load", {name: value.copy() for name, value in new.items()})
    after = _state(layer)
    if new and all(_same(before[name], after.get(name)) for name in new):
        names = ", ".join(new)
        raise AdapterError(f"load() loads nothing: state() shows {names} as before; set what load() is given")


def _same(before: Any, after: Any) -> bool:
    """Whether two entries of a state are the same bits."""
    return after is not None and np.asarray(before).tobytes() == np.asarray(after).tobytes()


def _state(layer: Any) -> dict[str, Any]:
    """What state() shows, of the kind that the contract asks for."""
    try:
        shown = _call(layer, "state")
    except _Left as left:
        why = f"{type(left.__cause__).__name__}: {left.__cause__}"
        raise AdapterError(f"state() raised {why}; without the state nothing can be judged: return a dict") from left
    if not isinstance(shown, Mapping):
        raise AdapterError(f"state() returned {kind(shown)}; return a dict with the keys {', '.join(STATE)}")
    absent = [name for name in STATE if shown.get(name) is None]
    for key in shown:
        if key not in STATE and absent:
            near = difflib.get_close_matches(str(key), absent, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise AdapterError(f"state() returned the key {key!r}; the keys are {', '.join(STATE)}{meant}")
    for name in STATE:
        if shown.get(name) is not None and name != "num_batches_tracked":
            _check_array(shown[name], "state()", name, (CHANNELS,))
    return dict(shown)


def _check_array(value: Any, call: str, name: str, shape: tuple[int, ...]) -> None:
    """Refuse what is no array, or has the right sizes in another order; other shapes may be the framework's doing."""
    if value is None:
        raise AdapterError(f"{call} returned None as {name}; is a `return` missing?")
    # A NumPy scalar is what NumPy itself makes of an array without axes; a subclass is an array.
    if not isinstance(value, np.ndarray | np.generic):
        raise AdapterError(f"{call} returned {kind(value)} as {name}; make it a numpy.ndarray of shape {shape}")
    if value.shape == shape:
        return
    if len(shape) > 1 and sorted(value.shape) == sorted(shape):
        move = "channels are at axis 1: move the axis back"
        raise AdapterError(f"{call} returned {name} of shape {value.shape} for x of shape {shape}; {move}")
    if len(shape) == 1 and value.size == CHANNELS:
        raise AdapterError(f"{call} returned {name} of shape {value.shape}; reshape it to {shape}")


def _layer(backend: Any, method: str, *arguments: Any) -> Any:
    """What a backend builds; it has the methods of a layer."""
    made = _call(backend, method, *arguments)
    for name in LAYER_METHODS:
        if not callable(getattr(made, name, None)):
            raise AdapterError(
                f"the layer that {method} returned ({type(made).__name__}) has no method {name}(); add it"
            )
    return made


def _call(owner: Any, method: str, *arguments: Any, **keywords: Any) -> Any:
    """Call a method; AdapterError for a fault of the adapter's, _Left for any other."""
    _check_signature(owner, method, arguments, keywords)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return getattr(owner, method)(*arguments, **keywords)
    except BaseException as error:
        fault = _own_fault(owner, error, arguments)
        if fault:
            raise AdapterError(f"{method}() {fault}") from error
        raise _Left from error


def _check_signature(owner: Any, method: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    """Refuse a method that cannot be called as the contract calls it."""
    try:
        signature = inspect.signature(getattr(owner, method))
    except (TypeError, ValueError):  # a compiled function does not say what it takes
        return
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as problem:
        plain = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
        written = signature.replace(parameters=plain, return_annotation=signature.empty)
        raise AdapterError(
            f"{method}{written} cannot be called as the contract does ({problem}); write def {SIGNATURES[method]}"
        ) from None


def _own_fault(owner: Any, error: BaseException, arguments: tuple[Any, ...]) -> str:
    """What an exception says of the adapter itself, with the place in its file; "" where it may be the framework's."""
    place = error.__traceback__
    # The configuration looks itself at what is asked of it: that frame is none of the adapter's.
    looks = LayerConfig.__getattribute__.__code__
    while place is not None and place.tb_next is not None and place.tb_next.tb_frame.f_code is not looks:
        place = place.tb_next
    module = type(owner).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    if place is None or place.tb_frame.f_code.co_filename != file:
        return ""
    where = f"raised {type(error).__name__} in {Path(str(file)).name}, line {place.tb_lineno}: {error}"
    if isinstance(error, NameError):
        return f"{where}; correct the name"
    if isinstance(error, ImportError):
        return f"{where}; correct the import, or install what it needs"
    if isinstance(error, AttributeError):
        # None or a tensor without the attribute may be what the framework returned by mistake.
        lacking = error.obj
        ours = type(lacking).__module__ == module or isinstance(lacking, ModuleType)
        if ours or any(lacking is argument for argument in arguments):
            return f"{where}; correct the name"
    return ""
