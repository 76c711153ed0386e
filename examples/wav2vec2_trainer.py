"""Fine-tune a Wav2Vec2 with OTTC by the Trainer of transformers: words with times from one model.

    python examples/wav2vec2_trainer.py    # offline: a small random model learns dialled numbers
    python examples/wav2vec2_trainer.py --model facebook/wav2vec2-base --data recordings --steps 2000

`--data` is a folder with recordings (16 kHz) and a text beside each: a.wav and a.txt.  Needs the extra
[examples].
"""

import argparse
import math
from pathlib import Path

import torch
from telephone import RATE, SEPARATOR, Call, calls, report
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments, Wav2Vec2Config, Wav2Vec2Model
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2PreTrainedModel

from espnet_ottc import OTTCHead
from espnet_ottc.alignment.spans import Span, words_from_tokens


class Wav2Vec2ForOTTC(Wav2Vec2PreTrainedModel):
    """What `Wav2Vec2ForCTC` is for CTC.  `config.symbols` are the labels, the first is the blank."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.head = OTTCHead(config.hidden_size, config.symbols, boundary=SEPARATOR)
        self.post_init()

    def frames(self, attention_mask: Tensor) -> Tensor:
        """(B,) frames, from the mask of the samples."""
        return self._get_feat_extract_output_lengths(attention_mask.sum(1))

    def forward(
        self, input_values: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> CausalLMOutput:
        hidden = self.wav2vec2(input_values, attention_mask).last_hidden_state
        loss = None
        if labels is not None:
            loss = self.head.loss(hidden, self.frames(attention_mask), labels)
        return CausalLMOutput(loss=loss, logits=self.head.label_head(hidden))

    @torch.no_grad()
    def words(self, input_values: Tensor, attention_mask: Tensor) -> list[list[Span]]:
        """The words that are found, with their times."""
        hidden = self.wav2vec2(input_values, attention_mask).last_hidden_state
        # A frame is computed from `view` samples around its centre; one stands for `hop` of them.
        hop, view = math.prod(self.config.conv_stride), 1
        for kernel, stride in zip(
            self.config.conv_kernel[::-1], self.config.conv_stride[::-1], strict=True
        ):
            view = (view - 1) * stride + kernel
        spans = self.head.align(
            hidden,
            self.frames(attention_mask),
            frame_shift=hop / RATE,
            offset=(view - hop) / 2 / RATE,
        )
        return [words_from_tokens(labels, "char") for labels in spans]


def small_config(symbols: list[str]) -> Wav2Vec2Config:
    """A model of 0.2 M parameters with the structure of the large ones."""
    return Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        mask_time_prob=0.0,
        layerdrop=0.0,
        symbols=symbols,
    )


def collate(some: list[Call], symbols: list[str]) -> dict[str, Tensor]:
    """A batch as the model takes it: samples of mean 0 and variance 1, label ids padded with -100."""
    samples = [torch.from_numpy(call.samples) for call in some]
    samples = [(one - one.mean()) / (one.std() + 1e-7) for one in samples]
    labels = [
        torch.tensor([symbols.index(c) for c in call.text.replace(" ", SEPARATOR)]) for call in some
    ]
    return {
        "input_values": nn.utils.rnn.pad_sequence(samples, True),
        "attention_mask": nn.utils.rnn.pad_sequence(
            [torch.ones_like(one).long() for one in samples], True
        ),
        "labels": nn.utils.rnn.pad_sequence(labels, True, -100),
    }


def read_folder(folder: Path) -> list[Call]:
    """Recordings with a text beside each; their words have no times."""
    import soundfile

    found = []
    for path in sorted(folder.glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32")
        if rate != RATE or samples.ndim != 1:
            raise SystemExit(f"{path}: must be mono and of {RATE} Hz")
        found.append(Call(samples, " ".join(path.with_suffix(".txt").read_text().split()), []))
    if not found:
        raise SystemExit(f"{folder}: no *.wav")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", help="a Wav2Vec2 to start from, by name or folder; default: a small one"
    )
    parser.add_argument(
        "--data", type=Path, help="folder of x.wav and x.txt; default: dialled numbers"
    )
    parser.add_argument("--steps", type=int, default=300, help="batches of 8 recordings")
    parser.add_argument("--learning_rate", type=float, help="default: 2e-3, with --model 1e-4")
    parser.add_argument("--out", default="wav2vec2_ottc", help="folder of the trained model")
    args = parser.parse_args()
    training = read_folder(args.data) if args.data else calls(320, 1)
    characters = sorted(set("".join(call.text for call in training)) - {" "})
    symbols = ["<pad>", SEPARATOR, *characters]
    torch.manual_seed(1)
    if args.model:
        model = Wav2Vec2ForOTTC.from_pretrained(args.model, symbols=symbols)
        model.wav2vec2.freeze_feature_encoder()
    else:
        model = Wav2Vec2ForOTTC(small_config(symbols))
    settings = TrainingArguments(
        args.out,
        max_steps=args.steps,
        learning_rate=args.learning_rate or (1e-4 if args.model else 2e-3),
        warmup_steps=args.steps // 10,
        per_device_train_batch_size=8,
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        logging_steps=max(args.steps // 10, 1),
        seed=1,
    )
    Trainer(
        model, settings, train_dataset=training, data_collator=lambda some: collate(some, symbols)
    ).train()
    model.save_pretrained(args.out)
    model.eval()
    test = training[:4] if args.data else calls(40, 2)
    batch = collate(test, symbols)
    found = model.words(
        batch["input_values"].to(model.device), batch["attention_mask"].to(model.device)
    )
    report(found, test)


if __name__ == "__main__":
    main()
