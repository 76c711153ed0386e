"""The systems of a run: what the configuration of each says of its training, decoders and statistics."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_ottc.recipe.configs import Config, resolve, resolve_system, system_files

# ESPnet's options that decide the feature statistics.
FEATURES = ("input_size", "frontend", "frontend_conf", "feats_extract", "normalize")
TRAINING_STAGES = {"ctc": 5, "ottc": 7}
# In the YAML of a system of times alone: what its boundary model is like, and the recogniser that it tunes.
_BOUNDARY_CONF, _TUNE = "boundary_conf", "tune"
# All recipes have these systems, below the folder of what they share.
TIMES_CONF = "times"


@dataclass(frozen=True)
class System:
    """One `train_<name>.yaml`.

    Attributes:
        name: of the system.
        made_of: what its YAML and the files below it amount to.
        head_of: the system that it is a part of; none for one with a YAML of its own.
    """

    name: str
    made_of: Config
    head_of: str | None = None

    @property
    def path(self) -> Path:
        """Its own YAML."""
        return self.made_of.files[0]

    @property
    def config(self) -> Mapping[str, Any]:
        """ESPnet's options."""
        return self.made_of.values

    @property
    def criterion(self) -> str:
        """`ottc`, or `ctc` for everything that it is compared with."""
        return "ottc" if self.ctc_conf.get("ctc_type") == "ottc" else "ctc"

    @property
    def stage(self) -> int:
        """The stage that trains it: what trains on a forced alignment comes after it."""
        late = self.needs_alignment or self.head_of is not None or self.tunes is not None
        return TRAINING_STAGES["ottc" if late else self.criterion]

    @property
    def times_only(self) -> bool:
        """Whether it is a boundary model, which finds times and recognises nothing."""
        return _BOUNDARY_CONF in self.config

    @property
    def boundary_conf(self) -> Mapping[str, Any]:
        """The options of its boundary model."""
        conf: Mapping[str, Any] = self.config.get(_BOUNDARY_CONF) or {}
        return conf

    @property
    def tunes(self) -> str | None:
        """The system whose scores its boundary model adds to its own; None for one by itself."""
        name = self.config.get(_TUNE)
        return None if name is None else str(name)

    @property
    def trained(self) -> str:
        """What a user has to run to have it trained."""
        return f"the training of {self.head_of or self.name} (stage {self.stage})"

    @property
    def auxiliary(self) -> "System | None":
        """The CTC model that its training yields besides; none without an auxiliary CTC head."""
        if not self.ctc_conf.get("aux_ctc_weight"):
            return None
        config = {**self.config, "ctc_conf": {"ctc_type": "builtin"}}
        return System(f"{self.name}_aux_ctc", replace(self.made_of, values=config), self.name)

    @property
    def aligners(self) -> tuple[str, ...]:
        """Names of the decoders in time that its model has."""
        if self.times_only:
            return ("boundary",) if self.boundary_conf.get("median", True) else ("viterbi",)
        if self.ctc_conf.get("label_weights") == "ali":
            # Its blanks are optional, as CTC's are.
            return ("forced_align",)
        if self.criterion == "ottc":
            return ("transport", "viterbi")
        # Soft-DTW's labels are OTTC's: no blank among them is optional.
        return ("viterbi",) if self.ctc_conf.get("ctc_type") == "soft_dtw" else ("forced_align",)

    @property
    def needs_alignment(self) -> bool:
        """Whether it trains on the data stream `ali`, frame labels of a forced alignment."""
        conf = self.ctc_conf
        return conf.get("label_weights") == "ali" or conf.get("ctc_type") == "single_path"

    @property
    def needs_teacher(self) -> bool:
        """Whether a language model that the recipe trains teaches it."""
        conf = self.transfer_conf
        return conf is not None and (
            conf.get("teacher", "masked_lm") == "masked_lm" and not conf.get("teacher_path")
        )

    @property
    def transfer_conf(self) -> Mapping[str, Any] | None:
        """The options of its knowledge transfer; None without one."""
        conf: Mapping[str, Any] | None = (self.config.get("model_conf") or {}).get("transfer_conf")
        return conf

    @property
    def features(self) -> Mapping[str, Any]:
        """What decides the feature statistics, as far as its configuration says it."""
        return {name: self.config[name] for name in FEATURES if name in self.config}

    @property
    def lengths_alone(self) -> bool:
        """Whether its training needs the lengths of utterances, and no statistics of their features."""
        conf = self.config.get("model_conf") or {}
        return conf.get("extract_feats_in_collect_stats") is False

    @property
    def ctc_conf(self) -> Mapping[str, Any]:
        """The options of its criterion."""
        conf: Mapping[str, Any] = self.config.get("ctc_conf") or {}
        return conf


def read_system(conf: Path, name: str, shared: Path | None = None) -> System:
    """A system that a folder of configurations has or inherits, or one of times that all recipes have.

    Args:
        conf: the folder.
        name: of the system.
        shared: what all recipes share.

    Raises:
        ValueError: there is none of that name, or its YAML and the files below it cannot be read.
    """
    times = None if shared is None else system_files(shared / TIMES_CONF).get(name)
    if times is not None and name not in system_files(conf):
        return System(name, resolve(times))
    return System(name, resolve_system(conf, name))


def config_path(kind: str, name: str, *folders: Path) -> Path:
    """The configuration in the first folder that has it."""
    for folder in folders:
        path = folder / f"{kind}_{name}.yaml"
        if path.is_file():
            return path
    there = {p.stem.removeprefix(f"{kind}_") for f in folders for p in f.glob(f"{kind}_*.yaml")}
    raise ValueError(
        f"there is no {kind}_{name}.yaml in {' or '.join(map(str, folders))}, "
        f"but {', '.join(sorted(there)) or 'none'}"
    )
