"""Learning rates: linear warm-up and decay over the whole training, and a factor per parameter."""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from espnet2.samplers.build_batch_sampler import build_batch_sampler
from espnet2.schedulers.abs_scheduler import AbsBatchStepScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

LINEAR_DECAY = "linear_decay"
# They set learning rates of their own, the same for all parameters.
_IGNORE_FACTORS = {
    "onecyclelr",
    "cycliclr",
    "cosineannealingwarmuprestarts",
    "piecewiselinearwarmuplr",
}


# Not a LambdaLR: ESPnet steps those after each epoch.
class LinearDecay(LRScheduler, AbsBatchStepScheduler):  # type: ignore[misc]
    """Linear warm-up to the optimizer's learning rate, then a line that ends with the training.

    `scheduler: linear_decay`.  Of N updates with W for the warm-up, update n (from 1) has the rate
    lr · n/W up to W, and lr · (N + 1 − n)/(N + 1 − W) from there on.

    Args:
        optimizer: each of its groups keeps its share of the rate.
        total_steps: N.  A training counts it itself (see `count_updates`).
        warmup_steps: W; instead of it
        warmup_share: W / N, in [0, 1).

    Raises:
        ValueError: no total_steps; both warm-ups or none; W outside [0, N).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_steps: int | None = None,
        warmup_steps: int | None = None,
        warmup_share: float | None = None,
    ) -> None:
        if total_steps is None:
            raise ValueError(
                "scheduler_conf: total_steps must be given where ESPnet's batches cannot be counted: "
                "with an iterator_type other than sequence, and without num_iters_per_epoch"
            )
        if (warmup_steps is None) == (warmup_share is None):
            raise ValueError(
                "scheduler_conf: one of warmup_steps and warmup_share must be given, "
                f"got {warmup_steps} and {warmup_share}"
            )
        warmup = (
            round(total_steps * warmup_share) if warmup_share is not None else warmup_steps or 0
        )
        if not 0 <= warmup < total_steps:
            raise ValueError(
                f"scheduler_conf: the warm-up must be shorter than the {total_steps} updates of the "
                f"training, got {warmup}"
            )

        self.total_steps, self.warmup = total_steps, warmup
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each group for the next update."""
        update = self.last_epoch + 1
        if update < self.warmup:
            factor = update / self.warmup
        else:
            left = self.total_steps + 1 - update
            factor = max(0.0, left / (self.total_steps + 1 - max(self.warmup, 1)))
        return [rate * factor for rate in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Where it is, without its lengths: a resumed training may be a longer one."""
        state = super().state_dict()
        return {name: state[name] for name in state if name not in ("total_steps", "warmup")}


def count_updates(args: argparse.Namespace) -> None:
    """Write the number of updates of a whole training into `scheduler_conf` of `linear_decay`.

    It follows from the batches (`num_iters_per_epoch`, or those that the shape files give), `max_epoch` and
    `accum_grad`; where it does, an older count in `scheduler_conf` does not matter.

    Args:
        args: ESPnet's options for a training; `scheduler_conf` is replaced by another one.
    """
    if args.scheduler != LINEAR_DECAY:
        return
    batches = args.num_iters_per_epoch
    if batches is None and args.iterator_type == "sequence" and args.train_shape_file:
        # As ESPnet's task will do it.
        batches = len(
            build_batch_sampler(
                type=args.batch_type,
                shape_files=args.train_shape_file,
                fold_lengths=args.fold_length,
                batch_size=args.batch_size,
                batch_bins=args.batch_bins,
                sort_in_batch=args.sort_in_batch,
                sort_batch=args.sort_batch,
                drop_last=args.drop_last_iter,
                # ESPnet 202412 has no such option.
                min_batch_size=_processes() or getattr(args, "min_batch_size", 1),
            )
        )
    if batches is not None:
        steps = args.max_epoch * (batches // args.accum_grad)
        args.scheduler_conf = {**args.scheduler_conf, "total_steps": steps}


def scale_learning_rates(
    optimizer: torch.optim.Optimizer, factors: Mapping[Tensor, float], scheduler: str | None
) -> None:
    """Split an optimizer's groups, so that each parameter has its factor on the learning rate.

    Args:
        optimizer: one that has made no step.
        factors: by parameter; 1 for those that are not in it.
        scheduler: ESPnet's name of the schedule, or None.

    Raises:
        ValueError: a schedule that would undo it.
    """
    if all(factor == 1 for factor in factors.values()):
        return
    if scheduler in _IGNORE_FACTORS:
        raise ValueError(
            "lr_scale and layer_lr_decay need a scheduler that keeps the learning rates' proportions, "
            f"such as {LINEAR_DECAY}; {scheduler} sets one for all"
        )
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    for group in groups:
        parts: dict[float, list[Tensor]] = {}
        for parameter in group["params"]:
            parts.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        for factor, parameters in parts.items():
            part = {**group, "params": parameters, "lr": group["lr"] * factor}
            optimizer.add_param_group(part)


def _processes() -> int:
    """Processes that train together; 0 for a single one."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 0
