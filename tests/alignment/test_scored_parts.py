"""Files that are scored in parts have the scores that they have as a whole."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from espnet_ottc.alignment.formats import read_ctm, read_durations, read_text, write_ctm
from espnet_ottc.alignment.formats.stretches import divide
from espnet_ottc.alignment.scoring import (
    TimesScoringOptions,
    WordScoringOptions,
    parts,
    score_time_files,
    score_times,
    score_word_files,
    score_words,
)
from espnet_ottc.alignment.scoring.jobs import ScoringJob
from espnet_ottc.alignment.scoring.part_files import read_part
from espnet_ottc.alignment.spans import Span
from espnet_ottc.bin import score_set

COUNT = 60
LEFT_OUT = (7, 8, 31)
Lines = list[tuple[str, list[str]]]


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "UTTERANCES", 1)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parts each scoring had that did not need the whole."""
    found: list[int] = []
    before = parts.count_parts

    def count_parts(options: Any, counted: Any, sums: Any) -> Any:
        number = 0

        def numbered(chosen: Any) -> Any:
            nonlocal number
            for part in counted(chosen):
                number += 1
                yield part

        result = before(options, numbered, sums)
        found.append(number)
        return result

    for module in ("words", "times"):
        monkeypatch.setattr(f"espnet_ottc.alignment.scoring.{module}.count_parts", count_parts)
    return found


def _texts(seed: int) -> tuple[Lines, Lines]:
    rng = random.Random(seed)
    left: Lines = []
    right: Lines = []
    for number in range(COUNT):
        words = rng.choices(["A", "B", "C\u00e9", "DD", "ÄÖ"], k=rng.randrange(6))
        heard = [rng.choice("ABX") if rng.random() < 0.2 else word for word in words]
        left.append((f"u{number}", words))
        right.append((f"u{number}", heard + ["A"] * (rng.random() < 0.1)))
    return left, right


def _write(path: Path, lines: Lines) -> Path:
    path.write_text("".join(f"{' '.join([name, *words])}\n" for name, words in lines))
    return path


def _same_words(left: Path, right: Path, **options: Any) -> None:
    chosen = WordScoringOptions(**options)
    whole = score_words(
        read_text(left), read_text(right), chosen, names=(str(left), str(right)), cores=1
    )
    assert score_word_files(left, right, chosen, cores=1).as_json() == whole.as_json()


@pytest.mark.parametrize(
    "options", [{}, {"skip": ["A"]}, {"ignore_case": True}, {"characters": False}]
)
def test_words_in_parts_score_as_a_whole(
    tmp_path: Path, counted: list[int], options: dict[str, Any]
) -> None:
    left, right = _texts(1)
    _same_words(_write(tmp_path / "left", left), _write(tmp_path / "right", right), **options)
    assert counted[0] > 3


def test_missing_and_further_utterances_are_left_out_in_their_parts(
    tmp_path: Path, counted: list[int]
) -> None:
    left, right = _texts(2)
    fewer = [line for number, line in enumerate(right) if number not in LEFT_OUT]
    fewer.insert(20, ("x", ["A"]))
    paths = _write(tmp_path / "left", left), _write(tmp_path / "right", fewer)
    _same_words(*paths, missing_is_empty=True, ignore_extra=True)
    assert counted
    with pytest.raises(ValueError, match=r"^u7, u8, u31: 3 of 60 have no hypothesis"):
        score_word_files(*paths, WordScoringOptions(ignore_extra=True))
    with pytest.raises(ValueError, match=r"^x: 1 of 58 have no reference"):
        score_word_files(*paths, WordScoringOptions(missing_is_empty=True))


def test_another_order_is_scored_as_a_whole(tmp_path: Path, counted: list[int]) -> None:
    left, right = _texts(3)
    random.Random(3).shuffle(right)
    paths = _write(tmp_path / "left", left), _write(tmp_path / "right", right)
    _same_words(*paths)
    _same_words(*paths, missing_is_empty=True, ignore_extra=True)
    assert not counted


@pytest.mark.parametrize("at", [1, 40])
def test_an_id_that_comes_again_is_told_with_its_line(tmp_path: Path, at: int) -> None:
    left, right = _texts(4)
    again = [*left[:at], ("u0", ["A"]), *left[at:]]
    paths = _write(tmp_path / "left", again), _write(tmp_path / "right", right)
    for options in ({}, {"missing_is_empty": True, "ignore_extra": True}):
        with pytest.raises(ValueError, match=rf"^u0: each id must stand once; .*left:{at + 1} "):
            score_word_files(*paths, WordScoringOptions(**options))
        with pytest.raises(ValueError, match=rf"^u0: each id must stand once; .*left:{at + 1} "):
            score_word_files(paths[1], paths[0], WordScoringOptions(**options))


