"""Knowledge transfer in real trainings on tones: beside every criterion, and gone at inference."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from espnet2.bin import lm_train
from espnet2.tasks.asr import ASRTask
from espnet_lab import HYBRID, TOKENS

from espnet_ottc.bin import asr_train, train_teacher
from espnet_ottc.espnet.model import OTTCASRModel
from espnet_ottc.espnet.transfer.adapter import LinguisticAdapter
from espnet_ottc.espnet.transfer.loss import Transfer
from espnet_ottc.espnet.transfer.masked_lm import load_masked_lm
from espnet_ottc.espnet.transfer.options import TransferOptions, parse_transfer_conf
from espnet_ottc.espnet.transfer.order import frame_positions
from espnet_ottc.espnet.transfer.spelling import Spelling, middles
from espnet_ottc.espnet.transfer.teachers import load_teacher
from espnet_ottc.utils.training_records import read_epochs

SIZE = 16
OTTC = {"ctc_type": "ottc", "boundary_label": "<word_break>"}
CTC = {"ctc_type": "builtin"}
ADAPTER = {"postencoder": "linguistic_adapter", "postencoder_conf": {"linguistic_size": SIZE}}


def transfer(path: Path | None = None, /, **options: object) -> dict:
    """Options of a training with the transfer."""
    conf: dict = {"teacher": "random"} if path is None else {"teacher_path": str(path)}
    return {**ADAPTER, "model_conf": {"ctc_weight": 1.0, "transfer_conf": {**conf, **options}}}


@pytest.fixture(scope="module")
def teacher(lab, tmp_path_factory) -> Path:
    """A masked language model of the tones' texts."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    command = ["--transcripts", str(lab.data["train"].directory / "text"), "--out", str(path)]
    command += ["--token_list", str(lab.valid.directory / "tokens.txt"), "--size", str(SIZE)]
    command += ["--layers", "1", "--heads", "2", "--steps", "30"]
    assert train_teacher.main(command) == 0
    return path


@pytest.fixture(scope="module")
def taught(lab, teacher) -> Path:
    return lab.train(
        "taught", **transfer(teacher, order="plan"), ctc_conf=OTTC, max_epoch=3, keep_nbest_models=3
    )


def parameters(experiment: Path, name: str = "valid.loss.ave.pth") -> dict:
    return torch.load(experiment / name, weights_only=True)


CRITERIA = {
    "builtin": {"ctc_conf": CTC},
    "ottc": {"ctc_conf": {**OTTC, "consistency_weight": 0.2}},
    "ctc_prior": {"ctc_conf": {"ctc_type": "ctc_prior"}},
    "cr_ctc": {"ctc_conf": {"ctc_type": "cr_ctc"}},
    "soft_dtw": {"ctc_conf": {"ctc_type": "soft_dtw"}},
    "hybrid": {"ctc_conf": OTTC, **HYBRID},
    "attention": {"ctc_conf": CTC, **HYBRID},
}
WEIGHTS = {"hybrid": 0.3, "attention": 0.0}


@pytest.mark.parametrize("name", CRITERIA)
def test_the_transfer_trains_beside_every_criterion(lab, name):
    order = "diagonal" if name == "attention" else "plan"
    config = transfer(order=order)
    config["model_conf"]["ctc_weight"] = WEIGHTS.get(name, 1.0)
    experiment = lab.train(f"beside_{name}", **config, **CRITERIA[name], max_epoch=2)
    records = read_epochs(experiment)
    for record in records:
        for part in (record.train, record.valid):
            assert 0 < part["loss_align"] < 2
            assert part["token_mass_least"] == pytest.approx(1, abs=1e-3)
            assert 0 < part["frame_mass_kept"] <= 1
            assert part["uot_residual"] < 0.05
        # Models are chosen by what recognises.
        others = ("loss_ctc", "loss_att")
        known = [record.valid[o] for o in others if record.valid.get(o) is not None]
        assert min(known) - 1e-3 <= record.valid["loss"] <= max(known) + 1e-3
    assert records[1].train["loss_align"] < records[0].train["loss_align"]


