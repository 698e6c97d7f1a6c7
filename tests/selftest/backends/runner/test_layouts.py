"""How arrays lie in memory: each layout is what its name says, and the names are those that programs carry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnconform.backends.runner.layouts import LAYOUTS, Array
from bnconform.cases import inputs, program
from bnconform.cases.covering.values import repeat_shared
from bnconform.spec.formats import DTYPES, numpy_dtype


def _c_order(values: Array) -> tuple[int, ...]:
    return np.empty(values.shape, values.dtype).strides


STRIDES: dict[str, Callable[[Array], bool]] = {
    "contiguous": lambda a: a.strides == _c_order(a) and a.ctypes.data % 64 == 0,
    "unaligned": lambda a: a.strides == _c_order(a) and a.ctypes.data % 64 == a.itemsize,
    "fortran": lambda a: a.strides == np.empty(a.shape, a.dtype, order="F").strides,
    "channels_last": lambda a: np.moveaxis(a, 1, -1).strides == _c_order(np.moveaxis(a, 1, -1)),
    "batch_last": lambda a: np.moveaxis(a, 0, -1).strides == _c_order(np.moveaxis(a, 0, -1)),
    "batch_channel_swapped": lambda a: np.swapaxes(a, 0, 1).strides == _c_order(np.swapaxes(a, 0, 1)),
    "every_other_element": lambda a: a.strides == tuple(2 * stride for stride in _c_order(a)),
    "slice_with_offset": lambda a: (
        a.strides == np.empty([length + 3 for length in a.shape], a.dtype).strides
        and a.base is not None
        and a.ctypes.data - a.base.ctypes.data == 2 * sum(a.strides)
    ),
    "every_third_sample": lambda a: a.strides == (3 * _c_order(a)[0], *_c_order(a)[1:]) and _starts_inside(a),
    "reversed_batch": lambda a: a.strides == (-_c_order(a)[0], *_c_order(a)[1:]),
    "expanded_batch": lambda a: a.strides == (0, *_c_order(a)[1:]),
    "reversed_channels": lambda a: a.strides[1] < 0 < min(np.delete(a.strides, 1)),
    "reversed_width": lambda a: a.strides[-1] < 0 < min(a.strides[:-1]),
    "expanded_channels": lambda a: a.strides[1] == 0 < min(np.delete(a.strides, 1)),
    "expanded_positions": lambda a: a.strides[-1] == 0 < min(a.strides[:-1]),
    "expanded_everywhere": lambda a: not any(a.strides),
    "channels_last_slice": lambda a: (
        a.strides[1] == a.itemsize and _starts_inside(a) and a.strides[0] % ((a.shape[1] + 5) * a.itemsize) == 0
    ),
    "transposed_positions": lambda a: np.swapaxes(a, -2, -1).strides == _c_order(np.swapaxes(a, -2, -1)),
    "overlapping": lambda a: a.strides[-2:] == (a.itemsize, a.itemsize),
    "read_only": lambda a: a.strides == _c_order(a) and not a.flags.writeable,
    "channel_position_swapped": lambda a: (
        a.strides == _c_order(a) if a.ndim < 3 else a.swapaxes(1, 2).strides == _c_order(a.swapaxes(1, 2))
    ),
}
"""What each layout promises."""


def _starts_inside(values: Array) -> bool:
    return values.base is not None and values.ctypes.data > values.base.ctypes.data


def test_layouts_are_those_of_programs() -> None:
    """The side that executes knows the layouts that a program may name, in the same order, and no others."""
    assert tuple(LAYOUTS) == program.LAYOUTS


def test_every_layout_has_a_promise() -> None:
    """The table above leaves none out."""
    assert set(STRIDES) == set(LAYOUTS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", inputs.SHAPES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_lie_in_memory_as_they_promise(name: str, rank: int, dtype: str) -> None:
    """The strides are those that the name says, and the values, shape and dtype are those that were given."""
    x = inputs.values(inputs.SHAPES[rank], 1).astype(numpy_dtype(dtype))
    x = np.array(repeat_shared(x, name), order="C")
    laid = LAYOUTS[name](x)
    assert STRIDES[name](laid), laid.strides
    assert laid.shape == x.shape and laid.dtype == x.dtype
    assert laid.tobytes() == x.tobytes()
    assert not np.shares_memory(laid, x)


@pytest.mark.parametrize(
    "name", [name for name in LAYOUTS if name not in ("contiguous", "unaligned", "channels_last", "read_only")]
)
def test_layouts_are_not_contiguous(name: str) -> None:
    """Each is one that a layer which ignores strides would read wrongly, at the rank where all of them are used."""
    x = inputs.values(inputs.SHAPES[4], 1)
    x = np.array(repeat_shared(x, name), order="C")
    assert not LAYOUTS[name](x).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("name", program.SHARING)
def test_a_layout_changes_no_number(name: str) -> None:
    """Values that are not equal where memory would be the same are laid out contiguously, as they are."""
    x = inputs.values(inputs.SHAPES[4], 1)
    laid = LAYOUTS[name](x)
    assert laid.tobytes() == x.tobytes() and laid.flags["C_CONTIGUOUS"]
