"""A training with a null capacity: silence is nobody's, and words have no label between them."""

import json
import re

import pytest
import yaml
from lhotse import CutSet

from espnet_ottc.alignment.metrics import count_edits
from espnet_ottc.alignment.outputs.json_file import read_alignment
from espnet_ottc.bin import align
from espnet_ottc.espnet.trained_model import TrainedModel

CONF = {
    "ctc_type": "ottc",
    "null_capacity": 0.9,
    "null_weight": 2.0,
    "null_after_epoch": 5,
    "unaligned_label": "<word_break>",
    "alpha_kl_weight": 0.03,
    "alpha_roughness_weight": 0.3,
}


@pytest.fixture(scope="module")
def experiment(lab):
    return lab.train("null", ctc_conf=CONF, max_epoch=14)


@pytest.fixture(scope="module")
def recogniser(lab):
    conf = {**CONF, "flat_start_epochs": 9, "null_after_epoch": 10}
    return lab.train("null_longer", ctc_conf=conf, max_epoch=30)


def test_pauses_and_ends_belong_to_no_word(lab, experiment):
    model = TrainedModel(experiment)
    assert (model.null, model.boundary, model.token_list[model.unaligned]) == (0, None, "<space>")
    cuts = list(CutSet.from_file(lab.valid.cuts))
    times = model.align(cuts).times["viterbi"]
    assert not times.infeasible
    for cut in cuts:
        first, second = times.words[cut.id]
        assert f"{first.symbol} {second.symbol}" == lab.valid.texts[cut.id]
        # Pauses have 0.1 to 0.2 s, and a letter ends with 0.03 s of silence.
        assert first.start > 0.05
        assert second.start - first.end > 0.05
        assert cut.duration - second.end > 0.05
        pauses = [span for span in times.tokens[cut.id] if span.symbol == "<space>"]
        assert [(span.start, span.end) for span in pauses] == [(first.end, second.start)]


def test_the_log_has_the_mass_of_the_null_label_and_the_configuration_its_tokens(experiment):
    records = [json.loads(line) for line in (experiment / "epochs.jsonl").read_text().splitlines()]
    masses = [record["train"]["null_mass"] for record in records]
    assert len(masses) == 14
    assert all(0 < mass < 0.9 for mass in masses)
    saved = yaml.safe_load((experiment / "config.yaml").read_text())["ctc_conf"]
    assert saved["unaligned_label"] == "<space>"
    assert saved["boundary_label"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("greedy", ("--greedy", "true")),
        ("viterbi", ("--viterbi", "true")),
        ("beam", ("--ctc_weight", "1.0", "--beam_size", "3")),
    ],
)
def test_every_decoder_finds_the_letters_without_word_breaks(lab, recogniser, name, options):
    found = lab.decode(recogniser, f"null_{name}", *options)
    wanted = {utterance: text.replace(" ", "") for utterance, text in lab.valid.texts.items()}
    assert _error_rate(wanted, found) <= 0.1
    # What is hard is to part equal neighbours: the null label does it, and is silence besides.
    assert _error_rate(_merged(wanted), _merged(found)) <= 0.05


def _error_rate(wanted, found):
    errors = sum(sum(count_edits(wanted[utterance], found[utterance])) for utterance in wanted)
    return errors / sum(map(len, wanted.values()))


def _merged(texts):
    return {utterance: re.sub(r"(.)\1+", r"\1", text) for utterance, text in texts.items()}


def test_the_aligner_for_users_takes_it(lab, experiment, tmp_path):
    cut = next(iter(CutSet.from_file(lab.valid.cuts)))
    cut.save_audio(str(tmp_path / "x.wav"))
    (tmp_path / "x.txt").write_text(lab.valid.texts[cut.id])
    options = ["--model", str(experiment), "--out", str(tmp_path / "out"), "--max-doubtful", "1"]
    assert align.main([str(tmp_path / "x.wav"), *options]) == 0
    (path,) = (tmp_path / "out").rglob("*.json")
    ((first, second),) = (one.words for one in read_alignment(path))
    assert [first.text, second.text] == lab.valid.texts[cut.id].split()
    assert first.start > 0.05
    assert second.start - first.end > 0.05
