"""Steps of the paper's configurations: time, peak of memory, and the loss's share, with CTC beside them.

    python benchmarks/bench_training.py --markdown docs/benchmarks_training.md    on a GPU
    python benchmarks/bench_training.py --dry-run    the same code on the CPU, tiny encoders: no figures

Each configuration is built as ESPnet's training builds it, with random parameters, which cost what others do.
Batches have the configuration's number of samples, of random sound of like lengths, with texts of as many
letters a second as English has.  A step is forward, backward, clipping and the optimizer's.  The loss is
measured on what the encoder gave, forward and backward.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, provenance_lines, write
from torch import Tensor

from espnet_ottc.recipe.configs import render, resolve_system

CONF = Path(__file__).resolve().parents[1] / "egs2" / "librispeech_ottc" / "conf"
ENCODERS = ("xlsr300m", "wav2vec2_large", "conformer")
CRITERIA = ("ctc", "ottc")
TOKENS = ("<blank>", "<unk>", "<space>", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "<sos/eos>")
RATE, LETTERS_A_SECOND = 16000, 15
# Seconds of the shortest and the longest utterance.
SECONDS = (2.0, 16.0)
TINY = {
    "conformer": {"output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 1},
    "wav2vec2": {
        **{"encoder_embed_dim": 16, "encoder_num_layers": 1, "encoder_num_heads": 2},
        **{
            "encoder_ff_interm_features": 16,
            "encoder_pos_conv_kernel": 8,
            "encoder_pos_conv_groups": 2,
        },
    },
}
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Row:
    """What one configuration costs.

    Attributes:
        system: its name.
        step: milliseconds of a step, the median.
        loss: of the loss in it.
        utterances: of a second.
        speech: seconds of it in a second.
        memory: the most that a GPU held, in GB; None on the CPU.
    """

    system: str
    step: float
    loss: float
    utterances: float
    speech: float
    memory: float | None


def main() -> int:
    """Measure, and write the table."""
    options = _parser().parse_args()
    if options.dry_run:
        options.device, options.steps = "cpu", 2
    elif not torch.cuda.is_available():
        print("error: no GPU here; --dry-run runs the same code on the CPU", file=sys.stderr)
        return 2
    import espnet_ottc.espnet.register  # noqa: F401

    names = [f"{criterion}_{encoder}" for encoder in options.encoders for criterion in CRITERIA]
    rows = []
    for name in names:
        rows.append(measure(name, options))
        print(rows[-1], flush=True)
    if options.dry_run:
        return 0
    text = _document(rows, options)
    print(text)
    if options.markdown is not None:
        write(options.markdown, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    parser.set_defaults(device="cuda", dtype="float16 where autocast takes it", rounds=1)
    return parser


def measure(name: str, options: argparse.Namespace) -> Row:
    """Train some steps with a configuration.

    Args:
        name: of its system.
        options: of the command line.
    """
    from espnet2.tasks.asr import ASRTask

    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        args = _arguments(name, Path(folder), tiny=options.dry_run)
        model = ASRTask.build_model(args).to(options.device).train()
    optimizer = torch.optim.AdamW(
        [one for one in model.parameters() if one.requires_grad], **args.optim_conf
    )
    scaler = torch.amp.GradScaler(options.device, enabled=options.device == "cuda")
    bins = 2 * RATE if options.dry_run else args.batch_bins
    batches = _batches(bins, options)
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    steps, losses, utterances, samples = [], [], 0, 0
    for number in range(options.steps + max(1, options.steps // 10)):
        batch = next(batches)
        began = _now(options.device)
        with torch.autocast(options.device, enabled=args.use_amp and options.device == "cuda"):
            loss = model(**batch)[0]
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), args.grad_clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        ended = _now(options.device)
        if number < options.steps // 10 or number == 0:
            continue  # kernels are still chosen and compiled
        steps.append(ended - began)
        utterances += len(batch["speech_lengths"])
        samples += int(batch["speech_lengths"].sum())
        losses.append(_loss_seconds(model, batch, options.device, amp=args.use_amp))
    memory = torch.cuda.max_memory_allocated() / 1e9 if options.device == "cuda" else None
    return Row(
        name,
        1e3 * statistics.median(steps),
        1e3 * statistics.median(losses),
        utterances / sum(steps),
        samples / RATE / sum(steps),
        memory,
    )


def _arguments(name: str, folder: Path, *, tiny: bool) -> argparse.Namespace:
    """ESPnet's options of a training by this configuration."""
    from espnet2.tasks.asr import ASRTask

    tokens, config = folder / "tokens.txt", folder / "train.yaml"
    tokens.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    config.write_text(render(resolve_system(CONF, name)), encoding="utf-8")
    words = ["--config", str(config), "--token_type", "char", "--token_list", str(tokens)]
    args = ASRTask.get_parser().parse_args([*words, "--output_dir", str(folder)])
    if args.normalize == "global_mvn":
        stats = folder / "feats_stats.npz"
        np.savez(stats, count=2, sum=np.zeros(80), sum_square=np.full(80, 2.0))
        args.normalize_conf = {"stats_file": str(stats)}
    if tiny and args.encoder == "conformer":
        args.encoder_conf |= TINY["conformer"]
    elif tiny:
        args.encoder_conf["model_conf"] |= TINY["wav2vec2"]
        args.encoder_conf["mask_prob"] = 0.0
    return args


