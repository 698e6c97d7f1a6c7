"""The page about a run: everything is on it, nothing of a result is more than text, and nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bnconform.render import plots, report_files
from bnconform.render.page import PageData, page, summary
from bnconform.results import kill_matrix
from bnconform.results.result import Declaration, Difference, Result, Row
from bnconform.spec.catalogue import requirement, requirements
from bnconform.tests.selftest.rows import ALL_DTYPES, FULL, grid, row, run

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{7*7}}${7*7}\x1b[31m\u202e\ud800</pre></svg>"
"""What an adapter may call itself, or say."""

KILLS = {
    "schema": kill_matrix.SCHEMA,
    "date": "2026-11-22",
    "bnconform": "0.1.0",
    "summary": "2 of 2 wrong implementations killed",
    "verdicts": [
        {
            "implementation": name,
            "says": f"what is wrong with {name}",
            "thread": "torch#1",
            "wrong": named != [],
            "named_by": named,
            "dtype": dtype,
            "killed": killed,
        }
        for name, named, dtype, killed in (
            ("late", ["BN-RUN-VAR"], "float64", {"BN-RUN-VAR": 7.5, "BN-RUN-MEAN": 3.0}),
            ("late", ["BN-RUN-VAR"], "float32", {"BN-RUN-VAR": 9.5}),
            ("lost", ["BN-RUN-MEAN"], "float64", {"BN-RUN-MEAN": None}),
            ("right", [], "float64", {}),
        )
    ],
}


class Reader(HTMLParser):
    """The tags of a page with their attributes, and the texts of its scripts; unbalanced tags fail."""

    VOID = ("meta", "link", "img", "br", "wbr", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        self.text = "".join(self.texts)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)


def read(result: Result, **given: Any) -> tuple[str, Reader]:
    """The page about a result, with the catalogue, and its tags."""
    text = page(result, PageData(report_files.rules(), **given))
    return text, Reader(text)


def assert_alone(reader: Reader) -> None:
    """One script, nothing that loads anything, no handlers, and links to places of the page or documents only."""
    assert len(reader.scripts) == 1
    names = [tag for tag, _ in reader.tags]
    assert not {"iframe", "object", "embed", "base", "link", "img", "image", "audio", "video", "source"} & set(names)
    assert names.count("script") == 1
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
        for name in ("href", "xlink:href"):
            if name in attributes:
                start = ("#", "https://", "http://") if tag == "a" else ("#",)
                assert str(attributes[name]).startswith(start)


def test_shows_all_of_a_run() -> None:
    """Backends, verdicts, letters, messages, explanations, environment and every requirement that was judged."""
    text, reader = read(FULL)
    assert_alone(reader)
    for words in ("torch.nn", "is 1.0,\nshould be 1.25", "running_variance = biased", "Linux x86_64", "12.5 of the"):
        assert words in reader.text
    ids = {attributes.get("id") for _, attributes in reader.tags}
    assert set(requirements()) & ids == {row.requirement for row in FULL.rows}
    one = requirement("BN-RUN-VAR")
    assert one.statement in reader.text and one.formula in reader.text and one.breaks in reader.text
    cells = re.findall(r'<td data-v="(\w+)"', text)
    assert sorted(cells) == ["conforms", "unsupported", "violates"]
    assert '<a href="#BN-RUN-VAR">V<span class="sr"> violates</span></a>' in text


def test_ids_are_unique_and_references_lead_somewhere() -> None:
    """No id is there twice, in plots either, and every reference inside the page has its target."""
    points = [
        plots.Condition("a", "cpu", dtype, "c", 10.0**power, 1e-7, 1e-6, 1e-5, False, False)
        for dtype in ("float64", "float32")
        for power in (1, 2)
    ]
    text, reader = read(run(*grid(["a", "b"], devices=("cpu", "cuda:0"))), conditioning=points)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    aimed = {str(a[n])[1:] for _, a in reader.tags for n in ("href", "xlink:href") if str(a.get(n)).startswith("#")}
    aimed |= set(re.findall(r"url\(#([^)]*)\)", text))
    aimed |= {name for _, a in reader.tags for name in str(a.get("aria-labelledby") or "").split()}
    assert aimed <= set(ids)


def test_every_verdict_has_its_letter_and_its_word() -> None:
    """Nothing is told by colour alone: each verdict has a letter, small below must, and what fails its word."""
    text, _ = read(run(*grid(["a", "b", "c"])))
    found: dict[str, set[str]] = {}
    for verdict, cell in re.findall(r'<td data-v="(\w+)"[^>]*>(.*?)</td>', text):
        found.setdefault(verdict, set()).add(re.sub("<[^>]*>", "", cell))
    letters = {"deviates": "D", "violates": "V", "crashed": "C", "untrusted": "U"}
    for verdict, letter in letters.items():
        assert found[verdict] == {f"{letter} {verdict}", f"{letter.lower()} {verdict}"}
    assert (found["conforms"], found["unsupported"]) == ({"+"}, {"-"})


def hostile() -> Result:
    """A run of which every text is hostile."""
    rows = [
        Row(EVIL + verdict, EVIL, EVIL, name, "must", verdict, 1, 2.0, 3.0, (Difference(EVIL, EVIL),), EVIL, EVIL)
        for verdict in ("violates", "crashed", "untrusted", "deviates", "unsupported", "conforms")
        for name in ("BN-RUN-VAR", EVIL)
    ]
    found = run(*rows)
    environment = replace(found.environment, packages={EVIL: EVIL}, devices={EVIL: EVIL}, platform=EVIL, started=EVIL)
    return replace(found, environment=environment, declarations=(Declaration(EVIL, EVIL, {EVIL: EVIL}, {EVIL: EVIL}),))


def test_hostile_text_is_text() -> None:
    """Markup, braces, control characters and half pairs from a result are shown, or replaced, and never obeyed."""
    text, reader = read(hostile(), problems=[EVIL], conditioning=[
        plots.Condition(EVIL, EVIL, "float32", EVIL, 1.0, 1.0, 1.0, 1.0, True, True)])  # fmt: skip
    assert_alone(reader)
    assert "<script>alert" not in text and "<img" not in text and "{{7*7}}" in text and "49" not in reader.scripts[0]
    assert not {"\x1b", "\u202e", "\ud800"} & set(text) and r"\x1b" in text and r"\u202e" in text
    text.encode()
    assert "<script>alert(1)</script>" in reader.text


def test_policy_forbids_all_but_the_own_script() -> None:
    """The policy's hash is that of the script, and nothing may be fetched."""
    text, reader = read(FULL)
    policy = next(a["content"] or "" for tag, a in reader.tags if "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(reader.scripts[0].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy
    assert "url(http" not in text and "@import" not in text


def headings(text: str) -> list[str]:
    """The headings of a page's sections, in their order, without counts."""
    return [re.sub(r": \d.*", "", words) for words in re.findall(r"<h2[^>]*>([^<]*)</h2>", text)]


def test_verdict_comes_first_and_the_run_last() -> None:
    """The standing, the causes and the picture stand before everything else, and where it was run at the end."""
    text, _ = read(FULL)
    assert text.index("numpy: 1 of 1 must fails, 1 cause: running_variance = biased") < text.index("<h2")
    assert headings(text)[:2] == ["How far from the truth", "What fails"]  # of several implementations
    alone, _ = read(run(*(row for row in FULL.rows if row.backend == "numpy")))
    assert headings(alone)[:2] == ["What fails", "How far from the truth"]
    assert headings(text)[-1] == headings(alone)[-1] == "This run"


def test_nothing_is_empty() -> None:
    """What there is nothing to say of has no heading, no link to it, and no empty table."""
    text, reader = read(run(row(bound_share=0.1)))
    assert headings(text) == ["How far from the truth", "Summary", "Matrix", "Requirements", "This run"]
    linked = {str(a["href"]) for tag, a in reader.tags if tag == "a" and str(a.get("href")).startswith("#")}
    assert not {"#causes", "#plots", "#kills", "#porting"} & linked
    assert "<tbody></tbody>" not in text and "Declared" not in reader.text


def test_one_table_for_the_three_levels() -> None:
    """Requirements are counted once for each implementation, by their worst verdict, under the head of their level."""
    rows = [
        row("violates", dtype="float32", message="x"), row(dtype="float64"),
        row(requirement="BN-TRAIN-NORM"), row("deviates", requirement="BN-NUM-STABLE", message="x"),
        row("unsupported", requirement="BN-EDGE-ONE-VALUE-POLICY", message="none"),
    ]  # fmt: skip
    found = summary(run(*rows).rows)
    assert found["heads"] == [("must", ["fail", "hold"]), ("should", ["as declared"]), ("may", ["unsupported"])]
    assert found["lines"] == [("numpy", [("fail", 1), ("hold", 1), ("as declared", 1), ("unsupported", 1)])]


def test_a_cause_is_a_card() -> None:
    """Its decision, the requirement, what was found, the other requirements that fail for it, and a replay."""
    text, reader = read(FULL)
    cards = re.findall(r"<article.*?</article>", text, re.S)
    assert len(cards) == 1 and "running_variance = biased" in cards[0] and 'href="#BN-RUN-VAR"' in cards[0]
    assert "is 1.0," in reader.text


def test_empty_result_has_a_page() -> None:
    """Where nothing was judged the page says so."""
    text, reader = read(run())
    assert "Nothing was judged" in reader.text and "there is nothing to show" in reader.text
    assert headings(text) == ["This run"]


def test_unknown_requirement_is_shown() -> None:
    """What another version judged has its row and section, under a chapter of its own."""
    text, reader = read(run(row("violates", requirement="BN-NEW", message="found")))
    assert 'id="BN-NEW"' in text and "This version's catalogue has no such requirement" in reader.text


def test_page_of_a_large_run_is_small() -> None:
    """Thirty implementations in four dtypes, a fifth of them failing with long messages, take less than those."""
    verdicts = ["conforms"] * 4 + ["violates"]
    rows = [
        row(verdict, backend=f"backend.{b}", dtype=dtype, requirement=name, level=rule.level, bound_share=0.01 * b,
            message="" if verdict == "conforms" else f"found by {b} " + "words " * 300)
        for number, (name, rule) in enumerate(requirements().items()) for b in range(30) for dtype in ALL_DTYPES
        for verdict in (verdicts[(number + b) % 5],)
    ]  # fmt: skip
    text, _ = read(run(*rows))
    assert len(text.encode()) < sum(len(one.message) for one in rows)


# -- the kill matrix, and the porting table ------------------------------------------------------------------------


def test_kill_matrix_is_shown(tmp_path: Path) -> None:
    """Each requirement names the wrong implementations that it fails, the worst margin of all dtypes with them."""
    (tmp_path / "k.json").write_text(json.dumps(KILLS), encoding="utf-8")
    matrix = kill_matrix.read(tmp_path / "k.json")
    assert (len(matrix.wrong), matrix.right) == (2, 1)
    assert [one.name for one in matrix.killers_of("BN-RUN-MEAN")] == ["lost", "late"]
    late, lost = matrix.wrong
    assert late.killed == {"BN-RUN-VAR": 9.5, "BN-RUN-MEAN": 3.0} and late.dtypes == ("float64", "float32")
    assert lost.killed == {"BN-RUN-MEAN": None} and (late.alone, lost.alone) == ("", "BN-RUN-MEAN")
    _, reader = read(FULL, kills=matrix)
    for words in ("what is wrong with late", "9.5 times the bound", "2 of 2 wrong", "2026-11-22"):
        assert words in reader.text
    assert "what is wrong with lost" not in reader.text  # which BN-RUN-MEAN names, of which nothing was judged


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot read the kill matrix"), ("{", "is not JSON"), ("[]", "is not a kill matrix: at the top"),
     ('{"schema": "bnconform/result/1"}', "is not a kill matrix"),
     (json.dumps({**KILLS, "verdicts": [{**KILLS["verdicts"][0], "killed": {"a": "b"}}]}), "verdicts/0/killed/a")],  # type: ignore[dict-item]
)  # fmt: skip
def test_bad_kill_matrix_is_refused(content: str | None, words: str, tmp_path: Path) -> None:
    """One line says what is wrong with it."""
    path = tmp_path / "k.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(kill_matrix.KillsError, match=re.escape(words)) as caught:
        kill_matrix.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_was_judged_is_in_the_porting_table() -> None:
    """The page has the lines of the table that are about what was judged, and no others."""
    reader = Reader(report_files.html(FULL))
    assert_alone(reader)
    assert "default weight of the new batch" in reader.text and "bnconform porting --from numpy --to B" in reader.text
    assert "torch.nn" in reader.text and "flax.nnx" not in reader.text
    assert "Porting" not in headings(report_files.html(run(row(backend="mine"))))
    _, other = read(FULL, porting="| a |\n|---|\n| <script>x</script> [j](javascript:alert(1)) |\n")
    assert_alone(other)
