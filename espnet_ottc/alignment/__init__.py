"""Times of tokens and words: aligners, spans, file formats, metrics and scoring.  Knows nothing of ESPnet.

Spans, Kaldi text and CTM need no other package; other formats and the scores need the extra [align], whose
packages are imported where they are used first.
"""
