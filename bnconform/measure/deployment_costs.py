"""What it costs to judge the tools that deploy models: each by a run of its own, and the everyday selection whole.

Seconds of the clock tell little on a machine that others use; seconds of the processor, of all processes of a run
together, tell more. The tool's own share is what passes inside its calls, of the seconds of the clock.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnconform.errors import UserError
from bnconform.execution.selection import TOOLS

SCHEMA = "bnconform/deployment-costs/1"
FILE = "deployment_costs.json"

BEGIN, END = "<!-- costs: bnconform deploy --costs -->", "<!-- end of costs -->"
"""What the tables stand between in a page."""

PROCESSES = 2
"""Worker processes of the run of the everyday selection."""


@dataclass(frozen=True)
class Cost:
    """What one run cost.

    Attributes:
        asked: what --backend was given. checks: how many were made. wall, cpu: seconds of the clock, and of the
            processor in all processes. own: those of the clock inside the tools' own calls, all processes together.
        load: how many processes wanted the machine when it began.
    """

    asked: str
    checks: int
    wall: float
    cpu: float
    own: float
    load: float

    @property
    def share(self) -> float:
        """The part of the clock's time that is the tool's own."""
        return self.own / self.wall


def measure(asked: str, dtype: str, processes: int = 0) -> tuple[Cost, dict[str, str]]:
    """(cost, versions of packages) of judging a tool, or the everyday selection, in one dtype.

    Raises:
        UserError: where the run cannot be carried out.
    """
    with tempfile.TemporaryDirectory(prefix="bnconform-") as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, "-m", "bnconform", "--backend", asked, "--dtype", dtype, "--json", str(path)]
        command += ["-n", str(processes)] if processes else []
        load, before, begin = os.getloadavg()[0], _processor(), time.perf_counter()
        ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=_environment(), check=False)
        wall, cpu = time.perf_counter() - begin, _processor() - before
        if not path.is_file():
            words = " ".join((ran.stderr or ran.stdout).split())[-300:]
            raise UserError(f"{asked} could not be judged: {words}")
        found = json.loads(path.read_text(encoding="utf-8"))
    own = sum(one["seconds"] for one in found["environment"]["backends"].values())
    numbers = (round(value, 1) for value in (wall, cpu, own, load))
    return Cost(asked, int(found["completion"]["finished"]), *numbers), found["environment"]["packages"]


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    """The environment of this process, with which the package that runs here is found from another folder."""
    here = [place for place in sys.path if place]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(here), "PYTHONSAFEPATH": "1"}


def data(costs: Sequence[Cost], everyday: Cost | None, dtype: str, packages: Mapping[str, str]) -> dict[str, Any]:
    """What was measured, JSON-ready."""
    return {
        "schema": SCHEMA, "dtype": dtype, "processors": os.cpu_count() or 1, "packages": dict(packages),
        "tools": [asdict(one) for one in costs], "everyday": None if everyday is None else asdict(everyday),
        "processes": PROCESSES,
    }  # fmt: skip


def table(found: Mapping[str, Any]) -> str:
    """What was measured as Markdown."""
    lines = [
        f"Measured in {found['dtype']} on {found['processors']} processors, each tool alone in a run of its own, "
        "import and judgement included.",
        "",
        "| tool | checks | s, clock | s, processor | the tool's own | load |",
        "|---|---|---|---|---|---|",
    ]
    most = found["processors"]
    lines += [_row(f"`{one['asked']}`", Cost(**one), most) for one in found["tools"]]
    if found["everyday"] is not None:
        name = f"`--backend {TOOLS} -n {found['processes']}`"
        lines.append(_row(name, Cost(**found["everyday"]), most, parallel=True))
    return "\n".join(lines)


def _row(name: str, cost: Cost, most: int, *, parallel: bool = False) -> str:
    """A row; without what the clock says where more processes than there are processors wanted the machine."""
    if cost.load > most:
        return f"| {name} | {cost.checks} | | {cost.cpu:.0f} | | {cost.load:.0f} |"
    own = f"{cost.own:.0f} s, of all processes" if parallel else f"{100 * cost.share:.0f} %"
    return f"| {name} | {cost.checks} | {cost.wall:.0f} | {cost.cpu:.0f} | {own} | {cost.load:.0f} |"


def with_table(page: str, found: Mapping[str, Any]) -> str:
    """A page with the table in its place.

    Raises:
        UserError: where it has none.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UserError(f"the page has no place for the table, between {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{table(found)}\n{END}{tail}"
