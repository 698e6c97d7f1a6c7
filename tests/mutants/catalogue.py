"""The catalogue: every wrong implementation with the requirements that must catch it, and every right one.

The files of this folder whose names begin with `wrong_` or `right_` are read; each entry is a class made by `wrong` or
`right` from a layer. The neighbours of the specified point come from the behaviour space itself (`neighbours`).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from bnconform.spec.behaviour import SPECIFIED, decision
from bnconform.spec.catalogue import fixing
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES as ALL_DTYPES
from bnconform.tests.mutants.oracle_layer import layer_at

Build = Callable[[Config], Any]
Made = TypeVar("Made", bound=type)
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Mutant:
    """One implementation whose verdict is known beforehand; it is a backend of the contract.

    Attributes:
        name: words that a person can type; a wrong one's say its fault.
        says: one sentence: what is wrong, or by what means it is right.
        build_layer: a layer for a configuration.
        killers: the requirements each of which must be violated; () for a right one.
        explanation: the decisions that the diagnosis must name, where the fault is one of the behaviour space.
        thread: the public report that it is modelled on, as `project#number`, or "".
        dtypes: the dtypes in which it must be judged.
    """

    name: str
    says: str
    build_layer: Build
    killers: tuple[str, ...] = ()
    explanation: tuple[tuple[str, str], ...] = ()
    thread: str = ""
    dtypes: tuple[str, ...] = DTYPES

    deviations: ClassVar[Mapping[str, str]] = {}
    unsupported: ClassVar[Mapping[str, str]] = {}

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def build(self, config: Config, device: str) -> Any:
        """A layer of this configuration."""
        return self.build_layer(config)

    @property
    def build_lazy(self) -> Any:
        """What gives a layer that has seen no input, for a configuration and a device; None for most."""
        return getattr(self.build_layer, "build_lazy", None)

    def build_default(self, num_features: int, device: str) -> Any:
        """A layer with the specified defaults, or those that its class gives as DEFAULTS."""
        return self.build_layer(Config(num_features, **getattr(self.build_layer, "DEFAULTS", {})))


WRONG: dict[str, Mutant] = {}
RIGHT: dict[str, Mutant] = {}


def _sentence(made: type) -> str:
    return " ".join((made.__doc__ or "").split()).rstrip(".")


def _name(made: type) -> str:
    """CamelCase as words: StatisticsForgotten -> statistics_forgotten."""
    text = made.__name__
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(text))


def _add(catalogue: dict[str, Mutant], mutant: Mutant) -> None:
    if mutant.name in WRONG or mutant.name in RIGHT:
        raise ValueError(f"two implementations are called {mutant.name}; give one another name")
    if not mutant.says:
        raise ValueError(f"{mutant.name} needs a docstring that says in one sentence what it does")
    catalogue[mutant.name] = mutant


def wrong(*killers: str, thread: str = "", dtypes: tuple[str, ...] = DTYPES) -> Callable[[Made], Made]:
    """Enter a layer class in the catalogue: its name in words is the fault, its docstring the sentence.

    Args:
        killers: the requirements each of which must be violated; the first is the one that names the fault.
        thread: the public report that it is modelled on, as `project#number`.
        dtypes: the dtypes in which the fault shows.
    """
    if not killers:
        raise ValueError("a wrong implementation needs a requirement that must catch it")

    def enter(made: Made) -> Made:
        _add(WRONG, Mutant(_name(made), _sentence(made), made, killers, thread=thread, dtypes=dtypes))
        return made

    return enter


def right(made: Made) -> Made:
    """Enter a layer class among the right implementations, in every dtype: its docstring says by what means."""
    _add(RIGHT, Mutant(_name(made), _sentence(made), made, dtypes=ALL_DTYPES))
    return made


@cache
def _read() -> None:
    package = (__package__ or "").removesuffix(".catalogue")
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if found.name.startswith(("wrong_", "right_")):
            import_module(f"{package}.{found.name}")


def all_right() -> tuple[Mutant, ...]:
    """Every right implementation."""
    _read()
    return tuple(RIGHT.values())


def hand_made() -> tuple[Mutant, ...]:
    """The wrong implementations that were written by hand, for what the behaviour space does not express."""
    _read()
    return tuple(WRONG.values())


SAME = {("evaluation_epsilon_form", "inside")}
"""Neighbours that do what the specified point does: `inside` in evaluation is what training does there."""


@cache
def neighbours() -> tuple[Mutant, ...]:
    """Every point that differs from the specified one in one decision, as an ideal implementation of it."""
    return tuple(
        Mutant(
            f"{name}={value}",
            f"{name.replace('_', ' ')}: {decision(name)(value).meaning}",
            partial(layer_at, behaviour=point),
            (fixing(name).id,),
            ((name, value),),
            dtypes=DTYPES if point.dtypes == ALL_DTYPES else point.dtypes,
        )
        for name, value, point in SPECIFIED.neighbours()
        if (name, value) not in SAME
    )


def every() -> Mapping[str, Mutant]:
    """The whole catalogue by name: neighbours, wrong ones written by hand, right ones."""
    return {mutant.name: mutant for mutant in (*neighbours(), *hand_made(), *all_right())}
