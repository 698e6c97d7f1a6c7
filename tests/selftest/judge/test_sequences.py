"""Sequences: the machine makes every kind of call, finds faults that only a sequence shows, and shrinks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import RuleBasedStateMachine

from bnconform.cases import casefile
from bnconform.cases.program import Program, backward, build, forward, load
from bnconform.cases.strategies import SHAPES, parts
from bnconform.cli.main import main
from bnconform.judge import sequences
from bnconform.judge.check import Check
from bnconform.judge.check_record import Unsupported, Violation
from bnconform.judge.lockstep import follow
from bnconform.judge.outcome import CONFORMS, CRASHED, DEVIATES, VIOLATES
from bnconform.judge.sequences import (
    CLIMBING,
    Effort,
    EffortError,
    Exploration,
    Machine,
    effort,
    explore,
    failing_part,
    shorten,
)
from bnconform.judge.subject import Subject
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.catalogue import requirement
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES
from bnconform.tests.mutants.layer import Layer
from bnconform.tests.mutants.oracle_layer import OracleBackend
from bnconform.tests.selftest.adapters.broken import BuildRaises, ForwardChangesItsInput
from bnconform.tests.selftest.forgetful import CALLS, Backend, CounterReset, FreezesAfterTen, Same, Unsteady


def subject_of(backend: Any, dtype: str = "float32") -> Subject:
    """A backend on the CPU."""
    return Subject(backend.name, backend, "cpu", dtype)


def check_of(backend: Any, dtype: str = "float32", folder: Path | None = None) -> Check:
    """A check of sequences."""
    return Check(subject_of(backend, dtype), requirement("BN-RUN-SEQUENCE"), folder=folder)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """Every program that is made and not given up, in order."""
    found: list[Program] = []
    conclude = Exploration.conclude

    def noting(exploration: Exploration, program: Program) -> None:
        found.append(program)
        conclude(exploration, program)

    monkeypatch.setattr(Exploration, "conclude", noting)
    return found


def test_it_is_a_rule_based_state_machine() -> None:
    """Training, evaluation, gradients, loads, switches and new layers are rules of a Hypothesis state machine."""
    assert issubclass(Machine, RuleBasedStateMachine)
    names = {rule.function.__name__ for rule in Machine.setup_state().rules}
    assert names == {"train", "evaluate", "differentiate", "switch", "load", "reset"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_right_layer_conforms(dtype: str) -> None:
    """A right layer is accused of nothing, much is compared, and nothing but one outcome is left."""
    check = check_of(Backend(Layer), dtype)
    explore(check)
    (outcome,) = check.outcomes
    assert outcome.verdict == CONFORMS
    assert outcome.checks > 1000
    assert outcome.bound_share is not None and 0 < outcome.bound_share <= 1
    assert outcome.ulp is not None and outcome.ulp >= 0


def test_programs_have_calls_of_every_kind(made: list[Program]) -> None:
    """Both modes of both passes, loads of every entry, new layers in the middle, every rank and flag, many calls."""
    explore(check_of(Backend(Layer)))
    made[:] = [program for program in made if program.steps]
    assert 25 <= len(made) <= 40
    calls = Counter(
        (step.op, step.training) for program in made for step in program.steps if step.op in ("forward", "backward")
    )
    assert len(calls) == 4 and min(calls.values()) >= 10
    loaded = {name for program in made for step in program.steps for name in step.state}
    assert loaded == {"running_mean", "running_var", "num_batches_tracked", "weight", "bias"}
    assert any(step.op == "build" for program in made for step in program.steps[1:])
    configs = [program.config for program in made]
    assert {config.ndim for config in configs} == set(SHAPES)
    assert {config.affine for config in configs} == {config.track_running_stats for config in configs} == {True, False}
    assert any(config.momentum is None for config in configs)
    trained = [sum(step.op == "forward" and step.training for step in program.steps) for program in made]
    assert sum(count > 10 for count in trained) >= 2
    assert sum(len(program.steps) for program in made) <= 500


def test_the_same_programs_in_every_run(made: list[Program]) -> None:
    """Two runs make the same calls with the same values; another seed makes others."""
    runs = []
    for seed in (1, 1, 2):
        explore(check_of(Backend(Layer)), Effort(examples=10, seed=seed))
        runs.append([casefile.to_json("", "", program, "") for program in made])
        made.clear()
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("kind", CALLS, ids=lambda kind: kind.__name__)
def test_faults_of_sequences_are_found_and_shrink(kind: type[Layer], dtype: str, tmp_path: Path) -> None:
    """A fault that only a sequence shows is found, and its program has no more calls than the fault needs."""
    check = check_of(Backend(kind), dtype, tmp_path)
    with pytest.raises(Violation):
        explore(check)
    (outcome,) = check.outcomes
    assert outcome.verdict == VIOLATES and outcome.case is not None
    identifier, _, program, _ = casefile.read(Path(outcome.case))
    assert identifier == "BN-RUN-SEQUENCE"
    assert len(program.steps) <= CALLS[kind] + 1
    assert program.config.dtype == dtype
    assert f"(call {len(program.steps)})" in outcome.message or f"after call {len(program.steps)}," in outcome.message


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case of a layer that freezes."""
    check = check_of(Backend(FreezesAfterTen), folder=tmp_path_factory.mktemp("cases"))
    with pytest.raises(Violation):
        explore(check)
    return Path(str(check.outcomes[0].case))


