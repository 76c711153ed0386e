"""A wav2vec2 model of torchaudio's small enough for tests, in the shapes of its bundles."""

import torch
from torchaudio.pipelines import Wav2Vec2Bundle

from espnet_ottc.espnet.encoders.wav2vec2 import TorchaudioWav2Vec2Encoder

# Kernels and strides are those of every bundle.
STRIDES = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
LARGE = {
    "extractor_mode": "layer_norm",
    "extractor_conv_layer_config": [[16, kernel, stride] for kernel, stride in STRIDES],
    "extractor_conv_bias": True,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 48,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_norm_first": True,
    "encoder_layer_drop": 0.0,
}
BASE = {
    **LARGE,
    "extractor_mode": "group_norm",
    "extractor_conv_bias": False,
    "encoder_layer_norm_first": False,
}
WAVLM = {**LARGE, "encoder_num_buckets": 8, "encoder_max_distance": 16}
SIZES = {"large": LARGE, "base": BASE, "wavlm": WAVLM}
BUNDLE = "WAV2VEC2_LARGE_LV60K"


def tiny_encoder(sizes: dict = LARGE, **options: object) -> TorchaudioWav2Vec2Encoder:
    torch.manual_seed(0)
    return TorchaudioWav2Vec2Encoder(1, model_conf=sizes, **options).eval()


def tiny_bundle(**changes: object) -> Wav2Vec2Bundle:
    """What stands in for a pretrained model, which no test can download."""
    fields = {
        "_path": "tiny.pth",
        "_params": {**LARGE, "aux_num_out": None},
        "_sample_rate": 16000,
        "_normalize_waveform": True,
        "_model_type": "Wav2Vec2",
    }
    return Wav2Vec2Bundle(**{**fields, **changes})
