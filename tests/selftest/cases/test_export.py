"""`bnconform export`: the vectors accept what is right, refuse what is wrong, and can be read without Python."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnconform.cases import vectors
from bnconform.cases.flags import FLAGS
from bnconform.cases.probes import probes
from bnconform.cli import export
from bnconform.cli.main import ROOT, main
from bnconform.judge.check import Check
from bnconform.judge.suite import conformance_tests
from bnconform.spec.catalogue import requirement, requirements
from bnconform.tests.mutants.catalogue import Mutant, all_right, every, neighbours
from bnconform.tests.selftest.vector_reader import failures, strict

WITH = (
    "BN-TRAIN-NORM", "BN-TRAIN-AXES", "BN-TRAIN-VAR", "BN-TRAIN-EPS", "BN-TRAIN-STATS", "BN-EVAL-STATS", "BN-EVAL-EPS",
    "BN-EVAL-NO-UPDATE", "BN-RUN-INIT-VAR", "BN-RUN-MEAN", "BN-RUN-VAR", "BN-RUN-MOMENTUM", "BN-RUN-AVERAGE",
    "BN-RUN-NONE", "BN-RUN-UPDATE", "BN-RUN-COUNT", "BN-FLAG-TRACK-OFF-EVAL", "BN-FLAG-TABLE", "BN-GRAD-INPUT",
    "BN-GRAD-EVAL-INPUT", "BN-GRAD-WEIGHT", "BN-GRAD-AFFINE", "BN-LAYOUT-GRAD", "BN-EDGE-NAN", "BN-EDGE-DEFAULT",
    "BN-STATE-REPEAT", "BN-NUM-FINITE",
)  # fmt: skip
"""Requirements with vectors, of every kind."""
WITHOUT = ("BN-GRAD-SUM", "BN-INV-SHIFT", "BN-ERR-RANK")
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "cases" / "vectors.schema.json").read_text()))
CONSUMER = ROOT / "cases" / "examples" / "consume.mjs"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vectors of the requirements above in every dtype."""
    folder = tmp_path_factory.mktemp("export") / "vectors"
    chosen = [word for name in (*WITH, *WITHOUT) for word in ("--requirement", name)]
    assert main(["export", str(folder), *chosen]) == 0
    return folder


@pytest.fixture(scope="module")
def files(exported: Path) -> dict[str, dict[str, Any]]:
    """The files by name, such as BN-RUN-VAR-float32."""
    return {path.stem: strict(path) for path in sorted((exported / "vectors").iterdir())}


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH)
def test_files_fit_the_schema(name: str, files: dict[str, dict[str, Any]]) -> None:
    """Every file of a requirement is valid, names its flags, and gives each interval in order."""
    for stem, data in files.items():
        if data["requirement"] != name:
            continue
        SCHEMA.validate(data)
        assert stem == f"{name}-{data['dtype']}"
        used = {flag for vector in data["vectors"] for flag in vector["flags"]}
        assert used == set(data["flags"]) <= set(FLAGS)
        names = [vector["name"] for vector in data["vectors"]]
        assert len(names) == len(set(names))
        intervals = [i for vector in data["vectors"] for step in vector["steps"] for i in step["expect"].values() if i]
        for interval in intervals:
            size = math.prod(interval["shape"])
            assert len(interval["low"]) == len(interval["high"]) == size
            for low, high in zip(interval["low"], interval["high"], strict=True):
                assert low == high == "NaN" or float(low) <= float(high)


def test_manifest_lists_every_file(exported: Path) -> None:
    """The manifest is valid and has the hash of every other file, and sums that are those of the files."""
    manifest = strict(exported / "manifest.json")
    SCHEMA.validate(manifest)
    listed = {entry["path"]: entry for entry in (*manifest["files"], *manifest["documents"])}
    there = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert there == {*listed, "manifest.json"}
    for path, entry in listed.items():
        content = (exported / path).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    for entry in manifest["files"]:
        data = strict(exported / entry["path"])
        expected = [i for vector in data["vectors"] for step in vector["steps"] for i in step["expect"].values()]
        assert (entry["vectors"], entry["expected"]) == (len(data["vectors"]), len(expected))
        assert entry["numbers"] == sum(len(interval["low"]) for interval in expected if interval)
    for key in ("vectors", "expected", "numbers", "bytes"):
        assert manifest["counts"][key] == sum(entry[key] for entry in manifest["files"])
    assert {entry["requirement"] for entry in manifest["files"]} == set(WITH)


