"""What becomes of many results: the files of a site, gathered and written.

Here the catalogue, the findings and the tables are gathered and handed to `site` as plain data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnconform import backends
from bnconform.backends import registry
from bnconform.render import report_files
from bnconform.render.findings_page import FindingText, body
from bnconform.results import findings, kill_matrix, porting_list
from bnconform.results.files import FileError, make_folder, write
from bnconform.results.result import Result
from bnconform.results.timeline import timelines
from bnconform.spec.catalogue import FOLDING

FINDINGS = Path(backends.__file__).with_name("findings")


def check(out: Path) -> None:
    """Refuse a folder that is not for a site, before anything is read.

    Raises:
        FileError: in one line, saying what to do.
    """
    from bnconform.render.site import MARKER

    report_files.check_extra("site")
    if out.exists() and not out.is_dir():
        raise FileError(f"cannot write the site {out}: it is not a folder; the folder comes last")
    try:
        filled = out.is_dir() and any(out.iterdir()) and not (out / MARKER).exists()
    except OSError as problem:
        raise FileError(f"cannot write the site {out}: {problem.strerror or problem}") from None
    if filled:
        raise FileError(
            f"cannot write the site {out}: it has files that `bnconform site` did not write; give a folder of its own"
        )


def produce(
    results: Sequence[tuple[str, Result]], out: Path, kills: Path | None = None, table: Path | None = None
) -> list[str]:
    """Write the site, each file whole; the paths of its files within `out`.

    Args:
        results: each with the name of its file. kills: the kill matrix, or that of the package. table: likewise.

    Raises:
        FileError: where a file cannot be written, or read.
    """
    from bnconform.render.site import MARKER, SiteData, site

    chosen = kills or (report_files.KILL_MATRIX if report_files.KILL_MATRIX.is_file() else None)
    data = SiteData(
        timelines=timelines(results, registry.distributions),
        rules=report_files.rules(),
        deployments=FOLDING,
        kills=kill_matrix.read(chosen) if chosen else None,
        porting=porting_list.read(table or report_files.PORTING),
        findings=_findings(),
    )
    files = site(data)
    # The mark comes first: what is broken off can be begun again.
    for name in sorted(files, key=lambda name: name != MARKER):
        make_folder((out / name).parent)
        write(out / name, files[name], "the site's")
    return list(files)


def _findings() -> list[FindingText]:
    return [
        FindingText(one, body((FINDINGS / f"{one.name}.md").read_text(encoding="utf-8")))
        for one in findings.findings(FINDINGS)
    ]
