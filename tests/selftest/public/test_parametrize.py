"""`parametrize` in a project of its own, which has packages, fixtures and settings of the names that are ours."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from bnconform.cli.new_adapter import skeleton
from bnconform.tests.selftest.command import environment

PLUGIN = [] if entry_points(group="pytest11", name="bnconform") else ["-p", "bnconform.pytest_fixtures"]
"""What installation does, where the clone is only in the path."""

EXAMPLE = """
import bnconform


@bnconform.parametrize("my_adapter.py:MyBackend", dtypes=["float32"])
def test_batchnorm(check):
    check()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with packages `tests` and `spec`, a fixture `check`, strict settings, and an adapter that is right."""
    for package in ("tests", "spec"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "spec" / "behaviour.py").write_text("THEIRS = 1\n")
    (tmp_path / "tests" / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef check():\n    return 'theirs'\n"
    )
    (tmp_path / "tests" / "test_own.py").write_text(
        "from spec.behaviour import THEIRS\n\ndef test_own(check):\n    assert (check, THEIRS) == ('theirs', 1)\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = ["--strict-markers", "--strict-config"]\nfilterwarnings = ["error"]\n'
    )
    (tmp_path / "my_adapter.py").write_text(skeleton("my_adapter.py", "mine", "MyBackend"))
    (tmp_path / "tests" / "test_batchnorm.py").write_text(EXAMPLE)
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """The status of pytest in a folder, and the lines that it prints."""
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def break_adapter(project: Path, old: str, new: str) -> None:
    """Change the adapter."""
    path = project / "my_adapter.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def living(folder: Path) -> list[str]:
    """The processes that name a folder, this one's apart."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, encoding="utf-8", check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_what_is_right_passes(project: Path, workers: list[str]) -> None:
    """One test a requirement, with an id that can be typed, beside the project's own; nothing is left running."""
    status, lines = run(project, "-v", *workers, "-k", "BN-RUN-VAR or BN-STATE or own")
    assert status == 0, "\n".join(lines)
    text = "\n".join(lines)
    assert "tests/test_batchnorm.py::test_batchnorm[cpu-float32-BN-RUN-VAR]" in text
    assert "test_own" in text
    assert living(project) == []


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_what_is_wrong_says_what_and_why(project: Path, workers: list[str]) -> None:
    """The message has what, got, should be, off by, the diagnosis and the replay, once a cause, and no traceback."""
    break_adapter(project, "ddof=1", "ddof=0")
    status, lines = run(project, *workers, "-k", "BN-RUN-VAR or BN-RUN-MEAN")
    assert status == 1
    for word in ("what", "got", "should be", "off by", "replay"):
        assert len([line for line in lines if line.startswith(f"  {word} ")]) == 1, "\n".join(lines)
    [diagnosis] = [line for line in lines if line.startswith("  diagnosis")]
    assert "running_variance = biased (explains" in diagnosis
    assert not [line for line in lines if "parametrized.py" in line or "Traceback" in line or "def test_" in line]
    assert any(line.startswith("and ") and line.endswith(" more failing checks of this requirement") for line in lines)
    assert living(project) == []


def test_what_is_unsupported_is_skipped(project: Path) -> None:
    """The reason is that of the adapter."""
    break_adapter(project, "unsupported = {}", 'unsupported = {"momentum_none": "mine has no cumulative average"}')
    break_adapter(project, "    def build(self, config, device):", REFUSING)
    status, lines = run(project, "-rs", "-k", "BN-RUN-NONE")
    assert status == 0, "\n".join(lines)
    assert [line for line in lines if "unsupported: momentum_none: mine has no cumulative average" in line]


REFUSING = """    def build(self, config, device):
        if config.momentum is None:
            raise NotImplementedError("no cumulative average")"""


