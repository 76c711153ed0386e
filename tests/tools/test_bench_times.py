"""The script that measures times without a recogniser: rulers on a planted corpus, the file of results."""

import importlib.util
import math
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import soundfile
import torch
from times_rulers import Ruler, digits, ending_inside

from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.spans import Span
from espnet_ottc.report.results import read_rows

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_times.py"
RATE = 16000
PITCHES = {"A": 300, "B": 700, "C": 1400, "D": 2600, "E": 4200}
QUIET = 0.03


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_times", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_times"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of tones with some quiet at both edges, in the layout of the digits."""
    root = tmp_path_factory.mktemp("corpora")
    parts = root / "digits" / "LibriSpeech"
    (root / "digits" / "trimmed").mkdir(parents=True)
    parts.mkdir()
    (parts / "SPEAKERS.TXT").write_text(
        ";ID |S| P |M| NAME\n11 | M | x | 1 | george\n12 | M | x | 1 | theo\n"
    )
    number = 0
    for part, count in (("train-clean-100", 10), ("dev-clean", 2), ("test-clean", 3)):
        inner = []
        for speaker in ("11", "12"):
            folder = parts / part / speaker / "1"
            folder.mkdir(parents=True)
            texts, edges = [], []
            for index in range(count):
                number += 1
                name = f"{speaker}-1-{index:04d}"
                words, ends, row = _write(folder / f"{name}.flac", number)
                texts.append(f"{name} {' '.join(w for w in words if w)}\n")
                edges.append(f'{name} "{",".join(words)}" "{",".join(ends)}"\n')
                inner += [f"{name} 1 {line}\n" for line in row]
            (folder / f"{speaker}-1.trans.txt").write_text("".join(texts))
            (folder / f"{speaker}-1.alignment.txt").write_text("".join(edges))
        (root / "digits" / "trimmed" / f"{part}.ctm").write_text("".join(inner))
    return root


def _write(path: Path, number: int) -> tuple[list[str], list[str], list[str]]:
    draw = torch.Generator().manual_seed(number)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=draw))

    pieces, words, ends, inner, now = [], [], [], [], 0.0
    for _ in range(3):
        now += _silence(pieces, uniform(0.1, 0.3))
        words.append("")
        ends.append(f"{now:.4f}")
        now += _silence(pieces, QUIET)
        start = now
        words.append("".join("ABCDE"[int(i)] for i in torch.randperm(5, generator=draw)[:3]))
        for letter in words[-1]:
            time = torch.arange(round(uniform(0.06, 0.16) * RATE)) / RATE
            pieces.append(0.3 * torch.sin(2 * math.pi * PITCHES[letter] * time))
            now += len(time) / RATE
        inner.append(f"{start:.4f} {now - start:.4f} {words[-1]}")
        now += _silence(pieces, QUIET)
        ends.append(f"{now:.4f}")
    now += _silence(pieces, 0.2)
    samples = torch.cat(pieces)
    samples = samples + 0.003 * torch.randn(len(samples), generator=draw)
    soundfile.write(path, samples.numpy(), RATE)
    return [*words, ""], [*ends, f"{now:.4f}"], inner


def _silence(pieces: list[torch.Tensor], seconds: float) -> float:
    pieces.append(torch.zeros(round(seconds * RATE)))
    return len(pieces[-1]) / RATE


def _system(bench: ModuleType) -> object:
    stages = [{"rounds": 5, "epochs": 3}]
    conf = {
        "width": 32,
        "batch_frames": 256,
        "gaussian_rounds": 3,
        "least_count": 1,
        "stages": stages,
    }
    made_of = SimpleNamespace(files=(Path("train_x.yaml"),))
    return SimpleNamespace(name="x", boundary_conf=conf, aligners=("boundary",), made_of=made_of)


def test_a_planted_corpus_is_measured_against_both_of_its_references(
    bench: ModuleType, corpora: Path, tmp_path: Path
) -> None:
    ruler = digits(corpora)
    assert len(ruler.train) == 20
    learned = cache(partial(bench.learn, ruler))
    rows = list(bench.measure(ruler, _system(bench), 3, learned=learned))
    assert [(row["set"], row["seed"]) for row in rows] == [("dev-clean", 3), ("test-clean", 3)]
    assert rows[1]["counts"]["times"]["boundaries"] == 2 * 3 * 6
    assert rows[1]["boundary_mae_ms"] < 8
    assert 85 < rows[1]["inside_interval"] <= 100
    # Without the inner reference, sounds that begin behind the clip's edge count as late.
    plain = Ruler(ruler.train, ruler.heard, ruler.references)
    edges = list(bench.measure(plain, _system(bench), 3, learned=learned))
    assert edges[1]["boundary_mae_ms"] > rows[1]["boundary_mae_ms"] + 5

    # What a recogniser and the model find together is what is measured.
    def ends_early(model: BoundaryModel, utterance: SpokenText) -> object:
        found = bench._aligned(model, utterance)
        words = [Span(one.symbol, one.start, one.end - 0.02) for one in found.words]
        return replace(found, words=words)

    beside = list(bench.measure(plain, _system(bench), 3, learned=learned, recogniser=ends_early))
    assert beside[1]["end_bias_ms"] == pytest.approx(edges[1]["end_bias_ms"] - 20)
    path = tmp_path / "times_x.jsonl"
    bench._add(path, edges)
    bench._add(path, rows)
    assert bench.main(["--add", str(path), "--name", "y", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "times_y.jsonl").read_text() == path.read_text()
    kept = read_rows(path)
    assert [row.value("boundary_mae_ms") for row in kept] == [r["boundary_mae_ms"] for r in rows]


def test_a_system_that_tunes_a_recogniser_needs_the_folder_of_recognisers(
    bench: ModuleType,
) -> None:
    assert bench.recogniser_of(SimpleNamespace(tunes=None), 1, None) is None
    with pytest.raises(ValueError, match="x tunes ottc: name its --recognisers"):
        bench.recogniser_of(SimpleNamespace(name="x", tunes="ottc"), 1, None)


def test_a_speaker_who_is_left_out_is_not_learned_from_and_alone_is_tested(
    bench: ModuleType, corpora: Path
) -> None:
    ruler = digits(corpora, left_out="theo")
    assert {u.name.split("-")[0] for u in ruler.train} == {"11"}
    assert {u.name.split("-")[0] for u in ruler.heard["test-clean"]} == {"12"}
    assert ruler.references["test-clean"].keys() == ruler.inner["test-clean"].keys()
    assert len(ruler.references["test-clean"]) == 3


def test_models_are_adapted_to_each_speaker_or_to_each_set(
    bench: ModuleType, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruler = digits(corpora)
    learned = cache(partial(bench.learn, ruler))
    groups: list[list[str]] = []
    adapted = bench.adapted

    def counted(model: BoundaryModel, heard: list[SpokenText]) -> object:
        groups.append([one.name for one in heard])
        return adapted(model, heard)

    monkeypatch.setattr(bench, "adapted", counted)
    rows = list(bench.measure(ruler, _system(bench), 3, learned=learned, adapt=True))
    assert [{name[:2] for name in group} for group in groups] == [{"11"}, {"12"}] * 2
    assert [len(group) for group in groups] == [2, 2, 3, 3]
    assert rows[1]["boundary_mae_ms"] < 8
    plain = list(bench.measure(ruler, _system(bench), 3, learned=learned))
    assert rows[1]["provenance"]["train_seconds"] > plain[1]["provenance"]["train_seconds"]
    assert rows[0]["provenance"] == rows[1]["provenance"]
    groups.clear()
    list(
        bench.measure(replace(ruler, speaker=None), _system(bench), 3, learned=learned, adapt=True)
    )
    assert [len(group) for group in groups] == [4, 6]


def test_times_that_are_given_are_measured_as_a_system_is(bench: ModuleType, corpora: Path) -> None:
    ruler = digits(corpora)
    truth = ruler.references["test-clean"]
    later = {
        name: [Span(span.symbol, span.start, span.end + 0.01) for span in spans]
        for name, spans in truth.items()
    }
    given = Ruler(
        ruler.train, ruler.heard, ruler.references, given={"other": {"test-clean": later}}
    )
    (row,) = bench.measure_given(given, "other", "a command")
    assert (row["system"], row["set"], row["provenance"]["command"]) == (
        "other",
        "test-clean",
        "a command",
    )
    assert row["end_bias_ms"] == pytest.approx(10)
    assert row["boundary_mae_ms"] == pytest.approx(5)


def test_words_that_end_with_their_recording_can_be_left_out(
    bench: ModuleType, corpora: Path
) -> None:
    ruler = digits(corpora)
    heard, truth = ruler.heard["test-clean"], ruler.references["test-clean"]
    assert ending_inside(heard, truth) == truth
    samples, rate = heard[0].load()
    name, spans = heard[0].name, truth[heard[0].name]
    to_the_end = [*spans[:-1], Span(spans[-1].symbol, spans[-1].start, len(samples) / rate)]
    assert ending_inside(heard, {**truth, name: to_the_end}) == {**truth, name: spans[:-1]}
    assert ending_inside(heard, {name: to_the_end[-1:]}) == {}


def test_a_row_names_all_that_measures_it_again_and_no_folder(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = bench._parser().parse_args(
        [
            "recipe",
            "--data",
            str(tmp_path),
            "--recognisers",
            str(tmp_path),
            "--threads",
            "2",
            "--adapt",
        ]
    )
    command = bench._command("recipe", "ottc_tuned", 3, options)
    assert str(tmp_path) not in command
    again = bench._parser().parse_args(command.split()[2:])
    assert (again.rulers, again.systems, again.seeds) == (["recipe"], ["ottc_tuned"], [3])
    assert (again.train_set, again.sets, again.threads) == (options.train_set, options.sets, 2)
    assert again.adapt
    assert again.data == again.recognisers == Path("FOLDER")
    with pytest.raises(SystemExit):
        bench.main(["recipe"])
    assert "needs --data" in capsys.readouterr().err
