"""`bnconform compare`: what is compared with what, how it is shown, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bnconform.render.comparison_text import markdown
from bnconform.results import result as results
from bnconform.results.compare import compare
from bnconform.results.comparison import KINDS
from bnconform.results.matching import MatchingError, check_choice, find_pairs, pair
from bnconform.tests.selftest.cli.test_bad_input import in_process
from bnconform.tests.selftest.command import ADAPTERS, bnconform
from bnconform.tests.selftest.observing import move, plant, result_of
from bnconform.tests.selftest.results.test_compare import FINE, SCHEMA, off_by

CPU, GPU, OTHER = ("torch.nn", "cpu", "float32"), ("torch.nn", "cuda:0", "float32"), ("flax", "cpu", "float32")
HALF = ("torch.nn", "cpu", "float16")


def test_pairs() -> None:
    """The same subject first, then another device, then, where nothing is the same, every backend."""
    assert pair([CPU, GPU], [CPU, GPU]) == ([(CPU, CPU), (GPU, GPU)], [], [])
    assert pair([CPU], [GPU]) == ([(CPU, GPU)], [], [])
    assert pair([CPU, OTHER], [GPU]) == ([(CPU, GPU)], [OTHER], [])
    assert pair([CPU], [OTHER]) == ([(CPU, OTHER)], [], [])
    assert pair([CPU], [CPU, OTHER]) == ([(CPU, CPU)], [], [OTHER])
    assert pair([CPU, HALF], [OTHER]) == ([(CPU, OTHER)], [HALF], [])


def test_asked_pairs() -> None:
    """A pair is asked for by backend, or by backend and device, whatever is in the names."""
    odd = ("a=b", "cpu", "float32")
    assert find_pairs("torch.nn=flax", [CPU, GPU, HALF], [OTHER]) == [(CPU, OTHER), (GPU, OTHER)]
    assert find_pairs("torch.nn:cuda:0=flax", [CPU, GPU], [OTHER]) == [(GPU, OTHER)]
    assert find_pairs("a=b=flax", [odd], [OTHER]) == [(odd, OTHER)]
    for text, words in (("flax", "no '='"), ("flax=jax", "names no pair"), ("torch.nn=flax", "no dtype in common")):
        with pytest.raises(MatchingError, match=words):
            find_pairs(text, [HALF], [OTHER])


def test_choices_that_choose_nothing() -> None:
    """A backend or dtype that no file has is refused with what there is."""
    check_choice(["flax"], ["float16"], [OTHER, HALF])
    with pytest.raises(MatchingError, match=r"'jax'; they have flax:cpu"):
        check_choice(["jax"], [], [OTHER])
    with pytest.raises(MatchingError, match="float8; a dtype is one of"):
        check_choice([], ["float8"], [OTHER])


# -- what is shown -------------------------------------------------------------------------------------------------


def test_schema_names_every_kind() -> None:
    """The schema's words are those of the code."""
    assert SCHEMA["$defs"]["number"]["properties"]["kind"]["enum"] == list(KINDS)
    assert (
        SCHEMA["$defs"]["verdict"]["enum"]
        == json.loads((Path(results.__file__).parent / "result.schema.json").read_text(encoding="utf-8"))["$defs"][
            "row"
        ]["properties"]["verdict"]["enum"]
    )


