"""Options of both scorers, and what is compared under them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from espnet_ottc.alignment.metrics import pair_by_id
from espnet_ottc.alignment.scoring.folding import Folding

Item = TypeVar("Item")
Pair = tuple[Sequence[Item], Sequence[Item]]

# Words that some tools write for silence; they are neither right nor wrong.
SILENCES = ("<eps>", "<sil>")


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """What is compared, and how sure the scores are.

    Attributes:
        ignore_case: compare words in lower case.
        skip: words left out on both sides, by their names in the files.
        folding: scores phones, in these classes; None scores words.
        missing_is_empty: an utterance without hypothesis counts as one without words; otherwise it is
            an error.
        ignore_extra: hypotheses without reference are left out; otherwise they are an error.
        level: confidence of the bootstrap intervals, in (0, 1).
        resamples: how many times the bootstrap draws, ≥ 1.
        seed: of the bootstrap.
        tier: TextGrid tier, or the alignment of supervisions, that is read from files.
        channel: CTM channel that is read from files; None where an utterance has one.
    """

    ignore_case: bool = False
    skip: Sequence[str] = SILENCES
    folding: Folding | None = None
    missing_is_empty: bool = False
    ignore_extra: bool = False
    level: float = 0.95
    resamples: int = 1000
    seed: int = 0
    tier: str = "words"
    channel: str | None = None

    @property
    def unit(self) -> str:
        """What is scored: `word`, or with a folding `phone`."""
        return "word" if self.folding is None else "phone"

    def name_of(self, symbol: str) -> str:
        """The name under which a word or phone is compared; empty for one that is left out."""
        name = symbol if self.folding is None else self.folding.of(symbol)
        return name.lower() if self.ignore_case else name

    def pairs(
        self, references: Mapping[str, Sequence[Item]], hypotheses: Mapping[str, Sequence[Item]]
    ) -> dict[str, Pair[Item]]:
        """Pairs of reference and hypothesis by utterance id, in the references' order.

        Args:
            references: words or spans by utterance id.
            hypotheses: likewise.

        Raises:
            ValueError: no reference; an utterance on one side only that no option allows.
        """
        return pair_by_id(
            references,
            hypotheses,
            missing_is_empty=self.missing_is_empty,
            ignore_extra=self.ignore_extra,
        )

    def as_json(self) -> dict[str, Any]:
        """All options as JSON values; the folding by its name."""
        values = asdict(replace(self, folding=None))
        values["folding"] = self.folding and self.folding.name
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def settings(self, names: Sequence[str]) -> dict[str, Any]:
        """Some options as reports have them; the folding's name comes last, under `fold`.

        Args:
            names: which options.
        """
        values = self.as_json()
        return {name: values[name] for name in names} | {"fold": values["folding"]}


def kept(items: Sequence[str], options: ScoringOptions) -> Iterator[str]:
    """The words of an utterance under the names that are compared, in order.

    Args:
        items: words or phones, by their names in the files.
        options: what is skipped, folded and compared in lower case.
    """
    skip = frozenset(options.skip)
    return (name for item in items if item not in skip and (name := options.name_of(item)))
