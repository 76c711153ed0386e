"""Files and folders that are written aside: never half of one, in its place."""

import os
import shutil

import pytest

from espnet_ottc.utils.files import folder_written_aside, written_aside


def _fill(folder, *names):
    for name in names:
        (folder / name).write_text(name)


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_the_place_of_another(tmp_path):
    for names in (("a", "b"), ("c",)):
        with folder_written_aside(tmp_path / "model") as aside:
            _fill(aside, *names)
        assert _names(tmp_path / "model") == list(names)
    assert _names(tmp_path) == ["model"]


def test_the_old_folder_is_never_there_in_part(tmp_path, monkeypatch):
    with folder_written_aside(tmp_path / "model") as aside:
        _fill(aside, "a", "b")
    seen = []
    remove = shutil.rmtree

    def removing(path, **options):
        seen.append(_names(tmp_path / "model"))
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", removing)
    with folder_written_aside(tmp_path / "model") as aside:
        _fill(aside, "c")
    assert seen
    assert all(names == ["c"] for names in seen)


def test_the_old_folder_comes_back_where_the_new_one_cannot_be_put(tmp_path, monkeypatch):
    with folder_written_aside(tmp_path / "model") as aside:
        _fill(aside, "a")
    move = os.replace

    def once(source, target):
        if _names(source) == ["b"]:
            raise PermissionError("not there")
        move(source, target)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(PermissionError), folder_written_aside(tmp_path / "model") as aside:
        _fill(aside, "b")
    assert _names(tmp_path) == ["model"]
    assert _names(tmp_path / "model") == ["a"]


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    long = "ä" * 126 + ".gz"
    with written_aside(tmp_path / long) as aside:
        assert aside.suffix == ".gz"
        aside.write_text("whole")
    assert (tmp_path / long).read_text() == "whole"
    with folder_written_aside(tmp_path / ("x" * 255)) as aside:
        _fill(aside, "a")
    assert _names(tmp_path / ("x" * 255)) == ["a"]


def test_what_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "x"
    path.write_text("before")

    def fail():
        with written_aside(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "before"
    assert _names(tmp_path) == ["x"]