def test_a_masked_language_model_teaches_and_is_in_no_checkpoint(lab, taught, teacher):
    own = set(parameters(taught)) - set(parameters(lab.train("bare", ctc_conf=OTTC, max_epoch=1)))
    adapter = LinguisticAdapter(1, SIZE).state_dict()
    assert own == {f"postencoder.{name}" for name in adapter}
    saved = yaml.safe_load((taught / "config.yaml").read_text())
    assert saved["model"] == "ottc"
    # Complete, whatever later defaults will be.
    options = saved["model_conf"]["transfer_conf"]
    assert options.keys() == TransferOptions().__dict__.keys()
    assert options["teacher_path"] == str(teacher)
    network, tokens = load_masked_lm(teacher)
    assert tokens == TOKENS
    assert json.loads((taught / "teacher.json").read_text())["sha256"]
    # Nothing of its training has moved it.
    again = load_teacher(parse_transfer_conf(options), TOKENS, SIZE).network.state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)


@pytest.fixture
def without_teacher(teacher):
    """While this lasts, there is no teacher."""
    away = teacher.with_name("away.pth")
    teacher.rename(away)
    yield
    away.rename(teacher)


@pytest.mark.usefixtures("without_teacher")
def test_decoding_needs_no_teacher(lab, taught):
    greedy = lab.decode(taught, "taught_greedy", "--greedy", "true")
    assert greedy.keys() == lab.valid.texts.keys()
    assert any(greedy.values())
    assert lab.decode(taught, "taught_beam", "--ctc_weight", "1.0", "--beam_size", "2")


@pytest.mark.usefixtures("without_teacher")
def test_statistics_and_a_dry_run_need_no_teacher_and_a_training_says_that_it_does(lab, teacher):
    config = {**transfer(teacher), "ctc_conf": CTC, "max_epoch": 1}
    lab.train("dry", "--dry_run", "true", **config)
    lab.train("collected", "--collect_stats", "true", **config)
    with pytest.raises(FileNotFoundError, match=r"there is no file of parameters .*teacher\.pth"):
        lab.train("no_teacher", **config)
    config["model_conf"]["transfer_conf"].pop("teacher_path")
    with pytest.raises(ValueError, match="teacher: masked_lm needs a teacher_path"):
        lab.train("no_path", **config)


def test_an_adapter_of_scale_zero_changes_nothing_so_that_a_model_goes_on(lab, tmp_path):
    before = lab.train("before", ctc_conf=OTTC, max_epoch=2)
    init = ("--init_param", str(before / "valid.loss.ave.pth"))
    rates = {"optim_conf": {"lr": 0.0, "weight_decay": 0.0}}
    on = lab.train("goes_on", *init, **transfer(), **rates, ctc_conf=OTTC, max_epoch=1)
    off = lab.train("goes_off", *init, **rates, ctc_conf=OTTC, max_epoch=1)
    names = ("loss", "loss_ctc", "loss_ottc", "cer_ctc", "wer_ctc")
    values = [[read_epochs(e)[0].valid[name] for name in names] for e in (on, off)]
    assert values[0] == values[1]
    assert lab.decode(on, "on", "--greedy", "true") == lab.decode(off, "off", "--greedy", "true")


def test_without_feeding_back_nothing_is_left_at_inference(lab):
    config = transfer()
    config["postencoder_conf"] = {"linguistic_size": SIZE, "feed_back": False}
    experiment = lab.train("one_way", **config, ctc_conf=OTTC, max_epoch=2)
    found = lab.decode(experiment, "one_way_whole", "--greedy", "true")
    # The adapter is cut out of configuration and parameters.
    conf = yaml.safe_load((experiment / "config.yaml").read_text())
    conf.update(postencoder=None, postencoder_conf={}, model_conf={"ctc_weight": 1.0})
    (experiment / "config.yaml").write_text(yaml.safe_dump(conf))
    path = experiment / "valid.loss.ave.pth"
    left = {n: v for n, v in parameters(experiment).items() if not n.startswith("postencoder.")}
    assert len(left) == len(parameters(experiment)) - 2
    torch.save(left, path)
    assert lab.decode(experiment, "one_way_cut", "--greedy", "true") == found


