"""A nic's rate on Debian's own kernel, which finds its class by cls_flow where the build machine's needs a program: the commands
that `plan` prints leave what `up` leaves, and a guest that sends too much is held back."""
import re

import pytest

from conftest import VMWIRE
from outer import Outer

CONFIG = """networks:
  brnat:
    mode: nat
    subnet: 10.0.0.0/24
    rate: {in: 100Mbit, out: 4Mbit, burst: 1MB}
machines:
  vm0:
    nics: [{network: brnat, rate: {out: 1Mbit}}]
"""
# For some seconds more than 1 Mbit/s, and then what came out of the class; on a standard output that is the frames' as well.
FLOOD = """
import glob, os, subprocess, sys, time
shaper = glob.glob("/sys/class/net/vmwout*")[0].split("/")[-1]
frame = bytes(12) + b"\\x88\\xb5" + bytes(1400)
def sent():
    rows = subprocess.run(["tc", "-s", "class", "show", "dev", shaper], capture_output=True, text=True).stdout.split("class htb ")
    return next(int(row.split("Sent ")[1].split()[0]) for row in rows if row.startswith("7677:8"))
end, first, begin = time.time() + 5, None, 0
while time.time() < end:
    os.write(int(sys.argv[1]), frame)
    time.sleep(0.002)
    if first is None and time.time() > end - 3:
        first, begin = sent(), time.time()
print((sent() - first) * 8 / (time.time() - begin) / 1e6)
"""
SHOW = "for name in $(ls /sys/class/net | grep vmw); do tc qdisc show dev $name; tc class show dev $name; tc filter show dev $name; done"


@pytest.fixture
def outer(tmp_path):
    with Outer(tmp_path) as machine:
        yield machine


def test_debians_kernel_finds_a_nics_class_by_itself(outer):
    def state():
        return re.sub(r"\b8[0-9a-f]{3}:", "", outer.sh(SHOW))
    outer.sh("modprobe tun")
    outer.write("/root/vmwire.yaml", CONFIG)
    outer.write("/root/flood.py", FLOOD)
    outer.sh(f"{VMWIRE} plan > plan.sh; {VMWIRE} up")
    applied = state()
    assert applied.count(" flow ") == 2 and "baseclass 7677:8000" in applied
    outer.sh(f"{VMWIRE} down; sh -e plan.sh")
    assert state() == applied
    assert "nothing to do" in outer.sh(f"{VMWIRE} up")
    rate = float(outer.sh(f"{VMWIRE} exec --nic brnat,vnet_hdr=off,rate_out=1Mbit -- python3 flood.py '{{fd0}}'"))
    assert 0.93 <= rate <= 1.07, rate
