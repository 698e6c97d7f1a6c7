"""Each erratum of the documents is proven: the behaviour that is named explains what is printed, or refutes it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest

from bnconform.backends import registry
from bnconform.cases import golden, program
from bnconform.cases.golden import Erratum, GoldenCase, Numbers
from bnconform.cases.intervals import centres, half_digits
from bnconform.judge.judgement import judge
from bnconform.judge.subject import Subject
from bnconform.spec import behaviour as b
from bnconform.spec.behaviour import SPECIFIED, Behaviour
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.error_bounds.forward import FOLD, ForwardErrors
from bnconform.spec.exact import Exact, Floats, arithmetic, exact, floats, sqrt
from bnconform.spec.oracle import forward, initial_state
from bnconform.spec.oracle.record import State

ERRATA = {f"{e.document[:3]}-{e.id}": e for e in golden.errata()}
TINY = 2.0**-290
"""What a few dozen 320-bit operations on numbers of ordinary size may leave of an identity."""


def errata_with_proof(proof: str) -> list[str]:
    """The errata with this kind of proof."""
    return [name for name, erratum in ERRATA.items() if erratum.proof == proof]


def explain(erratum: Erratum) -> Behaviour:
    """The point that the erratum names."""
    assert erratum.behaviour is not None
    return erratum.behaviour


@pytest.mark.parametrize("name", errata_with_proof("reproduced"))
def test_printed_numbers_are_those_of_the_explaining_behaviour(name: str) -> None:
    """The oracle at the named point gives every printed number to its last digit; the specified point does not."""
    erratum = ERRATA[name]
    assert erratum.evidence is not None
    case, step, observable, numbers = erratum.evidence
    assert all(given.exact for given in case.inputs.values())
    with arithmetic():
        width = np.nextafter(floats(half_digits(numbers.texts)), np.inf).reshape(numbers.shape)
    calls = case.program()
    assert numbers.inside(case.records(calls, explain(erratum))[step][observable], width).all()
    assert not numbers.inside(case.records(calls)[step][observable], width).all()


@pytest.mark.parametrize("name", errata_with_proof("refuted"))
def test_printed_numbers_refute_the_statement(name: str) -> None:
    """The document's own numbers are those of the specified point, and none is that of its statement."""
    erratum = ERRATA[name]
    assert erratum.evidence is not None
    case, step, observable, numbers = erratum.evidence
    calls = case.program()
    [width] = [e.half_width for e in case.bounds(calls)[step] if e.expectation.observable == observable]
    assert width is not None
    assert numbers.inside(case.records(calls)[step][observable], width).all()
    assert not numbers.inside(case.records(calls, explain(erratum))[step][observable], width).any()


def telling(config: Config) -> program.Program:
    """Calls that show which variance is remembered, what momentum weighs, which axes count and what sets the mode."""
    generator = np.random.default_rng(5)
    x = generator.normal(2.0, 3.0, (4, 3, 2, 5))
    steps = [program.forward(x, "y"), program.forward(x + 1, "y", training=False)]
    if config.track_running_stats:
        steps[0] = program.forward(x, "y", "running_mean", "running_var")
        grad = generator.normal(size=x.shape)
        steps.append(program.backward(x, grad, "grad_x", training=False))
    return program.Program(config, tuple(steps)).cast("float64", "float64")


def subject(name: str) -> Subject:
    """A backend of ours in float64."""
    if name.startswith("documents.d2l"):
        pytest.importorskip("torch")
    return Subject(name, registry.load(name), "cpu", "float64")


@pytest.mark.parametrize("name", errata_with_proof("adapter"))
def test_the_documents_code_is_at_the_explaining_behaviour(name: str) -> None:
    """The document's code, run, is where its adapter declares, and nowhere else in the decision of the erratum."""
    erratum = ERRATA[name]
    tested = subject(erratum.adapter)
    lacks = tested.unsupported
    tracked = "track_running_stats" not in lacks
    config = Config(3, momentum=0.3, track_running_stats=tracked, affine="affine" not in lacks)
    trace = tested.run(telling(config))
    assert judge(trace, tested.declared).holds
    for decision, value in explain(erratum).differences().items():
        assert tested.backend.deviations[decision] == value
        others = [str(other) for other in b.decision(decision) if other != value]
        assert not any(judge(trace, tested.declared.but(**{decision: other})).holds for other in others)


def document_input() -> tuple[GoldenCase, Exact]:
    """Document 000's case by hand and its input."""
    [case] = [case for case in golden.cases() if case.name == "000-manual-training"]
    return case, centres(case.inputs["input1"].texts).reshape(case.inputs["input1"].shape)


