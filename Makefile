# bitgrad: `make` builds the library and the command; `make help` lists the targets.
# MODE = release (default), debug, asan or tsan; each has its own build folder.

# No built-in rules: every rule is in this file.
MAKEFLAGS += -r

MODE ?= release
BUILD ?= build/$(MODE)
PREFIX ?= /usr/local
VERSION := 0.1.0
SOVERSION := 0

DIRS := core autograd layers policies datasets
PACKAGES := hdf5-serial yaml-0.1 jansson libcrypto zlib

ifeq ($(origin CC),default)
CC := gcc
endif
# -std=c17 with the POSIX names; no FMA contraction anywhere: results must not depend on the instruction set.
CSTD := -std=c17 -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64 -ffp-contract=off
# Public functions have prototypes, everything else is static; no hidden doubles, no VLAs.
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
        -Wformat=2 -Wwrite-strings -Wcast-qual -Wpointer-arith -Wdouble-promotion -fno-common -Wdate-time
# WERROR=1 in CI only: a user's newer compiler must not break the build.
WERROR ?= 0
ifeq ($(WERROR),1)
WARN += -Werror
endif

OPT_release := -O2 -g
OPT_debug := -O1 -g -DBG_DEBUG_ARENA
OPT_asan := -O1 -g -DBG_DEBUG_ARENA -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread
ifeq ($(OPT_$(MODE)),)
$(error MODE=$(MODE) is not one of release, debug, asan, tsan)
endif

# pkg-config is asked only when something is compiled, so that `make help` and `make run` work before set-up.
PKG_CFLAGS = $(shell pkg-config --cflags $(PACKAGES))
PKG_LIBS = $(shell pkg-config --libs $(PACKAGES)) -ldnnl
CFLAGS_ALL = $(CSTD) $(WARN) $(OPT_$(MODE)) -fopenmp -fPIC -I. $(PKG_CFLAGS) -DBG_VERSION='"$(VERSION)"' $(CFLAGS)
LDFLAGS_ALL = $(OPT_$(MODE)) -fopenmp $(LDFLAGS)
LIBS = $(PKG_LIBS) -lpthread -lm

# core/kernel_*.c are compiled once per instruction set; core/kernel.c picks at run time.
ISAS := base avx2 avx512 vnni
ISA_base :=
ISA_avx2 := -mavx2 -mfma
ISA_avx512 := -mavx2 -mfma -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
ISA_vnni := $(ISA_avx512) -mavx512vnni

# core/kernel_amx_*.c only run where AMX is (bg_train_available).
ISA_amx := $(ISA_vnni) -mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8

