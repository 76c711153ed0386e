"""Token lists from transcripts, as ESPnet reads them."""

import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from espnet2.text.build_tokenizer import build_tokenizer

from espnet_ottc.bin import make_tokens
from espnet_ottc.recipe.tokens import character_tokens, train_bpe, word_tokens


def _text(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"utt{n} {line}\n" for n, line in enumerate(lines)))
    return path


def test_characters_are_ordered_by_frequency_among_the_special_tokens(tmp_path):
    text = _text(tmp_path / "text", ["BEE", "BE A"])
    out = tmp_path / "list" / "tokens.txt"
    assert make_tokens.main(["--text", str(text), "--out", str(out)]) == 0
    assert out.read_text().split("\n")[:-1] == [
        *("<blank>", "<unk>", "E", "B", "<space>", "A", "<sos/eos>")
    ]


def test_words_are_ordered_by_frequency_and_need_no_separator(tmp_path):
    text = _text(tmp_path / "text", ["h# b iy h#", "h# b ae h#"])
    out = tmp_path / "tokens.txt"
    words = ["--text", str(text), "--out", str(out), "--token_type", "word"]
    assert make_tokens.main(words) == 0
    assert out.read_text().split("\n")[:-1] == [
        *("<blank>", "<unk>", "h#", "b", "ae", "iy", "<sos/eos>")
    ]
    assert build_tokenizer("word").text2tokens("h# b ae h#") == ["h#", "b", "ae", "h#"]


def test_a_full_disk_is_an_error_and_leaves_no_half_a_list(tmp_path):
    text = _text(tmp_path / "text", ["THE QUICK BROWN FOX", "JUMPS OVER THE LAZY DOG"])
    out = tmp_path / "list" / "tokens.txt"
    command = [sys.executable, "-m", "espnet_ottc.bin.make_tokens"]
    # No file may grow beyond this: what a disk does that has no more room.
    done = subprocess.run(
        [*command, "--text", str(text), "--out", str(out)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(out.parent.iterdir()) == []


def test_no_words_are_an_error():
    with pytest.raises(ValueError, match="hold no words"):
        word_tokens(["", ""])


def test_single_words_still_have_a_separator():
    assert character_tokens(["A", "A"]) == [*("<blank>", "<unk>", "A", "<space>", "<sos/eos>")]


def test_bpe_has_as_many_pieces_as_asked_and_espnet_reads_its_model(tmp_path):
    random.seed(0)
    words = ["RED", "READ", "DARE", "DREAD", "ADDER"]
    lines = [" ".join(random.choices(words, k=6)) for _ in range(50)]
    model = tmp_path / "bpe.model"
    tokens = train_bpe(lines, 12, model)
    assert tokens[:2] == ["<blank>", "<unk>"]
    assert tokens[-1] == "<sos/eos>"
    # SentencePiece counts <unk>, <s> and </s> among its 12.
    assert len(tokens) == 12
    assert "▁" in tokens
    pieces = build_tokenizer("bpe", bpemodel=str(model)).text2tokens("RED DARE")
    assert set(pieces) <= set(tokens)


@pytest.mark.parametrize("size", [10, 14, 20])
@pytest.mark.parametrize("lines", [["RED DARE", "READ ADDER"] * 9, ["RED", "READ", "ADDER"] * 9])
def test_sentencepieces_word_mark_is_a_token_whatever_it_merged(tmp_path, lines, size):
    tokens = train_bpe(lines, size, tmp_path / "bpe.model")
    assert len(tokens) == size
    assert "▁" in tokens


def test_a_vocabulary_that_cannot_be_is_one_line_and_status_1(tmp_path, capsys):
    text = _text(tmp_path / "text", ["A B"])
    words = ["--text", str(text), "--out", str(tmp_path / "t"), "--token_type", "bpe"]
    assert make_tokens.main(words) == 1
    assert "needs --bpe_model" in capsys.readouterr().err
    assert make_tokens.main([*words, "--bpe_model", str(tmp_path / "m"), "--nbpe", "5000"]) == 1
    assert "--nbpe" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "m").exists()
