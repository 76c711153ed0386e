"""Steps of a recipe run once, again when something changed, and never count when they failed."""

import gzip
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from espnet_ottc.recipe.marks import Step, StepError, check_done, perform


class Kitchen:
    """A folder with an input, a step that copies it, and what was said and done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source, self.product = folder / "in.txt", folder / "out.txt"
        self.mark = folder / ".marks" / "copy.json"
        self.source.write_text("one")
        self.said: list[str] = []
        self.resumed: list[bool] = []

    def step(self, **changes) -> Step:
        values = {
            "title": "copy",
            "mark": self.mark,
            "options": {"speed": 1, "names": ("a", "b")},
            "inputs": (self.source,),
            "outputs": (self.product,),
        }
        return Step(**{**values, **changes})

    def run(self, **changes) -> bool:
        return perform(self.step(**changes), self.copy, self.said.append)

    def copy(self, resumed: bool) -> None:
        self.resumed.append(resumed)
        self.product.write_bytes(self.source.read_bytes())

    def fail(self, resumed: bool) -> None:
        self.product.write_text("half")
        raise RuntimeError("interrupted")


@pytest.fixture
def kitchen(tmp_path) -> Kitchen:
    return Kitchen(tmp_path)


def test_a_step_runs_once(kitchen):
    assert kitchen.run() is True
    assert kitchen.run() is False
    assert kitchen.said == ["copy: started", "copy: done before, skipped"]


def test_a_changed_input_an_option_or_an_output_makes_it_run_again(kitchen):
    kitchen.run()
    kitchen.source.write_text("two")
    assert kitchen.run() is True
    assert kitchen.product.read_text() == "two"
    assert kitchen.run(options={"speed": 2}) is True
    kitchen.product.write_text("cut")
    assert kitchen.run(options={"speed": 2}) is True
    kitchen.product.unlink()
    assert kitchen.run(options={"speed": 2}) is True
    assert kitchen.run(options={"speed": 2}) is False


def test_a_file_that_was_only_touched_counts_as_the_same(kitchen):
    kitchen.run()
    os.utime(kitchen.source, ns=(1, 1))
    assert kitchen.run() is False


def test_a_copied_tree_counts_as_the_same(kitchen):
    folder = kitchen.folder / "corpus"
    folder.mkdir()
    (folder / "a.flac").write_text("sound")
    (folder / "a.txt").write_text("words")
    kitchen.run(inputs=(folder, kitchen.source))
    for path in (folder / "a.flac", folder / "a.txt", kitchen.source, kitchen.product):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    assert kitchen.run(inputs=(folder, kitchen.source)) is False


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", ["a.txt", "a.flac"])
def test_an_edit_that_keeps_size_and_time_is_noticed(kitchen, inside, name):
    folder = kitchen.folder / "corpus"
    folder.mkdir()
    file = folder / name
    file.write_text("one two")
    inputs = (folder if inside else file,)
    before = file.stat()
    kitchen.run(inputs=inputs)
    time.sleep(0.02)  # beyond the resolution of the file system's clock
    file.write_text("one ten")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert kitchen.run(inputs=inputs) is True


def test_a_change_at_either_end_of_a_long_recording_is_noticed(kitchen):
    folder = kitchen.folder / "corpus"
    folder.mkdir()
    sound = bytearray(300_000)
    (folder / "a.wav").write_bytes(sound)
    kitchen.run(inputs=(folder,))
    for place in (0, -1):
        sound[place] += 1
        (folder / "a.wav").write_bytes(sound)
        assert kitchen.run(inputs=(folder,)) is True


def test_a_compressed_file_is_known_by_its_content(kitchen):
    source = kitchen.folder / "in.gz"
    source.write_bytes(gzip.compress(b"text", mtime=1))
    kitchen.run(inputs=(source,))
    source.write_bytes(gzip.compress(b"text", mtime=2))
    assert kitchen.run(inputs=(source,)) is False
    source.write_bytes(gzip.compress(b"tent", mtime=2))
    assert kitchen.run(inputs=(source,)) is True


def test_a_file_below_an_input_directory_counts(kitchen):
    folder = kitchen.folder / "corpus"
    (folder / "speaker").mkdir(parents=True)
    (folder / "speaker" / "a.flac").write_text("sound")
    kitchen.run(inputs=(folder,))
    assert kitchen.run(inputs=(folder,)) is False
    (folder / "speaker" / "b.flac").write_text("sound")
    assert kitchen.run(inputs=(folder,)) is True


def test_a_file_behind_a_link_to_a_folder_counts_and_a_link_back_does_no_harm(kitchen):
    elsewhere, folder = kitchen.folder / "elsewhere", kitchen.folder / "corpus"
    for one in (elsewhere, folder):
        one.mkdir()
    (folder / "data").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "to_nothing").symlink_to("absent")
    (elsewhere / "a.flac").write_text("sound")
    kitchen.run(inputs=(folder,))
    assert kitchen.run(inputs=(folder,)) is False
    (elsewhere / "a.flac").write_text("silence")
    assert kitchen.run(inputs=(folder,)) is True


def test_a_damaged_compressed_output_is_made_again(kitchen):
    product = kitchen.folder / "out.gz"

    def work(resumed: bool) -> None:
        product.write_bytes(gzip.compress(b"many words " * 100))

    step = kitchen.step(outputs=(product,))
    perform(step, work, kitchen.said.append)
    whole = product.read_bytes()
    product.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StepError, match=r"stage 1 has to be run again: .*out\.gz has changed"):
        check_done({kitchen.mark: "stage 1"})
    assert perform(step, work, kitchen.said.append) is True
    assert gzip.decompress(product.read_bytes())


def test_a_damaged_mark_is_named(kitchen):
    kitchen.run()
    kitchen.mark.write_text("{")
    with pytest.raises(StepError, match=r"copy\.json is damaged, remove it"):
        kitchen.run()


@pytest.mark.parametrize("resumable", [True, False])
def test_a_failed_step_is_not_done_and_goes_on_only_where_it_can(kitchen, resumable):
    step = kitchen.step(resumable=resumable)
    with pytest.raises(RuntimeError, match="interrupted"):
        perform(step, kitchen.fail, kitchen.said.append)
    with pytest.raises(StepError, match="stage 1 has begun and is not finished"):
        check_done({kitchen.mark: "stage 1"})
    perform(step, kitchen.copy, kitchen.said.append)
    assert kitchen.resumed == [resumable]
    check_done({kitchen.mark: "stage 1"})


def test_a_failed_step_is_not_resumed_with_other_inputs(kitchen):
    with pytest.raises(RuntimeError):
        perform(kitchen.step(resumable=True), kitchen.fail, kitchen.said.append)
    kitchen.source.write_text("two")
    kitchen.run(resumable=True)
    assert kitchen.resumed == [False]


def test_an_input_that_changes_while_the_step_runs_is_noticed_afterwards(kitchen):
    def work(resumed: bool) -> None:
        kitchen.copy(resumed)
        kitchen.source.write_text("edited meanwhile")

    perform(kitchen.step(), work, kitchen.said.append)
    assert kitchen.run() is True


def test_missing_inputs_and_outputs_are_named(kitchen):
    with pytest.raises(StepError, match=r"copy: there is no .*absent"):
        kitchen.run(inputs=(kitchen.folder / "absent",))
    with pytest.raises(StepError, match=r"copy: there is no .*never"):
        kitchen.run(outputs=(kitchen.folder / "never",))
    with pytest.raises(StepError, match="not finished"):
        check_done({kitchen.mark: "it"})


def test_a_step_wants_the_step_before_it_done_with_what_is_there_now(kitchen):
    later = {"mark": kitchen.folder / "later.json", "after": {kitchen.mark: "stage 1 (copy)"}}
    with pytest.raises(StepError, match=r"stage 1 \(copy\) has to be run first"):
        kitchen.run(**later)
    kitchen.run()
    assert kitchen.run(**later) is True
    kitchen.source.write_text("two")
    with pytest.raises(
        StepError, match=r"stage 1 \(copy\) has to be run again: .*in.txt has changed"
    ):
        kitchen.run(**later)
    kitchen.source.unlink()
    with pytest.raises(StepError, match=r"in.txt is missing"):
        kitchen.run(**later)


def test_two_runs_do_a_step_once(kitchen):
    working, release = threading.Event(), threading.Event()

    def slow(resumed: bool) -> None:
        working.set()
        assert release.wait(120)
        kitchen.copy(resumed)

    first = threading.Thread(target=perform, args=(kitchen.step(), slow, kitchen.said.append))
    first.start()
    assert working.wait(120)

    def say(line: str) -> None:
        kitchen.said.append(line)
        release.set()

    assert perform(kitchen.step(), kitchen.copy, say) is False
    first.join()
    assert (
        f"copy: waiting for process {os.getpid()} on {socket.gethostname()}, which does this"
        in kitchen.said
    )
    assert kitchen.resumed == [False]
