"""`bnconform export DIR`: the cases as test vectors, for implementations that are tested without Python."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bnconform.backends.runner.loading import version
from bnconform.cases import vectors
from bnconform.cases.json_files import JsonForm
from bnconform.cases.probes import all_relations, covering, probes
from bnconform.cli.main import ROOT
from bnconform.cli.parser import Verbs, add_verb, dtypes
from bnconform.errors import UserError
from bnconform.judge.suite import conformance_tests
from bnconform.spec.catalogue import Requirement, requirement, requirements
from bnconform.spec.formats import DTYPES

MANIFEST = "manifest.json"
SCHEMA = "bnconform/vectors-manifest/1"
FORM = JsonForm("manifest", ROOT / "cases" / "vectors.schema.json")
DOCUMENTS = ("VECTORS.md", "vectors.schema.json", "examples/consume.mjs")
"""What comes with the vectors, in cases/; put at the top of the folder."""


@dataclass
class Content:
    """What the manifest says of an export."""

    files: list[dict[str, Any]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    without_vectors: list[dict[str, str]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How much there is."""
        sums = {key: sum(file[key] for file in self.files) for key in ("vectors", "expected", "numbers", "bytes")}
        return {"files": len(self.files), **sums, "left_out": len(self.left_out)}

    def manifest(self) -> dict[str, Any]:
        """The manifest as JSON-ready data."""
        return {
            "schema": SCHEMA,
            "bnconform": version("bnconform") or "",
            "created": datetime.now(UTC).date().isoformat(),
            "counts": self.counts(),
            "files": self.files,
            "documents": self.documents,
            "without_vectors": self.without_vectors,
            "left_out": self.left_out,
        }


def add_parser(verbs: Verbs, summary: str) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "export",
        summary,
        example="bnconform export vectors --dtype float32 --requirement BN-RUN-VAR",
        run=run,
        parents=[dtypes("the vectors of this one")],
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that is empty or not there yet")
    parser.add_argument(
        "--requirement",
        action="append",
        default=[],
        metavar="ID",
        help="the vectors of this one (default: all); may be repeated",
    )
    parser.add_argument("--large", action="store_true", help="the large vectors, too")
    parser.add_argument("--force", action="store_true", help="replace an earlier export")


def run(known: argparse.Namespace) -> int:
    """Write the vectors: 0. Raises UserError where they cannot be written."""
    for dtype in known.dtype:
        if dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}; the suite judges {', '.join(DTYPES)}")
    chosen = [dtype for dtype in DTYPES if dtype in known.dtype or not known.dtype]
    wanted = {requirement(identifier).id for identifier in known.requirement}
    rules = [rule for rule in requirements().values() if rule.id in wanted or not wanted]
    folder: Path = known.folder
    try:
        with _prepare(folder, force=known.force) as (place, replaced):
            content = _write_all(place, rules, chosen, large=known.large)
            _settle(place, folder, replaced)
    except OSError as problem:
        raise UserError(f"cannot write into {folder}: {problem.strerror or problem}") from None
    counts = content.counts()
    print(f"{counts['vectors']} vectors with {counts['expected']} expected arrays are in {counts['files']} files "
          f"({counts['bytes'] / 1e6:.1f} MB) under {folder}")  # fmt: skip
    print(f"{len(content.without_vectors)} requirements have no vectors and {counts['left_out']} cases or results are "
          f"left out: {folder / MANIFEST} says which, and why")  # fmt: skip
    return 0


