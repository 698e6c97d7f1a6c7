"""The requirement catalogue is complete, and a malformed one is refused with the file and the key."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from bnconform.spec.behaviour import decisions
from bnconform.spec.catalogue import (
    CHAPTERS,
    DOCUMENTS,
    FOLDER,
    LEVELS,
    CatalogueError,
    Requirement,
    chapter,
    fixing,
    load,
    requirement,
    requirements,
)
from bnconform.spec.config import FEATURES
from bnconform.spec.errors import UserError

REQUIREMENTS = tuple(requirements().values())
each_requirement = pytest.mark.parametrize("one", REQUIREMENTS, ids=[one.id for one in REQUIREMENTS])


@each_requirement
def test_every_requirement_names_a_source_and_the_place_in_it(one: Requirement) -> None:
    """A requirement without a place in a document is an opinion."""
    assert one.sources
    assert all(source.document and source.place and source.title for source in one.sources)


@each_requirement
def test_every_requirement_can_be_read(one: Requirement) -> None:
    """Title, statement, formula and what breaks it are there, and the title is a headline."""
    assert one.title and one.statement and one.formula and one.breaks
    assert one.title[0].isupper() and not one.title.endswith(".")


@each_requirement
def test_every_requirement_uses_known_words(one: Requirement) -> None:
    """Level, features and decisions are words of the space and of the configuration."""
    assert one.level in LEVELS
    assert one.features <= FEATURES
    assert set(one.decisions) <= set(decisions())
    assert re.fullmatch(r"BN-[A-Z0-9-]+", one.id)


@each_requirement
def test_every_requirement_is_found_by_its_id(one: Requirement) -> None:
    """The lookup gives the requirement itself."""
    assert requirement(one.id) is one


@pytest.mark.parametrize("name", decisions())
def test_every_decision_is_fixed_by_exactly_one_requirement(name: str) -> None:
    """A decision that nothing fixes would be a decision without a judge."""
    holders = [one for one in REQUIREMENTS if name in one.decisions]
    assert holders == [fixing(name)]


def test_the_chapters_come_in_their_order_and_none_is_left_out() -> None:
    """Requirements are reported chapter by chapter, and every file is a chapter."""
    titles = list(dict.fromkeys(one.chapter for one in REQUIREMENTS))
    assert len(titles) == len(CHAPTERS)
    assert titles[0] == "Training forward" and titles[-1] == "Numerical quality"
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(CHAPTERS)


@pytest.mark.parametrize("given", ["recorded", "RECORDED", "Recorded passes", "recorded passes"])
def test_a_chapter_is_found_by_file_and_title(given: str) -> None:
    """However it is written."""
    assert chapter(given) == "Recorded passes"


def test_an_unknown_chapter_is_refused_with_all_of_them() -> None:
    """In one line."""
    with pytest.raises(UserError, match="unknown chapter 'record'; the chapters are training, evaluation"):
        chapter("record")


def test_every_document_is_cited() -> None:
    """A document that nothing cites would be left over."""
    listed = set(re.findall(r'^\["(.+)"\]$', DOCUMENTS.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert listed == {source.document for one in REQUIREMENTS for source in one.sources}


def test_ids_stay_what_they_are_after_loading() -> None:
    """The mapping is by id and cannot be changed by whoever reads it."""
    assert all(key == one.id for key, one in requirements().items())
    with pytest.raises(TypeError):
        requirements()["BN-NEW"] = REQUIREMENTS[0]  # type: ignore[index]  # that it cannot be assigned to is the point


@pytest.mark.parametrize(
    ("asked", "offered"),
    [("BN-RUN-VAR2", "BN-RUN-VAR"), ("bn-run-var", "BN-RUN-VAR"), ("BN-GRAD-WIEGHT", "BN-GRAD-WEIGHT")],
    ids=["one letter more", "lower case", "letters exchanged"],
)
def test_an_unknown_id_is_answered_with_the_nearest(asked: str, offered: str) -> None:
    """A typing error costs no second look-up."""
    with pytest.raises(ValueError, match=rf"unknown requirement '{asked}'; did you mean .*\b{offered}\b"):
        requirement(asked)


def test_an_id_like_no_other_is_answered_with_what_ids_read_like() -> None:
    """Where nothing is near, the message shows the form."""
    with pytest.raises(ValueError, match="unknown requirement '%%%'; ids read like BN-TRAIN-NORM"):
        requirement("%%%")


def test_an_unknown_decision_is_answered_with_the_known_ones() -> None:
    """`fixing` names the decisions there are."""
    with pytest.raises(ValueError, match=r"unknown decision 'epsilon'.*epsilon_form"):
        fixing("epsilon")


MALFORMED = {
    "not TOML": ("training.toml", 'level = "must"', "level = must", "training.toml is not TOML"),
    "level unknown": ("training.toml", 'level = "must"', 'level = "shall"', "BN-TRAIN-NORM: level: 'shall'"),
    "level missing": ("training.toml", 'level = "must"', "", "BN-TRAIN-NORM: level: missing"),
    "level not text": ("training.toml", 'level = "must"', "level = 1", "BN-TRAIN-NORM: level: must be a string"),
    "key unknown": ("training.toml", 'level = "must"', 'level = "must"\nowner = "me"', "BN-TRAIN-NORM: owner: unknown"),
    "id malformed": ("training.toml", '"BN-TRAIN-NORM"', '"BN_train"', "BN_train: id: must match"),
    "id missing": ("training.toml", 'id = "BN-TRAIN-NORM"', "", "requirement 1: id: missing"),
    "id twice": ("training.toml", '"BN-TRAIN-AXES"', '"BN-TRAIN-NORM"', "BN-TRAIN-NORM: id: given twice"),
    "id twice in two files": ("state.toml", '"BN-STATE-INPUT"', '"BN-TRAIN-NORM"', "state.toml: BN-TRAIN-NORM: id:"),
    "title a paragraph": ("flags.toml", 'title = "A new', 'title = "A\\nnew', "BN-FLAG-AFFINE-INIT: title: must"),
    "formula empty": ("errors.toml", '"x.ndim < 2: an error"', '" "', "BN-ERR-RANK: formula: must be a string"),
    "decision unknown": ("dtypes.toml", '["output_dtype"]', '["output"]', "BN-DTYPE-OUTPUT: decisions: 'output'"),
    "decision twice": (
        "dtypes.toml", '["output_dtype"]', '["output_dtype", "epsilon_form"]', "decisions: BN-TRAIN-EPS fixes",
    ),
    "decision not fixed": ("dtypes.toml", '["output_dtype"]', "[]", "decisions: no requirement fixes output_dtype"),
    "decisions no list": ("dtypes.toml", '["output_dtype"]', '"output_dtype"', "decisions: must be a list"),
    "feature unknown": ("gradients.toml", '["backward"]', '["backwards"]', "BN-GRAD-INPUT: features: 'backwards'"),
    "feature not text": ("gradients.toml", '["backward"]', "[[]]", r"BN-GRAD-INPUT: features: \[\] is none"),
    "document unknown": (
        "training.toml", '"ioffe-szegedy-2015"', '"ioffe"', "BN-TRAIN-NORM: sources: 'ioffe' is none of the documents",
    ),
    "place empty": ("training.toml", '"section 3, algorithm 1"', '""', "BN-TRAIN-NORM: sources: each is"),
    "place missing": ("training.toml", ', place = "section 3, algorithm 1"', "", "BN-TRAIN-NORM: sources: each is"),
    "chapter untitled": ("quality.toml", 'title = "Numerical quality"', "", "quality.toml: title: must be"),
    "chapter with more": ("quality.toml", 'title = "Num', 'author = "me"\ntitle = "Num', "unknown key 'author'"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the catalogue, to be spoilt."""
    return Path(shutil.copytree(FOLDER, tmp_path / "requirements"))