def test_a_broken_line_is_told_with_its_number(tmp_path: Path) -> None:
    left, right = _texts(5)
    paths = _write(tmp_path / "left", left), _write(tmp_path / "right", right)
    lines = paths[1].read_bytes().splitlines(keepends=True)
    paths[1].write_bytes(b"".join([*lines[:44], b"u44 \xff\n", *lines[45:]]))
    with pytest.raises(ValueError, match=r"right:45: must be UTF-8 text, got the byte 0xFF"):
        score_word_files(*paths)


def test_symbols_of_a_dialect_late_in_a_file_are_left_out_from_its_start(
    tmp_path: Path, counted: list[int]
) -> None:
    left, right = _texts(6)
    # Only the last words tell that these are MFA's.
    for place in (0, 1, COUNT - 2):
        right[place] = (right[place][0], [*right[place][1], "<cutoff>", "<unk>"])
    right[-1] = (right[-1][0], [*right[-1][1], "spn"])
    paths = _write(tmp_path / "left", left), _write(tmp_path / "right", right)
    chosen = WordScoringOptions()
    whole = score_words(
        read_text(paths[0]), read_text(paths[1]), chosen, names=(str(paths[0]), str(paths[1]))
    )
    assert whole.notes
    assert score_word_files(*paths).as_json() == whole.as_json()
    assert counted[0] > 3


def _spans(seed: int) -> tuple[dict[str, list[Span]], dict[str, list[Span]]]:
    rng = random.Random(seed)
    left: dict[str, list[Span]] = {}
    right: dict[str, list[Span]] = {}
    for number in range(COUNT):
        now = 0.1
        left[f"u{number}"], right[f"u{number}"] = [], []
        for _ in range(1 + rng.randrange(6)):
            length = round(rng.random(), 4)
            word = rng.choice(["A", "B", "sil"])
            left[f"u{number}"].append(Span(word, now, now + length))
            moved = abs(now + round(rng.gauss(0, 0.05), 4))
            heard = rng.choice("AB") if rng.random() < 0.2 else word
            right[f"u{number}"].append(Span(heard, moved, moved + length))
            now += length
        right[f"u{number}"].sort(key=lambda span: (span.start, span.end))
    return left, right


def _time_files(folder: Path, seed: int) -> dict[str, Path]:
    left, right = _spans(seed)
    inner = {
        name: [Span(one.symbol, one.start + 0.001, one.end + 0.001) for one in spans]
        for name, spans in left.items()
    }
    for number in LEFT_OUT:
        del right[f"u{number}"]
    paths = {name: folder / name for name in ("reference.ctm", "hypothesis.ctm", "inner.ctm")}
    for path, spans in zip(paths.values(), (left, right, inner), strict=True):
        write_ctm(path, spans)
    rng = random.Random(seed)
    labels = [(name, rng.choices(["<blank>", "a", "b"], k=40)) for name in left]
    seconds = [(name, [str(max(one.end for one in spans) + 0.3)]) for name, spans in left.items()]
    return {
        "reference": paths["reference.ctm"],
        "hypothesis": paths["hypothesis.ctm"],
        "inner": paths["inner.ctm"],
        "frames": _write(folder / "labels", labels),
        "durations": _write(folder / "utt2dur", [*seconds, ("another", ["1.0"])]),
    }


@pytest.mark.parametrize("names", [(), ("inner",), ("frames",), ("inner", "frames", "durations")])
def test_times_in_parts_score_as_a_whole(
    tmp_path: Path, counted: list[int], names: Sequence[str]
) -> None:
    files = _time_files(tmp_path, 7)
    more = {name: files[name] for name in names}
    options = TimesScoringOptions(missing_is_empty=True, special=("<blank>", "sil"))
    whole = score_times(
        read_ctm(files["reference"]),
        read_ctm(files["hypothesis"]),
        options,
        inner=read_ctm(files["inner"]) if "inner" in names else None,
        frame_labels=read_text(files["frames"]) if "frames" in names else None,
        durations=read_durations(files["durations"]) if "durations" in names else None,
    ).as_json()
    found = score_time_files(
        files["reference"], files["hypothesis"], options, **more, cores=1
    ).as_json()
    assert counted[0] > 1
    for name in ("ref", "hyp", "inner"):
        found.pop(name, None)
        whole.pop(name, None)
    assert found == whole


