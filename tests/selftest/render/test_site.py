"""The site: every page is there, every link leads somewhere, nothing is obeyed, and nothing is fetched."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pytest

from bnconform.backends import registry
from bnconform.cli.main import main
from bnconform.render import report_files, site_files
from bnconform.render.site import MARKER, SiteData, site, slug
from bnconform.results import porting_list
from bnconform.results import result as results
from bnconform.results.result import Result
from bnconform.results.timeline import timelines
from bnconform.spec.catalogue import FOLDING, requirements
from bnconform.tests.selftest.command import bnconform
from bnconform.tests.selftest.render.test_page import EVIL, KILLS, Reader, hostile
from bnconform.tests.selftest.rows import FULL, grid, row, run

FOLD = next(rule.id for rule in requirements().values() if rule.chapter == FOLDING)


def date(result: Result, day: str, torch: str = "2.13.0") -> Result:
    """The result as it would be of another day and version."""
    packages = {**result.environment.packages, "torch": torch}
    return replace(
        result, environment=replace(result.environment, started=f"{day}T01:00:00+00:00", packages=packages)
    )  # fmt: skip


def make(*given: Result, ways: bool = False) -> dict[str, str]:
    """The files of a site about results, with the package's own findings; with the ways of few frameworks or none."""
    table = porting_list.read(report_files.PORTING)
    code = {**table["code"], "lines": {}}
    data = SiteData(
        timelines=timelines([(str(number), one) for number, one in enumerate(given)], registry.distributions),
        rules=report_files.rules(),
        deployments=FOLDING,
        kills=None,
        porting=table if ways else {**table, "code": code, "cards": {"numpy": table["cards"]["numpy"]}},
        findings=site_files._findings(),
    )
    return site(data)


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """A site about implementations of every kind: of frameworks, somebody's, a tool that deploys; over two versions."""
    torch = run(
        row("violates", backend="torch.nn", requirement="BN-REC-MODE", message="one\ntwo", bound_share=3.0),
        row(backend="torch.nn", bound_share=0.1),
        row("deviates", backend="torch.nn", requirement="BN-TRAIN-VAR", message="x"),
    )  # fmt: skip
    before = run(row(backend="torch.nn", requirement="BN-REC-MODE"), row(backend="torch.nn"))
    tool = run(row("violates", backend="torch.fx.fuse", requirement=FOLD, message="folded wrongly"))
    others = run(*grid(["mine", "other one"], devices=("cpu", "cuda:0")))
    return make(date(torch, "2026-02-01"), date(before, "2026-01-01", "2.9.0"), tool, others)


def pages(files: dict[str, str]) -> dict[str, str]:
    """Those that are HTML."""
    return {path: text for path, text in files.items() if path.endswith(".html")}


def target(page: str, address: str) -> tuple[str, str]:
    """Where a relative address leads: the path, and the place on that page."""
    path, _, place = address.partition("#")
    parts: list[str] = []
    for part in [*PurePosixPath(page).parent.parts, *PurePosixPath(unquote(path)).parts] if path else []:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts) if path else page, unquote(place)


def test_there_is_a_page_for_everything(files: dict[str, str]) -> None:
    """For each implementation and its badge, each requirement of the catalogue, each finding about what was judged."""
    for name in ("torch.nn", "torch.fx.fuse", "mine", slug("other one")):
        assert f"implementations/{name}.html" in files
        assert files[f"badges/{name}.svg"].startswith("<svg") and json.loads(files[f"badges/{name}.json"])["message"]
    assert {f"requirements/{name}.html" for name in requirements()} <= set(files)
    found = {path for path in files if path.startswith("findings/torch-")}
    assert "findings/torch-evaluation-gradient-after-training.html" in found
    assert not [path for path in files if path.startswith("findings/keras")]
    assert files[MARKER] and files[".nojekyll"] == ""