def test_markdown_shows_what_is_written_as_it_is() -> None:
    """Each row of a table has as many cells as its head, whatever a message has in it."""
    right = result_of("numpy", "float32")
    message = "a | b <img src=x onerror=y> `c`\n[d](https://e)"
    rows = (replace(right.rows[0], verdict="crashed", message=message), *right.rows[1:])
    made = [compare(("a.json", plant(right, FINE, off_by(FINE, 3.0))), ("b.json", replace(right, rows=rows))),
            compare(("a.json", right), ("b.json", result_of("Declared", "float32")))]  # fmt: skip
    page = markdown(made)
    assert "a \\| b \\<img src=x onerror=y\\> \\`c\\`" in page and "https://e" not in page
    for block in page.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("| "):
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert page.count("| drift") == 0 and "| outside: A |" in page and "| convention<br>running\\_variance |" in page


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with a.json, b.json (a declared convention), c.json (other roundings) and old.json."""
    monkeypatch.chdir(tmp_path)
    right = result_of("numpy", "float32")
    results.write(tmp_path / "a.json", right)
    results.write(tmp_path / "b.json", result_of("Declared", "float32"))
    results.write(tmp_path / "c.json", move(result_of("reversed_sums", "float32"), backend="numpy"))
    results.write(tmp_path / "old.json", replace(right, observations=(), declarations=()))
    return tmp_path


def test_command(files: Path) -> None:
    """Each file is compared with the first; the terminal, the data and the page say the same."""
    answer = bnconform(files, "compare", "a.json", "b.json", "c.json", "--json", "d.json", "--markdown", "d.md")
    answer.assert_no_traceback()
    assert answer.status == 1 and answer.err == ""
    assert max(map(len, answer.lines)) <= 100 and answer.out.isascii()
    assert "running_variance  unbiased  biased (declared)" in answer.out
    assert answer.lines[-2].startswith("A | B: 1 verdict, 1 convention, 2 observations differ, 23 of 23")
    assert answer.lines[-1] == "A | C: nothing but rounding differs, 23 of 23 observations compared"
    data = json.loads((files / "d.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert [one["status"] for one in data["comparisons"]] == [1, 0]
    assert "A \\| C: nothing but rounding differs" in (files / "d.md").read_text(encoding="utf-8")


def test_command_pairs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pairs are asked for by name; each of several files takes its own."""
    pairs = ("--pair", "numpy=Declared", "--pair", "numpy:cpu=numpy")
    answer = in_process(capsys, "compare", "a.json", "b.json", "c.json", *pairs)
    assert answer.status == 1 and "A numpy:cpu against B Declared:cpu" in answer.out
    assert "A numpy:cpu against C numpy:cpu" in answer.out
    in_process(capsys, "compare", "a.json", "b.json", "c.json", *pairs[:2]).assert_refused("numpy=Declared", "no pair")
    in_process(capsys, "compare", "a.json", "c.json", *pairs).assert_refused("numpy=Declared", "names no pair")


def test_command_lists_rounding_if_asked(files: Path) -> None:
    """What is only rounding is summed up, and listed with --all."""
    plain = bnconform(files, "compare", "a.json", "c.json")
    listed = bnconform(files, "compare", "a.json", "c.json", "--all")
    assert plain.status == listed.status == 0
    assert "BN-TRAIN-NORM" not in plain.out and "rounding (worst share of the bound: A " in plain.out
    assert sum(line.startswith(("rounding ", "identical ")) for line in listed.lines) >= 23


def test_command_without_numbers(files: Path) -> None:
    """Verdicts alone are shown with a warning, and do not pass for a comparison."""
    answer = bnconform(files, "compare", "a.json", "old.json")
    assert answer.status == 2
    assert "warning: old.json has no observations" in answer.out and "No verdict differs" in answer.out


def _edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


BAD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "not JSON": (lambda path: path.write_text("{"), ("b.json is not JSON",)),
    "not a result": (lambda path: path.write_text("{}"), ("b.json is not a result",)),
    "missing": (lambda path: path.unlink(), ("cannot read the result b.json",)),
    "bytes": (
        lambda path: _edit(path, lambda data: data["observations"][0]["array"].update(data="AAAA")),
        ("b.json", "BN-TRAIN-NORM rank2 y", "no float32 array"),
    ),
    "shape": (
        lambda path: _edit(path, lambda data: data["observations"][0]["array"].update(shape=[3, 7])),
        ("b.json", "BN-TRAIN-NORM rank2 y", "its shape is (3, 7)"),
    ),
    "shape beyond all": (
        lambda path: _edit(path, lambda data: data["observations"][0]["array"].update(shape=[10**30])),
        ("b.json", "BN-TRAIN-NORM rank2 y"),
    ),
    "decision": (
        lambda path: _edit(path, lambda data: data["declarations"][0].update(deviations={"colour": "red"})),
        ("b.json", "Declared declares colour = red", "does not know"),
    ),
    "value": (
        lambda path: _edit(path, lambda data: data["declarations"][0].update(deviations={"running_mean": "red"})),
        ("b.json", "Declared declares running_mean = red", "does not know"),
    ),
    "diagnosis": (
        lambda path: _edit(
            path,
            lambda data: data["results"][0].update(
                verdict="violates", diagnosis=[{"coordinate": "colour", "value": "red"}]
            ),
        ),
        ("b.json", "is diagnosed to have colour = red", "does not know"),
    ),
    "observed twice": (
        lambda path: _edit(path, lambda data: data["observations"].append(data["observations"][0])),
        ("b.json", "BN-TRAIN-NORM rank2 y", "twice"),
    ),
    "nothing in common": (
        lambda path: _edit(path, lambda data: [row.update(dtype="float16") for row in data["results"]]),
        ("no subject in common", "numpy:cpu float32", "Declared:cpu float16"),
    ),
}
"""What is done to the second file, and the words of the line that refuses it."""


