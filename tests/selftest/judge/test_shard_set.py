"""The shards of a run: together they are the run, and one that is missing, double or foreign is seen."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bnconform.judge import shard_set
from bnconform.judge.outcome import Outcome
from bnconform.render import badge
from bnconform.render.standing import standings
from bnconform.results import completeness
from bnconform.results.baseline_check import Suite, judge
from bnconform.results.compare import compare
from bnconform.results.joining import JoinError, join
from bnconform.results.result import FORM, Result, ResultError, from_json, read, to_json
from bnconform.results.shard import MOST, Share
from bnconform.tests.selftest.command import bnconform

ADAPTER = """
from bnconform.backends.numpy_layer import NumpyBackend


class Divided(NumpyBackend):
    name = "divided"
    deviations = {"running_variance": "biased", "epsilon_form": "outside"}

    def build(self, config, device):
        layer = super().build(config, device)
        forward = layer.forward

        def fault(x, *, training):
            y = forward(x, training=training)
            if x.ndim == 3 and x.size:
                x *= 0
            return y * y.dtype.type(2) if x.shape[0] == 3 else y

        layer.forward = fault
        return layer
"""
"""A layer that changes some inputs, fails for some, and declares what it does not do."""

ASKED = ("--backend", "divided.py:Divided", "--dtype", "bfloat16")
SELECTED = ("-k", "BN-TRAIN-NORM or BN-RUN-MEAN or BN-STATE-INPUT or BN-INV-FLATTEN")
OF = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run, and those of its shards."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "divided.py").write_text(ADAPTER)
    assert bnconform(folder, *ASKED, *SELECTED, "--json", "whole.json").status == 1
    for number in range(1, OF + 1):
        answer = bnconform(folder, *ASKED, *SELECTED, "--shard", f"{number}/{OF}", "--json", f"{number}.json")
        assert f"--shard {number}/{OF}" in " ".join(answer.out.split())
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Result:
    """The run that was not divided."""
    return read(folder / "whole.json")


@pytest.fixture(scope="module")
def shards(folder: Path) -> list[tuple[str, Result]]:
    """Its shards."""
    return [(f"{number}.json", read(folder / f"{number}.json")) for number in range(1, OF + 1)]


def together(shards: Iterable[tuple[str, Result]]) -> Result:
    """One result of them."""
    return join(shard_set.whole(list(shards)))


def of(shards: Iterable[tuple[str, Result]]) -> list[Result]:
    """The results without the names of their files."""
    return [result for _, result in shards]


@pytest.mark.thorough
def test_together_they_are_the_run(run: Result, shards: list[tuple[str, Result]]) -> None:
    """Verdicts, error ratios, counts, causes and messages, whatever the order of the files."""
    found = together(shards[::-1])
    assert found.rows == run.rows
    assert {row.verdict for row in run.rows} > {"violates"}
    # Each process tells of a changed input once, so that the shards tell of some more often than one run does.
    many = [
        sum(one.checks for one in found.rows if one.requirement == "BN-STATE-INPUT") for found in (run, *of(shards))
    ]
    assert sum(many[1:]) > many[0] > 0
    assert (found.diagnoses, found.declarations) == (run.diagnoses, run.declarations)
    assert (found.observations, found.selection, found.completion) == (run.observations, run.selection, run.completion)
    assert found.failed and found.shard is None
    assert from_json(json.loads(json.dumps(to_json(found)))).rows == run.rows


def test_shares_are_as_large_as_each_other(shards: list[tuple[str, Result]]) -> None:
    """Of each requirement, and in all: none has more than one check more than another."""
    counts = [one.shard.counts["divided", "cpu", "bfloat16"] for _, one in shards if one.shard]
    for name in counts[0]:
        many = [found[name].selected for found in counts]
        assert max(many) - min(many) <= 1
        assert len({found[name].planned for found in counts}) == 1
    totals = [one.completion.selected for _, one in shards if one.completion]
    assert max(totals) - min(totals) <= 1


def complete(shards: list[tuple[str, Result]]) -> list[tuple[str, Result]]:
    """As if nothing had narrowed the run."""

    def whole(result: Result) -> Result:
        assert result.shard is not None and result.selection is not None
        counts = {
            column: {name: replace(one, planned=sum(_select(shards, name))) for name, one in found.items()}
            for column, found in result.shard.counts.items()
        }
        words = (f"--shard {result.shard.share}",)
        return replace(
            result,
            shard=replace(result.shard, counts=counts),
            selection=replace(result.selection, narrowed_by=words),
        )

    return [(name, whole(result)) for name, result in shards]


def _select(shards: list[tuple[str, Result]], name: str) -> list[int]:
    return [one.shard.counts["divided", "cpu", "bfloat16"][name].selected for _, one in shards if one.shard]


def test_complete_where_all_are_there_and_finished(shards: list[tuple[str, Result]], tmp_path: Path) -> None:
    """And then alone: a shard by itself, and all but one, are parts, which no badge and no baseline lets pass."""
    whole = together(complete(shards))
    assert whole.completion is not None and whole.completion.complete and not completeness.is_partial(whole)
    for _, result in shards:
        assert completeness.is_partial(result)
    for left_out in range(OF):
        rest = [one for number, one in enumerate(complete(shards)) if number != left_out]
        found = together(rest)
        assert completeness.is_partial(found) and completeness.is_unfinished(found)
        assert completeness.reason(found) == f"shard {left_out + 1}/{OF} missing"
        assert "only a part" in standings(found, [])[0].sentence
        assert "conforms" not in badge.badge(found, tmp_path / "b.svg")
        assert judge((), [replace(found, rows=())], "must", Suite({}, ())).fails
        assert [text for text in compare(("a", whole), ("b", found)).warnings if "missing" in text]
    name, last = complete(shards)[-1]
    assert last.completion is not None
    broken = replace(last, completion=replace(last.completion, ended="interrupted"))
    assert completeness.is_unfinished(together([*complete(shards)[:-1], (name, broken)]))


def test_double_is_refused(shards: list[tuple[str, Result]]) -> None:
    """Both files are named."""
    with pytest.raises(JoinError, match=r"2\.json and again\.json are both shard 2/3"):
        together([*shards, ("again.json", shards[1][1])])


def test_foreign_is_refused(shards: list[tuple[str, Result]]) -> None:
    """A shard of another version, another number of shards or other checks; what differs is named."""
    name, last = shards[-1]
    assert last.shard is not None and last.selection is not None
    newer = replace(last.environment, packages={**last.environment.packages, "numpy": "99"})
    foreign = {
        r"numpy \S+ and 99": replace(last, environment=newer),
        "shards 3 and 4": replace(last, shard=replace(last.shard, share=Share(3, 4))),
        "differ in checks;": replace(last, shard=replace(last.shard, plan="0" * 64)),
        "selected by": replace(last, selection=replace(last.selection, narrowed_by=("-m once", "--shard 3/3"))),
    }
    for words, result in foreign.items():
        with pytest.raises(JoinError, match=words):
            together([*shards[:-1], (name, result)])


def test_shards_of_two_runs_are_compared(shards: list[tuple[str, Result]]) -> None:
    """Two whole sets are two results; other files stay as they are."""
    other = [
        (f"other {name}", replace(one, environment=replace(one.environment, packages={"numpy": "99"})))
        for name, one in shards
    ]
    names = [name for name, _ in shard_set.whole([*shards, ("plain.json", replace(shards[0][1], shard=None)), *other])]
    assert names == ["1.json + 2.json + 3.json", "plain.json", "other 1.json + other 2.json + other 3.json"]


@pytest.mark.parametrize("text", ["3", "0/3", "4/3", "a/3", "-1/3", f"1/{MOST + 1}", "1/3/3", " 1/3"])
def test_share_is_one_that_there_is(text: str) -> None:
    """Anything else is refused in words that say what to give."""
    with pytest.raises(ValueError, match="give K/N"):
        Share.parse(text)


def test_file_of_no_shard_is_refused(shards: list[tuple[str, Result]]) -> None:
    """Where its parts do not fit each other."""
    data = json.loads(json.dumps(to_json(shards[0][1])))
    with pytest.raises(ResultError, match="there is no shard 4/3"):
        from_json(data | {"shard": data["shard"] | {"number": 4}})
    with pytest.raises(ResultError, match="selection"):
        from_json({name: value for name, value in data.items() if name != "selection"})


def test_every_field_of_an_outcome_has_its_place() -> None:
    """In the form of the file; what was observed is kept elsewhere in it."""
    schema = json.loads(Path(str(FORM.schema)).read_text())
    assert set(schema["$defs"]["outcome"]["properties"]) == {one.name for one in fields(Outcome)} - {"observed"}


def test_outcome_travels_whole() -> None:
    """Numbers that JSON has not, too."""
    outcome = Outcome("a", "cpu", "float32", "BN-RUN-VAR", "must", "violates", bound_share=float("inf"))
    outcome.judged_quantities = [{"what": "y", "wrong": True, "mean_over_std": float("inf")}]
    assert Outcome.from_record(outcome.record()) == outcome
    assert "conditional" not in outcome.record()
