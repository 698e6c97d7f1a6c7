"""What there is to do from one framework to another: said where the two differ, and not where they are alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bnconform.backends import layer_code, parameter_names, registry
from bnconform.results.porting_list import (
    CARRIES,
    FILE,
    PortingError,
    PortingList,
    digest,
    find_record,
    porting_list,
    read,
    scripts,
)
from bnconform.spec.config import FEATURES

TABLE = Path(registry.__file__).with_name(FILE)
DATA: dict[str, Any] = read(TABLE)
NAMED = [name for name, words in DATA["spelling"].items() if words]


def way(source: str, target: str) -> PortingList:
    """The list of two implementations of the table."""
    return porting_list(DATA, source, target)


def action(found: PortingList, topic: str) -> str:
    """What there is to do about a topic; "" where nothing is."""
    return next((item.action for item in found.items if item.topic == topic), "")


@pytest.mark.parametrize("source", NAMED)
def test_every_pair_has_a_list(source: str) -> None:
    """Each has names for what both have, and topics; of two that are alike in a topic nothing is to do about it."""
    for target in NAMED:
        found = way(source, target)
        assert len(found.names) == len(parameter_names.WORDS) and found.items
        alike = [item for item in found.todo if item.source == item.target]
        assert not [item for item in alike if item.source not in ("no default", "a default that was not measured")]
        assert all(item.action.endswith(".") for item in found.todo)


MOMENTUM = {
    ("torch.nn", "flax.nnx"): ("momentum=0.9", "by 0.01"),
    ("flax.nnx", "torch.nn"): ("momentum=0.01", "by 0.1"),
    ("torch.nn", "haiku"): ("decay_rate=0.9", ""),
    ("torch.nn", "tinygrad"): ("", ""),
    ("keras+jax", "paddle"): ("momentum=0.99", "by 0.1"),
    ("flax.nnx", "tf.fused+nhwc"): ("exponential_avg_factor=0.01", "by 1"),
    ("torch.nn", "tf.nn"): ("averages nothing", ""),
}


@pytest.mark.parametrize(("pair", "words"), MOMENTUM.items(), ids=["-".join(pair) for pair in MOMENTUM])
def test_momentum_is_translated(pair: tuple[str, str], words: tuple[str, str]) -> None:
    """The value that weighs the new batch as the source does, in the target's own sense, and its other default."""
    said = action(way(*pair), "momentum")
    assert all(word in said for word in words)
    assert bool(said) == any(words)


def test_epsilon_is_passed_where_the_default_is_another() -> None:
    """By the target's own word; of equal defaults nothing is said."""
    assert action(way("torch.nn", "keras+jax"), "epsilon").startswith("Pass epsilon=1e-05 ")
    assert "no default" in action(way("keras+jax", "tf.nn"), "epsilon")
    assert action(way("torch.nn", "flax.nnx"), "epsilon") == ""


def test_estimator_has_its_factor() -> None:
    """Both ways, with numbers; between two that remember the same there is nothing to do."""
    to_unbiased = action(way("flax.nnx", "torch.nn"), "remembered variance")
    assert " n / (n - 1) " in to_unbiased and "1.0323 for n = 32" in to_unbiased
    to_biased = action(way("torch.nn", "flax.nnx"), "remembered variance")
    assert "(n - 1) / n" in to_biased and "0.96875 for n = 32" in to_biased
    assert action(way("flax.nnx", "haiku"), "remembered variance") == ""


TOPICS = {
    ("torch.nn", "flax.nnx", "axis"): "channels last",
    ("flax.nnx", "mlx", "axis"): "",
    ("torch.nn", "flax.nnx", "counter"): "Leave num_batches_tracked behind",
    ("flax.nnx", "torch.nn", "counter"): "Set it to 0",
    ("torch.nn", "tinygrad", "counter"): "",
    ("torch.nn", "haiku", "setting the statistics"): "`hidden`",
    ("torch.nn", "equinox", "setting the statistics"): "batch_counter",
    ("equinox", "torch.nn", "reading the statistics"): "1 - momentum**batch_counter",
    ("torch.nn", "haiku", "initial values"): "A new layer starts otherwise",
    ("torch.nn", "mlx", "initial values"): "",
    ("flax.nnx", "torch.nn", "dtypes"): "for x in float16 y in float16, not float32",
    ("torch.nn", "torch.functional", "dtypes"): "",
    ("torch.nn", "flax.nnx", "one value a channel"): "answers otherwise in training",
    ("torch.nn", "mindspore", "not carried"): "",
}


