"""Every reader of a file, with files that it reads."""

import gzip
import io
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from espnet_ottc.alignment import formats
from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord
from espnet_ottc.alignment.scoring import read_folding, read_glm
from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils import training_records
from espnet_ottc.utils.commands import UserError

# What a command tells in one line (`espnet_ottc.utils.commands.run`).
DOCUMENTED = (ValueError, OSError, UserError)


@dataclass(frozen=True)
class Reader:
    """A reader and the files it is tried with.

    Attributes:
        name: of the file that it reads.
        read: reads the file; given its path.
        samples: contents that it reads without an error.
        beside: other files of the same folder.
        named: whether its errors name the file; else those who call it do.
    """

    name: str
    read: Callable[[Path], object]
    samples: tuple[bytes, ...]
    beside: Mapping[str, bytes] | None = None
    named: bool = True

    def path(self, folder: Path, content: bytes) -> Path:
        """Write the file, and those beside it, into an empty folder.

        Args:
            folder: empty.
            content: of the file.
        """
        for name, other in (self.beside or {}).items():
            (folder / name).write_bytes(other)
        path = folder / self.name
        path.write_bytes(content)
        return path


CTM = b";; by hand\nu1 1 0.10 0.25 HELLO 0.9\nu1 1 0.35 0.2 W%20RLD NA\nu2 A 1.5 0.5 caf\xc3\xa9\n"
TEXT = b"u1 HELLO WORLD\nu2 \xd0\xb4\xd0\xb0 don't\nu3\n"
STM = b";; c\nrec 1 ann 0.0 2.5 <o,f0> well { uh / @ } yes\nrec 1 bob 2.5 4 no\n"
TRN = b"hello { uh / um } world (u1)\n(maybe) yes (u2)\n"
LONG_GRID = b'''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1.25
            text = "say ""hi"""
        intervals [2]:
            xmin = 1.25
            xmax = 2.5
            text = ""
    item [2]:
        class = "TextTier"
        name = "marks"
        xmin = 0
        xmax = 2.5
        points: size = 1
        points [1]:
            number = 1
            mark = "x"
'''
JSON_GRID = json.dumps(
    {
        "start": 0,
        "end": 2.0,
        "tiers": {"words": {"type": "interval", "entries": [[0, 1, "a"], [1, 2.0, "b"]]}},
    }
).encode()
SUPERVISION = {
    **{"id": "u1", "recording_id": "r1", "start": 1.0, "duration": 2.0, "channel": 0},
    **{"text": "A B", "alignment": {"word": [["A", 1.0, 0.5, None], ["B", 1.5, 0.7, 0.4]]}},
}
CUT = {
    **{"id": "c1", "start": 0.5, "duration": 3.0, "channel": 0, "type": "MonoCut"},
    "supervisions": [{**SUPERVISION, "start": 0.5}],
    "recording": {
        "id": "r1",
        "sources": [{"type": "file", "channels": [0], "source": "none.wav"}],
        **{"sampling_rate": 16000, "num_samples": 160000, "duration": 10.0, "channel_ids": [0]},
    },
}


def _lines(*items: object) -> bytes:
    return "".join(json.dumps(item) + "\n" for item in items).encode()


def _spans(path: Path) -> object:
    return formats.read_spans(path)


def _cuts(path: Path) -> object:
    return list(formats.read_manifest(path, "cuts"))


def _journal(path: Path) -> object:
    from espnet_ottc.aligner.journal import Journal

    journal = Journal(path)
    return [journal.get(key) for key in list(journal._places)]


def _passages(path: Path) -> object:
    from espnet_ottc.aligner.texts import read_passages

    return read_passages(path)


def _alignment(path: Path) -> object:
    from espnet_ottc.alignment.outputs.json_file import read_alignment

    return read_alignment(path)


def _results(path: Path) -> object:
    from espnet_ottc.report.results import read_rows

    return read_rows(path)


def _evolution(path: Path) -> object:
    from espnet_ottc.report.evolution import followed_utterance, read_evolution

    directory = path.parent / "training"
    (directory / "alignments").mkdir(parents=True)
    path.rename(directory / "alignments" / path.name)
    (directory / "config.yaml").write_text("token_list: [<blank>, a, b]\ntoken_type: char\n")
    return read_evolution(directory, followed_utterance(directory), 1.0)


def _grid(path: Path) -> object:
    from espnet_ottc.report.evolution import _grid

    return _grid(path)


def _report_config(path: Path) -> object:
    from espnet_ottc.report.evolution import _tokens

    return _tokens(path)


def _system(path: Path) -> object:
    from espnet_ottc.recipe.configs import resolve

    return resolve(path)


def _mark(path: Path) -> object:
    from espnet_ottc.recipe.marks import check_done

    return check_done({path: "stage 2"})


