"""Assertions for the tests of other projects: that a backend conforms, and that numbers lie within their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bnconform.api import BackendGiven, fails, judge
from bnconform.render import messages
from bnconform.results.completeness import partial, reason
from bnconform.results.result import LEVELS, Result, Row

__all__ = ["assert_close", "assert_conforms"]

SHOWN = 3
"""Failures of which the whole text is shown."""


def assert_conforms(backend: BackendGiven, *, level: str = "must", **options: Any) -> Result:
    """Judge a backend, and fail where it violates what it must do.

    Args:
        backend, options: as of `bnconform.judge`.
        level: up to which level a violation counts: "must", "should" or "may".

    Returns:
        The result, where nothing failed.

    Raises:
        AssertionError: with the verdict in one line, one line for each cause, and the first failures whole.
        UserError: where the request cannot be carried out.
    """
    __tracebackhide__ = True
    result = judge(backend, level=level, **options)
    failing = [row for row in result.rows if fails(row.verdict, row.level, level)]
    if failing or not result.rows:
        raise AssertionError("\n".join(_text(result, failing, level)))
    return result


def _text(result: Result, failing: Sequence[Row], level: str) -> Iterator[str]:
    names = list(dict.fromkeys(row.requirement for row in failing))
    levels = LEVELS[: LEVELS.index(level) + 1]
    judged = {row.requirement for row in result.rows if row.level in levels}
    backends = " and ".join(dict.fromkeys(row.backend for row in result.rows)) or "the backend"
    part = partial(result)
    yield (
        f"{backends} does not conform: {len(names)} of {len(judged)} requirements fail ({', '.join(names)})"
        + (f"; only a part: {part}; {reason(result)}" if part else "")
    )
    for diagnosis in result.diagnoses:
        yield f"  {diagnosis.backend}: {diagnosis.text}"
    for row in failing[:SHOWN]:
        yield ""
        yield messages.message(row.failure) if row.failure is not None else row.message
    if len(failing) > SHOWN:
        yield ""
        yield f"and {len(failing) - SHOWN} more"


def assert_close(got: ArrayLike, expected: ArrayLike, bound: ArrayLike) -> None:
    """Assert |got - expected| <= bound, element by element, as with what `bnconform.reference` gives.

    Args:
        got: what was computed, of any dtype. expected: what is due.
        bound: of the shape of expected, or broadcastable to it; where it is infinite, anything passes.

    NaN is due where NaN is expected, and an infinity where the same one is.

    Raises:
        AssertionError: saying where it is furthest off, got, should be, and by how many bounds; or that shapes differ.
    """
    __tracebackhide__ = True
    values, due = np.asarray(got).astype(np.float64), np.asarray(expected, np.float64)
    if values.shape != due.shape:
        raise AssertionError(f"got shape {values.shape}, should be {due.shape}")
    limit = np.broadcast_to(np.asarray(bound, np.float64), due.shape)
    with np.errstate(all="ignore"):
        off = np.abs(values - due)
        same = (values == due) | (np.isnan(values) & np.isnan(due))
        ratio = np.where(same | np.isposinf(limit), 0.0, np.where(np.isnan(off), np.inf, off / limit))
    if not ratio.size or ratio.max() <= 1:
        return
    at = tuple(int(i) for i in np.unravel_index(int(ratio.argmax()), ratio.shape))
    raise AssertionError(
        f"{int((ratio > 1).sum())} of {ratio.size} elements are further off than their bounds; worst at {list(at)}: "
        f"got {float(values[at])!r}, should be {float(due[at])!r} to within {float(limit[at]):.3g}, "
        f"off by {float(ratio[at]):.3g} times the bound"
    )
