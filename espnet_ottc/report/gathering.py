"""The figures and recordings of the report, gathered from the folders that the recipe leaves.

Whatever is missing or broken becomes a sentence on the page, never a broken figure.
"""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.report import drawing, figures
from espnet_ottc.report.curves import Curves, read_curves
from espnet_ottc.report.evolution import Evolution, followed_utterance, read_evolution
from espnet_ottc.report.results import Group, Row, group_rows
from espnet_ottc.report.sections import Picture, Recording, Sections
from espnet_ottc.report.utterances import (
    Lane,
    SystemTimes,
    Utterance,
    choose_cuts,
    find_cut,
    flac,
    load_utterance,
    manifest,
    read_times,
    reference_words,
    word_rows,
)
from espnet_ottc.utils.extras import MissingExtraError

# (name in ESPnet's validation statistics, title, factor)
_ERRORS = (("cer_ctc", "greedy CER, validation, %", 100.0),)
_DIAGNOSTICS = (
    ("peaky_frames", "frames on blank or separator, %", 100.0),
    ("alpha_effective_share", "effective share of frames, %", 100.0),
    ("dropped_frames", "dropped frames, %", 100.0),
    ("boundary_moved_frames", "label starts moved, frames", 1.0),
)


def gather(
    rows: Sequence[Row], expdir: Path, data: Path, utterances: int, audio_limit: int
) -> Sections:
    """Read and draw all that is there.

    Args:
        rows: the results; they name systems, decoders, sets and seeds.
        expdir: folder with `<system>/seed<N>/`.
        data: folder with `<set>/cuts.jsonl.gz`.
        utterances: how many recordings to show, ≥ 0.
        audio_limit: bytes of one recording's FLAC above which it is left out.

    Raises:
        ImportError: matplotlib is not installed.
    """
    drawing.matplotlib_or_error()
    sections = Sections()
    systems = list(dict.fromkeys(row.system for row in rows))
    _add_curves(sections, rows, systems, expdir)
    _add_evolution(sections, rows, expdir, data)
    _add_recordings(
        sections,
        group_rows(rows),
        systems,
        expdir,
        data,
        count=utterances,
        audio_limit=audio_limit,
    )
    return sections


