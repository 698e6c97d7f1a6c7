"""Truths kept on disk: never believed unverified, never an error, bounded, and shared by processes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import pytest

import bnconform.spec
from bnconform.cases import inputs
from bnconform.cases.program import forward
from bnconform.judge.judgement import initial_state
from bnconform.judge.truths import truth_store
from bnconform.judge.truths.cache_settings import VARIABLE, CacheSettings
from bnconform.judge.truths.truth import Question, Truths
from bnconform.judge.truths.truth_record import Truth, encode
from bnconform.judge.truths.truth_store import FILE, TruthStore
from bnconform.spec.behaviour import SPECIFIED
from bnconform.spec.config import Config
from bnconform.spec.error_bounds.error_model import error_model_of
from bnconform.spec.exact import arithmetic

CONFIG = Config(ndim=2)
MIB = 2**20


def ask(number: int, samples: int = 4) -> Question:
    """One of many questions."""
    x = inputs.values((samples, 3), number).astype(np.float32)
    with arithmetic():
        return Question.of(CONFIG, error_model_of(CONFIG, SPECIFIED), initial_state(CONFIG, SPECIFIED), forward(x, "y"))


def answer_all(folder: Path, *numbers: int, samples: int = 4) -> tuple[Truths, list[Truth]]:
    """The answers of a process that keeps them in a folder, written there."""
    truths = Truths(CacheSettings(folder))
    with arithmetic():
        found = [truths.answer(ask(number, samples), SPECIFIED) for number in numbers]
    assert truths.store is not None
    truths.store.flush()
    return truths, found


def test_a_second_process_computes_nothing(tmp_path: Path) -> None:
    """And has the same bits."""
    first, due = answer_all(tmp_path, 1, 2, 3)
    second, found = answer_all(tmp_path, 1, 2, 3, 4)
    assert (first.computed, second.computed) == (3, 1)
    assert [encode(truth) for truth in found[:3]] == [encode(truth) for truth in due]


def test_another_oracle_never_meets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest of the sources is a part of the address."""
    answer_all(tmp_path, 1)
    monkeypatch.setattr(truth_store, "program_digest", lambda: b"changed")
    assert answer_all(tmp_path, 1)[0].computed == 1
    assert answer_all(tmp_path, 1)[0].computed == 0


def test_the_digest_is_that_of_every_source_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line more in any module of the oracle changes it."""
    room = Path(bnconform.spec.__file__).parent
    copy = tmp_path / "spec"
    for path in room.rglob("*.py"):
        target = copy / path.relative_to(room)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    monkeypatch.setattr(bnconform.spec, "__file__", str(copy / "__init__.py"))
    digest = truth_store.program_digest.__wrapped__
    assert digest() == truth_store.program_digest()
    for path in sorted(copy.rglob("*.py")):
        before = path.read_bytes()
        path.write_bytes(before + b"# more\n")
        assert digest() != truth_store.program_digest(), path.name
        path.write_bytes(before)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database, " * 1000)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _change_values(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.create_function("changed", 1, lambda value: value[:-1] + bytes([value[-1] ^ 1]))
        connection.execute("UPDATE truths SET value = changed(value)")
    connection.close()


def _change_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(byte ^ 0x5A for byte in data[4096:])
    path.write_bytes(data)


def _other_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE truths")
        connection.execute("CREATE TABLE truths (something)")
    connection.close()


@pytest.mark.parametrize("damage", [_cut, _garbage, _empty, _change_values, _change_bytes, _other_table])
def test_a_damaged_file_costs_time_and_nothing_else(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """What does not match its digest is computed again, and is right."""
    first, due = answer_all(tmp_path, *range(8))
    assert first.store is not None
    first.store.close()
    damage(tmp_path / FILE)
    second, found = answer_all(tmp_path, *range(8))
    assert second.computed == 8
    assert [encode(truth) for truth in found] == [encode(truth) for truth in due]


def test_it_is_kept_again_after_the_damage(tmp_path: Path) -> None:
    """A file that is no database is made anew."""
    first, _ = answer_all(tmp_path, 1)
    assert first.store is not None
    first.store.close()
    _garbage(tmp_path / FILE)
    answer_all(tmp_path, 1)
    assert answer_all(tmp_path, 1)[0].computed == 0


def test_it_is_bounded_and_what_was_used_least_recently_goes(tmp_path: Path) -> None:
    """Of ten truths of some 100 KiB each, those that fit into half a MiB stay: the last, and the first, used again."""
    clock = [0.0]
    store = TruthStore(tmp_path, MIB // 2, now=lambda: clock[0])
    truth = answer_all(tmp_path / "other", 1, samples=1100)[1][0]
    assert 90_000 < len(encode(truth)) < 120_000
    for number in range(10):
        clock[0] += 10_000
        store.write(bytes([number]), {}, truth)
        store.flush()
        assert store.read(bytes([0]))
    kept = [number for number in range(10) if store.read(bytes([number]))]
    assert kept[0] == 0 and kept[-1] == 9 and 3 <= len(kept) <= 5
    store.close()
    assert (tmp_path / FILE).stat().st_size < MIB


SCRIPT = """
import sys
from pathlib import Path
from bnconform.tests.selftest.judge.truths.test_truth_store import answer_all
truths, found = answer_all(Path(sys.argv[1]), *range(int(sys.argv[2]), int(sys.argv[3])))
print(truths.computed)
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    """Each of four has its own questions and some of its neighbour's; afterwards all are known."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(20 * n), str(20 * n + 30)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(4)
    ]  # fmt: skip
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    assert answer_all(tmp_path, *range(90))[0].computed == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_a_connection_of_its_own(tmp_path: Path) -> None:
    """What the parent was about to write stays the parent's."""
    code = SCRIPT + (
        "import os\n"
        "from bnconform.tests.selftest.judge.truths.test_truth_store import ask, SPECIFIED, arithmetic\n"
        "child = os.fork()\n"
        "with arithmetic():\n"
        "    truths.answer(ask(100 if child else 101), SPECIFIED)\n"
        "truths.store.flush()\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), "0", "3"], check=True, timeout=120)
    assert answer_all(tmp_path, 0, 1, 2, 100, 101)[0].computed == 0


def test_a_file_that_another_process_holds_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few waits it is left alone, and all is computed."""
    monkeypatch.setattr(truth_store, "PATIENCE", 0.01)
    first, due = answer_all(tmp_path, *range(8))
    assert first.store is not None
    first.store.close()
    holder = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    second, found = answer_all(tmp_path, *range(8))
    holder.close()
    assert second.store is not None and not second.store.usable
    assert [encode(truth) for truth in found] == [encode(truth) for truth in due]


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    """Silently: a file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    truths, found = answer_all(tmp_path / "file" / "folder", 1, 1)
    assert truths.computed == 1 and len(found) == 2
    assert truths.store is not None and not truths.store.usable


def test_what_the_environment_says(tmp_path: Path) -> None:
    """`off`, a folder, or the user's cache folder."""
    assert CacheSettings.of_environment({VARIABLE: "off"}).folder is None
    assert Truths(CacheSettings.of_environment({VARIABLE: "off"})).store is None
    assert CacheSettings.of_environment({VARIABLE: str(tmp_path)}).folder == tmp_path
    assert CacheSettings.of_environment({}).folder == platformdirs.user_cache_path("bnconform")
