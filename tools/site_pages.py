"""A hook of MkDocs: the pages of the site that are made from the code and from the repository's root.

* the front page is README.md; CONTRIBUTING.md, RELEASING.md and CHANGELOG.md get a page each;
* one page of API reference for every public module;
* one page for every command, from its own parser, and one for the options of each `ctc_type`.
"""

import argparse
import importlib
import posixpath
import re
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = "espnet_ottc"
# Pages of the repository's root, and where the site has them.
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md",
    "CHANGELOG.md": "changelog.md",
}
ROOMS = {
    "ops": "The loss and what belongs to it",
    "nn": "The head for a model of one's own",
    "alignment": "Aligners, formats and metrics",
    "aligner": "The aligner for recordings",
    "espnet": "ESPnet",
    "corpora": "Corpora",
    "synthesis": "Synthetic corpora",
    "recipe": "Recipes",
    "report": "Reports",
    "utils": "Utilities",
    "bin": "Commands",
}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation."""
    nav = config.nav or []
    api = [
        {title: [page_of(name) for name in public_modules(room)]}
        for room, title in ROOMS.items()
        if (ROOT / PACKAGE / room).is_dir()
    ]
    for entry in nav:
        if isinstance(entry, dict) and "Reference" in entry:
            commands = [f"reference/commands/{name}.md" for name in commands_of_the_package()]
            entry["Reference"] += [
                "reference/criteria.md",
                "reference/recipes.md",
                {"Command lines": commands},
                {"Python": [page_of(PACKAGE), *api]},
            ]
    about = [
        page for name, page in ROOT_PAGES.items() if name != "README.md" and (ROOT / name).exists()
    ]
    config.nav = [*nav, {"About": about}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, page in ROOT_PAGES.items():
        if (ROOT / name).exists():
            text = (ROOT / name).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=relinked(text, name, page)))
    for name in public_modules():
        text = f"# `{name}`\n\n::: {name}\n"
        files.append(File.generated(config, page_of(name), content=text))
    for name, module in commands_of_the_package().items():
        text = command_page(name, module)
        files.append(File.generated(config, f"reference/commands/{name}.md", content=text))
    files.append(File.generated(config, "reference/criteria.md", content=criteria_page()))
    files.append(File.generated(config, "reference/recipes.md", content=recipe_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Send links that leave docs/ to the page that the site has instead."""
    uri = page.file.src_uri
    if uri == "reference/index.md":
        markdown += list_of_reference()
    return relinked(markdown, f"docs/{uri}", uri) if (ROOT / "docs" / uri).exists() else markdown


