"""Bad input: each fault gets one line that says what is wrong, the right exit status, and no traceback."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnconform.cases import casefile
from bnconform.cases.probes import probes
from bnconform.cases.program import Program, forward
from bnconform.cli.main import ROOT, main
from bnconform.spec.config import Config
from bnconform.tests.selftest.command import PACKAGE, Answer, bnconform

PRELUDE = """\
import sys
from bnconform.backends.numpy_layer import NumpyBackend, NumpyLayer

class Plain(NumpyBackend):
    name = "plain"

"""

REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "syntax error": ("class Bad(:", ("does not import", "SyntaxError")),
    "missing import": (
        "import no_such_framework",
        ("does not import", "ModuleNotFoundError", "install no_such_framework, or", "--python "),
    ),
    "exit on import": ("sys.exit('use python 2')", ("does not import", "SystemExit", "use python 2")),
    "error of two lines": ("raise RuntimeError('no\\ndriver')", ("does not import", "RuntimeError: no driver")),
    "class missing": ("class Other: pass", ("has no Bad", "Plain, Other")),
    "init raises": (
        "class Bad(Plain):\n def __init__(self): raise OSError('no\\ndriver')",
        ("cannot be made", "OSError: no driver"),
    ),
    "init exits": ("class Bad(Plain):\n def __init__(self): sys.exit('gone')", ("cannot be made", "SystemExit: gone")),
    "init takes arguments": (
        "class Bad(Plain):\n def __init__(self, device): pass",
        ("cannot be made", "device", "takes no arguments"),
    ),
    "not a class": ("Bad = 3", ("has no name",)),
    "no name": ("class Bad(Plain): name = ''", ("has no name",)),
    "name raises": (
        "class Bad(Plain):\n @property\n def name(self): raise OSError('no\\ndriver')",
        ("name", "no driver"),
    ),
    "no devices": ("class Bad(Plain): devices = None", ("has no method devices()",)),
    "no build": ("class Bad(Plain): build = None", ("has no method build()",)),
    "no build_default": ("class Bad(Plain): build_default = None", ("has no method build_default()",)),
    "no deviations": ("class Bad(Plain): deviations = None", ("`deviations` that is no dict", "deviations = {}")),
    "no unsupported": (
        "class Bad(Plain): unsupported = ['rank_5']",
        ("`unsupported` that is no dict", "unsupported = {}"),
    ),
    "reason left out": ("class Bad(Plain): unsupported = {'rank_5': ''}", ("`unsupported`",)),
    "deviations raise": (
        "class Bad(Plain):\n @property\n def deviations(self): raise OSError('no\\ndriver')",
        ("deviations", "no driver"),
    ),
    "unknown decision": (
        "class Bad(Plain): deviations = {'running_varience': 'biased'}",
        ("deviation that does not exist", "running_varience", "running_variance"),
    ),
    "unknown value": (
        "class Bad(Plain): deviations = {'running_variance': 'bias'}",
        ("deviation that does not exist", "'bias'", "unbiased, biased"),
    ),
    "devices raise": (
        "class Bad(Plain):\n def devices(self): raise OSError('no\\ndriver')",
        ("cannot list its devices", "OSError: no driver"),
    ),
    "devices exit": ("class Bad(Plain):\n def devices(self): sys.exit(0)", ("cannot list its devices", "SystemExit")),
    "devices is text": (
        "class Bad(Plain):\n def devices(self): return 'cpu'",
        ("lists 'cpu' as its devices", "['cpu']"),
    ),
    "devices is None": ("class Bad(Plain):\n def devices(self): pass", ("lists None as its devices",)),
    "devices is empty": ("class Bad(Plain):\n def devices(self): return []", ("lists [] as its devices",)),
    "devices are numbers": ("class Bad(Plain):\n def devices(self): return [0]", ("lists [0] as its devices",)),
    "devices once only": (
        "class Bad(Plain):\n asked = 0\n def devices(self):\n"
        "  Bad.asked += 1\n  assert Bad.asked == 1, 'asked twice'\n  return ['cpu']",
        ("cannot list its devices", "AssertionError: asked twice"),
    ),
    "build gives None": (
        "class Bad(Plain):\n def build(self, config, device): pass",
        ("NoneType", "no method forward()"),
    ),
} | {
    f"layer without {method}": (
        f"class Layer(NumpyLayer): {method} = None\n"
        "class Bad(Plain):\n def build(self, config, device): return Layer(config.num_features)",
        ("Layer", f"no method {method}()"),
    )
    for method in ("forward", "backward", "state", "load")
}
"""Adapters that cannot be used: their source after PRELUDE, and words of the line that says why."""

NOT_BY_NAME = {
    "unknown": ("torch.n", ("unknown backend 'torch.n'", "torch.nn", "FILE.py:CLASS")),
    "one that was meant": ("pytorch", ("unknown backend 'pytorch'", "did you mean torch.nn?", "`bnconform list`")),
    "no such file without its class": ("nowhere/adapter.py", ("does not exist", "nowhere/adapter.py")),
    "no such file": ("nowhere/adapter.py:Bad", ("does not exist", "nowhere/adapter.py")),
    "folder": ("./:Bad", ("does not exist",)),
    "no such module": ("no_such_module.adapter:Bad", ("does not import", "no_such_module")),
    "module without it": ("json:Bad", ("json has no Bad", "it defines")),
    "nothing before the colon": (":Bad", ("unknown backend ':Bad'",)),
    "relative module": (".adapter:Bad", ("does not import",)),
    "empty": ("", ("unknown backend ''",)),
}


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a file makes its folder importable; the tests' folders are not to stay so."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A case that every right layer conforms to."""
    return write(tmp_path / "case.json")


