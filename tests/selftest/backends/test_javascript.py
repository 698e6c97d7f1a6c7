"""The example in JavaScript: its conversation and its ONNX model here, and its runtimes where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bnconform.cli.main import ROOT
from bnconform.results.result import read
from bnconform.tests.selftest.command import bnconform

FOLDER = ROOT / "backends" / "examples" / "javascript"
INSTALLED = "BNCONFORM_JAVASCRIPT"
"""The environment variable that names a copy of the folder in which `npm install --ignore-scripts` was run."""

ECHO = """\
import {{ Failed, serve, Unsupported }} from {module};
class Layer {{
  forward(x, training) {{
    console.log("not part of the conversation");
    if (!training) throw new Failed("lost");
    if (x.shape.length > 2) throw new Error("no such rank");
    return x;
  }}
  state() {{ return {{ weight: this.weight }}; }}
  load(state) {{ Object.assign(this, state); }}
}}
const hello = {{ name: "echo", devices: ["cpu"], deviations: {{}}, documented: {{}},
  unsupported: {{ backward: "there is none" }} }};
await serve({{ hello, build: () => new Layer(), buildDefault: () => new Layer() }});
"""


def node() -> str:
    """Node.js; the test fails without it."""
    found = shutil.which("node")
    assert found, "there is no Node.js `node` on the PATH; install one, as the example is to be run"
    return found


def exchange(folder: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """What a backend that gives x back answers to these requests."""
    (folder / "echo.mjs").write_text(ECHO.format(module=json.dumps((FOLDER / "protocol.mjs").as_uri())))
    lines = "".join(json.dumps({"id": number, **request}) + "\n" for number, request in enumerate(requests))
    run = subprocess.run([node(), "echo.mjs"], cwd=folder, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def array(shape: list[int], data: str, dtype: str = "float32") -> dict[str, Any]:
    """An array as the protocol has it."""
    return {"dtype": dtype, "shape": shape, "data": data}


def test_conversation(tmp_path: Path) -> None:
    """Each request has its answer, with the bits that were given, and nothing else is printed there."""
    x = array([1, 2], "AACAPwAAAEA=")
    build = {"do": "build", "config": {}, "device": "cpu"}
    forward = {"do": "forward", "layer": 1, "x": x, "training": True}
    load = {"do": "load", "layer": 1, "state": {"weight": array([2], "AACAPwAAAEA="), "bias": None}}
    found = exchange(
        tmp_path, {"do": "hello"}, build, forward, load, {"do": "state", "layer": 1}, {"do": "drop", "layer": 1}
    )
    assert [answer["id"] for answer in found] == list(range(6))
    assert found[0]["protocol"] == "bnconform/1"
    assert found[1]["layer"] == 1
    assert found[2]["y"] == x
    state = {name: found[4][name] for name in ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")}
    assert {name for name, value in state.items() if value is not None} == {"weight"}
    assert state["weight"] == array([2], "AACAPwAAAEA=")


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        ({"do": "forward", "x": array([1, 1], "AACAPw=="), "training": False}, "failed", "lost"),
        ({"do": "forward", "x": array([1, 1, 1], "AACAPw=="), "training": True}, "invalid", "no such rank"),
        ({"do": "forward", "x": array([1, 1], "gD8=", "bfloat16"), "training": True}, "unsupported", "bfloat16"),
        ({"do": "backward", "training": True}, "unsupported", "there is none"),
        ({"do": "reset"}, "unsupported", "no such request"),
    ],
    ids=["failed", "invalid", "dtype", "backward", "unknown"],
)
def test_refusals(request_: dict[str, Any], kind: str, words: str, tmp_path: Path) -> None:
    """What goes wrong is answered with the kind of error that the protocol has for it."""
    *_, last = exchange(tmp_path, {"do": "build", "config": {}, "device": "cpu"}, {"layer": 0, **request_})
    assert last["error"]["kind"] == kind
    assert words in last["error"]["message"]


@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("ndim", [2, 5])
def test_onnx_model(ndim: int, training: bool, tracked: bool) -> None:
    """The model that is written byte by byte is the one that the Python adapter makes with ONNX's own functions."""
    onnx = pytest.importorskip("onnx")
    from bnconform.backends.onnx_models import ModelKey, model

    attributes = {"epsilon": 1e-5, "momentum": 0.75}
    key = ModelKey(15, ndim, "float16", "float32", tuple(attributes.items()), training, tracked)
    options = {"ndim": ndim, "dtype": "float16", "parameterDtype": "float32", "attributes": attributes}
    given = json.dumps({**options, "training": training, "tracked": tracked})
    code = (
        f"import {{ model }} from {json.dumps((FOLDER / 'onnx_model.mjs').as_uri())};"
        f"process.stdout.write(Buffer.from(model({given})));"
    )
    run = subprocess.run([node(), "--input-type=module", "-e", code], capture_output=True, check=True)
    found, due = onnx.ModelProto.FromString(run.stdout), onnx.ModelProto.FromString(model(key, {}))
    found.ir_version = due.ir_version
    for opset in (*found.opset_import, *due.opset_import):
        opset.ClearField("domain")
    assert sorted(map(str, found.graph.node[0].attribute)) == sorted(map(str, due.graph.node[0].attribute))
    for made in (found, due):
        del made.graph.node[0].attribute[:]
    assert found == due


