"""Synthetic speech: reproducible, exactly timed, divided without leaks."""

import os
import random
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet

from espnet_ottc.bin.make_synthetic import main
from espnet_ottc.corpora.librispeech import cuts_of, prepare_part
from espnet_ottc.corpora.manifests import write_cuts
from espnet_ottc.synthesis.building import build_corpus
from espnet_ottc.synthesis.espeak import Espeak, Mark, Prosody, spans_of
from espnet_ottc.synthesis.sentences import Grammar, load_grammar, role_of, words_of
from espnet_ottc.synthesis.synthetic import (
    NOISY_SNR_DB,
    SetPlan,
    librispeech_plan,
    load_voices,
    shards_of,
    synthesise,
)

espeakng_loader = pytest.importorskip("espeakng_loader")

PLAN = librispeech_plan(0, 0.01, 0.01)


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "one"
    build_corpus(PLAN, layout="librispeech", out=out, seed=3, nj=1)
    return out


def test_any_number_of_workers_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    build_corpus(PLAN, layout="librispeech", out=tmp_path / "three", seed=3, nj=3)
    once, again = files_of(built), files_of(tmp_path / "three")
    assert len([name for name in once if name.endswith(".flac")]) >= 14
    assert once == again


def test_another_seed_gives_other_sentences(built: Path, tmp_path: Path) -> None:
    build_corpus(PLAN[:1], layout="librispeech", out=tmp_path / "other", seed=4)
    mine = (built / "dev-clean/1001/2/1001-2.trans.txt").read_text()
    assert (tmp_path / "other/dev-clean/1001/2/1001-2.trans.txt").read_text() != mine


def test_more_hours_only_add_utterances(built: Path, tmp_path: Path) -> None:
    longer = librispeech_plan(0, 0.02, 0)
    build_corpus(longer, layout="librispeech", out=tmp_path / "longer", seed=3)
    short = {k: v for k, v in files_of(built / "dev-clean").items() if k.endswith(".flac")}
    long = files_of(tmp_path / "longer" / "dev-clean")
    assert short.items() <= long.items()
    assert len(long) > len(short)


def test_lhotse_reads_the_corpus_with_its_word_times(built: Path, tmp_path: Path) -> None:
    for part in ("dev-clean", "test-clean"):
        summary = prepare_part(built, part, tmp_path)
        done = write_cuts(cuts_of(tmp_path, [part]), tmp_path / part)
        assert done.cuts == done.aligned == summary.utterances
    shard = shards_of(PLAN, 3)[0]
    spoken = next(iter(synthesise(shard)))
    cut = CutSet.from_file(tmp_path / "dev-clean" / "cuts.jsonl.gz").to_eager()[spoken.id]
    words = cut.supervisions[0].alignment["word"]
    assert [item.symbol for item in words] == [word.symbol for word in spoken.words]
    # Texts and prosody are equal here; samples and times need not be: this process has a history.
    assert cut.supervisions[0].text == spoken.text


def test_readme_says_that_the_corpus_is_synthetic(built: Path) -> None:
    assert "SYNTHETIC" in (built / "README.TXT").read_text()
    assert "1101 | F | test-clean" in (built / "SPEAKERS.TXT").read_text()


@pytest.mark.parametrize("voice", ["en-us+m3", "en-us+anika", "en-gb-x-rp+m4", "en-029+max"])
def test_words_start_and_end_where_the_sound_does(voice: str) -> None:
    draw = random.Random(5)
    grammar = load_grammar()
    checked = 0
    with Espeak(voice) as espeak:
        rate = espeak.sampling_rate
        for _ in range(20):
            speech = espeak.speak(
                grammar.sentence(draw, "train"), Prosody(draw.randint(100, 200), 50, 50)
            )
            sound = np.abs(speech.samples.astype(float))
            loud = np.flatnonzero(sound > 0.003 * sound.max())
            edges = [(0, 0), *speech.words, (len(sound), len(sound))]
            for before, word in pairwise(edges):
                if before[1] == word[0]:
                    continue
                # A pause: it is silent, and sound ends before it and starts after it.
                assert sound[before[1] : word[0]].max(initial=0) == 0
                after = loud[loud >= before[1]]
                if len(after):
                    assert abs(after[0] - word[0]) / rate < 0.003
                until = loud[loud < word[0]]
                if len(until):
                    assert abs(until[-1] - before[1]) / rate < 0.02
                checked += 1
    assert checked > 40


