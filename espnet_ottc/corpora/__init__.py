"""Readers of speech corpora: from their own layouts to Lhotse cuts."""

from espnet_ottc.utils.extras import require_extra

require_extra("recipe", "espnet_ottc.corpora", ("lhotse", "soundfile", "tqdm"))