def test_every_link_leads_somewhere(files: dict[str, str]) -> None:
    """To a file of the site and a place on it, or to a document."""
    ids = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in files.items()}
    for path, text in pages(files).items():
        for address in re.findall(r'href="([^"]+)"', text):
            if address.startswith("https://"):
                continue
            file, place = target(path, address)
            assert file in files, f"{path}: {address}"
            assert not place or place in ids[file], f"{path}: {address}"


def test_pages_need_nothing_else(files: dict[str, str]) -> None:
    """No script, nothing that is loaded, tags in balance, ids once each, one first heading, a policy that forbids."""
    for path, text in pages(files).items():
        reader = Reader(text)
        names = [tag for tag, _ in reader.tags]
        assert not {"script", "iframe", "object", "link", "img", "image", "form", "base"} & set(names), path
        given = {name for _, attributes in reader.tags for name in attributes}
        assert not {name for name in given if name.startswith("on")} | (given & {"src", "action"}), path
        ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        assert names.count("h1") == 1
        policy = next(attributes["content"] or "" for _, attributes in reader.tags if "http-equiv" in attributes)
        assert policy.startswith("default-src 'none'") and "script-src" not in policy
        assert "url(http" not in text and "@import" not in text


def test_front_page_has_every_standing(files: dict[str, str]) -> None:
    """The worst first, tools that deploy by themselves, findings and failing requirements below, with their links."""
    text = files["index.html"]
    assert "BatchNorm conformance of 4 implementations" in text
    order = [text.index(f'id="{name}"') for name in ("mine", "torch.nn", "torch.fx.fuse")]
    assert order == sorted(order)
    layers, _, tools = text.partition("Tools that deploy models")
    assert 'href="implementations/torch.fx.fuse.html"' in tools and 'id="torch.fx.fuse"' not in layers
    assert 'href="requirements/BN-REC-MODE.html"' in text
    assert 'href="findings/torch-evaluation-gradient-after-training.html"' in text
    assert "torch 2.13.0" in text and "1 requirement violated" in text


def test_page_of_an_implementation(files: dict[str, str]) -> None:
    """Standing, cause with the finding that says the same, findings, versions, verdicts, and its badge."""
    text = files["implementations/torch.nn.html"]
    assert "2 of 3 musts fail" not in text and "1 of 3 musts fails" in text
    card = re.search(r"<article.*?</article>", text, re.S)
    assert card is not None and "../findings/torch-evaluation-gradient-after-training.html" in card[0]
    assert "../requirements/BN-REC-MODE.html" in card[0]
    assert re.search(r"2\.9\.0 -&gt; 2\.13\.0.*?BN-REC-MODE.*?newly wrong", text, re.S)
    assert "[![BatchNorm](https://EXAMPLE/badges/torch.nn.svg)]" in text
    assert "mine" not in Reader(text).text
    assert "Over time" not in files["implementations/mine.html"]


def test_page_of_a_requirement(files: dict[str, str]) -> None:
    """What it asks for, each implementation's verdicts with those that fail first, and the evidence."""
    rule = requirements()["BN-REC-MODE"]
    text = Reader(files["requirements/BN-REC-MODE.html"]).text
    assert rule.statement in text and rule.breaks in text and "one\ntwo" in text
    assert "V violates" in text
    asked = {"BN-REC-MODE", "BN-TRAIN-VAR", FOLD, *(one.requirement for one in grid(["a"]))}
    unasked = next(name for name in requirements() if name not in asked)
    assert "No implementation here was asked." in files[f"requirements/{unasked}.html"]


def test_links_are_stable(files: dict[str, str]) -> None:
    """What a page is about alone says what it is called, whatever else is on the site."""
    alone = make(run(*grid(["mine"])))
    assert set(pages(alone)) - {"porting/index.html"} <= set(files) | {"porting/numpy.html"}
    assert slug("torch.nn+compile") == "torch.nn+compile"
    names = ["a b", "a/b", "a_b", "../a", ".a", "", EVIL, "a" * 200, "a" * 201, "index"]
    assert len({slug(name) for name in names}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,90}", slug(name)) for name in names)


