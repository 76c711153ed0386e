"""The picture of one utterance's alignments."""

import json
from pathlib import Path

import draw_boundaries
import numpy as np
import pytest
import soundfile
from draw_alignment import boundary_error, choose_cut, draw, main, read_alignment
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from espnet_ottc.alignment.formats import write_columns, write_ctm
from espnet_ottc.alignment.spans import Span

pytest.importorskip("matplotlib")

RATE = 8000
WORDS = [Span("ONE", 0.1, 0.4), Span("TWO", 0.5, 0.9)]
# Of three utterances by two models: how late all words are.
LATE = {"ctc": {"a": 0.3, "b": 0.1, "c": 0.2}, "ottc": {"a": 0.01, "b": 0.02, "c": 0.03}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Cuts, and two models as stage 9 leaves them."""
    soundfile.write(tmp_path / "a.wav", 0.1 * np.ones(RATE), RATE)
    items = [AlignmentItem(w.symbol, w.start, round(w.duration, 6)) for w in WORDS]
    cuts = []
    for name in LATE["ctc"]:
        recording = Recording.from_file(tmp_path / "a.wav", recording_id=name)
        words = SupervisionSegment(name, name, 0.0, 1.0, text="ONE TWO", alignment={"word": items})
        cuts.append(MonoCut(name, 0.0, 1.0, 0, [words], recording=recording))
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    for system, late in LATE.items():
        experiment = tmp_path / system / "seed1"
        (experiment / "frames" / "test").mkdir(parents=True)
        (experiment / "frame_grid.json").write_text('{"shift": 0.1, "offset": 0.0}')
        about = json.dumps({"config": f"conf/train_{system}.yaml"})
        (experiment / "provenance.json").write_text(about)
        labels = ["<blank>", "O", "N", "E", "<space>", "T", "W", "O", "O", "<blank>"]
        write_columns(experiment / "frames" / "test" / "labels", dict.fromkeys(late, labels))
        spans = {
            name: [Span(w.symbol, w.start + s, w.end + s) for w in WORDS]
            for name, s in late.items()
        }
        write_ctm(experiment / "align_viterbi" / "test" / "words.ctm", spans)
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    alignments = [str(folder / name / "seed1" / "align_viterbi" / "test") for name in LATE]
    cuts = str(folder / "cuts.jsonl.gz")
    return ["--cuts", cuts, "--alignments", *alignments, *more]


def test_the_median_utterance_of_the_first_model_is_chosen_unless_one_is_named(
    folder: Path,
) -> None:
    alignments = [read_alignment(folder / n / "seed1" / "align_viterbi" / "test") for n in LATE]
    cuts = list(CutSet.from_file(folder / "cuts.jsonl.gz"))
    assert choose_cut(cuts, alignments, None).id == "c"
    assert choose_cut(cuts, alignments, "a").id == "a"
    with pytest.raises(ValueError, match=r"^d: must be at most 10 s long"):
        choose_cut(cuts, alignments, "d")
    assert choose_cut(cuts, alignments, None, words=2).id == "c"
    with pytest.raises(ValueError, match="every utterance: must be"):
        choose_cut(cuts, alignments, None, words=3)


def test_the_error_is_the_mean_over_starts_and_ends() -> None:
    found = [Span("ONE", 0.0, 0.4), Span("TWO", 0.5, 1.2)]
    assert boundary_error(WORDS, found) == pytest.approx((0.1 + 0.3) / 4)


def test_every_row_has_its_words_labels_and_error(folder: Path) -> None:
    alignments = [read_alignment(folder / n / "seed1" / "align_viterbi" / "test") for n in LATE]
    (cut,) = (c for c in CutSet.from_file(folder / "cuts.jsonl.gz") if c.id == "a")
    reference, ctc, ottc = draw(cut, alignments, "made by").axes
    assert [text.get_text() for text in reference.texts] == ["ONE", "TWO"]
    assert ctc.get_ylabel() == "ctc\nerror 300 ms"
    assert ottc.get_ylabel() == "ottc\nerror 10 ms"
    # Runs of one label are one: the two frames of O.
    assert [t.get_text() for t in ctc.texts] == [*"ONETWO", "ONE", "TWO"]
    assert ctc.texts[5].get_position()[0] == pytest.approx(0.8)


def test_the_figure_says_which_models_and_is_the_same_each_time(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "assets" / "alignment.svg"
    assert main(arguments(folder, "--out", str(out))) == 0
    first = out.read_text()
    assert main(arguments(folder, "--out", str(out))) == 0
    assert out.read_text() == first
    assert "c: " in capsys.readouterr().out
    assert main(arguments(folder, "--out", str(out), "--utterance", "d")) == 1
    assert "d: must be" in capsys.readouterr().err
    alignment = read_alignment(folder / "ctc" / "seed1" / "align_viterbi" / "test")
    assert alignment.about == "ctc, seed1, times by viterbi, conf/train_ctc.yaml"


def test_boundaries_of_every_aligner_stand_over_the_spectrogram(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "picture.svg"
    assert draw_boundaries.main([*arguments(folder, "--utterance", "a"), "--out", str(out)]) == 0
    assert "picture.svg: a" in capsys.readouterr().out
    picture = out.read_text()
    assert picture.startswith("<svg")
    for text in ("reference", "ctc", "ottc", "viterbi"):
        assert text in picture
    assert draw_boundaries.main([*arguments(folder), "--out", str(out)]) == 0
    wrong = ["--cuts", str(folder / "cuts.jsonl.gz"), "--alignments", str(folder), "--out", "x"]
    assert draw_boundaries.main(wrong) == 1
    assert "must be <system>/seed<N>/align_<decoder>/<set>" in capsys.readouterr().err
    assert draw_boundaries.main([*arguments(folder, "--utterance", "d"), "--out", str(out)]) == 1
    assert "has no utterance d" in capsys.readouterr().err