def deviation_and_mean(x: Exact) -> tuple[Exact, Exact]:
    """The biased standard deviation and the mean of each channel, each (C,)."""
    count = prod(x.shape) // x.shape[1]
    mean = x.sum(axis=(0, 2, 3), keepdims=True) / count
    return sqrt(((x - mean) ** 2).sum(axis=(0, 2, 3)) / count), mean.reshape(-1)


def with_parameters(weight: Exact, bias: Exact) -> State:
    """A new layer's state with the given weight and bias."""
    state = initial_state(Config(weight.size))
    return State(state.running_mean, state.running_var, 0, weight, bias)


def largest(values: Exact) -> float:
    """The largest magnitude."""
    return float(np.max(np.abs(floats(values))))


def name_undefined(erratum: Erratum) -> None:
    """The name that the code uses is a builtin function, whose mean and variance nothing can take."""
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="builtin_function_or_method"):
        torch.var_mean(input, dim=(0, 2, 3), keepdim=True, unbiased=False)


def deviation_is_variance(erratum: Erratum) -> None:
    """The denominators that the document prints are roots of the variances that it prints, not the variances."""
    case, _ = document_input()
    [record] = case.records(case.program())
    [entries] = case.bounds(case.program())
    [entry] = [e for e in entries if e.expectation.observable == "deviation"]
    assert entry.expectation.numbers is not None and entry.half_width is not None
    assert entry.expectation.numbers.inside(record["deviation"], entry.half_width).all()
    assert not entry.expectation.numbers.inside(record["variance"], entry.half_width).any()


def epsilon_in_words(erratum: Erratum) -> None:
    """Added to the denominator, epsilon gives another number than in the formula, too near for the printed digits."""
    case, _ = document_input()
    inside, outside = (case.records(case.program(), point)[0]["deviation"] for point in (SPECIFIED, explain(erratum)))
    with arithmetic():
        root = sqrt(case.records(case.program())[0]["variance"])
        assert largest(inside - sqrt(root * root + exact(1e-5))) < TINY
        assert largest(outside - root - exact(1e-5)) < TINY
        assert (outside > inside).all()


def no_return(erratum: Erratum) -> None:
    """Built as the document builds it, the layer gives nothing, and the network that it stands in fails."""
    torch = pytest.importorskip("torch")

    class Silent(torch.nn.Module):  # type: ignore[name-defined]  # a module that may be absent is no type
        def forward(self, x: object) -> None:
            self.output = x

    x = torch.ones(4, 3)
    assert Silent()(x) is None
    with pytest.raises(TypeError, match="NoneType"):
        torch.nn.Sequential(Silent(), torch.nn.Sigmoid())(x)


def variance_as_divisor(erratum: Erratum) -> None:
    """Divided by the variance, the values of document 000 are not those printed; by the deviation, they are."""
    case, _ = document_input()
    [record] = case.records(case.program())
    [entries] = case.bounds(case.program())
    [entry] = [e for e in entries if e.expectation.observable == "normalized"]
    assert entry.expectation.numbers is not None and entry.half_width is not None
    with arithmetic():
        divided = record["centred"] / record["variance"].reshape(1, -1, 1, 1)
    assert entry.expectation.numbers.inside(record["normalized"], entry.half_width).all()
    assert not entry.expectation.numbers.inside(divided, entry.half_width).any()


def feature_dimension(erratum: Erratum) -> None:
    """The code beside the comment takes its statistics over the batch, for rank 2 and for rank 4."""
    tested = subject("documents.d2l_en")
    x = np.random.default_rng(6).normal(1.0, 2.0, (5, 3))
    for values in (x, x.reshape(5, 3, 1, 1) + np.arange(4.0).reshape(2, 2)):
        config = Config(3, ndim=values.ndim, dtype="float64", param_dtype="float64")
        trace = tested.run(program.Program(config, (program.forward(values, "y"),)))
        assert judge(trace, tested.declared).holds
        assert not judge(trace, tested.declared.but(**explain(erratum).differences())).holds


def variance_becomes_gamma(erratum: Erratum) -> None:
    """With gamma = 2 the output's variance is 4 var / (var + eps); it is neither 2 nor quite 4."""
    _, x = document_input()
    state = with_parameters(exact(np.full(2, 2.0)), exact(np.full(2, -1.0)))
    deviation, _ = deviation_and_mean(x)
    out, mean = deviation_and_mean(forward(Config(2), SPECIFIED, state, x, training=True).y)
    variance = deviation * deviation
    assert largest(mean + 1) < TINY
    assert largest(out * out - 4 * variance / (variance + exact(1e-5))) < TINY
    assert (out * out > 3).all() and (out * out < 4).all()


