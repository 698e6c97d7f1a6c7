"""What the adapters of compiled rows share: the error for a pass that did not go through compiled code."""

from __future__ import annotations


class NotCompiled(RuntimeError):
    """A pass did not go through compiled code; the row would judge eager code under the name of the compiled one."""

    is_refusal = False
