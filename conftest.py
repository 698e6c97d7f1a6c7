"""In a clone: its package and rooms are what is imported as `bnconform`, and the plugin is loaded."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent

if sys.path[:1] != [str(ROOT)]:
    sys.path.insert(0, str(ROOT))
LIGHT = {"bnconform", "bnconform.pytest_fixtures"}
"""What pytest has imported already where another bnconform is installed, as that one's plugin; nothing rests on it."""
if {name for name in sys.modules if name.partition(".")[0] == "bnconform"} <= LIGHT:
    for name in LIGHT:
        sys.modules.pop(name, None)

pytest_plugins = ["bnconform.pytest_plugin"]


def pytest_configure() -> None:
    """Refuse to test an installed package in the place of the clone's, which `pytest -p bnconform...` would import."""
    import bnconform

    found = Path(bnconform.__file__).resolve().parent
    if found != ROOT / "bnconform":
        raise pytest.UsageError(f"{found} was imported, and not the package of this clone; run python -m pytest here")
