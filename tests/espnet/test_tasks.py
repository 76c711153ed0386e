"""Every ESPnet task that has a CTC trains on this package's criteria, or says by name that it cannot."""

import argparse
import importlib
import importlib.util
import sys
from typing import Any

import pytest
import torch
from espnet2.asr.ctc import CTC
from torch import Tensor

import espnet_ottc.espnet.register  # noqa: F401
from espnet_ottc.espnet.building import build_criterion, criteria_of, token_lists
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.model import OTTCASRModel
from espnet_ottc.espnet.trainer import OTTCTrainer

TOKENS = ["<blank>", "<unk>", "<na>", "<space>", "a", "b", "<sop>", "<sos>", "<eos>", "<sos/eos>"]
SOURCE_TOKENS = ["<blank>", "<unk>", "a", "<space>", "<sos/eos>"]
ENCODER = {"output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 1}
DECODER = {"attention_heads": 2, "linear_units": 16, "num_blocks": 1}
HYBRID = {
    "encoder": "transformer",
    "encoder_conf": ENCODER,
    "decoder": "transformer",
    "decoder_conf": DECODER,
}
FEATURES = {"input_size": 16, "frontend": None, "specaug": None, "normalize": None}
TEXTS = torch.tensor([[4, 5, 3, 4], [5, 4, -1, -1]])
TEXT_LENGTHS = torch.tensor([4, 2])


def speech(*, samples: int = 0) -> dict[str, Tensor]:
    shape, size = ((2, samples), samples) if samples else ((2, 80, 16), 80)
    generator = torch.Generator().manual_seed(0)
    return {
        "speech": torch.randn(shape, generator=generator),
        "speech_lengths": torch.tensor([size, size * 3 // 4]),
    }


def texts(*names: str) -> dict[str, Tensor]:
    batch = dict.fromkeys(names, TEXTS)
    return batch | {f"{name}_lengths": TEXT_LENGTHS for name in names}


# The module of a task, its class, what differs from its defaults, and a batch.
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Tensor]]] = {
    "asr": ("espnet2.tasks.asr", "ASRTask", HYBRID | FEATURES, speech() | texts("text")),
    "slu": ("espnet2.tasks.slu", "SLUTask", HYBRID | FEATURES, speech() | texts("text")),
    "st": (
        "espnet2.tasks.st",
        "STTask",
        HYBRID
        | FEATURES
        | {
            "src_token_list": SOURCE_TOKENS,
            "extra_asr_decoder": None,
            "extra_mt_decoder": None,
            "model_conf": {"asr_weight": 0.5, "mtlalpha": 1.0, "st_mtlalpha": 0.5},
        },
        speech()
        | texts("text")
        | {"src_text": torch.tensor([[2, 3], [2, -1]]), "src_text_lengths": torch.tensor([2, 1])},
    ),
    "s2t": (
        "espnet2.tasks.s2t",
        "S2TTask",
        HYBRID | FEATURES,
        speech() | texts("text", "text_prev", "text_ctc"),
    ),
    "s2t_ctc": (
        "espnet2.tasks.s2t_ctc",
        "S2TTask",
        FEATURES
        | {
            "encoder": "e_branchformer_ctc",
            "encoder_conf": ENCODER
            | {"cgmlp_linear_units": 16, "interctc_use_conditioning": True}
            | {"interctc_layer_idx": [1], "num_blocks": 2},
            "promptencoder_conf": ENCODER,
            "model_conf": {"ctc_asr_only": [True, True], "interctc_weight": 0.3},
        },
        speech()
        | texts("text", "text_prev", "text_ctc")
        | {"prefix": torch.tensor([[2, 6]] * 2), "prefix_lengths": torch.tensor([2, 2])},
    ),
    "mt": (
        "espnet2.tasks.mt",
        "MTTask",
        HYBRID
        | {
            "src_token_list": [str(number) for number in range(50)],
            "frontend": "embed",
            "frontend_conf": {"embed_dim": 16},
            "encoder_conf": ENCODER | {"input_layer": "linear"},
            "model": "discrete_asr",
            "model_conf": {"ctc_weight": 0.5},
        },
        texts("text")
        | {"src_text": torch.randint(2, 48, (2, 40)), "src_text_lengths": torch.tensor([40, 30])},
    ),
    "enh_s2t": (
        "espnet2.tasks.enh_s2t",
        "EnhS2TTask",
        {
            "normalize": None,
            "specaug": None,
            "frontend_conf": {"n_fft": 256, "hop_length": 128, "n_mels": 16},
            "asr_encoder": "transformer",
            "asr_encoder_conf": ENCODER,
            "asr_decoder": "transformer",
            "asr_decoder_conf": DECODER,
            "enh_encoder_conf": {"n_fft": 256, "hop_length": 128},
            "enh_decoder_conf": {"n_fft": 256, "hop_length": 128},
            "enh_separator_conf": {"num_spk": 1, "layer": 1, "unit": 8},
            "enh_model_conf": {},
            "asr_model_conf": {},
            "model_conf": {"calc_enh_loss": False, "bypass_enh_prob": 0.0},
        },
        speech(samples=16000) | texts("text_spk1"),
    ),
}
if importlib.util.find_spec("espnet3"):
    CASES["espnet3"] = ("espnet3.systems.esp2_asr.task", *CASES["asr"][1:])


