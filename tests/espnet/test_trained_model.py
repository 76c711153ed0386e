"""A trained model: alignments of cuts, and files of parameters that are refused."""

import pickle
import shutil

import pytest
import torch
from lhotse import CutSet

from espnet_ottc.alignment.aligners import make_aligner
from espnet_ottc.espnet.checkpoints import load_parameters
from espnet_ottc.espnet.forced_alignment import check_alignment_source, write_forced_alignment
from espnet_ottc.espnet.trained_model import TrainedModel


@pytest.fixture(scope="module")
def ottc(lab):
    conf = {"ctc_type": "ottc", "boundary_label": "<word_break>"}
    return TrainedModel(lab.train("aligned", ctc_conf=conf, max_epoch=1))


@pytest.fixture(scope="module")
def ctc(lab):
    return TrainedModel(lab.train("aligned_ctc", ctc_conf={"ctc_type": "builtin"}, max_epoch=1))


def _cuts(lab):
    return list(CutSet.from_file(lab.valid.cuts))


def test_cuts_are_aligned_with_their_texts_by_the_models_own_aligner(lab, ottc):
    cuts = _cuts(lab)
    found = ottc.align(cuts)
    assert list(found.times) == ["viterbi"]
    assert found.texts == lab.valid.texts
    assert found.durations == {cut.id: cut.duration for cut in cuts}
    times = found.times["viterbi"]
    for name, spans in times.words.items():
        assert " ".join(span.symbol for span in spans) == lab.valid.texts[name]
        assert len(found.frame_labels[name]) == int(
            ottc.posteriors([c for c in cuts if c.id == name]).lengths
        )
    assert times.words.keys() | times.infeasible.keys() == lab.valid.texts.keys()


def test_several_aligners_share_a_pass_and_texts_may_come_from_elsewhere(lab, ottc):
    cuts = _cuts(lab)[:3]
    aligners = {"plan": make_aligner("transport"), "search": make_aligner("viterbi")}
    texts = {cuts[0].id: "A", cuts[1].id: "", cuts[2].id: "DA CAB"}
    found = ottc.align(cuts, aligners, text=lambda cut, _: texts[cut.id])
    assert found.texts == texts
    for name in aligners:
        words = {u: [s.symbol for s in spans] for u, spans in found.times[name].words.items()}
        assert words == {u: text.split() for u, text in texts.items()}


def test_what_is_infeasible_has_a_reason_and_no_times(lab, ctc):
    cuts = _cuts(lab)[:2]
    long = cuts[0].id
    texts = {long: "ABCD" * 100, cuts[1].id: "A"}
    aligners = {"forced": make_aligner("torchaudio_ctc")}
    (first, second) = ctc.aligned(cuts, aligners, text=lambda cut, _: texts[cut.id])
    assert first.infeasible["forced"]
    assert not first.words
    assert [span.symbol for span in second.words["forced"]] == ["A"]


def test_a_cut_without_a_text_of_its_own_is_an_error(lab, ottc):
    cut = _cuts(lab)[0]
    cut.supervisions = []
    with pytest.raises(ValueError, match=rf"{cut.id}: a cut must have one supervision"):
        ottc.align([cut])


def test_a_forced_alignment_names_a_token_for_every_frame(lab, ctc, tmp_path):
    cuts = _cuts(lab)
    infeasible, count = write_forced_alignment(
        ctc, cuts, make_aligner("torchaudio_ctc"), tmp_path / "valid"
    )
    assert count == len(cuts)
    lines = [line.split() for line in (tmp_path / "valid" / "ali").read_text().splitlines()]
    assert {line[0] for line in lines} | infeasible.keys() == {cut.id for cut in cuts}
    frames = {cut.id: int(ctc.posteriors([cut]).lengths) for cut in cuts}
    assert all(len(line) - 1 == frames[line[0]] for line in lines)


def test_alignments_for_trainings_come_from_ctc_with_the_same_tokens(lab, ottc, ctc, tmp_path):
    tokens = lab.valid.directory / "tokens.txt"
    check_alignment_source(ctc, tokens)
    with pytest.raises(ValueError, match="needs a model with CTC, this one has OTTC"):
        check_alignment_source(ottc, tokens)
    other = tmp_path / "tokens.txt"
    other.write_text(tokens.read_text().replace("C", "E"))
    with pytest.raises(ValueError, match="token 5 is 'C' there and 'E' here"):
        check_alignment_source(ctc, other)


class _Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_parameters_that_would_run_code_are_refused_before_they_do(lab, ottc, tmp_path, capsys):
    ran, path = tmp_path / "ran", tmp_path / "valid.loss.best.pth"
    torch.save({"ctc.ctc_lo.weight": _Hostile(ran)}, path)
    (tmp_path / "config.yaml").write_text((ottc.directory / "config.yaml").read_text())
    with pytest.raises(ValueError, match="must hold tensors alone"):
        TrainedModel(tmp_path)
    with pytest.raises(SystemExit) as ended:
        lab.decode(tmp_path, "hostile", "--greedy", "true")
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {path}: ")
    with pytest.raises(ValueError, match="must hold tensors alone"):
        lab.train("hostile", "--init_param", str(path), ctc_conf={"ctc_type": "builtin"})
    (lab.folder / "hostile").mkdir(exist_ok=True)
    shutil.copy(path, lab.folder / "hostile" / "checkpoint.pth")
    with pytest.raises(ValueError, match="must hold tensors alone"):
        lab.train("hostile", "--resume", "true", ctc_conf={"ctc_type": "builtin"})
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"no pickle", pickle.dumps([1, 2], protocol=2)])
def test_what_is_no_file_of_parameters_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.pth: "):
        load_parameters(path)
    with pytest.raises(FileNotFoundError, match="gone"):
        load_parameters(tmp_path / "gone.pth")