def test_times_survive_resampling_silence_and_noise() -> None:
    shard = shards_of((SetPlan("x", "dev", 1, 0.02, snr_db=(60.0, 60.0)),), 6)[0]
    for utterance in synthesise(shard):
        rate = utterance.sampling_rate
        assert rate == 16000
        sound = np.abs(utterance.samples)
        first, last = (round(t * rate) for t in (utterance.words[0].start, utterance.words[-1].end))
        floor = sound[: first - 160].max()
        above = np.flatnonzero(sound > 3 * floor)
        assert abs(above[0] - first) / rate < 0.01
        assert abs(above[-1] - last) / rate < 0.03
        assert sound.max() <= 0.96


def test_noise_is_as_strong_as_asked_for() -> None:
    for snr in (10.0, 30.0):
        shard = shards_of((SetPlan("x", "dev", 1, 0.001, snr_db=(snr, snr)),), 7)[0]
        utterance = next(iter(synthesise(shard)))
        rate = utterance.sampling_rate
        quiet = utterance.samples[: int(utterance.words[0].start * rate) - 80]
        inside = [
            utterance.samples[round(word.start * rate) : round(word.end * rate)]
            for word in utterance.words
        ]
        noise = float(np.mean(quiet.astype(float) ** 2))
        speech = float(np.mean(np.concatenate(inside).astype(float) ** 2)) - noise
        assert 10 * np.log10(speech / noise) == pytest.approx(snr, abs=2.0)


def test_phones_tile_the_words() -> None:
    shard = shards_of((SetPlan("x", "dev", 1, 0.005),), 8)[1]
    for utterance in synthesise(shard):
        for word in utterance.words:
            inside = [p for p in utterance.phones if word.start <= p.start < word.end]
            assert (inside[0].start, inside[-1].end) == (word.start, word.end)
            assert all(a.end == b.start for a, b in pairwise(inside))
        total = sum(phone.end - phone.start for phone in utterance.phones)
        assert total == pytest.approx(sum(word.end - word.start for word in utterance.words))


def test_a_comma_is_a_pause_and_nothing_else_is() -> None:
    with Espeak("en-us+m3") as espeak:
        words = espeak.speak("today, the cat has been in the garden", Prosody(140, 50, 50)).words
    assert len(words) == 8
    touching = [a[1] == b[0] for a, b in pairwise(words)]
    assert touching == [False] + [True] * 6


def test_no_sentence_is_in_two_roles_and_two_test_voices_are_unheard() -> None:
    grammar = load_grammar()
    draw = random.Random(9)
    for role in ("train", "dev", "test"):
        sentences = [grammar.sentence(draw, role) for _ in range(200)]
        assert {role_of(sentence) for sentence in sentences} == {role}
        assert len(set(sentences)) > 150
    heard = {
        role: {shard.voice.espeak_name.partition("+")[2] for shard in shards}
        for role in ("train", "dev", "test")
        if (shards := [s for s in shards_of(librispeech_plan(1, 1, 1), 0) if s.role == role])
    }
    assert len(heard["test"] - heard["train"]) == 2
    assert heard["dev"] <= heard["train"]


def test_punctuation_does_not_move_a_sentence_to_another_role() -> None:
    assert role_of("today, the cat slept") == role_of("today the cat slept")


def test_vocabulary_is_of_the_stated_size_and_has_no_homophones() -> None:
    vocabulary = sorted(load_grammar().vocabulary())
    assert 150 <= len(vocabulary) <= 200
    for accent in sorted({voice.espeak_name.partition("+")[0] for voice in load_voices()}):
        sounds: dict[tuple[str, ...], str] = {}
        with Espeak(accent) as espeak:
            for word in vocabulary:
                phones = espeak.speak(word, Prosody(120, 50, 50)).phones
                sound = tuple(phone for phone, _, _ in phones)
                assert sound not in sounds, (accent, word, sounds[sound])
                sounds[sound] = word


