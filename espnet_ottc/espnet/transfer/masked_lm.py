"""A small bidirectional language model over the recogniser's tokens, and its training on text.

Source of the training: BERT (arXiv 1810.04805), section 3.1; 15 % of the tokens are guessed, of which 80 %
are hidden and 10 % are other tokens.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espnet_ottc.espnet.checkpoints import load_parameters
from espnet_ottc.utils.files import written_aside

_GUESSED, _HIDDEN, _EXCHANGED = 0.15, 0.8, 0.1
_KIND = "espnet_ottc masked_lm"
# Of all texts, those that the model is judged by.
_HELD_OUT = 0.05
_MOST_HELD_OUT = 500
_WARM_UP = 0.1


@dataclasses.dataclass(frozen=True)
class MaskedLMShape:
    """Sizes of the model.

    Attributes:
        vocabulary: number of tokens, the blank included.
        size: D of the states.
        layers: of the transformer.
        heads: of its attention.
    """

    vocabulary: int
    size: int = 128
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")
        if self.size % (2 * self.heads):
            raise ValueError(
                f"size must be a multiple of twice the heads, got {self.size} and {self.heads} heads"
            )


@dataclasses.dataclass(frozen=True)
class MaskedLMTraining:
    """How it is trained.

    Attributes:
        steps: number of updates.
        batch_tokens: of an update, padding included.
        longest: tokens; longer texts are cut.
        lr: the largest learning rate.
        seed: of parameters, order and guesses.
    """

    steps: int = 2000
    batch_tokens: int = 2000
    longest: int = 400
    lr: float = 0.002
    seed: int = 0


class MaskedLMReport(NamedTuple):
    """What a training came to, on texts that it did not see."""

    accuracy: float  # share of hidden tokens that are guessed right
    nats: float  # mean loss of them
    texts: int  # trained on
    tokens: int  # trained on, repetitions included


class MaskedLM(nn.Module):
    """A transformer encoder over tokens; id `vocabulary` stands for a hidden one.

    Args:
        shape: its sizes.
    """

    def __init__(self, shape: MaskedLMShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary + 1, shape.size)
        layer = nn.TransformerEncoderLayer(
            shape.size, shape.heads, 4 * shape.size, dropout=0.1, activation="gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(
            layer, shape.layers, nn.LayerNorm(shape.size), enable_nested_tensor=False
        )
        self.output = nn.Linear(shape.size, shape.vocabulary)

    def hidden(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """States (B, U, D) of tokens (B, U), of which `valid` says which count."""
        embedded = self.embedding(tokens)
        embedded = embedded + _positions(tokens.shape[1], self.shape.size).to(embedded)
        # A text without tokens looks at its padding: a softmax over nothing is NaN.
        padding = ~valid & valid.any(1, keepdim=True)
        states: Tensor = self.encoder(embedded, src_key_padding_mask=padding)
        return states

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Scores (B, U, vocabulary) of what each token is."""
        scores: Tensor = self.output(self.hidden(tokens, valid))
        return scores


