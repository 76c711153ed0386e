"""Slow references for the numerical tests, written from the definitions alone."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
import torch

Number = float | Fraction


def reference_plan(alpha: Sequence[Number], beta: Sequence[Number]) -> np.ndarray[Any, Any]:
    """gamma[t, u] = |[A(t-1), A(t)) ∩ [B(u-1), B(u))| of one utterance, as a dense (T, U) array.

    Exact (an object array of fractions) where both arguments hold `fractions.Fraction`s, float64
    otherwise.
    """
    A = [0, *accumulate(alpha)]
    B = [0, *accumulate(beta)]
    T, U = len(alpha), len(beta)
    exact = all(isinstance(weight, Fraction) for weight in (*alpha, *beta))
    plan = np.zeros((T, U), dtype=object if exact else np.float64)
    for t in range(T):
        for u in range(U):
            plan[t, u] = max(min(A[t + 1], B[u + 1]) - max(A[t], B[u]), 0)
    return plan


def tolerance(dtype: torch.dtype) -> float:
    """Absolute and relative tolerance for values of order 1 of this dtype."""
    return {
        torch.float64: 1e-9,
        torch.float32: 2e-5,
        torch.bfloat16: 2e-2,
        torch.float16: 3e-3,
    }[dtype]
