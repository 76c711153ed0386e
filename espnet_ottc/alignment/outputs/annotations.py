"""Annotations for other tools: TextGrid, CTM, Lhotse supervisions, Audacity's labels, ELAN."""

from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.alignment.aligned import AlignedUtterance
from espnet_ottc.alignment.formats import (
    fit_textgrid,
    with_spans,
    write_ctm_lines,
    write_textgrid,
)
from espnet_ottc.alignment.spans import Span, in_order
from espnet_ottc.utils.escapes import escaped, is_unfit_for_text
from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.files import written_aside


def shifted(spans: Sequence[Span], seconds: float) -> list[Span]:
    """Spans moved in time.

    Args:
        spans: in seconds.
        seconds: to add.
    """
    return [
        Span(one.symbol, max(one.start + seconds, 0.0), max(one.end + seconds, 0.0), one.score)
        for one in spans
    ]


def tiers_of(utterances: Sequence[AlignedUtterance]) -> dict[str, list[Span]]:
    """Tiers of words and tokens with times on the recording.

    With one speaker (and channel) they are `words` and `tokens`; else each speaker has his own, as
    `ann - words`.

    Args:
        utterances: of one recording.
    """
    voices = list(dict.fromkeys(voice_of(one) for one in utterances))
    tiers: dict[str, list[Span]] = {}
    for voice in voices:
        mine = [one for one in utterances if voice_of(one) == voice]
        prefix = f"{voice} - " if len(voices) > 1 else ""
        for tier, kind in (("words", "word_spans"), ("tokens", "token_spans")):
            spans = [span for one in mine for span in shifted(getattr(one, kind), one.offset)]
            tiers[prefix + tier] = in_order(spans)
    return tiers


def voice_of(utterance: AlignedUtterance) -> str:
    """The speaker, or else the channel, by which an utterance is told from others."""
    return utterance.speaker or f"channel {utterance.channel_number}"


def write_grid(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write a TextGrid with the tiers of `tiers_of`; a boundary moves by 0.1 ms where two touch.

    Args:
        path: the file.
        utterances: of one recording.
    """
    duration = end_of(utterances)
    tiers = {
        escaped(name, is_unfit_for_text): fit_textgrid(spans, duration)
        for name, spans in tiers_of(utterances).items()
    }
    write_textgrid(path, tiers, duration)


def write_words_ctm(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write a CTM: the recording's id, the channel from 1, times on the recording, words, confidence.

    Args:
        path: the file.
        utterances: of one recording.
    """
    write_ctm_lines(
        path,
        (
            (one.recording, str(one.channel_number), shifted(one.word_spans, one.offset))
            for one in utterances
        ),
    )


def write_manifest(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write Lhotse supervisions with the alignments `word` and `token`, and statuses in `custom`.

    Args:
        path: the file.
        utterances: of one recording.
    """
    require_extra("align", "a manifest of supervisions", ("lhotse",))
    from lhotse import SupervisionSegment, SupervisionSet

    segments = []
    for one in utterances:
        segment = SupervisionSegment(
            id=one.id,
            recording_id=one.recording,
            start=one.offset,
            duration=one.duration,
            channel=one.channel_number - 1,
            text=one.text,
            speaker=one.speaker or None,
            custom={
                "confidence": one.confidence,
                "status": one.status,
                "word_status": [word.status for word in one.words],
            },
        )
        segment = with_spans(segment, one.word_spans, "word")
        segments.append(with_spans(segment, one.token_spans, "token"))
    with written_aside(path) as aside:
        SupervisionSet.from_segments(segments).to_file(aside)


def write_labels(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write Audacity's labels: a line is start, end and word, with tabs between.

    Args:
        path: the file.
        utterances: of one recording.
    """
    with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for one in utterances:
            for span in shifted(one.word_spans, one.offset):
                label = escaped(span.symbol, is_unfit_for_text)
                file.write(f"{span.start:.6f}\t{span.end:.6f}\t{label}\n")


def write_eaf(path: Path, utterances: Sequence[AlignedUtterance]) -> None:
    """Write an ELAN file with the tiers of `tiers_of`, with times in whole milliseconds.

    Args:
        path: the file.
        utterances: of one recording.
    """
    require_extra("align", "an ELAN file", ("pympi",))
    from pympi import Elan

    eaf = Elan.Eaf(author="espnet-ottc")
    eaf.remove_tier("default")
    audio = next((one.source for one in utterances if one.source), "")
    if audio:
        eaf.add_linked_file(Path(audio).resolve().as_uri(), mimetype="audio/x-wav")
    for name, spans in tiers_of(utterances).items():
        tier = escaped(name, is_unfit_for_text)
        eaf.add_tier(tier)
        last = 0
        for span in spans:
            # Annotations of a tier do not overlap, and last.
            start = max(round(span.start * 1000), last)
            last = max(round(span.end * 1000), start + 1)
            eaf.add_annotation(tier, start, last, escaped(span.symbol, is_unfit_for_text))
    with written_aside(path) as aside:
        aside.unlink()  # the library keeps a copy of a file that is there
        eaf.to_file(str(aside))


def end_of(utterances: Sequence[AlignedUtterance]) -> float:
    """The end of the last utterance on the recording, in seconds."""
    return max(
        one.offset + max(one.duration, *(w.end for w in one.words), 0.0) for one in utterances
    )