@pytest.mark.parametrize("criterion", [CTC, OTTC], ids=["ctc", "ottc"])
def test_until_the_transfer_starts_a_model_trains_as_without_it(lab, criterion):
    config = transfer(after_epoch=2)
    config["postencoder_conf"] = {"linguistic_size": SIZE, "feed_back": False}
    many = {"ctc_conf": criterion, "keep_nbest_models": 3}
    later = lab.train("later", **config, **many, max_epoch=3)
    records = read_epochs(later)
    assert "loss_align" not in records[1].train
    assert records[1].train["loss"] == pytest.approx(records[1].train["loss_ctc"], rel=1e-6)
    assert records[2].train["loss"] > records[2].train["loss_ctc"]
    first, second, third = (parameters(later, f"{epoch}epoch.pth") for epoch in (1, 2, 3))
    for name, value in parameters(lab.train("never", **many, max_epoch=2), "2epoch.pth").items():
        assert torch.equal(second[name], value), name
    for name in ("postencoder.into_text.weight", "postencoder.into_text.bias"):
        assert torch.equal(first[name], second[name])
        assert not torch.equal(second[name], third[name])


def test_a_resumed_training_goes_on_with_the_same_teacher_and_with_no_other(lab, teacher):
    config = {**transfer(teacher), "ctc_conf": CTC, "keep_nbest_models": 3}
    whole = lab.train("whole", **config, max_epoch=3)
    resumed = lab.train("resumed", **config, max_epoch=2)
    lab.train("resumed", "--resume", "true", **config, max_epoch=3)
    for name, value in parameters(whole, "3epoch.pth").items():
        torch.testing.assert_close(parameters(resumed, "3epoch.pth")[name], value)
    content = torch.load(teacher, weights_only=True)
    before = content["parameters"]["output.bias"].clone()
    content["parameters"]["output.bias"] += 1
    torch.save(content, teacher)
    try:
        with pytest.raises(ValueError, match="goes on with the teacher that it began with"):
            lab.train("resumed", "--resume", "true", **config, max_epoch=4)
    finally:
        content["parameters"]["output.bias"] = before
        torch.save(content, teacher)


def test_a_model_of_espnets_lm_task_teaches(lab, tmp_path):
    config = {
        "token_type": "char", "lm": "transformer",
        "lm_conf": {"embed_unit": 8, "att_unit": SIZE, "head": 2, "unit": 16, "layer": 1},
        "batch_type": "unsorted", "batch_size": 8, "max_epoch": 1, "num_workers": 0,
        "optim": "adam", "use_matplotlib": False, "best_model_criterion": [["valid", "loss", "min"]],
    }  # fmt: skip
    (tmp_path / "lm.yaml").write_text(yaml.safe_dump(config))
    command = ["--config", str(tmp_path / "lm.yaml")]
    command += ["--token_list", str(lab.valid.directory / "tokens.txt")]
    for part, tones in lab.data.items():
        command += [f"--{part}_data_path_and_name_and_type", f"{tones.directory}/text,text,text"]
    lm_train.main([*command, "--output_dir", str(tmp_path / "stats"), "--collect_stats", "true"])
    for part in lab.data:
        command += [f"--{part}_shape_file", str(tmp_path / "stats" / part / "text_shape")]
    lm_train.main([*command, "--output_dir", str(tmp_path / "lm")])
    path = tmp_path / "lm" / "valid.loss.ave.pth"
    config = transfer(path, teacher="espnet_lm")
    records = read_epochs(lab.train("by_espnet_lm", **config, ctc_conf=OTTC, max_epoch=2))
    assert records[1].train["loss_align"] < records[0].train["loss_align"]
    # A state knows what came before it, and nothing of what comes.
    found = load_teacher(TransferOptions(teacher="espnet_lm", teacher_path=str(path)), TOKENS, SIZE)
    texts = torch.tensor([[3, 4, 5], [3, 4, 6], [5, 4, 5]])
    states = found.represent(texts, torch.tensor([3, 3, 3])).states
    torch.testing.assert_close(states[0, :2], states[1, :2])
    assert not torch.allclose(states[0, 2], states[1, 2])
    assert not torch.allclose(states[0, 1], states[2, 1])