def test_manifest_says_why_there_are_no_vectors(exported: Path) -> None:
    """Each requirement without vectors is named with a reason of its own."""
    found = {e["requirement"]: e["reason"] for e in strict(exported / "manifest.json")["without_vectors"]}
    assert set(found) == set(WITHOUT)
    assert "sum" in found["BN-GRAD-SUM"] and "pairs" in found["BN-INV-SHIFT"] and "law" in found["BN-ERR-RANK"]


def test_every_case_is_exported_or_left_out(exported: Path, files: dict[str, dict[str, Any]]) -> None:
    """No case is missing without a word."""
    left_out = {(e["requirement"], e["dtype"], e["vector"]) for e in strict(exported / "manifest.json")["left_out"]}
    for name in WITH:
        for probe in probes()[name]:
            for dtype in probe.dtypes:
                there = {vector["name"] for vector in files[f"{name}-{dtype}"]["vectors"]}
                assert probe.name in there or (name, dtype, probe.name) in left_out


def test_checks_that_are_no_cases_are_known() -> None:
    """A check that does more than to run its cases is a law or has a rule of its own for vectors."""
    layers = [test for test in conformance_tests() if test.over_cases and not test.rule.is_of_deployments]
    special = {test.rule.id for test in layers if test.function is not Check.run}
    assert special == {*vectors.LAWS, vectors.FINITE}


@pytest.mark.parametrize("name", requirements())
def test_no_requirement_is_forgotten(name: str) -> None:
    """A requirement without cases has a reason in words."""
    if name not in probes():
        assert len(export._without(requirement(name), ["float32"], left_out=False)) > 40


def test_the_same_cases_give_the_same_bytes(tmp_path: Path, exported: Path) -> None:
    """Two exports differ in nothing, so that their hashes can be compared."""
    assert main(["export", str(tmp_path / "again"), "--requirement", "BN-RUN-NONE"]) == 0
    again = sorted((tmp_path / "again" / "vectors").iterdir())
    assert [path.name for path in again] == [f"BN-RUN-NONE-{d}.json" for d in sorted(probes()["BN-RUN-NONE"][0].dtypes)]
    assert all(path.read_bytes() == (exported / "vectors" / path.name).read_bytes() for path in again)


def test_what_is_too_large_is_named_and_can_be_had() -> None:
    """A vector of more numbers than the limit is left out, and taken in where that is asked for."""
    rule = requirement("BN-DTYPE-HALF-RANGE")
    without, within = vectors.make_vectors(rule, "float16"), vectors.make_vectors(rule, "float16", large=True)
    assert [entry["vector"] for entry in without.left_out] == ["70001-values"]
    assert "--large" in without.left_out[0]["reason"]
    assert within.vectors == without.vectors + 1 and within.left_out == []


ends = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(ends, ends)
def test_shortened_ends_are_outside_and_near(one: float, other: float) -> None:
    """An interval written with few digits holds the interval, and is hardly wider."""
    low, high = min(one, other), max(one, other)
    least, most = vectors.shorten(low, high)
    assert least <= low <= high <= most
    if math.isfinite(high - low):
        assert low - least <= (high - low) / 1000 and most - high <= (high - low) / 1000


# -- what they accept and refuse ---------------------------------------------------------------------------------------


LAYERS = [mutant for mutant in all_right() if not hasattr(mutant, "deploy")]


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("mutant", LAYERS, ids=lambda mutant: mutant.name)
def test_right_implementations_are_inside(mutant: Mutant, files: dict[str, dict[str, Any]]) -> None:
    """An implementation that is right by other means is within every interval, in every dtype."""
    judged = 0
    for name, data in files.items():
        found, count = failures(data, mutant.build_layer)
        assert found == {}, name
        judged += count
    assert judged > 700


