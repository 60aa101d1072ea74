# The front door; meson does the work (meson.build).
BUILD := build
PREFIX := /usr/local

.PHONY: all deps demo demo-single-mac check check-slow bench soak fuzz freebsd install clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@ln -sf src/vmwire $(BUILD)/vmwire

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is not installed: scripts/deps installs what is missing" >&2; exit 1; }
	@meson setup --prefix $(PREFIX) $(BUILD)

deps:
	@scripts/deps

# The article's story with real guests, in a lab; nothing of this host's network is touched.
demo: deps
	@$(MAKE) --no-print-directory all
	@scripts/guest-image
	@scripts/demo

# Guests behind a switch port that passes one MAC, with a minute of iperf3.
demo-single-mac: deps
	@$(MAKE) --no-print-directory all
	@scripts/guest-image
	@scripts/demo-single-mac

check: deps
	@scripts/check $(CHECK)

# With what takes too long for every change: SR-IOV on a host with an IOMMU, made of software.
check-slow: deps
	@scripts/check --slow $(CHECK)

bench: deps
	@$(MAKE) --no-print-directory all
	@python3 bench/bench.py

# Kills at random moments, and fuzzers: long, and so apart from check.
soak: deps
	@$(MAKE) --no-print-directory all
	@scripts/soak

fuzz: deps
	@scripts/fuzz

# FreeBSD's binaries, for amd64 and aarch64, built here: build-freebsd-*/src/vmwire.
freebsd: deps
	@scripts/freebsd

install: all
	@meson install -C $(BUILD) --no-rebuild

clean:
	@rm -rf $(BUILD) $(BUILD)-*
