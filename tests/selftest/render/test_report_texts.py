"""The Markdown, the annotations, the badge and the properties of JUnit: right, bounded, and safe to print."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bnconform.judge.outcome import CONFORMS, VIOLATES, Outcome
from bnconform.judge.subject import Subject
from bnconform.render import badge, junit, markdown, report_files
from bnconform.render.annotations import SourcePlace, workflow_commands
from bnconform.render.evidence import failures
from bnconform.results.result import Diagnosis, Difference, FailedCheck, Result
from bnconform.tests.selftest.command import ADAPTERS
from bnconform.tests.selftest.render.test_page import EVIL
from bnconform.tests.selftest.results.test_failure import FAILURES, TEXTS
from bnconform.tests.selftest.rows import CHAPTERS, FULL, TITLES, row, run

TICKS = "a | b `c` ```` d\n</details>\n@someone #12 www.example.org **bold** [x](y) ]]>"
"""Text that Markdown, or the site that shows it, would take for more."""


def render(text: str) -> str:
    """Markdown with HTML in it, as HTML."""
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


class Tags(HTMLParser):
    """The tags of a text, and what stands outside code, where a site looks for names, issues and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []
        self.prose = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"code", "pre"} & set(self.open):
            self.prose += data


# -- Markdown ------------------------------------------------------------------------------------------------------


def test_markdown_has_causes_before_tables() -> None:
    """First where each stands and of what it fails, each cause folded with its case; then the counts by level."""
    diagnosis = Diagnosis(
        "numpy", ((Difference("running_variance", "biased"),),), 1, 1, "running_variance = biased, so"
    )
    text = markdown.markdown(replace(FULL, diagnoses=(diagnosis,)), TITLES)
    assert text.startswith("## BatchNorm conformance: 1 must requirement failed by 1 of 2 implementations\n")
    stands = "<code>numpy&#58; 1 of 1 must fails, 1 cause&#58; running&#95;variance &#61; biased</code>"
    parts = [stands, "### What fails", "1. <b><code>numpy</code> <code>running_variance = biased</code></b>",
             "| level must | violates | conforms | unsupported |"]  # fmt: skip
    assert [text.find(part) for part in parts] == sorted(text.find(part) for part in parts)
    assert text.count("<details>") == text.count("</details>") == 1
    assert "| <code>numpy</code> | 1 | 1 |  |" in text and "| <code>torch.nn</code> |  |  | 1 |" in text
    assert "```text\nis 1.0,\nshould be 1.25\n```" in text and "Cause: <code>running&#95;variance" in text


def test_what_was_seen_stands_for_a_failure() -> None:
    """A failure's title is known; its line is that of what was looked at, or else the first of its message."""
    failing = row("violates", failure=FAILURES["number"], message=TEXTS["number"])
    assert [finding.headline for finding in failures([failing])] == ["running_var[0] after call 1, forward"]
    assert [finding.headline for finding in failures([row("violates", message="short\nmore")])] == ["short"]


def test_markdown_of_nothing_says_so() -> None:
    """A run without rows has a headline and no table."""
    text = markdown.markdown(run(), {})
    assert "Nothing was judged" in text and "| level" not in text


def test_markdown_of_what_conforms_has_no_failures() -> None:
    """Where nothing fails there is no section of failures."""
    text = markdown.markdown(run(row()), {})
    assert "No must is violated" in text and "What fails" not in text


@pytest.mark.parametrize("evil", [EVIL, TICKS], ids=["html", "markdown"])
def test_markdown_takes_hostile_text_for_text(evil: str) -> None:
    """No tag, table cell, mention, link or end of a block comes from a result."""
    rows = [
        row("violates", backend=evil, device=evil, dtype=evil, requirement=name, message=evil,
            diagnosis=(Difference(evil, evil),)) for name in ("BN-RUN-VAR", evil)
    ]  # fmt: skip
    found = run(*rows)
    found = Result(found.environment, found.rows, (Diagnosis(evil, (), 1, 1, evil),))
    text = markdown.markdown(found, {"BN-RUN-VAR": "its title"})
    plain = Tags(render(text))
    allowed = {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "details", "summary", "b", "ul",
               "li", "pre"}  # fmt: skip
    assert set(plain.found) <= allowed
    assert plain.found.count("details") == 1 and plain.found.count("tr") == 2
    assert plain.found.count("td") == 2
    assert not [word for word in ("someone", "#12", "www", "alert") if word in plain.prose]
    assert not {"\x1b", "\u202e", "\ud800"} & set(text)
    text.encode()


def test_markdown_is_bounded() -> None:
    """However much fails, the page fits a comment, and says how much is left out."""
    many = [row("violates", backend=f"{'|' * 200}{b}", requirement=r, message="`" * 900 + "word " * 2000)
            for b in range(300) for r in CHAPTERS]  # fmt: skip
    text = markdown.markdown(run(*many), TITLES)
    assert len(text) <= 65_536
    assert re.search(r"\| \d+ more \|", text) and re.search(r"^\d+ more are in the result file\.$", text, re.M)
    assert text.count("<details>") == text.count("</details>")


