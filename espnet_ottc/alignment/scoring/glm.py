"""Global mapping files (GLM) of NIST: which spellings count as the same, and which words may be missing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.alignment.formats.kaldi import numbered_lines

_RULE = re.compile(r"(?P<left>.+?)\s*=>\s*(?P<right>.*?)\s*(?:/\s*(?P<context>.*))?$")
_ALTERNATIVES = re.compile(r"\{(.*?)\}")


@dataclass(frozen=True)
class GlobalMapping:
    """Rules on words, the longest first.

    Attributes:
        name: of the file, for reports.
        rules: words in lower case, and the words that stand for them; one in parentheses may be missing.
    """

    name: str
    rules: dict[tuple[str, ...], tuple[str, ...]]

    def of(self, words: Sequence[str]) -> list[str]:
        """Words under the mapping; others stay what they are.

        Args:
            words: of an utterance.
        """
        longest = max(map(len, self.rules), default=0)
        found: list[str] = []
        place = 0
        while place < len(words):
            for count in range(min(longest, len(words) - place), 0, -1):
                key = tuple(word.lower() for word in words[place : place + count])
                if key in self.rules:
                    found += self.rules[key]
                    place += count
                    break
            else:
                found.append(words[place])
                place += 1
        return found


def read_glm(path: str | Path) -> GlobalMapping:
    """Read a GLM: a line is `words => words`, with or without brackets, as NIST's `csrfilt` reads them.

    `;;` and `*` open comments.  Of alternatives in braces, `{ a / b }`, the first is taken.  Contexts
    other than the usual `[ ] __ [ ]` are not supported.

    Args:
        path: the file, UTF-8.

    Raises:
        ValueError: a line that is no rule, a context; it names file and line.
        OSError: the file cannot be read.
    """
    path = Path(path)
    rules: dict[tuple[str, ...], tuple[str, ...]] = {}
    for number, line in numbered_lines(path):
        text = line.split(";;")[0].strip()
        if not text or text.startswith("*"):
            continue
        match = _RULE.fullmatch(text)
        # An alternation holds slashes of its own: what follows the last brace is the context.
        if match is not None and "{" in text:
            head, _, tail = text.rpartition("}")
            match = re.fullmatch(r"(?P<left>.+?)\s*=>\s*(?P<right>.*)(?P<context>)", head + "}")
            context = tail.strip().lstrip("/")
        elif match is not None:
            context = match["context"] or ""
        if match is None or re.sub(r"[\[\]\s_]", "", context):
            raise ValueError(
                f"{path}:{number}: a rule is 'words => words' without a context, got {text!r}"
            )
        left = tuple(_bare(match["left"]).lower().split())
        first = _ALTERNATIVES.sub(lambda found: found[1].split("/")[0], match["right"])
        if not left:
            raise ValueError(f"{path}:{number}: a rule needs words to map, got {text!r}")
        rules[left] = tuple(_bare(first).split())
    return GlobalMapping(path.name, rules)


def _bare(text: str) -> str:
    """Words without the brackets that enclose them."""
    return text.strip().removeprefix("[").removesuffix("]")