def relinked(markdown: str, source: str, page: str) -> str:
    """Markdown of the repository's file `source` with the links that the site's `page` needs.

    A link to a file that the site has no page of becomes its text alone.
    """

    def replace(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in ROOT_PAGES:
            within = ROOT_PAGES[path]
        elif path.startswith("docs/") and (ROOT / path).is_file():
            within = path.removeprefix("docs/")
        else:
            return text if (ROOT / path).exists() else match[0]
        return f"[{text}]({posixpath.relpath(within, posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(replace, markdown)


def public_modules(room: str | None = None) -> list[str]:
    """Dotted names of all modules without a leading underscore, packages before what they hold."""
    found = []
    for path in sorted((ROOT / PACKAGE / (room or "")).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            found.append(".".join(parts))
    return sorted(found)


def list_of_reference() -> str:
    """The generated pages as a list, for the page that introduces them."""
    lines = [
        "",
        "## Commands and options",
        "",
        "* [Options of every `ctc_type`](criteria.md)",
        "* [Options of the recipes](recipes.md)",
    ]
    lines += [f"* [`{name}`](commands/{name}.md)" for name in commands_of_the_package()]
    lines += ["", "## Python", ""]
    lines += [
        f"* [`{name}`]({page_of(name).removeprefix('reference/')})" for name in public_modules()
    ]
    return "\n".join(lines) + "\n"


def page_of(module: str) -> str:
    """Where the site has the reference of a module."""
    inner = module.removeprefix(PACKAGE).lstrip(".")
    return f"reference/api/{inner or PACKAGE}.md"


def commands_of_the_package() -> dict[str, str]:
    """The commands with the module that each runs: console scripts, then modules without one."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    scripts = dict(re.findall(r'^(ottc-[\w-]+) = "([\w.]+):main"$', text, flags=re.MULTILINE))
    modules = {
        name.rpartition(".")[2]: name
        for name in public_modules("bin")
        if name not in scripts.values() and _is_command(ROOT / f"{name.replace('.', '/')}.py")
    }
    return scripts | modules


def _is_command(path: Path) -> bool:
    """Whether a module of `bin` can be run, and is not one that the commands share."""
    return path.exists() and '__name__ == "__main__"' in path.read_text(encoding="utf-8")


class _Captured(Exception):  # noqa: N818
    """Carries the parser of a command that was about to read its arguments."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(command: Callable[[], object]) -> argparse.ArgumentParser:
    """The parser that a command reads its arguments with; parsers without --help are passed by.

    Raises:
        RuntimeError: the command never parsed arguments.
    """
    original = argparse.ArgumentParser.parse_known_args

    def capture(parser: argparse.ArgumentParser, *given: Any, **named: Any) -> Any:
        if parser.add_help:
            raise _Captured(parser)
        return original(parser, *given, **named)

    argparse.ArgumentParser.parse_known_args = capture  # type: ignore[method-assign,assignment]
    try:
        command()
    except _Captured as captured:
        return captured.parser
    finally:
        argparse.ArgumentParser.parse_known_args = original  # type: ignore[method-assign]
    raise RuntimeError("the command never parsed its arguments")


def recipe_page() -> str:
    """The options of every recipe: those of the first one, then what is different in the others."""
    from espnet_ottc.recipe.corpora import CORPORA
    from espnet_ottc.recipe.options import parse

    lines = ["# Options of the recipes", "", "What `./run.sh` of a recipe takes.", ""]
    shown: set[str] = set()
    for name in ("librispeech", *(name for name in CORPORA if name != "librispeech")):
        parser = parser_of(lambda name=name: parse(["--corpus", name, "--help"]))  # type: ignore[misc]
        rows = [row for row in option_table(parser)[2:] if row not in shown]
        shown.update(rows)
        title = f"## {name}" if name == "librispeech" else f"## {name}: what is different"
        lines += [title, "", *option_table(parser)[:2], *rows, ""]
    return "\n".join(lines)


def command_page(name: str, module: str) -> str:
    """One command: what it does, how it is called, and a table of its options."""
    parser = parser_of(lambda: importlib.import_module(module).main(["--help"]))
    known = espnet_options(module)
    described = (parser.description or "").replace("%(prog)s", name).strip()
    if known:
        described = (sys.modules[module].__doc__ or "").partition("\n\n")[0]
    lines = [f"# {name}", ""]
    lines += ["```text", described, "```", ""] if "\n" in described else [described, ""]
    lines += [f"`python -m {module}` is the same command.", ""]
    if known:
        lines += [
            "Every option of ESPnet's own command is taken.  Those of the criteria stand in `ctc_conf`"
        ]
        lines += ["([all of them](../criteria.md)).  These are added:", ""]
    if name == "ottc-recipe":
        lines += ["The options of `run` are those of [the recipes](../recipes.md).", ""]
    lines += option_table(parser, known)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                lines += ["", f"## {name} {word}", "", *option_table(inner)]
    return "\n".join(lines) + "\n"


def option_table(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> list[str]:
    """The options as the lines of a table; none where there are none."""
    rows = [
        _row(action)
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        and action.dest not in ("help", *without)
        and not isinstance(action, argparse._SubParsersAction)
    ]
    return ["| option | default | meaning |", "|---|---|---|", *rows] if rows else []


def espnet_options(module: str) -> set[str]:
    """Names of the options that ESPnet's own command of that name has; none for our commands."""
    if module.rpartition(".")[2] not in ("asr_train", "asr_inference"):
        return set()
    from espnet2.bin import asr_inference
    from espnet2.tasks.asr import ASRTask

    train = module.endswith("asr_train")
    parser = ASRTask.get_parser() if train else asr_inference.get_parser()
    return {action.dest for action in parser._actions}


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{action.dest}`"
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if action.choices is not None:
        value = " / ".join(str(choice) for choice in action.choices)
    if action.option_strings and action.nargs != 0 and value:
        shown = " ".join(value) if isinstance(value, tuple) else value
        names += f" `{shown}`"
    plain = (
        action.default in (None, argparse.SUPPRESS) or action.default is False or action.nargs == 0
    )
    default = "" if plain else f"`{action.default}`"
    meaning = re.sub(r"\s*\(?default: %\(default\)s\)?", "", action.help or "")
    meaning = meaning.replace("%(default)s", str(action.default)).replace("%%", "%")
    return "| " + " | ".join(_cell(text) for text in (names, default, meaning)) + " |"


def criteria_page() -> str:
    """The options of every `ctc_type`, from the dataclasses that check them."""
    from espnet_ottc.espnet.criteria.options import OPTIONS, describe_options
    from espnet_ottc.espnet.transfer.options import TransferOptions

    lines = [
        "# Options of the criteria",
        "",
        "They stand in `ctc_conf` beside `ctc_type`.  An unknown name is an error that suggests the nearest",
        "known one.  [Training in ESPnet](../howto/espnet.md) says when to use which.",
        "",
    ]
    for ctc_type, kind in OPTIONS.items():
        lines += [f"## ctc_type: {ctc_type}", ""]
        rows = list(_option_rows(describe_options(kind)))
        lines += (
            ["| option | default | meaning |", "|---|---|---|", *rows] if rows else ["No options."]
        )
        lines.append("")
    lines += ["## transfer_conf", "", "They stand in `model_conf: {transfer_conf: ...}`, with", ""]
    lines += ["`postencoder: linguistic_adapter` ([what they do](../unbalanced.md)).", ""]
    lines += ["| option | default | meaning |", "|---|---|---|"]
    lines += [*_option_rows(describe_options(TransferOptions)), ""]
    return "\n".join(lines)


def _option_rows(described: list[tuple[str, Any, str]]) -> Iterator[str]:
    for name, default, meaning in described:
        shown = (
            "null"
            if default is None
            else str(default).lower()
            if isinstance(default, bool)
            else default
        )
        yield "| " + " | ".join(_cell(text) for text in (f"`{name}`", f"`{shown}`", meaning)) + " |"


def _cell(text: str) -> str:
    """Text that a table's cell holds: one line, bars and angle brackets as they are read."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(
        piece if piece.startswith("`") else piece.replace("<", "&lt;") for piece in pieces
    )