@pytest.mark.parametrize(("kind", "status"), [("FreezesAfterTen", 1), ("Right", 0)])
def test_the_case_replays(case: Path, kind: str, status: int, tmp_path: Path) -> None:
    """`bnconform replay` fails with the layer that the case was found on, and with no right one."""
    (tmp_path / "adapter.py").write_text(
        "from bnconform.tests.mutants.layer import Layer as Right\n"
        "from bnconform.tests.selftest.forgetful import Backend, FreezesAfterTen\n"
        f"class Mine(Backend):\n    def __init__(self):\n        super().__init__({kind})\n"
    )
    assert main(["replay", str(case), "--backend", f"{tmp_path / 'adapter.py'}:Mine"]) == status


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Hypothesis says nothing of its own; the message has it all."""
    with pytest.raises(Violation) as caught:
        explore(check_of(Backend(CounterReset)))
    assert capsys.readouterr() == ("", "")
    assert getattr(caught.value, "__notes__", []) == []
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_shares_of_the_bound_are_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each program tells Hypothesis the largest share of the bound of every quantity that it compared."""
    told: list[tuple[float, str]] = []
    monkeypatch.setattr(sequences, "target", lambda share, label: told.append((share, label)))
    check = check_of(Backend(Layer))
    explore(check)
    assert {label for _, label in told} >= {"y", "grad_x", "grad_weight", "grad_bias", "running_mean", "running_var"}
    assert max(share for share, _ in told) == check.outcomes[0].bound_share
    assert all(0 <= share <= 1 for share, _ in told)


