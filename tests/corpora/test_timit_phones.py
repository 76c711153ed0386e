"""TIMIT's phones: 61 trained, 39 scored, and espeak-ng's phones among them."""

import numpy as np
import pytest
from lhotse.recipes.timit import get_phonemes

from espnet_ottc.alignment.scoring import read_folding
from espnet_ottc.corpora.timit_phones import SILENCES, folding_path, timit_61
from espnet_ottc.synthesis.phones import timit_phones

RATE = 1000


def test_61_phones_fold_to_39_classes_and_the_glottal_stop_to_none() -> None:
    folding = read_folding(folding_path()).classes
    assert len(folding) == len(timit_61()) == 61
    assert len(set(folding.values()) - {""}) == 39
    assert [phone for phone, name in folding.items() if not name] == ["q"]


def test_the_folding_is_lee_and_hons() -> None:
    """Table I and the text of Lee and Hon 1989: what is folded; all others stay themselves."""
    folded = {
        "sil": "h# pau epi bcl dcl gcl pcl tcl kcl",
        "aa": "ao",
        "ah": "ax ax-h",
        "er": "axr",
        "hh": "hv",
        "ih": "ix",
        "l": "el",
        "m": "em",
        "n": "en nx",
        "ng": "eng",
        "sh": "zh",
        "uw": "ux",
    }
    expected = {phone: name for name, phones in folded.items() for phone in phones.split()}
    folding = read_folding(folding_path()).classes
    assert expected == {phone: name for phone, name in folding.items() if name and phone != name}


def test_the_folding_is_lhotses() -> None:
    theirs = get_phonemes(39)
    del theirs["sil"]
    assert read_folding(folding_path()).classes == theirs


def test_silences_are_scored_as_silence() -> None:
    folding = read_folding(folding_path()).classes
    assert {folding[phone] for phone in SILENCES} == {"sil"}


def test_the_silence_that_starts_a_stop_is_its_closure() -> None:
    samples = np.ones(100, np.int16)
    samples[10:30] = 0
    samples[50:56] = 0
    phones = [("a", 0, 10), ("k", 10, 40), ("a", 40, 50), ("tS", 50, 70), ("b", 70, 80)]
    assert list(timit_phones(samples, phones, RATE)) == [
        ("ae", 0, 10),
        ("kcl", 10, 30),
        ("k", 30, 40),
        ("ae", 40, 50),
        ("tcl", 50, 56),
        ("ch", 56, 70),
        ("b", 70, 80),
    ]


def test_silence_too_short_for_a_closure_and_that_of_other_phones_stays_with_the_phone() -> None:
    samples = np.ones(60, np.int16)
    samples[0:4] = 0
    samples[20:40] = 0
    phones = [("d", 0, 20), ("s", 20, 60)]
    assert list(timit_phones(samples, phones, RATE)) == [("d", 0, 20), ("s", 20, 60)]


def test_a_stop_without_a_burst_stays_a_stop() -> None:
    samples = np.zeros(20, np.int16)
    assert list(timit_phones(samples, [("t", 0, 20)], RATE)) == [("t", 0, 20)]


def test_stress_is_no_part_of_a_phone_and_an_unknown_one_is_named() -> None:
    samples = np.ones(20, np.int16)
    assert list(timit_phones(samples, [("'i:", 0, 20)], RATE)) == [("iy", 0, 20)]
    with pytest.raises(ValueError, match="espeak-ng's phone 'x' must be in"):
        list(timit_phones(samples, [("x", 0, 20)], RATE))
