"""TIMIT's layout: NIST SPHERE with times in samples, and a plan that fills it."""

import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse.recipes.timit import get_speakers

from espnet_ottc.corpora.manifests import write_cuts
from espnet_ottc.corpora.timit import KNOWN_PARTS, cuts_of, part_of, prepare_parts
from espnet_ottc.corpora.timit_phones import timit_61
from espnet_ottc.synthesis.building import build_corpus
from espnet_ottc.synthesis.layout_timit import TimitLayout
from espnet_ottc.synthesis.synthetic import shards_of, synthesise, timit_plan
from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance

RATE = 16000
NAME = "TRAIN/DR3/FAAB0"
SPEAKER = Speaker("1", "F", "nobody")


def planted(number: int = 0) -> Utterance:
    """One second: silence, GO, a pause, ON up to the end."""
    samples = np.random.default_rng(number).uniform(-0.5, 0.5, RATE).astype(np.float32)
    phones = (
        TimedSymbol("g", 0.1, 0.2),
        TimedSymbol("ow", 0.2, 0.30003),
        TimedSymbol("aa", 0.5, 0.75),
        TimedSymbol("n", 0.75, 1.0),
    )
    words = (TimedSymbol("GO", 0.1, 0.30003), TimedSymbol("ON", 0.5, 1.0))
    return Utterance(f"1-0-{number}", SPEAKER, samples, RATE, "GO ON", words, phones)


def test_files_are_timits_and_what_is_no_speech_is_silence(tmp_path: Path) -> None:
    summary = TimitLayout().write_session(tmp_path, NAME, [planted()])
    assert (summary.utterances, summary.words, summary.seconds) == (1, 2, 1.0)
    stem = tmp_path / "data" / NAME / "SX1"
    assert stem.with_suffix(".PHN").read_text() == (
        "0 1600 h#\n1600 3200 g\n3200 4800 ow\n4800 8000 pau\n8000 12000 aa\n12000 16000 n\n"
    )
    assert stem.with_suffix(".WRD").read_text() == "1600 4800 go\n8000 16000 on\n"
    assert stem.with_suffix(".TXT").read_text() == "0 16000 Go on.\n"
    assert soundfile.info(stem.with_suffix(".WAV")).format == "NIST"
    assert stem.with_suffix(".WAV").read_bytes().startswith(b"NIST_1A\n")
    samples, rate = soundfile.read(stem.with_suffix(".WAV"))
    assert rate == RATE
    np.testing.assert_allclose(samples, planted().samples, atol=2**-15)


def test_the_third_and_fourth_sentence_have_the_dialect_sentences_names(tmp_path: Path) -> None:
    TimitLayout().write_session(tmp_path, NAME, map(planted, range(6)))
    names = [path.stem for path in sorted((tmp_path / "data" / NAME).glob("*.WAV"))]
    assert names == ["SA1", "SA2", "SI2", "SI6", "SX1", "SX5"]


def test_the_table_of_speakers_has_sex_region_and_use(tmp_path: Path) -> None:
    layout = TimitLayout()
    layout.write_tables(tmp_path, [layout.write_session(tmp_path, NAME, [planted()])])
    line = (tmp_path / "SPKRINFO.TXT").read_text().splitlines()[1]
    assert line.split() == ["AAB0", "F", "3", "TRA", "nobody"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("FAAB0", {}, "set FAAB0: TIMIT's sets are <TRAIN or TEST>/DR<1 to 8>/<SPEAKER>"),
        ("DEV/DR1/FAAB0", {}, "TIMIT's sets are"),
        (NAME, {"samples": np.zeros(800, np.float32)}, "1-0-1: phones must be in order within"),
        (NAME, {"phones": planted().phones[::-1]}, "1-0-1: phones must be in order within"),
        (NAME, {"speaker": Speaker("2", "M", "x")}, "1-0-1: a folder has one speaker"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused_with_its_id(
    tmp_path: Path, name: str, change: dict[str, object], message: str
) -> None:
    bad = dataclasses.replace(planted(1), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        TimitLayout().write_session(tmp_path, name, [planted(), bad])


def test_a_speaker_without_utterances_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a speaker must have utterances"):
        TimitLayout().write_session(tmp_path, NAME, [])


def test_a_plan_has_a_folder_for_each_speaker_under_a_name_of_the_official_lists() -> None:
    plan = timit_plan(2.4, 0.4, 0.8)
    shards = shards_of(plan, 1)
    assert len(shards) == len(plan) == len({item.name for item in plan})
    parts = Counter()
    for shard in shards:
        use, _, name = shard.set_name.split("/")
        assert name[0] == shard.voice.speaker.sex
        part = part_of(use, name)
        assert part == {"train": "TRAIN", "dev": "DEV", "test": "TEST"}[shard.role]
        parts[part] += shard.seconds / 3600
    assert parts == pytest.approx({"TRAIN": 2.4, "DEV": 0.4, "TEST": 0.8})
    # A role's shards do not depend on the others' hours.
    assert {shard.set_name for shard in shards_of(timit_plan(0, 0, 0.8), 1)} == {
        shard.set_name for shard in shards if shard.role == "test"
    }


def test_timit_has_no_noisy_test_set() -> None:
    with pytest.raises(ValueError, match="no noisy test set, got 1"):
        timit_plan(1, 1, 1, 1)


def test_lhotses_lists_are_the_development_and_the_core_test_set() -> None:
    development, test = map(set, get_speakers())
    assert (len(development), len(test)) == (50, 24)
    assert not development & test


def test_spoken_sentences_are_prepared_with_the_times_of_their_phones(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    plan = [item for item in timit_plan(0.001, 0.001, 0.001) if "DR1" in item.name]
    corpus = tmp_path / "corpus"
    build_corpus(tuple(plan), layout="timit", out=corpus, seed=2)
    summaries = list(prepare_parts(corpus, KNOWN_PARTS, tmp_path / "m"))
    assert [one.notes for one in summaries] == [()] * 3
    done = write_cuts(cuts_of(tmp_path / "m", KNOWN_PARTS), tmp_path / "all")
    assert done.cuts == done.aligned == sum(one.utterances for one in summaries) >= 3


def test_phones_of_synthetic_speech_are_timits_and_tile_the_words() -> None:
    pytest.importorskip("espeakng_loader")
    (shard, *_) = shards_of(timit_plan(0, 0.05, 0), 1)
    closures = 0
    for utterance in synthesise(shard):
        phones = list(utterance.phones)
        assert {phone.symbol for phone in phones} <= timit_61()
        closures += sum(phone.symbol.endswith("cl") for phone in phones)
        for word in utterance.words:
            inside = [p for p in phones if word.start <= p.start < word.end]
            assert (inside[0].start, inside[-1].end) == (word.start, word.end)
            assert all(a.end == b.start for a, b in pairwise(inside))
    assert closures
