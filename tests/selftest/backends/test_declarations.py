"""What the frameworks' adapters declare is said to be documented somewhere, and exists."""

from __future__ import annotations

import pytest

from bnconform.backends import registry
from bnconform.backends.parameter_names import FAMILIES, WORDS
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import FEATURES

FRAMEWORKS = [name for name, entry in registry.BUILTIN.items() if entry.needs and not name.startswith("documents.")]


@pytest.mark.parametrize("name", [*FRAMEWORKS, *registry.DEPLOYMENTS])
def test_deviations_are_documented(name: str) -> None:
    """Each deviation of a framework or tool has a link to the place, with its words; nothing else has one."""
    adapter = registry.adapter_class(name)
    SPECIFIED.but(**adapter.deviations)
    documented = getattr(adapter, "documented", {})
    lower = {"lower_precision"} if getattr(adapter, "lower_precision", {}) else set()
    assert set(documented) == set(adapter.deviations) | lower
    for text in documented.values():
        link, _, words = text.partition(": ")
        assert link.startswith("https://") and " " not in link
        assert len(words) > 10


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_lacks_are_features_with_reasons(name: str) -> None:
    """What an adapter says it lacks is something that is asked for, and the reason is a sentence."""
    adapter = registry.adapter_class(name)
    lacks = [adapter.unsupported, *getattr(adapter, "unsupported_on", {}).values()]
    for feature, reason in (item for some in lacks for item in some.items()):
        assert feature in FEATURES
        assert len(reason.split()) > 3


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_adapter_is_named_as_registered(name: str) -> None:
    """The row is called what --backend takes."""
    assert registry.adapter_class(name).name == name


def test_every_framework_is_spelt() -> None:
    """What each framework calls the parameters is written down, and for no other."""
    assert set(FAMILIES) == {name.partition("+")[0] for name in FRAMEWORKS}
    assert {len(words) for words in FAMILIES.values()} == {len(WORDS)}
