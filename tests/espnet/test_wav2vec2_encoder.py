"""The wav2vec2 encoder: torchaudio's numbers, whatever the batch."""

import math
from types import SimpleNamespace

import pytest
import torch
from torchaudio.pipelines._wav2vec2.utils import _extend_model
from wav2vec2_lab import BASE, LARGE, SIZES, tiny_encoder

from espnet_ottc.espnet.encoders.frame_grid import frame_grid
from espnet_ottc.espnet.encoders.masking import span_mask
from espnet_ottc.espnet.encoders.wav2vec2 import TorchaudioWav2Vec2Encoder

KINDS = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def _batch(lengths, padding=float("nan")):
    generator = torch.Generator().manual_seed(1)
    waveforms = torch.full((len(lengths), max(lengths)), padding)
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = torch.randn(length, generator=generator)
    return waveforms, torch.tensor(lengths)


@KINDS
@pytest.mark.parametrize("normalize", [False, True])
def test_the_numbers_are_those_of_torchaudio(sizes, normalize):
    encoder = tiny_encoder(sizes, normalize_waveform=normalize)
    waveform, lengths = _batch([5000])
    expected, _ = _extend_model(encoder.model, normalize_waveform=normalize)(3 * waveform + 1)
    output, _, _ = encoder(3 * waveform + 1, lengths)
    torch.testing.assert_close(output, expected, **CLOSE)


def test_a_padded_batch_is_torchaudios_where_that_takes_lengths():
    encoder = tiny_encoder(LARGE)
    waveforms, lengths = _batch([5000, 2300, 400], padding=0.0)
    expected, counts = encoder.model(waveforms, lengths)
    outputs, olens, _ = encoder(waveforms, lengths)
    assert olens.tolist() == counts.tolist()
    for output, wanted, count in zip(outputs, expected, olens, strict=True):
        torch.testing.assert_close(output[:count], wanted[:count], **CLOSE)
        assert (output[count:] == 0).all()


@KINDS
def test_every_length_gives_its_frames_and_the_same_numbers_in_a_batch(sizes):
    encoder = tiny_encoder(sizes, normalize_waveform=True)
    every = list(range(400, 1501))
    waveforms, lengths = _batch(every)
    with torch.no_grad():
        outputs, counts, _ = encoder(waveforms, lengths)
        assert counts.tolist() == [(n - 400) // 320 + 1 for n in every]
        assert outputs.shape == (len(every), counts.max(), 32)
        for b, n in enumerate(every):
            single, count, _ = encoder(waveforms[b : b + 1, :n], lengths[b : b + 1])
            assert count == single.shape[1] == counts[b]
            torch.testing.assert_close(outputs[b, : counts[b]], single[0], **CLOSE)


def test_an_utterance_without_a_frame_is_named():
    waveforms, lengths = _batch([500, 399])
    with pytest.raises(
        ValueError, match=r"utterance 1: speech must have at least 400 samples.* 399"
    ):
        tiny_encoder()(waveforms, lengths)


def test_a_frame_is_centred_on_the_samples_that_it_sees():
    encoder = tiny_encoder(freeze_extractor=False)
    waveform = torch.randn(1, 4000, requires_grad=True)
    encoder.model.feature_extractor(waveform, None)[0][0, 5].abs().sum().backward()
    seen = waveform.grad[0].nonzero().flatten()
    model = SimpleNamespace(
        frontend=None,
        encoder=encoder,
        encode=lambda speech, lengths: encoder(speech, lengths)[:2],
        parameters=encoder.parameters,
    )
    grid = frame_grid(model, 16000)
    assert grid.shift == 320 / 16000
    assert grid.seconds(5.5) == pytest.approx((seen[0] + seen[-1]).item() / 2 / 16000)
    assert grid.seconds(0.5) == pytest.approx(199.5 / 16000)


def test_an_impulse_shows_in_the_frames_that_the_grid_puts_round_it():
    encoder = tiny_encoder(freeze_extractor=False)
    silence, shift = torch.zeros(1, 16000), 320
    quiet, _ = encoder.model.feature_extractor(silence, None)
    for sample in (3000, 3519, 9999):
        impulse = silence.clone()
        impulse[0, sample] = 1.0
        features, _ = encoder.model.feature_extractor(impulse, None)
        changed = (features - quiet)[0].abs().sum(1).nonzero().flatten()
        centres = changed * shift + encoder.first_centre
        assert ((centres - sample).abs() < 200).all()


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_extractor_gets_no_gradient(frozen):
    encoder = tiny_encoder(freeze_extractor=frozen).train()
    waveforms, lengths = _batch([3000, 2000])
    encoder(waveforms, lengths)[0].square().sum().backward()
    for name, parameter in encoder.named_parameters():
        inside = name.startswith("model.feature_extractor.")
        assert (parameter.grad is None) is (frozen and inside), name


@KINDS
def test_checkpointing_gives_the_same_gradient_under_dropout(sizes):
    waveforms, lengths = _batch([3000, 2000])
    gradients = []
    for checkpointing in (False, True):
        dropout = {"encoder_dropout": 0.2, "encoder_attention_dropout": 0.1}
        encoder = tiny_encoder({**sizes, **dropout}, gradient_checkpointing=checkpointing).train()
        torch.manual_seed(2)
        encoder(waveforms, lengths)[0].square().sum().backward()
        gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, **CLOSE)


