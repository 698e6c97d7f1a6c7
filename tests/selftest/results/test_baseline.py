"""Baselines: where each row and each entry stands, what an update writes, and files that are none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bnconform.execution.selection import Selection
from bnconform.judge.check import Check
from bnconform.judge.suite import conformance_tests
from bnconform.results import baseline, baseline_check, baseline_update
from bnconform.results.baseline import BaselineEntry, BaselineError, When
from bnconform.results.baseline_check import BaselineVerdict, Suite
from bnconform.results.result import Difference, Environment, Result, Row

SUITE = Suite({"float32": {"A", "B"}, "float16": {"A", "B", "HALF"}}, {"ONCE"})
"""A small one: two requirements in both dtypes, one in one of them, one asked once for both."""

BIASED = (Difference("running_variance", "biased"),)
KNOWN = BaselineEntry(
    "torch.nn", "cpu", "float32", "A", "violates", "as it ever was", diagnosis="running_variance = biased"
)


def row(requirement: str = "A", verdict: str = "conforms", **changes: Any) -> Row:
    """A row of torch.nn on the CPU in float32."""
    plain = Row("torch.nn", "cpu", "float32", requirement, "must", verdict, message="what" * (verdict != "conforms"))
    return replace(plain, **changes)


BAD = row("A", "violates", diagnosis=BIASED)


def run(*rows: Row, **environment: Any) -> Result:
    """A result of these rows; those of the small suite that are missing conform."""
    given = {one.key: one for one in rows}
    columns = {one.key[:3] for one in rows} or {("torch.nn", "cpu", "float32")}
    for backend, device, dtype in columns:
        for name in (*SUITE.requirements[dtype], *SUITE.once):
            fill = Row(backend, device, dtype, name, "must", "conforms")
            given.setdefault(fill.key, fill)
    return part(*given.values(), **environment)


def part(*rows: Row, **environment: Any) -> Result:
    """A result of these rows alone."""
    values: dict[str, Any] = {
        "python": "3.12.1",
        "platform": "Linux-6.1-x86_64",
        "bnconform": "1",
        "packages": {"torch": "2.13.0+cpu"},
        "devices": {"cpu": "x86_64", "cuda:0": "NVIDIA H100"},
        "started": "2025-01-01T00:00:00+00:00",
        "seconds": 1.0,
    }
    return Result(Environment(**values | environment), rows)


def judge(entries: Sequence[BaselineEntry], *found: Result, level: str = "must") -> BaselineVerdict:
    """The judgement over the small suite."""
    return baseline_check.judge(entries, found, level, SUITE)


def names(found: BaselineVerdict) -> dict[str, int]:
    """How many are in each list that is not empty."""
    return {name: len(value) for name, value in vars(found).items() if value}


# -- judging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "found", "expected", "fails"),
    [
        pytest.param([], run(), {}, False, id="nothing"),
        pytest.param([], run(BAD), {"new": 1}, True, id="new"),
        pytest.param([KNOWN], run(BAD), {"known": 1}, False, id="known"),
        pytest.param([KNOWN], run(replace(BAD, verdict="crashed", diagnosis=())), {"worse": 1}, True, id="crashes now"),
        pytest.param(
            [KNOWN],
            run(replace(BAD, verdict="untrusted", diagnosis=())),
            {"known": 1, "changed": 1},
            False,
            id="lesser",
        ),
        pytest.param(
            [KNOWN], run(replace(BAD, diagnosis=())), {"known": 1, "changed": 1}, False, id="explained otherwise"
        ),
        pytest.param(
            [replace(KNOWN, verdict="crashed", diagnosis="")],
            run(replace(BAD, verdict="crashed")),
            {"known": 1},
            False,
            id="a crash has no explanation",
        ),
        pytest.param([replace(KNOWN, diagnosis=None)], run(BAD), {"known": 1}, False, id="explanation not compared"),
        pytest.param([replace(KNOWN, share=3.0)], run(replace(BAD, bound_share=29.0)), {"known": 1}, False, id="error"),
        pytest.param(
            [replace(KNOWN, share=3.0)],
            run(replace(BAD, bound_share=31.0)),
            {"known": 1, "changed": 1},
            False,
            id="ten times the error",
        ),
        pytest.param([KNOWN], run(), {"fixed": 1}, False, id="fixed"),
        pytest.param([KNOWN], run(replace(BAD, verdict="deviates")), {"fixed": 1}, False, id="declared now"),
        pytest.param([KNOWN], part(row()), {"partly": 1}, False, id="fixed in a part"),
        pytest.param([KNOWN], run(row(verdict="unsupported")), {"unmatched": 1}, True, id="unsupported now"),
        pytest.param([KNOWN], part(row(verdict="unsupported")), {"apart": 1}, False, id="unsupported in a part"),
        pytest.param([replace(KNOWN, requirement="GONE")], run(), {"unmatched": 1}, True, id="no such row"),
        pytest.param([replace(KNOWN, requirement="GONE")], part(row()), {"apart": 1}, False, id="no row in a part"),
        pytest.param([replace(KNOWN, requirement="HALF")], run(), {"unmatched": 1}, True, id="never in this dtype"),
        pytest.param([replace(KNOWN, backend="jax")], run(), {"apart": 1}, False, id="another backend"),
        pytest.param([replace(KNOWN, device="cuda")], run(), {"apart": 1}, False, id="another device"),
        pytest.param([replace(KNOWN, dtype="float16")], run(), {"apart": 1}, False, id="another dtype"),
    ],
)
def test_judgement(entries: list[BaselineEntry], found: Result, expected: dict[str, int], fails: bool) -> None:
    """Each row and each entry comes to stand where it belongs, and what is newly wrong fails."""
    judgement = judge(entries, found)
    assert names(judgement) == expected
    assert judgement.fails is fails


def test_levels() -> None:
    """A failure beyond the level asked for is not new, one that gets worse is only said, and a known one is known."""
    lesser = replace(BAD, level="should")
    assert names(judge([], run(lesser))) == {}
    assert names(judge([], run(lesser), level="should")) == {"new": 1}
    assert names(judge([KNOWN], run(lesser))) == {"known": 1}
    crashes = replace(lesser, verdict="crashed")
    assert names(judge([KNOWN], run(crashes))) == {"changed": 1}
    assert names(judge([KNOWN], run(crashes), level="may")) == {"worse": 1}


@pytest.mark.parametrize(
    ("device", "dtype", "covered"),
    [
        ("cuda:1", "float32", True),
        ("cuda", "float32", True),
        ("*", "*", True),
        ("cuda:0", "float32", False),
        ("cuda:1", "float16", False),
        ("cud", "float32", False),
        ("cpu", "*", False),
    ],
)
def test_devices_and_dtypes(device: str, dtype: str, covered: bool) -> None:
    """A kind of device speaks of each of them, a star of all, and a name of itself."""
    found = judge([replace(KNOWN, device=device, dtype=dtype)], run(replace(BAD, device="cuda:1")))
    assert (len(found.known), len(found.new)) == ((1, 0) if covered else (0, 1))


@pytest.mark.parametrize(
    ("when", "why"),
    [
        (When({"torch": ">=2.11,<2.14"}), ""),
        (When({"Torch": "==2.13.0", "python": ">=3.12"}), ""),
        (When({"torch": "<2.13"}), "torch 2.13.0+cpu is not <2.13"),
        (When({"jax": ">=0.1"}), "there is no jax"),
        (When({"python": "<3.12"}), "python 3.12.1 is not <3.12"),
        (When(platform="Linux-*"), ""),
        (When(platform="linux-*"), "the platform is not linux-*"),
        (When(device_name="x86*"), ""),
        (When({"torch": ">=2"}, "Linux*", "*H100*"), "cpu is not *H100*"),
    ],
    ids=str,
)
def test_conditions(when: When, why: str) -> None:
    """An entry is in force where all its conditions hold, and elsewhere it is left alone, with the reason."""
    found = judge([replace(KNOWN, when=when)], run(BAD))
    assert names(found) == ({"apart": 1, "new": 1} if why else {"known": 1})
    assert [told.why for told in found.apart] == [why] * bool(why)
    assert names(judge([replace(KNOWN, when=when)], run())) == ({"apart": 1} if why else {"fixed": 1})


def test_version_that_is_none() -> None:
    """A package whose version cannot be read fits no specifier."""
    assert When({"torch": ">=2"}).fails(part(packages={"torch": "built by hand"}).environment, "cpu")


def test_stars_are_fixed_where_all_was_asked() -> None:
    """An entry for every dtype is neither fixed nor without a match while a dtype of its requirement is missing."""
    every = replace(KNOWN, dtype="*")
    assert names(judge([every], run())) == {"partly": 1}
    assert names(judge([every], run(row(), row(dtype="float16")))) == {"fixed": 1}
    assert "nor on any other device" in judge([replace(every, device="*")], run()).partly[0].why
    half = replace(every, requirement="HALF")
    assert names(judge([half], run())) == {"apart": 1}
    assert names(judge([half], run(row("HALF", "unsupported", dtype="float16")))) == {"unmatched": 1}
    once = replace(every, requirement="ONCE")
    assert names(judge([once], run())) == {"fixed": 1}


def test_wider_than_needed() -> None:
    """An entry that only some of its rows need is said to be too wide: it would hide the others' next failure."""
    found = judge([replace(KNOWN, dtype="*")], run(BAD, row(dtype="float16")))
    assert names(found) == {"known": 1, "narrower": 1}
    assert found.narrower[0].why == "needed in cpu float32, not in cpu float16"
    assert names(judge([KNOWN], run(BAD), run())) == {"known": 1, "narrower": 1}