def trained(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """The trainings by epochs that the rows name: (system, seed)."""
    return list(dict.fromkeys((row.system, row.seed) for row in rows if row.has_epochs))


def model_directory(expdir: Path, system: str, seed: int) -> Path:
    """ESPnet's output directory of one training."""
    return expdir / system / f"seed{seed}"


def shown_set(groups: Sequence[Group]) -> str:
    """The set whose recordings are shown: the first test or evaluation set, else the first."""
    names = [group.set for group in groups]
    return next((name for name in names if re.search("test|eval", name.lower())), names[0])


def _add_curves(
    sections: Sections, rows: Sequence[Row], systems: Sequence[str], expdir: Path
) -> None:
    curves: list[Curves] = []
    for system, seed in trained(rows):
        try:
            curves.append(read_curves(model_directory(expdir, system, seed), system, seed))
        except (OSError, ValueError, MissingExtraError) as fault:
            sections.lacks("curves", fault)
    if not curves:
        return
    losses = [system for system in systems if any(curve.system == system for curve in curves)]
    errors = _logged(curves, _ERRORS)
    flat_start = any(curve.of("train", "loss_flat_start") for curve in curves)
    sections.curves.append(
        Picture(
            figures.curves_figure(curves, systems, losses, errors, "loss"),
            f"Loss by epoch of {', '.join(losses)}. " + "; ".join(map(_last_loss, curves)),
            "By epoch, one line a seed: training dashed, validation solid. The losses of different "
            "criteria are different quantities: compare shapes, not heights."
            + (" In a flat start training has its own, and validation OTTC's." * flat_start)
            + (" Greedy character errors are as ESPnet logs them during training." * bool(errors)),
            *_panels(len(losses) + len(errors)),
        )
    )
    diagnostics = _logged(curves, _DIAGNOSTICS)
    if diagnostics:
        sections.curves.append(
            Picture(
                figures.curves_figure(curves, systems, [], diagnostics, "diagnostics"),
                f"By epoch: {'; '.join(title for _, title, _ in diagnostics)}.",
                "The transport on the validation data: frames whose best label is blank or "
                "separator; effective number of frames, the exponential of alpha's entropy, as a "
                "share of all; frames that decoding drops; how far label starts moved since the "
                "epoch before.",
                *_panels(len(diagnostics)),
            )
        )


def _logged(
    curves: Sequence[Curves], measures: Sequence[tuple[str, str, float]]
) -> list[tuple[str, str, float]]:
    return [m for m in measures if any(curve.of("valid", m[0]) for curve in curves)]


def _panels(count: int) -> tuple[int, int]:
    """The least and the most pixels of a row of panels."""
    pixels = drawing.PANEL_INCHES * drawing.PIXELS_PER_INCH * count
    return int(0.9 * pixels), int(1.25 * pixels)


def _timed(duration: float) -> tuple[int, int]:
    """The least and the most pixels of a figure over time."""
    pixels = drawing.timed_width(duration) * drawing.PIXELS_PER_INCH
    return int(0.75 * pixels), int(1.25 * pixels)


def _last_loss(curve: Curves) -> str:
    points = curve.of("valid", "loss")
    name = f"{curve.system}, seed {curve.seed}"
    if not points:
        return f"{name}: no validation loss"
    epoch, value = list(points.items())[-1]
    return f"{name}: {value:.2f} after epoch {epoch}"


def _add_evolution(sections: Sections, rows: Sequence[Row], expdir: Path, data: Path) -> None:
    found = False
    for system in dict.fromkeys(row.system for row in rows):
        for seed in sorted(row.seed for row in rows if row.system == system):
            directory = model_directory(expdir, system, seed)
            try:
                name = followed_utterance(directory)
            except FileNotFoundError:
                continue
            except ValueError as fault:
                sections.lacks("evolution", fault)
                continue
            found = True
            try:
                sections.evolution.append(_evolution(directory, name, data, system, seed))
            except (OSError, ValueError) as fault:
                sections.lacks("evolution", fault)
            break
    if not found:
        sections.lacks(
            "evolution",
            "No training left snapshots of its alignment (alignments/<epoch>epoch.json).",
        )


def _evolution(directory: Path, name: str, data: Path, system: str, seed: int) -> Picture:
    cut = find_cut(data, name)
    reference = reference_words(cut)
    evolution = read_evolution(directory, name, cut.duration)
    epochs = ", ".join(str(snapshot.epoch) for snapshot in evolution.snapshots)
    svg = figures.evolution_figure(evolution, reference, cut.duration, f"evolution-{system}")
    where = "" if evolution.grid_known else " Frames are spread evenly over the utterance."
    lines = (
        "dashed lines are the reference's boundaries."
        if reference
        else "the utterance has no reference times."
    )
    caption = (
        f"{system}, seed {seed}, utterance {name}, {_count(evolution)}. Above each panel the labels "
        "(dots), where the plan has their centre; shaded the words (or phones) they make; below, the weight "
        f"alpha of each frame, the line at the uniform weight 1/T; {lines}{where}"
    )
    alt = f"Frame weights and the plan's labels of {name} after epochs {epochs}. " + (
        _movement(evolution)
    )
    return Picture(svg, alt, caption, *_timed(cut.duration))


def _count(evolution: Evolution) -> str:
    return f"{len(evolution.snapshots)} of {evolution.epochs} epochs"


def _movement(evolution: Evolution) -> str:
    words = "; ".join(
        f"epoch {snapshot.epoch}: "
        + ", ".join(f"{word.symbol} {word.start:.2f}–{word.end:.2f}" for word in snapshot.words)
        for snapshot in (evolution.snapshots[0], evolution.snapshots[-1])
    )
    return f"Words (or phones) in seconds, {words}."


def _add_recordings(
    sections: Sections,
    groups: Sequence[Group],
    systems: Sequence[str],
    expdir: Path,
    data: Path,
    *,
    count: int,
    audio_limit: int,
) -> None:
    if not groups or count == 0:
        return
    shown = sections.recordings_from = shown_set(groups)
    times: list[SystemTimes] = []
    for group in groups:
        # A decoder of texts alone left no times, and its rows no boundary errors.
        if group.set == shown and group.mean("boundary_mae_ms") is not None:
            try:
                times.append(read_times(group, expdir))
            except (OSError, ValueError) as fault:
                sections.lacks("recordings", fault)
    try:
        cuts = choose_cuts(manifest(data, shown), count, times)
    except (OSError, ValueError) as fault:
        sections.lacks("recordings", fault)
        return
    lanes = _lanes(sections, times, [cut.id for cut in cuts])
    for number, cut in enumerate(cuts):
        try:
            utterance = load_utterance(cut, [found[cut.id] for found in lanes])
            sections.recordings.append(_recording(utterance, systems, f"u{number}", audio_limit))
        except (OSError, ValueError) as fault:
            sections.lacks("recordings", fault)
            continue
        if not utterance.words:
            sections.lacks("recordings", f"{cut.id}: the reference has no times.")
        for lane in utterance.lanes:
            if not lane.words:
                sections.lacks("recordings", f"{cut.id}: {lane.title} gave no times.")


def _lanes(
    sections: Sections, times: Sequence[SystemTimes], names: Sequence[str]
) -> list[dict[str, Lane]]:
    """The times of some utterances by each system whose files can be read."""
    lanes = []
    for system in times:
        try:
            lanes.append(system.lanes(names))
        except (OSError, ValueError) as fault:
            sections.lacks("recordings", fault)
    return lanes


def _recording(
    utterance: Utterance, systems: Sequence[str], prefix: str, audio_limit: int
) -> Recording:
    header, times = word_rows(utterance)
    lanes = ", ".join(f"{lane.title} (seed {lane.seed})" for lane in utterance.lanes)
    tokens = any(lane.tokens for lane in utterance.lanes)
    strip = " The strip below a system's words shows its tokens." if tokens else ""
    picture = Picture(
        figures.utterance_figure(utterance, systems, prefix),
        f"Spectrogram of {utterance.id} over the reference and {lanes}; "
        "their times are in the table below.",
        f"Spectrogram, reference, and {lanes or 'no system'}. Dashed lines carry the reference's "
        f"boundaries through all rows.{strip}",
        *_timed(utterance.duration),
    )
    sound = flac(utterance)
    fits = len(sound) <= audio_limit
    size = f"{len(sound) / 1e6:.2f} MB of FLAC"
    return Recording(
        id=utterance.id,
        text=utterance.text,
        picture=picture,
        audio="data:audio/flac;base64," + base64.b64encode(sound).decode() if fits else None,
        audio_note=size
        if fits
        else f"Audio left out: {size}, the limit is {audio_limit / 1e6:.2f} MB.",
        duration=utterance.duration,
        edges=drawing.plot_edges(utterance.duration),
        header=header,
        times=times,
    )
