"""Settings: which interpreter and which command belong to a backend, and options that make no sense."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bnconform.backends.registry import BackendError
from bnconform.execution.settings import Settings, settings
from bnconform.tests.selftest.command import bnconform


def test_usual_settings() -> None:
    """Without options, everything runs under this interpreter, for five minutes a program, in any memory."""
    found = settings(300.0, 0)
    assert found == Settings()
    assert (found.interpreter("numpy"), found.command("numpy"), found.is_elsewhere("numpy")) == (
        sys.executable,
        (),
        False,
    )


def test_interpreters_are_for_variants_too() -> None:
    """What is named for a backend holds for its variants, unless they have one of their own."""
    found = settings(1, 2, ["torch.nn=/bin/sh", "torch.nn+lazy=/bin/ls"])
    assert found.interpreter("torch.nn") == found.interpreter("torch.nn+compile") == "/bin/sh"
    assert found.interpreter("torch.nn+lazy") == "/bin/ls"
    assert found.interpreter("torch.functional") == sys.executable
    assert found.is_elsewhere("torch.nn+compile") and not found.is_elsewhere("numpy")
    assert (found.seconds, found.memory) == (1, 2 * 2**30)


def test_commands_are_words() -> None:
    """A command is taken apart as a shell does, and behind it `python3` runs unless another one is named."""
    found = settings(1, 0, ["b=/no/such/python"], ["a=docker run -i --rm 'my image'", "b=ssh gpu-box"])
    assert found.command("a") == found.command("a+variant") == ("docker", "run", "-i", "--rm", "my image")
    assert (found.interpreter("a"), found.interpreter("b")) == ("python3", "/no/such/python")
    assert found.is_elsewhere("a") and found.is_elsewhere("b") and not found.is_elsewhere("c")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--python", "numpy"), ("--python 'numpy' is not B=PATH",)),
        (("--python", "=/bin/sh"), ("--python '=/bin/sh' is not B=PATH",)),
        (("--python", "numpy="), ("--python 'numpy=' is not B=PATH",)),
        (("--python", "numpy=/no/such/python"), ("--python 'numpy=/no/such/python' is not B=PATH",)),
        (("--run-in", "numpy"), ("--run-in 'numpy' is not B=COMMAND",)),
        (("--run-in", "numpy=ssh 'gpu"), ("--run-in numpy=ssh 'gpu: no command", "quote it as for a shell")),
        (("--run-in", "numpy=/no/such/command"), ("the backend numpy cannot run: /no/such/command: No such file",)),
        (
            ("--python", f"nump={sys.executable}"),
            ("--python nump=... is for a backend that is not asked here", "numpy"),
        ),
        (("--run-in", "torch.nn=env -i"), ("--run-in torch.nn=... is for a backend that is not asked", "asked: numpy")),
        (("--time-limit", "0"), ("--time-limit 0", "give numbers above 0")),
        (("--time-limit", "nan"), ("--time-limit nan",)),
        (("--memory-limit", "-1"), ("--memory-limit -1",)),
    ],
    ids=lambda value: " ".join(value) if "--" in value[0] else "",
)
def test_settings_that_make_no_sense(arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path) -> None:
    """One line says what is wrong, exit status 2, and nothing is judged."""
    bnconform(tmp_path, "--backend", "numpy", *arguments, "--json", "result.json").assert_refused(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_be_named_with_or_without_its_class() -> None:
    """And a backend for its variants; what is neither is refused."""
    for name in ("a.py", "a.py:Mine", "torch.nn"):
        settings(1, 0, [f"{name}={sys.executable}"]).check_names(["a.py:Mine", "torch.nn+lazy"])
    with pytest.raises(BackendError, match=r"--python a=\.\.\. is for .* asked here; asked: a\.py:Mine"):
        settings(1, 0, [f"a={sys.executable}"]).check_names(["a.py:Mine"])


def test_identify_refuses_it_too(tmp_path: Path) -> None:
    """What would be measured here and not where it was meant to be."""
    answer = bnconform(tmp_path, "identify", "--backend", "numpy", "--python", f"nump={sys.executable}")
    answer.assert_refused("--python nump=... is for a backend that is not asked here")
