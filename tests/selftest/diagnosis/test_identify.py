"""`bnconform identify` finds what an implementation does, and says what it cannot tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from rich.console import Console

from bnconform.backends.runner.loading import adapter
from bnconform.cli.identify import show
from bnconform.diagnosis import search
from bnconform.judge.subject import Subject
from bnconform.measure.identify import identify
from bnconform.measure.semantics_profile import SemanticsProfile, as_data
from bnconform.spec.behaviour import OF_ABILITY, SPECIFIED, decisions
from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import Mutant, every
from bnconform.tests.mutants.layer import Array, Layer
from bnconform.tests.mutants.masks import Masked
from bnconform.tests.mutants.oracle_layer import OracleBackend, OracleLayer
from bnconform.tests.selftest.command import ADAPTERS, bnconform

DECLARATIONS = str(ADAPTERS / "declarations.py")
DOCUMENTS = ("manual_normalization", "d2l_en", "d2l_zh", "simplified", "manual_standardization")


class Nameless:
    """A backend without what it declares."""

    deviations: ClassVar[Mapping[str, str]] = {}

    def __init__(self, backend: object) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> object:
        return getattr(self.backend, name)


@cache
def profile(name: str) -> SemanticsProfile:
    """The profile of a backend of ours, its declarations withheld."""
    return identify(Subject(name, Nameless(adapter(name)), "cpu", "float32"))


def measure(layer: type[Layer] | partial[OracleLayer], dtype: str = "float32") -> SemanticsProfile:
    """The profile of a layer."""
    return identify(Subject("mine", Mutant("mine", "a layer", layer), "cpu", dtype))


@pytest.mark.parametrize("name", ["numpy", "torch.nn"])
def test_specified_point_is_recovered(name: str) -> None:
    """With nothing declared, every decision is decided, and is the specified one."""
    if name.startswith("torch"):
        pytest.importorskip("torch")
    found = profile(name)
    assert found.point == SPECIFIED
    assert [one.decision for one in found.findings if not one.decided] == []
    # PyTorch's layer takes no mask, and what else it may have are rows of their own.
    asked = ("forward", "masked", "recomputed", "saved_statistics", "freeze") if name == "numpy" else ("forward",)
    assert [one.decision for one in found.findings] == [
        one for one in decisions() if OF_ABILITY.get(one, "forward") in asked
    ]
    assert (found.unexplained, found.refused, found.contradictions) == ([], {}, [])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_deviations_of_the_documents_are_recovered(name: str) -> None:
    """Nothing declared, each document's implementation is found to deviate in what its adapter declares."""
    if name in ("d2l_en", "d2l_zh", "manual_standardization"):
        pytest.importorskip("torch")
    found = profile(f"documents.{name}")
    declared = dict(adapter(f"documents.{name}").deviations)
    assert found.point == SPECIFIED.but(**declared)
    assert {one.decision for one in found.findings if one.differs} == set(declared)
    assert found.unexplained == []


@pytest.mark.parametrize(
    "differences",
    [
        {"running_variance": "biased"},
        {"momentum_none": "default_momentum", "epsilon_form": "outside"},
        {"evaluation_gradient": "as_training", "weight_gradient": "mean", "initial_weight": "zero"},
    ],
    ids=["one", "two", "three"],
)
def test_points_are_recovered(differences: dict[str, str]) -> None:
    """An ideal implementation at another point is found there."""
    point = SPECIFIED.but(**differences)
    found = measure(partial(OracleLayer, behaviour=point))
    assert found.point == point
    assert {one.decision: one.values for one in found.findings if one.differs} == {
        name: (value,) for name, value in differences.items()
    }


@pytest.mark.parametrize("name", ["output_dtype", "statistics_dtype"])
def test_dtypes_are_looked_at_in_half_precision(name: str) -> None:
    """Which dtype comes out is seen where the input and the parameters have different ones, whatever is measured in."""
    value = str(list(decisions()[name])[1])
    found = measure(partial(OracleLayer, behaviour=SPECIFIED.but(**{name: value})))
    assert next(one.values for one in found.findings if one.decision == name) == (value,)