@pytest.mark.parametrize(("topic", "words"), TOPICS.items(), ids=["-".join(topic) for topic in TOPICS])
def test_topics(topic: tuple[str, str, str], words: str) -> None:
    """What is said of each topic, where it is known what must be."""
    source, target, name = topic
    said = action(way(source, target), name)
    assert words in said
    assert name == "not carried" or bool(said) == bool(words)


def test_what_cannot_be_carried() -> None:
    """What the source has and the target lacks, with the reason in the adapter's words, and nothing else."""
    found = way("torch.nn", "mindspore")
    lacking = {feature for feature in CARRIES if feature in DATA["unsupported"]["mindspore"]}
    said = [item.action for item in found.todo if item.topic == "not carried"]
    assert len(said) == len(lacking - set(DATA["unsupported"]["torch.nn"])) > 0
    assert any("there is no cumulative average" in text for text in said)
    assert not [item for item in way("mindspore", "torch.nn").todo if item.topic == "not carried"]
    assert set(CARRIES) <= FEATURES | {"float64", "float32", "float16", "bfloat16"}


def test_measured_share_is_that_of_the_table() -> None:
    """Or the reason why there is none."""
    found = way("flax.nnx", "torch.nn")
    assert found.share == DATA["carried"]["flax.nnx"]["torch.nn"]["share"]
    assert isinstance(way("jax.stax", "torch.nn").share, str)


# -- the code ----------------------------------------------------------------------------------------------------------

PAIRS = [(source, target) for source in layer_code.CODE for target in layer_code.CODE if source != target]


def test_every_framework_has_a_layout() -> None:
    """Of each backend that has names for its arrays it is known where the channels lie."""
    assert [name for name in NAMED if layer_code.layout(name) is None] == []


@pytest.mark.parametrize("row", layer_code.CODE)
def test_code_was_run_as_it_is(row: str) -> None:
    """The table knows what came of the very lines that are printed; else `bnconform porting --code` renews that."""
    assert DATA["code"]["lines"][row] == digest(row)


def test_the_code_of_every_pair_holds() -> None:
    """What both frameworks evaluate, and one more batch, lay within the derived bounds."""
    assert len(PAIRS) == 342
    for source, target in PAIRS:
        programs = scripts(DATA, source, target)
        ran = find_record(DATA, programs)
        assert programs is not None and ran is not None
        assert max(ran["evaluation"], ran["continued"]) <= 1, (source, target)
        assert ran["printed"].startswith("the evaluations differ by at most ")
        for name in (source, target):
            assert set(registry.distributions(name)) <= set(ran["packages"])


@pytest.mark.parametrize("row", layer_code.CODE)
def test_code_is_python_without_blanks(row: str) -> None:
    """Nothing is left to be filled in, lines are short, and the four functions are there."""
    text = layer_code.layer(row, 1e-5, 0.0)
    names = compile(text, row, "exec").co_names
    assert {"train", "evaluate", "read", "load"} <= set(names)
    assert not [word for word in ("EPS", "MOMENTUM", "CHOSEN", "IMPORT", "RUN") if word in text.split()]
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("name", "row"),
    [("torch.nn+compile", "torch.nn"), ("keras+tensorflow+xla", "keras+tensorflow"), ("tf.fused+xla", "tf.fused+nhwc"),
     ("equinox+ema", "equinox+ema"), ("jax.stax", ""), ("documents.d2l_en", ""), ("mine", "")],
)  # fmt: skip
def test_variants_have_the_lines_of_their_framework(name: str, row: str) -> None:
    """Where there are none for a variant, those without it; none for what is no framework's layer."""
    assert layer_code.row(name) == row


def test_code_that_has_changed_counts_as_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came of other lines is not told of these."""
    programs = scripts(DATA, "torch.nn", "flax.nnx")
    assert find_record(DATA, programs) is not None
    monkeypatch.setattr(layer_code, "CODE", {**layer_code.CODE, "torch.nn": layer_code.CODE["torch.nn"] + "\n"})
    assert find_record(DATA, programs) is None


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.pop("cards"), "'cards' is a required property"),
        (lambda data: data.update(schema="bnconform/result/1"), "at schema"),
        (lambda data: data.update(carried=[]), "at carried"),
        (lambda data: data["cells"].pop("numpy"), "cells has no numpy"),
        (lambda data: data["cards"]["numpy"].update(coordinates=[{}]), "cards/numpy/coordinates/0"),
    ],
    ids=["no cards", "another form", "no object", "no cells", "an empty decision"],
)
def test_bad_table_is_refused(change: Any, words: str, tmp_path: Path) -> None:
    """One line says what is wrong with it, and how to get one."""
    data = json.loads(TABLE.read_text(encoding="utf-8"))
    change(data)
    path = tmp_path / "t.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(PortingError) as caught:
        read(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
