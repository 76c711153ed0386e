"""Find dead references in the documents: `python tools/check_links.py`.

Looks at README.md, the other pages at the root and all of docs/: links to files and headings of the
repository, paths in code marks (`tools/venv.sh`), names of the package (`espnet_ottc.ops.loss.ottc_loss`)
and its commands (`ottc-align`).  Addresses on the web are left alone, so that the check needs no network.
The changelog names what there was, so only its links are looked at.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)|(?:src|href)=\"([^\"#]+)\"")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", flags=re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"\bespnet_ottc(?:\.\w+)+")
_COMMAND = re.compile(r"(?<![\w/.-])ottc-[a-z]+(?:-[a-z]+)*")
_PATH = re.compile(r"`((?:egs2|tools|tests|docs|results|benchmarks|espnet_ottc)/[\w./*-]*)`")
_HEADING = re.compile(r"^#+\s+(.+?)\s*$", flags=re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor of a heading: lower case, no punctuation, hyphens for spaces."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text.lower()).strip())


def anchors(markdown: str) -> set[str]:
    """All anchors of a page."""
    without_code = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in _HEADING.findall(without_code)}


def dead_links(page: Path, root: Path = ROOT) -> list[str]:
    """Links of a page that lead nowhere, one message each."""
    markdown = page.read_text(encoding="utf-8")
    found = []
    for target, anchor, attribute in _LINK.findall(_CODE.sub("", markdown)):
        name = target or attribute
        if "://" in name or name.startswith("mailto:"):
            continue
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            found.append(f"{page.relative_to(root)}: no such file: {name}")
        elif (
            anchor
            and path.suffix == ".md"
            and anchor not in anchors(path.read_text(encoding="utf-8"))
        ):
            found.append(
                f"{page.relative_to(root)}: {name or page.name} has no heading for #{anchor}"
            )
    return found


def dead_names(page: Path, root: Path = ROOT) -> list[str]:
    """Paths, modules and commands that a page mentions and the repository does not have."""
    markdown = page.read_text(encoding="utf-8")
    scripts = set(
        re.findall(r"^(ottc-[\w-]+) = ", (root / "pyproject.toml").read_text(), re.MULTILINE)
    )
    found = [
        f"no such file: {path}" for path in set(_PATH.findall(markdown)) if not any(root.glob(path))
    ]
    found += [
        f"no such name: {name}" for name in set(_NAME.findall(markdown)) if not exists(name, root)
    ]
    found += [
        f"no such command: {name}"
        for name in set(_COMMAND.findall(markdown))
        if name not in scripts
    ]
    return sorted(f"{page.relative_to(root)}: {fault}" for fault in found)


def exists(name: str, root: Path = ROOT) -> bool:
    """Whether a dotted name is a module of the package, or a word of the module that it begins with."""
    path = root
    parts = name.split(".")
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    if parts and (path / f"{parts[0]}.py").exists():
        path /= f"{parts.pop(0)}.py"
    else:
        path /= "__init__.py"
    return not parts or bool(re.search(rf"\b{parts[0]}\b", path.read_text(encoding="utf-8")))


def pages(root: Path = ROOT) -> list[Path]:
    """The documents whose links are checked."""
    return [
        *sorted(root.glob("*.md")),
        *sorted(root.glob("docs/**/*.md")),
        *root.glob("results/*.md"),
    ]


def main() -> int:
    """Check every page; the exit status is 1 where a link is dead."""
    found = [fault for page in pages() for fault in dead_links(page)]
    found += [
        fault for page in pages() if page.name != "CHANGELOG.md" for fault in dead_names(page)
    ]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