def huggingface_model(folder: Path) -> Path:
    """A small BERT with random parameters, whose tokens are pieces of words."""
    transformers = pytest.importorskip("transformers")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "##a", "##b"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join([*vocabulary, "##c", "##d", "ab", "##cd"]) + "\n")
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = transformers.BertConfig(
        vocab_size=15, hidden_size=SIZE, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    transformers.BertModel(shape).save_pretrained(folder)
    return folder


def test_a_model_of_huggingface_teaches_with_tokens_of_its_own(lab, tmp_path):
    folder = huggingface_model(tmp_path / "bert")
    config = transfer(folder, teacher="huggingface", order="plan", lower_case=True)
    records = read_epochs(lab.train("by_huggingface", **config, ctc_conf=OTTC, max_epoch=2))
    assert records[1].train["loss_align"] < records[0].train["loss_align"]
    options = TransferOptions(teacher="huggingface", teacher_path=str(folder), lower_case=True)
    found = load_teacher(options, TOKENS, SIZE)
    # "AB CD" and "D": the model's pieces are ab, c, ##d and d.
    tokens = torch.tensor([[3, 4, 2, 5, 6], [6, -1, -1, -1, -1]])
    taught = found.represent(tokens, torch.tensor([5, 1]))
    assert taught.lengths.tolist() == [3, 1]
    assert taught.middles[0].tolist() == [1.0, 3.5, 4.5]
    assert taught.middles[1, 0].item() == 0.5
    assert taught.extents.tolist() == [5.0, 1.0]
    assert not taught.states.requires_grad


def test_transformers_is_imported_for_its_own_models_alone(lab, teacher):
    code = (
        "import sys, espnet_ottc.espnet.register\n"
        "before = 'transformers' in sys.modules\n"
        "from espnet_ottc.espnet.transfer.options import TransferOptions\n"
        "from espnet_ottc.espnet.transfer.teachers import load_teacher\n"
        f"tokens = {TOKENS!r}\n"
        f"load_teacher(TransferOptions(teacher_path={str(teacher)!r}), tokens, {SIZE})\n"
        "assert before == ('transformers' in sys.modules)\n"
        "sys.modules['transformers'] = None\n"
        "try:\n"
        f"    load_teacher(TransferOptions(teacher='huggingface', teacher_path='x'), tokens, {SIZE})\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert "needs the extra [teacher]: pip install 'espnet-ottc[teacher]'" in done.stdout, (
        done.stderr
    )


def test_a_teacher_of_other_tokens_or_another_size_is_refused(teacher):
    options = TransferOptions(teacher_path=str(teacher))
    with pytest.raises(ValueError, match="its tokens must be those of the recogniser; it has 8"):
        load_teacher(options, TOKENS[:-1], SIZE)
    with pytest.raises(
        ValueError, match="linguistic_size must be the size of the teacher's states"
    ):
        load_teacher(options, TOKENS, 2 * SIZE)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"teachr": "random"}, "transfer_conf has no option 'teachr'; did you mean teacher?"),
        ({"teacher": "gpt"}, "teacher must be one of masked_lm, espnet_lm, huggingface, random"),
        ({"teacher": "random", "teacher_path": "x"}, "teacher: random has no teacher_path"),
        ({"reg": 0}, "reg must be above 0 and finite, got 0"),
        ({"reg_m_tokens": -1.0}, "reg_m_tokens must be above 0, got -1.0"),
        ({"weight": -1}, r"weight must lie in \[0, inf\), got -1"),
        ({"max_iter": 0}, "max_iter must be a whole number, at least 1, got 0"),
        ({"order": "both"}, "order must be one of none, diagonal, plan; got 'both'"),
    ],
)
def test_options_that_cannot_be_are_named(conf, message):
    with pytest.raises(ValueError, match=message):
        parse_transfer_conf(conf)


