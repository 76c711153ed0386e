"""Encoders that ESPnet lacks, and where the frames of any encoder lie in time."""

from espnet_ottc.espnet.encoders.dilated_conv import DilatedConvEncoder
from espnet_ottc.espnet.encoders.interface import PackageEncoder
from espnet_ottc.espnet.encoders.wav2vec2 import TorchaudioWav2Vec2Encoder

# By the name in `encoder:`.
ENCODERS: dict[str, type[PackageEncoder]] = {
    kind.name: kind for kind in (DilatedConvEncoder, TorchaudioWav2Vec2Encoder)
}
