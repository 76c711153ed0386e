"""Teachers of the package `transformers`, with tokens of their own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from espnet_ottc.espnet.transfer.spelling import Spelling
from espnet_ottc.espnet.transfer.teachers.interface import Represented, Teacher
from espnet_ottc.utils.extras import require_extra


class HuggingFaceTeacher(Teacher):
    """`teacher: huggingface`: states of one layer of a model that reads the text as it is written.

    Tokens that the model adds, such as BERT's [CLS], are read by it and not transported.

    Args:
        network: a model of `transformers`.
        spelling: of the recogniser's tokens.
        size: D.
        tokenizer: its fast tokenizer, which knows where tokens stand.
        layer: whose states are taken; −1 is the last.
        lower_case: whether the text is put into lower case first.
    """

    name = "huggingface"

    def __init__(
        self,
        network: nn.Module,
        spelling: Spelling,
        size: int,
        tokenizer: Any,
        *,
        layer: int,
        lower_case: bool,
    ) -> None:
        super().__init__(network, spelling, size)
        self.tokenizer, self.layer, self.lower_case = tokenizer, layer, lower_case

    def states(self, tokens: Tensor, lengths: Tensor) -> Represented:
        texts = self._texts(tokens, lengths)
        device = tokens.device
        encoded = self.tokenizer(
            texts, return_tensors="pt", return_offsets_mapping=True,
            return_special_tokens_mask=True, padding=True, truncation=True,
        )  # fmt: skip
        offsets = encoded.pop("offset_mapping").float()
        own = (encoded.pop("special_tokens_mask") == 0) & (encoded["attention_mask"] == 1)
        output = self.network(**encoded.to(device), output_hidden_states=True)
        states = output.hidden_states[self.layer]
        # Those that count come first, in their order.
        first = torch.argsort((~own).to(torch.int8), dim=1, stable=True)
        counts = own.sum(1)
        first = first[:, : int(counts.max())]
        middle = offsets.mean(2).gather(1, first)
        chosen = first.to(device)[:, :, None].expand(-1, -1, states.shape[2])
        extents = torch.tensor([float(len(text)) for text in texts])
        return Represented(
            states.gather(1, chosen), counts.to(device), middle.to(device), extents.to(device)
        )

    def _texts(self, tokens: Tensor, lengths: Tensor) -> list[str]:
        texts = [
            self.spelling.text(row[:length])
            for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)
        ]
        return [text.lower() for text in texts] if self.lower_case else texts


def load_huggingface(
    path: str, token_list: Sequence[str], *, layer: int, lower_case: bool
) -> HuggingFaceTeacher:
    """A teacher of a local folder, or of a name on the hub, which is then downloaded.

    Raises:
        MissingExtraError: `transformers` is not installed.
        ValueError: no such model or layer; a tokenizer that does not know where its tokens stand.
    """
    require_extra("teacher", "teacher: huggingface")
    import transformers

    try:
        # Safetensors alone: other files of parameters may run code when they are loaded.
        network = transformers.AutoModel.from_pretrained(path, use_safetensors=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, use_fast=True)
    except OSError as fault:
        raise ValueError(f"teacher_path {path}: {fault}") from fault
    if not tokenizer.is_fast:
        raise ValueError(
            f"teacher_path {path}: the tokenizer must be a fast one, which knows where tokens stand; got "
            f"{type(tokenizer).__name__}"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    layers = network.config.num_hidden_layers
    if not -layers - 1 <= layer <= layers:
        raise ValueError(f"layer must lie in [-{layers + 1}, {layers}], got {layer}")
    return HuggingFaceTeacher(
        network, Spelling(token_list), network.config.hidden_size, tokenizer,
        layer=layer, lower_case=lower_case,
    )  # fmt: skip
