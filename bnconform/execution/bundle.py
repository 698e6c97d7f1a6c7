"""The executing side as text: what is sent to an interpreter that has nothing of ours, or packed into one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import decode_source
from pathlib import Path

from bnconform import backends
from bnconform.backends.registry import BackendError

FINDER = '''
import importlib.abc, importlib.util, sys

class Sent(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the modules that came over the wire."""

    def __init__(self, sources):
        self.sources = sources

    def find_spec(self, name, path=None, target=None):
        if name not in self.sources:
            return None
        package = self.sources[name][0]
        spec = importlib.util.spec_from_loader(name, self, origin="<sent>/" + name, is_package=package)
        spec.has_location = True
        spec.cached = None
        return spec

    def is_package(self, name):
        return self.sources[name][0]

    def get_source(self, name):
        return self.sources[name][1]

    def get_filename(self, name):
        return "<sent>/" + name
'''
"""An importer of sources that are in memory, so that nothing is installed and no file is left behind."""

NEEDS = ("numpy", "ml_dtypes")
"""What an environment must have besides an implementation's own needs."""

LACKING = 86
"""The exit status of an interpreter that lacks something; its last line says what."""

CHECK = f"""
import importlib.util, sys
lacking = [name for name in {NEEDS!r} if importlib.util.find_spec(name) is None]
if sys.version_info < (3, 11):
    lacking.append("Python 3.11 or newer (this is " + sys.version.split()[0] + ")")
if lacking:
    sys.stderr.write(" and ".join(lacking) + chr(10))
    sys.exit({LACKING})
"""
"""Run before anything of ours is imported there."""

LOCAL = f"""
import sys
sys.path[:] = [place for place in sys.path if place]
{CHECK}
import importlib.machinery, json
path, places, entry, leave = json.loads(sys.argv[1])
sys.path[:0] = [place for place in path if place not in sys.path]
spec = importlib.machinery.ModuleSpec("bnconform", None, is_package=True)
spec.submodule_search_locations = places
sys.modules["bnconform"] = importlib.util.module_from_spec(spec)
from bnconform.backends.runner.serve import over_descriptors
over_descriptors(entry, leave)
"""
"""What a child process on this machine runs. It is told where our packages are, so that nothing else of that place can
be imported there, and nothing of the folder where it starts."""

FIRST = 12
"""Digits of the number of bytes that come first over standard input."""

REMOTE = f"""
import os
def take(count):
    data = b""
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            raise SystemExit("standard input ended before the runner had come")
        data += part
    return data
exec(take(int(take({FIRST}))))
"""
"""What an interpreter behind a command runs: it reads the rest from standard input, without a buffer."""


def remote_start(files: Mapping[str, str]) -> bytes:
    """What is written to standard input first: the runner, and the adapters that are files here, by their path."""
    data = json.dumps({"modules": dict(modules()), "files": dict(files)})
    source = f"""
import sys
sys.path[:] = [place for place in sys.path if place]
{CHECK}
{FINDER}
import json
sent = json.loads({data!r})
sys.meta_path.insert(0, Sent(sent["modules"]))
from bnconform.backends import registry
registry.SENT.update(sent["files"])
from bnconform.backends.runner.serve import over_standard_streams
over_standard_streams()
""".encode()
    return f"{len(source):{FIRST}d}".encode() + source


def adapter_files(key: str) -> dict[str, str]:
    """The source of a backend that is a file here, in the encoding that it names, by its path; nothing of others.

    Raises:
        BackendError: for a file that cannot be read, or is no text in its encoding.
    """
    path = Path(key.rpartition(":")[0])
    if path.suffix != ".py" or not path.is_file():
        return {}
    try:
        return {str(path): decode_source(path.read_bytes())}
    except (OSError, SyntaxError, UnicodeError) as problem:
        raise BackendError(f"the backend {key} cannot be sent along: {problem}") from None


@cache
def sources() -> Mapping[str, str]:
    """The Python files of the executing side and of the adapters, by their path below `bnconform/`."""
    root = Path(backends.__file__).parent
    found = {"__init__.py": '"""The side of bnconform that executes."""\n'}
    for path in sorted(root.rglob("*.py")):
        found[f"backends/{path.relative_to(root).as_posix()}"] = path.read_text(encoding="utf-8")
    return found


def modules() -> Iterator[tuple[str, tuple[bool, str]]]:
    """The same as modules: name, whether it is a package, and source."""
    for path, source in sources().items():
        parts = ["bnconform", *path.removesuffix(".py").split("/")]
        package = parts[-1] == "__init__"
        yield ".".join(parts[:-1] if package else parts), (package, source)