def test_fence_is_longer_than_any_in_it() -> None:
    """A block of code is not ended by its content."""
    assert markdown.fence("a\n````\nb").splitlines()[0] == "`````text"


# -- annotations ---------------------------------------------------------------------------------------------------


def test_annotation_for_each_cause() -> None:
    """The most severe first, dtypes merged; a should is a warning, a may nothing, what conforms nothing."""
    rows = [row("violates", dtype=dtype, message="is 1%,\nshould be 2") for dtype in ("float64", "float32")]
    rows += [row("crashed", backend="a,b:c", message="died")]
    rows += [row("violates", requirement="BN-NUM-STABLE", message="m"), row(dtype="float16")]
    rows += [row("violates", requirement="BN-EDGE-ONE-VALUE-POLICY", message="m")]
    assert workflow_commands(run(*rows)) == [
        "::error title=a%2Cb%3Ac crashed BN-RUN-VAR%3A died::died%0Afails BN-RUN-VAR on cpu float32",
        "::error title=numpy violates BN-RUN-VAR%3A is 1%25%2C::is 1%25,%0Afails BN-RUN-VAR on cpu float64, float32"
        "%0Ais 1%25,%0Ashould be 2",
        "::warning title=numpy violates BN-NUM-STABLE%3A m::m%0Afails BN-NUM-STABLE on cpu float32",
    ]


def test_one_annotation_for_one_cause() -> None:
    """However many requirements fail for it; it names them."""
    cause = (Difference("epsilon_form", "outside"),)
    rows = [row("violates", message="m", diagnosis=cause, requirement=f"BN-{n:02}") for n in range(12)]
    (line,) = workflow_commands(run(*rows))
    assert line.startswith("::error title=numpy violates 12 requirements%3A epsilon_form = outside::epsilon_form")
    assert "BN-07, 4 more on cpu float32" in line


def test_annotation_names_the_adapter_where_it_is_known() -> None:
    """File and line come first, and an explanation before the message."""
    found = run(row("violates", message="m", diagnosis=(Difference("epsilon_form", "outside"),)))
    (line,) = workflow_commands(found, {"numpy": SourcePlace("a,b.py", 7)})
    assert line.startswith("::error file=a%2Cb.py,line=7,title=")
    assert line.endswith("::epsilon_form = outside%0Afails BN-RUN-VAR on cpu float32%0Am")


def test_annotations_are_few_and_count_the_rest() -> None:
    """GitHub shows ten of a kind: the tenth says how many more there are."""
    lines = workflow_commands(run(*(row("violates", backend=f"b{n:02}", message="m") for n in range(25))))
    assert len(lines) == 10 and lines[-1].startswith("::error title=bnconform::16 more causes of failures")
    assert len(workflow_commands(run(*(row("violates", backend=f"b{n}", message="m") for n in range(10))))) == 10


def test_annotations_take_hostile_text_for_text() -> None:
    """No command begins within one, and each is one line."""
    evil = "x\r\n::stop-commands::y\n%0A::error::z, a:b\u2028c"
    for line in workflow_commands(
        run(row("violates", backend=evil, message=evil, diagnosis=(Difference(evil, evil),)))
    ):
        assert line.splitlines() == [line]
        assert re.fullmatch(r"::error title=[^:,\n]*::.*", line)


