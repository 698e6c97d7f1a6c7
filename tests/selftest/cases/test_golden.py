"""The documents' printed numbers against the oracle, and the reading of the files that hold them."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnconform.cases import golden
from bnconform.cases.golden import GoldenCase, GoldenError, Numbers
from bnconform.cases.intervals import centres, half_digit, half_digits, initially, propagate
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.catalogue import requirement
from bnconform.spec.config import Config
from bnconform.spec.exact import arithmetic, exact, floats, sqrt
from bnconform.spec.formats import DTYPES, parameter_dtype
from bnconform.spec.oracle import forward, initial_state

CASES = {case.name: case for case in golden.cases()}


def find_missed(case: GoldenCase, behaviour: Behaviour = SPECIFIED, dtype: str = "float64") -> list[str]:
    """The printed observables ("step:name") that the oracle at `behaviour` does not reproduce in their intervals."""
    program = case.program(dtype, parameter_dtype(dtype))
    found = []
    for number, (record, bounded) in enumerate(
        zip(case.records(program, behaviour), case.bounds(program), strict=True)
    ):
        for entry in bounded:
            name, numbers = entry.expectation.observable, entry.expectation.numbers
            if numbers is None or entry.half_width is None:
                holds = name not in record
            else:
                # A behaviour with statistics of another shape prints other numbers altogether.
                same = record[name].size == np.prod(numbers.shape)
                holds = bool(same and numbers.inside(record[name], entry.half_width).all())
            if not holds:
                found.append(f"{number}:{name}")
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_oracle_reproduces_printed_numbers(name: str, dtype: str) -> None:
    """Every number that a document prints lies within its interval of the oracle at the specified point."""
    assert find_missed(CASES[name], dtype=dtype) == []


WRONG = [
    ("000-manual-training", {"statistics_axes": "per_position"}, "0:y"),
    ("000-manual-training", {"statistics_axes": "per_sample"}, "0:y"),
    ("000-manual-training", {"normalizing_variance": "unbiased"}, "0:variance"),
    ("000-manual-training", {"normalizing_variance": "unbiased"}, "0:normalized"),
    ("000-manual-training", {"epsilon_value": "always_1e-3"}, "0:normalized"),
    ("000-layer-training", {"initial_weight": "zero"}, "0:weight"),
    ("000-layer-training", {"initial_bias": "one"}, "1:y"),
    ("000-layer-training", {"training_statistics": "running"}, "1:y"),
    ("000-running-statistics", {"running_variance": "biased"}, "1:running_var"),
    ("000-running-statistics", {"running_variance": "samples"}, "1:running_var"),
    ("000-running-statistics", {"running_mean": "bessel_scaled"}, "1:running_mean"),
    ("000-running-statistics", {"momentum_weighs": "running"}, "1:running_mean"),
    ("000-running-statistics", {"averaging": "zero_debiased"}, "1:running_mean"),
    ("000-running-statistics", {"training_update": "twice"}, "1:running_var"),
    ("000-evaluation", {"evaluation_update": "as_training"}, "3:running_var"),
    ("000-evaluation", {"evaluation_statistics": "batch"}, "3:y"),
    ("000-evaluation", {"evaluation_broadcast": "last_axis"}, "3:y"),
    ("001-initial-values", {"initial_running_variance": "zero"}, "0:running_var"),
    ("002-initial-values-120", {"initial_running_mean": "one"}, "0:running_mean"),
    ("004-training", {"normalizing_variance": "unbiased"}, "0:y"),
    ("004-training", {"epsilon_value": "always_1e-3"}, "0:y"),
    ("004-training-tracked", {"running_variance": "biased"}, "1:running_var"),
    ("004-training-tracked", {"running_variance": "biased"}, "2:running_var"),
    ("004-training-tracked", {"momentum_value": "always_1"}, "1:running_mean"),
    ("004-evaluation-tracked", {"evaluation_statistics": "running_mean_only"}, "1:y"),
    ("004-evaluation-tracked", {"running_variance": "biased"}, "3:y"),
    ("004-evaluation-untracked", {"untracked_evaluation_statistics": "initial"}, "0:y"),
]


@pytest.mark.parametrize(
    ("name", "values", "where"), WRONG, ids=lambda v: str(v) if isinstance(v, str) else "-".join(v.values())
)
def test_wrong_behaviour_misses_printed_numbers(name: str, values: dict[str, str], where: str) -> None:
    """A wrong behaviour is told apart by the printed number that shows it."""
    assert where in find_missed(CASES[name], SPECIFIED.but(**values))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.inputs])
def test_two_units_in_the_last_digit_are_seen(name: str) -> None:
    """Numbers computed from whole inputs are missed when the last printed digit is off by two."""
    case = CASES[name]
    if not all(numbers.exact for numbers in case.inputs.values()):
        case = dataclasses.replace(case, inputs={key: _as_whole(numbers) for key, numbers in case.inputs.items()})
    program = case.program()
    entries = [
        (record[e.expectation.observable], e)
        for record, bounded in zip(case.records(program), case.bounds(program), strict=True)
        for e in bounded
        if e.expectation.numbers is not None and not e.expectation.numbers.exact
    ]
    assert entries
    for value, entry in entries:
        assert entry.expectation.numbers is not None and entry.half_width is not None
        shape, count = entry.expectation.numbers.shape, len(entry.expectation.numbers.texts)
        printed = tuple(f"{float(v):.4f}" for v in value.reshape(-1)[:count])
        off = tuple(f"{float(text) + 2e-4:.4f}" for text in printed)
        assert Numbers(printed, shape).inside(value, entry.half_width).all()
        assert not Numbers(off, shape).inside(value, entry.half_width).any()


def _as_whole(numbers: Numbers) -> Numbers:
    return Numbers(tuple(str(round(float(text) * 100)) for text in numbers.texts), numbers.shape)


@pytest.mark.parametrize("channel", [0, 1])
def test_output_printed_without_its_input_is_standardised(channel: int) -> None:
    """Document 004 prints one output and not its input: its mean is 0 and its deviation that of the biased variance.

    sqrt(v / (v + eps)) is below 1, and divided by the unbiased variance it would be below sqrt(11/12). Half a digit
    moves the mean by at most that, and the deviation too (see bnconform.cases.intervals).
    """
    [erratum] = [erratum for erratum in golden.errata() if erratum.id == "manual-standardization"]
    layer = erratum.numbers["layer"]
    with arithmetic():
        values = centres(layer.texts).reshape(layer.shape)[:, channel]
        half = half_digits(layer.texts)[0]
        mean = values.sum() / 12
        assert abs(mean) <= half
        deviation = sqrt(((values - mean) ** 2).sum() / 12)
        assert sqrt(exact(11) / 12) + half < deviation < 1 + half


@pytest.mark.parametrize(
    ("text", "half"), [("0.5330", "1/20000"), ("2.", "0"), ("7", "0"), ("-1.5", "1/20"), ("-0.28446582", "1/200000000")]
)
def test_digits_say_how_far_a_number_is_known(text: str, half: str) -> None:
    """Half a unit of the last printed digit; a whole number is exact."""
    assert half_digit(text) == half


@pytest.mark.parametrize("text", ["", "1e-5", "nan", "0.5 ", "1,5"])
def test_text_that_is_no_printed_number_is_refused(text: str) -> None:
    """Only plain decimal numbers have digits to go by."""
    with pytest.raises(ValueError, match="not a printed number"):
        half_digit(text)


OBSERVED = ("mean", "variance", "centred", "deviation", "normalized", "y", "running_mean", "running_var")


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("kind", ["random", "outward", "up", "largest"])
@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_enclosures_hold_every_input_of_the_box(training: bool, kind: str, spread: float) -> None:
    """Whatever the unprinted digits are, the exact answer lies in the carried range, which is not much too wide."""
    generator = np.random.default_rng(20)
    config = Config(2, ndim=3, dtype="float64", param_dtype="float64")
    x = generator.normal(1.0, spread, (3, 2, 4))
    radius = generator.uniform(0.0, 0.003, x.shape)
    sign = {
        "random": generator.choice([-1.0, 1.0], x.shape),
        "outward": np.sign(x - x.mean((0, 2), keepdims=True)),
        "up": np.ones(x.shape),
        "largest": np.where(x == x.max((0, 2), keepdims=True), 1.0, -1.0),
    }[kind]
    with arithmetic():
        first, known = propagate(config, initially(config), exact(x), exact(radius), training=True)
        ranges, _ = propagate(config, known, exact(x), exact(radius), training=training)
        moved = exact(x) + exact(radius * sign)
        begun = forward(config, SPECIFIED, initial_state(config), moved, training=True)
        record = golden.observables(forward(config, SPECIFIED, begun.state, moved, training=training))
        for name in OBSERVED:
            low, high = ranges[name].low, ranges[name].high
            assert (low <= record[name]).all() and (record[name] <= high).all(), name
        if kind == "up":
            # Every element at its upper end attains the mean's end, up to the sum's 320-bit rounding.
            end = golden.observables(begun)["mean"]
            assert (abs(floats(end - first["mean"].high)) < 2.0**-300).all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cases_name_requirements_of_the_catalogue(case: GoldenCase) -> None:
    """Each printed number illustrates a requirement that exists."""
    assert all(requirement(identifier).id == identifier for identifier in case.requirements)


@pytest.mark.parametrize(
    "entry", [(d.file, e) for d in golden.documents() for e in d.defaults], ids=lambda e: f"{e[0][:3]}-{e[1].argument}"
)
def test_defaults_are_those_of_the_configuration(entry: tuple[str, golden.Default]) -> None:
    """The documents' defaults are the suite's; document 001's 0.9 weighs the old value, so the new batch has 0.1."""
    file, default = entry
    value = default.value
    if file.startswith("001") and default.argument == "momentum":
        value = float(np.round(1 - value, 15))
    assert getattr(Config(), default.argument) == value