NAMED = [m for m in (*neighbours(), *every().values()) if m.killers and m.killers[0] in WITH]
KNOWN = {
    "output_is_a_masked_array": "only its kind is wrong, which numbers do not show",
    "counter_counts_gradients": "a backward pass may make a training pass of its own, which counts",
}
"""Wrong implementations that no vector shows to be wrong."""


@pytest.mark.thorough(keep=5)
@pytest.mark.parametrize("mutant", dict.fromkeys(NAMED), ids=lambda mutant: mutant.name)
def test_wrong_implementations_are_outside(mutant: Mutant, files: dict[str, dict[str, Any]]) -> None:
    """What the live suite says is wrong, the vectors of the requirement that names it say too, in every dtype."""
    for dtype in mutant.dtypes:
        found, judged = failures(files[f"{mutant.killers[0]}-{dtype}"], mutant.build_layer)
        assert judged > 0
        assert bool(found) == (mutant.name not in KNOWN), dtype


# -- the example of a reader -------------------------------------------------------------------------------------------


def consume(script: Path, *paths: Path) -> tuple[int, str]:
    """The exit status and the output of the reader in JavaScript."""
    node = shutil.which("node")
    if node is None:
        message = "needs Node.js, to show that vectors are read without Python"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    done = subprocess.run(
        [node, str(script), *map(str, paths)], capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_reader_is_short() -> None:
    """The example has at most 60 lines."""
    assert len(CONSUMER.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_reader_passes_its_own_layer(dtype: str, exported: Path) -> None:
    """The exported reader judges its own BatchNorm by every file, and finds nothing wrong."""
    paths = [exported / "vectors" / f"{name}-{dtype}.json" for name in WITH]
    status, out = consume(exported / "consume.mjs", *paths)
    assert status == 0, out
    passed, failed, left_out = (int(part.split()[0]) for part in out.splitlines()[-1].split(", "))
    assert passed > 150 and failed == 0 and left_out > 0


WRONG = {
    "biased running variance": ("* n / (n - 1)", "", "BN-RUN-VAR"),
    "unbiased normalisation": ("(data[i] - mean) ** 2, 0) / n", "(data[i] - mean) ** 2, 0) / (n - 1)", "BN-TRAIN-VAR"),
    "epsilon outside": ("Math.sqrt(variance + this.eps)", "(Math.sqrt(variance) + this.eps)", "BN-TRAIN-EPS"),
    "batch statistics in evaluation": ("else if (this.tracked)", "else if (false)", "BN-EVAL-STATS"),
    "momentum of the old value": ("const a = this.momentum ??", "const a = 1 - this.momentum ||", "BN-RUN-MOMENTUM"),
    "no counter": ("s.num_batches_tracked[0] += 1", "0", "BN-RUN-COUNT"),
    "bias left out": ("(s.bias?.[c] ?? 0)", "0", "BN-TRAIN-NORM"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_reader_fails_a_wrong_layer(fault: str, tmp_path: Path, exported: Path) -> None:
    """A fault put into the reader's BatchNorm makes it fail, naming vector, step and number."""
    right, wrong, name = WRONG[fault]
    text = CONSUMER.read_text(encoding="utf-8")
    assert text.count(right) == 1
    script = tmp_path / "wrong.mjs"
    script.write_text(text.replace(right, wrong), encoding="utf-8")
    status, out = consume(script, exported / "vectors" / f"{name}-float32.json")
    assert status == 1
    assert out.startswith(f"{name}: ") and "is not in [" in out.splitlines()[0]
    assert " 0 failed" not in out.splitlines()[-1]


def test_reader_that_judged_nothing_does_not_pass(exported: Path) -> None:
    """Vectors of gradients alone, which the example leaves out, are no success."""
    status, out = consume(CONSUMER, exported / "vectors" / "BN-GRAD-INPUT-float32.json")
    assert (status, out.split(",")[0]) == (1, "0 passed")
