"""ESPnet's token list from transcripts: characters, SentencePiece's BPE, or words.

The list starts with `<blank>` and `<unk>` and ends with `<sos/eos>`, as ESPnet wants it.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet_ottc.alignment.formats import read_text
from espnet_ottc.utils.files import written_aside

BLANK, UNKNOWN, SPACE, ENDS = "<blank>", "<unk>", "<space>", "<sos/eos>"


def write_tokens(
    text: Path, out: Path, *, token_type: str, nbpe: int = 500, bpe_model: Path | None = None
) -> int:
    """Make a token list of a set's transcripts.

    Args:
        text: Kaldi text of the training set.
        out: the list to write.
        token_type: char, bpe or word.
        nbpe: size of a BPE vocabulary.
        bpe_model: SentencePiece's model to write, for BPE.

    Returns:
        The number of tokens.

    Raises:
        ValueError: BPE without a model to write; transcripts that hold nothing, or too little.
    """
    texts = [" ".join(words) for words in read_text(text).values()]
    if token_type == "char":
        found = character_tokens(texts)
    elif token_type == "word":
        found = word_tokens(texts)
    elif bpe_model is None:
        raise ValueError("--token_type bpe needs --bpe_model, the file to write")
    else:
        found = train_bpe(texts, nbpe, bpe_model)
    with written_aside(out) as aside:
        aside.write_text("\n".join(found) + "\n", encoding="utf-8")
    return len(found)


def character_tokens(texts: Iterable[str]) -> list[str]:
    """The characters of the texts, the most frequent first, among ESPnet's special tokens.

    Raises:
        ValueError: no characters.
    """
    counts = Counter(character for text in texts for character in text)
    if not counts:
        raise ValueError("the transcripts hold no characters")
    ordered = sorted(counts, key=lambda character: (-counts[character], character))
    # Single words have no separator, and still their boundary label is one.
    names = list(dict.fromkeys([*(SPACE if c == " " else c for c in ordered), SPACE]))
    return [BLANK, UNKNOWN, *names, ENDS]


def word_tokens(texts: Iterable[str]) -> list[str]:
    """The words of the texts (or phones), the most frequent first, among ESPnet's special tokens.

    Raises:
        ValueError: no words.
    """
    counts = Counter(word for text in texts for word in text.split())
    if not counts:
        raise ValueError("the transcripts hold no words")
    return [BLANK, UNKNOWN, *sorted(counts, key=lambda word: (-counts[word], word)), ENDS]


def train_bpe(texts: Sequence[str], size: int, model: Path) -> list[str]:
    """Train a BPE model of `size` pieces, write it to `model`, and return its token list.

    Raises:
        ValueError: texts for which SentencePiece cannot make so many pieces.
    """
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_prefix=f"{folder}/bpe",
                vocab_size=size,
                model_type="bpe",
                character_coverage=1.0,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise ValueError(
                f"SentencePiece cannot make {size} pieces (--nbpe): {error}"
            ) from error
        with written_aside(model) as aside:
            aside.write_bytes(Path(folder, "bpe.model").read_bytes())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [
        processor.id_to_piece(index)
        for index in range(processor.get_piece_size())
        if not (processor.is_control(index) or processor.is_unknown(index))
    ]
    return [BLANK, UNKNOWN, *pieces, ENDS]