def train_masked_lm(
    texts: Sequence[Sequence[int]],
    shape: MaskedLMShape,
    training: MaskedLMTraining,
    say: Callable[[str], None] = logging.info,
) -> tuple[MaskedLM, MaskedLMReport]:
    """Train a model on texts; some of them are kept from it, to judge it by.

    Args:
        texts: ids of tokens; empty ones are left out.
        shape: of the model.
        training: how long.
        say: told of the progress.

    Raises:
        ValueError: fewer than two texts, or ids beyond the vocabulary.
    """
    known = [torch.tensor(text[: training.longest]) for text in texts if len(text)]
    if len(known) < 2:
        raise ValueError(f"a language model needs two texts at least, got {len(known)}")
    if max(int(text.max()) for text in known) >= shape.vocabulary:
        raise ValueError(f"texts must have ids below {shape.vocabulary}")
    draw = torch.Generator().manual_seed(training.seed)
    order = torch.randperm(len(known), generator=draw).tolist()
    apart = min(_MOST_HELD_OUT, max(1, round(_HELD_OUT * len(known))))
    held_out, seen = order[:apart], order[apart:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = MaskedLM(shape)
        tokens = _fit(model, [known[n] for n in seen], training, draw, say)
    accuracy, nats = _judge(model, [known[n] for n in held_out], training)
    return model.eval(), MaskedLMReport(accuracy, nats, len(seen), tokens)


def save_masked_lm(model: MaskedLM, token_list: Sequence[str], path: Path) -> None:
    """Write model, sizes and tokens to one file."""
    content = {
        "kind": _KIND,
        "shape": dataclasses.asdict(model.shape),
        "token_list": list(token_list),
        "parameters": model.state_dict(),
    }
    with written_aside(path) as aside:
        torch.save(content, aside)


def load_masked_lm(path: Path) -> tuple[MaskedLM, list[str]]:
    """Model and token list of a file that `save_masked_lm` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else.
    """
    content: dict[str, Any] = load_parameters(path)
    if content.get("kind") != _KIND:
        raise ValueError(f"{path}: must be a masked language model that train_teacher wrote")
    model = MaskedLM(MaskedLMShape(**content["shape"]))
    model.load_state_dict(content["parameters"])
    return model.eval(), content["token_list"]


def _fit(
    model: MaskedLM,
    texts: Sequence[Tensor],
    training: MaskedLMTraining,
    draw: torch.Generator,
    say: Callable[[str], None],
) -> int:
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.lr, total_steps=training.steps, pct_start=_WARM_UP
    )
    batches: list[list[int]] = []
    seen = 0
    model.train()
    for step in range(1, training.steps + 1):
        if not batches:
            batches = _batches(texts, training.batch_tokens, draw)
        tokens, valid = _padded([texts[n] for n in batches.pop()])
        loss, _ = _guess(model, tokens, valid, draw)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seen += int(valid.sum())
        if step % max(1, training.steps // 10) == 0:
            say(f"step {step} of {training.steps}: {float(loss.detach()):.3f} nats a hidden token")
    return seen


def _judge(
    model: MaskedLM, texts: Sequence[Tensor], training: MaskedLMTraining
) -> tuple[float, float]:
    draw = torch.Generator().manual_seed(training.seed)
    model.eval()
    right = nats = count = 0.0
    with torch.no_grad():
        for batch in _batches(texts, training.batch_tokens, draw):
            tokens, valid = _padded([texts[n] for n in batch])
            loss, hits = _guess(model, tokens, valid, draw)
            right += float(hits.sum())
            nats += float(loss) * len(hits)
            count += len(hits)
    return right / count, nats / count


def _guess(
    model: MaskedLM, tokens: Tensor, valid: Tensor, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mean loss of guessed tokens, and which of them are right (N,) bool."""
    chance = torch.rand(tokens.shape, generator=draw).masked_fill(~valid, 1.0)
    # Of each text one at least.
    guessed = valid & ((chance < _GUESSED) | (chance == chance.amin(1, keepdim=True)))
    fate = torch.rand(tokens.shape, generator=draw)
    others = torch.randint(model.shape.vocabulary, tokens.shape, generator=draw)
    shown = torch.where(guessed & (fate < _HIDDEN), model.shape.vocabulary, tokens)
    shown = torch.where(guessed & (fate >= 1 - _EXCHANGED), others, shown)
    scores = model(shown, valid)[guessed]
    wanted = tokens[guessed]
    return F.cross_entropy(scores, wanted), scores.detach().argmax(1) == wanted


def _batches(texts: Sequence[Tensor], most: int, draw: torch.Generator) -> list[list[int]]:
    """Texts of about equal lengths together, at most so many tokens with padding, in random order."""
    order = torch.randperm(len(texts), generator=draw).tolist()
    order.sort(key=lambda n: len(texts[n]) // 8)
    batches: list[list[int]] = [[]]
    longest = 0
    for n in order:
        longest = max(longest, len(texts[n]))
        if batches[-1] and longest * (len(batches[-1]) + 1) > most:
            batches.append([])
            longest = len(texts[n])
        batches[-1].append(n)
    return [batches[n] for n in torch.randperm(len(batches), generator=draw).tolist()]


def _padded(texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    tokens = nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
    lengths = torch.tensor([len(text) for text in texts])
    return tokens, torch.arange(tokens.shape[1]) < lengths[:, None]


def _positions(count: int, size: int) -> Tensor:
    """(count, size) sines and cosines (arXiv 1706.03762, section 3.5)."""
    rates = torch.exp(torch.arange(0, size, 2) * (-math.log(1e4) / size))
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).reshape(count, size)
