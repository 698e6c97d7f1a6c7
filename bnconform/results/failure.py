"""Why a check failed, as data: from the check that saw it to the page that shows it. Its text is `render.messages`'.

A failure travels as JSON between processes and in result files; numbers that JSON has not are words there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

VIOLATION, ADAPTER, INTERNAL, DECLARATION = KINDS = ("violation", "adapter", "internal", "declaration")
"""Who is at fault: the implementation; its adapter, which does not meet the contract; the suite itself; or what the
adapter declares, which the implementation does not do."""

NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
"""The numbers that JSON has not, by what stands for them."""


@dataclass(frozen=True)
class Quantity:
    """One thing that is not what it should be.

    Attributes:
        what: which, in words, such as "running_var[0] after call 2, forward(...)".
        got, expected: numbers, or words where it is none.
        dtype: of what was got, "" where that is not said.
        bound: how far a number may be off, 0 where it must be exact; None for what is no number.
        ulps: how far it is off, in units in the last place; None where that was not measured.
        ratio: how far it is off, over the bound; 1 is the limit.
    """

    what: str
    got: float | str
    expected: float | str
    dtype: str = ""
    bound: float | None = None
    ulps: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Failure:
    """One failed check.

    Attributes:
        kind: one of KINDS. verdict: of the check.
        requirement, level, title, source: what was asked; `source` is where that comes from, in one line.
        backend, device, dtype: who failed. key: what --backend was given.
        problems: what happened where something else was due, each in words. quantity: what is off, and how far.
        remark: what else is known, such as the words of an exception or of a process that died; it may have lines.
        relation: what holds between the runs that were compared, "" where none were.
        call: the configuration and the calls. case: the path of the file that replays them, or None.
        cause: what explains it, in words; "" where nobody has looked.
    """

    kind: str
    verdict: str
    requirement: str
    level: str
    title: str
    source: str
    backend: str
    device: str
    dtype: str
    key: str
    problems: tuple[str, ...] = ()
    quantity: Quantity | None = None
    remark: str = ""
    relation: str = ""
    call: str = ""
    case: str | None = None
    cause: str = ""

    @property
    def label(self) -> str:
        """Who failed, as in the id of a test."""
        return f"{self.backend}:{self.device}-{self.dtype}"

    @property
    def summary(self) -> str:
        """What was seen, in one line."""
        if self.problems:
            return self.problems[0]
        if self.quantity is not None:
            return self.quantity.what
        return next(iter(self.remark.strip().splitlines()), self.title)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data, without what is not known."""
        data = {name: value for name, value in asdict(self).items() if value not in ("", None, ())}
        if self.quantity is not None:
            quantity = {name: _json_number(value) for name, value in asdict(self.quantity).items()}
            data["quantity"] = {
                name: value
                for name, value in quantity.items()
                if value is not None and (value != "" or name != "dtype")
            }
        return data | ({"problems": list(self.problems)} if self.problems else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Failure:
        """From what `to_json` gave."""
        values = {name: value for name, value in data.items() if name not in ("problems", "quantity")}
        quantity = data.get("quantity")
        if quantity is not None:
            words = ("what", "dtype")
            numbers = {name: _read(value) for name, value in quantity.items() if name not in words}
            values["quantity"] = Quantity(**{name: quantity[name] for name in words if name in quantity}, **numbers)
        return cls(**{"source": "", "title": "", "key": ""} | values, problems=tuple(data.get("problems", ())))


def _json_number(value: Any) -> Any:
    """A number as JSON has it, or an object that names one that JSON has not; anything else as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": next(name for name, number in NUMBERS.items() if repr(number) == repr(value))}
    return value


def _read(value: Any) -> Any:
    return NUMBERS[value["number"]] if isinstance(value, dict) else value
