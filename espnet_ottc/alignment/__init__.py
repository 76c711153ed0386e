"""Times of tokens and words: aligners, spans, file formats and metrics.  Knows nothing of ESPnet."""

from espnet_ottc.utils.extras import require_extra

require_extra("align", "espnet_ottc.alignment", ("kaldialign", "lhotse", "numpy", "praatio"))
