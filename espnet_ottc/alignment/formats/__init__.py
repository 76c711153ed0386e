"""Files of words and times: Kaldi text, CTM, TextGrid, Lhotse supervisions, JSON of alignments.

Everything is keyed by utterance id; times are seconds from the utterance's start.  Files are
written aside in their folder and renamed, so that a half-written one never looks whole.  A round
trip keeps times within 0.5 µs (CTM), 50 µs (TextGrid, which has no scores), 10 ns (supervisions).

Text and CTM need no other package; TextGrids need praatio, supervisions Lhotse, imported when they are
first read or written.
"""

from espnet_ottc.alignment.formats.ctm import (
    ctm_ids,
    ctm_lines,
    read_ctm,
    write_ctm,
    write_ctm_lines,
)
from espnet_ottc.alignment.formats.kaldi import (
    read_durations,
    read_text,
    text_ids,
    text_lines,
    write_columns,
)
from espnet_ottc.alignment.formats.manifests import item_of, json_lines, read_manifest
from espnet_ottc.alignment.formats.reading import (
    OUTPUT_MARK,
    holds_times,
    named_by_files,
    read_span_table,
    read_spans,
)
from espnet_ottc.alignment.formats.supervisions import (
    read_supervisions,
    spans_of,
    text_tier,
    with_spans,
    write_supervisions,
)
from espnet_ottc.alignment.formats.textgrid import (
    WORD_TIER,
    fit_textgrid,
    read_textgrid,
    spans_of_tier,
    speaker_of_tier,
    tiers_called,
    write_textgrid,
)
from espnet_ottc.alignment.formats.textgrid_text import Tier, read_tiers
from espnet_ottc.alignment.formats.transcripts import (
    read_stm,
    read_transcripts,
    read_trn,
    refuse_columns,
)
from espnet_ottc.alignment.spans import SpansById

__all__ = [
    "OUTPUT_MARK",
    "WORD_TIER",
    "SpansById",
    "Tier",
    "ctm_ids",
    "ctm_lines",
    "fit_textgrid",
    "holds_times",
    "item_of",
    "json_lines",
    "named_by_files",
    "read_ctm",
    "read_durations",
    "read_manifest",
    "read_span_table",
    "read_spans",
    "read_stm",
    "read_supervisions",
    "read_text",
    "read_textgrid",
    "read_tiers",
    "read_transcripts",
    "read_trn",
    "refuse_columns",
    "spans_of",
    "spans_of_tier",
    "speaker_of_tier",
    "text_ids",
    "text_lines",
    "text_tier",
    "tiers_called",
    "with_spans",
    "write_columns",
    "write_ctm",
    "write_ctm_lines",
    "write_supervisions",
    "write_textgrid",
]
