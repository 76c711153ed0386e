"""Readers of damaged files: each reads, or tells in one clear error which file is wrong."""

from pathlib import Path

import pytest
from fuzz_readers import CORPUS, ReaderError, cases, check
from readers import Reader, hostile_pickle, readers

# Of each reader in the default tests; `make fuzz` takes thousands.
CASES = 60
NAMES = sorted(readers())


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_reads_its_samples(name: str) -> None:
    reader = readers()[name]
    assert all(check(reader, sample) for sample in reader.samples)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_named_in_one_error(name: str) -> None:
    reader = readers()[name]
    read = [check(reader, content) for content in cases(reader, 0, CASES)]
    # Some changes do no harm, others do; a reader that takes or refuses all tells them not apart.
    assert any(read)


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_files_that_once_made_a_reader_fail_do_so_no_more(path: Path) -> None:
    check(readers()[path.parent.name], path.read_bytes())


def test_every_folder_of_the_corpus_belongs_to_a_reader() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(NAMES)


def test_parameters_that_would_run_code_are_refused_and_run_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    model = readers()["boundary_json"]
    description = model.path(tmp_path / "model", model.samples[0])
    others = [path for path in description.parent.iterdir() if path != description]
    for path in (tmp_path / "a.pth", *others):
        path.write_bytes(hostile_pickle())
    with pytest.raises(ValueError, match=r"a\.pth"):
        readers()["parameters"].read(tmp_path / "a.pth")
    with pytest.raises(ValueError, match="model"):
        model.read(description)
    assert not (tmp_path / "PWNED").exists()


def _raise_key_error(path: Path) -> object:
    raise KeyError(path.name)


def _raise_nameless(path: Path) -> object:
    raise ValueError("it is wrong")


@pytest.mark.parametrize("read", [_raise_key_error, _raise_nameless])
def test_the_check_finds_errors_of_other_kinds_and_those_that_name_no_file(read: object) -> None:
    with pytest.raises(ReaderError):
        check(Reader("some.file", read, (b"x",)), b"x")  # type: ignore[arg-type]
