"""A user's own model: its own prediction in float64 is due, rounding passes, and what is folded wrongly is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnconform.backends.runner import own_models
from bnconform.errors import UserError
from bnconform.execution.settings import Settings
from bnconform.judge.outcome import CONFORMS, DEVIATES, UNSUPPORTED, VIOLATES
from bnconform.judge.own_model import DeploymentRefused, Norm, OwnModelRun, OwnModelSession, OwnReference
from bnconform.spec.graph import Array

ROOT = Path(__file__).parents[3]
EXAMPLE = f"{ROOT / 'backends/examples/residual_network.py'}:make"


class Here(OwnModelSession):
    """The same in this process."""

    def _open(self) -> Mapping[str, Any]:
        self._worker = object()  # type: ignore[assignment]  # so that it is opened once
        return self._tell({"what": "open", "framework": self.framework, "place": self.place, "given": self.given})

    def _tell(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        told = own_models.own_model(request)
        if "refused" in told:
            raise DeploymentRefused(told["refused"])
        return told


@pytest.fixture(scope="module")
def judged() -> OwnModelRun:
    """The residual network of the examples."""
    pytest.importorskip("torch")
    session = Here(Settings(), "torch", EXAMPLE, {}, "torch")
    model = session.facts()
    return OwnModelRun(session, model, session.reference(model.dtype), "torch.eager")


def test_the_model_itself_is_far_within_its_bound(judged: OwnModelRun) -> None:
    """And the bound is far below the prediction: it tells something."""
    assert judged.check_control() < 0.1
    assert float(judged.reference.bound.max()) < 1e-2 * float(np.abs(judged.reference.y).max())


def test_its_batch_norms_are_known_with_what_stands_around_them(judged: OwnModelRun) -> None:
    """Each by its name, the rank of what it reads, its neighbours, and how often these are called and read."""
    norms = {norm.name: norm for norm in judged.model.norms}
    assert len(norms) == 12 and judged.model.traced
    assert norms["tokens.norm"].pattern == (
        "Linear tokens.linear -> BatchNorm1d tokens.norm of rank 3 (4, 16, 16) -> relu"
    )
    assert norms["shared.one"].pattern.endswith("the Conv2d is called 2 times")


@pytest.mark.parametrize(
    ("tool", "blamed"),
    [
        ("torch.fx.fuse", {"shared.one", "shared.other", "tokens.norm"}),
        ("torch.nn.utils.fusion", {"tokens.norm"}),
        ("torch.jit.freeze", {"tokens.norm"}),
    ],
)
def test_the_batch_norm_to_blame_is_named(judged: OwnModelRun, tool: str, blamed: set[str]) -> None:
    """Each by itself, of twelve; what is folded rightly beside it is not."""
    found = judged.judge(tool)
    assert found.verdict == VIOLATES and found.ratio > 100
    assert found.found is not None and found.found.is_whole
    assert {name for names in found.found.sets for name in names} == blamed


def test_what_is_right_conforms(judged: OwnModelRun) -> None:
    """Tracing folds nothing; and what the tool refuses is unsupported, in its words."""
    assert judged.judge("torch.jit.trace").verdict == CONFORMS
    refused = OwnModelRun(_Refusing(Settings(), "torch", EXAMPLE, {}, "torch"), judged.model, judged.reference, "")
    assert refused.judge("torch.fx.fuse").verdict == UNSUPPORTED


HALVING = """
from bnconform.backends.deployments.torch_fusers import FxFuse
from bnconform.backends.deployments.torch_eager import TorchEager


class Half:
    lower_precision = {declared}

    def deploy(self, original, example):
        for value in original.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
        return super().deploy(original, example)


class Right(Half, TorchEager):
    name = "right"


class Wrong(Half, FxFuse):
    name = "wrong"
