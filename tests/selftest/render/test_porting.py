"""The porting table agrees with the adapters, its page with its data, and a layer that is carried badly is told."""

from __future__ import annotations

import importlib
import inspect
import json
import random
import subprocess
import sys
from collections import Counter
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bnconform.backends import parameter_names, registry
from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer
from bnconform.cli.main import main
from bnconform.cli.porting import SAME_LAYER
from bnconform.judge.subject import Subject
from bnconform.measure import porting, porting_replicas
from bnconform.render.porting_pages import FOLDER as PAGES
from bnconform.render.porting_pages import framework, group, groups, pages, some
from bnconform.spec.behaviour import SPECIFIED
from bnconform.tests.mutants.catalogue import Mutant
from bnconform.tests.mutants.layer import Array, Layer
from bnconform.tests.mutants.oracle_layer import layer_at
from bnconform.tests.mutants.replicas import ReplicatedLayer
from bnconform.tests.selftest.backends import test_declarations
from bnconform.tests.selftest.render.porting_snippets import ASKED, LAYERS, agrees, code

FRAMEWORKS = [name for name in test_declarations.FRAMEWORKS if name not in SAME_LAYER]
FOLDER = Path(registry.__file__).parent
TENTH = 0.1
DATA: dict[str, Any] = json.loads((FOLDER / "porting.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", pages(DATA))
def test_pages_are_those_of_the_data(path: str) -> None:
    """Each is written by the renderer from the data beside it."""
    assert (FOLDER / path).read_text(encoding="utf-8") == pages(DATA)[path]


def test_no_page_too_many() -> None:
    """The folder has the pages of the frameworks that there are."""
    assert {f"{PAGES}/{path.name}" for path in (FOLDER / PAGES).iterdir()} == {*pages(DATA)} - {"porting.md"}


@pytest.mark.parametrize("name", DATA["cards"])
def test_every_implementation_stands_on_its_page(name: str) -> None:
    """As a column, and in the table that leads there."""
    assert f"[`{name}`]({PAGES}/{group(name)}.md)" in pages(DATA)["porting.md"]
    text = pages(DATA)[f"{PAGES}/{group(name)}.md"]
    assert f"| `{name}` |" in text.partition("## What it does")[2].partition("|---")[0]


def test_tables_are_narrow() -> None:
    """No table has more columns than the implementations of a framework, and one for the heads."""
    spread = Counter(key.partition("+")[0] for key in DATA["replicas"])
    most = max(*(len(rows) for rows in groups(DATA).values()), *spread.values())
    for text in pages(DATA).values():
        assert all(line.count("|") <= most + 2 for line in text.splitlines() if line.startswith("|"))


def test_some_of_the_table() -> None:
    """What stands on the page of a run has the implementations that were judged."""
    text = some(DATA, ["torch.nn", "flax.nnx"])
    assert text.count("\n| `") == 2 and "bnconform porting --from torch.nn" in text


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_measurement_agrees_with_the_declarations(name: str) -> None:
    """What an adapter declares today is what it declared when it was measured, and the measurement bears it out."""
    card = DATA["cards"][name]
    declared = {entry["coordinate"]: entry["declared"] for entry in card["coordinates"] if entry["declared"]}
    assert declared == dict(registry.adapter_class(name).deviations)
    assert card["contradictions"] == []


def test_no_framework_too_many() -> None:
    """The table has the adapters of frameworks that there are, and the hand-written layer."""
    assert {name for name in DATA["cards"] if not name.startswith("documents.")} == {"numpy", *FRAMEWORKS}


def test_every_trained_layer_is_carried_everywhere() -> None:
    """Each pair has a share of the bound, or a reason."""
    for receivers in DATA["carried"].values():
        assert set(receivers) == set(DATA["cards"])
        assert all(told.get("reason") or told["share"] is not None for told in receivers.values())


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_rule_that_does_not_hold_is_not_printed(name: str) -> None:
    """Running statistics are named where evaluation goes by those that are shown and by those that are loaded."""
    words = DATA["spelling"][name]
    section = framework(DATA, group(name), [name]).partition("## Carrying a layer")[2]
    out = DATA["kept"].get(name)
    into = [told[name]["share"] for told in DATA["carried"].values() if "share" in told[name]]
    holds = out is not None and max(out, *into) <= 1
    for word in ("running_mean", "running_var"):
        assert (f"| {word} | `{words.get(word)}` |" in section) == (holds and word in words)


CELLS = [
    (row, place, kind)
    for row in LAYERS
    for place in DATA["cells"][row]
    for kind in ASKED
    if random.Random(f"{row} {place} {kind} {date.today().isocalendar().week}").random() < TENTH
]
"""A tenth of the cells that a few lines of the framework can show, others every week."""


@pytest.mark.parametrize("row", LAYERS)
def test_the_frameworks_alone_say_the_same(row: str, tmp_path: Path) -> None:
    """What the table says of a cell is what a few lines of the framework alone print."""
    if reason := registry.missing(registry.BUILTIN[row]):
        pytest.skip(reason)
    for wide in (True, False):  # which JAX wants to know before it is imported
        cells = [cell for cell in CELLS if cell[0] == row and cell[1].startswith("float64") == wide]
        texts = [code(*cell) for cell in cells]
        run = subprocess.run(
            [sys.executable, "-c", f"for text in {texts!r}: exec(text, {{}})"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        for (_, place, kind), printed in zip(cells, run.stdout.splitlines(), strict=True):
            told = DATA["cells"][row][place][kind]
            assert agrees(printed, told, kind), f"{place}, {kind}: the table has {told!r}, not {printed!r}"


@pytest.mark.parametrize(
    ("name", "signature", "lacking"),
    [
        ("haiku", "haiku.BatchNorm.__init__", {"decay_rate"}),
        ("tf.nn", "tensorflow.nn.batch_normalization", {"variance_epsilon"}),
        ("flax.nnx", "flax.nnx.BatchNorm.__init__", set()),
        ("torch.nn", "torch.nn.BatchNorm2d.__init__", set()),
    ],
)
def test_defaults_are_those_of_the_signatures(name: str, signature: str, lacking: set[str]) -> None:
    """What has no default by the table has none in the signature, and the other way round."""
    if reason := registry.missing(registry.BUILTIN[name]):
        pytest.skip(reason)
    module, _, rest = signature.partition(".")
    found: Any = importlib.import_module("flax.nnx" if name == "flax.nnx" else module)
    for part in rest.removeprefix("nnx.").split(".") if name == "flax.nnx" else rest.split("."):
        found = getattr(found, part)
    required = {one.name for one in inspect.signature(found).parameters.values() if one.default is one.empty}
    own = {word: parameter_names.names_for(name).get(word, "").removeprefix("1 - ") for word in ("eps", "momentum")}
    lacks = {own[word] for word, has in parameter_names.defaults_of(name).items() if not has and own[word]}
    assert lacks == required & set(own.values()) == lacking


class _Forgets(NumpyLayer):
    def load(self, state: Any) -> None:
        super().load({name: value for name, value in state.items() if name != "running_var"})


class _Squares(NumpyLayer):
    def forward(self, x: Array, *, training: bool) -> Array:
        y = super().forward(x, training=training)
        return y if training else y * y


class Kind(NumpyBackend):
    """The NumPy backend with layers of another class."""

    def __init__(self, kind: type[NumpyLayer]) -> None:
        self.name, self.kind = kind.__name__, kind

    def build(self, config: Any, device: str) -> NumpyLayer:
        """A layer of the class."""
        layer = super().build(config, device)
        layer.__class__ = self.kind
        return layer


def _subject(kind: type[NumpyLayer]) -> Subject:
    return Subject(kind.__name__, Kind(kind), "cpu", porting.DTYPE)


def test_carrying_is_measured() -> None:
    """A right layer's state, loaded into another, evaluates within the bound."""
    told = porting.carry_on(_subject(NumpyLayer), porting.train(_subject(NumpyLayer))["state"])
    assert 0 < told["share"] < 1


@pytest.mark.parametrize("kind", [_Forgets, _Squares])
def test_badly_carried_layer_is_told(kind: type[NumpyLayer]) -> None:
    """A layer that loses a part of the state, or evaluates it wrongly, has no share, and a reason or one above 1."""
    told = porting.carry_on(_subject(kind), porting.train(_subject(NumpyLayer))["state"])
    assert "reason" in told or told["share"] > 1


class _Halves(NumpyLayer):
    def load(self, state: Any) -> None:
        super().load(state)
        self.momentum = 0.5


def test_a_layer_that_trains_on_otherwise_is_told() -> None:
    """One that evaluates what was carried, and whose average then goes on otherwise, has a second share above 1."""
    state = porting.train(_subject(NumpyLayer))["state"]
    assert porting.carry_on(_subject(NumpyLayer), state)["continued"] < 1
    told = porting.carry_on(_subject(_Halves), state)
    assert told["share"] < 1 < told["continued"]


class _Shows(NumpyLayer):
    def state(self) -> Any:
        shown = super().state()
        return shown | {"running_var": None if shown["running_var"] is None else shown["running_var"] * 2}


def test_a_state_that_evaluation_does_not_use_is_told() -> None:
    """Where a layer shows other statistics than it evaluates by, the share of its own evaluation says so."""
    assert porting.train(_subject(NumpyLayer))["share"] < 1 < porting.train(_subject(_Shows))["share"]


def _replicas(layer: Any, **lacking: str) -> dict[str, Any]:
    """What is measured of layers of a class, values alone."""
    backend = Mutant("layer", "a layer", layer)
    object.__setattr__(backend, "unsupported", lacking)
    found = porting_replicas.replicas(lambda dtype: Subject("layer", backend, "cpu", dtype))
    return {name: entry["values"] for name, entry in found.items()}


def test_replicas_are_measured() -> None:
    """A right layer has the specified values, each of them alone; one without replicas has none."""
    assert _replicas(Layer) == {}
    assert _replicas(ReplicatedLayer) == {name: [str(getattr(SPECIFIED, name))] for name in porting_replicas.DECISIONS}
    own = _replicas(partial(layer_at, behaviour=SPECIFIED.but(replica_memory="first")))
    assert own["replica_memory"] == ["first"] and own["replica_statistics"] == ["all"]


def test_what_nothing_shows_of_replicas_is_open() -> None:
    """Where shards are of one shape, either weight is possible, and the page says so."""
    reason = "all are of one shape"
    found = _replicas(ReplicatedLayer, replicas_unequal=reason)
    assert found["replica_weights"] == ["by_count", "equally"] and found["replica_statistics"] == ["all"]
    told = {name: {"values": values, "specified": "all"} for name, values in found.items()}
    text = framework({**DATA, "replicas": {"torch.nn+mine": told}}, "torch.nn", ["torch.nn"])
    assert "| replica_statistics | all |" in text and "| replica_weights | ? |" in text


def test_command_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page and the data of one backend, which can be carried into itself."""
    assert main(["porting", "--backend", "numpy", "--into", str(tmp_path)]) == 0
    assert "1 implementations are in" in capsys.readouterr().out
    data = json.loads((tmp_path / "porting.json").read_text(encoding="utf-8"))
    assert data["carried"]["numpy"]["numpy"]["share"] < 1
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*") if path.is_file()} == {
        "porting.json", *pages(data),
    }  # fmt: skip
    assert data["code"] == {}  # of one implementation alone there is no way to another


@pytest.mark.parametrize("given", [("--bakend", "numpy"), ("--backend", "nump"), ("--python", "numpy")])
def test_bad_request_is_refused(given: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An option, a backend or an interpreter that does not exist is refused in one line."""
    assert main(["porting", *given, "--into", str(tmp_path)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("bnconform: ")
    assert not list(tmp_path.iterdir())