def arguments(name: str, **ctc_conf: Any) -> tuple[Any, argparse.Namespace]:
    """A task, and its arguments with this `ctc_conf`."""
    if name == "enh_s2t":
        pytest.importorskip("fast_bss_eval", reason="ESPnet's extra [enh] is not installed")
    module, task_name, changes, _ = CASES[name]
    task = getattr(importlib.import_module(module), task_name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train"])
        defaults = task.get_default_config()
    return task, argparse.Namespace(
        **{**defaults, "token_list": TOKENS, **changes, "ctc_conf": ctc_conf}
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_task_with_a_ctc_trains_on_ottc_instead(name: str) -> None:
    task, args = arguments(name, ctc_type="ottc", boundary_label="<word_break>")
    torch.manual_seed(0)
    model = task.build_model(args)
    criteria = criteria_of(model)
    assert {type(criterion) for criterion in criteria} == {OTTC}
    assert [c.token_list[c.boundary] for c in criteria] == ["<space>"] * len(criteria)
    assert len(criteria) == (2 if name == "st" else 1)
    loss, _, _ = model(**CASES[name][3])
    loss.backward()
    assert torch.isfinite(loss)
    for criterion in criteria:
        gradients = [parameter.grad for parameter in criterion.frame_head.parameters()]
        assert max(float(gradient.abs().max()) for gradient in gradients) > 0
    assert task.trainer is OTTCTrainer
    assert args.ctc_conf["boundary_label"] == "<space>"
    assert args.ctc_conf["drop_threshold"] == 0.01  # the saved configuration is complete


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("name", CASES)
def test_ctc_stays_as_it_was(name: str) -> None:
    task, args = arguments(name, ctc_type="builtin")
    model = task.build_model(args)
    assert not criteria_of(model)
    assert any(type(module) is CTC for module in model.modules())
    assert not issubclass(task.trainer, OTTCTrainer)


@pytest.mark.parametrize(
    ("conf", "option"),
    [
        ({"ctc_type": "ottc", "label_weights": "ali"}, "label_weights: ali"),
        ({"ctc_type": "ottc", "consistency_weight": 0.5}, "consistency_weight: 0.5"),
        ({"ctc_type": "cr_ctc"}, "consistency_weight: 0.2"),
        ({"ctc_type": "single_path"}, "ctc_type: single_path"),
    ],
)
def test_what_needs_our_model_names_the_task_that_lacks_it(conf: Any, option: str) -> None:
    task, args = arguments("slu", **conf)
    with pytest.raises(ValueError, match=f"{option} needs model: ottc, and ESPnet's SLUTask"):
        task.build_model(args)
    task, args = arguments("asr", **conf)
    assert isinstance(task.build_model(args), OTTCASRModel)


def test_a_model_without_ctc_says_that_the_type_has_no_effect(caplog) -> None:
    task, args = arguments("mt", ctc_type="ottc")
    args.model, args.model_conf = "mt", {}
    task.build_model(args)
    assert "no effect in ESPnet's MTTask: this model (mt) has no CTC" in caplog.text


def test_a_task_with_a_trainer_of_its_own_is_refused_by_name(monkeypatch) -> None:
    task, args = arguments("slu", ctc_type="ottc")

    class OwnTrainer(task.trainer):
        pass

    monkeypatch.setitem(sys.modules["espnet_ottc.espnet.tasks"]._trainers, task, OwnTrainer)
    with pytest.raises(ValueError, match=r"ottc cannot be trained by ESPnet's SLUTask.*OwnTrainer"):
        task.build_model(args)


def test_source_and_target_tokens_of_one_number_need_one_boundary_id() -> None:
    source, target = ["<blank>", "<space>", "a"], ["<blank>", "a", "<space>"]
    with (
        token_lists(source, target),
        pytest.raises(ValueError, match="source and target tokens have 1 and 2"),
    ):
        build_criterion(3, 4, ctc_type="ottc", boundary_label="<space>")
    with token_lists(source, [*target, "b"]):
        criterion = build_criterion(4, 4, ctc_type="ottc", boundary_label="<space>")
    assert (criterion.boundary, criterion.token_list) == (2, (*target, "b"))
