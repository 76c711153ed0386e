"""The systems of a run: what each `train_<name>.yaml` says of its training, decoders and statistics."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# ESPnet's options that decide the feature statistics.
FEATURES = ("input_size", "frontend", "frontend_conf", "feats_extract", "normalize")
TRAINING_STAGES = {"ctc": 5, "ottc": 7}


@dataclass(frozen=True)
class System:
    """One `train_<name>.yaml`.

    Attributes:
        name: of the system.
        path: of its YAML.
        config: its content.
        head_of: the system that it is a part of; none for one with a YAML of its own.
    """

    name: str
    path: Path
    config: Mapping[str, Any]
    head_of: str | None = None

    @property
    def criterion(self) -> str:
        """`ottc`, or `ctc` for everything that it is compared with."""
        return "ottc" if self.ctc_conf.get("ctc_type") == "ottc" else "ctc"

    @property
    def stage(self) -> int:
        """The stage that trains it: what trains on a forced alignment comes after it."""
        late = self.needs_alignment or self.head_of is not None
        return TRAINING_STAGES["ottc" if late else self.criterion]

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
        return System(f"{self.name}_aux_ctc", self.path, config, head_of=self.name)

    @property
    def aligners(self) -> tuple[str, ...]:
        """Names of the decoders in time that its model has."""
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
    def features(self) -> Mapping[str, Any]:
        """What decides the feature statistics, as far as it stands in the YAML."""
        return {name: self.config[name] for name in FEATURES if name in self.config}

    @property
    def ctc_conf(self) -> Mapping[str, Any]:
        """The options of its criterion."""
        conf: Mapping[str, Any] = self.config.get("ctc_conf") or {}
        return conf


def read_system(conf: Path, name: str) -> System:
    path = config_path("train", name, conf)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: must be YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: must be a mapping of ESPnet's options, got {config!r}")
    return System(name, path, config)


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
