"""Where no decision explains a failure, the diagnosis says what does, and under which circumstances, by experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from bnconform.cases.inputs import everything, uneven, upstream
from bnconform.cases.program import Program, backward, forward, load
from bnconform.diagnosis import causes, narrowing
from bnconform.diagnosis.experiments import trials
from bnconform.diagnosis.narrowing import ExperimentResult, narrow
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.tests.mutants.catalogue import Mutant, every
from bnconform.tests.mutants.layer import Array, Layer
from bnconform.tests.mutants.oracle_layer import OracleBackend
from bnconform.tests.mutants.wrong_state import UpdatesAreMadeByReading
from bnconform.tests.selftest.diagnosis import faulty_layers as faulty
from bnconform.tests.selftest.diagnosis.forgetful import Forgetful
from bnconform.tests.selftest.diagnosis.test_causes import diagnoses, outcomes

SENTENCES = {
    faulty.Rank4OddSamples: (
        "BN-TRAIN-NORM BN-RANK BN-LAYOUT-CHANNELS BN-GRAD-INPUT",
        "y and grad_x are 1.01 times what they should be (all); only rank 4, only an odd number of samples",
    ),
    faulty.SecondBackward: (
        "BN-LAYOUT-X",
        "grad_x is 2 times what it should be (all); from the second backward pass on",
    ),
    faulty.WeightLoadedAlone: (
        "BN-RUN-SEQUENCE",
        "y is 1.5 times what it should be (all); only after a load of the weight alone",
    ),
    faulty.NoGradientOfAParameterAlone: (
        "BN-FLAG-WEIGHT-ALONE",
        "grad_weight is None in the place of an array (all); from 2 values a channel on, "
        "only with weight and without bias",
    ),
    faulty.ZeroGradient: ("BN-GRAD-INPUT", "grad_x is 0 (all)"),
    faulty.PreviousAnswer: (
        "BN-LAYOUT-X",
        "y is the answer of an earlier call: the answer belongs to another call (all)",
    ),
    faulty.MomentumOff: ("BN-RUN-MEAN BN-RUN-MOMENTUM", "momentum is 1.001 times the one given (all)"),
    faulty.MomentumOffByLittle: ("BN-RUN-MEAN BN-RUN-MOMENTUM", "momentum is 1.00001 times the one given (all)"),
    faulty.TenEpsilon: (
        "BN-TRAIN-EPS BN-TRAIN-NORM BN-GRAD-INPUT",
        "epsilon is 10 times the one given (all)",
    ),
    faulty.FixedEpsilon: (
        "BN-TRAIN-EPS BN-TRAIN-NORM BN-EVAL-EPS BN-GRAD-INPUT BN-GRAD-WEIGHT",
        "epsilon is 0.002, whatever is given (all)",
    ),
    faulty.DividesByTwoLess: (
        "BN-RUN-VAR BN-RANK",
        "the running variance divides by n - 2, n the values of a channel (all)",
    ),
    faulty.SquaredWeight: ("BN-TRAIN-AFFINE BN-TRAIN-NORM", "y uses the square of the weight (all)"),
    faulty.BiasSubtracted: ("BN-TRAIN-AFFINE BN-TRAIN-NORM", "the bias is subtracted (all)"),
    faulty.WeightGradientLacksMean: (
        "BN-GRAD-WEIGHT",
        "grad_weight lacks the mean: it is the sum of g x / sqrt(var + eps) (all)",
    ),
    faulty.OppositeGradient: ("BN-GRAD-INPUT", "grad_x has the opposite sign (all)"),
    faulty.GradientDividesByOneLess: (
        "BN-GRAD-INPUT",
        "in grad_x the mean of g and of g z divides by n - 1 (all)",
    ),
    faulty.ManySamples: (
        "BN-TRAIN-NORM BN-GRAD-INPUT",
        "y and grad_x are 1.1 times what they should be (all); from 5 samples on",
    ),
    faulty.HighChannels: (
        "BN-LAYOUT-CHANNELS",
        "y is 0, in some channels (all); only channel 64, counted from 0, and those after it",
    ),
    faulty.NoMultipleOfFour: (
        "BN-LAYOUT-CHANNELS BN-TRAIN-NORM",
        "y is 1.1 times what it should be (all); only where the number of channels is no multiple of 4",
    ),
    faulty.StridedGradient: (
        "BN-LAYOUT-GRAD",
        "grad_x is 0.5 times what it should be (all); only rank 4, only non-contiguous grad_output",
    ),
    faulty.EvaluationOnly: ("BN-EVAL-STATS BN-RANK", "y is 1.1 times what it should be (all); only in evaluation"),
    faulty.CumulativeOff: ("BN-RUN-NONE", "momentum is 2 times the one given (all); only momentum None"),
    faulty.NegativeWeight: (
        "BN-TRAIN-NORM BN-RANK",
        "y is 1.1 times what it should be, in some channels (all); only a negative weight",
    ),
    faulty.AfterEvaluation: (
        "BN-RUN-SEQUENCE",
        "y is 1.1 times what it should be (all); only in training, only after an evaluation pass",
    ),
    faulty.WithoutParameters: (
        "BN-FLAG-AFFINE-OFF",
        "y is 1.1 times what it should be (all); only without weight and bias",
    ),
    faulty.WeightTwiceInGradient: ("BN-GRAD-INPUT", "grad_x has the weight as a further factor (all)"),
    faulty.MeanGradientOverSamples: (
        "BN-GRAD-BIAS BN-RANK",
        "grad_bias is what it should be, divided by the number of samples (all)",
    ),
    faulty.StaleWeight: ("BN-TRAIN-NORM BN-RANK", "y uses the weight as it was before the load (all)"),
    faulty.SmallError: ("BN-TRAIN-NORM BN-RANK", "y is 1.000003 times what it should be (all)"),
    faulty.RankOrOdd: (
        "BN-TRAIN-NORM BN-RANK",
        "y is 1.1 times what it should be (all); only an odd number of samples; or only rank 3",
    ),
    faulty.LastChannel: ("BN-TRAIN-NORM", "y is 0, in some channels (all); only the last channel"),
}
"""By layer: the requirements that are asked, and the sentence; `(all)` is that it explains all failing checks."""


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("layer", SENTENCES, ids=lambda layer: layer.__name__)
def test_a_fault_that_is_no_decision_is_named(layer: type[Layer]) -> None:
    """One cause is one card, with the relation that holds and the circumstances without which it goes away."""
    requirements, sentence = SENTENCES[layer]
    (found,) = diagnoses(Mutant(layer.__name__, "wrong", layer), ("float32",), *requirements.split())
    checks = f"check{'' if found.failing == 1 else 's'}"
    assert found.text == sentence.replace("(all)", f"(explains {found.failing} of {found.failing} failing {checks})")
    assert found.explains == found.failing > 0


NOTHING_FITS = {
    faulty.Noise: "only y",
    faulty.OddFactor: "only y",
    faulty.OneElement: "only y, only the first channel",
    faulty.Unsteady: "it differs from run to run",
    faulty.LargeMean: "only running_var, y, only in training, only from a mean of about 5 deviations of x on",
}
"""Layers of which no relation holds, and what may be said of them all the same."""


@pytest.mark.parametrize("layer", NOTHING_FITS, ids=lambda layer: layer.__name__)
def test_nothing_is_fitted_that_does_not_hold(layer: type[Layer]) -> None:
    """Where no relation holds of every element of every program, none is told."""
    (found,) = diagnoses(Mutant(layer.__name__, "wrong", layer), ("float32",), "BN-TRAIN-NORM", "BN-RANK")
    assert found.explains == 0 < found.failing
    assert found.text == (
        f"no decision of the behaviour space explains {found.failing} of {found.failing} failing checks; "
        f"{NOTHING_FITS[layer]}"
    )


def test_no_law_is_told_that_does_not_fit() -> None:
    """Prime numbers of samples are neither odd nor a limit: where it is right is told, and no law."""
    (found,) = diagnoses(Mutant("prime", "wrong", faulty.PrimeSamples), ("float32",), "BN-TRAIN-NORM", "BN-RANK")
    assert found.text.startswith("y is 1.1 times what it should be (explains ")
    assert "not with every number of samples (right with 4, 6, 8, 9)" in found.text
    assert not any(words in found.text for words in (" odd ", " even ", "multiple", " from ", "up to"))


def test_a_right_layer_has_no_diagnosis() -> None:
    """Nothing is said of a layer that does what it must."""
    assert not diagnoses(Mutant("right", "right", Layer), ("float32",), "BN-TRAIN-NORM", "BN-RUN-VAR")


def _finding(layer: type[Layer], program: Program) -> ExperimentResult:
    """What an experiment with one program comes to."""
    subject = Subject("wrong", Mutant("wrong", "wrong", layer), "cpu", "float32")
    trace = trials.run(subject, program.cast("float32", "float32"))
    found = narrow(subject, trace)
    assert found is not None
    return found


def _words(found: ExperimentResult) -> tuple[list[str], list[str]]:
    return [cause[0][0] for cause in found.causes], [one.words for one in found.where]


@pytest.mark.parametrize("shape", [(300, 3), (3, 3, 400), (20, 3, 5, 4)], ids=str)
def test_values_a_channel_are_told_from_samples(shape: tuple[int, ...]) -> None:
    """A limit of the product of samples and positions is found by bisection, whatever the shape."""
    found = _finding(faulty.ManyValues, Program(Config(ndim=len(shape)), (forward(uneven(shape), "y"),)))
    assert _words(found) == (["{} is 1.1 times what it should be"], ["from 257 values a channel on"])


def test_the_number_of_earlier_passes_is_found() -> None:
    """A fault that comes with the 65th update is told as that."""
    steps = [forward(uneven((4, 3), seed), "running_mean") for seed in range(70)]
    found = _finding(faulty.ManyUpdates, Program(Config(ndim=2), tuple(steps)))
    assert _words(found)[1] == ["from the 65th training pass on"]


class OfOtherDtype(Layer):
    """After a load of arrays of another dtype y is doubled."""

    doubled = False

    def load(self, state: Mapping[str, Array]) -> None:
        super().load(state)
        self.doubled = any(value.dtype not in (self.kept, np.int64) for value in state.values())

    def forward(self, x: Array, *, training: bool) -> Array:
        y = super().forward(x, training=training)
        return y * 2 if self.doubled else y


def test_a_load_of_another_dtype_is_told_as_that() -> None:
    """The entries that it sets are no circumstance, nor their values."""
    steps = (load(**everything(3)), forward(uneven((5, 3)), "y"))
    plain = Program(Config(ndim=2), steps).cast("float32", "float32")
    given = {name: np.asarray(value, np.float64) for name, value in plain.steps[0].state.items()}
    program = replace(plain, steps=(replace(plain.steps[0], state=given), plain.steps[1]))
    subject = Subject("wrong", Mutant("wrong", "wrong", OfOtherDtype), "cpu", "float32")
    found = narrow(subject, subject.run(program))
    assert found is not None
    assert _words(found) == (["{} is 2 times what it should be"], ["only after a load of float64 arrays"])


class AfterLoad(Layer):
    """After any load the gradient for the bias is doubled."""

    loaded = False

    def load(self, state: object) -> None:
        self.loaded = True
        super().load(state)  # type: ignore[arg-type]

    def bias_gradient(self, upstream: Array, training: bool) -> Array:
        return super().bias_gradient(upstream, training) * self.work.type(2 if self.loaded else 1)


def test_a_load_is_told_from_what_it_loads() -> None:
    """Where the values do not matter, the load does."""
    x, g = uneven((4, 3)), upstream((4, 3))
    steps = (load(**everything(3)), backward(x, g, "grad_bias", "grad_x"))
    found = _finding(AfterLoad, Program(Config(ndim=2), steps))
    assert _words(found) == (["{} is 2 times what it should be"], ["only after a load"])
    assert found.quantities == ("grad_bias",)


class OnlyFirst(Layer):
    """The first training pass of a layer is a tenth too large."""

    def affine(self, z: Array, training: bool) -> Array:
        first = training and self.tracked and self.batches == 1
        return super().affine(z, training) * self.work.type(1.1 if first else 1)


def test_the_first_call_is_told() -> None:
    """A failure that a second call of the same kind does not show is one of the first."""
    found = _finding(OnlyFirst, Program(Config(ndim=2), (forward(uneven((4, 3)), "y"),)))
    assert "only at the first training pass of a layer" in _words(found)[1]


def test_a_budget_that_is_spent_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where programs run out the sentence says after how many."""
    monkeypatch.setattr(narrowing, "PROGRAMS", 9)
    (found,) = diagnoses(Mutant("wrong", "wrong", faulty.ManySamples), ("float32",), "BN-TRAIN-NORM")
    assert found.text.endswith("the search was cut short after 9 programs")