def test_a_transfer_needs_its_adapter_and_a_dead_adapter_is_refused(lab):
    config = transfer()
    with pytest.raises(
        ValueError, match="transfer_conf needs postencoder: linguistic_adapter, got none"
    ):
        lab.train("no_adapter", ctc_conf=CTC, model_conf=config["model_conf"])
    dead = {"postencoder_conf": {"linguistic_size": SIZE, "feed_back": False}}
    with pytest.raises(ValueError, match="the adapter would do nothing"):
        lab.train("dead", **{**ADAPTER, **dead}, ctc_conf=OTTC, model="ottc")
    config["model_conf"] |= {"ctc_weight": 0.0}
    config["model_conf"]["transfer_conf"]["order"] = "plan"
    with pytest.raises(ValueError, match="order: plan needs a criterion"):
        lab.train("no_criterion", **config, **HYBRID, ctc_conf=CTC)


def test_the_options_stand_in_the_help_and_the_printed_configuration(capsys):
    with pytest.raises(SystemExit):
        asr_train.main(["--print_config"])
    printed = capsys.readouterr().out
    assert "# Options of transfer_conf in model_conf" in printed
    assert "#   reg_m_frames: 0.5" in printed


def test_the_default_model_is_untouched_without_a_transfer(lab):
    # `model: ottc` with CTC builds what ESPnet's own model does.
    losses = []
    for name in ("espnet", "ottc"):
        options = ASRTask.get_parser().parse_args(
            lab.command(f"plain_{name}", ctc_conf=CTC, model=name)
        )
        torch.manual_seed(0)
        model = ASRTask.build_model(options)
        assert isinstance(model, OTTCASRModel) is (name == "ottc")
        torch.manual_seed(1)
        speech = torch.randn(2, 16000)
        text = torch.tensor([[3, 4, 5], [6, 3, -1]])
        arguments = speech, torch.tensor([16000, 12000]), text, torch.tensor([3, 2])
        loss, _, _ = model(*arguments)
        loss.backward()
        losses.append((loss, [p.grad for p in model.parameters()], list(model.state_dict())))
    torch.testing.assert_close(losses[0][:2], losses[1][:2], rtol=0, atol=0)
    assert losses[0][2] == losses[1][2]


def test_tokens_stand_where_they_are_written():
    characters = Spelling(["<blank>", "<unk>", "<space>", "A", "B", "<sos/eos>"])
    assert characters.text([3, 2, 4, 1]) == "A B?"
    pieces = Spelling(["<blank>", "<unk>", "▁AB", "C", "<sos/eos>"])
    assert pieces.text([2, 3, 2]) == " ABC AB"
    words = Spelling(["<blank>", "<unk>", "ONE", "A", "<sos/eos>"])
    assert words.text([2, 3]) == " ONE A"
    ends = pieces.ends(torch.tensor([[2, 3, 2], [3, -1, -1]]), torch.tensor([3, 1]))
    assert ends.tolist() == [[3, 4, 7], [1, 1, 1]]
    assert middles(ends)[0].tolist() == [1.5, 3.5, 5.5]


def test_positions_of_a_criterion_run_through_the_text(taught):
    model, _ = ASRTask.build_model_from_file(taught / "config.yaml", taught / "valid.loss.ave.pth")
    model.eval()
    spelling = Spelling(TOKENS)
    encoded = torch.randn(2, 40, model.encoder.output_size())
    text, lengths, frames = (
        torch.tensor([[3, 4, 2, 5], [6, 6, -1, -1]]),
        torch.tensor([4, 2]),
        torch.tensor([40, 25]),
    )
    for order in ("plan", "diagonal"):
        places = frame_positions(
            order, model.ctc, encoded, frames, text, lengths, spelling=spelling
        )
        for b in range(2):
            valid = places[b, : frames[b]]
            assert bool((valid.diff() >= 0).all())
            assert 0 <= float(valid[0]) < 1
            assert float(lengths[b]) - 1 < float(valid[-1]) <= float(lengths[b])
        assert not bool(places[1, 25:].any())


def test_who_trains_by_hand_is_told_to_load_the_teacher():
    loss = Transfer(TransferOptions(teacher="random"), TOKENS)
    with pytest.raises(RuntimeError, match=r"call model\.prepare_transfer\(\) first"):
        loss.losses(None, None, torch.tensor([[3]]), torch.tensor([1]))
