# Two commands do everything: `make demo` and `make test`.  Both set up .venv by themselves.
VENV ?= .venv
VENV_OLDER ?= .venv-older
SCRIPTS = $(shell git ls-files '*.sh' .ci/run)

.PHONY: demo test test-older test-slow test-ops lint docs dist venv matrix lock fuzz

demo: venv
	cd egs2/librispeech_ottc && PATH="$(abspath $(VENV))/bin:$$PATH" ./run.sh \
		--conf conf/demo --systems ctc ottc ottc_joint --train_nj 2

test: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "not slow and not slurm and not k2"

# What touches ESPnet, with the oldest ESPnet and PyTorch that are supported, in an environment of their own.
test-older:
	tools/venv.sh --older "$(VENV_OLDER)"
	OMP_NUM_THREADS=1 $(VENV_OLDER)/bin/python -m pytest -n 2 -m "not slow and not slurm and not k2" tests/espnet

# What takes minutes: recipes from end to end, several processes, large manifests.
test-slow: venv
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "slow and not slurm and not k2"

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/shellcheck $(SCRIPTS)
	$(VENV)/bin/python tools/check_prose.py
	$(VENV)/bin/python tools/check_links.py

# The documents as a site in site/, with a reference of every command, option and module.
docs: venv
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

# The sdist and the wheel of this machine in dist/.
dist: venv
	rm -rf dist
	$(VENV)/bin/python -m build
	$(VENV)/bin/python -m twine check --strict dist/*

# The loss alone, in the Python that is active: it needs the extra [test] and no other.
test-ops:
	OMP_NUM_THREADS=1 python -m pytest tests/ops -m "not slow and not gpu"

venv:
	tools/venv.sh "$(VENV)"

# The loss with the oldest and the newest PyTorch, Triton and Python, in environments of their own.
matrix: venv
	UV=$(VENV)/bin/uv tools/matrix.sh

# After a change of pyproject.toml: pin everything anew, for all supported versions of Python.
lock: venv
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.10 --extra dev --no-annotate \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.10 --no-annotate \
		--no-emit-package espnet-ottc --custom-compile-command "make lock" requirements-older.in -o requirements-older.lock

# Unchecked inputs through the C kernel under AddressSanitizer and UBSan, and damaged files through every reader:
# fixed numbers of cases, about two minutes and about half an hour.
fuzz: venv
	$(VENV)/bin/python tests/ops/kernel_fuzzer.py --cases 2000
	$(VENV)/bin/python tests/faults/fuzz_readers.py --cases 10000