def test_a_search_that_is_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the time to try every neighbour it is not said that no decision explains it."""
    monkeypatch.setattr(causes, "PATIENCE", -1.0)
    (found,) = diagnoses(Mutant("wrong", "wrong", faulty.Noise), ("float32",), "BN-GRAD-INPUT", "BN-TRAIN-NORM")
    assert "no decision" not in found.text
    assert "the search of the behaviour space was cut short" in found.text


def test_what_only_a_recording_knows_is_correlated() -> None:
    """Where nothing can be run again it says that it only correlates."""
    made = outcomes(Mutant("wrong", "wrong", faulty.Noise), ("float32",), "BN-TRAIN-NORM", "BN-RANK")
    subject = Subject("wrong", Mutant("wrong", "wrong", faulty.Noise), "cpu", "float32")
    subject.session = Forgetful(subject.runs)
    trace = subject.run(Program(Config(ndim=2), (forward(uneven((4, 3)), "y"),)).cast("float32", "float32"))
    found = narrow(subject, trace)
    assert found is not None and not found.can_ask
    failing = [outcome for outcome in made if outcome.verdict == "violates"]
    for outcome in failing:
        outcome.narrowed = found.record()
    _, (told,) = causes.diagnose(made)
    assert "as far as a recording tells, which can only be correlated: only y" in told.text


def test_a_shrunk_sequence_is_explained_by_its_decision() -> None:
    """A random sequence that fails is judged at the decision on its shortest program, and so explained by it."""
    wrong = OracleBackend(SPECIFIED.but(momentum_none="counting_initial"))
    (found,) = diagnoses(wrong, ("float32",), "BN-RUN-SEQUENCE", "BN-RUN-NONE")
    assert found.text == (
        f"momentum_none = counting_initial (explains {found.failing} of {found.failing} failing checks)"
    )


class NegativeStride(Layer):
    """The output is half as large again where the samples of x lie in the reverse order."""

    def forward(self, x: Array, *, training: bool) -> Array:
        y = super().forward(x, training=training)
        return np.asarray(y * y.dtype.type(1.5)) if x.strides[0] < 0 else y


def test_one_layout_is_told_from_others() -> None:
    """Of the layouts those are told that fail."""
    x = uneven((4, 3, 5, 5))
    found = _finding(NegativeStride, Program(Config(), (forward(x, "y", layout="reversed_batch"),)))
    assert _words(found) == (["{} is 1.5 times what it should be"], ["only reversed_batch x"])


def test_the_same_call_made_again_is_no_other_call() -> None:
    """Where two equal calls answer the same wrong thing, the answer is not said to belong to another call."""
    step = forward(uneven((4, 3)), "y")
    found = _finding(faulty.SmallError, Program(Config(ndim=2), (forward(uneven((4, 3))), step)))
    assert _words(found)[0] == ["{} is 1.000003 times what it should be"]
    assert not any("another call" in words for cause in found.causes for words, *_ in cause)


def test_a_recorded_pass_that_fails_is_no_reason_to_fail_ourselves() -> None:
    """A pullback names the call that it is of: the program is judged, and no experiment takes it apart."""
    wrong = next(mutant for mutant in every().values() if "BN-REC-MODE" in mutant.killers)
    found = diagnoses(wrong, ("float32",), "BN-REC-MODE")
    assert found and all(one.failing for one in found)


UNREAD = (forward(uneven((5, 3))), forward(uneven((4, 3)), "y", training=False))


def test_a_failing_program_whose_state_is_read_at_the_end_only_is_taken_apart() -> None:
    """Where reading it makes no difference, nothing is said of that, and the cause is found as ever."""
    found = _finding(faulty.EvaluationOnly, Program(Config(ndim=2), UNREAD, reads="end"))
    assert "{} is 1.1 times what it should be" in _words(found)[0]
    assert "read" not in " ".join(_words(found)[1])


def test_a_fault_that_reading_the_state_hides_is_told_as_that() -> None:
    """Statistics that are brought up to date by being read are wrong where nothing reads them."""
    found = _finding(UpdatesAreMadeByReading, Program(Config(ndim=2), UNREAD, reads="end"))
    assert "only where the state is not read between the calls" in _words(found)[1]


def test_an_infinite_parameter_is_no_reason_to_fail_ourselves() -> None:
    """What is infinite where infinity is due fits no relation, and the arithmetic on it warns nobody."""
    bias = np.array([0.5, np.inf, -1.0], np.float32)
    wrong = Mutant("wrong", "wrong", faulty.NegativeWeight)
    subject = Subject("wrong", wrong, "cpu", "float32")
    weight = np.array([-1.0, -2.0, 3.0], np.float32)
    steps = (load(weight=weight, bias=bias), forward(uneven((4, 3)), "y"))
    assert narrow(subject, subject.run(Program(Config(ndim=2), steps).cast("float32", "float32"))) is not None
