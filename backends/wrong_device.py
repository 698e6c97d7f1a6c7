"""What the adapters of several devices share: the error for a result that another device than the layer's has."""

from __future__ import annotations


class WrongDevice(RuntimeError):
    """A result lies on another device than the layer's; the column would judge that one under the name of this one."""

    is_refusal = False

    def __init__(self, asked: object, found: object) -> None:
        super().__init__(f"asked of {asked}, and found on {found}")