@pytest.mark.parametrize(("spoil", "words"), BAD.values(), ids=list(BAD))
def test_bad_file(spoil: Any, words: tuple[str, ...], files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be compared is refused in one line, and nothing is written."""
    spoil(files / "b.json")
    in_process(capsys, "compare", "a.json", "b.json", "--json", "d.json").assert_refused(*words)
    assert not (files / "d.json").exists()


ASKED = {
    "one file": (("a.json",), ("compare: the following arguments are required: B.json", "usage: bnconform compare")),
    "unknown option": (("a.json", "b.json", "--html"), ("compare does not take '--html'", "usage: bnconform compare")),
    "unknown backend": (("a.json", "b.json", "--backend", "nump"), ("'nump'", "numpy:cpu, Declared:cpu")),
    "unknown dtype": (("a.json", "b.json", "--dtype", "float8"), ("float8", "float64")),
    "no pair": (("a.json", "b.json", "--pair", "numpy=x"), ("names no pair", "Declared:cpu")),
    "no folder": (("a.json", "b.json", "--json", "no/d.json"), ("cannot write the comparison", "not a folder")),
    "page is a folder": (("a.json", "b.json", "--markdown", "."), ("cannot write the page", "is a folder")),
}
"""What is asked for, and the words of the line that refuses it."""


@pytest.mark.parametrize(("arguments", "words"), ASKED.values(), ids=list(ASKED))
def test_bad_request(
    arguments: tuple[str, ...], words: tuple[str, ...], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that cannot be carried out is refused in one line."""
    in_process(capsys, "compare", *arguments).assert_refused(*words)


# -- runs ----------------------------------------------------------------------------------------------------------


def test_run_of_an_undeclared_convention(tmp_path: Path) -> None:
    """From two runs: the estimator that one does not declare is diagnosed, named, and shown by its numbers."""
    chosen = ("--dtype", "float32", "-k", "BN-RUN-VAR or BN-RUN-MEAN or BN-TRAIN-NORM")
    for name, path in (("numpy", "a.json"), (f"{ADAPTERS / 'declarations.py'}:Undeclared", "b.json")):
        assert bnconform(tmp_path, "--backend", name, *chosen, "--json", path).status in (0, 1)
    answer = bnconform(tmp_path, "compare", "a.json", "b.json", "--json", "c.json")
    assert answer.status == 1
    [pair] = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["comparisons"][0]["pairs"]
    assert [(one["coordinate"], one["second"], one["second_by"]) for one in pair["conventions"]] == [
        ("running_variance", "biased", "diagnosed")
    ]
    differing = {(n["requirement"], n["kind"]) for n in pair["numbers"] if n["kind"] not in ("rounding", "identical")}
    assert differing == {("BN-RUN-VAR", "convention")}
    assert "violates" in answer.out and "B: running_variance = biased" in answer.out


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "keras", "tensorflow"))), reason="torch and Keras are not here"
)
def test_torch_against_keras(tmp_path: Path) -> None:
    """Runs of torch and of Keras differ in the estimator that is remembered, and in no number that is only rounding."""
    for name, path in (("torch.nn", "a.json"), ("keras+tensorflow", "b.json")):
        chosen = ("--dtype", "float32", "-k", "BN-RUN-VAR or BN-TRAIN-NORM or BN-EVAL-STATS or BN-GRAD")
        assert bnconform(tmp_path, "--backend", name, *chosen, "--json", path).status == 0
    answer = bnconform(tmp_path, "compare", "a.json", "b.json", "--json", "c.json")
    assert answer.status == 1
    [pair] = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["comparisons"][0]["pairs"]
    assert [one["coordinate"] for one in pair["conventions"]] == ["running_variance"]
    differing = {n["requirement"] for n in pair["numbers"] if n["kind"] not in ("rounding", "identical")}
    assert differing == {"BN-RUN-VAR"} and len(pair["numbers"]) > 8
