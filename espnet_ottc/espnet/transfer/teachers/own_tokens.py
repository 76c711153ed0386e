"""Teachers whose tokens are the recogniser's."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from espnet_ottc.espnet.checkpoints import check_parameters
from espnet_ottc.espnet.transfer.masked_lm import MaskedLM, load_masked_lm
from espnet_ottc.espnet.transfer.spelling import Spelling
from espnet_ottc.espnet.transfer.teachers.interface import Represented, Teacher, without_padding

_RANDOM_SEED = 0


class MaskedLMTeacher(Teacher):
    """`teacher: masked_lm`: states of the last layer; a state has seen the whole text."""

    name = "masked_lm"
    network: MaskedLM

    def states(self, tokens: Tensor, lengths: Tensor) -> Represented:
        filled, valid = without_padding(tokens, lengths, 0)
        return self.of_own_tokens(self.network.hidden(filled, valid), tokens, lengths)


class ESPnetLMTeacher(Teacher):
    """`teacher: espnet_lm`: what a model of ESPnet's LM task puts into its output layer.

    The state of a token is the one behind it, which has seen it and all before.
    """

    name = "espnet_lm"

    def states(self, tokens: Tensor, lengths: Tensor) -> Represented:
        # Ends have the last id in ESPnet's lists; a language model reads one first.
        filled, _ = without_padding(tokens, lengths, 0)
        ends = len(self.spelling.pieces) - 1
        inputs = nn.functional.pad(filled, (1, 0), value=ends)
        kept: list[Tensor] = []
        output = self.network.get_submodule("decoder")
        hook = output.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        try:
            self.network(inputs, None)
        finally:
            hook.remove()
        states = kept[0].reshape(*inputs.shape, -1)[:, 1:]
        return self.of_own_tokens(states, tokens, lengths)


class RandomTeacher(Teacher):
    """`teacher: random`: a fixed random vector for each token.

    It is the control: it knows which tokens are the same, and nothing else.
    """

    name = "random"
    network: nn.Embedding

    def states(self, tokens: Tensor, lengths: Tensor) -> Represented:
        filled, _ = without_padding(tokens, lengths, 0)
        return self.of_own_tokens(self.network(filled), tokens, lengths)


def load_masked(path: Path, token_list: Sequence[str]) -> MaskedLMTeacher:
    """A teacher of a file that `train_teacher` wrote.

    Raises:
        FileNotFoundError, ValueError: there is no such file; it has another content, or other tokens.
    """
    network, its_tokens = load_masked_lm(path)
    _check_tokens(path, its_tokens, token_list)
    return MaskedLMTeacher(network, Spelling(token_list), network.shape.size)


def load_espnet_lm(path: Path, token_list: Sequence[str]) -> ESPnetLMTeacher:
    """A teacher of the parameters of ESPnet's LM task, with `config.yaml` beside them.

    Raises:
        FileNotFoundError, ValueError: there are no such files; other tokens; a model without the output
            layer that ESPnet's recurrent and transformer models have.
    """
    # Late: it takes a second, and few need it.
    from espnet2.tasks.lm import LMTask

    config = path.parent / "config.yaml"
    if not config.is_file():
        raise FileNotFoundError(f"teacher_path {path}: there is no config.yaml beside it")
    check_parameters(path)
    model, args = LMTask.build_model_from_file(str(config), str(path), "cpu")
    _check_tokens(path, list(args.token_list), token_list)
    network = model.lm
    output = getattr(network, "decoder", None)
    if not isinstance(output, nn.Linear):
        raise ValueError(
            f"teacher_path {path}: the model must have an output layer `decoder`, as ESPnet's seq_rnn and "
            f"transformer have; {type(network).__name__} has none"
        )
    return ESPnetLMTeacher(network, Spelling(token_list), output.in_features)


def random_teacher(size: int, token_list: Sequence[str]) -> RandomTeacher:
    """The control, with vectors of this size; the same in every training."""
    network = nn.Embedding(len(token_list), size)
    draw = torch.Generator().manual_seed(_RANDOM_SEED)
    with torch.no_grad():
        network.weight.copy_(torch.randn(network.weight.shape, generator=draw))
    return RandomTeacher(network, Spelling(token_list), size)


def _check_tokens(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    if list(found) != list(wanted):
        raise ValueError(
            f"teacher_path {path}: its tokens must be those of the recogniser; it has {len(found)}, the "
            f"recogniser {len(wanted)}, and they differ"
        )