"""


@pytest.mark.parametrize(
    ("tool", "declared", "verdict"),
    [
        ("Right", {"float32": "float16"}, DEVIATES),
        ("Wrong", {"float32": "float16"}, VIOLATES),
        ("Right", {}, VIOLATES),
    ],
)
def test_a_lower_precision_is_admitted_where_it_is_declared(
    judged: OwnModelRun, tmp_path: Path, tool: str, declared: dict[str, str], verdict: str
) -> None:
    """What a tool stores in half precision deviates as declared; what it folds wrongly is found all the same."""
    path = tmp_path / f"{tool}{len(declared)}.py"
    path.write_text(HALVING.format(declared=declared), encoding="utf-8")
    found = judged.judge(f"{path}:{tool}")
    assert found.verdict == verdict, found.words
    if tool == "Wrong":
        assert found.found is not None and ("tokens.norm",) in found.found.sets


@dataclass
class _Refusing(OwnModelSession):
    """A session whose tools refuse everything, or predict what is given."""

    y: Array | None = None
    asked: list[str] = field(default_factory=list)

    def deploy(self, tool: str, hidden: Any = ()) -> tuple[Array, str]:
        self.asked.append(tool)
        if self.y is None:
            raise DeploymentRefused("not today")
        return self.y, ""


def test_a_model_beyond_its_own_bound_is_not_judged(judged: OwnModelRun) -> None:
    """Then the bound says nothing, and nobody is accused."""
    session = _Refusing(Settings(), "torch", EXAMPLE, {}, "torch", y=judged.reference.y + 1)
    with pytest.raises(UserError, match="no tool is judged"):
        OwnModelRun(session, judged.model, judged.reference, "torch.eager").check_control()


def test_a_ratio_is_of_the_worst_sample() -> None:
    """Another shape and what is not finite are beyond every bound."""
    reference = OwnReference(np.zeros((2, 3)), np.array([1.0, 0.5]))
    y = np.zeros((2, 3))
    y[1, 2] = 2.0
    assert reference.ratio(y) == 4.0
    assert reference.ratio(np.zeros((2, 2))) == np.inf
    assert reference.ratio(np.full((2, 3), np.nan)) == np.inf


def test_a_pattern_without_a_graph() -> None:
    """What is not known is not told."""
    assert Norm("bn", "BatchNorm2d", (2, 3, 4, 4)).pattern == "BatchNorm2d bn of rank 4 (2, 3, 4, 4)"


@pytest.mark.parametrize(
    ("place", "given", "words"),
    [
        ("nowhere.py:make", {}, "no file nowhere.py"),
        ("nowhere:make", {}, "does not import"),
        ("make", {}, "is not FILE.py:FACTORY"),
        (EXAMPLE.replace(":make", ":absent"), {}, "has no function absent"),
        (EXAMPLE.replace(":make", ":train"), {}, "missing 1 required"),
    ],
)
def test_a_model_that_cannot_be_made(place: str, given: dict[str, Any], words: str) -> None:
    """One line says what is wrong."""
    pytest.importorskip("torch")
    with pytest.raises(UserError, match=words):
        Here(Settings(), "torch", place, given, "torch").facts()


def test_an_input_is_needed(tmp_path: Path) -> None:
    """A factory that returns the model alone needs --input; with a shape it is drawn in the model's dtype."""
    pytest.importorskip("torch")
    file = tmp_path / "own.py"
    file.write_text("import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.BatchNorm1d(3))\n")
    with pytest.raises(UserError, match="--input"):
        Here(Settings(), "torch", f"{file}:make", {}, "torch").facts()
    assert Here(Settings(), "torch", f"{file}:make", {"shape": [5, 3]}, "torch").facts().shape == (5, 3)


def test_several_outputs_are_one_prediction(tmp_path: Path) -> None:
    """What a model gives as a tuple is compared, all of it."""
    pytest.importorskip("torch")
    file = tmp_path / "own.py"
    file.write_text(
        "import torch\nclass Two(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.norm = torch.nn.BatchNorm1d(3)\n"
        "    def forward(self, x):\n        return self.norm(x), x.sum(1)\n"
        "def make():\n    return Two(), torch.ones(4, 3)\n"
    )
    session = Here(Settings(), "torch", f"{file}:make", {}, "torch")
    model = session.facts()
    assert session.reference(model.dtype).y.shape == (4, 4)