@pytest.mark.parametrize(
    ("dtype", "declares", "values"),
    [
        ("float64", False, ("single_precision",)),
        ("float32", False, ("as_given",)),
        ("float32", True, ("as_given", "single_precision")),
    ],
    ids=["double", "single", "single, declared"],
)
def test_single_precision_shows_in_double(dtype: str, declares: bool, values: tuple[str, ...]) -> None:
    """Where it means nothing else it is not told as undecided, and a declaration of it is not contradicted."""
    numbers = dict.fromkeys(("epsilon_value", "momentum_value"), "single_precision")
    found = identify(Subject("oracle", OracleBackend(SPECIFIED.but(**numbers), declares=declares), "cpu", dtype))
    assert [one.values for one in found.findings if one.decision in numbers] == [values, values]
    assert (found.contradictions, found.unexplained) == ([], [])


class OtherDefaults(Layer):
    """Asked for nothing, it has defaults of its own."""

    DEFAULTS: ClassVar[dict[str, float]] = {"eps": 3e-3, "momentum": 0.25}


class AverageByDefault(Layer):
    """Asked for nothing, it averages over all batches."""

    DEFAULTS: ClassVar[dict[str, None]] = {"momentum": None}


def test_defaults_are_measured() -> None:
    """Epsilon and momentum are those of what the layer does, to three digits."""
    found = measure(OtherDefaults).defaults
    assert found is not None and found.momentum is not None
    assert f"{found.eps:.2e} {found.momentum:.3f} {found.cumulative}" == "3.00e-03 0.250 False"


def test_default_average_is_told_from_a_momentum_of_one() -> None:
    """The first batch alone does not tell them apart; the second does."""
    found = measure(AverageByDefault).defaults
    assert found is not None and found.cumulative
    assert "the average of all batches" in found.describe()


class OnePass(Layer):
    """The variance is the mean of the squares less the square of the mean."""

    def moments(self, values: Array) -> tuple[Array, Array]:
        if not values.shape[1]:
            return super().moments(values)
        mean = values.mean(axis=1)
        return mean, np.maximum((values * values).mean(axis=1) - mean * mean, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (Layer, "two-pass"),
        (OnePass, "one-pass"),
        (every()["welford_dividing"].build_layer, "updating"),
        (every()["corrected_two_pass"].build_layer, "two-pass"),
    ],
    ids=["two-pass", "one-pass", "welford", "corrected"],
)
def test_variance_algorithm_is_told(layer: type[Layer], word: str, dtype: str) -> None:
    """The growth of the error with mean over deviation tells the algorithms apart."""
    assert measure(layer, dtype).algorithm.startswith(word)


def test_undecidable_is_said() -> None:
    """Where nothing that is shown depends on a decision, all its values are given, and why."""
    momentum = next(one for one in profile("documents.simplified").findings if one.decision == "momentum_none")
    assert len(momentum.values) == len(list(decisions()["momentum_none"]))
    assert momentum.evidence == "nothing that it shows depends on it"


class Noisy(Layer):
    """Its output is off by a hundredth at rank 3, which is no decision."""

    def reshape_like(self, values: Array, x: Array) -> Array:
        y = super().reshape_like(values, x)
        return y * y.dtype.type(1.01) if x.ndim == 3 else y


def test_what_nothing_explains_is_listed() -> None:
    """What no point explains stands on the profile, with the call."""
    found = measure(Noisy)
    assert found.unexplained
    assert all("rank 3" in line for line in found.unexplained)
    assert found.algorithm.startswith("not measured")


class OneValuePassesThrough(OnePass):
    """A single value is given back as it came, which is no decision either."""

    def forward(self, x: Array, *, training: bool) -> Array:
        return x.copy() if training and x.size == x.shape[1] else super().forward(x, training=training)


def test_algorithm_is_told_beside_an_edge_that_nothing_explains() -> None:
    """What happens to single values says nothing of how the variance of several is computed."""
    found = measure(OneValuePassesThrough)
    assert all("(one value)" in line for line in found.unexplained)
    assert found.unexplained
    assert found.algorithm.startswith("one-pass")


