"""backends/README.md: its code is the example's, its commands are run, and its messages are those of the sources."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from bnconform.backends import registry
from bnconform.results.result import read
from bnconform.spec.config import FEATURES
from bnconform.tests.selftest.command import PACKAGE, bnconform
from bnconform.tests.selftest.house.test_readme import appears

ROOT = Path(registry.__file__).parents[1]
README = (ROOT / "backends" / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "backends" / "examples" / "custom_function.py"
SOURCE = EXAMPLE.read_text(encoding="utf-8")
DECLARED = 'deviations: Mapping[str, str] = {"running_variance": "biased"}'


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: textwrap.shorten(block, 30))
def test_code_is_the_examples(block: str) -> None:
    """Every block of Python stands in the example, as it is."""
    assert block in SOURCE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, and with one that declares no deviation."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("readme")
    assert SOURCE.count(DECLARED) == 1
    (folder / "custom_function.py").write_text(SOURCE)
    (folder / "undeclared.py").write_text(SOURCE.replace(DECLARED, "deviations: Mapping[str, str] = {}"))
    return folder


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: " ".join(block.split()[1:5]))
def test_commands_print_what_is_shown(block: str, folder: Path) -> None:
    """Every command prints the lines below it."""
    command, *wanted = block.splitlines()
    program, *arguments = command.removeprefix("$ ").split()
    assert program == "bnconform"
    answer = bnconform(folder, *arguments)
    assert answer.status == int("undeclared" in command), answer.out + answer.err
    assert not list(appears([line for line in wanted if line], answer.out.splitlines()))


def test_example_conforms_but_for_what_it_declares(folder: Path) -> None:
    """The layer and its variant do in the other dtypes what a BatchNorm must do, and should, but for the declared."""
    given = [word for kind in ("CustomFunction", "CustomFunctionChannelsLast") for word in
             ("--backend", f"custom_function.py:{kind}")]  # fmt: skip
    dtypes = [word for dtype in ("float64", "float16", "bfloat16") for word in ("--dtype", dtype)]
    selected = "BN-TRAIN-NORM or BN-EVAL-STATS or BN-RUN-VAR or BN-RUN-NONE or BN-GRAD-INPUT or BN-DTYPE"
    options = ("-k", selected, "--level", "should", "--json", "result.json")
    answer = bnconform(folder, *given, *dtypes, *options)
    assert answer.status == 0, answer.out + answer.err
    rows = read(folder / "result.json").rows
    assert {row.backend for row in rows} == {"custom_function", "custom_function+channels_last"}
    assert {row.requirement for row in rows if row.verdict == "deviates"} == {"BN-RUN-VAR"}
    assert {row.requirement for row in rows if row.verdict == "unsupported"} >= {"BN-RUN-NONE"}
    assert {row.verdict for row in rows} == {"conforms", "deviates", "unsupported"}


def test_intent_is_documented_where_it_is_said_to_be() -> None:
    """The words with which the example justifies its deviation stand in its docstring."""
    docstrings = [ast.get_docstring(node) or "" for node in ast.parse(SOURCE).body if isinstance(node, ast.ClassDef)]
    [quoted] = re.findall(r"custom_function\.py: '(.*?)'", SOURCE)
    assert any(quoted in text for text in docstrings)


def test_features_are_listed() -> None:
    """The features that can be declared unsupported are those of the page, the dtypes as one word."""
    [item] = re.findall(r"\*\*Unsupported\*\* features are (.*?), and the dtypes", README, re.S)
    named = set(re.findall(r"`(\w+)`", item)) | {"rank_3", "rank_4"}
    assert named == FEATURES - {"float64", "float32", "float16", "bfloat16"}


def messages(path: Path) -> list[str]:
    """The string literals of a file, with a dot for each part that is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


SAID_IN = (
    *(
        path
        for room in ("diagnosis", "execution", "judge", "render", "results")
        for path in (PACKAGE / room).glob("*.py")
    ),
    *(ROOT / "backends" / "runner").glob("*.py"),
    ROOT / "backends" / "registry.py",
    PACKAGE / "pytest_plugin.py",
)
SAID = [text for path in SAID_IN for text in messages(path)]
QUOTED = re.findall(r"^\| `+ ?(.*?) ?`+ \| [^|]+ \|$", README, re.M)
"""The messages of the tables, each with `…` for what is filled in."""


@pytest.mark.parametrize("quoted", QUOTED)
def test_messages_are_those_of_the_sources(quoted: str) -> None:
    """Every message of the tables is one that a source can say."""
    assert [text for text in SAID if quoted in text]


def test_every_refusal_of_the_smoke_check_is_explained() -> None:
    """What the smoke check can refuse stands in the table."""
    tree = ast.parse((ROOT / "backends" / "runner" / "smoke.py").read_text(encoding="utf-8"))
    raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and "AdapterError" in ast.unparse(node)]
    lines = {line for node in raised for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    said = [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) and node.lineno in lines
    ]
    said += [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.lineno in lines and " " in node.value
    ]
    whole = [text for text in said if not any(text != other and text in other for other in said)]
    assert len(whole) >= 10
    assert [text for text in whole if not any(quoted in text for quoted in QUOTED)] == ["…() …"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    """Every link into the repository has a target."""
    assert (ROOT / "backends" / target).exists()
