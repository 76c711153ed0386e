"""A configuration is what its YAML and the files below it say, and ESPnet reads the flat result."""

from pathlib import Path

import pytest
import yaml

from espnet_ottc.recipe import configs
from espnet_ottc.recipe.configs import Config, render, resolve, resolve_system, system_files, write


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder: `shared` has a base with two systems, `own` is based on it."""
    monkeypatch.chdir(tmp_path)
    put("shared/base.yaml", "lr: 1\nmax_epoch: 40\nctc_conf: {ctc_type: builtin}\n")
    put("shared/train_ctc.yaml", "# Purpose: CTC.\nbase: base.yaml\n")
    put("shared/train_ottc.yaml", "base: base.yaml\nctc_conf: {ctc_type: ottc, alpha: uniform}\n")
    put("own/base.yaml", "base: ../shared/base.yaml\nmax_epoch: 24\n")
    return tmp_path


def put(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def values(text: str, base: str = "") -> dict:
    """What `text` on `base` amounts to."""
    put("below.yaml", base or "{}")
    return dict(resolve(put("above.yaml", f"base: below.yaml\n{text}")).values)


def test_a_yaml_without_a_base_stays_as_it_is(folder):
    content = {"max_epoch": 2, "normalize": None, "encoder_conf": {"size": 3}, "optim": "adam"}
    assert resolve(put("x.yaml", yaml.safe_dump(content))) == Config(content, (Path("x.yaml"),))


def test_mappings_are_merged_and_everything_else_replaced(folder):
    base = "a: {b: {c: 1, d: 2}, e: [1, 2]}\nf: {g: 1}\nh: x\nk: 1\n"
    merged = values("a: {b: {c: 3}, e: [4]}\nf: null\nh: {i: 1}\nj: null\n", base)
    assert merged == {
        "a": {"b": {"c": 3, "d": 2}, "e": [4]}, "f": None, "h": {"i": 1}, "j": None, "k": 1
    }  # fmt: skip


def test_a_base_may_have_a_base_and_each_is_relative_to_its_file(folder):
    put("deep/x/one.yaml", "a: 1\nb: 1\nc: 1\n")
    put("deep/two.yaml", "base: x/one.yaml\nb: 2\nc: 2\n")
    config = resolve(put("three.yaml", "base: deep/two.yaml\nc: 3\n"))
    assert config.values == {"a": 1, "b": 2, "c": 3}
    assert [str(f) for f in config.files] == ["three.yaml", "deep/two.yaml", "deep/x/one.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: x.yaml", "cannot be based on itself: x.yaml -> x.yaml"),
        ("base: y.yaml", "cannot be based on itself: x.yaml -> y.yaml -> x.yaml"),
        ("base: no/z.yaml", "x.yaml: its base no/z.yaml cannot be read: No such file"),
        ("base: [y.yaml]", r"x.yaml: base must be the name of a file, got \['y.yaml'\]"),
        ("- 1", "x.yaml: must be a mapping"),
        ("a: [", "x.yaml: must be YAML"),
        ("criteria: {ottc: 1}", "x.yaml: criteria must be options of ctc_conf"),
        ("criteria: {ottc: {ctc_type: ottc}}", "x.yaml: criteria must be options of ctc_conf"),
        ("ctc_conf: {stop_epoch: 50%}", "x.yaml: stop_epoch: 50% needs max_epoch"),
        ("max_epoch: 9\nctc_conf: {stop_epoch: -10}", "stop_epoch must lie in the training's 9 ep"),
        ("max_epoch: 9\nctc_conf: {stop_epoch: 101%}", "stop_epoch must lie in the .* got 101%"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_file(folder, text, message):
    put("y.yaml", "base: x.yaml\n")
    with pytest.raises(ValueError, match=message):
        resolve(put("x.yaml", text))


def test_options_of_another_criterion_do_not_stay(folder):
    base = "ctc_conf: {ctc_type: ottc, alpha: uniform, scale: labels}\n"
    assert values("ctc_conf: {ctc_type: builtin}", base)["ctc_conf"] == {"ctc_type": "builtin"}
    merged = values("ctc_conf: {scale: frames}", base)["ctc_conf"]
    assert merged == {"ctc_type": "ottc", "alpha": "uniform", "scale": "frames"}


def test_a_criterion_starts_from_what_its_base_gives_it(folder):
    base = "criteria: {ottc: {a: 1, b: 2}, cr_ctc: {a: 7}}\nctc_conf: {ctc_type: builtin}\n"
    merged = values("criteria: {ottc: {b: 3}}\nctc_conf: {ctc_type: ottc, c: 4}", base)
    assert merged == {"ctc_conf": {"ctc_type": "ottc", "a": 1, "b": 3, "c": 4}}
    assert values("ctc_conf: {ctc_type: ottc, a: null}", base)["ctc_conf"].keys() == {
        "ctc_type",
        "b",
    }
    assert values("", base)["ctc_conf"] == {"ctc_type": "builtin"}


@pytest.mark.parametrize(
    ("written", "max_epoch", "epochs"),
    [
        ("62.5%", 40, 25),
        ("60%", 24, 14),
        ("100%", 24, 24),
        (-10, 24, 14),
        (12, 24, 12),
        ("half", 24, "half"),
    ],
)
def test_epochs_may_be_shares_of_the_training_or_count_from_its_end(
    folder, written, max_epoch, epochs
):
    text = f"max_epoch: {max_epoch}\nctc_conf: {{flat_epochs: {written}, weight: {written}}}"
    conf = values(text)["ctc_conf"]
    assert conf == {"flat_epochs": epochs, "weight": written}
    assert type(conf["flat_epochs"]) is type(epochs)


def test_a_folder_inherits_the_systems_of_its_bases_on_its_own_base(folder):
    put("own/train_ctc.yaml", "base: base.yaml\nlr: 2\n")
    assert {name: str(path) for name, path in system_files(Path("own")).items()} == {
        "ctc": "own/train_ctc.yaml",
        "ottc": "shared/train_ottc.yaml",
    }
    ctc, ottc = (resolve_system(Path("own"), name) for name in ("ctc", "ottc"))
    assert ctc.values == {"lr": 2, "max_epoch": 24, "ctc_conf": {"ctc_type": "builtin"}}
    ottc_conf = {"ctc_type": "ottc", "alpha": "uniform"}
    assert ottc.values == {"lr": 1, "max_epoch": 24, "ctc_conf": ottc_conf}
    files = ["shared/train_ottc.yaml", "own/base.yaml", "shared/base.yaml"]
    assert list(map(str, ottc.files)) == files
    assert resolve_system(Path("shared"), "ottc").values["max_epoch"] == 40


def test_an_inherited_system_may_stand_on_another_one(folder):
    put("shared/train_joint.yaml", "base: train_ottc.yaml\nctc_conf: {aux: 1}\n")
    config = resolve_system(Path("own"), "joint")
    assert config.values["ctc_conf"] == {"ctc_type": "ottc", "alpha": "uniform", "aux": 1}
    assert config.values["max_epoch"] == 24


def test_a_system_that_does_not_stand_on_the_base_is_left_alone(folder):
    put("own/train_whole.yaml", "lr: 5\n")
    assert resolve_system(Path("own"), "whole").values == {"lr": 5}


def test_a_folder_that_is_a_link_finds_its_base(folder):
    put("elsewhere/x/conf/base.yaml", "base: ../../base.yaml\nmax_epoch: 3\n")
    put("elsewhere/base.yaml", "lr: 7\n")
    put("elsewhere/train_ctc.yaml", "base: base.yaml\n")
    Path("conf").symlink_to("elsewhere/x/conf")
    assert resolve_system(Path("conf"), "ctc").values == {"lr": 7, "max_epoch": 3}


def test_a_system_that_is_nowhere_is_told_where_it_was_looked_for(folder):
    with pytest.raises(ValueError, match=r"no train_otc.yaml in own or shared, but ctc, ottc"):
        resolve_system(Path("own"), "otc")
    with pytest.raises(ValueError, match=r"no train_ctc.yaml in nowhere, but none"):
        resolve_system(Path("nowhere"), "ctc")


def test_the_flat_yaml_says_what_it_is_made_of_and_holds_the_values(folder):
    config = resolve_system(Path("own"), "ctc")
    text = render(config)
    assert yaml.safe_load(text) == config.values
    head = text[: text.index("\nlr:")].splitlines()
    assert head[0] == "# Purpose: CTC."
    files = ["#   shared/train_ctc.yaml", "#   own/base.yaml", "#   shared/base.yaml"]
    assert head[-3:] == files


def test_a_value_changes_the_written_file_and_a_comment_does_not(folder):
    out = folder / "exp/ctc.yaml"
    write(resolve_system(Path("own"), "ctc"), out)
    before = out.read_text()
    put("shared/train_ctc.yaml", "# Another comment.\nbase: base.yaml\n")
    write(resolve_system(Path("own"), "ctc"), out)
    assert out.read_text() == before
    put("shared/base.yaml", "lr: 2\nctc_conf: {ctc_type: builtin}\n")
    write(resolve_system(Path("own"), "ctc"), out)
    assert yaml.safe_load(out.read_text())["lr"] == 2
    out.write_text("a: [")
    write(resolve_system(Path("own"), "ctc"), out)
    assert yaml.safe_load(out.read_text())["lr"] == 2


def test_the_command_lists_systems_and_prints_one(folder, capsys):
    assert configs.main(["own"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["ctc", "shared/train_ctc.yaml"], ["ottc", "shared/train_ottc.yaml"]]
    assert configs.main(["own", "ottc"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed == resolve_system(Path("own"), "ottc").values
    assert configs.main(["own", "otc"]) == 1
    assert "error: there is no train_otc.yaml" in capsys.readouterr().err


def test_an_overlay_counts_more_than_the_base_and_less_than_the_file_itself(folder):
    put("below.yaml", "a: 1\nb: {c: 1, d: 1, e: 1}\nmax_epoch: 10\n")
    put("deep/first.yaml", "b: {c: 2, d: 2}\nmodel_conf: {transfer_conf: {after_epoch: 50%}}\n")
    put("deep/second.yaml", "base: first.yaml\nb: {d: 3}\n")
    config = resolve(put("x.yaml", "base: below.yaml\noverlay: deep/second.yaml\na: 4\n"))
    assert config.values == {
        "a": 4, "b": {"c": 2, "d": 3, "e": 1}, "max_epoch": 10,
        "model_conf": {"transfer_conf": {"after_epoch": 5}},
    }  # fmt: skip
    names = ("x.yaml", "deep/second.yaml", "deep/first.yaml", "below.yaml")
    assert config.files == tuple(map(Path, names))
    with pytest.raises(ValueError, match="overlay must be the name of a file, got 1"):
        resolve(put("y.yaml", "overlay: 1\n"))


def test_an_inherited_system_is_based_on_the_folders_own_system(folder):
    put("below/base.yaml", "a: 1\n")
    put("below/train_x.yaml", "base: base.yaml\nb: 1\n")
    put("below/train_x_more.yaml", "base: train_x.yaml\noverlay: more.yaml\n")
    put("below/more.yaml", "c: 1\n")
    put("mine/base.yaml", "base: ../below/base.yaml\na: 2\n")
    put("mine/train_x.yaml", "base: base.yaml\nb: 2\n")
    assert resolve_system(Path("mine"), "x_more").values == {"a": 2, "b": 2, "c": 1}
    assert resolve_system(Path("below"), "x_more").values == {"a": 1, "b": 1, "c": 1}