@pytest.mark.parametrize(("examples", "climbs"), [(30, False), (CLIMBING, True)])
def test_many_programs_climb(examples: int, climbs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are many programs, Hypothesis climbs towards the bound; few are each drawn anew."""
    asked: list[Any] = []
    monkeypatch.setattr(sequences, "run_state_machine_as_test", lambda machine, settings: asked.append(settings))
    explore(check_of(Backend(Layer)), Effort(examples=examples))
    (settings,) = asked
    assert settings.max_examples == examples
    assert (Phase.target in settings.phases) == climbs
    assert settings.backend == ("hypothesis" if climbs else "bnconform")


@pytest.mark.filterwarnings("ignore")
def test_many_programs_run(made: list[Program], monkeypatch: pytest.MonkeyPatch) -> None:
    """The search that climbs begins as many programs as it is asked, few come to nothing, a right layer conforms."""
    begun: list[Exploration] = []
    monkeypatch.setattr(Exploration, "begin", lambda exploration: begun.append(exploration))
    check = check_of(Backend(Layer))
    explore(check, Effort(examples=CLIMBING, calls=3))
    assert len(begun) >= CLIMBING
    assert len(made) >= 0.9 * CLIMBING
    assert check.outcomes[0].verdict == CONFORMS


def test_programs_do_not_depend_on_what_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constants that Hypothesis collects from imported modules are never asked for."""
    asked: list[object] = []
    assert "_maybe_draw_constant" in vars(HypothesisProvider)
    monkeypatch.setattr(HypothesisProvider, "_maybe_draw_constant", lambda *args, **kwargs: asked.append(args))
    explore(check_of(Backend(Layer)), Effort(examples=5))
    assert asked == []
    explore(check_of(Backend(Layer)), Effort(examples=CLIMBING, calls=2))
    assert asked


def test_effort_is_the_environments() -> None:
    """The variables ask for more programs and for others; without them all is as usual."""
    assert effort({}) == effort({"BNCONFORM_EXAMPLES": " "}) == Effort()
    assert effort({"BNCONFORM_EXAMPLES": "500", "BNCONFORM_SEED": "7"}) == Effort(examples=500, seed=7)


@pytest.mark.parametrize(
    ("name", "value"),
    [("BNCONFORM_EXAMPLES", "0"), ("BNCONFORM_EXAMPLES", "many"), ("BNCONFORM_SEED", "-1"), ("BNCONFORM_SEED", "1.5")],
)
def test_effort_that_cannot_be_is_refused(name: str, value: str) -> None:
    """What is no whole number, or too small, is refused in one line that names the variable."""
    with pytest.raises(EffortError, match=f"{name} is '{value}'; give a whole number") as caught:
        effort({name: value})
    assert "\n" not in str(caught.value)


def test_the_environment_decides(made: list[Program], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run takes its effort from the environment."""
    monkeypatch.setenv("BNCONFORM_EXAMPLES", "3")
    explore(check_of(Backend(Layer)))
    assert len(made) <= 6


def test_a_slow_backend_makes_few_programs_of_few_shapes(made: list[Program]) -> None:
    """A backend to which each shape costs seconds is asked two programs of one shape each."""
    explore(check_of(Backend(Layer, slow_to_start=True)))
    assert len(made) <= 3
    shapes = {(program.config, step.x.shape) for program in made for step in program.steps if step.x is not None}
    assert len(shapes) <= 2


BIASED = SPECIFIED.but(running_variance="biased")


def test_a_declared_deviation_deviates() -> None:
    """What is declared is no failure; that it was needed is recorded."""
    check = check_of(OracleBackend(BIASED, declares=True))
    explore(check)
    (outcome,) = check.outcomes
    assert (outcome.verdict, outcome.needed, outcome.contradicted) == (DEVIATES, ["running_variance"], [])
    assert outcome.checks > 1000


def test_an_undeclared_deviation_fails() -> None:
    """What is not declared fails, and the quantity is named."""
    check = check_of(OracleBackend(BIASED))
    with pytest.raises(Violation, match=r"running_var\[\d\] after call"):
        explore(check)


def test_an_untrue_declaration_is_contradicted() -> None:
    """A declaration that the programs refute is recorded as such."""
    oracle = OracleBackend()
    oracle.deviations = {"running_variance": "biased"}
    check = check_of(oracle)
    explore(check)
    (outcome,) = check.outcomes
    assert (outcome.verdict, outcome.contradicted) == (CONFORMS, ["running_variance"])


LACKS: dict[str, Callable[[Program], bool]] = {
    "backward": lambda program: all(step.op != "backward" for step in program.steps),
    "training": lambda program: all(not step.training for step in program.steps if step.x is not None),
    "evaluation": lambda program: all(step.training for step in program.steps if step.x is not None),
    "momentum_none": lambda program: program.config.momentum is not None,
    "affine_off": lambda program: program.config.affine is not False,
    "track_running_stats": lambda program: not program.config.track_running_stats,
    "rank_2": lambda program: program.config.ndim != 2,
}


@pytest.mark.parametrize("feature", LACKS)
def test_what_is_unsupported_is_not_asked(feature: str, made: list[Program]) -> None:
    """No program has what the implementation lacks, and there are programs all the same."""
    check = check_of(Backend(Layer, unsupported={feature: "not there"}))
    explore(check)
    assert made and all(LACKS[feature](program) for program in made)
    assert check.outcomes[0].verdict == CONFORMS and check.outcomes[0].checks > 100


class RefusesHalf(Layer):
    """A layer that takes no float16."""

    def __init__(self, config: Config) -> None:
        if config.dtype == "float16":
            raise NotImplementedError(config.dtype)
        super().__init__(config)


def test_an_unsupported_dtype_is_unsupported() -> None:
    """Where the dtype itself is refused as declared, that is the outcome."""
    with pytest.raises(Unsupported, match="no half precision"):
        explore(check_of(Backend(RefusesHalf, unsupported={"float16": "no half precision"}), "float16"))


def test_an_unsteady_implementation_is_called_so() -> None:
    """A failure that does not come again is a failure: other answers to the same calls."""
    check = check_of(Unsteady())
    with pytest.raises(Violation, match="a program that failed, run again"):
        explore(check, Effort(examples=40))
    assert [outcome.verdict for outcome in check.outcomes] == [VIOLATES]


def test_a_layer_that_cannot_be_built_crashes(tmp_path: Path) -> None:
    """Where no layer can be built, the case says so, and can be replayed."""
    check = check_of(BuildRaises(), folder=tmp_path)
    with pytest.raises(Violation, match="no driver"):
        explore(check)
    assert check.outcomes[-1].verdict == CRASHED
    assert main(["replay", str(check.outcomes[-1].case), "--backend", "numpy"]) == 0


def test_a_changed_input_is_a_violation_of_its_own() -> None:
    """A layer that changes its input is told so, by the requirement that forbids it; its numbers are judged still."""
    check = check_of(ForwardChangesItsInput())
    explore(check)
    assert [outcome.requirement for outcome in check.outcomes] == ["BN-STATE-INPUT", "BN-RUN-SEQUENCE"]
    assert [outcome.verdict for outcome in check.outcomes] == [VIOLATES, CONFORMS]
    noted = check.find_noted()
    assert noted is check.outcomes[0]
    assert "forward changed the array that it was given as x (seen while checking BN-RUN-SEQUENCE)" in noted.message


X = np.array([[1.0, 2.0, 3.0], [3.0, 5.0, 8.0]])
RESET = Program(
    Config(ndim=2),
    (forward(X, "y"), load(weight=[2.0, 3.0, 4.0]), build(*parts(Config())), forward(X, "y", "running_mean")),
)


def test_a_reset_is_a_new_layer() -> None:
    """`build` in the middle of a program puts a new layer in the old one's place, and its state is the initial one."""
    check = check_of(Backend(Layer))
    seen = check.subject.run(RESET.cast("float32", "float32")).steps
    loaded, reset = seen[1].after["weight"], seen[2].after["weight"]
    assert loaded is not None and loaded.tolist() == [2.0, 3.0, 4.0]
    assert reset is not None and reset.tolist() == [1.0, 1.0, 1.0]
    check.program(RESET.cast("float32", "float32"))
    assert check.outcomes[-1].verdict == CONFORMS


def test_a_reset_that_does_not_reset_fails() -> None:
    """A backend that hands out the old layer again fails where the program asks for a new one."""
    with pytest.raises(Violation, match=r"after call 3, build"):
        check_of(Same()).program(RESET.cast("float32", "float32"))


def test_a_backend_without_new_layers_is_found() -> None:
    """Random programs find it too."""
    with pytest.raises(Violation):
        explore(check_of(Same()))


def test_what_a_load_leaves_out_stays() -> None:
    """After a load everything that was not loaded is judged against what the layer showed before it."""
    program = Program(Config(ndim=2), (forward(X), load(("running_var", "running_mean"), weight=[1.0, 2.0, 3.0])))
    check = check_of(Backend(Layer))
    check.program(program.cast("float32", "float32"))
    assert check.outcomes[-1].verdict == CONFORMS


def test_lockstep_says_which_point_holds() -> None:
    """Beside a layer at a declared point the oracle goes along at both, and that point explains what was seen."""
    subject = subject_of(OracleBackend(BIASED, declares=True))
    program = Program(Config(ndim=2), (forward(X, "running_var"),)).cast("float32", "float32")
    layer = follow(subject.run(program), subject)
    assert layer.holds and layer.found.behaviour == BIASED


def test_calls_that_a_failure_does_not_need_are_left_out() -> None:
    """The shortest program keeps the order of the calls that it needs."""
    g = np.ones_like(X)
    steps = (
        *(forward(X * sign, "running_mean") for sign in (1, -1, 1, -1)),
        backward(X, g, "grad_x"),
        *(forward(X * sign, "running_mean") for sign in (1, -1, 1, -1, 1, -1, 1)),
        forward(X, "y", training=False),
    )
    check = check_of(Backend(FreezesAfterTen))
    found = failing_part(check, Program(Config(ndim=2), steps).cast("float32", "float32"))
    assert isinstance(found, Program) and len(found.steps) == 12
    assert [step.op for step in shorten(check, found).steps] == ["forward"] * 11
    assert not isinstance(failing_part(check_of(Backend(Layer)), found), Program)
