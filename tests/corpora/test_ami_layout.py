"""AMI's layout: one timeline for four headsets, and a plan that fills it."""

import dataclasses
import random
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_ottc.corpora.ami import KNOWN_PARTS, cuts_of, prepare_parts
from espnet_ottc.corpora.ami_annotation import read_participants
from espnet_ottc.corpora.manifests import write_cuts
from espnet_ottc.synthesis.building import build_corpus
from espnet_ottc.synthesis.layout_ami import ANNOTATIONS, AmiLayout, Headset, turn_starts
from espnet_ottc.synthesis.sentences import HESITATIONS, load_grammar, role_of, with_hesitations
from espnet_ottc.synthesis.synthetic import ami_plan, shards_of, synthesise
from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance

RATE = 16000


def tone(speaker: str, hertz: float, seconds: float = 3.0, number: int = 0) -> Utterance:
    samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    words = (TimedSymbol("BEEP", 0.0, 1.0), TimedSymbol("BEEP", 1.0, 2.0))
    name = f"{speaker}-0-{number}"
    who = Speaker(speaker, "M", "tone")
    return Utterance(name, who, samples.astype(np.float32), RATE, "BEEP BEEP", words, ())


def test_turns_go_round_the_headsets_and_overlap_where_speech_is_long() -> None:
    starts = list(islice(turn_starts("ES2002a"), 100))
    assert starts == list(islice(turn_starts("ES2002a"), 100))
    assert starts != list(islice(turn_starts("ES2002b"), 100))
    gaps = [after - before for before, after in pairwise(starts)]
    assert min(gaps) > 2
    # Of turns of three seconds some overlap the next, some do not.
    assert 0.2 < np.mean(np.array(gaps) < 3) < 0.8


def test_headsets_of_a_meeting_have_one_length_and_hear_each_other_faintly(tmp_path: Path) -> None:
    layout = AmiLayout()
    sessions = [
        layout.write_session(tmp_path, "ES2002a.Headset-0", [tone("1", 500.0)]),
        layout.write_session(
            tmp_path, "ES2002a.Headset-1", (tone("2", 2000.0, number=n) for n in range(2))
        ),
    ]
    layout.write_tables(tmp_path, sessions)
    first, second = (
        soundfile.read(Headset("ES2002a", number).audio(tmp_path))[0] for number in range(2)
    )
    assert len(first) == len(second)
    turns = list(islice(turn_starts("ES2002a"), 6))
    for turn in (turns[1], turns[5]):
        # The second speaks there; its tone is 30 dB below in the first's headset.
        middle = slice(round((turn + 1) * RATE), round((turn + 2) * RATE))
        own, other = (np.abs(np.fft.rfft(one[middle]))[2000] / RATE * 2 for one in (second, first))
        assert own == pytest.approx(0.3, rel=0.02)
        assert 20 * np.log10(own / other) == pytest.approx(30, abs=0.5)


def test_an_utterance_waits_until_the_one_before_has_ended(tmp_path: Path) -> None:
    stream: Iterator[Utterance] = (tone("1", 500.0, 25.0, number) for number in range(3))
    AmiLayout().write_session(tmp_path, "ES2002a.Headset-2", stream)
    own = list(islice(turn_starts("ES2002a"), 2, 100, 4))
    starts = [turn[0] for turn in _turns(tmp_path)]
    assert set(starts) <= set(own)
    assert starts[0] == own[0]
    assert all(after - before > 25.3 for before, after in pairwise(starts))