@contextmanager
def _prepare(folder: Path, *, force: bool) -> Iterator[tuple[Path, list[str]]]:
    """A temporary folder beside the files to be, and the files of an earlier export; removed again in any case."""
    replaced: list[str] = []
    if folder.exists() and not folder.is_dir():
        raise UserError(f"cannot write into {folder}: it is not a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not force:
            raise UserError(f"{folder} is not empty; give another folder, or --force to replace an earlier export")
        replaced = _earlier(folder)
    elif not folder.parent.is_dir():
        raise UserError(f"cannot write into {folder}: {folder.parent} is not a folder")
    place = Path(tempfile.mkdtemp(prefix=".bnconform-export-", dir=folder if folder.is_dir() else folder.parent))
    try:
        yield place, replaced
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _earlier(folder: Path) -> list[str]:
    """The files that the manifest in a folder lists."""
    path = folder / MANIFEST
    try:
        data = FORM.read(path)
        if data["schema"] != SCHEMA:
            raise UserError(f"its schema is not {SCHEMA}")
    except UserError:
        raise UserError(f"{folder} is not empty and {path} is no manifest of an export; give another folder") from None
    return [MANIFEST, *(entry["path"] for entry in (*data["files"], *data["documents"]))]


def _write_all(place: Path, rules: Sequence[Requirement], dtypes: Sequence[str], *, large: bool) -> Content:
    """Write everything into a folder."""
    content = Content()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("exporting", total=len(rules) * len(dtypes))
        for rule in rules:
            known = len(content.files), len(content.left_out)
            for dtype in dtypes:
                found = vectors.make_vectors(rule, dtype, large=large)
                content.left_out += found.left_out
                if found.data is not None:
                    path = f"vectors/{rule.id}-{dtype}.json"
                    entry = _put(place, path, vectors.text(found.data).encode())
                    about = {"requirement": rule.id, "level": rule.level, "dtype": dtype}
                    sums = {"vectors": found.vectors, "expected": found.expected, "numbers": found.numbers}
                    content.files.append(entry | about | sums)
                progress.advance(task)
            if len(content.files) == known[0]:
                reason = _without(rule, dtypes, left_out=len(content.left_out) > known[1])
                about = {"requirement": rule.id, "level": rule.level, "title": rule.title, "reason": reason}
                content.without_vectors.append(about)
            else:
                entry = {"requirement": rule.id, "dtype": "", "vector": "", "observation": ""}
                content.left_out += [entry | {"reason": reason} for reason in _beside(rule)]
    if not content.files:
        first = content.without_vectors[0]
        raise UserError(f"there is nothing to export: {first['requirement']}: {first['reason']}")
    for name in DOCUMENTS:
        source = ROOT / "cases" / name
        content.documents.append(_put(place, source.name, source.read_bytes()))
    text = vectors.text(content.manifest())
    _put(place, MANIFEST, text.encode())
    return content


def _put(place: Path, path: str, content: bytes) -> dict[str, Any]:
    """Write one file; its entry in the manifest."""
    file = place / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _beside(rule: Requirement) -> list[str]:
    """What the live suite judges of a requirement beside its cases, in words."""
    pairs = len(all_relations().get(rule.id, ()))
    found = [f"{pairs} pairs of programs are compared with each other, which no interval says"] if pairs else []
    for test in conformance_tests():
        if test.rule.id == rule.id and not test.over_cases:
            words = " ".join((test.function.__doc__ or "").split())
            found.append(f"a law or search that runs on a live layer: {words}")
    return found


def _without(rule: Requirement, dtypes: Sequence[str], *, left_out: bool) -> str:
    """Why a requirement has no vectors."""
    if rule.is_of_deployments:
        return "its cases are models that a tool deploys, and the predictions of what it makes of them: ask it live"
    if rule.id in vectors.LAWS:
        return vectors.LAWS[rule.id]
    if left_out:
        return "all of its vectors are left out; `left_out` says why"
    cases = probes().get(rule.id, ())
    if cases:
        those = {dtype for probe in cases for dtype in probe.dtypes}
        return f"its cases are of {', '.join(sorted(those))}, and {', '.join(dtypes)} was asked for"
    if covering(rule.id):
        return "its cases are the rows of the covering array, whose values are other ones in each dtype: ask it live"
    return "; ".join(_beside(rule)) or "no check is over cases"


def _settle(place: Path, folder: Path, replaced: Sequence[str]) -> None:
    """Make the files of the temporary folder those of the folder."""
    if not folder.is_dir():
        # A temporary folder is its owner's alone.
        place.chmod(0o777 & ~_umask())
        place.rename(folder)
        return
    new = [path.relative_to(place) for path in sorted(place.rglob("*")) if path.is_file()]
    taken = [path for path in new if os.path.lexists(folder / path) and str(path.as_posix()) not in replaced]
    if taken:
        raise UserError(f"{folder / taken[0]} is there and belongs to no earlier export; give another folder")
    # Without its manifest, which comes last, a folder is seen to be unfinished.
    for path in (MANIFEST, *replaced):
        (folder / path).unlink(missing_ok=True)
    (folder / "vectors").mkdir(exist_ok=True)
    for name in sorted(new, key=lambda path: path == Path(MANIFEST)):
        (place / name).replace(folder / name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