def test_overlapping_entries() -> None:
    """Of two entries that speak of a row the one that knows it best is taken, and the worst of both is covered."""
    wide = replace(KNOWN, device="*", verdict="crashed", diagnosis="")
    assert [known.entry for known in judge([wide, KNOWN], run(BAD)).known] == [KNOWN]
    assert [known.entry for known in judge([wide, KNOWN], run(replace(BAD, verdict="crashed"))).known] == [wide]


def test_internal_error_is_never_known(tmp_path: Path) -> None:
    """A fault of the suite itself fails at every level, whatever a baseline says, and gets no entry."""
    (subject,) = Selection(in_process=True).subjects(("numpy",), (), ("float32",))
    made = Check(subject, conformance_tests()[0].rule)
    made.note_internal_error(ValueError("oops"))
    broken = row("A", "untrusted", message=made.outcomes[0].message, level="may")
    assert names(judge([replace(KNOWN, verdict="crashed")], run(broken))) == {"new": 1}
    assert baseline_update.update_baseline([], [run(broken)], "must", SUITE).entries == ()


def test_whole_runs_are_told_from_parts() -> None:
    """A column is whole where every requirement has a row, those asked once in any dtype."""
    both = run(row(), row(dtype="float16"))
    assert SUITE.whole(both) == {("torch.nn", "cpu", "float32"), ("torch.nn", "cpu", "float16")}
    without = part(*(one for one in both.rows if one.key[2:] != ("float16", "B")))
    assert SUITE.whole(without) == {("torch.nn", "cpu", "float32")}
    assert SUITE.whole(part(*(one for one in both.rows if one.requirement != "ONCE"))) == frozenset()


