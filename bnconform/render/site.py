"""A static site about many results: pages that link to each other by relative addresses, and need nothing else.

It works from a folder as it does from a server: no page asks for anything, and none has a script. The address of a page
is made of what it is about, so that links stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from bnconform.render import badge, history_text, porting_pages
from bnconform.render.cards import Card, cards
from bnconform.render.evidence import environment
from bnconform.render.findings_page import FindingText
from bnconform.render.heat_map import heat_map
from bnconform.render.markup import html_of, https, render
from bnconform.render.matrix import LETTERS
from bnconform.render.page import KINDS, report, summary
from bnconform.render.requirement_view import Rule, kill_rows, section, with_unknown, wrong_row
from bnconform.render.standing import BAD, GOOD, PART, Standing, standings
from bnconform.results.joining import join
from bnconform.results.kill_matrix import KillMatrix
from bnconform.results.porting_list import find_record, porting_list, scripts
from bnconform.results.result import FAILURES, Row, dtype_order
from bnconform.results.timeline import Timeline

ORDER = (BAD, PART, GOOD)
"""The kinds of standing, the worst first."""

LISTED = 12
"""Findings and requirements that the front page lists; the others have a page that lists all."""

MARKER = ".bnconform-site"
"""The file by which a folder is known for a site of ours."""


class SiteData(NamedTuple):
    """What a site is made of.

    Attributes:
        timelines: by implementation. rules: the catalogue, in its order. deployments: the title of the chapter that
            tools which deploy models are asked, and no layer.
        kills: the kill matrix, or None. porting: the porting table. findings: the worst first.
    """

    timelines: Mapping[str, Timeline]
    rules: Sequence[Rule]
    deployments: str
    kills: KillMatrix | None
    porting: Mapping[str, Any]
    findings: Sequence[FindingText]


def slug(name: str) -> str:
    """What a page or badge about something is called; different for different names."""
    kept = re.sub(r"[^A-Za-z0-9._+-]", "_", name)[:80].lstrip(".")
    if kept == name and name not in ("", "index"):
        return kept
    return f"{kept}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def site(data: SiteData) -> dict[str, str]:
    """All files, by their paths."""
    return _Site(data).files()


class _Implementation(NamedTuple):
    """What several pages say of one implementation."""

    name: str
    slug: str
    standing: Standing
    badge: tuple[str, str]
    label: str
    started: str
    package: str
    deploys: bool


class _Site:
    """The pages, and what they share."""

    def __init__(self, data: SiteData) -> None:
        self.data = data
        lines = [(name, one.current) for name, one in data.timelines.items()]
        self.rows = tuple(row for _, result in lines for row in result.rows)
        whole = join(lines) if lines else None
        self.rules = with_unknown(whole, data.rules) if whole else list(data.rules)
        self.slugs = {rule["id"]: slug(rule["id"]) for rule in self.rules}
        found = [self._implementation(name, one) for name, one in data.timelines.items()]
        self.implementations = sorted(found, key=lambda one: (ORDER.index(one.standing.kind), one.name))
        judged = set(data.timelines)
        self.findings = [one for one in data.findings if judged & set(one.finding.rows)]
        self.known = [name for name in data.porting["cards"] if name in judged]

    def _implementation(self, name: str, one: Timeline) -> _Implementation:
        standing = next(iter(standings(one.current, cards(one.current))))
        chapters = {rule["id"]: rule["chapter"] for rule in self.rules}
        deploys = all(chapters.get(row.requirement) == self.data.deployments for row in one.current.rows)
        words = badge.words(one.current)
        return _Implementation(name, slug(name), standing, words, one.label, one.started, one.package, deploys)

    def files(self) -> dict[str, str]:
        """Every file."""
        found = {"index.html": self.front(), MARKER: "Written by `bnconform site`.\n", ".nojekyll": ""}
        for one in self.implementations:
            current = self.data.timelines[one.name].current
            found[f"implementations/{one.slug}.html"] = self.implementation(one)
            found[f"badges/{one.slug}.svg"] = badge.as_svg(current)
            found[f"badges/{one.slug}.json"] = badge.as_json(current)
        found["requirements/index.html"] = self.requirements()
        by_rule: dict[str, list[Row]] = {}
        for row in self.rows:
            by_rule.setdefault(row.requirement, []).append(row)
        for rule in self.rules:
            found[f"requirements/{self.slugs[rule['id']]}.html"] = self.requirement(rule, by_rule.get(rule["id"], []))
        if self.findings:
            found["findings/index.html"] = self.finding_list()
            found |= {f"findings/{one.finding.name}.html": self.finding(one) for one in self.findings}
        if self.known:
            found |= self.porting()
        if self.data.kills:
            found["kill-matrix.html"] = self.kill_matrix(self.data.kills)
        return found

    # -- links ---------------------------------------------------------------------------------------------------------

    def to_implementations(self, up: str) -> dict[str, str]:
        """Where each implementation has its page."""
        return {one.name: f"{up}implementations/{_quote(one.slug)}.html" for one in self.implementations}

    def to_requirements(self, up: str) -> dict[str, str]:
        """Where each requirement has its page."""
        return {name: f"{up}requirements/{_quote(own)}.html" for name, own in self.slugs.items()}

    def show(self, template: str, up: str, title: str, crumbs: Sequence[tuple[str, str]], **words: Any) -> str:
        """A page.

        Args:
            up: the way from the page to the front page, such as "../". crumbs: what stands above it, with their
                addresses, the front page first.
        """
        places = [
            ("Implementations", f"{up}index.html#implementations"),
            ("Requirements", f"{up}requirements/index.html"),
            *([("Findings", f"{up}findings/index.html")] if self.findings else []),
            *([("Porting", f"{up}porting/index.html")] if self.known else []),
            *([("Kill matrix", f"{up}kill-matrix.html")] if self.data.kills else []),
        ]
        return render(
            template,
            {
                "title": title, "up": up, "crumbs": crumbs, "places": places,
                "to_implementations": self.to_implementations(up), "to_requirements": self.to_requirements(up),
                **words,
            },
        )  # fmt: skip

    # -- the front page ------------------------------------------------------------------------------------------------

    def front(self) -> str:
        """Every implementation's standing, one picture of all, and the ways to everything else."""
        links = self.to_requirements("")
        judged = {row.requirement for row in self.rows}
        rules = [rule for rule in self.rules if rule["id"] in judged]
        groups = [
            (title, group, rows)
            for title, deploys in (("Layers", False), ("Tools that deploy models", True))
            if (group := [one for one in self.implementations if one.deploys == deploys])
            and (rows := [row for row in self.rows if row.backend in {one.name for one in group}])
        ]
        parts = [
            {
                "title": title, "implementations": group, "summary": summary(rows),
                "heat_map": heat_map(rows, rules, links, by_dtype=False, names=self.to_implementations("")),
            }
            for title, group, rows in groups
        ]  # fmt: skip
        many = len(self.implementations)
        bad = sum(one.standing.kind == BAD for one in self.implementations)
        return self.show(
            "site_index.html.j2", "", f"BatchNorm conformance of {many} implementation{'' if many == 1 else 's'}", (),
            groups=parts, bad=bad, good=sum(one.standing.kind == GOOD for one in self.implementations), many=many,
            findings=self.findings[:LISTED], all_findings=len(self.findings), failing=self._failing()[:LISTED],
            kills=self.data.kills, updated=max((one.started for one in self.implementations), default=""),
        )  # fmt: skip

    def _failing(self) -> list[tuple[Rule, list[str]]]:
        """The requirements that most implementations fail, each with whose they are, musts first."""
        found = []
        for rule in self.rules:
            who = sorted({
                row.backend for row in self.rows if row.requirement == rule["id"] and row.verdict in FAILURES
            })  # fmt: skip
            if who:
                found.append((rule, who))
        return sorted(found, key=lambda pair: (("must", "should", "may").index(pair[0]["level"]), -len(pair[1])))

    # -- an implementation ---------------------------------------------------------------------------------------------

    def implementation(self, one: _Implementation) -> str:
        """Verdicts, causes, findings, semantics, and what became of it over the versions."""
        line = self.data.timelines[one.name]
        judged = {row.requirement for row in line.current.rows}
        rules = [rule for rule in self.rules if rule["id"] in judged]
        said = report(line.current, rules, self.to_requirements("../"), None)
        for found in said["cards"]:
            found["known"] = self._findings_of_card(found["card"])
        return self.show(
            "site_implementation.html.j2", "../", one.name, _above("Implementations", "../index.html#implementations"),
            one=one, **said, findings=[found for found in self.findings if one.name in found.finding.rows],
            profile=self._profile(one.name), port=self._port(one.name), versions=_versions(line),
            changes=_changes(line, self.to_requirements("../")),
            environment=environment(line.current),
            used=[(name, use.calls, f"{use.seconds:.1f}") for name, use in line.current.environment.backends.items()],
        )  # fmt: skip

    def _findings_of_card(self, card: Card) -> list[tuple[str, str]]:
        """The findings that say the same of the implementation: their titles, and where they stand."""
        names = {name for name, _ in card.requirements}
        return [
            (one.finding.title, f"../findings/{one.finding.name}.html")
            for one in self.findings
            if any(
                card.backend in verdict.rows and verdict.verdict in FAILURES and names & set(verdict.requirements)
                for verdict in one.finding.verdicts
            )
        ]

    def _profile(self, name: str) -> Any:
        """What was measured of it, whatever it declares."""
        if name not in self.data.porting["cards"]:
            return ""
        return html_of(
            porting_pages.profile(self.data.porting, name), partial(_porting_link, "../porting/"), name="profile"
        )

    def _port(self, name: str) -> dict[str, str]:
        """Where what is known of carrying it stands."""
        if name not in self.known:
            return {}
        return {
            "framework": f"../porting/{_quote(porting_pages.group(name))}.html",
            "way": f"../porting/{_quote(_way(name))}.html",
        }

    # -- requirements --------------------------------------------------------------------------------------------------

    def requirements(self) -> str:
        """All requirements, chapter by chapter."""
        counts: dict[str, list[int]] = {}
        for rule in self.rules:
            mine = [row for row in self.rows if row.requirement == rule["id"]]
            asked = {row.backend for row in mine if row.verdict != "unsupported"}
            failing = {row.backend for row in mine if row.verdict in FAILURES}
            counts[rule["id"]] = [len(failing), len(asked)]
        chapters = [(name, list(members)) for name, members in groupby(self.rules, key=lambda rule: rule["chapter"])]
        return self.show(
            "site_requirements.html.j2", "../", "Requirements", _above(), chapters=chapters, counts=counts
        )  # fmt: skip

    def requirement(self, rule: Rule, rows: Sequence[Row]) -> str:
        """What it asks for, who does it, and what wrong implementations it fails."""
        dtypes = sorted({row.dtype for row in rows}, key=dtype_order)
        cells = {(row.backend, row.device, row.dtype): row for row in rows}
        places = sorted({(row.backend, row.device) for row in rows}, key=lambda place: _worst(place, rows))
        lines = [(*place, slug(place[0]), [_mark(cells.get((*place, dtype))) for dtype in dtypes]) for place in places]
        found = section(rule, rows, self.data.kills)
        return self.show(
            "site_requirement.html.j2", "../", rule["id"], _above("Requirements", "index.html"), rule=found,
            dtypes=dtypes, lines=lines, legend=[(name, LETTERS[name], KINDS[name]) for name in LETTERS],
            findings=[one for one in self.findings if any(rule["id"] in v.requirements for v in one.finding.verdicts)],
        )  # fmt: skip

    # -- texts ---------------------------------------------------------------------------------------------------------

    def finding_list(self) -> str:
        """All findings about what was judged, the worst first."""
        return self.show("site_findings.html.j2", "../", "Findings", _above(), findings=self.findings)

    def finding(self, one: FindingText) -> str:
        """What a user sees, and lines of the framework alone that show it."""
        return self.show(
            "site_finding.html.j2", "../", one.finding.title, _above("Findings", "index.html"), one=one.finding,
            level=one.level, text=html_of(one.text, https, top=2),
            trackers=[text.partition(": ") if text.startswith("https://") else ("", "", text)
                      for text in one.finding.trackers],
        )  # fmt: skip

    def porting(self) -> dict[str, str]:
        """The table, a page a framework, and one for the ways from each."""
        data = self.data.porting
        groups = porting_pages.groups(data)
        sources = [name for name in data["cards"] if name in self.known and data["spelling"][name]]
        sources += [name for name in data.get("code", {}).get("lines", {}) if name not in sources]
        link = partial(_porting_link, "")
        found = {
            "porting/index.html": self._text(
                "Porting", _above(), porting_pages.index(data), link,
                ways=[(name, f"{_quote(_way(name))}.html") for name in sources],
            )
        }  # fmt: skip
        for name, rows in groups.items():
            text = porting_pages.framework(data, name, rows)
            found[f"porting/{name}.html"] = self._text(name, _above("Porting", "index.html"), text, link)
        return found | {f"porting/{_way(name)}.html": self.ways(name) for name in sources}

    def _text(self, title: str, crumbs: Sequence[tuple[str, str]], text: str, link: Any, **words: Any) -> str:
        """A page of Markdown, without its own heading, which the page has."""
        body = text.partition("\n\n")[2]
        shown = {"ways": (), **words}
        return self.show("site_text.html.j2", "../", title, crumbs, text=html_of(body, link, top=1), **shown)

    def ways(self, source: str) -> str:
        """What there is to do to carry a layer from one implementation to each other that has code."""
        data = self.data.porting
        names = [name for name, words in data["spelling"].items() if words and name != source]
        targets = [name for name in names if "+" not in name or name in data.get("code", {}).get("lines", {})]
        ways = []
        for target in targets:
            programs = scripts(data, source, target)
            text = porting_pages.way(porting_list(data, source, target), data, programs, find_record(data, programs))
            ways.append((target, html_of(text.partition("\n\n")[2], https, top=2, name=f"to {target}, table")))
        return self.show(
            "site_ways.html.j2", "../", f"From {source}", _above("Porting", "index.html"), source=source, ways=ways
        )  # fmt: skip

    def kill_matrix(self, kills: KillMatrix) -> str:
        """What each requirement fails, and each wrong implementation."""
        return self.show(
            "site_kills.html.j2", "", "Kill matrix", _above(up=""), kills=kills, rows=kill_rows(self.rules, kills),
            wrong=[wrong_row(one) for one in kills.wrong],
        )  # fmt: skip


