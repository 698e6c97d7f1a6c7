"""`bnconform report`: what it makes from result files, and what it refuses."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bnconform.cli.main import main
from bnconform.render import report_files
from bnconform.results import result as results
from bnconform.results.joining import JoinError, join
from bnconform.tests.selftest.command import CLONE, bnconform
from bnconform.tests.selftest.render.test_page import hostile
from bnconform.tests.selftest.rows import FULL, grid, row, run


def test_results_of_two_machines_are_joined() -> None:
    """Rows of both, values that differ named together, times and calls added up."""
    other = run(row(device="cuda:0"))
    found = join([("a", FULL), ("b", other)])
    assert len(found.rows) == len(FULL.rows) + 1
    assert found.environment.seconds == 16.0 and found.environment.python == "3.11.7"
    assert found.environment.backends == FULL.environment.backends
    assert join([("a", FULL)]) is FULL


def test_two_results_about_the_same_are_refused() -> None:
    """One table has one row for each; the message names both files and what compares them."""
    with pytest.raises(JoinError, match=r"^a and b both judge numpy on cpu in float32; bnconform compare"):
        join([("a", run(row())), ("b", run(row("violates")))])
    with pytest.raises(JoinError, match="two levels"):
        join([("a", run(row())), ("b", run(row(device="cuda:0", level="may")))])


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A result file, in the folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    results.write(tmp_path / "r.json", FULL)
    return tmp_path / "r.json"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it refuses, having written nothing."""
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert main(["report", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("bnconform: ") and said.err.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    return said.err


def test_writes_all_that_is_asked_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file is written, the annotations are printed and the matrix is not; the status is 0."""
    assert file
    given = ["r.json", "--html", "p.html", "--markdown", "s.md", "--badge", "b.svg", "--annotations"]
    given += ["--junit", "j.xml"]
    assert main(["report", *given]) == 0
    assert Path("j.xml").read_text(encoding="utf-8").count("<testsuite ") == 3
    assert capsys.readouterr().out.splitlines()[0].startswith("::error title=numpy violates BN-RUN-VAR")
    assert Path("p.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert Path("s.md").read_text(encoding="utf-8").startswith("## BatchNorm")
    assert Path("b.svg").read_text(encoding="utf-8").startswith("<svg")


def test_prints_the_matrix_as_a_run_does(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With no option the result is shown again."""
    assert main(["report", str(file)]) == 0
    said = capsys.readouterr().out
    assert "BN-RUN-VAR" in said and "What fails: 1 cause\n" in said


def test_hostile_result_makes_every_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a result says, each report is made, and is UTF-8."""
    results.write(tmp_path / "r.json", hostile())
    names = [("--html", "p.html"), ("--markdown", "s.md"), ("--badge", "b.json")]
    given = [word for option, name in names for word in (option, str(tmp_path / name))]
    assert main(["report", str(tmp_path / "r.json"), *given, "--annotations"]) == 0
    for _, name in names:
        assert (tmp_path / name).read_text(encoding="utf-8")
    assert all(line.startswith("::") for line in capsys.readouterr().out.splitlines())
    assert main(["report", str(tmp_path / "r.json")]) == 0


def test_empty_result_makes_every_report(tmp_path: Path) -> None:
    """A run without rows is no reason to fail."""
    results.write(tmp_path / "r.json", run())
    given = ["--html", "p.html", "--markdown", "s.md", "--badge", "b.json"]
    places = [str(tmp_path / word) if "." in word else word for word in given]
    assert main(["report", str(tmp_path / "r.json"), *places, "--annotations"]) == 0
    assert "Nothing was judged" in (tmp_path / "p.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "report: the following arguments are required: RESULT.json"),
        (["--html", "p.html"], "report: the following arguments are required: RESULT.json"),
        (["gone.json"], "cannot read the result gone.json"),
        (["bad.json"], "bad.json is not JSON"),
        (["list.json"], "list.json is not a result"),
        (["r.json", "--colour"], "does not take '--colour'"),
        (["r.json", "--html"], "expected one argument"),
        (["r.json", "--html", "no/p.html"], "cannot write the page no/p.html: no is not a folder"),
        (["r.json", "--html", "."], "it is a folder"),
        (["r.json", "--markdown", "no/s.md"], "cannot write the Markdown no/s.md"),
        (["r.json", "--badge", "b.png"], "give a path that ends in .svg or .json"),
        (["r.json", "--badge", "no/b.svg"], "cannot write the badge"),
        (["r.json", "--badge", "r.json"], "another of the files given"),
        (["r.json", "--html", "p.md", "--markdown", "./p.md"], "another of the files given"),
        (["r.json", "--kill-matrix", "k.json"], "give --html PATH, too"),
        (["r.json", "--html", "p.html", "--kill-matrix", "k.json"], "cannot read the kill matrix k.json"),
        (["r.json", "--html", "p.html", "--kill-matrix", "r.json"], "r.json is not a kill matrix"),
        (["r.json", "again.json"], "r.json and again.json both judge"),
        (["r.json", "bad.json", "--html", "p.html"], "bad.json is not JSON"),
    ],
)
def test_bad_request_is_refused(
    arguments: list[str], words: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says what is wrong, and nothing is written."""
    Path("bad.json").write_text("{", encoding="utf-8")
    Path("list.json").write_text("[]", encoding="utf-8")
    Path("again.json").write_bytes(file.read_bytes())
    assert words in refusal(capsys, *arguments)


@pytest.mark.parametrize("missing", report_files.EXTRA)
def test_missing_extra_is_said_before_anything_is_done(
    missing: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its packages --html is refused with what to install, and everything else goes on without them."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    said = refusal(capsys, str(file), "--html", "p.html")
    assert f"--html needs {missing}; install them" in said and 'pip install "bnconform[report]"' in said
    assert main(["report", str(file), "--markdown", "s.md", "--badge", "b.svg"]) == 0


def test_texts_need_no_extra(file: Path) -> None:
    """Markdown, badge and annotations import neither of the packages that only the page needs."""
    code = (
        "import sys; sys.modules['jinja2'] = sys.modules['matplotlib'] = sys.modules['markupsafe'] = None\n"
        "from bnconform.cli.main import main\n"
        f"sys.exit(main(['report', {str(file)!r}, '--markdown', 's.md', '--badge', 'b.svg', '--annotations']))"
    )
    place = {"PYTHONPATH": str(CLONE or "")}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=place, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"") and Path("s.md").exists()


def test_job_summary_is_added_to(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step said before stays in its summary; any other file is replaced."""
    for name in ("summary.md", "other.md"):
        Path(name).write_text("# said before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file.parent / "summary.md"))
    for _ in range(2):
        assert main(["report", str(file), "--markdown", "summary.md"]) == 0
    said = Path("summary.md").read_text(encoding="utf-8")
    assert said.startswith("# said before\n\n## BatchNorm") and said.count("## BatchNorm conformance") == 2
    assert main(["report", str(file), "--markdown", "other.md"]) == 0
    assert Path("other.md").read_text(encoding="utf-8").startswith("## BatchNorm")


def test_command_reports(tmp_path: Path) -> None:
    """The command does it from another folder, on a run with every verdict."""
    results.write(tmp_path / "r.json", run(*grid(["a", "b"])))
    answer = bnconform(tmp_path, "report", "r.json", "--html", "p.html", "--annotations")
    answer.assert_no_traceback()
    assert answer.status == 0 and answer.err == ""
    assert answer.lines and all(re.match("::(error|warning) title=", line) for line in answer.lines)
    assert (tmp_path / "p.html").stat().st_size > 50_000
    bnconform(tmp_path, "report", "gone.json").assert_refused("cannot read the result gone.json")