# -- updating ---------------------------------------------------------------------------------------------------------


def update_small(entries: Sequence[BaselineEntry], *found: Result, **options: Any) -> baseline_update.Update:
    """The update over the small suite."""
    return baseline_update.update_baseline(entries, found, options.pop("level", "must"), SUITE, **options)


def test_update_leaves_a_quiet_gate() -> None:
    """What is new is added, what is worse or fixed is brought up to date, and then nothing is left to say."""
    entries = [
        KNOWN,
        replace(KNOWN, requirement="B"),
        replace(KNOWN, requirement="GONE"),
        replace(KNOWN, backend="jax", reason="another's"),
    ]
    found = run(replace(BAD, verdict="crashed", diagnosis=()), row("ONCE", "violates", bound_share=1234.5))
    update = update_small(entries, found, reason="by design", link="https://example.org")
    assert [str(entry) for entry in update.added] == ["ONCE torch.nn cpu *"]
    assert update.added[0] == BaselineEntry(
        "torch.nn", "cpu", "*", "ONCE", "violates", "by design", "https://example.org", diagnosis="", share=1200.0
    )
    assert [str(told.entry) for told in update.dropped] == ["B torch.nn cpu float32", "GONE torch.nn cpu float32"]
    fresh = replace(KNOWN, verdict="crashed", diagnosis="")
    assert update.entries == (entries[3], fresh, update.added[0])
    assert names(judge(update.entries, found)) == {"known": 2, "apart": 1}
    assert update_small(update.entries, found).entries == update.entries


