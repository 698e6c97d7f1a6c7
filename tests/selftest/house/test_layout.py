"""The house: what lies where, what may import what, and that the installed package has all of it."""

from __future__ import annotations

import ast
import fnmatch
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = ("backends", "bnconform", "cases", "spec", "tests")

TOP_LEVEL = {
    *ROOMS,
    ".ci",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "conftest.py",
    "constraints.txt",
    "pyproject.toml",
    "tox.ini",
}

PAGE = "jinja2 markdown_it markupsafe matplotlib"
"""What the extra `report` brings, for the page of a result."""

ARROWS = {
    "spec": "numpy gmpy2 ml_dtypes",
    "cases": "bnconform.spec numpy gmpy2 ml_dtypes hypothesis jsonschema sklearn",
    "backends": "",
    "backends/runner": "numpy ml_dtypes bnconform.backends",
    "bnconform": "bnconform.api bnconform.backends bnconform.cases bnconform.errors bnconform.parametrized "
    "bnconform.pytest_fixtures bnconform.reference bnconform.spec bnconform.testing bnconform.tests.conformance "
    "bnconform.tests.mutants numpy gmpy2 hypothesis pytest xdist rich jsonschema packaging platformdirs psutil shtab "
    f"{PAGE}",
    "bnconform/results": "bnconform.backends bnconform.cases bnconform.execution bnconform.judge bnconform.spec "
    "numpy jsonschema packaging",
    "bnconform/render": "bnconform.backends bnconform.cases bnconform.judge bnconform.results bnconform.spec "
    f"bnconform.tests.mutants numpy rich {PAGE}",
    "tests/conformance": "bnconform.cases bnconform.execution bnconform.judge bnconform.measure bnconform.spec numpy",
    "tests/mutants": "bnconform.backends bnconform.cases bnconform.diagnosis bnconform.judge bnconform.results "
    "bnconform.spec numpy hypothesis rich",
}
"""What the files of a folder may import, besides the standard library and what lies in the same folder.

An adapter may import its framework, too.
"""

FORMS = (
    "baseline", "baseline_check", "baseline_update", "comparison", "completeness", "confirmations", "failure",
    "files", "findings", "joining", "kill_matrix", "result", "timeline", "training", "visible",
)  # fmt: skip
DRAWN = (
    "annotations", "badge", "baseline_text", "cards", "comparison_text", "drawing", "evidence", "findings_page",
    "heat_map", "junit", "markdown", "markup", "matrix", "page", "plots", "porting_pages", "printer",
    "progress_display", "requirement_view", "site", "standing", "terminal", "training_plot", "training_text",
)  # fmt: skip
"""The forms of our files, and what is drawn from these alone: neither needs anything of the suite that fills them."""

READING = {"bnconform.cases.json_files.JsonForm", "bnconform.spec.errors.UserError"}
"""What reading any of our files takes, in the lowest room that does; beside it a form needs nothing of these rooms."""

ARROWS |= {f"bnconform/results/{name}.py": "jsonschema packaging" for name in FORMS}
READERS = {f"bnconform/results/{name}.py" for name in FORMS}
ARROWS |= {f"bnconform/render/{name}.py": f"bnconform.results rich {PAGE}" for name in DRAWN}


def project_files(root: Path) -> list[Path]:
    """The paths of the project's files: what git tracks; where there is no git, what .gitignore does not name."""
    command = [shutil.which("git") or "false", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False).stdout.split("\0")
    found = [Path(name) for name in listed if name and (root / name).is_file()]
    if found:
        return found
    ignored = [line for line in (root / ".gitignore").read_text().split() if not line.startswith("#")]
    below = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return [path for path in below if not any(fnmatch.filter(path.parts, pattern) for pattern in ignored)]


FILES = project_files(ROOT)


def files(*places: str) -> list[Path]:
    """The project's files in these folders."""
    return sorted(ROOT / path for path in FILES if any(path.is_relative_to(place) for place in places))


def modules(*places: str) -> list[Path]:
    """The project's Python files in these folders."""
    return [path for path in files(*places) if path.suffix == ".py"]


def name_of(path: Path) -> str:
    """The path from the root, for ids and messages."""
    return path.relative_to(ROOT).as_posix()


def package_of(folder: Path) -> str:
    """The package that a folder of a room is."""
    parts = folder.relative_to(ROOT).parts
    return ".".join(("bnconform", *(parts[1:] if parts[0] == "bnconform" else parts)))