def _batches(bins: int, options: argparse.Namespace) -> Iterator[Batch]:
    """Batches of utterances of like lengths, no more samples in each than `bins`, with padding."""
    rng = np.random.default_rng(options.seed)
    letters = len(TOKENS) - 1
    while True:
        longest = min(round(RATE * rng.uniform(*SECONDS)), bins)
        count = max(1, bins // longest)
        lengths = np.sort(rng.integers(longest * 9 // 10, longest + 1, count))[::-1].copy()
        lengths[0] = longest
        texts = np.maximum(1, lengths * LETTERS_A_SECOND // RATE)
        batch = {
            "speech": torch.from_numpy(rng.uniform(-0.1, 0.1, (count, longest)).astype(np.float32)),
            "speech_lengths": torch.from_numpy(lengths),
            "text": torch.from_numpy(rng.integers(2, letters, (count, texts.max()))),
            "text_lengths": torch.from_numpy(texts),
        }
        for row, (samples, length) in enumerate(zip(lengths, texts, strict=True)):
            batch["speech"][row, samples:] = 0
            batch["text"][row, length:] = -1
        yield {key: value.to(options.device) for key, value in batch.items()}


def _loss_seconds(model: Any, batch: Batch, device: str, *, amp: bool) -> float:
    """Seconds of the criterion alone, forward and backward, on what the encoder gives."""
    with torch.no_grad(), torch.autocast(device, enabled=amp and device == "cuda"):
        encoded, lengths = model.encode(batch["speech"], batch["speech_lengths"])
    encoded = encoded.detach().requires_grad_()
    text = torch.where(batch["text"] == -1, 0, batch["text"])
    began = _now(device)
    with torch.autocast(device, enabled=amp and device == "cuda"):
        loss = model.ctc(encoded, lengths, text, batch["text_lengths"])
    loss.backward()
    ended = _now(device)
    model.zero_grad(set_to_none=True)
    return ended - began


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _document(rows: list[Row], options: argparse.Namespace) -> str:
    about = environment(options, ("espnet", "torchaudio"))
    lines = [
        "# Steps of the paper's configurations",
        "",
        "Configurations of `egs2/librispeech_ottc/conf`, each OTTC beside its CTC twin. Parameters are "
        "random and sound is noise, which cost what others do. The share of the loss is that of the "
        "criterion with its projection, forward and backward.",
        "",
        *provenance_lines(about, f"medians of {options.steps} steps"),
        "",
        "| system | ms a step | loss, ms | share | utterances a second | times real time | peak GB |",
        "| :-- | --: | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        memory = "–" if row.memory is None else f"{row.memory:.1f}"
        cells = (f"{row.step:.1f}", f"{row.loss:.2f}", f"{100 * row.loss / row.step:.1f} %")
        rates = (f"{row.utterances:.1f}", f"{row.speech:.0f}", memory)
        lines.append(f"| `{row.system}` | {' | '.join((*cells, *rates))} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