def write(path: Path) -> Path:
    """Write the first case of BN-RUN-VAR."""
    probe = probes()["BN-RUN-VAR"][0]
    casefile.write(path, probe.requirement, probe.name, probe.at("float32", "float32"), probe.quality)
    return path


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> Answer:
    """The command without a process of its own."""
    capsys.readouterr()
    status = main(list(arguments))
    return Answer(status, *capsys.readouterr())


def test_the_case_is_right(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusals below come from their fault alone: without one, the case conforms and the adapter loads."""
    (case.parent / "adapter.py").write_text(PRELUDE)
    answer = in_process(capsys, "replay", str(case), "--backend", f"{case.parent / 'adapter.py'}:Plain")
    assert answer.status == 0
    assert "BN-RUN-VAR conforms: plain:cpu-float32" in answer.out


@pytest.mark.parametrize(("source", "words"), REFUSED.values(), ids=list(REFUSED))
def test_unusable_adapter(source: str, words: tuple[str, ...], case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An adapter that cannot be used is refused with what to change in it."""
    path = case.parent / "adapter.py"
    path.write_text(PRELUDE + source)
    in_process(capsys, "replay", str(case), "--backend", f"{path}:Bad").assert_refused(*words)


@pytest.mark.parametrize(("given", "words"), NOT_BY_NAME.values(), ids=list(NOT_BY_NAME))
def test_unknown_backend(given: str, words: tuple[str, ...], case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What names no backend is refused with what there is."""
    in_process(capsys, "replay", str(case), f"--backend={given}").assert_refused(*words)


def test_module_that_exits(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A module that ends Python on import is refused as a file is."""
    (case.parent / "module_that_exits.py").write_text("raise SystemExit('use python 2')")
    sys.path.append(str(case.parent))
    answer = in_process(capsys, "replay", str(case), "--backend", "module_that_exits:Bad")
    answer.assert_refused("does not import", "use python 2")


RUNS = (
    "syntax error",
    "init exits",
    "no build",
    "unknown value",
    "devices raise",
    "devices exit",
    "layer without load",
)
"""Faults that are tried with the suite itself too; what it says of the others is what `replay` says."""


@pytest.mark.parametrize("fault", RUNS)
def test_run_refuses_an_unusable_adapter(fault: str, tmp_path: Path) -> None:
    """The run ends before it begins, and writes nothing."""
    source, words = REFUSED[fault]
    (tmp_path / "adapter.py").write_text(PRELUDE + source)
    answer = bnconform(tmp_path, "--backend", "adapter.py:Bad", "--json", "result.json")
    answer.assert_refused(*words)
    assert {path.name for path in tmp_path.iterdir()} <= {"adapter.py", "__pycache__"}


TWICE = """
class Bad(Plain):
    name = "numpy"
"""

REQUESTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown backend": (("--backend", "torch.n"), ("unknown backend 'torch.n'", "torch.nn")),
    "unknown backend beside a known one": (("--backend", "numpy", "--backend", "x"), ("unknown backend 'x'",)),
    "unknown device": (("--device", "tpu:7"), ("numpy has no device 'tpu:7'", "here: numpy has cpu")),
    "unknown chapter": (
        ("--chapter", "replica"),
        ("unknown chapter 'replica'", "derivatives", "replicas, invariances"),
    ),
    "unknown dtype": (("--dtype", "float8"), ("unknown dtype 'float8'", "float64, float32, float16, bfloat16")),
    "one name twice": (("--backend", "numpy", "--backend", "adapter.py:Bad"), ("both called numpy", "another name")),
    "result in no folder": (("--json", "nowhere/result.json"), ("cannot write", "nowhere", "not a folder")),
    "result under a file": (("--json", "adapter.py/result.json"), ("cannot write", "adapter.py", "not a folder")),
    "result is a folder": (("--json", "."), ("cannot write", "is a folder")),
}


@pytest.mark.parametrize(("arguments", "words"), REQUESTS.values(), ids=list(REQUESTS))
def test_request_that_cannot_be_carried_out(arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path) -> None:
    """The run is refused in one line, and leaves nothing behind."""
    (tmp_path / "adapter.py").write_text(PRELUDE + TWICE)
    bnconform(tmp_path, "--dtype", "float32", *arguments).assert_refused(*words)
    assert {path.name for path in tmp_path.iterdir()} <= {"adapter.py", "__pycache__"}


def test_nothing_selected(tmp_path: Path) -> None:
    """A run in which nothing would be judged is refused beside what pytest counts, and writes no result."""
    answer = bnconform(tmp_path, "-k", "no_such_check", "--json", "result.json")
    answer.assert_no_traceback()
    assert answer.status == 2
    assert [line for line in answer.lines if line.startswith("bnconform: nothing") and "no_such_check" in line]
    assert list(tmp_path.iterdir()) == []


OPTIONS = {
    "unknown": ("--backnd=numpy", ("--backnd=numpy", "did you mean --backend?")),
    "unknown to all": ("--no-such-thing", ("--no-such-thing",)),
    "unknown level": ("--level=never", ("--level", "'never'", "must")),
    "no number of processes": ("-n=many", ("-n/--numprocesses", "many")),
    "option without its value": ("--json", ("--json", "expected one argument")),
}


@pytest.mark.parametrize("verb", [(), ("run",)], ids=["without a verb", "run"])
@pytest.mark.parametrize(("option", "words"), OPTIONS.values(), ids=list(OPTIONS))
def test_option_that_is_none(option: str, words: tuple[str, ...], verb: tuple[str, ...], tmp_path: Path) -> None:
    """What neither we nor pytest take is refused in one line, with what was meant."""
    bnconform(tmp_path, *verb, option).assert_refused(*words)
    assert list(tmp_path.iterdir()) == []


def test_expression_that_pytest_refuses(tmp_path: Path) -> None:
    """What pytest itself refuses when it has begun is passed on, with the exit status of ours."""
    answer = bnconform(tmp_path, "-k=BN-RUN and (")
    answer.assert_no_traceback()
    assert answer.status == 2
    assert [line for line in answer.lines if "error" in line.lower() and "BN-RUN and (" in line]
    assert list(tmp_path.iterdir()) == []


VERBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown verb": (
        ("identfy",),
        ("unknown command 'identfy'", "did you mean identify?", "list", "explain", "replay"),
    ),
    "list with an unknown option": (
        ("list", "--requirement-ids"),
        ("list does not take '--requirement-ids'", "did you mean --requirements?", "--errata"),
    ),
    "list with a word": (("list", "numpy"), ("list does not take 'numpy'",)),
    "explain of nothing": (("explain",), ("explain: the following arguments are required: NAME",)),
    "explain of two": (("explain", "BN-RUN-VAR", "BN-RUN-MEAN"), ("explain does not take 'BN-RUN-MEAN'",)),
    "explain of an unknown requirement": (
        ("explain", "BN-RUN-VARR"),
        ("unknown requirement", "did you mean BN-RUN-VAR"),
    ),
    "explain of a misspelt decision": (("explain", "running_varianze"), ("did you mean running_variance?",)),
    "explain of nonsense": (("explain", "%%%"), ("unknown requirement '%%%'", "BN-TRAIN-NORM")),
    "replay of nothing": (("replay",), ("replay: the following arguments are required: CASE.json",)),
    "replay with an unknown option": (
        ("replay", "case.json", "--dtype", "float32"),
        ("replay does not take '--dtype'",),
    ),
    "replay with half an option": (("replay", "case.json", "--backend"), ("--backend",)),
}


