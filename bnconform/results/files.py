"""Files that are written whole or not at all: to a temporary neighbour first, which then takes the file's name."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from bnconform.spec.errors import UserError


class FileError(UserError):
    """A file that cannot be written or read; the message says why, in one line."""


def check_writable(path: Path, what: str = "the result") -> None:
    """Raise FileError, in one line, if `write` could not write `path`; to be called before a run, not after it.

    An existing file is left as it is; a missing folder is not made.

    Args:
        what: the words for the file in the message.
    """
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # OSError for a symbolic link that leads to itself
        if path.is_dir():
            raise FileError(f"cannot write {what} {path}: it is a folder; give the path of a file")
        if path.exists() and not path.is_file():
            raise FileError(f"cannot write {what} {path}: it is not a regular file")
        if path.exists():
            # A file that may not be written is somebody's to keep, even where its folder lets it be replaced.
            with path.open("r+b"):
                pass
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise FileError(f"cannot write {what} {path}: {path.parent} is not a folder")
        temporary = _temporary(target)
        temporary.write_text("", encoding="utf-8")
        temporary.unlink()
    except OSError as problem:
        raise FileError(f"cannot write {what} {path}: {problem.strerror or problem}") from None


def write(path: Path, content: str | bytes, what: str = "the result") -> None:
    """Write the file whole, or leave what was there and raise FileError; text is written as UTF-8."""
    check_writable(path, what)
    target = Path(os.path.realpath(path))
    temporary = _temporary(target)
    try:
        try:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            temporary.replace(target)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as problem:
        raise FileError(f"cannot write {what} {path}: {problem.strerror or problem}") from None


def make_folder(folder: Path) -> None:
    """Make a folder, with those that it lies in, where there is none; FileError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise FileError(f"cannot write into {folder}: {problem.strerror or problem}") from None


def _temporary(path: Path) -> Path:
    # The process id keeps two runs that write the same path from taking each other's half-written file.
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
