"""The HTML page: its numbers, its safety, its completeness, and what it says of what is missing."""

import base64
import io
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import soundfile
from torch.utils.tensorboard import SummaryWriter

from espnet_ottc.report.gathering import gather
from espnet_ottc.report.metrics import METRICS
from espnet_ottc.report.page import render_page
from espnet_ottc.report.results import read_rows
from espnet_ottc.report.sections import Sections

pytest.importorskip("matplotlib")

VOID = {"meta", "link", "br", "img", "hr", "input"}
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Elements with their attributes, text by element, and a check that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.cells: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def render(experiment: Any, utterances: int = 2, audio_limit: int = 10**6) -> str:
    experiment.save()
    rows = read_rows(experiment.results)
    sections = gather(rows, experiment.exp, experiment.data, utterances, audio_limit)
    return render_page(rows, sections, "results.jsonl", "the command")


def test_a_complete_experiment_gives_every_part_and_nothing_missing(experiment: Any) -> None:
    page = Page(render(experiment))
    assert len(page.all("svg")) == 4  # curves, evolution, two utterances
    assert len(page.all("audio")) == 2
    assert not any("missing" in a.get("class", "") for _, a in page.elements)


@pytest.mark.parametrize("key", [metric.key for metric in METRICS])
def test_a_changed_row_changes_the_mean_and_the_seeds_value(experiment: Any, key: str) -> None:
    metric = next(metric for metric in METRICS if metric.key == key)

    def cells() -> list[list[str]]:
        experiment.save()
        rows = read_rows(experiment.results)
        return [c.split() for c in Page(render_page(rows, Sections(), "", "")).cells]

    ctc = {row["seed"]: row for row in experiment.rows if row["system"] == "ctc"}
    for value in (ctc[2][key], 5555.5):
        ctc[2][key] = value
        mean = (ctc[1][key] + value) / 2
        assert [metric.text(number) for number in (mean, ctc[1][key], value)] in cells()


def test_counts_intervals_and_provenance_are_there(experiment: Any) -> None:
    text = Page(render(experiment)).text
    for fact in (
        "Snt 211, Wrd 1087, Corr 1031, Sub 41, Del 15, Ins 7",
        "[3.91, 6.47]",
        "c0ffee5",
        "torch 2.11.0, espnet 202511",
        "asr_train --config conf/ottc.yaml --seed 2",
        "the command",
    ):
        assert fact in text


def test_nothing_is_loaded_from_outside(experiment: Any) -> None:
    text = render(experiment)
    addresses = set(re.findall(r"https?://[^\s\"'<>]*", text))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for _, attributes in Page(text).elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_ids_are_unique_and_references_resolve(experiment: Any) -> None:
    text = render(experiment)
    page = Page(text)
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    targets = set(re.findall(r"url\(#([^)]*)\)", text))
    targets |= {a["xlink:href"][1:] for _, a in page.elements if a.get("xlink:href", "")[:1] == "#"}
    targets |= {a["href"][1:] for a in page.all("a")}
    assert targets <= set(ids)
    assert targets


def test_figures_have_alternatives_and_captions_and_tables_have_headers(experiment: Any) -> None:
    page = Page(render(experiment))
    drawings = [a for _, a in page.elements if a.get("role") == "img"]
    assert len(drawings) == len(page.all("figure")) == len(page.all("figcaption")) == 4
    assert all(len(a["aria-label"]) > 30 for a in drawings)
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert all(a.get("aria-label") for a in page.all("audio"))
    assert page.all("html")[0]["lang"] == "en"


def test_a_flat_starts_losses_are_told_apart(experiment: Any) -> None:
    assert "In a flat start" not in render(experiment)
    events = experiment.folder("ctc", 1) / "tensorboard" / "train"
    writer = SummaryWriter(str(events), filename_suffix=".more")
    writer.add_scalar("loss_flat_start", 7.0, 10)
    writer.close()
    assert "In a flat start training has its own" in render(experiment)


