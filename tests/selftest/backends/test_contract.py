"""The contract in backends/__init__.py names everything that the suite looks at, and adapters fit it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from bnconform import backends
from bnconform.backends import Backend, BackendDetails, Layer, LayerAbilities, LayerOptions, NoAnswer
from bnconform.backends.deployments import Deployment
from bnconform.backends.numpy_layer import NumpyBackend
from bnconform.backends.runner import instrumented, loading, smoke
from bnconform.backends.runner.programs import LayerConfig
from bnconform.execution.sessions import Description
from bnconform.spec.config import FEATURES, Config
from bnconform.tests.selftest.house.test_layout import modules, name_of


def members(protocol: type) -> set[str]:
    """The names of what a protocol has."""
    return {name for name in vars(protocol) if not name.startswith("_")}


BACKEND = members(Backend) | members(BackendDetails)
TOOL = members(Deployment)
"""What a tool that deploys models has in the place of layers."""
OURS = {"offered", "deployment"}
"""What the suite's own record of an adapter has besides (`Description`)."""


def attributes_read(source: str) -> Iterator[tuple[str, str]]:
    """What a source text reads of things that are called backend, layer or error: ("backend", "name")."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            of, name = node.value, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
            of = node.args[0]
            constant = node.args[1]
            if not isinstance(constant, ast.Constant):
                continue
            name = str(constant.value)
        else:
            continue
        called = ast.unparse(of).rpartition(".")[2]
        if called in ("backend", "adapter", "error"):
            yield called, name


RUNNER = modules("backends/runner")
READERS = [*RUNNER, *modules("bnconform/judge", "bnconform/execution", "bnconform/measure")]


@pytest.mark.parametrize("path", READERS, ids=name_of)
def test_what_is_read_is_in_the_contract(path: Path) -> None:
    """No attribute is looked at that an author could not know of."""
    found = set(attributes_read(path.read_text(encoding="utf-8")))
    assert {name for called, name in found if called == "backend"} <= BACKEND | TOOL | OURS
    if path in RUNNER:
        own = {"__traceback__", "__cause__", "__context__", "obj"}  # of Python's errors
        assert {name for called, name in found if called == "error"} <= members(NoAnswer) | own


def test_the_search_finds_what_is_read() -> None:
    """Attributes and getattr, on a name or on an attribute of that name."""
    source = 'backend.a; self.backend.b(); getattr(x.backend, "c", {}); getattr(error, "d"); other.e'
    assert set(attributes_read(source)) == {("backend", "a"), ("backend", "b"), ("backend", "c"), ("error", "d")}
    assert ("error", "is_refusal") in set(attributes_read(inspect.getsource(instrumented)))
    assert ("backend", "slow_to_start") in set(attributes_read(inspect.getsource(loading)))


def test_lists_of_names_are_in_the_contract() -> None:
    """What the runner asks for by lists of names, and what the suite keeps of an adapter, is all in the contract."""
    assert {*loading.BACKEND_METHODS, *loading.DECLARED} <= BACKEND | TOOL
    assert set(instrumented.LAYER_METHODS) == members(Layer)
    assert {one.name for one in fields(Description)} - OURS <= BACKEND | TOOL
    assert {one.name for one in fields(Description)} | {
        *loading.BACKEND_METHODS,
        "describe_device",
        "build_lazy",
    } >= BACKEND
    assert set(smoke.SIGNATURES) == members(Layer) | {"build", "build_default"}
    assert members(LayerOptions) == {one.name for one in fields(LayerConfig)} | {"affine"}
    assert {one.name for one in fields(Config)} | {"weight", "bias"} == members(LayerOptions)


@pytest.mark.parametrize("protocol", [Backend, BackendDetails, Layer, LayerAbilities, LayerOptions, NoAnswer])
def test_members_are_explained(protocol: type) -> None:
    """Each member has its own docstring."""
    for name in members(protocol):
        assert inspect.getdoc(inspect.getattr_static(protocol, name)), name


ADAPTER = BACKEND | members(Layer) | members(LayerAbilities)


@pytest.mark.parametrize("name", sorted(ADAPTER | members(LayerOptions) | members(NoAnswer)))
def test_reasons_are_given(name: str) -> None:
    """The text says of each member what is asked for, and why."""
    text = backends.__doc__ or ""
    assert f"`{name}" in text


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_features_are_named(feature: str) -> None:
    """Everything that `unsupported` may name stands in the text."""
    text = backends.__doc__ or ""
    assert f'"{feature}"' in text or feature.startswith(("rank_", "forward"))


def test_types_are_those_of_an_adapter() -> None:
    """An adapter, a layer and the record of options are what the protocols ask for, for a type checker too."""
    backend: Backend = NumpyBackend()
    sent: LayerOptions = LayerConfig()
    layer: Layer = backend.build(sent, "cpu")
    assert sent.num_features == 3
    assert layer.state()["running_mean"] is not None