def imports(source: str) -> Iterator[str]:
    """What a source text imports, wherever in it: modules and the names taken from them; relative ones with dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            place = "." * node.level + (node.module or "")
            yield from (place + "." * (not place.endswith(".")) + alias.name for alias in node.names)


def room_of(name: str) -> str:
    """What a name belongs to: of ours `bnconform.spec` or `bnconform.tests.mutants`, else the top of the name."""
    first, *rest = name.split(".")
    return ".".join([first, *rest[: 1 + (rest[:1] == ["tests"])]]) if first == "bnconform" else first


def packages_imported(source: str) -> set[str]:
    """The packages that a source text imports, without the standard library."""
    return {room_of(name) for name in imports(source)} - set(sys.stdlib_module_names)


def setuptools() -> dict[str, Any]:
    """The packaging part of pyproject.toml."""
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return settings


def test_top_level_is_fixed() -> None:
    """Nothing lies at the top but what the design names, and all of that does."""
    assert {path.parts[0] for path in FILES} == TOP_LEVEL


@pytest.mark.parametrize("git", [True, False], ids=["git", "no git"])
def test_what_is_not_the_projects_is_nobodys_business(git: bool, tmp_path: Path) -> None:
    """What git does not track, such as a virtual environment of any name, is no file of the project.

    Where there is no git, this holds of what .gitignore names.
    """
    for name in ("spec/exact.py", "tox.ini", ".gitignore", "venv/lib/exact.py", *(["v/lib/exact.py"] if git else [])):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("venv\n")
    if git:
        if shutil.which("git") is None:
            pytest.skip("there is no git here")
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        subprocess.run(["git", "add", "spec", "tox.ini", ".gitignore"], cwd=tmp_path, check=True)
    assert {path.as_posix() for path in project_files(tmp_path)} == {"spec/exact.py", "tox.ini", ".gitignore"}


def test_root_is_no_package() -> None:
    """With an `__init__.py` at the root its rooms would belong to a package that is called as the clone's folder is."""
    assert not (ROOT / "__init__.py").exists()


def test_packages_are_those_of_the_tree() -> None:
    """The list of packages names every folder with Python files, and no other, and each room's place is told."""
    settings = setuptools()
    assert sorted(settings["packages"]) == sorted({package_of(path.parent) for path in modules(*ROOMS)})
    assert settings["package-dir"] == {f"bnconform.{room}": room for room in ROOMS if room != "bnconform"}


@pytest.mark.parametrize("folder", sorted({path.parent for path in modules(*ROOMS)}), ids=name_of)
def test_folders_are_packages(folder: Path) -> None:
    """Every folder with Python files has an `__init__.py`: without one, it would be found or missed by chance."""
    assert (folder / "__init__.py").is_file()


@pytest.mark.parametrize("path", [path for path in files(*ROOMS) if path.suffix != ".py"], ids=name_of)
def test_data_is_packaged(path: Path) -> None:
    """Every file that is not Python is covered by a pattern of the package data of its nearest package."""
    folder = path.parent
    while not (folder / "__init__.py").exists():
        folder = folder.parent
    assert any(path in folder.glob(pattern) for pattern in setuptools()["package-data"].get(package_of(folder), []))


def arrows() -> list[Any]:
    """Each file with each row of the arrows that is about it."""
    found = [(place, path) for place in ARROWS for path in modules(place)]
    return [pytest.param(place, path, id=f"{place}-{name_of(path)}") for place, path in found]


@pytest.mark.parametrize(("place", "path"), arrows())
def test_arrows(place: str, path: Path) -> None:
    """A file imports only what its row allows; adapters import their frameworks besides."""
    source = path.read_text(encoding="utf-8")
    found = {room_of(name) for name in imports(source) if place not in READERS or name not in READING}
    found -= set(sys.stdlib_module_names)
    if place == "backends":
        found = {name for name in found if name.startswith("bnconform")}
    own = {room_of(package_of(each.parent)) for each in modules(place)}
    assert found <= {*ARROWS[place].split(), *own}


def test_every_arrow_is_about_something() -> None:
    """A row of a folder or a file that has another name now would allow anything."""
    assert [place for place in ARROWS if not modules(place)] == []


@pytest.mark.parametrize("path", modules(*ROOMS[:-1]), ids=name_of)
def test_nothing_imports_the_command(path: Path) -> None:
    """The command is used by nothing but itself, `python -m` and the plugin, which shares its options."""
    users = ("bnconform/cli", "bnconform/__main__.py", "bnconform/pytest_plugin.py")
    assert path in files(*users) or "bnconform.cli" not in packages_imported(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", modules("backends"), ids=name_of)
def test_backends_import_frameworks_where_needed(path: Path) -> None:
    """At the top of an adapter's file stand only NumPy and the like, so that listing backends imports no framework."""
    top = ast.parse(path.read_text(encoding="utf-8")).body
    source = "\n".join(ast.unparse(node) for node in top if isinstance(node, ast.Import | ast.ImportFrom))
    assert packages_imported(source) <= {"bnconform.backends", "numpy", "ml_dtypes"}


@pytest.mark.parametrize("path", [*modules(*ROOMS), ROOT / "conftest.py"], ids=name_of)
def test_imports_are_absolute(path: Path) -> None:
    """What is ours is imported by its name under `bnconform`, which is the same in a clone and installed."""
    for name in imports(path.read_text(encoding="utf-8")):
        assert not name.startswith("."), f"{name} is relative"
        assert name.split(".")[0] not in {*ROOMS, "conftest", "report"} - {"bnconform"}, f"{name} is not ours by name"


def test_imports_are_seen_wherever_they_stand() -> None:
    """The helper of these tests finds imports in functions, of every form, and tells relative ones."""
    source = "import a.b\nfrom c.d import e\nfrom . import f\nfrom ..g import h\ndef i():\n    import j, k as l\n"
    assert set(imports(source)) == {"a.b", "c.d.e", ".f", "..g.h", "j", "k"}


def test_rooms_of_imports_are_told() -> None:
    """The helper of the arrows tells our rooms, and the parts of `tests`, from each other."""
    source = "import bnconform.spec.exact\nfrom bnconform.tests import mutants\nfrom bnconform import cases\nimport a.b"
    assert packages_imported(source) == {"bnconform.spec", "bnconform.tests.mutants", "bnconform.cases", "a"}