def _rows(path: Path) -> object:
    from espnet_ottc.recipe.results import collect_rows

    seed = path.parent / "exp" / "ottc" / "seed1"
    (seed / "decode_greedy" / "test").mkdir(parents=True)
    path.rename(seed / "decode_greedy" / "test" / path.name)
    (seed / "provenance.json").write_text("{}")
    return collect_rows(path.parent / "exp", "greedy")


def _choice(path: Path) -> object:
    from espnet_ottc.report.utterances import choose_cuts

    return choose_cuts(path, 1, ())


def _lexicon(path: Path) -> object:
    from espnet_ottc.alignment.boundary.units import read_lexicon

    return read_lexicon(path)


def _parameters(path: Path) -> object:
    from espnet_ottc.espnet.checkpoints import load_parameters

    return load_parameters(path)


def _boundary_model(path: Path) -> object:
    from espnet_ottc.alignment.boundary.model import BoundaryModel

    return BoundaryModel.load(path.parent)


def _sound(path: Path) -> object:
    from espnet_ottc.aligner.audio import load
    from espnet_ottc.aligner.utterance import Recording, Utterance
    from espnet_ottc.alignment.sound_files import probe

    probe(path)
    return load(Utterance("u", Recording("u", path)), 8000)


def _kaldi(path: Path) -> object:
    from espnet_ottc.corpora.own_formats import read_kaldi

    return read_kaldi(path.parent)


def _gathered(path: Path) -> object:
    from espnet_ottc.aligner.inputs import InputOptions, gather

    return gather([str(path.parent)], InputOptions())


def _epochs(path: Path) -> object:
    return training_records.read_epochs(path.parent)


def _position(path: Path) -> object:
    return training_records.read_position(path.parent)


@cache
def _parameter_file() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(6.0).reshape(2, 3), "epoch": 3}, buffer)
    return buffer.getvalue()


@cache
def _boundary_files() -> dict[str, bytes]:
    import tempfile

    import torch

    from espnet_ottc.alignment.boundary.config import BoundaryConfig
    from espnet_ottc.alignment.boundary.graph import columns_of
    from espnet_ottc.alignment.boundary.model import BoundaryModel, BoundaryNetwork
    from espnet_ottc.alignment.boundary.units import Units

    config, units = BoundaryConfig(), Units(["a", "b"])
    columns = columns_of(len(units.names), config)
    network = BoundaryNetwork(config, config.context, columns)
    model = BoundaryModel(config, units, network, torch.zeros(columns), torch.full((columns,), 0.5))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        files = (Path(folder) / "model").iterdir()
        return {file.name: file.read_bytes() for file in files}


@cache
def _wave() -> bytes:
    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(800) / 5), 8000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _journal_lines() -> bytes:
    import tempfile

    from espnet_ottc.aligner.journal import Journal

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        journal = Journal(path)
        for number, utterance in enumerate(_aligned()):
            journal.add(f"key{number}", utterance)
        return path.read_bytes()


def _alignment_file() -> bytes:
    import tempfile

    from espnet_ottc.alignment.outputs.json_file import write_alignment

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        write_alignment(path, _aligned())
        return path.read_bytes()


SCORE = {"unit": "word", "wer": 5.0, "wer_interval": [4.0, 6.0], "wer_counts": {"words": 10}}
RESULTS = _lines(
    {"record": "training", "system": "ottc", "seed": 1, "provenance": {"commit": "abc"}},
    {
        **{"record": "score", "system": "ottc", "seed": 1, "decoder": "viterbi", "set": "test"},
        **{"wer": 5.0, "intervals": {"wer": [4, 6]}, "counts": {"words": {"words": 10}}},
    },
)
SNAPSHOT = json.dumps(
    {"u1": {"alpha": [0.2, 0.5, 0.3], "labels": [1, 2], "starts": [0.0, 1.5]}}
).encode()
EPOCH = {
    **{
        "epoch": 1,
        "max_epoch": 2,
        "seconds": 12.5,
        "train": {"loss": 3.5},
        "valid": {"loss": 3.25},
    },
    "warnings": ["w"],
}


def _aligned() -> list[AlignedUtterance]:
    words = (
        AlignedWord("Hello,", 0.1, 0.5, 0.9, spoken="hello", tokens=(Span("h", 0.1, 0.3, 0.8),)),
        AlignedWord("wörld", 0.6, 1.0, start_interval=(0.55, 0.65), end_interval=(0.9, 1.1)),
    )
    return [
        AlignedUtterance("u/1", "rec", 0.5, 2.0, words, 0.8, gaps=(Span("", 1.0, 2.0),)),
        AlignedUtterance("u2", "rec", 3.0, 1.0, ()),
    ]