class NoAverage(Layer):
    """It refuses momentum=None."""

    def __init__(self, config: Config) -> None:
        if config.momentum is None:
            raise ValueError("a momentum is needed")
        super().__init__(config)


def test_what_is_refused_is_listed() -> None:
    """A configuration that is refused is told with the implementation's words, and leaves its decision open."""
    found = measure(NoAverage)
    assert "a momentum is needed" in found.refused["momentum None, from new"]
    assert found.point == SPECIFIED
    assert not next(one for one in found.findings if one.decision == "momentum_none").decided


def test_evidence_refutes_every_other_value() -> None:
    """For a decided decision, each other value has an observation beyond its bound."""
    evidence = search.gather(Subject("layer", Mutant("layer", "right", Masked), "cpu", "float64"))
    dtypes = {"output_dtype", "statistics_dtype"}
    for name, values in search.alternatives(evidence, SPECIFIED).items():
        if OF_ABILITY.get(name, "masked") != "masked":
            continue  # this layer has masks, and nothing else of the kind
        for value, refuted in values.items():
            if name not in dtypes and (name, value) != ("evaluation_epsilon_form", "inside"):
                assert refuted is not None and refuted.margin > 1, (name, value)


def test_card_as_data() -> None:
    """The data hold every decision that NumPy's layer can show, and are JSON."""
    data = json.loads(json.dumps(as_data(profile("numpy"))))
    asked = [one for one in decisions() if not OF_ABILITY.get(one, "").startswith("replicated")]
    assert [one["coordinate"] for one in data["coordinates"]] == asked
    assert data["schema"] == "bnconform/card/1"
    assert data["dtypes"]["float16"] == {"output": "float16", "statistics": "float32"}


def test_command_prints_and_writes(tmp_path: Path) -> None:
    """The command prints the profile and writes it where it is asked to."""
    answer = bnconform(tmp_path, "identify", "--backend", f"{DECLARATIONS}:Undeclared", "--json", "profile.json")
    assert answer.status == 0, answer.err
    assert "but for running_variance = biased" in answer.out
    assert 'not declared by the adapter: "running_variance": "biased"' in answer.out
    data = json.loads((tmp_path / "profile.json").read_text())
    assert data["contradictions"] == []


def test_untrue_declaration_is_an_error_of_the_adapter(tmp_path: Path) -> None:
    """A declaration that the measurement refutes is told, and ends with status 1."""
    answer = bnconform(tmp_path, "identify", "--backend", f"{DECLARATIONS}:Untrue")
    assert answer.status == 1
    assert "Errors of the adapter" in answer.out
    assert "was measured as " in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--backend", "no.such"), ("no.such",)),
        (("--backend", "numpy", "--dtype", "float8"), ("float8",)),
        (("--backend", "numpy", "--fast"), ("does not take '--fast'", "usage: bnconform identify [--backend B]")),
        (("--backend", "numpy", "--json", "no/such/profile.json"), ("no/such",)),
        (("--backend", "numpy", "--device", "cuda:9"), ("cuda:9",)),
    ],
    ids=["backend", "dtype", "option", "folder", "device"],
)
def test_bad_requests_are_refused(arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path) -> None:
    """One line says what is wrong, with status 2."""
    bnconform(tmp_path, "identify", *arguments).assert_refused(*words)


class NoTraining(Layer):
    """Nothing but its evaluation works."""

    def forward(self, x: Array, *, training: bool) -> Array:
        if training:
            raise SystemExit(0)
        return super().forward(x, training=training)


def test_pass_that_is_never_answered_is_no_conformance(capsys: pytest.CaptureFixture[str]) -> None:
    """A layer that ends, or refuses, every training pass is not said to do what it must; one that says so is."""
    found = measure(NoTraining)
    assert found.unanswered == ["training"]
    show(found, Console(width=200))
    assert "It does not answer (training): forward raised SystemExit: 0\n" in capsys.readouterr().out
    assert measure(NoAverage).unanswered == []


def test_points_that_nothing_explains_are_not_invented() -> None:
    """A layer that is wrong in a way that is no decision is not said to deviate in one."""
    assert measure(Noisy).point == SPECIFIED