AMX_KERNELS := $(sort $(wildcard core/kernel_amx_*.c))
KERNELS := $(filter-out $(AMX_KERNELS),$(sort $(wildcard core/kernel_*.c)))
LIB_SOURCES := $(filter-out $(KERNELS),$(foreach d,$(DIRS),$(sort $(wildcard $(d)/*.c))))
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o) \
               $(foreach i,$(ISAS),$(KERNELS:%.c=$(BUILD)/%.$(i).o)) \
               $(foreach d,autograd layers policies datasets,$(BUILD)/registry_$(d).o)
CMD_SOURCES := $(sort $(wildcard experiments/*.c))
CMD_OBJECTS := $(CMD_SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/registry_experiments.o
# TESTS=tests/test_yaml.c builds a runner with those tests alone.
TESTS ?= $(sort $(wildcard tests/test_*.c)) $(sort $(wildcard tests/support_*.c))
TEST_OBJECTS := $(TESTS:%.c=$(BUILD)/%.o)
REPLAYERS := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

LIB := $(BUILD)/libbitgrad.a
SHARED := $(BUILD)/libbitgrad.so.$(SOVERSION)
BIN := $(BUILD)/bitgrad
RUNNER := $(BUILD)/run-tests

.PHONY: all help setup run test check bench golden install clean unit print-cflags print-kernel-flags print-libs
.DELETE_ON_ERROR:

all: $(BIN)

help:
	@echo 'make            build the library and the command into $(BUILD)/'
	@echo 'make run        set up, build, run experiments/recipes/quickstart*.yaml into runs/'
	@echo 'make test       set up, build, pass all tests; ends with "N passed, 0 failed"'
	@echo 'make check      style, one-way includes, headers alone, clang-tidy, cppcheck'
	@echo 'make bench      time a training step'
	@echo 'make golden     regenerate the golden test data (needs scripts/setup.sh --dev)'
	@echo 'make install    library, headers, command, bitgrad.pc below PREFIX=$(PREFIX) (DESTDIR honoured)'
	@echo 'make clean      remove build/'
	@echo 'MODE=release|debug|asan|tsan chooses flags and build folder; WERROR=1 makes warnings errors'

setup:
	@scripts/setup.sh

run: setup
	@$(MAKE) --no-print-directory -s all
	@$(BIN) run experiments/recipes/quickstart.yaml --out runs/quickstart
	@$(BIN) arena experiments/recipes/quickstart-arena.yaml --jobs 2 --out runs/quickstart-arena

test: setup
	@$(MAKE) --no-print-directory -s tests
	@scripts/run_tests.sh $(BUILD)

# Everything `make test` runs, built and not run.
.PHONY: tests
tests: $(BIN) $(RUNNER) $(REPLAYERS)

check:
	@scripts/setup.sh --check
	@scripts/check.sh

bench: setup
	@$(MAKE) --no-print-directory -s all
	@$(BIN) bench step

golden:
	@scripts/setup.sh --dev
	/usr/bin/python3 scripts/gen_golden.py tests/golden

$(BUILD)/registry_%.c: scripts/gen_registry.sh $(wildcard autograd/op_*.c layers/*_*.c policies/*_*.c datasets/data_*.c experiments/cmd_*.c)
	@mkdir -p $(@D)
	scripts/gen_registry.sh $* > $@

$(BUILD)/registry_%.o: $(BUILD)/registry_%.c
	$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

define KERNEL_RULE
$(BUILD)/core/%.$(1).o: core/%.c $(BUILD)/flags
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS_ALL) -O3 $$(ISA_$(1)) -DBG_ISA=$(1) -MMD -MP -c $$< -o $$@
endef
$(foreach i,$(ISAS),$(eval $(call KERNEL_RULE,$(i))))

$(BUILD)/core/kernel_amx_%.o: core/kernel_amx_%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -O3 $(ISA_amx) -MMD -MP -c $< -o $@

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# Rebuild when flags change.
FLAGS_TEXT := $(CC) $(CSTD) $(WARN) $(OPT_$(MODE)) $(CFLAGS) $(LDFLAGS)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(FLAGS_TEXT))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_TEXT))' > $@
FORCE:

$(LIB): $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcsD $@ $^

$(SHARED): $(LIB_OBJECTS)
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,libbitgrad.so.$(SOVERSION) $^ $(LIBS) -o $@

$(BIN): $(CMD_OBJECTS) $(LIB)
	$(CC) $(LDFLAGS_ALL) $^ $(LIBS) -o $@

$(RUNNER): $(TEST_OBJECTS) $(LIB) $(BUILD)/flags
	$(CC) $(LDFLAGS_ALL) $(TEST_OBJECTS) $(LIB) $$(pkg-config --libs criterion) $(LIBS) -o $@

# The fuzz targets with a plain main that replays files: part of `make test`.
$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/driver.o $(LIB)
	$(CC) $(LDFLAGS_ALL) $(filter-out $(LIB),$^) $(LIB) $(LIBS) -o $@
# Readers that are the command's, not the library's.
$(BUILD)/fuzz_costs: $(addprefix $(BUILD)/experiments/,cost_file.o cost_json.o cost_table.o)

# A runner with chosen tests: make unit TESTS=tests/test_yaml.c
unit: $(RUNNER)
	OMP_WAIT_POLICY=passive $(RUNNER) -j1

print-cflags:
	@echo $(CFLAGS_ALL)
# One line for each time that a kernel is compiled: the file and the flags of an instruction set.
print-kernel-flags:
	@$(foreach i,$(ISAS),$(foreach f,$(KERNELS),echo '$f $(ISA_$i) -DBG_ISA=$i';))
	@$(foreach f,$(AMX_KERNELS),echo '$f $(ISA_amx)';)
print-libs:
	@echo $(LIBS)

install: $(BIN) $(SHARED)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/bitgrad
	install -m 644 $(LIB) $(DESTDIR)$(PREFIX)/lib/libbitgrad.a
	install -m 755 $(SHARED) $(DESTDIR)$(PREFIX)/lib/
	ln -sf libbitgrad.so.$(SOVERSION) $(DESTDIR)$(PREFIX)/lib/libbitgrad.so
	for d in $(DIRS); do install -d $(DESTDIR)$(PREFIX)/include/bitgrad/$$d && \
	  install -m 644 $$d/*.h $(DESTDIR)$(PREFIX)/include/bitgrad/$$d/ || exit 1; done
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' scripts/bitgrad.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/bitgrad.pc

clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