def _turns(root: Path) -> tuple[tuple[float, float], ...]:
    AmiLayout().write_tables(root, [])
    # The table of no sessions names nobody: add the speaker by hand.
    table = root / ANNOTATIONS / "corpusResources" / "meetings.xml"
    table.write_text(
        '<r><meeting observation="ES2002a">'
        '<speaker nxt_agent="C" channel="2" global_name="MEE1"/></meeting></r>'
    )
    (participant,), problems = read_participants(root / ANNOTATIONS)
    assert problems == []
    return participant.turns


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ES2002a", {}, "set ES2002a: AMI's sets are <meeting>.Headset-<0 to 3>"),
        ("ES2002a.Headset-4", {}, "set ES2002a.Headset-4: AMI's sets are"),
        ("ES2002a.Headset-0", {"text": "BEEP"}, "1-0-0: the text must be the timed words"),
        (
            "ES2002a.Headset-0",
            {"samples": np.zeros(RATE, np.float32)},
            "1-0-0: words must be in order within",
        ),
        (
            "ES2002a.Headset-0",
            {"speaker": Speaker("2", "F", "other")},
            "1-0-0: a headset has one speaker",
        ),
    ],
)
def test_what_the_layout_cannot_hold_is_refused_with_its_id(
    tmp_path: Path, name: str, change: dict[str, object], message: str
) -> None:
    good = tone("1", 500.0)
    bad = dataclasses.replace(good, **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        AmiLayout().write_session(tmp_path, name, [good, bad])


def test_a_headset_without_utterances_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a headset must have utterances"):
        AmiLayout().write_session(tmp_path, "ES2002a.Headset-0", [])


def test_plan_has_four_speakers_a_meeting_who_stay_in_their_roles() -> None:
    plan = ami_plan(2.4, 0.4, 0.8)
    shards = shards_of(plan, 1)
    assert len(shards) == len(plan) == 36
    for meeting in {shard.set_name.partition(".")[0] for shard in shards}:
        members = [shard for shard in shards if shard.set_name.startswith(meeting)]
        assert len({shard.voice.speaker.id for shard in members}) == 4
        assert all(shard.role in shard.voice.roles for shard in members)
    for role, hours in (("train", 2.4), ("dev", 0.4), ("test", 0.8)):
        seconds = sum(shard.seconds for shard in shards if shard.role == role)
        assert seconds == pytest.approx(hours * 3600)
    # A role's shards do not depend on the others' hours.
    assert set(shards_of(ami_plan(0, 0, 0.8), 1)) < set(shards)


def test_a_plan_names_a_speaker_that_lacks_the_role() -> None:
    (first, *_) = ami_plan(0, 0.1, 0)
    with pytest.raises(ValueError, match="1002 must have the role 'dev'"):
        shards_of((dataclasses.replace(first, speakers=("1001", "1002")),), 0)


def test_hesitations_change_neither_role_nor_sentence() -> None:
    draw = random.Random(3)
    grammar = load_grammar()
    heard = 0
    for _ in range(200):
        sentence = grammar.sentence(draw, "dev")
        tokens = with_hesitations(sentence, draw, 0.1).split()
        hesitations = [token for token in tokens if token.rstrip(",") in HESITATIONS]
        heard += len(hesitations)
        left = " ".join(token for token in tokens if token not in hesitations)
        assert left == sentence
        assert role_of(left) == "dev"
    assert 80 < heard < 250
    assert not set(HESITATIONS) & grammar.vocabulary()


def test_spoken_meetings_are_prepared_with_the_times_of_their_words(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    heard = [f"{meeting}.Headset-0" for meeting in ("ES2002a", "ES2011a", "ES2004a")]
    plan = tuple(item for item in ami_plan(0.024, 0.004, 0.008) if item.name in heard)
    corpus = tmp_path / "corpus"
    build_corpus(plan, layout="ami", out=corpus, seed=2)
    summaries = list(prepare_parts(corpus, KNOWN_PARTS, tmp_path / "m"))
    assert [one.notes for one in summaries] == [()] * 3
    cuts = list(cuts_of(tmp_path / "m", KNOWN_PARTS))
    done = write_cuts(cuts, tmp_path / "all")
    assert done.cuts == done.aligned == sum(one.utterances for one in summaries) >= 3
    for shard in shards_of(plan, 2):
        meeting = shard.set_name.split(".")[0]
        (cut, *_) = [cut for cut in cuts if cut.recording_id == meeting]
        assert cut.supervisions[0].text == next(iter(synthesise(shard))).text


def test_hesitations_are_spoken_and_timed() -> None:
    pytest.importorskip("espeakng_loader")
    (shard, *_) = shards_of(ami_plan(0, 0.08, 0), 1)
    words = [word for utterance in synthesise(shard) for word in utterance.words]
    found = [word for word in words if word.symbol.lower() in HESITATIONS]
    assert found
    assert all(0.08 < word.end - word.start < 0.8 for word in found)
