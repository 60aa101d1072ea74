"""Libraries that few commands need: a host without one has all the other commands."""
import glob

import pytest

NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"


@pytest.fixture
def bare(host):
    """Without libpcap, libkmod and libpci: files that are no libraries are in their places."""
    hidden = [path for name in ("pcap", "kmod", "pci") for path in glob.glob(f"/usr/lib/*/lib{name}.so*")]
    assert len(hidden) >= 3
    host.sh("\n".join(f"mount --bind /dev/null '{path}'" for path in hidden))
    host.config(NAT)
    return host


def test_what_needs_none_works_without_them(bare):
    bare.vmwire("up")
    assert "brnat" in bare.vmwire("status").stdout
    assert "no-default-route" in bare.vmwire("doctor", check=False).stdout
    bare.vmwire("down")


def test_devices_are_listed_where_libpci_is_missing(bare):
    assert bare.vmwire("devices").stderr == ""


def test_capture_says_what_is_missing(bare):
    bare.vmwire("up")
    done = bare.vmwire("capture", "brnat", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the library 'libpcap.so.0.8', which this needs, is not installed" in done.stderr
    bare.vmwire("down")
