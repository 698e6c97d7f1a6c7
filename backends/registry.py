"""Finding a backend by what --backend is given: a name, FILE:CLASS, MODULE:CLASS, or an installed entry point.

Nothing is imported until a backend is asked for, so listing them imports no framework.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

GROUP = "bnconform.backends"
"""The entry-point group through which other packages offer backends."""


class BackendError(Exception):
    """A backend that cannot be loaded; the message says what to do, in one line."""


@dataclass(frozen=True)
class Entry:
    """A backend of this package: the module in this folder, its class, and what must be installed for it."""

    module: str
    attribute: str
    needs: str = ""
    extra: str = ""


BUILTIN: dict[str, Entry] = {
    "numpy": Entry("numpy_layer", "NumpyBackend"),
    "torch.nn": Entry("torch_layers", "TorchNN", "torch", "torch"),
    "torch.functional": Entry("torch_functional", "TorchFunctional", "torch", "torch"),
    "torch.nn+lazy": Entry("torch_layers", "TorchLazy", "torch", "torch"),
    "torch.nn+channels_last": Entry("torch_layers", "TorchChannelsLast", "torch", "torch"),
    "torch.nn+compile": Entry("torch_compiled", "TorchCompiled", "torch", "torch"),
    "documents.manual_normalization": Entry("documents", "ManualNormalization"),
    "documents.d2l_en": Entry("documents", "D2lEn", "torch", "torch"),
    "documents.d2l_zh": Entry("documents", "D2lZh", "torch", "torch"),
    "documents.simplified": Entry("documents", "Simplified"),
    "documents.manual_standardization": Entry("documents", "ManualStandardization"),
}
"""The backends of this package by name, in the order in which they are listed."""


def missing(entry: Entry) -> str:
    """Why a backend of this package cannot run here, with the command that mends it; "" where it can."""
    if entry.needs and importlib.util.find_spec(entry.needs) is None:
        return f'{entry.needs} is not installed; pip install "bnconform[{entry.extra}]" (see the README for versions)'
    return ""


def offered() -> dict[str, Any]:
    """The entry points of other installed packages, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load(given: str) -> Any:
    """The backend that `given` names, as an instance; BackendError, in one line, where there is none."""
    if given in BUILTIN:
        entry = BUILTIN[given]
        reason = missing(entry)
        if reason:
            raise BackendError(f"the backend {given} cannot run: {reason}")
        return _instance(getattr(_import(f"{__package__}.{entry.module}", given), entry.attribute), given)
    points = offered()
    if given in points:
        try:
            return _instance(points[given].load(), given)
        except (Exception, SystemExit) as error:
            raise BackendError(f"the backend {given} of an installed package does not load: {_say(error)}") from error
    place, colon, attribute = given.rpartition(":")
    if not colon or not place:
        known = ", ".join([*BUILTIN, *points])
        raise BackendError(
            f"unknown backend {given!r}; the known ones are {known}; or give FILE.py:CLASS or MODULE:CLASS"
        )
    module = _import_file(Path(place), given) if place.endswith(".py") or "/" in place else _import(place, given)
    if not hasattr(module, attribute):
        raise BackendError(f"{place} has no {attribute}; it defines {', '.join(_classes(module)) or 'no class'}")
    return _instance(getattr(module, attribute), given)


def _import(name: str, given: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise BackendError(f"the backend {given} does not import: {_say(error)}") from error


def _import_file(path: Path, given: str) -> Any:
    if not path.is_file():
        raise BackendError(f"the backend {given} names a file that does not exist: {path}")
    name = "bnconform_adapter_" + "".join(c if c.isalnum() else "_" for c in str(path.resolve()))
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise BackendError(f"the backend {given} is not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # at the end, so that nothing beside the adapter hides a module of ours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BackendError(f"the backend {given} does not import: {_say(error)}") from error
    return module


def _instance(found: Any, given: str) -> Any:
    if not isinstance(found, type):
        return found
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise BackendError(
            f"the backend {given} cannot be made: {_say(error)}; its class takes no arguments"
        ) from error


def _classes(module: Any) -> list[str]:
    return [
        name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__
    ]


def _say(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
