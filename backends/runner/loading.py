"""Loading adapters by what --backend is given, checked against the contract; what each says of itself."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import metadata
from typing import Any

from bnconform.backends import registry
from bnconform.backends.registry import BackendError
from bnconform.backends.runner.instrumented import DTYPES
from bnconform.backends.runner.smoke import smoke

Data = dict[str, Any]

BACKEND_METHODS = ("devices", "build", "build_default")
DEPLOYMENT_METHODS = ("devices", "load", "deploy", "parameters")
"""What a backend has, and one that deploys models (`bnconform.backends.deployments`)."""

DECLARED = ("deviations", "unsupported", "unsupported_on", "documented", "lower_precision")
"""What an adapter declares, mappings all."""

PACKAGES = (
    "bnconform", "numpy", "ml_dtypes", "gmpy2", "pytest", "hypothesis", "torch", "jax", "jaxlib", "flax", "equinox",
    "dm-haiku", "tensorflow", "tensorflow-cpu", "keras", "tf_keras", "onnx", "onnxruntime",
    "onnxruntime-openvino", "mlx", "tinygrad", "paddlepaddle", "mindspore",
    "torchao", "executorch", "apache-tvm", "iree-base-compiler", "iree-base-runtime", "tract",
    "ncnn", "pnnx", "tf2onnx", "openvino",
)  # fmt: skip
"""The packages whose versions a result names, where they are installed."""


@cache
def adapter(key: str) -> Any:
    """The adapter that `key` names, checked against its contract; BackendError, in one line, where it has a fault."""
    backend = registry.load(key)
    check_adapter(backend, key)
    return backend


def describe(key: str) -> Data:
    """What the adapter says of itself, with its devices; {"refused": why} where it cannot be loaded."""
    try:
        return description(adapter(key), key)
    except BackendError as problem:
        return {"refused": str(problem)}


def description(backend: Any, key: str) -> Data:
    """What an adapter says of itself, with its devices and the versions of what is installed beside it."""
    return {
        "name": backend.name,
        **{word: _plain(getattr(backend, word, {})) for word in DECLARED},
        "slow_to_start": bool(getattr(backend, "slow_to_start", False)),
        "shapes_cost_time": bool(getattr(backend, "shapes_cost_time", False)),
        "takes_long": bool(getattr(backend, "takes_long", False)),
        "deployment": is_deployment(backend),
        "devices": {device: device_name(backend, device) for device in devices_of(backend, key)},
        "packages": {**find_installed(), **getattr(backend, "packages", {})},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def is_deployment(backend: Any) -> bool:
    """Whether a backend deploys models, and is no layer."""
    return callable(getattr(backend, "deploy", None))


def _plain(value: Mapping[str, Any]) -> Data:
    return {name: _plain(held) if isinstance(held, Mapping) else held for name, held in value.items()}


@cache
def find_refusal(key: str, device: str) -> str:
    """Why the smoke check refuses the adapter that `key` names; "" where it does not."""
    return smoke_check(adapter(key), key, device)


def smoke_check(backend: Any, key: str, device: str) -> str:
    """Why the smoke check refuses an adapter; "" where it does not. Of a deployment it asks nothing."""
    if is_deployment(backend):
        return ""
    here = getattr(backend, "unsupported_on", {}).get(device.partition(":")[0], {})
    unsupported = {**getattr(backend, "unsupported", {}), **here}
    try:
        smoke(backend, key, device, unsupported=unsupported, slow=bool(getattr(backend, "slow_to_start", False)))
    except BackendError as problem:
        return str(problem)
    return ""


def check_adapter(backend: Any, key: str) -> None:
    """Raise BackendError, saying what to change, where an adapter lacks a part of its contract; it builds nothing."""
    where = f"the backend {key}"
    name = _ask(where, "say its name", lambda: getattr(backend, "name", None))
    if not isinstance(name, str) or not name:
        raise BackendError(f"{where} has no name; give its class a string `name`")
    for method in DEPLOYMENT_METHODS if is_deployment(backend) else BACKEND_METHODS:
        if not callable(getattr(backend, method, None)):
            raise BackendError(f"{where} has no method {method}(); add it (see backends/__init__.py for the contract)")
    for mapping in ("deviations", "unsupported"):
        value = _ask(where, f"say its {mapping}", partial(getattr, backend, mapping, {}))
        if not isinstance(value, Mapping) or not all(
            isinstance(k, str) and isinstance(v, str) and v for k, v in value.items()
        ):
            raise BackendError(
                f"{where} has a `{mapping}` that is no dict of words to words; write `{mapping} = {{}}` for none"
            )
    lower = getattr(backend, "lower_precision", {})
    if not isinstance(lower, Mapping) or not all(name in DTYPES for pair in lower.items() for name in pair):
        known = ", ".join(DTYPES)
        raise BackendError(f"{where} has a `lower_precision` that is no dict of dtypes to dtypes; choose of {known}")
    devices_of(backend, key)


def devices_of(backend: Any, key: str) -> list[str]:
    """The devices that a backend lists; BackendError where it lists none."""
    where = f"the backend {key}"
    devices = _ask(where, "list its devices", backend.devices)
    if not isinstance(devices, list | tuple) or not devices or not all(isinstance(device, str) for device in devices):
        raise BackendError(f"{where} lists {devices!r} as its devices; return a list of names such as ['cpu']")
    return list(devices)


def device_name(backend: Any, device: str) -> str:
    """What a device is, as far as it can be said without the framework: its processor, or what the adapter says."""
    describe_device = getattr(backend, "describe_device", None)
    if callable(describe_device):
        try:
            return str(describe_device(device))
        except Exception:
            return device
    return platform.processor() or platform.machine() if device == "cpu" else device


def version(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def find_installed() -> dict[str, str]:
    """The versions of PACKAGES, of those that are installed."""
    return {package: found for package in PACKAGES if (found := version(package)) is not None}


def _ask(where: str, what: str, function: Callable[[], Any]) -> Any:
    """What an adapter answers; BackendError, in one line, where it raises."""
    try:
        return function()
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise BackendError(f"{where} cannot {what}: {text[:200]}") from error