def test_update_keeps_what_people_wrote() -> None:
    """Reason, link and condition of a known entry stay, and so does an error that is much as it was."""
    mine = replace(KNOWN, reason="mine", link="https://example.org/mine", when=When({"torch": ">=2"}), share=20.0)
    found = run(replace(BAD, bound_share=21.0))
    assert update_small([mine], found, reason="theirs", link="https://example.org/theirs").entries == (mine,)
    assert update_small([mine], run(replace(BAD, bound_share=2100.0))).entries == (replace(mine, share=2100.0),)


def test_update_of_a_part_drops_nothing() -> None:
    """What only a part of the checks calls fixed stays, unless the caller knows better."""
    assert update_small([KNOWN], part(row())).entries == (KNOWN,)
    assert update_small([KNOWN], part(row()), drop=("partly",)).entries == ()
    assert update_small([KNOWN], run(), drop=()).entries == (KNOWN,)


def test_update_of_stars() -> None:
    """An entry for several rows takes the worst verdict of them, and no explanation where they have several."""
    wide = replace(KNOWN, dtype="*")
    found = run(BAD, replace(BAD, dtype="float16", verdict="crashed", diagnosis=()))
    assert update_small([wide], found).entries == (replace(wide, verdict="crashed", diagnosis=None),)


# -- the file ---------------------------------------------------------------------------------------------------------

TEXT = """\
{"schema": "bnconform/baseline/1",
 "entries": [
  {"backend": "numpy", "device": "cpu", "dtype": "float32", "requirement": "BN-RUN-MEAN",
   "verdict": "crashed",
   "reason": "wäre \\"so\\"",
   "link": ""},
  {"backend": "torch.nn", "device": "cuda", "dtype": "float16", "requirement": "BN-RUN-VAR",
   "verdict": "violates", "diagnosis": "running_variance = biased", "share": 20.0,
   "reason": "by design",
   "link": "https://example.org/1",
   "when": {"versions": {"jax": ">=0.1", "torch": "<3"}, "platform": "Linux*"}},
  {"backend": "torch.nn", "device": "cuda", "dtype": "*", "requirement": "BN-RUN-VAR",
   "verdict": "untrusted", "diagnosis": "",
   "reason": "not yet explained",
   "link": ""}
 ]}
"""
IDS = ("BN-RUN-MEAN", "BN-RUN-VAR")