@pytest.mark.parametrize(("arguments", "words"), VERBS.values(), ids=list(VERBS))
def test_verb_that_cannot_be_carried_out(
    arguments: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the words after the command is said in one line."""
    in_process(capsys, *arguments).assert_refused(*words)


def test_replay_on_an_unknown_device(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device that is not there is named, with those that are."""
    in_process(capsys, "replay", str(case), "--device", "cuda:9").assert_refused("no device 'cuda:9'", "numpy has cpu")


def _set(*place: Any, to: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in place[:-1]:
            data = data[key]
        data[place[-1]] = to

    return change


INTO = {"replay": (), "freeze": ("--into", "never made")}
"""Options of the verbs that take a case; a refused one writes nothing."""

X = ("steps", 0, "x")
CASES: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "another schema": (_set("schema", to="bnconform/case/9"), ("is not a case", "schema", "bnconform/case/1")),
    "unknown key": (_set("colour", to="red"), ("is not a case", "colour")),
    "unknown requirement": (_set("requirement", to="BN-RUN-VARR"), ("unknown requirement", "BN-RUN-VAR")),
    "unknown quality": (_set("quality", to="fast"), ("fast",)),
    "no steps": (_set("steps", to=[]), ("is not a case", "steps")),
    "unknown operation": (_set("steps", 0, "op", to="train"), ("is not a case", "steps/0/op", "train")),
    "unknown observable": (_set("steps", 0, "observe", to=["z"]), ("is not a case", "'z'", "running_var")),
    "unknown layout": (_set("steps", 0, "x_layout", to="diagonal"), ("is not a case", "diagonal", "fortran")),
    "unknown state": (_set("steps", 0, "state", to={"scale": None}), ("is not a case", "steps/0/state/scale")),
    "unknown dtype": (_set(*X, "dtype", to="float8"), ("is not a case", "steps/0/x/dtype", "float8")),
    "no channels": (_set("config", "num_features", to=0), ("is not a case", "num_features")),
    "epsilon no number": (_set("config", "eps", to=float("nan")), ("is not a case", "eps is nan", "must be finite")),
    "infinite epsilon": (_set("config", "eps", to=float("inf")), ("is not a case", "eps is inf", "must be finite")),
    "epsilon out of range": (_set("config", "eps", to=10**400), ("is not a case", "eps", "must be finite")),
    "momentum above 1": (_set("config", "momentum", to=1.5), ("is not a case", "momentum")),
    "too few numbers": (_set(*X, "data", to=["0x1p0"]), ("is not a case", "size 1", "(2,3)")),
    "not a number": (_set(*X, "data", 0, to="one"), ("is not a case", "x of step 1", "'one'", "hexadecimal")),
    "half a number": (_set(*X, "data", 0, to="0x"), ("is not a case", "x of step 1", "hexadecimal")),
    "decimal": (_set(*X, "data", 0, to="0.1"), ("is not a case", "x of step 1", "'0.1'", "hexadecimal")),
    "number out of range": (_set(*X, "data", 0, to="0x1p99999"), ("is not a case", "x of step 1", "too large")),
    "control characters in the name": (_set("name", to="\x1b[2Ja\nb"), ("is not a case", r"'\x1b[2Ja\nb'")),
    "control characters in a state's name": (
        _set("steps", 0, "state", to={"\x1b[2J": None}),
        ("is not a case", r"steps/0/state/'\x1b[2J'"),
    ),
    "gradient of a forward pass": (
        _set("steps", 0, "observe", to=["y", "grad_x"]),
        ("is not a case", "step 1, a forward, cannot observe grad_x", "choose from y, running_mean"),
    ),
    "output of a backward pass": (
        lambda data: data["steps"][0].update(op="backward", grad_output=data["steps"][0]["x"], observe=["y"]),
        ("is not a case", "step 1, a backward, cannot observe y", "choose from grad_x"),
    ),
    "output of a build": (
        lambda data: data["steps"].append({"op": "build", "observe": ["y", "grad_bias"]}),
        ("is not a case", "a build, cannot observe grad_bias, y"),
    ),
    "output of a load": (
        lambda data: data["steps"].append({"op": "load", "observe": ["y"], "state": {}}),
        ("is not a case", "a load, cannot observe y"),
    ),
    "load without state": (
        lambda data: data["steps"].append({"op": "load", "observe": ["weight"]}),
        ("is not a case", "a load, has no state"),
    ),
    "negative counter": (
        _set("steps", 0, "state", to={"num_batches_tracked": {"dtype": "int64", "shape": [], "data": ["-3"]}}),
        ("is not a case", "num_batches_tracked of step 1 is -3", "must not be negative"),
    ),
    "other channels than the layer's": (_set("config", "num_features", to=2), ("is not a case", "3 channels", "2")),
    "another rank than the layer's": (_set("config", "ndim", to=3), ("is not a case", "rank 2", "3")),
    "another dtype than the layer's": (_set("config", "dtype", to="float64"), ("is not a case", "float32", "float64")),
    "integers as input": (
        _set("steps", 0, "x", to={"dtype": "int64", "shape": [2, 3], "data": ["1"] * 6}),
        ("is not a case", "int64"),
    ),
    "state of another length": (
        _set("steps", 0, "state", to={"weight": {"dtype": "float32", "shape": [2], "data": ["0x1p0"] * 2}}),
        ("is not a case", "weight", "(2,)", "(3,)"),
    ),
    "counter out of range": (
        _set("steps", 0, "state", to={"num_batches_tracked": {"dtype": "int64", "shape": [], "data": ["9" * 30]}}),
        ("is not a case", "num_batches_tracked of step 1", "too large"),
    ),
    "input forgotten": (lambda data: data["steps"][0].pop("x"), ("is not a case", "step 1: a forward step needs x")),
    "gradient forgotten": (_set("steps", 0, "op", to="backward"), ("is not a case", "grad_output")),
}


@pytest.mark.parametrize(("change", "words"), CASES.values(), ids=list(CASES))
def test_case_that_does_not_fit(
    change: Callable[[Any], None], words: tuple[str, ...], case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A case with one fault is refused with the file and the fault."""
    data = json.loads(case.read_text())
    change(data)
    case.write_text(json.dumps(data))
    in_process(capsys, "replay", str(case)).assert_refused(*words)


@pytest.mark.parametrize("verb", ["replay", "freeze"])
def test_what_cannot_be_observed_is_refused_by_every_verb(
    verb: str, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verbs that take a case refuse one that asks a call for what it does not show."""
    data = json.loads(case.read_text())
    data["steps"][0]["observe"] = ["grad_x"]
    case.write_text(json.dumps(data))
    in_process(capsys, verb, str(case), *INTO[verb]).assert_refused("is not a case", "cannot observe grad_x")


@pytest.mark.parametrize("verb", ["replay", "freeze"])
def test_requirement_whose_check_takes_no_cases(verb: str, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case that its requirement's check would never run is refused."""
    data = json.loads(case.read_text()) | {"requirement": "BN-STATE-INPUT"}
    case.write_text(json.dumps(data))
    in_process(capsys, verb, str(case), *INTO[verb]).assert_refused("the check of BN-STATE-INPUT takes no cases")


def test_replay_of_a_case_that_observes_nothing(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What would pass whatever the implementation does is refused."""
    data = json.loads(case.read_text())
    for step in data["steps"]:
        step["observe"] = []
    case.write_text(json.dumps(data))
    in_process(capsys, "replay", str(case)).assert_refused(str(case), "no step observes a result")


def test_replay_that_compares_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output without elements shows nothing of the implementation, which is neither right nor wrong."""
    path = tmp_path / "case.json"
    program = Program(Config(ndim=2), (forward(np.zeros((0, 3)), "y", training=False),)).cast("float32", "float32")
    casefile.write(path, "BN-EVAL-MODE", "empty", program, "")
    in_process(capsys, "replay", str(path)).assert_refused(str(path), "nothing could be compared")


TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not JSON"),
    "half": (b'{"schema": ', "is not JSON"),
    "not text": (b"\xff\xfe\x00", "is not JSON"),
    "a list": (b"[]", "is not a case: at the top"),
    "a number": (b"3", "is not a case: at the top"),
    "another file of ours": (b'{"schema": "bnconform/result/1"}', "is not a case"),
}


@pytest.mark.parametrize(("text", "words"), TEXTS.values(), ids=list(TEXTS))
def test_case_that_is_no_case(text: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of another kind is named as such."""
    path = tmp_path / "case.json"
    path.write_bytes(text)
    in_process(capsys, "replay", str(path)).assert_refused("case.json", words)


@pytest.mark.parametrize("name", ["nowhere.json", "."], ids=["missing", "folder"])
def test_case_that_cannot_be_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case that is not there is named."""
    in_process(capsys, "replay", str(tmp_path / name)).assert_refused("cannot read the case", str(tmp_path))


REMOVES = """
import shutil

class Layer(NumpyLayer):
    def forward(self, x, *, training):
        if x.ndim == 2:  # the smoke check, before the run, gives rank 4
            shutil.rmtree("results", ignore_errors=True)
        return super().forward(x, training=training)

class Bad(Plain):
    def build(self, config, device):
        layer = super().build(config, device)
        layer.__class__ = Layer
        return layer
"""


def test_folder_of_the_result_is_gone_at_the_end(tmp_path: Path) -> None:
    """A result that can no longer be written is status 2, said in one line after the matrix."""
    (tmp_path / "adapter.py").write_text(PRELUDE + REMOVES)
    (tmp_path / "results").mkdir()
    options = ("--dtype", "float32", "-k", "BN-RUN-VAR-2-values", "--json", "results/result.json")
    answer = bnconform(tmp_path, "--backend", "adapter.py:Bad", *options)
    answer.assert_no_traceback()
    assert answer.status == 2
    assert [line for line in answer.lines if line.startswith("bnconform: cannot write the result results/result.json")]
    assert not (tmp_path / "results").exists()


def test_refusal_leaves_an_older_result(tmp_path: Path) -> None:
    """A run that does not take place does not touch what an earlier one wrote, and leaves no temporary file."""
    (tmp_path / "result.json").write_text("from before")
    bnconform(tmp_path, "--json", "result.json", "--dtype", "float8").assert_refused("unknown dtype 'float8'")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["from before"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a copy of the suite, as it is installed, whose data can be spoilt."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "bnconform", ignore=ignored)
    for room in ("backends", "cases", "spec", "tests"):
        shutil.copytree(ROOT / room, folder / "bnconform" / room, ignore=ignored, dirs_exist_ok=True)
    return folder


SPOILT = {
    "golden case": ("cases/golden/000_9ca3b8e52b8c1ca9.json", '"cases":', '"kases":', ("kases",)),
    "golden case cut short": ("cases/golden/000_9ca3b8e52b8c1ca9.json", '"cases":', "", ("is not JSON",)),
    "catalogue": ("spec/requirements/running.toml", 'level = "must"', "level = must", ("is not TOML",)),
}


@pytest.mark.parametrize("verb", ["run", "list"])
@pytest.mark.parametrize(("file", "old", "new", "words"), SPOILT.values(), ids=list(SPOILT))
def test_malformed_data_of_the_suite(
    installed: Path, tmp_path: Path, file: str, old: str, new: str, words: tuple[str, ...], verb: str
) -> None:
    """A malformed golden case or requirement ends every command that needs it, with the file and the fault."""
    listing = ("list", "--errata") if "golden" in file else ("list", "--requirements")
    arguments = listing if verb == "list" else ("--dtype", "float32", "-k", "BN-RUN-VAR")
    path = installed / "bnconform" / file
    whole = path.read_text(encoding="utf-8")
    assert old in whole
    path.write_text(whole.replace(old, new, 1), encoding="utf-8")
    try:
        answer = bnconform(tmp_path, *arguments, package=installed)
    finally:
        path.write_text(whole, encoding="utf-8")
    answer.assert_refused(path.name, *words)


def test_unknown_feature_is_said(tmp_path: Path) -> None:
    """A word in `unsupported` that the suite never asks for does no harm, and the summary names it."""
    (tmp_path / "adapter.py").write_text(PRELUDE + "class Odd(Plain): unsupported = {'rank_6': 'never'}\n")
    answer = bnconform(tmp_path, "--backend", "adapter.py:Odd", "--dtype", "float32", "-k", "BN-RUN-INIT-VAR")
    assert answer.status == 0
    assert "declares unsupported what is never asked for: rank_6" in answer.out