@pytest.mark.parametrize(("level", "word"), [("must", "xfailed"), ("should", "failed")])
def test_level_decides(project: Path, level: str, word: str) -> None:
    """What violates a `should` is an expected failure, but where that level is asked for."""
    break_adapter(project, "np.array(0)", "np.array(0.0)")
    (project / "tests" / "test_batchnorm.py").write_text(EXAMPLE.replace("dtypes=", f'level="{level}", dtypes='))
    _, lines = run(project, "-k", "BN-STATE-COUNTER")
    assert lines[-1].startswith(f"=== 1 {word}") or f"1 {word}" in lines[-1], "\n".join(lines)


def test_an_untrue_declaration_fails(project: Path) -> None:
    """A declared deviation that a check refutes fails the test of that check."""
    break_adapter(project, "deviations = {}", 'deviations = {"running_variance": "biased"}')
    status, lines = run(project, "-k", "BN-RUN-VAR")
    assert status == 1
    assert [
        line
        for line in lines
        if "declares running_variance = biased, but BN-RUN-VAR in float32 shows otherwise" in line
    ]


def test_an_object_is_judged_here(project: Path) -> None:
    """An adapter's class runs in pytest's own process; other parameters may stand beside, and a class around."""
    (project / "tests" / "test_batchnorm.py").write_text(
        "import bnconform, pytest\nfrom bnconform.backends.numpy_layer import NumpyBackend\n\n"
        "class TestMine:\n    @pytest.mark.parametrize('n', [1, 2])\n"
        "    @bnconform.parametrize(NumpyBackend, dtypes=['float64'], requirements=['BN-RUN-MEAN'])\n"
        "    def test_batchnorm(self, check, n):\n        assert check.requirement == 'BN-RUN-MEAN'\n        check()\n"
    )
    status, lines = run(project, "tests/test_batchnorm.py", "-v")
    assert status == 0, "\n".join(lines)
    assert "2 passed" in lines[-1]
    assert any("test_batchnorm[cpu-float64-BN-RUN-MEAN-1]" in line for line in lines)


WRONG = {
    "no such backend": ('"my_adapter.py:MyBackend"', '"nowhere.py:Mine"', "does not exist: nowhere.py"),
    "no such dtype": ('["float32"]', '["float8"]', "unknown dtype 'float8'"),
    "no such level": ("dtypes=", 'level="shall", dtypes=', "unknown level 'shall'"),
    "no check": ("(check)", "()", "takes no `check`"),
}


@pytest.mark.parametrize(("old", "new", "words"), WRONG.values(), ids=list(WRONG))
def test_what_cannot_be_carried_out_is_one_line(project: Path, old: str, new: str, words: str) -> None:
    """It is an error of collection, with no traceback of ours."""
    (project / "tests" / "test_batchnorm.py").write_text(EXAMPLE.replace(old, new))
    status, lines = run(project, "tests/test_batchnorm.py")
    assert status == 2
    assert [line for line in lines if line.startswith("bnconform: ") and words in line], "\n".join(lines)
    assert not [line for line in lines if "parametrized.py" in line or "Traceback" in line]


def test_file_is_found_from_anywhere(project: Path) -> None:
    """The path of an adapter is looked for in the folder of the run, in pytest's root, and beside the test."""
    status, lines = run(project / "tests", "-k", "BN-RUN-MEAN")
    assert status == 0, "\n".join(lines)


def test_plugin_costs_nothing_where_it_is_not_used(project: Path) -> None:
    """Where no test is decorated, nothing of ours but the plugin is imported, and nothing of what we need."""
    (project / "tests" / "test_batchnorm.py").write_text(
        "import sys\n\ndef test_light():\n"
        "    ours = {name for name in sys.modules if name.partition('.')[0] == 'bnconform'}\n"
        "    assert ours == {'bnconform', 'bnconform.pytest_fixtures'}\n"
        "    assert not {'numpy', 'gmpy2', 'hypothesis', 'rich'} & set(sys.modules)\n"
    )
    # Plugins that are installed beside may import anything.
    status, lines = run(project, "tests/test_batchnorm.py", *(["-p", "no:hypothesispytest"]))
    assert status == 0, "\n".join(lines)
