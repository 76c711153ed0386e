"""The options of the criteria."""

import subprocess
import sys

import pytest

from espnet_ottc.espnet.criteria.options import (
    OPTIONS,
    OTTCOptions,
    boundary_label_id,
    ctc_defaults,
    parse_conf,
    resolve_boundary_label,
    unaligned_label_id,
)


def test_a_misspelt_option_is_an_error_that_names_the_near_match():
    with pytest.raises(ValueError, match=r"'boundry_label'; did you mean boundary_label\?"):
        parse_conf({"ctc_type": "ottc", "boundry_label": "<space>"}, OTTCOptions)


def test_an_option_that_resembles_none_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'zzz'; known options: boundary_label, label_weights"):
        parse_conf({"zzz": 1}, OTTCOptions)


def test_what_espnets_parser_puts_into_every_ctc_conf_is_accepted():
    options, shared = parse_conf(
        {**ctc_defaults(), "ctc_type": "ottc", "dropout_rate": 0.2}, OTTCOptions
    )
    assert options == OTTCOptions()
    assert shared == {"dropout_rate": 0.2, "reduce": True, "zero_infinity": True}


def test_ctcs_former_name_of_zero_infinity_is_understood_and_comes_first():
    for conf in ({"ignore_nan_grad": False}, {"ignore_nan_grad": False, "zero_infinity": True}):
        assert parse_conf(conf, OTTCOptions)[1] == {"zero_infinity": False}


@pytest.mark.parametrize(
    ("conf", "error", "message"),
    [
        (
            {"label_weights": "oracle"},
            ValueError,
            "label_weights must be one of uniform, ali, learned",
        ),
        ({"alpha": "fixed"}, ValueError, "alpha must be one of learned, uniform; got 'fixed'"),
        ({"scale": "nats"}, ValueError, "scale must be one of frames, labels, utterance"),
        (
            {"label_weight_floor": 1.0},
            ValueError,
            r"label_weight_floor must lie in \[0, 1.0\), got 1.0",
        ),
        ({"drop_threshold": 1.5}, ValueError, r"drop_threshold must lie in \[0, 1.0\], got 1.5"),
        ({"aux_ctc_weight": -0.1}, ValueError, r"aux_ctc_weight must lie in \[0, inf\), got -0.1"),
        ({"aux_ctc_weight": float("nan")}, ValueError, "aux_ctc_weight"),
        ({"dropout": "0.1"}, TypeError, "dropout must be a number, got '0.1'"),
        ({"freeze_alpha_after_epoch": -1}, ValueError, "freeze_alpha_after_epoch"),
        ({"freeze_alpha_after_epoch": True}, ValueError, "freeze_alpha_after_epoch"),
        ({"freeze_alpha_after_epoch": 3, "alpha": "uniform"}, ValueError, "nothing to freeze"),
        ({"flat_start_epochs": 1.5}, ValueError, "flat_start_epochs must be a number of epochs"),
        ({"flat_start_epochs": 3, "alpha": "uniform"}, ValueError, "flat_start_epochs is for"),
        ({"flat_start_epochs": 3, "label_weights": "learned"}, ValueError, "not learned"),
        ({"null_capacity": 1.1}, ValueError, r"null_capacity must lie in \[0, 1.0\], got 1.1"),
        ({"null_weight": -1}, ValueError, "null_weight must lie in"),
        ({"null_after_epoch": 0.5}, ValueError, "null_after_epoch must be a number of epochs"),
        ({"null_capacity": 0.9, "alpha": "uniform"}, ValueError, "is for alpha: learned"),
        ({"null_capacity": 0.9, "label_weights": "ali"}, ValueError, "excludes label_weights: ali"),
        ({"unaligned_label": 3}, ValueError, "unaligned_label needs a null_capacity above 0"),
        (
            {"unaligned_label": 3, "boundary_label": 3, "null_capacity": 0.9},
            ValueError,
            "unaligned_label must not be the boundary_label",
        ),
        ({"unaligned_label": 0, "null_capacity": 0.9}, ValueError, "unaligned_label must not be"),
        ({"boundary_label": 0}, ValueError, "must not be the blank"),
        ({"boundary_label": 1.5}, TypeError, "boundary_label must be a token, its id or null"),
    ],
)
def test_a_bad_value_is_an_error_that_names_option_rule_and_value(conf, error, message):
    with pytest.raises(error, match=message):
        parse_conf(conf, OTTCOptions)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"ctc_type": "ctc_prior", "prior_scal": 1}, "did you mean prior_scale"),
        ({"ctc_type": "ctc_prior", "prior_scale": -1}, r"prior_scale must lie in \[0, inf\)"),
        ({"ctc_type": "ctc_prior", "prior_after_epoch": 1.5}, "prior_after_epoch must be a number"),
        ({"ctc_type": "cr_ctc", "consistency_weight": -1}, "consistency_weight must lie in"),
        ({"ctc_type": "single_path", "floor": 1}, "ctc_type single_path has no option 'floor'"),
    ],
)
def test_the_other_criteria_check_theirs(conf, message):
    with pytest.raises(ValueError, match=message):
        parse_conf(conf, OPTIONS[conf["ctc_type"]])


@pytest.mark.parametrize(
    ("label", "tokens", "token", "number"),
    [
        ("<word_break>", ["<blank>", "<space>", "a"], "<space>", 1),
        ("<word_break>", ["<blank>", "a", "▁"], "▁", 2),
        ("<word_break>", ["<blank>", "<space>", "<word_break>"], "<word_break>", 2),
        ("a", ["<blank>", "<space>", "a"], "a", 2),
        (2, ["<blank>", "<space>", "a"], 2, 2),
        (None, ["<blank>"], None, None),
    ],
)
def test_a_boundary_label_means_a_token_of_the_list(label, tokens, token, number):
    assert resolve_boundary_label(label, tokens) == token
    assert boundary_label_id(label, tokens) == number


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("<word_break>", "needs the token <space> or ▁"),
        ("<space>", "got '<space>', and the token list has none .<word_break> means"),
        ("|", "must be one of the tokens; got '.'"),
        ("<blank>", "must not be the blank"),
    ],
)
def test_a_boundary_label_that_no_token_fits_is_an_error(label, message):
    with pytest.raises(ValueError, match=message):
        resolve_boundary_label(label, ["<blank>", "a", "b"])


def test_an_unaligned_word_break_is_nothing_where_the_tokens_have_none():
    assert unaligned_label_id("<word_break>", ["<blank>", "aa", "b"]) is None
    assert unaligned_label_id("<word_break>", ["<blank>", "a", "▁"]) == 2
    with pytest.raises(ValueError, match="unaligned_label must be one of the tokens; got 'x'"):
        unaligned_label_id("x", ["<blank>", "a", "b"])


def test_checking_options_imports_neither_espnet_nor_pytorch():
    code = (
        "import sys; from espnet_ottc.espnet.criteria.options import OTTCOptions, parse_conf; "
        "parse_conf({'ctc_type': 'ottc', 'boundary_label': '<word_break>'}, OTTCOptions); "
        "print({'espnet2', 'lhotse', 'torch'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
