"""Truths kept between runs, in one SQLite file: content-addressed, verified when read, bounded in size.

A row is found by the SHA-256 of its question and of the program that answers it: the source files of `spec/`, and what
turns its records into arrays. So a changed oracle never meets what an old one has answered. The truth itself is
verified by a digest of its bytes; one that does not match is computed again. Whatever goes wrong with the file (no
right to write, no space, another process that holds it, a file that is no database) costs time and nothing else.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import gmpy2
import numpy as np

import bnconform.spec
from bnconform.judge.truths.truth_record import Truth, decode, encode

FILE = "truths.sqlite"
FORMAT = 1
"""To be counted up where the rows of the file change their form."""

PATIENCE = 2.0
"""Seconds to wait for another process that writes."""

MOST_WAITS = 3
"""Waits in vain after which the file is left alone."""

BUFFER, DELAY = 4 * 2**20, 2.0
"""Bytes and seconds after which new truths are written, many at once."""

FRESH = 3600
"""Seconds within which a second use of a truth is not noted, so that reading seldom writes."""

REMAINING = 0.8
"""The share of the size that is left where the file has outgrown it."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS truths (
    key BLOB NOT NULL, decisions TEXT NOT NULL, used INTEGER NOT NULL, digest BLOB NOT NULL, value BLOB NOT NULL,
    UNIQUE (key, decisions)
)"""

QUERY = "SELECT rowid, decisions, used, digest, value FROM truths WHERE key = ?"

SIZES = ("page_count", "freelist_count", "page_size")

OUTGROWN = """
DELETE FROM truths WHERE rowid IN (
    SELECT rowid FROM (SELECT rowid, sum(length(value) + 300) OVER (ORDER BY used, rowid) AS gone FROM truths)
    WHERE gone <= ?
)"""


Result = TypeVar("Result")


@cache
def program_digest() -> bytes:
    """SHA-256 of all that computes a truth: the sources of `spec/` and of its arrays, and the libraries' versions."""
    digest = hashlib.sha256(f"{FORMAT} numpy {np.__version__} gmpy2 {gmpy2.version()}".encode())
    room = Path(bnconform.spec.__file__).parent
    own = [
        Path(__file__).with_name(f"{name}.py")
        for name in ("expansion", "layer_state", "mapped_truth", "replicated_truth", "truth", "truth_record")
    ]
    for path in [*sorted(room.rglob("*.py")), *own]:
        digest.update(f"\n{path.name} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


class TruthStore:
    """The file of truths in a folder, which is made where there is none.

    Attributes:
        limit: bytes that it may take.
        usable: whether it is; False for good after an error that is not that of one row.
    """

    def __init__(self, folder: Path, limit: int, now: Callable[[], float] = time.time) -> None:
        self.limit = limit
        self.usable = True
        self._path = folder / FILE
        self._now = now
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._orphans: list[sqlite3.Connection] = []
        self._pending: list[tuple[bytes, str, int, bytes, bytes]] = []
        self._waiting = 0
        self._since = 0.0
        self._touched: set[int] = set()
        self._waits = 0
        try:
            self._program = program_digest()
        except OSError:  # the sources cannot be read, so that nothing says which oracle this is
            self.usable = False

    def read(self, key: bytes) -> list[tuple[dict[str, str], Truth]]:
        """The truths that answer a question, each with the decisions that it rests on."""
        address = self._address(key)
        connection = self._open()
        if connection is None:
            return []
        rows = self._attempt(lambda: connection.execute(QUERY, (address,)).fetchall())
        found = []
        for row, decisions, used, digest, value in rows or ():
            if _digest(address, decisions, value) == digest:
                found.append((dict(json.loads(decisions)), decode(value)))
                if self._now() - used > FRESH:
                    self._touched.add(row)
        return found

    def write(self, key: bytes, decisions: dict[str, str], truth: Truth) -> None:
        """Keep a truth; the file has it after `flush`, which happens by itself before long and at the end."""
        if not self.usable:
            return
        self._own()
        address, text, value = self._address(key), json.dumps(decisions), encode(truth)
        if not self._pending:
            self._since = self._now()
        self._pending.append((address, text, int(self._now()), _digest(address, text, value), value))
        self._waiting += len(value)
        if self._waiting > BUFFER or self._now() - self._since > DELAY:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting; where the file has outgrown its limit, what has not been used for longest goes."""
        self._own()
        pending, touched = self._pending, sorted(self._touched)
        self._pending, self._waiting, self._touched = [], 0, set()
        if not pending and not touched:
            return
        connection = self._open()
        if connection is not None:
            self._attempt(lambda: self._write_out(connection, pending, touched))

    def close(self) -> None:
        """Write what is waiting, and let the file go."""
        self.flush()
        atexit.unregister(self.flush)
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _write_out(
        self, connection: sqlite3.Connection, pending: list[tuple[bytes, str, int, bytes, bytes]], touched: list[int]
    ) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT OR REPLACE INTO truths VALUES (?, ?, ?, ?, ?)", pending)
            now = int(self._now())
            connection.executemany("UPDATE truths SET used = ? WHERE rowid = ?", [(now, row) for row in touched])
            pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in SIZES)
            taken = (pages - free) * size
            if taken > self.limit:
                connection.execute(OUTGROWN, (taken - REMAINING * self.limit,))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _open(self) -> sqlite3.Connection | None:
        """The connection of this process; None where the file cannot be used."""
        self._own()
        if self._connection is None and self.usable:
            self._connection = self._attempt(self._connect)
            if self._connection is not None:
                atexit.register(self.flush)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise sqlite3.OperationalError(str(problem)) from None
        # Statements are few and short, and each process has a connection of its own.
        connection = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(SCHEMA)
        return connection

    def _own(self) -> None:
        """After a fork, leave the parent's connection and what it is about to write alone."""
        if self._process != os.getpid():
            self._process = os.getpid()
            if self._connection is not None:
                self._orphans.append(self._connection)  # closing it here would take the parent's locks away
            self._connection, self._pending, self._waiting, self._touched = None, [], 0, set()

    def _attempt(self, action: Callable[[], Result]) -> Result | None:
        """What an action on the file returns; None where it fails, and then the file is left alone or made anew."""
        try:
            return action()
        except sqlite3.OperationalError as problem:
            # Another process holds the file for long: this truth is not kept, the next one may be.
            self._waits += 1
            self.usable = "locked" in str(problem) and self._waits < MOST_WAITS
        except sqlite3.DatabaseError:
            self._discard()
        except sqlite3.Error:
            self.usable = False
        return None

    def _discard(self) -> None:
        """Remove a file that is no database."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                self._path.with_name(self._path.name + suffix).unlink()
        self.usable = not self._path.exists()

    def _address(self, key: bytes) -> bytes:
        return hashlib.sha256(self._program + key).digest() if self.usable else b""


def _digest(address: bytes, decisions: object, value: object) -> bytes:
    """SHA-256 of a row; b"", which is no row's, where a damaged file has something else than text and bytes there."""
    if not isinstance(decisions, str) or not isinstance(value, bytes):
        return b""
    digest = hashlib.sha256(address + decisions.encode() + b"|")
    digest.update(value)
    return digest.digest()