@pytest.mark.parametrize(("file", "old", "new", "message"), MALFORMED.values(), ids=list(MALFORMED))
def test_a_malformed_catalogue_is_refused(folder: Path, file: str, old: str, new: str, message: str) -> None:
    """One fault in one file gives a CatalogueError that names the file or requirement, the key and the fault."""
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CatalogueError, match=message):
        load(folder)


def test_the_copy_is_accepted_unspoilt(folder: Path) -> None:
    """The refusals above come from the fault, not from the copying."""
    assert load(folder) == requirements()


def test_a_requirement_without_sources_is_refused(folder: Path) -> None:
    """An empty list of sources is no source."""
    path = folder / "errors.toml"
    text = re.sub(r"sources = \[\n.*?\n\]", "sources = []", path.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match="BN-ERR-CHANNELS: sources: at least one"):
        load(folder)


def test_a_chapter_without_requirements_is_refused(folder: Path) -> None:
    """A chapter that holds nothing would pass unnoticed."""
    (folder / "errors.toml").write_text('title = "Errors"\n', encoding="utf-8")
    with pytest.raises(CatalogueError, match=r"errors\.toml: requirement: must be one or more tables"):
        load(folder)


def test_a_missing_chapter_is_refused(folder: Path) -> None:
    """A file that was not installed is named."""
    (folder / "edges.toml").unlink()
    with pytest.raises(CatalogueError, match=r"cannot read .*edges\.toml"):
        load(folder)


def test_a_file_that_is_no_chapter_is_refused(folder: Path) -> None:
    """A chapter that the order does not know would never be reported."""
    (folder / "extra.toml").write_text('title = "Extra"\n', encoding="utf-8")
    with pytest.raises(CatalogueError, match=r"extra\.toml is not a chapter"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [('["a"]\nlink = "x"\n', "a: must have a title"), ('["a"]\ntitle = "A"\nlink = 1\n', "a: link: must be a string")],
    ids=["no title", "link not text"],
)
def test_a_malformed_list_of_documents_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The documents are checked as the requirements are."""
    path = tmp_path / "documents.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match=message):
        load(FOLDER, path)
