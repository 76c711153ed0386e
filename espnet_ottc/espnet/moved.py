"""What lies elsewhere in another release of ESPnet: 202611 moved `espnet` to `espnet2.legacy`."""

import importlib
import importlib.util
from types import ModuleType


def _legacy(name: str) -> ModuleType:
    package = "espnet2.legacy" if importlib.util.find_spec("espnet2.legacy") else "espnet"
    return importlib.import_module(f"{package}.{name}")


BeamSearch = _legacy("nets.beam_search").BeamSearch
Hypothesis = _legacy("nets.beam_search").Hypothesis
BatchBeamSearch = _legacy("nets.batch_beam_search").BatchBeamSearch
BatchPartialScorerInterface = _legacy("nets.scorer_interface").BatchPartialScorerInterface
CTCPrefixScorer = _legacy("nets.scorers.ctc").CTCPrefixScorer
LengthBonus = _legacy("nets.scorers.length_bonus").LengthBonus
get_commandline_args = _legacy("utils.cli_utils").get_commandline_args