def test_file(tmp_path: Path) -> None:
    """The file is the same for the same entries in any order, a few lines each, and is read as it was written."""
    entries = baseline.from_json(json.loads(TEXT), IDS)
    assert baseline.to_text(reversed(entries)) == TEXT
    path = tmp_path / "known.json"
    baseline.write(path, entries)
    assert path.read_text(encoding="utf-8") == TEXT
    assert baseline.read(path, IDS) == entries
    assert json.loads(baseline.to_text([])) == {"schema": baseline.SCHEMA, "entries": []}
    assert list(tmp_path.iterdir()) == [path]


def test_schema_is_one() -> None:
    """The schema is a schema, and allows what is written."""
    schema = json.loads(Path(str(baseline.__file__)).with_name("baseline.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(TEXT), schema)


PLAIN = {
    "backend": "b",
    "device": "cpu",
    "dtype": "*",
    "requirement": "BN-RUN-VAR",
    "verdict": "violates",
    "reason": "r",
}

WRONG: dict[str, tuple[Any, tuple[str, ...]]] = {
    "not JSON": ("{", ("is not JSON",)),
    "NaN": ('{"schema": NaN}', ("NaN is not a JSON number",)),
    "not UTF-8": (b"\xff", ("is not JSON",)),
    "nested too deep": ("[" * 100_000, ("is not JSON",)),
    "a list": ([], ("at the top", "object")),
    "another schema": ({"schema": "bnconform/baseline/2", "entries": []}, ("at schema", "bnconform/baseline/1")),
    "a result": ({"schema": "bnconform/result/1"}, ("is a result", "bnconform baseline update BASELINE")),
    "no entries": ({"schema": baseline.SCHEMA}, ("at the top", "entries")),
} | {
    name: ({"schema": baseline.SCHEMA, "entries": [PLAIN | changes]}, ("entries/0", *words))
    for name, changes, words in (
        ("no reason", {"reason": " "}, ("reason",)),
        ("unknown key", {"note": "x"}, ("note",)),
        ("unknown verdict", {"verdict": "conforms"}, ("verdict", "conforms")),
        ("unknown dtype", {"dtype": "float23"}, ("dtype", "float23")),
        ("unknown requirement", {"requirement": "BN-RUN-VARI"}, ("no requirement BN-RUN-VARI;", "bnconform list")),
        ("link that is none", {"link": "see the wiki"}, ("link", "see the wiki")),
        ("share that is none", {"share": -1}, ("share",)),
        ("empty condition", {"when": {}}, ("when",)),
        ("unknown condition", {"when": {"torch": ">=2"}}, ("when", "torch")),
        ("no specifier", {"when": {"versions": {"torch": "2.x"}}}, ("when/versions", "'2.x' for torch", ">=2.11")),
        ("impossible specifier", {"when": {"versions": {"torch": ">3,<2"}}}, ("no version of torch is >3,<2",)),
    )
} | {
    "twice": (
        {"schema": baseline.SCHEMA, "entries": [PLAIN, PLAIN | {"reason": "s"}]}, ("entries/1", "entries/0 already"),
    ),
}  # fmt: skip
"""Files that are no baselines, and words of the line that says why."""


@pytest.mark.parametrize("name", WRONG)
def test_bad_file(name: str, tmp_path: Path) -> None:
    """A file that cannot be used is named, with the place and what is wrong."""
    content, words = WRONG[name]
    path = tmp_path / "known.json"
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BaselineError) as caught:
        baseline.read(path, IDS)
    assert [word for word in (str(path), *words) if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_half_a_character_in_a_reason() -> None:
    """Text that could not be written again is refused when it is read."""
    data = {"schema": baseline.SCHEMA, "entries": [PLAIN | {"reason": "\ud800"}]}
    with pytest.raises(BaselineError, match="surrogates"):
        baseline.from_json(data, IDS)


def test_same_row_under_other_conditions() -> None:
    """Two entries of one row may stand beside each other under conditions that differ."""
    older = PLAIN | {"when": {"versions": {"torch": "<2.12"}}}
    assert len(baseline.from_json({"schema": baseline.SCHEMA, "entries": [PLAIN, older]}, IDS)) == 2