def _quote(name: str) -> str:
    """A slug as a part of an address, of whose letters only one has another meaning in some of them."""
    return name.replace("+", "%2B")


def _way(name: str) -> str:
    return f"from-{name}"


def _above(name: str = "", place: str = "", *, up: str = "../") -> list[tuple[str, str]]:
    """The front page, and what else stands above a page."""
    return [("BatchNorm conformance", f"{up}index.html"), *([(name, place)] if name else [])]


def _porting_link(folder: str, target: str) -> str:
    """Where a link of the porting pages leads on the site."""
    if target.endswith(".md"):
        name = target.rpartition("/")[2].removesuffix(".md")
        return f"{folder}{'index' if name == 'porting' else _quote(name)}.html"
    return https(target)


def _worst(place: tuple[str, str], rows: Iterable[Row]) -> tuple[object, ...]:
    """A sorting key: those that fail come first."""
    mine = [row.verdict in FAILURES for row in rows if row.key[:2] == place]
    return not any(mine), place


def _mark(row: Row | None) -> dict[str, str]:
    if row is None:
        return {"verdict": "", "letter": "", "kind": ""}
    lesser = row.level != "must" and row.verdict not in ("conforms", "unsupported")
    letter = LETTERS[row.verdict]
    return {"verdict": row.verdict, "letter": letter.lower() if lesser else letter,
            "kind": "l" if lesser else KINDS[row.verdict]}  # fmt: skip


def _versions(line: Timeline) -> list[tuple[str, str, Standing]]:
    """The versions, or days, with when each was judged and how it stands, the newest first."""
    found = []
    for release in reversed(line.history.judged):
        assert release.result is not None
        standing = next(iter(standings(release.result, cards(release.result))))
        found.append((release.version, release.result.environment.started[:10], standing))
    return found


def _changes(line: Timeline, links: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every verdict that is another one from a version on, the newest first."""
    return [
        {
            "between": history_text.between(change), "requirement": change.place[2],
            "link": links.get(change.place[2], ""), "where": f"{change.place[0]} {change.place[1]}",
            "words": change.words, "before": history_text.answer(change.first),
            "after": history_text.answer(change.second),
        }
        for change in reversed([*line.history.changes()])
    ]  # fmt: skip
