"""Units of a boundary model: letters of any script, words' own, phones of a lexicon."""

from pathlib import Path

import pytest

from espnet_ottc.alignment.boundary.units import OTHER, SILENCE, Units, letters, read_lexicon


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Don't", "dont"),
        ("ÉTÉ", "été"),
        ("Straße", "strasse"),
        ("ﬁn", "fin"),
        ("привет", "привет"),
        ("東京", "東京"),
        ("42", "42"),
        ("—", ""),
    ],
)
def test_letters_are_what_unicode_says(word: str, expected: str) -> None:
    assert letters(word) == tuple(expected)


def test_marks_belong_to_their_letter() -> None:
    assert letters("हिन्दी") == ("हि", "न्", "दी")
    # Composed and decomposed spellings are the same; a mark written twice is one.
    assert letters("e\u0301") == letters("é") == ("é",)
    assert letters("q\u0323\u0323") == letters("q\u0323")


def test_rare_units_fall_back_to_their_letter_then_to_the_common_one() -> None:
    texts = [["été", "ete", "zeta"], ["tete", "zeta"]]
    units = Units.of(texts, 3)
    assert units.names == ("e", "t", OTHER, SILENCE)
    assert units.spell("été") == ((0, 1, 0),)
    assert units.spell("z") == units.spell("?") == ((2,),)


def test_words_that_come_often_have_units_of_their_own() -> None:
    texts = [["Nine", "nine.", "one"], ["NINE", "ten", "nest"]]
    units = Units.of(texts, 1, own_uses=3, own_units=9)
    own = ("e nine 0", "i nine 0", "n nine 0", "n nine 1")
    assert units.names == ("e", "n", "o", "s", "t", *own, OTHER, SILENCE)
    assert units.symbols[5:9] == ("e", "i", "n", "n")
    # Case and punctuation are not heard; both n are units of their own.
    assert units.spell("nine!") == units.spell("NINE") == ((7, 6, 8, 5),)
    assert units.spell("one") == ((2, 1, 0),)
    # In a new word i is what it is where it was heard.
    assert units.spell("in") == ((6, 1),)
    # A number of two words has both words' units.
    assert units.spell("nine one") == ((7, 6, 8, 5, 2, 1, 0),)
    # Kept by name alone.
    assert Units(units.names[:-1]).spell("nine") == units.spell("nine")
    # As many as fit, of the words that come most.
    for most, words in ((3, set()), (4, {"nine"}), (7, {"nine", "one"}), (99, {"nine", "one"})):
        found = Units.of([*texts, ["one"]], 1, own_uses=2, own_units=most)
        assert {name.split()[1] for name in found.names if " " in name} == words


def test_units_beside_neighbours_of_models_of_before_are_spelled() -> None:
    units = Units(["a", "e", "h", "t", "e n<>#", "h t<>", "t #<>h"])

    def spelled(word: str) -> list[str]:
        (spelling,) = units.spell(word)
        return [units.names[i] for i in spelling]

    assert spelled("the") == ["t #<>h", "h t<>", "e"]
    assert spelled("ne") == [OTHER, "e n<>#"]
    assert units.symbols[4:7] == ("e", "h", "t")


def test_all_pronunciations_of_a_word_that_comes_often_are_its_own() -> None:
    lexicon = {"THE": (("dh", "ah"), ("dh", "iy")), "CAT": (("k", "ae", "t"),)}
    units = Units.of([["the", "The", "cat"]], 1, lexicon, own_uses=2, own_units=9)
    spelled = [[units.names[i] for i in variant] for variant in units.spell("the")]
    assert spelled == [["dh the 0", "ah the 0"], ["dh the 0", "iy the 0"]]
    assert [units.names[i] for i in units.spell("CAT")[0]] == ["k", "ae", "t"]


def test_a_lexicon_gives_pronunciations_and_letters_where_it_lacks_a_word(tmp_path: Path) -> None:
    path = tmp_path / "lexicon"
    path.write_text("THE dh ah\nTHE dh iy\nCAT k ae t\n")
    units = Units.of([["the", "cat", "xx"]], 1, read_lexicon(path))
    spelled = [[units.names[i] for i in variant] for variant in units.spell("THE")]
    assert spelled == [["dh", "ah"], ["dh", "iy"]]
    assert [units.names[i] for i in units.spell("xx")[0]] == ["x", "x"]
    path.write_text(
        "\ufeff;;; CMUdict\nTHE DH AH0\nTHE(2) DH IY0  # a note\n"
        "cat\t0.99\t0.05\t1.0\tk ae t\n\n(1) w ah n\n",
        encoding="utf-8",
    )
    assert read_lexicon(path) == {
        "THE": (("DH", "AH0"), ("DH", "IY0")),
        "cat": (("k", "ae", "t"),),
        "(1)": (("w", "ah", "n"),),
    }
    path.write_text("THE\n")
    with pytest.raises(ValueError, match="needs phones"):
        read_lexicon(path)
