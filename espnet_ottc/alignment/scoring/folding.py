"""Foldings: the classes in which phones are scored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.utils.encodings import decoded


@dataclass(frozen=True)
class Folding:
    """Classes of phones, as the 39 of TIMIT's 61 (Lee and Hon 1989, Table I).

    Attributes:
        name: of the folding, for reports.
        classes: phone -> class; empty for a phone that is scored on neither side.
    """

    name: str
    classes: Mapping[str, str]

    def of(self, phone: str) -> str:
        """The class of a phone; a phone that the folding does not have stays what it is."""
        return self.classes.get(phone, phone)


def read_folding(path: Path) -> Folding:
    """Read a folding: a line is a phone and its class, or a phone alone that is not scored.

    Lines that start with `# ` are comments (`h#` is a phone); empty lines are left out.

    Args:
        path: the file, UTF-8.

    Returns:
        The folding; its name is the file's.

    Raises:
        ValueError: a line with more than a phone and its class, or a phone twice.
        OSError: the file cannot be read.
    """
    classes: dict[str, str] = {}
    for number, line in enumerate(decoded(path, "utf-8").splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith("# "):
            continue
        if len(fields) > 2 or fields[0] in classes:
            raise ValueError(f"{path}:{number}: must be a new phone and its class, got {line!r}")
        classes[fields[0]] = fields[1] if len(fields) == 2 else ""
    return Folding(path.name, classes)