def test_every_document_is_there() -> None:
    """Each of the five documents has a file, named after it."""
    assert [document.file[:3] for document in golden.documents()] == ["000", "001", "002", "003", "004"]
    assert all((golden.FOLDER / document.file).with_suffix(".json").is_file() for document in golden.documents())


Change = Callable[[Any], Any]


def _set(*path: Any, to: Any) -> Change:
    def change(data: Any) -> None:
        for part in path[:-1]:
            data = data[part]
        data[path[-1]] = to

    return change


MALFORMED: dict[str, tuple[Change, str]] = {
    "unknown schema": (_set("schema", to="golden"), "at schema: 'bnconform/golden/1' was expected"),
    "no errata": (lambda data: data.pop("errata"), "at the top: 'errata' is a required property"),
    "number as a number": (
        _set("cases", 0, "inputs", "input1", "printed", 0, to=1.5),
        "at cases/0/inputs/input1/printed/0: 1.5 is not",
    ),
    "word for a number": (
        _set("cases", 0, "inputs", "input1", "printed", 0, to="one 2 3 4"),
        "at cases/0/inputs/input1/printed/0: 'one 2 3 4'",
    ),
    "too few numbers": (
        _set("cases", 0, "inputs", "input1", "printed", 0, to="1 2 3"),
        "at cases/0/inputs/input1: 15 numbers where the shape",
    ),
    "wrong shape": (
        _set("cases", 0, "inputs", "input1", "shape", to=[2, 4, 2]),
        "the shape [2, 4, 2] does not have rank 4 and 2 channels",
    ),
    "shape of the output": (
        _set("cases", 1, "steps", 1, "expect", 0, "shape", to=[2, 8]),
        "at cases/1/steps/1/expect/0: y has the shape",
    ),
    "unknown input": (
        _set("cases", 1, "steps", 1, "input", to="input2"),
        "at cases/1/steps/1/input: there is no input 'input2'",
    ),
    "unknown observable": (
        _set("cases", 1, "steps", 1, "expect", 0, "observable", to="z"),
        "at cases/1/steps/1/expect/0/observable: 'z'",
    ),
    "momentum out of range": (
        _set("cases", 1, "config", "momentum", to=2),
        "at cases/1/config/momentum: 2 is greater than",
    ),
    "untracked statistics": (
        _set("cases", 2, "config", "track_running_stats", to=False),
        "at cases/2/steps/0/expect/0: this configuration has no running_mean",
    ),
    "output of a new layer": (_set("cases", 1, "steps", 0, "expect", 0, "observable", to="y"), "a new layer has no y"),
    "same id twice": (_set("cases", 1, "id", to="manual-training"), "at cases: two cases have the same id"),
    "same erratum twice": (_set("errata", 1, "id", to="evaluation-by-hand"), "at errata: two errata have the same id"),
    "unknown decision": (
        _set("errata", 0, "behaviour", to={"broadcast": "last"}),
        "at errata/0/behaviour: unknown decision 'broadcast'",
    ),
    "specified behaviour": (
        _set("errata", 0, "behaviour", to={"running_variance": "unbiased"}),
        "which explains no erratum",
    ),
    "unknown case": (
        _set("errata", 1, "evidence", "case", to="nowhere"),
        "at errata/1/evidence: there is no step 1 in a case 'nowhere'",
    ),
    "unprinted evidence": (
        _set("errata", 1, "evidence", "observable", to="mean"),
        "at errata/1/evidence: that step prints no mean",
    ),
    "unreadable default": (
        _set("defaults", 0, "printed", to="small"),
        "at defaults/0: 'small' is neither a number nor",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """A golden file with one fault gives one clear line with the file and the place."""
    change, message = MALFORMED[name]
    source = golden.FOLDER / golden.documents()[0].file
    data = copy.deepcopy(json.loads(source.with_suffix(".json").read_text(encoding="utf-8")))
    change(data)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(data))
    with pytest.raises(GoldenError) as caught:
        golden.read(path)
    text = str(caught.value)
    assert text.startswith(f"{path} is not a golden file: at ") and message in text and "\n" not in text


def test_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    """A truncated file is named."""
    path = tmp_path / "half.json"
    path.write_text('{"schema": ')
    with pytest.raises(GoldenError, match=r"/half\.json is not JSON \("):
        golden.read(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(GoldenError, match=r"^cannot read the golden file .*none\.json: No such file"):
        golden.read(tmp_path / "none.json")
