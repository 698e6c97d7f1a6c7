"""In a clone: its rooms are importable as `bnconform.spec`, `bnconform.cases` and so on, and the plugin is loaded."""

import sys
from pathlib import Path

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["bnconform.pytest_plugin"]
