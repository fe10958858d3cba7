# make run [MODEL=name-or-file] [PROMPT="..."]    from a fresh machine to generated text
# make test [ARGS="-k kernels"]                   build, then run the tests, or the part that is named
# make test FAST=1                               what to run while working, in less than a minute
# make test-arm64 [FAST=1]                        the same for arm64, under an emulator
# make fuzz [SECONDS=60]                          the parsers under libFuzzer, which needs clang++
# make compilers [ARGS="g++-11 clang++-19"]       engine and C++ tests by each, no warning allowed
# make docs                                       the pages of docs/, into build/docs
# make bench [MODEL=...] [ARGS="-k q4_k"]         the kernels' suites, then the model's latency
# make build | lint | format | sanitize | wheel | clean
#
# Needs make, Python 3.10 or newer and a C++20 compiler; all else goes into .venv. PYTHON=... and
# CXX=... name others. A kernel edit recompiles only what it touches.

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.PHONY: run build test test-cpp test-arm64 lint format sanitize fuzz compilers wheel docs bench clean FORCE

MODEL ?= smollm2-135m-instruct
PROMPT ?= Why is the sky blue? Answer in one sentence.
ARGS ?=
SECONDS ?= 60
# As given: a dollar sign in a prompt names no variable of make's.
override MODEL := $(value MODEL)
override PROMPT := $(value PROMPT)
export MODEL PROMPT

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
NATIVE := CMakeLists.txt pyproject.toml $(shell find csrc -type f)
CPP := $(shell find csrc tests/cpp tests/fuzz -name '*.h' -o -name '*.cc' -o -name '*.inl')
PY := python tests bench tools
BENCHES := $(filter-out bench/conftest.py bench/contention.py,$(wildcard bench/*.py))

run: .venv/built
	@$(BIN)/edgelm run "$$MODEL" "$$PROMPT"

build: .venv/built

test: .venv/built .venv/with-test $(if $(ARGS),,test-cpp)
	$(BIN)/python -m pytest $(if $(FAST),-m "not slow" --isa active) $(ARGS)

# In the folder where the extension was built, whose objects they link.
test-cpp: .venv/built
	@suffix=$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"); \
	folder=$$(dirname build/editable-*/_core$$suffix); \
	$(BIN)/cmake --build "$$folder" --target edgelm_tests -- --quiet && "$$folder/edgelm_tests"

test-arm64: .venv/built .venv/with-test
	tools/arm64/run.sh $(if $(FAST),fast)

lint: .venv/built .venv/with-test .venv/with-lint
	$(BIN)/ruff check $(PY)
	$(BIN)/ruff format --check $(PY)
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: .venv/built .venv/with-lint
	$(BIN)/ruff check --fix $(PY)
	$(BIN)/ruff format $(PY)
	$(BIN)/clang-format -i $(CPP)

# TSan cannot start where the kernel randomizes addresses widely, hence setarch.
sanitize: build/address,undefined/edgelm_tests build/thread/edgelm_tests .venv/with-test
	build/address,undefined/edgelm_tests
	$(BIN)/python tests/support/sanitized.py build/address,undefined -q -p no:cacheprovider \
	  tests/hostile
	setarch $$(uname -m) -R build/thread/edgelm_tests

build/%/edgelm_tests: .venv/made FORCE
	$(BIN)/cmake -S . -B build/$* -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DEDGELM_TESTS=ON -DEDGELM_SANITIZE=$* \
	  -DEDGELM_PYTHON=$(if $(findstring address,$*),ON,OFF) \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
	$(BIN)/cmake --build build/$*

# What the fuzzers find new stays in build/fuzz/corpus; an input that fails is left in build/fuzz.
FUZZ := build/fuzz
FUZZ_LIMITS := -max_total_time=$(SECONDS) -max_len=8192 -timeout=20 -malloc_limit_mb=64
fuzz: .venv/made
	$(BIN)/python tests/fuzz/make_seeds.py $(FUZZ)
	$(BIN)/cmake -S tests/fuzz -B $(FUZZ) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	  -DCMAKE_CXX_COMPILER=clang++
	$(BIN)/cmake --build $(FUZZ)
	mkdir -p $(FUZZ)/corpus/gguf $(FUZZ)/corpus/tokenizer
	@pids=; for target in gguf tokenizer; do \
	  $(FUZZ)/fuzz_$$target $(FUZZ_LIMITS) -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=$(FUZZ)/found-$$target- $(FUZZ)/corpus/$$target $(FUZZ)/seeds/$$target & \
	  pids="$$pids $$!"; \
	done; failed=0; for pid in $$pids; do wait $$pid || failed=1; done; exit $$failed

# Each that the machine has, or those that ARGS names, optimized and at -O0.
compilers: .venv/made
	tools/check_compilers.sh $(ARGS)

wheel: .venv/made
	rm -rf dist
	$(PIP) wheel --no-deps --wheel-dir dist .

# A warning is an error: a dead link, say, or a name that the reference lacks.
docs: .venv/built .venv/with-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/built .venv/with-test .venv/with-bench
	$(BIN)/python -m pytest $(BENCHES) --benchmark-columns=min,median,rounds $(ARGS)
	$(BIN)/edgelm bench "$$MODEL" --against llama.cpp

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

.venv/made: tools/make_venv.sh
	tools/make_venv.sh .venv
	@touch $@

# Without isolation the build folder persists (pyproject.toml), so a second build is incremental.
.venv/built: .venv/made $(NATIVE)
	$(PIP) install --quiet --no-build-isolation --editable .
	@touch $@

.venv/with-%: pyproject.toml | .venv/built
	$(PIP) install --quiet --no-build-isolation --editable ".[$*]"
	@touch $@