def average_deviation(erratum: Erratum) -> None:
    """Over the batches x and 3 x the mean variance is 5 var, the squared mean deviation 4 var."""
    _, x = document_input()
    config = Config(2, momentum=None)
    deviation, _ = deviation_and_mean(x)
    state = initial_state(config)
    for batch in (x, 3 * x):
        state = forward(config, SPECIFIED, state, batch, training=True).state
    assert state.running_var is not None
    assert largest(state.running_var * 7 / 8 - 5 * deviation**2) < TINY
    assert largest(((deviation + 3 * deviation) / 2) ** 2 - 4 * deviation**2) < TINY


def identity(erratum: Erratum) -> None:
    """Gamma = sigma and beta = mu give the input back without epsilon only; with it gamma is sqrt(var + eps)."""
    _, x = document_input()
    deviation, mean = deviation_and_mean(x)
    given, mended = with_parameters(deviation, mean), with_parameters(sqrt(deviation**2 + exact(1e-5)), mean)
    assert largest(forward(Config(2), explain(erratum), given, x, training=True).y - x) < TINY
    assert largest(forward(Config(2), SPECIFIED, mended, x, training=True).y - x) < TINY
    assert largest(forward(Config(2), SPECIFIED, given, x, training=True).y - x) > 1e-7


def scale_cancels(erratum: Erratum) -> None:
    """Doubling the input leaves the output without epsilon only, or with epsilon multiplied by four."""
    _, x = document_input()
    state = initial_state(Config(2))

    def move(eps: float, point: Behaviour) -> float:
        first = forward(Config(2, eps=1e-5), point, state, x, training=True).y
        return largest(forward(Config(2, eps=eps), point, state, 2 * x, training=True).y - first)

    assert move(1e-5, explain(erratum)) < TINY
    assert move(4e-5, SPECIFIED) < TINY
    assert move(1e-5, SPECIFIED) > 1e-7


def hand_and_layer(erratum: Erratum) -> tuple[Numbers, Exact, Exact]:
    """Document 004's first channel: the values by hand; the layer's, and half their last digit, each (12,)."""
    hand, layer = erratum.numbers["by_hand"], erratum.numbers["layer"]
    picked = np.arange(24).reshape(layer.shape)[:, 0].reshape(-1)
    return hand, centres(layer.texts)[picked], half_digits(layer.texts)[picked]


def recover_deviation(hand: Numbers, least: float) -> tuple[Exact, Exact]:
    """The least and largest standard deviation s of the unprinted input, from the values that were divided by s + eps.

    In exact arithmetic those values have the standard deviation r = s / (s + eps), so s = eps r / (1 - r), which
    increases with r. The printed values differ from the exact ones by half their last digit h_i and by the rounding of
    a single-precision computation with n = 12 (unit roundoff u, g(k) = k u / (1 - k u)):

    * digits: the deviation is 1-Lipschitz in the root mean square, so r moves by at most sqrt(mean(h**2));
    * the input lies in [0, 1), so the mean errs by at most g(n + 2); a shift of all values leaves r alone;
    * the variance by two passes: relative error g(n + 4) + dm**2 / var (Chan, Golub and LeVeque 1983), its root half
      of that and one rounding, adding eps one: these scale all values together;
    * subtraction and division round each value once each, which moves r by at most 2 u of itself.
    """
    model = error_model_of(Config(), SPECIFIED)
    digits, values = half_digits(hand.texts), centres(hand.texts)
    spread = sqrt(((values - values.sum() / 12) ** 2).sum() / 12)
    eps = exact(1e-5)
    # `least` bounds var from below; manual_standardization shows that it does.
    relative = (model.gamma(16) + model.gamma(14) ** 2 / least**2) / 2 + model.gamma(4)
    reach = sqrt((digits * digits).sum() / 12) + exact(relative)
    low, high = spread - reach, spread + reach
    return eps * low / (1 - low), eps * high / (1 - high)


def factor(deviation: Exact) -> Exact:
    """(s + eps) / sqrt(s**2 + eps), what turns a value by hand into the layer's.

    It increases with s while 0 < s < 1: the slope of its logarithm is 1/(s + eps) - s/(s**2 + eps) =
    eps (1 - s) / ((s + eps) (s**2 + eps)).
    """
    eps = exact(1e-5)
    return np.asarray((deviation + eps) / sqrt(deviation * deviation + eps), dtype=object)