def test_figures_follow_the_pages_colours(experiment: Any) -> None:
    text = render(experiment)
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    defined = set(re.findall(r"--([\w-]+):", text))
    assert {"ink", "series-0", "series-1"} <= used <= defined
    assert not re.search(r"#0[1-5]0[2-6]0[1-6]\b", text)


def test_markup_in_texts_words_and_names_stays_text(experiment: Any) -> None:
    experiment.write_set({"utt-a": [(HOSTILE.replace(" ", ""), 0.1, 0.4), ("$x_1$", 0.5, 0.9)]})
    for row in experiment.rows:
        row["provenance"]["command"] = f"run {HOSTILE}"
        if row["system"] == "ctc":
            row["system"] = "<b>&amp;"
    text = render(experiment)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not page.all("b") or all("<b>&amp;" not in cell for cell in page.cells[:1])
    assert HOSTILE.replace(" ", "") in page.text
    assert f"run {HOSTILE}" in page.text
    assert "<b>&amp;" in page.cells
    assert "$x_1$" in page.text


def test_letters_that_matplotlibs_font_lacks_and_controls_are_drawn(experiment: Any) -> None:
    experiment.write_set({"utt-a": [("你好", 0.1, 0.4), ("a\x01b", 0.5, 0.9)]})
    page = Page(render(experiment))
    assert "你好" in page.text
    assert "a\ufffdb" in page.text


def test_audio_is_the_cuts_own(experiment: Any) -> None:
    page = Page(render(experiment))
    for number, attributes in enumerate(page.all("audio")):
        head, _, data = attributes["src"].partition(",")
        assert head == "data:audio/flac;base64"
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        expected, _ = soundfile.read(experiment.data / "test-x" / f"{number}.wav")
        assert rate == 8000
        np.testing.assert_allclose(samples, expected, atol=1e-4)


def test_audio_above_the_limit_is_left_out_and_that_is_said(experiment: Any) -> None:
    page = Page(render(experiment, audio_limit=100))
    assert not page.all("audio")
    assert page.text.count("Audio left out:") == 2


def test_word_times_of_reference_and_systems_stand_side_by_side(experiment: Any) -> None:
    cells = Page(render(experiment)).cells
    place = cells.index("HELLO 0.100–0.400")
    assert cells[place + 1 : place + 3] == ["HELLO 0.210–0.455", "HELLO 0.130–0.415"]


def test_the_number_of_recordings_is_the_one_asked_for(experiment: Any) -> None:
    assert len(Page(render(experiment, utterances=1)).all("audio")) == 1
    none = Page(render(experiment, utterances=0))
    assert "No utterance is shown." in none.text


@pytest.mark.parametrize(
    ("lost", "said", "pictures"),
    [
        ("exp/ctc/seed1/tensorboard", "ctc/seed1: no epochs.jsonl, and no TensorBoard events", 4),
        ("exp/ottc/seed1/alignments", "No training left snapshots of its alignment", 3),
        ("exp/ottc/seed1/config.yaml", "config.yaml", 3),
        ("exp/ctc/seed1/align_forced", "ctc/seed1/align_forced/test-x/words.ctm", 4),
        ("data/test-x/cuts.jsonl.gz", "cuts.jsonl.gz: no such manifest", 1),
        ("data/test-x/0.wav", "utt-a: audio could not be read", 3),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_shown(
    experiment: Any, lost: str, said: str, pictures: int
) -> None:
    path = experiment.exp.parent / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = Page(render(experiment))
    assert said in page.text
    assert len(page.all("svg")) == pictures


def test_a_system_that_gave_an_utterance_no_times_is_said(experiment: Any) -> None:
    for system, decoder in (("ctc", "forced"), ("ottc", "viterbi")):
        path = experiment.folder(system, 1) / f"align_{decoder}" / "test-x" / "words.ctm"
        path.write_text("other 1 0.0 0.1 WORD\n")
    assert "utt-a: ottc viterbi gave no times." in Page(render(experiment)).text


def test_no_rows_give_a_page_that_says_so(experiment: Any) -> None:
    experiment.rows = []
    assert "There are no rows." in Page(render(experiment)).text
