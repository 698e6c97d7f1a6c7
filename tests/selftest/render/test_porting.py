"""The porting table agrees with the adapters, its page with its data, and a layer that is carried badly is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bnconform.backends import registry
from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer
from bnconform.cli.main import main
from bnconform.judge.subject import Subject
from bnconform.measure import porting
from bnconform.render.porting_table import page
from bnconform.tests.mutants.layer import Array
from bnconform.tests.selftest.backends.test_declarations import FRAMEWORKS

FOLDER = Path(registry.__file__).parent
DATA: dict[str, Any] = json.loads((FOLDER / "porting.json").read_text(encoding="utf-8"))


def test_page_is_that_of_the_data() -> None:
    """The page is written by the renderer from the data beside it."""
    assert (FOLDER / "porting.md").read_text(encoding="utf-8") == page(DATA)


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
    """Each pair has a share of the bound below 1, or a reason; but for what evaluates as no known behaviour does."""
    lost = {name for name, card in DATA["cards"].items() if card["unexplained"]}
    for donor, receivers in DATA["carried"].items():
        assert set(receivers) == set(DATA["cards"])
        for name, told in receivers.items():
            assert (told.get("reason")) or told["share"] <= 1 or name in lost, (donor, name)


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
    told = porting.carried(_subject(NumpyLayer), porting.trained(_subject(NumpyLayer))["state"])
    assert 0 < told["share"] < 1


@pytest.mark.parametrize("kind", [_Forgets, _Squares])
def test_badly_carried_layer_is_told(kind: type[NumpyLayer]) -> None:
    """A layer that loses a part of the state, or evaluates it wrongly, has no share, and a reason or one above 1."""
    told = porting.carried(_subject(kind), porting.trained(_subject(NumpyLayer))["state"])
    assert "reason" in told or told["share"] > 1


def test_command_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page and the data of one backend, which can be carried into itself."""
    assert main(["porting", "--backend", "numpy", "--into", str(tmp_path)]) == 0
    assert "1 implementations are in" in capsys.readouterr().out
    data = json.loads((tmp_path / "porting.json").read_text(encoding="utf-8"))
    assert data["carried"]["numpy"]["numpy"]["share"] < 1
    assert (tmp_path / "porting.md").read_text(encoding="utf-8") == page(data)


@pytest.mark.parametrize("given", [("--bakend", "numpy"), ("--backend", "nump"), ("--python", "numpy")])
def test_bad_request_is_refused(given: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An option, a backend or an interpreter that does not exist is refused in one line."""
    assert main(["porting", *given, "--into", str(tmp_path)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("bnconform: ")
    assert not list(tmp_path.iterdir())
