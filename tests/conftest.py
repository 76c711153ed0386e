"""What holds for every test: where kernels run, and that a test is the same in every run.

Where there is no GPU, Triton's kernels run in its interpreter; that is chosen before their import.
"""

import os

import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# A machine under load is slow; new examples are for a search (--hypothesis-profile=search), not for a gate.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", patient)
settings.register_profile("gate", patient, derandomize=True)
settings.load_profile("gate")
