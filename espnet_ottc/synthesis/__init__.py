"""Synthetic speech with exact times, in the layouts of real corpora."""

from espnet_ottc.utils.extras import require_extra

require_extra("synth", "espnet_ottc.synthesis", ("lhotse", "numpy", "soundfile", "tqdm"))
