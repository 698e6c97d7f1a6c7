"""Golden cases: the numbers that the source documents print, and the errata found in them.

`cases/golden/` has one JSON file a document (schema: cases/golden.schema.json). A number is kept as the text that is
printed, because its digits say how far it is known. Quantities that a layer shows (y, its statistics, its parameters)
can be asked of any subject; intermediate ones (mean, variance, x - mean, sqrt(var + eps), normalised values) only of
the oracle's record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnconform.cases.intervals import Interval, centres, half_digit, half_digits, initially, memory_of, propagate
from bnconform.cases.json_files import JsonForm
from bnconform.cases.program import OBSERVABLES, Program, Step
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.errors import UserError
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats
from bnconform.spec.oracle import forward, initial_state
from bnconform.spec.oracle.record import Forward, State

FOLDER = Path(__file__).parent / "golden"


class GoldenError(UserError):
    """A golden file that cannot be used; the message names the file and the place in it, in one line."""


FORM = JsonForm("golden file", Path(__file__).parent / "golden.schema.json", GoldenError)


@dataclass(frozen=True)
class Numbers:
    """Printed numbers in row-major order; `texts` has fewer than `shape` asks for where the print stops early."""

    texts: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def exact(self) -> bool:
        """Whether every number is known exactly (whole-number literals)."""
        return all(half_digit(text) == "0" for text in self.texts)

    def inside(self, values: Exact, half_width: Floats) -> NDArray[np.bool_]:
        """Which of the printed numbers lie within `half_width` of `values` (both of `shape`, or broadcastable to it).

        Returns:
            (k,), k the number of printed numbers.
        """
        with arithmetic():
            leading = np.broadcast_to(np.asarray(values, dtype=object), self.shape).reshape(-1)[: len(self.texts)]
            width = np.broadcast_to(half_width, self.shape).reshape(-1)[: len(self.texts)]
            return np.asarray(abs(exact(leading) - centres(self.texts)) <= exact(width), dtype=bool)


@dataclass(frozen=True)
class Expectation:
    """What a document prints of one observable after one step; `numbers` is None where it prints None (absent)."""

    observable: str
    requirement: str
    numbers: Numbers | None


@dataclass(frozen=True)
class GoldenStep:
    """One call; `input` is a key of the case's inputs, "" for the layer as it is when new."""

    input: str
    training: bool
    expect: tuple[Expectation, ...]


@dataclass(frozen=True)
class Bounded:
    """An expectation for given inputs.

    Attributes:
        half_width: float64, the shape of the numbers: how far the exact answer of a right layer, given the program's
            input, may lie from the printed number. It holds half the printed digit and what the input's unprinted
            digits and its rounding to the program's dtype can do; the caller adds the bound on the subject's own
            rounding (spec/error_bounds/forward.py) and asks `numbers.inside`, which looks at the printed elements only.
            None where the observable is absent.
    """

    expectation: Expectation
    half_width: Floats | None


@dataclass(frozen=True)
class GoldenCase:
    """One example of a document, from a new layer on."""

    id: str
    document: str
    place: str
    config: Config
    inputs: Mapping[str, Numbers]
    steps: tuple[GoldenStep, ...]

    @property
    def name(self) -> str:
        """A name that a person can type: the document's number and the case's id."""
        return f"{self.document.split('_')[0]}-{self.id}"

    @property
    def requirements(self) -> frozenset[str]:
        """The requirements that the printed numbers illustrate."""
        return frozenset(expectation.requirement for step in self.steps for expectation in step.expect)

    def program(self, dtype: str = "float64", param_dtype: str = "float64") -> Program:
        """The calls, their input the printed numbers rounded to `dtype`; observes what a layer can show."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, numbers in self.inputs.items():
            values = np.array([float(text) for text in numbers.texts], np.float64)
            arrays[name] = values.reshape(numbers.shape)
        steps = []
        for step in self.steps:
            observe = frozenset(e.observable for e in step.expect if e.observable in OBSERVABLES)
            x = arrays.get(step.input)
            steps.append(Step("forward" if step.input else "build", step.training, x, observe=observe))
        return Program(self.config, tuple(steps)).cast(dtype, param_dtype)

    def bounds(self, program: Program) -> tuple[tuple[Bounded, ...], ...]:
        """For each step of `program` (made by `program()`, in any dtype), its expectations with their half-widths."""
        result = []
        with arithmetic():
            known = initially(program.config)
            for step, call, record in zip(self.steps, program.steps, self.records(program), strict=True):
                ranges: Mapping[str, Interval] = memory_of(known)
                if call.x is not None:
                    numbers = self.inputs[step.input]
                    x = exact(call.x)
                    rounding = abs(x - centres(numbers.texts).reshape(numbers.shape))
                    radius = half_digits(numbers.texts).reshape(numbers.shape) + rounding
                    ranges, known = propagate(program.config, known, x, radius, training=step.training)
                result.append(tuple(_bound_expectation(e, record, ranges) for e in step.expect))
        return tuple(result)

    def records(self, program: Program, behaviour: Behaviour = SPECIFIED) -> list[dict[str, Exact]]:
        """What the oracle at `behaviour` computes in each step: every observable by name."""
        result = []
        with arithmetic():
            state = initial_state(program.config, behaviour)
            for call in program.steps:
                if call.x is None:
                    result.append(_state_values(state))
                    continue
                record = forward(program.config, behaviour, state, exact(call.x), training=call.training)
                state = record.state
                result.append(observables(record))
        return result


def _bound_expectation(
    expectation: Expectation, record: Mapping[str, Exact], ranges: Mapping[str, Interval]
) -> Bounded:
    numbers = expectation.numbers
    if numbers is None:
        return Bounded(expectation, None)
    value = record[expectation.observable]
    # Parameters are not in `ranges`: nothing is carried into what no input reaches.
    reach = ranges[expectation.observable].farthest(value) if expectation.observable in ranges else value * 0
    digits = np.full(value.size, exact(0.0), dtype=object)
    digits[: len(numbers.texts)] = half_digits(numbers.texts)
    half = reach + digits.reshape(value.shape)
    # One step up covers the rounding to float64 and the 320-bit operations; an exact literal stays exact.
    width = floats(half)
    return Bounded(expectation, np.where(width > 0, np.nextafter(width, np.inf), width))


def _state_values(state: State) -> dict[str, Exact]:
    shown = {
        "running_mean": state.running_mean,
        "running_var": state.running_var,
        "weight": state.weight,
        "bias": state.bias,
    }
    return {name: value for name, value in shown.items() if value is not None}


def observables(record: Forward) -> dict[str, Exact]:
    """Every quantity that a document may print, from the oracle's record; per-channel ones are flat."""
    centred = record.x - record.mean
    return {
        "mean": record.mean.reshape(-1),
        "variance": record.variance.reshape(-1),
        "centred": centred,
        "deviation": (1 / record.inverse_std).reshape(-1),
        "normalized": centred * record.inverse_std,
        "y": record.y,
    } | _state_values(record.state)