def test_hostile_results_make_a_site() -> None:
    """Names that are markup, paths and half pairs are shown as text, and no file leaves the folder."""
    files = make(hostile())
    for path, text in files.items():
        assert ".." not in path and not path.startswith("/")
        text.encode()
        assert not {"\x1b", "\u202e", "\ud800"} & set(text)
        assert "<script>alert" not in text and "<img" not in text
    assert "<script>alert(1)</script>" in Reader(files["index.html"]).text
    for text in pages(files).values():
        Reader(text)


def test_no_result_is_a_site_of_requirements() -> None:
    """A site about nothing says so."""
    files = make(run())
    assert "No result was given." in files["index.html"] and "requirements/BN-RUN-VAR.html" in files


def test_ways_between_frameworks() -> None:
    """Where a framework was judged, there are its page and what there is to do from it to each other, with the code."""
    files = make(run(row(backend="torch.nn")), ways=True)
    text = files["porting/from-torch.nn.html"]
    assert 'id="flax.nnx"' in text and "nnx.BatchNorm(3, epsilon=1e-05, momentum=0.9" in text
    assert 'class="task"' in text and "They were run on" in text
    assert "keras" in files["porting/keras.html"] and 'href="from-torch.nn.html"' in files["porting/index.html"]
    assert '<a href="../porting/from-torch.nn.html">' in files["implementations/torch.nn.html"]
    assert not [path for path in make(run(row(backend="mine"))) if path.startswith("porting/")]


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the command runs, with a result."""
    monkeypatch.chdir(tmp_path)
    results.write(tmp_path / "r.json", run(row(backend="mine"), row("violates", backend="other", message="x")))
    return tmp_path


def test_command_writes_a_site(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And writes it again, with what is new; the kill matrix that is given is on it."""
    Path("k.json").write_text(json.dumps(KILLS), encoding="utf-8")
    assert main(["site", "r.json", "out", "--kill-matrix", "k.json"]) == 0
    assert capsys.readouterr().out.endswith("pages are in out; open out/index.html\n")
    assert "what is wrong with late" in (here / "out" / "kill-matrix.html").read_text(encoding="utf-8")
    results.write(here / "s.json", date(FULL, "2026-03-01"))
    assert main(["site", "r.json", "s.json", "out"]) == 0
    assert (here / "out" / "implementations" / "torch.nn.html").exists()
    assert (here / "out" / "implementations" / "mine.html").exists()


def test_command_runs_from_anywhere(here: Path) -> None:
    """In a process of its own, into a folder in a folder that does not exist yet."""
    answer = bnconform(here, "site", "r.json", "a/b")
    answer.assert_no_traceback()
    assert answer.status == 0 and answer.err == "" and (here / "a" / "b" / "index.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: RESULT.json, OUT"),
        (["r.json"], "the following arguments are required: OUT"),
        (["gone.json", "out"], "cannot read the result gone.json"),
        (["r.json", "bad.json", "out"], "bad.json is not JSON"),
        (["out", "r.json"], "cannot write the site r.json: it is not a folder; the folder comes last"),
        (["r.json", "mine"], "it has files that `bnconform site` did not write"),
        (["r.json", "."], "it has files that `bnconform site` did not write"),
        (["r.json", "out", "--kill-matrix", "gone.json"], "cannot read the kill matrix gone.json"),
        (["r.json", "out", "--table", "r.json"], "r.json is not a porting table"),
        (["r.json", "bad.json/out"], "cannot write"),
    ],
)
def test_bad_request_is_refused(words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong, and nothing is written."""
    Path("bad.json").write_text("{", encoding="utf-8")
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("mine")
    before = sorted(path.as_posix() for path in here.rglob("*"))
    assert main(["site", *words]) == 2
    found = capsys.readouterr()
    assert found.out == "" and found.err.startswith("bnconform: ") and found.err.count("\n") == 1 and said in found.err
    assert sorted(path.as_posix() for path in here.rglob("*")) == before
