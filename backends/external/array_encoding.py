"""What crosses the pipe to a program: arrays in either direction, and what a program says of itself."""

from __future__ import annotations

import base64
import json
import math
import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.backends.external.line_process import show

Array = NDArray[Any]

FLOATS = ("float64", "float32", "float16", "bfloat16")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")


def encode(array: Array) -> dict[str, Any]:
    """An array as it crosses the pipe: its bytes in C order, little-endian, in base64."""
    data = array.byteswap() if sys.byteorder == "big" else array
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "data": base64.b64encode(data.tobytes()).decode("ascii"),
    }


def decode(given: Any, dtypes: tuple[str, ...] = FLOATS) -> Array:
    """The array; ValueError, saying what is wrong with it, where it is none."""
    if not isinstance(given, dict):
        raise ValueError(f"is {show(json.dumps(given).encode())}; it should be an array with dtype, shape and data")
    dtype, shape, data = given.get("dtype"), given.get("shape"), given.get("data")
    if not isinstance(dtype, str) or dtype not in dtypes:
        raise ValueError(f"has the dtype {json.dumps(dtype)[:80]}; it should be {' or '.join(dtypes)}")
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"has the shape {json.dumps(shape)[:80]}; it should be a list of sizes")
    try:
        held = base64.b64decode(data, validate=True) if isinstance(data, str) else None
    except ValueError:
        held = None
    if held is None:
        raise ValueError(f"has data that is no base64: {json.dumps(data)[:80]}")
    kind = _dtype(dtype)
    if len(held) != math.prod(shape) * kind.itemsize:
        due = f"{dtype} of shape {tuple(shape)} takes {math.prod(shape) * kind.itemsize}"
        raise ValueError(f"has {len(held)} bytes of data; {due}")
    array = np.frombuffer(held, kind).reshape(shape)
    return array.byteswap() if sys.byteorder == "big" else array.copy()


def fault_of(told: dict[str, Any]) -> str:
    """What is wrong with an answer to hello; "" where nothing is."""
    name, devices = told.get("name"), told.get("devices")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"the name {json.dumps(name)[:80]} should be up to 60 letters, digits and any of . _ + -"
    if (
        not isinstance(devices, list)
        or not devices
        or not all(isinstance(device, str) and device for device in devices)
    ):
        return f'the devices {json.dumps(devices)[:80]} should be a list of names such as ["cpu"]'
    for key in ("deviations", "documented", "unsupported"):
        if not _words(told.get(key)):
            return f"{key} {json.dumps(told.get(key))[:80]} should be an object of words to words; {{}} for none"
    here = told.get("unsupported_on", {})
    if not isinstance(here, dict) or not all(_words(value) for value in here.values()):
        return f"unsupported_on {json.dumps(here)[:80]} should have an object of words to words for each kind of device"
    abilities = told.get("abilities", [])
    if not isinstance(abilities, list) or not all(isinstance(word, str) for word in abilities):
        return f"abilities {json.dumps(abilities)[:80]} should be a list of words"
    for key, kind, words in (("version", str, "a text"), ("slow_to_start", bool, "true or false")):
        if key in told and not isinstance(told[key], kind):
            return f"{key} {json.dumps(told[key])[:80]} should be {words}"
    return ""


def _words(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) and text for text in value.values())


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name)
