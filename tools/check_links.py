"""Find dead links in the documents: `python tools/check_links.py`.

Looks at links to files and headings of the repository, in README.md, the other pages at the root and all of
docs/.  Addresses on the web are left alone, so that the check needs no network.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)|(?:src|href)=\"([^\"#]+)\"")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", flags=re.MULTILINE | re.DOTALL)
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
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
