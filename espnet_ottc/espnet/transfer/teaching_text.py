"""From text to a masked language model: sentences, tokens, training."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from espnet2.text.build_tokenizer import build_tokenizer

from espnet_ottc.alignment.formats import read_transcripts
from espnet_ottc.espnet.transfer.masked_lm import (
    MaskedLMReport,
    MaskedLMShape,
    MaskedLMTraining,
    save_masked_lm,
    train_masked_lm,
)

_UNKNOWN = "<unk>"
# More unknown tokens than these, and the text is likely written otherwise than the transcripts.
_MANY_UNKNOWN = 0.05


class TokenMaker:
    """ESPnet's tokens of a text, as ids.

    Args:
        token_list: file with one token a line.
        token_type: char, bpe or word.
        bpe_model: SentencePiece's model, for bpe.

    Raises:
        OSError: the list cannot be read.
        ValueError: bpe without a model.
    """

    def __init__(self, token_list: Path, token_type: str, bpe_model: Path | None = None) -> None:
        lines = token_list.read_text(encoding="utf-8").splitlines()
        self.tokens = [line.rstrip() for line in lines]
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        self._unknown = self._ids[_UNKNOWN]
        model = None if bpe_model is None else str(bpe_model)
        self._tokenizer = build_tokenizer(token_type, model)

    def ids(self, sentence: str) -> list[int]:
        """Ids of a sentence's tokens."""
        tokens = self._tokenizer.text2tokens(sentence)
        return [self._ids.get(token, self._unknown) for token in tokens]

    def unknown(self, texts: Sequence[Sequence[int]]) -> float:
        """The share of unknown tokens."""
        count = sum(map(len, texts))
        return sum(list(text).count(self._unknown) for text in texts) / max(count, 1)


def read_sentences(
    texts: Sequence[Path], transcripts: Sequence[Path], leave_out: Sequence[Path] = ()
) -> list[str]:
    """Sentences of plain texts and of Kaldi texts, each as often as it occurs.

    Args:
        texts: files with one sentence a line.
        transcripts: Kaldi texts.
        leave_out: Kaldi texts of sentences that are left out.

    Raises:
        OSError, ValueError: a file cannot be read; no sentence is left.
    """
    absent = {sentence for path in leave_out for sentence in _transcripts(path)}
    found = [" ".join(line.split()) for path in texts for line in _lines(path)]
    found += [sentence for path in transcripts for sentence in _transcripts(path)]
    kept = [sentence for sentence in found if sentence and sentence not in absent]
    if not kept:
        raise ValueError(
            f"no sentence is left to train on: {len(found)} are in "
            f"{', '.join(map(str, (*texts, *transcripts))) or 'no file'}, and those to leave out are gone"
        )
    return kept


def train_on_text(
    sentences: Sequence[str],
    maker: TokenMaker,
    out: Path,
    training: MaskedLMTraining,
    *,
    size: int,
    layers: int,
    heads: int,
    say: Callable[[str], None],
) -> MaskedLMReport:
    """Train a model on sentences, write it, and say how well it guesses those that it did not see.

    Args:
        sentences: to learn from.
        maker: of the recogniser's tokens.
        out: file to write.
        training: how long.
        size: of states.
        layers: of the model.
        heads: of its attention.
        say: told of the progress.

    Raises:
        ValueError: sizes that do not fit together, too few sentences.
    """
    texts = [maker.ids(sentence) for sentence in sentences]
    unknown = maker.unknown(texts)
    if unknown > _MANY_UNKNOWN:
        say(
            f"warning: {100 * unknown:.0f} % of the tokens are unknown: is it written as transcripts are?"
        )
    shape = MaskedLMShape(len(maker.tokens), size=size, layers=layers, heads=heads)
    model, report = train_masked_lm(texts, shape, training, say)
    save_masked_lm(model, maker.tokens, out)
    say(
        f"{report.texts} sentences, {report.tokens} tokens seen; of hidden tokens in sentences kept apart "
        f"{100 * report.accuracy:.1f} % are guessed right, {report.nats:.3f} nats each: {out}"
    )
    return report


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file


def _transcripts(path: Path) -> list[str]:
    return [" ".join(words) for words in read_transcripts(path).values()]