RUNTIMES = {
    "onnxruntime_node.mjs": ("deviates", ("cpu",)),
    "tfjs.mjs": ("violates", ("cpu", "wasm")),
    "browser.mjs tfjs": ("violates", ("cpu", "wasm", "webgl", "webgpu")),
    "browser.mjs onnxruntime-web": ("deviates", ("wasm",)),
}
"""The programs, with the verdict on BN-RUN-VAR (ONNX documents the biased variance, TensorFlow.js does not) and the
devices on which they train."""

EVALUATES = {"browser.mjs onnxruntime-web": ("webgl", "webgpu")}
"""The devices of a program that evaluate alone."""


def find_installed() -> Path:
    """A copy of the folder with its packages; the test is skipped without one."""
    folder = os.environ.get(INSTALLED)
    if not folder:
        pytest.skip(f"{INSTALLED} names no copy of {FOLDER.name}/ with its packages (npm install --ignore-scripts)")
    return Path(folder).resolve()


@pytest.mark.parametrize("program", RUNTIMES)
def test_runtimes(program: str, tmp_path: Path) -> None:
    """Every device of a program is judged."""
    folder, (verdict, trains) = find_installed(), RUNTIMES[program]
    options = ("--dtype", "float32", "--json", "result.json", "-k", "BN-RUN-VAR- or BN-EVAL-STATS-")
    answer = bnconform(tmp_path, "--backend", f"command:node {folder / program}", *options)
    answer.assert_no_traceback()
    rows = read(tmp_path / "result.json").rows
    found = {(row.device, row.requirement): row.verdict for row in rows}
    devices = trains + EVALUATES.get(program, ())
    assert found == {
        **{(device, "BN-RUN-VAR"): verdict if device in trains else "unsupported" for device in devices},
        **{(device, "BN-EVAL-STATS"): "conforms" for device in devices},
    }


def test_the_browser_ends(tmp_path: Path) -> None:
    """A browser that was started is gone with the program whose input has ended."""
    folder = find_installed()
    hello = '{"id":1,"do":"hello","protocol":"bnconform/1"}\n'
    own = {**os.environ, "TMPDIR": str(tmp_path)}  # where the browser keeps its profile
    run = subprocess.run(
        [node(), "browser.mjs", "tfjs"], cwd=folder, input=hello, env=own, capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, json.loads(run.stdout)["name"]) == (0, "tfjs-browser")
    said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in said


def test_fixed_sizes() -> None:
    """Where the shape of x is given, it is that of the model's x and y, and its channels those of the parameters."""
    onnx = pytest.importorskip("onnx")
    options = {"ndim": 3, "dtype": "float32", "parameterDtype": "float32", "attributes": {}, "shape": [2, 3, 300]}
    given = json.dumps({**options, "training": True, "tracked": True})
    code = (
        f"import {{ model }} from {json.dumps((FOLDER / 'onnx_model.mjs').as_uri())};"
        f"process.stdout.write(Buffer.from(model({given})));"
    )
    run = subprocess.run([node(), "--input-type=module", "-e", code], capture_output=True, check=True)
    graph = onnx.ModelProto.FromString(run.stdout).graph
    shapes = {
        one.name: [size.dim_value for size in one.type.tensor_type.shape.dim] for one in (*graph.input, *graph.output)
    }
    assert shapes.pop("x") == shapes.pop("y") == [2, 3, 300]
    assert list(shapes.values()) == [[3]] * 6