@KINDS
def test_dropped_layers_do_not_uncover_the_padding(sizes):
    encoder = tiny_encoder({**sizes, "encoder_layer_drop": 0.6}).train()
    waveforms, lengths = _batch([3000, 1500])
    outcomes = set()
    for seed in range(8):
        torch.manual_seed(seed)
        output = encoder(waveforms, lengths)[0][1, :4]
        torch.manual_seed(seed)
        single = encoder(waveforms[1:, :1500], lengths[1:])[0][0]
        torch.testing.assert_close(output, single, **CLOSE)
        outcomes.add(round(output[0, 0].item(), 4))
    assert len(outcomes) > 2


def test_masks_come_from_the_seed_in_training_alone_and_differ_between_utterances():
    encoder = tiny_encoder(
        mask_prob=0.5, mask_length=3, mask_channel_prob=0.3, mask_channel_length=4
    )
    waveforms = torch.randn(1, 9000).repeat(2, 1)
    lengths = torch.tensor([9000, 9000])

    def output(seed):
        torch.manual_seed(seed)
        return encoder(waveforms, lengths)[0]

    torch.testing.assert_close(output(0)[0], output(1)[1])
    encoder.train()
    torch.testing.assert_close(output(0), output(0))
    assert not torch.allclose(output(0), output(1), atol=1e-2)
    assert not torch.allclose(*output(0), atol=1e-2)


def test_the_mask_vector_learns_on_every_batch():
    encoder = tiny_encoder(mask_prob=0.1, mask_length=50).train()
    waveforms, lengths = _batch([3000])
    encoder(waveforms, lengths)[0].sum().backward()
    # Too short for a span: no gradient, but not a parameter without one, which DDP refuses.
    assert (encoder.mask_embedding.grad == 0).all()


@pytest.mark.parametrize(("share", "span"), [(0.1, 1), (0.3, 10), (0.05, 10)])
def test_spans_cover_their_share_and_nothing_beyond_the_lengths(share, span):
    torch.manual_seed(3)
    lengths = torch.tensor([200, 1000, span, span - 1, 0])
    masks = torch.stack([span_mask(lengths, 1000, share, span) for _ in range(400)])
    for b, length in enumerate(lengths.tolist()):
        assert not masks[:, b, length:].any()
    # A frame far from the ends is free if none of the `span` starts that would cover it was drawn.
    positions, spans = 1000 - span + 1, round(1000 * share / span)
    expected = 1 - math.comb(positions - span, spans) / math.comb(positions, spans)
    assert masks[:, 1, span:-span].float().mean() == pytest.approx(expected, rel=0.05)
    assert not masks[:, 3:].any()
    starts = masks[:, 1] & ~torch.nn.functional.pad(masks[:, 1], (1, 0))[:, :-1]
    runs = masks[:, 1].sum(1) / starts.sum(1).clamp(min=1)
    assert (runs[starts.any(1)] >= span).all()


def test_layers_have_learning_rates_that_fall_towards_the_waveform():
    for sizes, top in ((LARGE, 0.5), (BASE, 0.5 * 0.1**3)):
        factors = tiny_encoder(sizes, lr_scale=0.5, layer_lr_decay=0.1).learning_rate_factors()
        prefix = "model.encoder.transformer"
        for layer in range(3):
            name = f"{prefix}.layers.{layer}.layer_norm.weight"
            assert factors[name] == pytest.approx(0.5 * 0.1 ** (2 - layer))
        assert factors[f"{prefix}.layer_norm.weight"] == pytest.approx(top)
        bottom = "model.feature_extractor.conv_layers.0.conv.weight"
        for name in (bottom, "model.encoder.feature_projection.projection.weight"):
            assert factors[name] == pytest.approx(0.5 * 0.1**3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 80}, "needs input_size: 1"),
        ({"mask_prob": 1.5}, r"mask_prob must lie in \[0, 1\], got 1.5"),
        ({"mask_channel_length": 0}, "mask_channel_length must be at least 1, got 0"),
        ({"lr_scale": 0.0}, "lr_scale must be positive"),
        ({"layer_lr_decay": 1.1}, r"layer_lr_decay must lie in \(0, 1\]"),
        ({"bundle": "WAV2VEC2_LARGE_LV60"}, r"did you mean WAV2VEC2_LARGE_LV60K\?"),
        ({"model_conf": {"encoder_dropuot": 0.1}}, r"did you mean encoder_dropout\?"),
        ({"model_conf": {"encoder_dropout": 0.1}}, "missing: extractor_mode, .*encoder_layer_drop"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        TorchaudioWav2Vec2Encoder(**{"input_size": 1, "model_conf": LARGE, **options})


def test_features_instead_of_a_waveform_are_an_error():
    with pytest.raises(ValueError, match=r"shape \(B, N\) samples, got \(2, 500, 80\)"):
        tiny_encoder()(torch.zeros(2, 500, 80), torch.tensor([500, 500]))
