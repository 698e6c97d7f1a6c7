"""What crosses the pipe to a program: arrays unchanged, and nothing that its schema does not know."""

from __future__ import annotations

import json
import time
from typing import Any

import jsonschema
import numpy as np
import pytest

from bnconform.backends.external import line_process
from bnconform.backends.external.array_encoding import decode, encode
from bnconform.cli.main import ROOT
from bnconform.spec.config import Config
from bnconform.spec.formats import DTYPES, numpy_dtype
from bnconform.tests.selftest.adapters import program as echo
from bnconform.tests.selftest.backends.test_protocol import X, run, start

SCHEMA: dict[str, Any] = json.loads((ROOT / "backends" / "protocol.schema.json").read_text())

UNSEEN = {"silent", "no licence", "exits", "hangs", "closes its output", "aborts", "half a line", "endless line"}
UNSEEN |= {"banner", "no JSON", "no object", "NaN", "deep", "no text", "other id", "unknown deviation", "two lines"}
UNSEEN |= {"handle of another", "too few bytes", "other shape", "none", "unsupported", "invalid", "failed"}
UNSEEN |= {"able"}
UNSEEN |= {"other name each time", "shape of true", "hello is refused"}
"""Faults that no schema of a single answer can see."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (), (40_009, 3)], ids=str)
def test_arrays_cross_the_pipe_unchanged(shape: tuple[int, ...], dtype: str) -> None:
    """Every bit arrives, of any shape and from any strides, with NaN and infinities."""
    values = np.random.default_rng(5).normal(size=shape).astype(numpy_dtype(dtype))
    if values.size > 2:
        values[0] = [np.nan, np.inf, -0.0]
    for array in (values, values.T, values[..., ::-1] if shape else values):
        back = decode(json.loads(json.dumps(encode(array))))
        assert (back.shape, back.dtype, back.tobytes()) == (array.shape, array.dtype, array.tobytes())
        assert back.flags.writeable


def test_large_arrays_take_time_in_proportion() -> None:
    """Ten times the samples take nothing near a hundred times the time."""
    layer = start("none").build(Config(ndim=2), "cpu")
    taken = []
    for samples in (100_000, 1_000_000):
        x = np.ones((samples, 3))
        begin = time.perf_counter()
        assert layer.forward(x, training=True).shape == x.shape
        taken.append(time.perf_counter() - begin)
    assert taken[1] < 40 * taken[0]


# -- the schema -------------------------------------------------------------------------------------------------------


def validator(part: str) -> jsonschema.Draft202012Validator:
    """What judges one kind of line."""
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{part}", "$defs": SCHEMA["$defs"]})


def test_schema_is_one() -> None:
    """The schema keeps to its own schema."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("fault", sorted(set(echo.FAULTS) - UNSEEN))
def test_schema_refuses_what_we_refuse(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer that is refused above is none by the schema, either."""
    what, act = echo.FAULTS[fault]
    act({"id": 3, "do": what, "x": encode(X)})
    told = json.loads(capsys.readouterr().out)
    expected = validator("error" if "error" in told else f"answer_to_{what}")
    assert not expected.is_valid(told)


def test_schema_takes_what_crosses_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request, and every answer of an honest program, keeps to the schema."""
    seen = set()
    exchange = line_process.LineProcess.exchange

    def check(self: line_process.LineProcess, request: bytes, room: int, what: str) -> bytes:
        answer = exchange(self, request, room, what)
        validator("request").validate(json.loads(request))
        validator(f"answer_to_{what}").validate(json.loads(answer))
        seen.add(what)
        return answer

    monkeypatch.setattr(line_process.LineProcess, "exchange", check)
    backend = start("none")
    for config in (Config(), Config(momentum=None, affine=False, ndim=2, dtype="bfloat16")):
        layer = backend.build(config, "cpu")
        layer.load({"weight": np.ones(3), "num_batches_tracked": np.array(3), "bias": None})
        layer.backward(X, X, training=False)
        run(backend)
    backend.build_default(3, "cpu")
    assert seen == {"hello", "build", "build_default", "forward", "backward", "state", "load", "drop"}