def test_adapters_are_found_by_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter given as FILE.py:CLASS is where its class begins, from the folder of the run; others have no place."""
    monkeypatch.chdir(ADAPTERS.parent)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    file = next(path for path in sorted(ADAPTERS.glob("*.py")) if "\nclass " in path.read_text(encoding="utf-8"))
    text = file.read_text(encoding="utf-8")
    name = re.findall(r"^class (\w+)", text, re.M)[-1]

    class Named:
        deviations: dict[str, str] = {}  # noqa: RUF012
        unsupported: dict[str, str] = {}  # noqa: RUF012

    def subject(key: str) -> Subject:
        backend = Named()
        backend.name = key  # type: ignore[attr-defined]
        return Subject(key, backend, "cpu", "float32")

    key = f"{file}:{name}"
    found = report_files.places([subject(key), subject("numpy"), subject(f"{tmp_path}/gone.py:A")])
    line = next(n for n, words in enumerate(text.splitlines(), 1) if words.startswith(f"class {name}"))
    assert found == {key: SourcePlace(f"adapters/{file.name}", line)}


# -- the badge -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "requirement", "said", "colour"),
    [
        ("conforms", "BN-RUN-VAR", "conforms", "brightgreen"),
        ("deviates", "BN-RUN-VAR", "conforms as declared", "brightgreen"),
        ("violates", "BN-RUN-VAR", "1 requirement violated", "red"),
        ("crashed", "BN-RUN-VAR", "1 requirement crashed", "red"),
        ("untrusted", "BN-RUN-VAR", "1 requirement untrusted", "red"),
        ("unsupported", "BN-RUN-VAR", "nothing judged", "lightgrey"),
        ("violates", "BN-NUM-STABLE", "nothing judged", "lightgrey"),
    ],
)
def test_badge(verdict: str, requirement: str, said: str, colour: str) -> None:
    """Green only where no must is violated, crashed or untrusted, in both forms."""
    found = run(row(verdict, requirement=requirement))
    assert badge.words(found) == (said, colour)
    data = json.loads(badge.badge(found, Path("b.json")))
    assert data.items() >= {"schemaVersion": 1, "label": "BatchNorm", "message": said, "color": colour}.items()
    assert data.keys() <= {"schemaVersion", "label", "message", "color", "isError"}
    picture = badge.badge(found, Path("b.SVG"))
    root = ET.fromstring(picture)
    assert root.find("{http://www.w3.org/2000/svg}title").text == f"BatchNorm: {said}"  # type: ignore[union-attr]
    assert badge.COLOURS[colour] in picture and root.attrib["aria-label"] == f"BatchNorm: {said}"


def test_badge_of_a_should_beside_a_must_is_green() -> None:
    """A recommendation that is missed does not make a badge red."""
    assert badge.words(run(row(), row("violates", requirement="BN-NUM-STABLE")))[1] == "brightgreen"
    assert badge.words(run())[0] == "nothing judged"


def test_properties_for_junit_are_words() -> None:
    """The worst outcome of a check and its largest share, without the arrays that it kept."""
    place = ("numpy", "cpu", "float32", "BN-RUN-VAR", "must")
    kinds = ((CONFORMS, 0.25), (VIOLATES, None))
    outcomes = [Outcome(*place, kind, bound_share=share, observed=[{"array": "A" * 99}]) for kind, share in kinds]
    assert report_files.properties(outcomes) == [
        ("requirement", "BN-RUN-VAR"), ("level", "must"), ("verdict", "violates"), ("bound_share", "0.25"),
    ]  # fmt: skip
    assert report_files.properties([]) == []


# -- JUnit ---------------------------------------------------------------------------------------------------------


def cases(text: str) -> dict[str, dict[str, list[str]]]:
    """By suite, the name of each case with the tags of what became of it."""
    return {
        str(suite.get("name")): {
            str(case.get("name")): [part.tag for part in case if part.tag != "properties"] for case in suite
        }
        for suite in ET.fromstring(text)
    }


def test_suites_are_the_columns() -> None:
    """A suite for each backend, device and dtype; a case for each requirement, failed, skipped or neither."""
    text = junit.junit(FULL)
    assert cases(text) == {
        "bnconform.numpy.cpu.float64": {"BN-RUN-VAR": []},
        "bnconform.numpy.cpu.float32": {"BN-RUN-VAR": ["failure"]},
        "bnconform.torch.nn.cpu.float32": {"BN-RUN-VAR": ["skipped"]},
    }
    failure = ET.fromstring(text).find(".//failure")
    assert failure is not None and failure.get("type") == "violates"
    assert failure.get("message") == "running_variance = biased" and failure.text == "is 1.0,\nshould be 1.25"
    suite = ET.fromstring(text)[1]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped"), suite.get("errors")) == (
        "1",
        "1",
        "0",
        "0",
    )


def test_a_failure_for_each_cause_of_a_requirement() -> None:
    """Where checks of one requirement fail for two causes, each has its case; many checks of one cause have one."""
    causes = [Diagnosis("numpy", (), 1, 3, text) for text in ("one", "two")]
    checks = tuple(
        FailedCheck(row("violates", failure=replace(FAILURES["number"], cause=text), message=text), (1, 1))
        for text in ("one", "one", "two")
    )
    found = replace(run(*(check.row for check in checks)), diagnoses=tuple(causes), failed=checks)
    assert cases(junit.junit(found)) == {
        "bnconform.numpy.cpu.float32": {"BN-RUN-VAR": ["failure"], "BN-RUN-VAR (cause 2)": ["failure"]}
    }


def test_what_does_not_count_is_skipped() -> None:
    """A failure of a lesser level, or one that the baseline knows."""
    found = run(row("violates", requirement="BN-NUM-STABLE", message="m"))
    assert list(cases(junit.junit(found)).values()) == [{"BN-NUM-STABLE": ["skipped"]}]
    assert list(cases(junit.junit(found, "should")).values()) == [{"BN-NUM-STABLE": ["failure"]}]
    known = {found.rows[0].key: "by design"}
    text = junit.junit(found, "should", known)
    assert list(cases(text).values()) == [{"BN-NUM-STABLE": ["skipped"]}] and "violates (known: by design): m" in text


def test_junit_takes_hostile_text_for_text() -> None:
    """What XML cannot hold is written out, and nothing of a result is markup."""
    evil = f"{EVIL} \x00\ufffe<failure/>"
    text = junit.junit(run(row("violates", backend=evil, requirement=evil, message=evil)))
    root = ET.fromstring(text)
    assert [part.tag for part in root.iter() if part.tag == "failure"] == ["failure"]
    assert not {"\x1b", "\x00", "\ufffe"} & set(text) and r"\x1b" in text
