"""OTTC in PyTorch Lightning: dialled telephone numbers, read with the time of each group of digits.

    python examples/lightning_training.py

A LightningModule of one's own encoder and an `OTTCHead`.  Needs the extra [examples].
"""

import argparse
from typing import Any

import lightning
import torch
from telephone import RATE, SEPARATOR, SYMBOLS, Call, calls, report
from torch import Tensor, nn
from torch.utils.data import DataLoader

from espnet_ottc import OTTCHead
from espnet_ottc.alignment.spans import Span, words_from_tokens

WINDOW, HOP = 400, 160
Batch = tuple[Tensor, Tensor, Tensor]


class Recogniser(lightning.LightningModule):
    """Log spectrogram, three convolutions to frames of 20 ms, a GRU in both directions, OTTC."""

    def __init__(self, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        layers: list[nn.Module] = []
        for inputs, stride in ((WINDOW // 2 + 1, 1), (64, 2), (64, 1)):
            layers += [nn.Conv1d(inputs, 64, 3, stride, padding=1), nn.BatchNorm1d(64), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)
        # A frame's weight depends on how long its label lasts, which convolutions alone do not see.
        self.recurrent = nn.GRU(64, 32, batch_first=True, bidirectional=True)
        self.head = OTTCHead(64, SYMBOLS, boundary=SEPARATOR, blank="<pad>")

    def encode(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 64) and (B,) frames, from (B, N) samples: frame t lies around 20 ms times t."""
        window = torch.hann_window(WINDOW, device=samples.device)
        spectrum = torch.stft(samples, WINDOW, HOP, window=window, return_complex=True)
        hidden = self.convolutions((spectrum.abs() + 1e-3).log()).transpose(1, 2)
        frames = (lengths // HOP) // 2 + 1
        # Packed, the direction from the end does not begin in the padding.
        packed = nn.utils.rnn.pack_padded_sequence(hidden, frames.cpu(), True, False)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(
            self.recurrent(packed)[0], True, total_length=hidden.shape[1]
        )
        return hidden, frames

    def training_step(self, batch: Batch, _: int) -> Tensor:
        samples, lengths, labels = batch
        hidden, frames = self.encode(samples, lengths)
        loss = self.head.loss(hidden, frames, labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate)
        # Without it the rate is still high at the end, and doubled digits are read as one.
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, int(self.trainer.estimated_stepping_batches)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    @torch.no_grad()
    def words(self, some: list[Call]) -> list[list[Span]]:
        """The words that are found, with their times."""
        self.eval()
        samples, lengths, _ = collate(some)
        hidden, frames = self.encode(samples, lengths)
        # The spectrogram is centred: frame 0 begins half a frame before the first sample.
        spans = self.head.align(hidden, frames, frame_shift=2 * HOP / RATE, offset=-HOP / RATE)
        return [words_from_tokens(labels, "char") for labels in spans]


def collate(some: list[Call]) -> Batch:
    """Samples, their numbers, and label ids, padded with -100."""
    samples = [torch.from_numpy(call.samples) for call in some]
    labels = [
        torch.tensor([SYMBOLS.index(c) for c in call.text.replace(" ", SEPARATOR)]) for call in some
    ]
    return (
        nn.utils.rnn.pad_sequence(samples, True),
        torch.tensor([len(one) for one in samples]),
        nn.utils.rnn.pad_sequence(labels, True, -100),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--numbers", type=int, default=640, help="in the training set")
    args = parser.parse_args()
    lightning.seed_everything(1, verbose=False)
    model = Recogniser()
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        gradient_clip_val=5.0,
        log_every_n_steps=5,
    )
    loader = DataLoader(calls(args.numbers, 1), 16, shuffle=True, collate_fn=collate)
    trainer.fit(model, loader)
    test = calls(40, 2)
    report(model.words(test), test)


if __name__ == "__main__":
    main()
