"""The masked language model that teaches: what it learns, from which sentences, and its file."""

import pytest
import torch
from espnet_lab import TOKENS

from espnet_ottc.bin import train_teacher
from espnet_ottc.espnet.transfer.masked_lm import (
    MaskedLM,
    MaskedLMShape,
    MaskedLMTraining,
    load_masked_lm,
    save_masked_lm,
    train_masked_lm,
)
from espnet_ottc.espnet.transfer.teaching_text import TokenMaker, read_sentences

SHAPE = MaskedLMShape(len(TOKENS), size=16, layers=1, heads=2)


def test_it_learns_what_follows_what():
    # Each text goes round the four letters, from one of them on: neighbours tell each letter.
    texts = [[3 + (start + n) % 4 for n in range(12)] for start in range(4)] * 20
    said = []
    training = MaskedLMTraining(steps=120, lr=0.01)
    model, report = train_masked_lm(texts, SHAPE, training, said.append)
    assert report.accuracy > 0.9
    assert report.texts == 76
    assert len(said) == 10
    assert not model.training
    again, same = train_masked_lm(texts, SHAPE, training, said.append)
    assert same == report
    torch.testing.assert_close(again.output.weight, model.output.weight, rtol=0, atol=0)


def test_a_state_depends_on_both_sides_and_not_on_the_padding():
    torch.manual_seed(0)
    model = MaskedLM(SHAPE).eval()
    texts = torch.tensor([[3, 4, 5, 0], [6, 4, 5, 0], [3, 4, 6, 5]])
    lengths = torch.tensor([3, 3, 3])
    states = model.hidden(texts, torch.arange(4) < lengths[:, None])
    for other in (1, 2):
        assert not torch.allclose(states[0, 1], states[other, 1])
    alone = model.hidden(texts[:1, :3], torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(states[:1, :3], alone)
    assert bool(model.hidden(texts, torch.zeros(3, 4, dtype=torch.bool)).isfinite().all())


def test_its_file_gives_it_back_and_other_files_are_refused(tmp_path):
    model, path = MaskedLM(SHAPE), tmp_path / "model.pth"
    save_masked_lm(model, TOKENS, path)
    found, tokens = load_masked_lm(path)
    assert (tokens, found.shape) == (TOKENS, SHAPE)
    torch.testing.assert_close(found.state_dict(), model.state_dict(), rtol=0, atol=0)
    torch.save(model.state_dict(), path)
    with pytest.raises(
        ValueError, match="must be a masked language model that train_teacher wrote"
    ):
        load_masked_lm(path)


def test_sentences_to_leave_out_are_left_out(tmp_path):
    plain, heard, test = (tmp_path / name for name in ("plain", "heard", "test"))
    plain.write_text("A B\n\n C  D \nA B\n")
    heard.write_text("u1 D A\nu2 B\n")
    test.write_text("t1 C D\nt2 B\n")
    assert read_sentences([plain], [heard], [test]) == ["A B", "A B", "D A"]
    with pytest.raises(ValueError, match="no sentence is left to train on: 2 are in"):
        read_sentences([], [test], [test])


def test_tokens_are_those_of_espnet(tmp_path):
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("\n".join(TOKENS) + "\n")
    maker = TokenMaker(tokens, "char")
    assert maker.ids("AB CX") == [3, 4, 2, 5, 1]
    assert maker.unknown([[3, 1], [1, 1]]) == 0.75


def test_a_text_that_is_written_otherwise_is_reported(tmp_path, capsys):
    tokens, text = tmp_path / "tokens.txt", tmp_path / "text"
    tokens.write_text("\n".join(TOKENS) + "\n")
    text.write_text("ab cd\n" * 10)
    words = ["--text", str(text), "--token_list", str(tokens), "--out", str(tmp_path / "out.pth")]
    assert train_teacher.main([*words, "--size", "8", "--heads", "2", "--steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "warning: 80 % of the tokens are unknown" in said
    assert "guessed right" in said
    assert train_teacher.main([*words, "--size", "9"]) == 1
    assert "size must be a multiple of twice the heads" in capsys.readouterr().err
