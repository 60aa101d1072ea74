"""System tests that want more of the kernel than the build machine's may have, on Debian's: in the outer machine
(tests/outer.py), which runs pytest itself.  A file of tests/net joins by a line in FILES: there it skips what its kernel
lacks, and here nothing may be skipped but what wants a kernel to lack something.
"""
import json
import time
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import BUILD, ROOT, VMWIRE
from outer import Outer, OuterError
from passthrough import images  # noqa: F401

FILES = ["tests/net/test_vlan.py", "tests/net/test_rate_flow.py",
         "'tests/net/test_exact.py::test_every_example_comes_and_goes_without_a_trace[vlan.yaml]'"]
MODULES = "tun veth bridge nf_tables"


@pytest.fixture(scope="module")
def machine(images, tmp_path_factory):  # noqa: F811
    outer = Outer(tmp_path_factory.mktemp("outer"), "plain", iommu=False)
    try:
        outer.__enter__()
    except OuterError:
        if not outer.hung:
            raise
        outer.reboot()
    outer.sh(f"modprobe -a {MODULES}")
    yield outer
    outer.__exit__()


@pytest.mark.parametrize("file", FILES)
def test_on_debians_kernel(machine, file):
    command = (f"cd {ROOT}; VMWIRE_BUILD={BUILD} PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q -x --tb=short "
               f"-p no:cacheprovider --basetemp=/root/tests --junitxml=/root/report.xml {file}")
    status, said, _ = machine.run(command, timeout=600)
    assert status == 0, said
    cases = list(ElementTree.fromstring(machine.sh("cat /root/report.xml")).iter("testcase"))
    skipped = [case.find("skipped").get("message") for case in cases if case.find("skipped") is not None]
    assert len(cases) > len(skipped) and all("to lack" in reason for reason in skipped), skipped


# What no namespace has: the outer machine's own one.

def doctor(machine, text=None):
    if text:
        machine.write("/root/kernel/vmwire.yaml", text)
    rows = json.loads(machine.run([VMWIRE, "doctor", "--json"], cwd="/root/kernel")[1])["findings"]
    return [row for row in rows if row["code"] != "dns-no-upstream"]  # it has no name server


def test_a_wireless_uplink(machine):
    """mac80211_hwsim's, which is one as far as the kernel and sysfs are concerned."""
    bridged = "networks:\n  brext: {mode: bridged, uplink: %s}\n"
    assert "uplink-wireless" not in [row["code"] for row in doctor(machine, bridged % "n0")]
    machine.sh("modprobe mac80211_hwsim radios=1; ip link set dev wlan0 up")
    first = doctor(machine, bridged % "wlan0")[0]
    assert first["code"] == "uplink-wireless" and "'wlan0' is wireless" in first["evidence"] and "mode nat" in first["cure"]
    before = machine.sh("ip -br link; find /run/vmwire -name record || true")
    status, _, said = machine.run([VMWIRE, "up"], cwd="/root/kernel")
    assert status == 1 and "adding port 'wlan0' to bridge 'brext'" in said and "rolled back" in said
    assert machine.sh("ip -br link; find /run/vmwire -name record || true") == before
    machine.sh("modprobe -r mac80211_hwsim")


def test_a_full_neighbour_table(machine):
    """Its size is the whole machine's, and no namespace sees it."""
    machine.write("/root/kernel/vmwire.yaml", "networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24}\n")
    machine.sh(f"cd /root/kernel; {VMWIRE} up")
    assert doctor(machine) == []
    sizes = machine.sh("sysctl net.ipv4.neigh.default | grep gc_thresh")
    machine.sh("sysctl -qw net.ipv4.neigh.default.gc_thresh1=2 net.ipv4.neigh.default.gc_thresh2=4 net.ipv4.neigh.default.gc_thresh3=8")
    asking = machine.start("while :; do for i in $(seq 10 40); do ping -c1 -W1 10.0.0.$i & done; wait; done")
    machine.wait_for("dmesg | grep -q 'arp_cache: neighbor table overflow'")
    full = [("neighbours-full", "8 neighbours are known, and 8 can be")]
    end = time.monotonic() + 30
    while (told := [(row["code"], row["evidence"]) for row in doctor(machine)]) != full and time.monotonic() < end:
        pass  # the kernel has just thrown some away
    asking.kill()
    machine.sh(f"echo '{sizes}' | tr -d ' ' | xargs sysctl -qw; cd /root/kernel; {VMWIRE} down")
    assert told == full
