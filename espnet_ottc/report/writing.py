"""Write what an experiment's report is asked for: the short table, the Markdown, the page."""

from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.alignment.scoring.tables import table
from espnet_ottc.report.gathering import gather
from espnet_ottc.report.markdown import render_markdown
from espnet_ottc.report.page import render_page
from espnet_ottc.report.results import group_rows, read_rows, short_table
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import written_aside


@dataclass(frozen=True)
class ReportOptions:
    """What a report is made of, and which parts of it are written.

    Attributes:
        results: files with scores; several, of systems trained apart, make one table.
        expdir: folder of the trainings, for the page.
        data: folder of the sets, for the page's recordings.
        html: file of the page; None: no page.
        markdown: file of the detailed tables; None: no such file.
        details: print the detailed tables instead of the short one.
        utterances: recordings on the page, at least 0.
        audio_limit_mb: MB above which the page has no audio of a recording.
    """

    results: tuple[Path, ...]
    expdir: Path = Path("exp")
    data: Path = Path("data")
    html: Path | None = None
    markdown: Path | None = None
    details: bool = False
    utterances: int = 3
    audio_limit_mb: float = 2.0


def write_report(options: ReportOptions, command: str) -> list[str]:
    """Read the results, print the table, write what the options name.

    Args:
        options: of the report.
        command: that makes it again; the page and the Markdown have it.

    Returns:
        What is missing from the page, a line each.

    Raises:
        OSError, ValueError: results that cannot be read or are malformed.
        MissingExtraError: the page needs a package that is not installed.
    """
    rows = read_rows(*options.results)
    source = ", ".join(map(str, options.results))
    if options.details:
        say(render_markdown(rows, source, command).rstrip("\n"))
    else:
        say(table(short_table(group_rows(rows))))
    if options.markdown is not None:
        _write(options.markdown, render_markdown(rows, source, command))
        say(f"table: {options.markdown}")
    missing: list[str] = []
    if options.html is not None:
        limit = int(1e6 * options.audio_limit_mb)
        sections = gather(rows, options.expdir, options.data, options.utterances, limit)
        _write(options.html, render_page(rows, sections, source, command))
        missing = [f"{part}: {note}" for part, notes in sections.missing.items() for note in notes]
        say(f"report: {options.html}")
    return missing


def _write(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
