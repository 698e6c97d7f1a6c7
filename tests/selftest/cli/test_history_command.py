"""`bnconform history` at a terminal: versions in environments of their own, kept results, refused requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bnconform import api
from bnconform.cli.main import main
from bnconform.errors import UserError
from bnconform.execution.environments import Environments, NotInstalled, list_releases
from bnconform.results import history_file, result
from bnconform.spec import catalogue
from bnconform.tests.selftest.rows import row, run

ASKED = ("history", "mlx", "--dtype", "float32", "--requirement", "BN-RUN-VAR")


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages that were asked for: environments are not made, and before 3.0 the variance is biased."""
    asked: list[str] = []

    def interpreter(self: Environments, packages: Sequence[str]) -> Path:
        asked.append(packages[0])
        if packages[0].endswith("==2.0"):
            raise NotInstalled("mlx==2.0: no matching distribution")
        return Path(packages[0].partition("==")[2])

    def judge(backend: str, *, python: Path, **given: object) -> result.Result:
        return run(row("violates" if str(python) < "3.0" else "conforms", backend=backend))

    monkeypatch.setattr(Environments, "interpreter", interpreter)
    monkeypatch.setattr(api, "judge", judge)
    return asked


def test_changes_are_told(judged: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the versions between which they lie, and those that do not install; results are found again."""
    versions = [word for version in ("1.0", "2.0", "3.0", "4.0") for word in ("--version", version)]
    given = [*ASKED, *versions, "--folder", str(tmp_path), "--markdown", str(tmp_path / "h.md")]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "1.0 -> 3.0" in out and "fixed" in out and "3 of 4 versions of mlx judged: 1 fixed" in out
    assert "not judged: 2.0: mlx==2.0: no matching distribution" in out
    assert "| 1.0 -> 3.0 | BN-RUN-VAR |" in (tmp_path / "h.md").read_text()
    first = list(judged)
    assert sorted(first) == ["mlx[cpu]==1.0", "mlx[cpu]==2.0", "mlx[cpu]==3.0", "mlx[cpu]==4.0"]
    assert main(given) == 0
    assert judged == [*first, "mlx[cpu]==2.0"]


def test_environments_are_removed(judged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By --discard, each after its version, those that do not install too; not otherwise."""
    gone: list[str] = []
    monkeypatch.setattr(Environments, "discard", lambda self, packages: gone.append(packages[0]))
    versions = [word for version in ("1.0", "2.0", "4.0") for word in ("--version", version)]
    assert main([*ASKED, *versions, "--folder", str(tmp_path / "kept")]) == 0
    assert gone == []
    assert main([*ASKED, *versions, "--folder", str(tmp_path / "other"), "--discard"]) == 0
    assert sorted(gone) == ["mlx[cpu]==1.0", "mlx[cpu]==2.0", "mlx[cpu]==4.0"]


def test_what_crashes_everywhere_is_no_verdict(
    judged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where most requirements crash, the adapter or what is installed does not fit: the version was not judged."""

    def judge(backend: str, *, python: Path, **given: object) -> result.Result:
        crashed = row("crashed", backend=backend, message="build raised AttributeError: no attribute device")
        fine = [row(backend=backend, requirement=name) for name in ("BN-EVAL-STATS", "BN-GRAD-BIAS")]
        lone = [row("crashed", backend=backend, requirement="BN-TRAIN-NORM", message="so it did")]
        return run(crashed, *(lone if str(python) < "2.5" else fine), row("unsupported", requirement="BN-RANK"))

    monkeypatch.setattr(api, "judge", judge)
    versions = [word for version in ("1.0", "3.0", "4.0") for word in ("--version", version)]
    assert main([*ASKED, *versions, "--folder", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "not judged: 1.0: it crashes in 2 of 2 requirements: build raised AttributeError" in out
    assert "2 of 3 versions of mlx judged" in out


def test_one_that_is_discarded_is_gone(tmp_path: Path) -> None:
    """With everything in it; where there is none, nothing happens."""
    made = Environments(tmp_path)
    place = made.place(["mlx==1.0"])
    (place / "bin").mkdir(parents=True)
    made.discard(["mlx==1.0"])
    made.discard(["mlx==1.0"])
    assert not list(tmp_path.iterdir())


def test_requirements_are_left_out(
    judged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are asked for, and the file says which were not; so many names are still the name of a folder."""
    asked: list[Sequence[str]] = []

    def judge(backend: str, *, requirements: Sequence[str], python: Path, **given: object) -> result.Result:
        asked.append(requirements)
        return run(row(backend=backend))

    monkeypatch.setattr(api, "judge", judge)
    path = tmp_path / "mlx.json"
    given = ["history", "mlx", "--version", "1.0", "--version", "3.0", "--folder", str(tmp_path), "--json", str(path)]
    every = [word for name in catalogue.requirements() if name != "BN-RUN-VAR" for word in ("--leave-out", name)]
    assert main([*given, "--leave-out", "BN-PAIR"]) == 0
    assert set(asked[0]) == catalogue.requirements().keys() - {"BN-PAIR"}
    assert history_file.read(path).left_out == ("BN-PAIR",)
    assert main([*given, *every]) == 0
    assert asked[-1] == ["BN-RUN-VAR"]
    assert main([*given, "--leave-out", "BN-NO"]) == 2
    assert "there is no requirement BN-NO" in capsys.readouterr().err


REFUSED = {
    "two dtypes in a file": (("--dtype", "float64", "--json", "h.json"), "one dtype"),
    "no place for the file": (("--version", "1.0", "--version", "3.0", "--json", "gone/h.json"), "gone"),
    "one version": (("--version", "1.0"), "two versions of mlx"),
    "none in the range": (("--version", "1.0", "--version", "2.0", "--since", "9"), "two versions of mlx, and 0"),
    "no version": (("--version", "one", "--version", "2.0"), "one"),
    "too few to be judged": (
        ("--version", "2.0", "--version", "1.0"),
        "1 of 2 versions could be judged; 2.0: mlx==2.0",
    ),
    "no place for the table": (("--version", "1.0", "--version", "3.0", "--markdown", "gone/h.md"), "gone"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=list(REFUSED))
def test_refused_in_one_line(
    words: tuple[str, ...], said: str, judged: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit status 2."""
    assert main([*ASKED, *words, "--folder", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("bnconform: ") and err.count("\n") == 1 and said in err


def test_an_environment_is_whole_or_absent(tmp_path: Path) -> None:
    """One that cannot be made leaves nothing behind, and the installer's complaint is one line."""
    package = tmp_path / "no_package"
    package.mkdir()
    (package / "pyproject.toml").write_text("[build-system]\nrequires = []\nbuild-backend = 'gone'\n")
    with pytest.raises(NotInstalled) as refused:
        Environments(tmp_path / "made").interpreter([str(package)])
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "made").glob("*/*"))


def test_releases_of_nothing() -> None:
    """A package that the index does not know is told so."""
    with pytest.raises(UserError, match="no release of"):
        list_releases("bnconform-has-no-such-package")