def test_sets_do_not_change_each_other() -> None:
    alone = shards_of(librispeech_plan(0, 0, 1), 0)
    together = shards_of(librispeech_plan(2, 1, 1, 1), 0)
    assert set(alone) <= set(together)
    assert {shard.snr_db for shard in together if shard.set_name == "test-other"} == {NOISY_SNR_DB}
    with pytest.raises(ValueError, match="sessions of their own"):
        shards_of((*PLAN, *PLAN), 0)
    with pytest.raises(ValueError, match="set x: hours must be positive, got -1"):
        shards_of((SetPlan("x", "dev", 1, -1),), 0)


def test_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(
        ImportError, match=r"pip install 'espnet-ottc\[synth\]'.* \(missing: espeakng_l"
    ):
        Espeak("en-us")


@pytest.mark.parametrize("voice", ["nobody", "en-us+nobody"])
def test_unknown_voice_is_an_error(voice: str) -> None:
    with pytest.raises(ValueError, match="espeak-ng has no voice"):
        Espeak(voice)


def test_a_long_path_to_the_data_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    data = deep / "espeak-ng-data"
    data.symlink_to(espeakng_loader.get_data_path())
    with Espeak("en-us+m3", data) as espeak:
        assert len(espeak.speak("the cat slept", Prosody(140, 50, 50)).words) == 3


@pytest.mark.parametrize("sentence", ["", "cat 3", 'the "cat"', "the cat..."])
def test_what_breaks_the_word_events_is_refused(sentence: str) -> None:
    with (
        Espeak("en-us") as espeak,
        pytest.raises(ValueError, match=r"must be letters|must have words"),
    ):
        espeak.speak(sentence, Prosody(140, 50, 50))


def test_spans_follow_events_and_a_word_after_a_pause_starts_with_its_phone() -> None:
    marks = [
        Mark(True, 0, 1, ""),
        Mark(False, 10, 1, "a"),
        Mark(True, 20, 4, ""),
        Mark(False, 25, 4, "b"),
        Mark(False, 30, 4, "r-"),
        Mark(False, 30, 4, "c"),
        Mark(False, 40, 4, "_:"),
        Mark(True, 50, 9, ""),
        Mark(False, 55, 9, "d"),
        Mark(False, 60, 9, "_"),
    ]
    words, phones = spans_of(marks, [1, 4, 9])
    assert words == ((10, 20), (20, 40), (55, 60))
    assert phones == (("a", 10, 20), ("b", 20, 30), ("c", 30, 40), ("d", 55, 60))
    with pytest.raises(ValueError, match="must mark a word"):
        spans_of(marks, [1, 4, 7])
    with pytest.raises(ValueError, match="word 2: a word or a pause must follow"):
        spans_of(marks[:-1], [1, 4, 9])
    with pytest.raises(ValueError, match="word 0: phones without a pause expected"):
        spans_of([marks[0], *marks[2:]], [1, 4, 9])


def test_unknown_word_class_in_a_template_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"got \['verb'\]"):
        Grammar(("the {noun} {verb}",), {"noun": ("cat",)})


def test_words_are_counted_without_punctuation() -> None:
    assert words_of("today, the cat") == ["today", "the", "cat"]


def test_a_failing_worker_leaves_nothing(tmp_path: Path) -> None:
    broken = SetPlan("x", "dev", 1, 0.001, snr_db=("loud", "louder"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        build_corpus((broken,), layout="librispeech", out=tmp_path / "corpus", nj=2)
    assert list(tmp_path.iterdir()) == []


class Fatal:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)


def test_a_worker_that_dies_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    fatal = SetPlan("x", "dev", 1, 0.001, snr_db=Fatal())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="set x, speaker 1001: the process died"):
        build_corpus((fatal,), layout="librispeech", out=tmp_path / "corpus", nj=1)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_corpus_is_never_overwritten(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(built)
    assert main(["--out", str(built), "--hours", "0.001"]) == 1
    assert "must not exist or be an empty directory" in capsys.readouterr().err
    assert files_of(built) == before


@pytest.mark.parametrize("arguments", [["--hours", "-1"], ["--layout", "wsj"], ["--hour", "1"]])
def test_command_refuses_bad_options(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main(["--out", str(tmp_path / "corpus"), *arguments])
    assert status.value.code == 2
