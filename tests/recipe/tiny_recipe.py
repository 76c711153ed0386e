"""A recipe of a handful of synthetic utterances, which a test can run from nothing to the table."""

import os
import shutil
import sys
from pathlib import Path

import yaml

from espnet_ottc.recipe.configs import resolve_system

ROOT = Path(__file__).parents[2]
TINY = {"max_epoch": 1, "num_iters_per_epoch": 2, "batch_size": 4}
ENCODER = {"channels": 16, "dilations": [1], "output_dilations": [1]}
WAV2VEC2 = {
    "extractor_mode": "layer_norm",
    "extractor_conv_layer_config": [
        [8, width, stride]
        for width, stride in [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
    ],
    "extractor_conv_bias": True,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 2,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 16,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_layer_norm_first": True,
}
HOURS = ("--synthetic_hours", "0.012", "--synthetic_dev_hours", "0.006")


def run_command(*words: str) -> tuple[list[str], dict[str, str]]:
    """run.sh with these options, and its environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ("AMI", "LIBRISPEECH", "TIMIT")}
    environment |= {
        # The interpreter of the tests, and the package under test.
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    return ["./run.sh", "--conf", "conf/tiny", "--nj", "1", *words], environment


def recipe_folder(folder: Path, recipe_name: str = "librispeech_ottc") -> Path:
    """A copy of a recipe with a tiny configuration."""
    for name in ("TEMPLATE", recipe_name):
        ignored = shutil.ignore_patterns("data", "exp", "downloads", "dump")
        shutil.copytree(ROOT / "egs2" / name, folder / "egs2" / name, ignore=ignored)
    recipe = folder / "egs2" / recipe_name
    (recipe / "conf" / "tiny").mkdir()
    for system in ("ctc", "ottc"):
        config = dict(resolve_system(recipe / "conf/mini", system).values)
        config |= {**TINY, "num_workers": 0}
        config["encoder_conf"] |= ENCODER
        config["scheduler_conf"]["total_steps"] = 2
        if system == "ottc":
            config["ctc_conf"]["aux_ctc_weight"] = 0.3
            # So little speech of so many words teaches a boundary head nothing.
            config["model_conf"] = {**config["model_conf"], "boundary_head": False}
        (recipe / f"conf/tiny/train_{system}.yaml").write_text(yaml.safe_dump(config))
    return recipe


def aligned_recipe_folder(folder: Path) -> Path:
    """As `recipe_folder`, but `ottc` trains on a forced alignment, so that each stage has work."""
    recipe = recipe_folder(folder)
    path = recipe / "conf/tiny/train_ottc.yaml"
    config = yaml.safe_load(path.read_text())
    config["ctc_conf"]["label_weights"] = "ali"
    path.write_text(yaml.safe_dump(config))
    return recipe
