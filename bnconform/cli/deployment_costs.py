"""`bnconform deploy --costs`: what it costs to judge each tool that deploys models, measured here."""

from __future__ import annotations

import argparse
import json

from bnconform.backends import registry
from bnconform.cli.parser import suggestion
from bnconform.errors import UserError
from bnconform.execution.selection import TOOLS
from bnconform.measure import deployment_costs
from bnconform.measure.deployment_costs import FILE, PROCESSES, measure
from bnconform.results.files import write

PAGE = "DEPLOYMENTS.md"


def run(known: argparse.Namespace) -> int:
    """Measure the tools that are named, or the everyday ones and their run together; print the table, or write it.

    Raises:
        UserError: for a tool that does not exist, or a run that cannot be carried out.
    """
    tools = _tools(known.tool)
    costs = []
    packages: dict[str, str] = {}
    for asked in [*tools, *(() if known.tool else (TOOLS,))]:
        cost, used = measure(asked, registry.EVERYDAY_DTYPE, PROCESSES if asked == TOOLS else 0)
        print(f"{asked}: {cost.wall:.0f} s, {cost.cpu:.0f} s of the processor", flush=True)
        costs.append(cost)
        packages |= used
    everyday = None if known.tool else costs.pop()
    found = deployment_costs.data(costs, everyday, registry.EVERYDAY_DTYPE, packages)
    print(deployment_costs.table(found))
    if known.into is not None:
        write(known.into / FILE, json.dumps(found, indent=1) + "\n", "what was measured")
        page = known.into / PAGE
        if page.is_file():
            text = page.read_text(encoding="utf-8")
            write(page, deployment_costs.with_table(text, found), "the page")
    return 0


def _tools(given: list[str]) -> list[str]:
    for name in given:
        if name not in registry.DEPLOYMENTS and name != "all":
            raise UserError(f"no tool {name!r}{suggestion(name, registry.DEPLOYMENTS)}; `bnconform list` shows them")
    wanted = [*registry.DEPLOYMENTS] if "all" in given else given or [*registry.EVERYDAY]
    return [name for name in wanted if not registry.missing(registry.DEPLOYMENTS[name])]
