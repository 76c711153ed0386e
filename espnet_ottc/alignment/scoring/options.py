"""Options of both scorers, and what is compared under them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from espnet_ottc.alignment.metrics import pair_by_id
from espnet_ottc.alignment.scoring.dialects import AUTO, DIALECTS, SILENCES, dialect_of
from espnet_ottc.alignment.scoring.folding import Folding
from espnet_ottc.alignment.text.normal import normal_form

if TYPE_CHECKING:
    from typing_extensions import Self

Item = TypeVar("Item")
Pair = tuple[Sequence[Item], Sequence[Item]]


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
        channel: channel of CTM or stm that is read from files; None where an utterance has one.
        hyp_channel: that of the hypothesis, where it is another than the reference's; None takes `channel`.
        encoding: of text files; None is UTF-8, and guessed for TextGrids.
        normalize: form in which words and ids are compared, one of `none`, `nfc` and `loose`
            (`espnet_ottc.alignment.text.normal`).
        dialect: whose symbols for silence and noise are left out, a key of `DIALECTS`; `auto` goes by the
            words.
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
    hyp_channel: str | None = None
    encoding: str | None = None
    normalize: str = "nfc"
    dialect: str = AUTO

    def __post_init__(self) -> None:
        normal_form("", self.normalize)
        if self.dialect != AUTO and self.dialect not in DIALECTS:
            raise ValueError(
                f"dialect must be one of {AUTO}, {', '.join(DIALECTS)}; got {self.dialect!r}"
            )

    @property
    def unit(self) -> str:
        """What is scored: `word`, or with a folding `phone`."""
        return "word" if self.folding is None else "phone"

    def name_of(self, symbol: str) -> str:
        """The name under which a word or phone is compared; empty for one that is left out."""
        name = normal_form(symbol, self.normalize)
        name = name if self.folding is None else self.folding.of(name)
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
            self.named(references),
            self.named(hypotheses),
            missing_is_empty=self.missing_is_empty,
            ignore_extra=self.ignore_extra,
        )

    def named(self, items: Mapping[str, Sequence[Item]]) -> Mapping[str, Sequence[Item]]:
        """The same under ids in normal form.

        Args:
            items: words or spans by utterance id.
        """
        found = {normal_form(name, self.normalize): words for name, words in items.items()}
        # Where two become one, they stay as they are.
        return found if len(found) == len(items) else items

    def settled(
        self, references: Iterable[str], hypotheses: Iterable[str]
    ) -> "tuple[Self, tuple[str, ...]]":
        """The options with the symbols that the words' dialect leaves out, and what a user should know.

        Args:
            references: all words of the references.
            hypotheses: those of the hypotheses.
        """
        sides = {"reference": frozenset(references), "hypothesis": frozenset(hypotheses)}
        notes = []
        skip = list(self.skip)
        for side, words in sides.items():
            dialect = self.dialect
            if dialect == AUTO:
                dialect = "plain" if self.folding is not None else dialect_of(words)
                if dialect != "plain":
                    left = ", ".join(one for one in DIALECTS[dialect] if one in words)
                    notes.append(
                        f"the {side} is read as {dialect}'s: {left} are left out "
                        "(--dialect plain keeps them)"
                    )
            if dialect != "plain":
                skip += [one for one in DIALECTS[dialect] if one not in skip]
        if not self.ignore_case:
            notes += case_notes(sides["reference"], sides["hypothesis"], skip)
        return replace(self, skip=tuple(skip)), tuple(notes)

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


def case_notes(
    references: frozenset[str], hypotheses: frozenset[str], skip: Sequence[str]
) -> list[str]:
    """A note where words of both sides would be the same but for upper and lower case.

    Args:
        references: the words of one side.
        hypotheses: those of the other.
        skip: words that do not count.
    """
    left, right = references - set(skip), hypotheses - set(skip)
    same = len(left & right)
    folded = len({word.casefold() for word in left} & {word.casefold() for word in right})
    if folded >= 2 * max(same, 1) or (folded and not same):
        return [
            f"the two sides share {same} different words, and {folded} if case is ignored: "
            "--ignore_case compares in lower case"
        ]
    return []


class Names(dict[str, str]):
    """The names under which words are compared, found once for each; empty for one that is left out.

    Args:
        options: what is skipped, folded and compared in lower case.
    """

    def __init__(self, options: ScoringOptions) -> None:
        self.options = options
        super().__init__(dict.fromkeys(options.skip, ""))

    def __missing__(self, word: str) -> str:
        name = self[word] = self.options.name_of(word)
        return name

    def are(self, words: Iterable[str]) -> bool:
        """Whether all of these words are compared as they are.

        Args:
            words: or phones, by their names in the files.
        """
        return all(self[word] == word for word in words)

    def of(self, words: Iterable[str]) -> list[str]:
        """The names of those words that are compared, in order.

        Args:
            words: or phones, by their names in the files.
        """
        return list(filter(None, map(self.__getitem__, words)))
