"""The kept columns of devices: the page says what they say, and nothing that is compared is left out of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bnconform.cli.main import main
from bnconform.render import devices_page
from bnconform.results import kept_columns, result
from bnconform.results.compare import compare
from bnconform.results.files import FileError
from bnconform.results.kept_columns import Name, TableRow
from bnconform.results.observations import decode
from bnconform.results.result import Result
from bnconform.spec.catalogue import requirements
from bnconform.tests.selftest.observing import move, plant, result_of
from bnconform.tests.selftest.rows import grid, row, run

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "backends" / "devices"
COLUMNS = kept_columns.read_all(FOLDER)
PLACES = kept_columns.places(FOLDER)
PAGE = (ROOT / "backends" / "DEVICES.md").read_text(encoding="utf-8")


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Its table is what `bnconform list --devices` prints, of the files."""
    assert main(["list", "--devices"]) == 0
    printed = capsys.readouterr().out
    before, begin, rest = PAGE.partition(devices_page.BEGIN)
    assert before and begin + rest.partition(devices_page.END)[0] + devices_page.END + "\n" == printed


def test_enough_of_them() -> None:
    """At least eight columns that are not the plain CPU's, each beside another one that is kept, or beside none."""
    shown = {place.column for place in PLACES}
    assert len(shown) == len(PLACES) >= 8
    assert {place.beside for place in PLACES if any(place.beside)} | shown == set(COLUMNS)
    assert not [place for place in PLACES if place.column == place.beside]


@pytest.mark.parametrize("name", COLUMNS, ids=":".join)
def test_a_file(name: Name) -> None:
    """It is of one column and of known requirements, says which versions, and is written as we write it."""
    column, path = COLUMNS[name], FOLDER / kept_columns.file_name(name)
    assert {(one.backend, one.device) for one in column.rows} == {name}
    assert {one.requirement for one in column.rows} <= requirements().keys()
    assert column.environment.packages
    assert path.read_text(encoding="utf-8") == kept_columns.to_text(column)
    assert kept_columns.columns_of(column) == {name: column}


PLACE = "BN-RUN-VAR", "4-values", "running_var"


def far(whole: Result) -> Any:
    """Seven times what was observed at PLACE."""
    [found] = [one for one in whole.observations if (one.requirement, one.case, one.name) == PLACE]
    return 7 * decode(found.array)


def test_what_is_kept_compares_alike() -> None:
    """A column that is kept differs from another as the whole result does: in verdicts, in numbers, and by whom."""
    plain = result_of("numpy", "float32")
    worse = move(plant(plain, PLACE, far(plain)), device="other")
    whole = compare(("a", plain), ("b", worse), chosen=["numpy:cpu=numpy:other"])
    kept = [kept_columns.columns_of(one)["numpy", device] for one, device in ((plain, "cpu"), (worse, "other"))]
    found = compare(("a", kept[0]), ("b", kept[1]), chosen=["numpy:cpu=numpy:other"])
    assert found.pairs == whole.pairs
    assert [number.moved for number in found.pairs[0].differing] == ["second"]


def test_each_column_of_a_result_has_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bnconform report --columns` writes them, whatever the devices are called, without paths and cases."""
    monkeypatch.chdir(tmp_path)
    rows = [row("violates", device="cuda:0", message="line\nmore", case="/home/me/case.json"), *grid(["b/c"])]
    result.write(Path("r.json"), run(*rows))
    Path("kept").mkdir()
    assert main(["report", "r.json", "--columns", "kept"]) == 0
    assert {path.name for path in Path("kept").iterdir()} == {"b_c-cpu.json", "numpy-cuda_0.json"}
    found = kept_columns.read_all(Path("kept"))
    [wrong] = found["numpy", "cuda:0"].rows
    assert (wrong.message, wrong.case, wrong.verdict) == ("line", None, "violates")


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused in one line."""
    result.write(tmp_path / "r.json", run(row()))
    assert main(["report", str(tmp_path / "r.json"), "--columns", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("text", ["column = 3", "[[column]]\nbeside = 'a:b'", "["], ids=["number", "half", "syntax"])
def test_a_list_that_is_none(text: str, tmp_path: Path) -> None:
    """What cannot be read as the list of columns is refused, and named."""
    (tmp_path / kept_columns.PLACES).write_text(text)
    with pytest.raises(FileError, match=r"columns\.toml is no list of columns"):
        kept_columns.places(tmp_path)


def test_a_column_that_moved_is_told() -> None:
    """The table says in which verdicts and numbers a column differs, and that it is the one that is further off."""
    plain = result_of("numpy", "float32")
    rows = tuple(replace(one, verdict="violates") if one.requirement == "BN-RUN-VAR" else one for one in plain.rows)
    worse = move(plant(replace(plain, rows=rows), PLACE, far(plain)), device="other")
    columns = {("numpy", "cpu"): plain, ("numpy", "other"): worse}
    told = devices_page.table(columns, [TableRow(("numpy", "other"), ("numpy", "cpu"), "made up")])
    assert "further off here: BN-RUN-VAR running_var" in told
    assert "further off there" not in told