@dataclass(frozen=True)
class Erratum:
    """A place where a document contradicts its own formula or its own numbers.

    Attributes:
        kind: "number", "code" or "statement": what is wrong.
        behaviour: the point that explains what is printed; None where `word` explains it.
        proof: see the schema. `adapter`: the backend that is the document's code.
        evidence: (case, step, observable) of the numbers in question, and the numbers; None for other proofs.
        numbers: further printed numbers, by name.
    """

    id: str
    document: str
    place: str
    printed: str
    right: str
    kind: str
    behaviour: Behaviour | None
    word: str
    requirement: str
    proof: str
    adapter: str
    evidence: tuple[GoldenCase, int, str, Numbers] | None
    numbers: Mapping[str, Numbers]

    @property
    def explanation(self) -> str:
        """What explains the printed: the decisions of the behaviour, or the word."""
        if self.behaviour is None:
            return self.word
        return ", ".join(f"{name} = {value}" for name, value in self.behaviour.differences().items())


@dataclass(frozen=True)
class Default:
    """An argument's default as a document states it."""

    argument: str
    value: float | bool
    place: str


@dataclass(frozen=True)
class Document:
    """All that is kept of one document."""

    file: str
    title: str
    defaults: tuple[Default, ...]
    cases: tuple[GoldenCase, ...]
    errata: tuple[Erratum, ...]


@cache
def documents() -> tuple[Document, ...]:
    """Every document, in the order of the file names; GoldenError for a file that cannot be used."""
    return tuple(read(path) for path in sorted(FOLDER.glob("*.json")))


def cases() -> Iterator[GoldenCase]:
    """Every case of every document."""
    for document in documents():
        yield from document.cases


def errata() -> Iterator[Erratum]:
    """Every erratum of every document."""
    for document in documents():
        yield from document.errata


def read(path: Path) -> Document:
    """One golden file; GoldenError where it is missing, not JSON, against the schema, or inconsistent."""
    data = FORM.read(path)
    reader = _Reader(path)
    document = data["document"]
    found = tuple(reader.case(entry, document, f"cases/{i}") for i, entry in enumerate(data["cases"]))
    by_id = {case.id: case for case in found}
    if len(by_id) < len(found):
        raise FORM.refusal(path, "at cases: two cases have the same id")
    errors = tuple(reader.erratum(entry, document, by_id, f"errata/{i}") for i, entry in enumerate(data["errata"]))
    if len({erratum.id for erratum in errors}) < len(errors):
        raise FORM.refusal(path, "at errata: two errata have the same id")
    defaults = tuple(reader.default(entry, f"defaults/{i}") for i, entry in enumerate(data["defaults"]))
    return Document(document, data["title"], defaults, found, errors)


