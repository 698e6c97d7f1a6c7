"""bnconform: does an implementation of Batch Normalization do what it must do, and if not, what does it do instead?"""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "conftest.py").is_file() and (_ROOT / "spec" / "behaviour.py").is_file():
    # A clone: its rooms lie beside this package. Installed, they lie inside it.
    __path__.append(str(_ROOT))