def manual_standardization(erratum: Erratum) -> None:
    """Seven values by hand are not the layer's; times (s + eps) / sqrt(s**2 + eps), s recovered, all twelve are."""
    hand, layer, half = hand_and_layer(erratum)
    values, digits = centres(hand.texts), half_digits(hand.texts)
    assert (values * layer > 0).all()
    magnitude, target = abs(values), abs(layer)
    largest_value = int(np.argmax(floats(magnitude)))
    # At s <= 0.1 the layer's values would be 0.9996 of those by hand, or less.
    ratio = (target - half)[largest_value] / (magnitude + digits)[largest_value]
    assert ratio > 0.9999 > 0.9997 > factor(exact(0.1))
    low, high = recover_deviation(hand, least=0.1)
    assert 0.2 < low < high < 0.25
    assert factor(low) < factor(high) < 1
    assert ((magnitude - digits) * factor(low) <= target + half).all()
    assert ((magnitude + digits) * factor(high) >= target - half).all()
    # Without the factor seven are missed, even if both computations had rounded as badly as single precision may.
    rounding = 2 * single_rounding(values, low, high)
    assert np.count_nonzero(abs(magnitude - target) > half + digits + rounding) == 7
    assert np.count_nonzero(abs(magnitude - target) > half + digits) == 7


def single_rounding(values: Exact, low: Exact, high: Exact) -> Exact:
    """What single precision may move the layer's values by, (12,), the input's deviation being in [low, high].

    The input lies in [0, 1), so that its mean is at most 1 - low * max(values); the bounds grow with the input, whose
    largest possible values are taken. The variance is that of a stable algorithm, as both computations have; folding
    into scale * x + shift is allowed.
    """
    config = Config(1)
    x = (values * high + (1 - low * values.max())).reshape(2, 1, 2, 3)
    record = forward(config, SPECIFIED, initial_state(config), x, training=True)
    stable = ForwardErrors(record, error_model_of(config, SPECIFIED, quality="stable"))
    folded = ForwardErrors(record, error_model_of(config, SPECIFIED))
    bound: Floats = stable.output + FOLD * folded.model.u * folded.operands
    return exact(bound.reshape(-1))


def initial_statistics(erratum: Erratum) -> None:
    """At the initial statistics the output is x / sqrt(1 + eps): the input itself only without epsilon."""
    [case] = [case for case in golden.cases() if case.name == "004-evaluation-tracked"]
    calls = case.program()
    x = exact(calls.steps[1].x)
    assert largest(case.records(calls, explain(erratum))[1]["y"] - x) == 0
    output = case.records(calls)[1]["y"]
    assert largest(output - x / sqrt(1 + exact(1e-5))) < TINY
    assert ((abs(output) < abs(x)) & (abs(x - output) < exact(0.00005))).all()


def affine_off(erratum: Erratum) -> None:
    """Without affine there are no parameters, in the oracle and in the layer that the document calls."""
    torch = pytest.importorskip("torch")
    _, x = document_input()
    state = initial_state(Config(2, affine=False))
    assert state.weight is None and state.bias is None
    layer = torch.nn.BatchNorm2d(2, affine=False)
    assert layer.weight is None and layer.bias is None
    ones = with_parameters(exact(np.ones(2)), exact(np.zeros(2)))
    bare = forward(Config(2, affine=False), SPECIFIED, state, x, training=True).y
    assert largest(bare - forward(Config(2), SPECIFIED, ones, x, training=True).y) == 0


RELATIONS: dict[str, Callable[[Erratum], None]] = {
    "000-undefined-name": name_undefined,
    "000-deviation-is-variance": deviation_is_variance,
    "000-epsilon-in-words": epsilon_in_words,
    "001-no-return": no_return,
    "001-variance-as-divisor": variance_as_divisor,
    "002-feature-dimension": feature_dimension,
    "003-variance-becomes-gamma": variance_becomes_gamma,
    "003-averaged-deviation": average_deviation,
    "003-identity": identity,
    "003-scale-cancels": scale_cancels,
    "004-manual-standardization": manual_standardization,
    "004-initial-statistics": initial_statistics,
    "004-affine-off": affine_off,
}


@pytest.mark.parametrize("name", errata_with_proof("relation"))
def test_erratum_is_proven_by_its_own_relation(name: str) -> None:
    """Each remaining erratum has a proof of its own, described in its function."""
    with arithmetic():
        RELATIONS[name](ERRATA[name])


def test_every_erratum_has_a_proof() -> None:
    """No erratum is without a proof, and no proof without an erratum."""
    assert sorted(RELATIONS) == sorted(errata_with_proof("relation"))
    assert len(ERRATA) == sum(
        len(errata_with_proof(proof)) for proof in ("reproduced", "refuted", "adapter", "relation")
    )
    assert {name[:3] for name in ERRATA} == {"000", "001", "002", "003", "004"}


@pytest.mark.parametrize("name", ERRATA)
def test_erratum_explains_itself(name: str) -> None:
    """Each erratum has an explanation, as decisions or as a word, for the list in the documentation."""
    erratum = ERRATA[name]
    assert erratum.explanation and erratum.printed != erratum.right
