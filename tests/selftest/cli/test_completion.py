"""`bnconform completion`: the script is one of the shell's, and knows verbs, options and names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bnconform.backends import registry
from bnconform.cli.completion import SHELLS
from bnconform.cli.main import VERBS, main
from bnconform.cli.options import OPTIONS


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command prints."""
    pytest.importorskip("shtab")
    capsys.readouterr()
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_knows_all(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb, every option of a run and every backend is in it."""
    text = script(shell, capsys)
    wanted = [*VERBS, *(name.lstrip("-") for name in OPTIONS), *registry.BUILTIN, "running_variance", "BN-RUN-VAR"]
    assert [word for word in wanted if word not in text] == []


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("bnconform ident", "identify"),
        ("bnconform run --back", "--backend"),
        ("bnconform identify --backend torch.func", "torch.functional"),
        ("bnconform explain running_v", "running_variance"),
        ("bnconform new-adapter a.py --for tor", "torch"),
    ],
)
def test_bash_completes(line: str, due: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A line that was begun is gone on with."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    path = tmp_path / "completion.sh"
    path.write_text(script("bash", capsys))
    words = line.split()
    ask = (
        f"source {path}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        "$(complete -p bnconform | sed 's/.*-F \\([^ ]*\\).*/\\1/') bnconform; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run([bash, "-c", ask], capture_output=True, text=True, check=True)
    assert due in re.split(r"\s+", done.stdout.strip())


def test_without_the_extra_it_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("bnconform: completion needs shtab") and said.count("\n") == 1