def test_an_utterance_in_pieces_is_scored_as_one(tmp_path: Path, counted: list[int]) -> None:
    files = _time_files(tmp_path, 8)
    lines = files["reference"].read_text().splitlines(keepends=True)
    # The last of the first utterance comes at the end.
    place = max(number for number, line in enumerate(lines) if line.startswith("u0 "))
    files["reference"].write_text("".join([*lines[:place], *lines[place + 1 :], lines[place]]))
    options = TimesScoringOptions(missing_is_empty=True)
    found = score_time_files(files["reference"], files["hypothesis"], options).as_json()
    assert not counted
    assert found["utterances"] == COUNT
    assert found["reference_words"] == len(lines) - sum(" sil" in line for line in lines)


def test_an_utterance_without_a_duration_is_named(tmp_path: Path) -> None:
    files = _time_files(tmp_path, 9)
    lines = files["durations"].read_text().splitlines(keepends=True)
    files["durations"].write_text("".join(lines[:50] + lines[51:]))
    with pytest.raises(ValueError, match=r"^u50: an utterance's duration .* 1 of 60 have none"):
        score_time_files(
            files["reference"],
            files["hypothesis"],
            TimesScoringOptions(missing_is_empty=True),
            frames=files["frames"],
            durations=files["durations"],
        )


@pytest.mark.parametrize("times", [False, True])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_set_that_workers_score_has_the_scores_that_it_has_here(
    tmp_path: Path, times: bool, workers: int
) -> None:
    from espnet_ottc.utils.files import write_json

    if times:
        files = _time_files(tmp_path, 10)
    else:
        left, right = _texts(10)
        files = {
            "reference": _write(tmp_path / "left", left),
            "hypothesis": _write(tmp_path / "right", right),
        }
    more = {name: path for name, path in files.items() if name not in ("reference", "hypothesis")}
    settings = {"missing_is_empty": True, "dialect": "plain"} if times else {}
    job = ScoringJob(
        *("a set", times, files["reference"], files["hypothesis"], tmp_path / "out.json"),
        files=more,
        settings=settings,
    )
    job.run()
    expected = job.out.read_text(), job.out.with_suffix(".txt").read_text()
    write_json(tmp_path / "job.json", job.as_json())
    out = tmp_path / "parts"
    out.mkdir()
    for number in range(workers):
        words = ["--job", str(tmp_path / "job.json"), "--parts", str(workers), "--out", str(out)]
        assert score_set.main([*words, "--first", str(number), "--stop", str(number + 1)]) == 0
    found = sorted(out.iterdir())
    assert len(found) == len(job.parts(workers))
    assert len(found) > 1 or workers == 1
    job.out.unlink()
    job.run(lambda _: (read_part(path, times=times) for path in found))
    assert (job.out.read_text(), job.out.with_suffix(".txt").read_text()) == expected


@pytest.mark.parametrize("number", [1, 2, 7, 1000])
def test_parts_of_files_hold_all_lines_and_the_same_utterances(tmp_path: Path, number: int) -> None:
    files = _time_files(tmp_path, 11)
    found = divide(files, number)
    assert found is not None
    assert len(found) <= number
    for name, path in files.items():
        lines = path.read_bytes().splitlines(keepends=True)
        assert b"".join(part[name].read() for part in found) == path.read_bytes()
        for part in found:
            count = len(part[name].read().splitlines())
            first = part[name].line - 1
            assert b"".join(lines[first : first + count]) == part[name].read()
    known = [{line.split()[0] for line in part["reference"].read().splitlines()} for part in found]
    assert sum(map(len, known)) == COUNT
    for name in ("hypothesis", "inner", "frames"):
        for ids, part in zip(known, found, strict=True):
            assert {line.split()[0] for line in part[name].read().splitlines()} <= ids


def test_files_without_like_utterances_are_one_part(tmp_path: Path) -> None:
    left, right = _texts(12)
    other = [(f"x{name}", words) for name, words in right]
    files = {"a": _write(tmp_path / "a", left), "b": _write(tmp_path / "b", other)}
    assert [*map(len, divide(files, 5) or [])] == [2]
    empty = {"a": files["a"], "b": _write(tmp_path / "empty", [])}
    assert len(divide(empty, 5) or []) == 1
    files["b"].write_bytes("u0 A".encode("utf-16"))
    assert divide(files, 5) is None
