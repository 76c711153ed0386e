"""Implementations of the OTTC loss behind one signature, and the choice between them.

| name     | device | dtype of the logits  | needs                                     |
|----------|--------|----------------------|-------------------------------------------|
| `eager`  | any    | any floating point   | PyTorch alone; complete, the reference    |
| `cpu`    | CPU    | float32              | the C kernel that setup.py compiles       |
| `triton` | CUDA   | all but float64      | Triton (comes with PyTorch's CUDA builds) |

Each module has the functions of `Implementation`.  `espnet_ottc.ops.operators` calls them.
"""

import importlib
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from espnet_ottc.ops.kernels.fallback import warn_of_fallback


class OTTCInputs(NamedTuple):
    """One padded batch, checked; all tensors on one device, lengths int64 absolute counts."""

    logits: Tensor  # (B, T, V) floating point
    frame_logits: Tensor  # (B, T) floating point
    targets: Tensor  # (B, U) int64
    logit_lengths: Tensor  # (B,)
    target_lengths: Tensor  # (B,)
    label_weights: Tensor | None  # (B, U) floating point; None is uniform


class Slopes(NamedTuple):
    """Which of the two small gradients the forward pass shall compute on its way."""

    frame_logits: bool
    label_weights: bool


class NullCapacity(NamedTuple):
    """The place for mass that matches nothing: what of its capacity a frame does not use teaches one label.

    With the capacity θ/T_b of each frame, L gains weight · Σ_t r_t (−log p(label|t)), where
    r_t = max(θ/T_b − α_t, 0) passes no gradient on to α.  Utterances without labels have no such term.
    """

    capacity: float = 0.0  # θ in [0, 1]
    weight: float = 1.0  # ω >= 0
    label: int = 0  # in [0, V)

    @property
    def used(self) -> bool:
        """Whether there is such a term at all."""
        return self.capacity > 0 and self.weight > 0


NO_NULL_CAPACITY = NullCapacity()


class OTTCForward(NamedTuple):
    """What a forward pass gives."""

    losses: Tensor  # (B,) nats per unit of mass
    state: Tensor  # (B, K) what the backward pass reads, as each implementation lays it out; all defined
    # (B, T) log-sum-exp over the vocabulary, for checks; None where values were looked at on the way, and all
    # of them keep the rules.
    normalizer: Tensor | None


class OTTCGradients(NamedTuple):
    """What a backward pass gives, each in its input's dtype; without elements where not wanted."""

    logits: Tensor  # (B, T, V)
    frame_logits: Tensor  # (B, T)
    label_weights: Tensor  # (B, U)


class Implementation(Protocol):
    """The interface of the modules of this package."""

    def state_columns(self, inputs: OTTCInputs, slopes: Slopes) -> int:
        """K, the state's columns, O(T + U); its dtype is `dtype_of_sums`."""

    def forward(self, inputs: OTTCInputs, slopes: Slopes, null: NullCapacity = ...) -> OTTCForward:
        """Per-utterance losses and the gradients of the small inputs."""

    def backward(
        self,
        inputs: OTTCInputs,
        state: Tensor,
        slopes: Slopes,
        grad_losses: Tensor,
        logits_wanted: bool,
        null: NullCapacity = ...,
    ) -> OTTCGradients:
        """Gradients from the losses' gradient (B,), and `forward`'s state, slopes and null capacity."""


BACKENDS = ("auto", "eager", "cpu", "triton")


def choose(backend: str, logits: Tensor) -> Implementation:
    """The implementation for a request and the tensor that it will read.

    Args:
        backend: "auto" (the fastest that works here), "eager", "cpu" or "triton".
        logits: (B, T, V); only its device and dtype are looked at.

    Raises:
        ValueError: an unknown name, or a kernel that does not serve this device or dtype.
        ImportError: a kernel was asked for by name and cannot be loaded; "auto" falls back to
            "eager" instead, with one warning that says why.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")
    wanted = _fastest(logits) if backend == "auto" else backend
    try:
        module = importlib.import_module(f"espnet_ottc.ops.kernels.{_MODULES[wanted]}")
    except ImportError as fault:
        if backend != "auto":
            raise
        warn_of_fallback(f"{wanted} kernel of the OTTC loss", fault)
        module = importlib.import_module("espnet_ottc.ops.kernels.eager")
    else:
        _check_served(wanted, logits)
    return cast(Implementation, module)


_MODULES = {"eager": "eager", "cpu": "cpu", "triton": "triton_ottc"}


def _fastest(logits: Tensor) -> str:
    if logits.device.type == "cuda" and logits.dtype != torch.float64:
        return "triton"
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return "cpu"
    return "eager"


def _check_served(backend: str, logits: Tensor) -> None:
    if backend == "cpu" and (logits.device.type != "cpu" or logits.dtype != torch.float32):
        raise ValueError(
            f'backend "cpu" needs float32 logits on the CPU, got {logits.dtype} on {logits.device}'
        )
    if backend == "triton" and logits.dtype == torch.float64:
        raise ValueError('backend "triton" does not serve float64 logits; use "eager"')
