"""How a command says that a request cannot be carried out."""

from __future__ import annotations

import sys


def refuse(text: object) -> int:
    """Say in one line why; the exit status for that."""
    print(f"bnconform: {text}", file=sys.stderr)
    return 2
