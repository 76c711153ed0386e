"""Times of tokens and words: aligners, spans, file formats and metrics.  Knows nothing of ESPnet."""