@cache
def readers() -> dict[str, Reader]:
    """The readers by name."""
    cut, supervision = _lines(CUT), _lines(SUPERVISION, {**SUPERVISION, "id": "u2"})
    boundary = _boundary_files()
    description = next(name for name in boundary if name.endswith(".json"))
    return {
        "ctm": Reader("a.ctm", _spans, (CTM,)),
        "ctm_table": Reader(
            "a.ctm", formats.read_span_table, (CTM, CTM.replace(b";; by hand\n", b""))
        ),
        "ctm_ids": Reader("a.ctm", formats.ctm_ids, (CTM,)),
        "text": Reader("text", formats.read_text, (TEXT,)),
        "durations": Reader("utt2dur", formats.read_durations, (b"u1 1.5\nu2 0.25\n",)),
        "trn": Reader("a.trn", formats.read_trn, (TRN,)),
        "stm": Reader("a.stm", formats.read_stm, (STM,)),
        "textgrid": Reader("a.TextGrid", _spans, (LONG_GRID, JSON_GRID)),
        "supervisions": Reader("s.jsonl", _spans, (supervision, cut)),
        "supervisions_gz": Reader("s.jsonl.gz", _spans, (gzip.compress(supervision, mtime=0),)),
        "supervisions_json": Reader("s.json", _spans, (json.dumps([SUPERVISION]).encode(),)),
        "cuts": Reader("cuts.jsonl.gz", _cuts, (gzip.compress(cut, mtime=0),)),
        "cuts_of_the_report": Reader("cuts.jsonl", _choice, (cut,)),
        "folding": Reader("fold", read_folding, (b"# c\nh# sil\nq\nix ih\n",)),
        "glm": Reader(
            "a.glm", read_glm, (b";; c\n[uh] => (%HES) / [ ] __ [ ]\ncan't => can not\n",)
        ),
        "lexicon": Reader("lexicon", _lexicon, (b"hello HH AH L OW\nhello HH EH L OW\n",)),
        "plain_text": Reader("a.txt", _passages, ("Grüß Gott.\n\nAnd more.\n".encode(),)),
        "srt": Reader("a.srt", _passages, (b"1\n00:00:01,000 --> 00:00:02,500\nHello\n",)),
        "vtt": Reader("a.vtt", _passages, (b"WEBVTT\n\n00:01.000 --> 00:02.500\nHello\n",)),
        "grid_text": Reader("a.TextGrid", _passages, (LONG_GRID,)),
        "journal": Reader("journal.jsonl", _journal, (_journal_lines(),)),
        "alignment_json": Reader("a.json", _alignment, (_alignment_file(),)),
        "results": Reader("results.jsonl", _results, (RESULTS,)),
        "score_json": Reader("score.json", _rows, (json.dumps(SCORE).encode(),)),
        "snapshot": Reader("3epoch.json", _evolution, (SNAPSHOT,)),
        "frame_grid": Reader("frame_grid.json", _grid, (b'{"shift": 0.02, "offset": 0}',)),
        "report_config": Reader("config.yaml", _report_config, (b"token_list: [a, b]\n",)),
        "system_yaml": Reader(
            "train_a.yaml",
            _system,
            (b"# Purpose.\nbase: base.yaml\nmax_epoch: 3\n",),
            {"base.yaml": b"# Base.\nencoder: x\nctc_conf: {ctc_type: ottc}\n"},
        ),
        "mark": Reader("a.done", _mark, (b'{"state": "done", "inputs": {}, "outputs": {}}',)),
        "epochs": Reader("epochs.jsonl", _epochs, (_lines(EPOCH, {**EPOCH, "epoch": 2}),)),
        "position": Reader(
            "batches.jsonl", _position, (_lines({"epoch": 1, "max_epoch": 2, "batch": 3}),)
        ),
        "parameters": Reader("a.pth", _parameters, (_parameter_file(),)),
        "boundary_json": Reader(description, _boundary_model, (boundary[description],), boundary),
        "sound": Reader("a.wav", _sound, (_wave(),), named=False),
        "kaldi_wav_scp": Reader("wav.scp", _kaldi, (b"r1 r1.wav\nr2 cat x |\n",), _kaldi_files()),
        "kaldi_segments": Reader("segments", _kaldi, (b"u1 r1 0.01 0.05\n",), _kaldi_files()),
        "kaldi_text": Reader("text", _kaldi, (b"u1 HELLO\n",), _kaldi_files()),
        "kaldi_ctm": Reader("ctm", _kaldi, (b"u1 1 0.0 0.01 HELLO\n",), _kaldi_files()),
        "aligner_segments": Reader("segments", _gathered, (b"u1 r1 0.01 0.05\n",), _kaldi_files()),
        "aligner_wav_scp": Reader("wav.scp", _gathered, (b"r1 r1.wav\n",), _kaldi_files()),
    }


def _kaldi_files() -> dict[str, bytes]:
    return {
        "wav.scp": b"r1 r1.wav\n",
        "r1.wav": _wave(),
        "segments": b"u1 r1 0.01 0.05\n",
        "text": b"u1 HELLO\n",
        "utt2spk": b"u1 ann\n",
    }


def hostile_pickle() -> bytes:
    """A pickle that would make a file, were it loaded without care."""

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (open, ("PWNED", "w"))

    return pickle.dumps({"weight": Hostile()}, protocol=2)  # as PyTorch writes them
