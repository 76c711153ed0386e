"""Measure the sentences of the documents: `python tools/check_prose.py [FILE ...]`.

The rule (docs/style.md): in each file the mean sentence has under 20 words, and no sentence has more than
40.  Code, formulas, headings and tables are no prose; the sentences of a table's cells have the upper limit
alone.  Without FILE: README.md, CONTRIBUTING.md, RELEASING.md and every page of docs/.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEAN_LIMIT = 20.0
SENTENCE_LIMIT = 40

_FENCE = re.compile(r"^\s*(```|~~~)")
_NO_PROSE = re.compile(r"^(#|:::|\[[^\]]+\]:|!\[|---\s*$)")
_ITEM = re.compile(r"^\s*([*+-]|\d+\.)\s+")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|et al|vs|cf|Eq|Eqs|No|approx)\.", re.IGNORECASE)
_END = re.compile(r"(?<=[.!?])[)\"'*_]*\s+(?=[^a-z\s])|(?<=[.!?])\s*$")
_WORD = re.compile(r"[^\W_]")


@dataclass(frozen=True)
class Sentence:
    """A sentence, the line its paragraph starts on, and whether it stands in a table."""

    text: str
    line: int
    in_table: bool

    @property
    def words(self) -> int:
        """How many words it has; a piece of code or a link's text counts as it reads."""
        return sum(1 for word in self.text.split() if _WORD.search(word))


def plain(text: str) -> str:
    """Markdown without its marks: links become their text, code one word, comments nothing."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`", "CODE", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<https?:[^>]*>", "LINK", text)
    text = _ABBREVIATION.sub(lambda match: match.group(0).replace(".", ""), text)
    return re.sub(r"\*\*|__", "", text)


def paragraphs(markdown: str) -> Iterator[tuple[int, str, bool]]:
    """The prose: (first line, text, whether it is a table's cell) of each paragraph, list item or cell."""
    start, lines = 0, list[str]()
    in_code = in_comment = False
    blank_before = True
    for number, line in enumerate([*markdown.splitlines(), ""], start=1):
        fence = bool(_FENCE.match(line))
        in_comment = (in_comment or "<!--" in line) and "-->" not in line
        formula = line.startswith("    ") and blank_before and not lines
        table = line.lstrip().startswith("|")
        breaks = (
            not line.strip() or fence or in_code or table or formula or bool(_NO_PROSE.match(line))
        )
        if lines and (breaks or _ITEM.match(line)):
            yield start, " ".join(lines), False
            lines = []
        if table and not in_code:
            for cell in line.strip().strip("|").split(" | "):
                yield number, cell, True
        if not breaks and not in_comment and not line.strip().startswith("<!--"):
            if not lines:
                start = number
            lines.append(_ITEM.sub("", line).strip().lstrip("> "))
        # A formula's further lines are formulas, too.
        blank_before = not line.strip() or formula
        in_code ^= fence


def sentences(markdown: str) -> list[Sentence]:
    """All sentences of a page, in order."""
    found = []
    for line, text, in_table in paragraphs(markdown):
        for piece in _END.split(plain(text)):
            sentence = Sentence(piece.strip(), line, in_table)
            if sentence.words:
                found.append(sentence)
    return found


def faults(name: str, markdown: str) -> list[str]:
    """What breaks the rule, one message each."""
    every = sentences(markdown)
    found = [
        f"{name}:{sentence.line}: {sentence.words} words, at most {SENTENCE_LIMIT} are allowed: "
        f"{sentence.text[:90]}..."
        for sentence in every
        if sentence.words > SENTENCE_LIMIT
    ]
    lengths = [sentence.words for sentence in every if not sentence.in_table]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    if mean >= MEAN_LIMIT:
        found.append(
            f"{name}: {mean:.1f} words a sentence on average, the rule is under {MEAN_LIMIT:g}"
        )
    return found


def pages() -> list[Path]:
    """The documents to which the rule applies."""
    tops = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "RELEASING.md")]
    return [path for path in tops if path.exists()] + sorted((ROOT / "docs").rglob("*.md"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the files; the exit status is 1 where one breaks the rule."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments).files or pages()
    found = [
        fault
        for path in chosen
        for fault in faults(str(path).removeprefix(f"{ROOT}/"), path.read_text(encoding="utf-8"))
    ]
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
