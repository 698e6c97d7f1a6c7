"""The result file and the merging of rows: what is written is read back, and the worst verdict wins."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bnconform.render.matrix import LETTERS
from bnconform.results import files
from bnconform.results import result as report
from bnconform.results.files import FileError
from bnconform.results.result import LEVELS, UNLIMITED, VERDICTS, Difference, ResultError, merge
from bnconform.tests.selftest.rows import ALL_DTYPES, FULL, grid, row, run


class TestFile:
    """Writing and reading."""

    def test_schema_is_a_schema(self) -> None:
        """The schema is valid JSON Schema of the draft that it names."""
        path = Path(report.__file__).with_name("result.schema.json")
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]

    def test_words_of_schema_and_code_agree(self) -> None:
        """The schema's levels and verdicts are those of the code."""
        path = Path(report.__file__).with_name("result.schema.json")
        properties = json.loads(path.read_text())["$defs"]["row"]["properties"]
        assert set(properties["verdict"]["enum"]) == set(VERDICTS) == set(LETTERS)
        assert set(properties["level"]["enum"]) == set(LEVELS)

    def test_round_trip(self, tmp_path: Path) -> None:
        """What is written is read back, equal in every field."""
        report.write(tmp_path / "r.json", FULL)
        assert report.read(tmp_path / "r.json") == FULL

    def test_form_of_the_file(self) -> None:
        """A row is written with the names that the design gives."""
        entry = report.to_json(FULL)["results"][1]
        assert entry == {
            "backend": "numpy",
            "device": "cpu",
            "dtype": "float32",
            "requirement": "BN-RUN-VAR",
            "level": "must",
            "verdict": "violates",
            "checks": 3,
            "bound_share": 12.5,
            "ulp": 400.0,
            "diagnosis": [{"coordinate": "running_variance", "value": "biased"}],
            "message": "is 1.0,\nshould be 1.25",
            "case": "cases/BN-RUN-VAR.json",
        }

    @pytest.mark.parametrize("share", [math.inf, math.nan, 1e308])
    def test_errors_without_limit_are_json(self, share: float, tmp_path: Path) -> None:
        """An infinite or NaN share survives the file as the number that stands for it."""
        report.write(tmp_path / "r.json", run(row("violates", bound_share=share, ulp=share)))
        (back,) = report.read(tmp_path / "r.json").rows
        assert (back.bound_share, back.ulp) == (UNLIMITED, UNLIMITED)

    def test_write_is_all_or_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write that fails half-way leaves the old file, and no other."""
        path = tmp_path / "r.json"
        report.write(path, FULL)

        def full_disk(self: Path, content: bytes) -> int:
            with self.open("wb") as stream:
                stream.write(content[:10])
            raise OSError(28, "No space left on device")

        before = path.read_bytes()
        # Only what follows the check is to fail, as a disk does that fills up during the run.
        monkeypatch.setattr(files, "check_writable", lambda path, what: None)
        monkeypatch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(FileError, match="No space left on device"):
            report.write(path, run(row()))
        assert path.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["r.json"]

    def test_readers_never_see_half_a_file(self, tmp_path: Path) -> None:
        """Whoever has the old file open goes on reading the old result, whole."""
        path = tmp_path / "r.json"
        report.write(path, FULL)
        before = path.read_bytes()
        with path.open("rb") as reader:
            report.write(path, run(row()))
            assert reader.read() == before
        assert path.read_bytes() != before

    def test_write_follows_a_link(self, tmp_path: Path) -> None:
        """A symbolic link stays a link, and its target gets the result."""
        (tmp_path / "link.json").symlink_to(tmp_path / "r.json")
        report.write(tmp_path / "link.json", FULL)
        assert (tmp_path / "link.json").is_symlink()
        assert report.read(tmp_path / "r.json") == FULL

    def test_check_leaves_no_trace(self, tmp_path: Path) -> None:
        """Checking a path neither makes the file nor changes one that is there."""
        (tmp_path / "old.json").write_text("old")
        files.check_writable(tmp_path / "old.json")
        files.check_writable(tmp_path / "new.json")
        assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
        assert (tmp_path / "old.json").read_text() == "old"

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("missing/r.json", "missing is not a folder"),
            ("folder", "it is a folder"),
            ("file/r.json", "file is not a folder"),
            ("pipe", "not a regular file"),
            ("x" * 300, "File name too long"),
        ],
    )
    @pytest.mark.parametrize("function", ["check_writable", "write"])
    def test_unwritable_path(self, function: str, name: str, why: str, tmp_path: Path) -> None:
        """A path that cannot be written is refused in one line that names it."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("")
        os.mkfifo(tmp_path / "pipe")
        arguments = ("text",) if function == "write" else ()
        with pytest.raises(FileError) as refused:
            getattr(files, function)(tmp_path / name, *arguments)
        assert str(refused.value).startswith(f"cannot write the result {tmp_path / name}: ")
        assert why in str(refused.value)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("existing", [True, False], ids=["existing file", "new file"])
    def test_refused_permission(self, existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path that the system does not let us open is refused before the run."""

        def refuse(self: Path, *_: Any, **__: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        if existing:
            (tmp_path / "r.json").write_text("kept")
        monkeypatch.setattr(Path, "open" if existing else "write_text", refuse)
        with pytest.raises(FileError, match="Permission denied"):
            files.check_writable(tmp_path / "r.json")

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("\udc80", "is not JSON"),
            ("[" * 100_000, "is not JSON"),
            ('{"schema": NaN}', "NaN is not a JSON number"),
            ("[]", "at the top"),
            ("{}", "at the top: 'schema' is a required property"),
        ],
        ids=["empty", "cut off", "not utf-8", "too deep", "NaN", "no object", "empty object"],
    )
    def test_malformed_file(self, text: str, why: str, tmp_path: Path) -> None:
        """A file that is no result is refused in one line that names it and the place."""
        path = tmp_path / "r.json"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ResultError) as refused:
            report.read(path)
        assert str(refused.value).startswith(str(path))
        assert why in str(refused.value)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        ("place", "value"),
        [
            (("schema",), "bnconform/result/2"),
            (("environment", "seconds"), -1),
            (("environment", "packages", "numpy"), 2),
            (("environment", "backends", "numpy", "calls"), 1.5),
            (("results", 0, "verdict"), "passed"),
            (("results", 0, "level"), "shall"),
            (("results", 0, "checks"), True),
            (("results", 0, "bound_share"), 10**400),
            (("results", 0, "bound_share"), -0.5),
            (("results", 1, "diagnosis", 0, "coordinate"), None),
            (("results", 0, "case"), 3),
            (("results", 0, "backend"), ""),
        ],
    )
    def test_misfit_names_its_place(self, place: tuple[str | int, ...], value: Any) -> None:
        """A value that does not fit the schema is named by the way to it."""
        data = json.loads(json.dumps(report.to_json(FULL)))
        inner = data
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
        with pytest.raises(ResultError) as refused:
            report.from_json(data)
        assert str(refused.value).startswith(f"at {'/'.join(map(str, place))}: ")

    @pytest.mark.parametrize("extra", [(), ("environment",), ("results", 0)], ids=["top", "environment", "row"])
    def test_unknown_name_is_refused(self, extra: tuple[str | int, ...]) -> None:
        """A misspelt or unknown name does not pass unnoticed."""
        data = json.loads(json.dumps(report.to_json(FULL)))
        inner = data
        for step in extra:
            inner = inner[step]
        inner["verdikt"] = "conforms"
        with pytest.raises(ResultError, match="verdikt"):
            report.from_json(data)

    def test_second_row_for_a_key_is_refused(self) -> None:
        """A file that says two things of one place is refused."""
        data = report.to_json(FULL)
        data["results"].append(data["results"][0])
        with pytest.raises(ResultError, match="at results/3: a second row for numpy cpu float64 BN-RUN-VAR"):
            report.from_json(data)

    def test_missing_file(self, tmp_path: Path) -> None:
        """A missing file is named."""
        with pytest.raises(ResultError, match=r"cannot read the result .*r\.json: No such file"):
            report.read(tmp_path / "r.json")

    def test_time_inside_backends_may_be_missing(self) -> None:
        """A result that does not say how long the backends took is a result."""
        data = report.to_json(FULL)
        del data["environment"]["backends"]
        assert report.from_json(data).environment.backends == {}


class TestMerge:
    """Many checks become one row."""

    @pytest.mark.parametrize(("worse", "better"), list(itertools.combinations(VERDICTS, 2)))
    def test_worst_verdict_wins(self, worse: str, better: str) -> None:
        """Of two verdicts the worse one wins with its message, whichever comes first."""
        pair = [row(better, message="better", bound_share=9.0), row(worse, message="worse", bound_share=1.0)]
        merged = {merge(pair), merge(pair[::-1])}
        assert merged == {(row(worse, message="worse", bound_share=9.0, checks=2),)}

    def test_order_of_badness(self) -> None:
        """Crashed is worst, and unsupported remains only where nothing else was found."""
        assert VERDICTS == ("crashed", "violates", "untrusted", "deviates", "conforms", "unsupported")

    def test_counts_add_and_sizes_take_the_largest(self) -> None:
        """Checks are summed; share and ulp are the largest of any check, measured or not."""
        (merged,) = merge([row(checks=2, bound_share=0.5), row(bound_share=0.75, ulp=1.0), row(checks=0, ulp=3.0)])
        assert (merged.checks, merged.bound_share, merged.ulp) == (3, 0.75, 3.0)

    @pytest.mark.parametrize("shares", [(2.0, 7.0, None), (7.0, None, 2.0), (None, 2.0, 7.0)], ids=str)
    def test_worst_share_speaks(self, shares: tuple[float | None, ...]) -> None:
        """Among equal verdicts the one that is furthest off gives the message."""
        (merged,) = merge([row("violates", bound_share=share, message=f"off by {share}") for share in shares])
        assert merged.message == "off by 7.0"

    def test_nothing_measured_stays_unmeasured(self) -> None:
        """Without a measured share there is none."""
        (merged,) = merge([row("untrusted"), row("untrusted")])
        assert (merged.bound_share, merged.ulp) == (None, None)

    def test_nan_is_the_largest_share(self) -> None:
        """A NaN share is not lost beside a number."""
        (merged,) = merge([row("violates", bound_share=math.nan), row("violates", bound_share=5.0)])
        assert merged.bound_share == UNLIMITED

    def test_order_of_arrival_does_not_matter(self) -> None:
        """The same outcomes in any order give the same rows, as parallel workers require."""
        outcomes = [
            row("violates", bound_share=2.0, message="two", case="a"),
            row("violates", bound_share=3.0, message="three", diagnosis=(Difference("momentum_value", "0.9"),)),
            row("violates", bound_share=3.0, message="another three"),
            row("conforms", dtype="bfloat16"),
            row("conforms", dtype="float64"),
        ]
        assert len({merge(order) for order in itertools.permutations(outcomes)}) == 1

    def test_order_of_rows(self) -> None:
        """Rows are sorted by backend, device, dtype by kind, and requirement."""
        names = itertools.product(["b", "a"], ["cuda:0", "cpu"], ["int8", *reversed(ALL_DTYPES)], ["BN-B", "BN-A"])
        rows = merge(row(backend=b, device=v, dtype=t, requirement=r, level="must") for b, v, t, r in names)
        wanted = itertools.product(["a", "b"], ["cpu", "cuda:0"], [*ALL_DTYPES, "int8"], ["BN-A", "BN-B"])
        assert [entry.key for entry in rows] == list(wanted)

    def test_merging_twice_changes_nothing(self) -> None:
        """Merged rows are already merged."""
        once = merge([*grid(["a", "b"]), *grid(["b"])])
        assert merge(once) == once

    def test_two_levels_are_a_mistake(self) -> None:
        """A requirement with two levels is refused."""
        with pytest.raises(ValueError, match="BN-RUN-VAR comes with two levels"):
            merge([row(level="must"), row(level="may")])

    @pytest.mark.parametrize("wrong", [{"level": "shall"}, {"verdict": "passed"}])
    def test_unknown_word_is_a_mistake(self, wrong: dict[str, str]) -> None:
        """A level or verdict outside the lists is refused where the row is made."""
        with pytest.raises(ValueError, match="unknown"):
            row(**wrong)