@dataclass(frozen=True)
class _Reader:
    """Turns data that fits the schema into objects, and refuses what the schema cannot see."""

    path: Path

    def refuse(self, place: str, problem: object) -> UserError:
        return FORM.refusal(self.path, f"at {place}: {problem}")

    def default(self, entry: Mapping[str, str], place: str) -> Default:
        words: dict[str, float | bool] = {"True": True, "False": False}
        text = entry["printed"]
        try:
            value = words[text] if text in words else float(text)
        except ValueError:
            raise self.refuse(place, f"{text!r} is neither a number nor a truth value") from None
        return Default(entry["argument"], value, entry["place"])

    def numbers(self, entry: Mapping[str, Any], place: str) -> Numbers:
        shape = tuple(entry["shape"])
        size = int(np.prod(shape))
        if "every" in entry:
            return Numbers((entry["every"],) * size, shape)
        texts = tuple(text for row in entry["printed"] for text in row.split())
        if len(texts) != size and not (entry.get("leading") and len(texts) < size):
            raise self.refuse(place, f"{len(texts)} numbers where the shape {list(shape)} asks for {size}")
        return Numbers(texts, shape)

    def case(self, entry: Mapping[str, Any], document: str, place: str) -> GoldenCase:
        try:
            config = Config(**entry["config"], dtype="float64", param_dtype="float64")
        except ValueError as problem:
            raise self.refuse(f"{place}/config", problem) from None
        inputs = {name: self.numbers(value, f"{place}/inputs/{name}") for name, value in entry["inputs"].items()}
        for name, numbers in inputs.items():
            shape = numbers.shape
            if len(shape) != config.ndim or shape[1] != config.num_features:
                wanted = f"rank {config.ndim} and {config.num_features} channels"
                raise self.refuse(f"{place}/inputs/{name}", f"the shape {list(shape)} does not have {wanted}")
            if int(np.prod(shape)) // shape[1] < 2:
                raise self.refuse(f"{place}/inputs/{name}", "one value a channel has no statistics")
        steps = tuple(self.step(step, inputs, config, f"{place}/steps/{i}") for i, step in enumerate(entry["steps"]))
        return GoldenCase(entry["id"], document, entry["place"], config, inputs, steps)

    def step(self, entry: Mapping[str, Any], inputs: Mapping[str, Numbers], config: Config, place: str) -> GoldenStep:
        name = entry.get("input", "")
        if entry["op"] == "forward" and name not in inputs:
            raise self.refuse(f"{place}/input", f"there is no input {name!r}")
        expect = []
        for i, wanted in enumerate(entry["expect"]):
            here = f"{place}/expect/{i}"
            observable = wanted["observable"]
            shown = {"running_mean", "running_var"} if config.track_running_stats else set()
            shown |= {name for name in ("weight", "bias") if getattr(config, name)}
            state = observable in ("running_mean", "running_var", "weight", "bias")
            if bool(wanted.get("absent")) != (state and observable not in shown):
                raise self.refuse(here, f"this configuration {'has' if observable in shown else 'has no'} {observable}")
            if entry["op"] == "build" and not state:
                raise self.refuse(here, f"a new layer has no {observable}")
            numbers = None if wanted.get("absent") else self.numbers(wanted, here)
            like_input = observable in ("centred", "normalized", "y")
            due = inputs[name].shape if like_input else (config.num_features,)
            if numbers is not None and numbers.shape != due:
                raise self.refuse(here, f"{observable} has the shape {list(due)}, not {list(numbers.shape)}")
            expect.append(Expectation(observable, wanted["requirement"], numbers))
        return GoldenStep(name if entry["op"] == "forward" else "", entry.get("mode") != "evaluation", tuple(expect))

    def erratum(self, entry: Mapping[str, Any], document: str, known: Mapping[str, GoldenCase], place: str) -> Erratum:
        try:
            behaviour = SPECIFIED.but(**entry["behaviour"]) if "behaviour" in entry else None
        except ValueError as problem:
            raise self.refuse(f"{place}/behaviour", problem) from None
        if behaviour == SPECIFIED:
            raise self.refuse(f"{place}/behaviour", "this is the specified behaviour, which explains no erratum")
        evidence = None
        if "evidence" in entry:
            evidence = self.evidence(entry["evidence"], known, f"{place}/evidence")
        further = entry.get("numbers", {})
        numbers = {name: self.numbers(value, f"{place}/numbers/{name}") for name, value in further.items()}
        return Erratum(
            id=entry["id"], document=document, place=entry["place"], printed=entry["printed"], right=entry["right"],
            kind=entry["kind"], behaviour=behaviour, word=entry.get("word", ""), requirement=entry["requirement"],
            proof=entry["proof"], adapter=entry.get("adapter", ""), evidence=evidence, numbers=numbers,
        )  # fmt: skip

    def evidence(
        self, entry: Mapping[str, Any], known: Mapping[str, GoldenCase], place: str
    ) -> tuple[GoldenCase, int, str, Numbers]:
        case, step, observable = known.get(entry["case"]), entry["step"], entry["observable"]
        if case is None or step >= len(case.steps):
            raise self.refuse(place, f"there is no step {step} in a case {entry['case']!r}")
        if "printed" in entry and "shape" in entry:
            return case, step, observable, self.numbers(entry, place)
        for expectation in case.steps[step].expect:
            if expectation.observable == observable and expectation.numbers is not None:
                return case, step, observable, expectation.numbers
        raise self.refuse(place, f"that step prints no {observable}")
