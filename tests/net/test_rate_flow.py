"""A nic's rate where the kernel itself finds its class (cls_flow), as distributions' kernels do; others use a program instead.  Run
on Debian's kernel by tests/guest/test_kernel.py."""
import re

import pytest

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
def flow(host):
    made = host.run("sh", "-ec", "ip link add ifb9 type ifb; tc qdisc add dev ifb9 root handle 1: htb; "
                    "tc filter add dev ifb9 parent 1: protocol all handle 1 flow map key iif baseclass 1:1", check=False)
    host.run("ip", "link", "del", "ifb9", check=False)
    if made.returncode:
        pytest.skip(f"this kernel has no cls_flow: {made.stderr}")
    return host


def test_the_kernel_finds_a_nics_class_and_the_rendered_plan_does_what_apply_does(flow):
    def state():
        return re.sub(r"\b8[0-9a-f]{3}:", "", flow.sh(SHOW))
    flow.config(CONFIG)
    script = flow.vmwire("plan").stdout
    flow.vmwire("up")
    applied = state()
    assert applied.count(" flow ") == 2 and "baseclass 7677:8000" in applied
    flow.vmwire("down")
    flow.sh(script)
    assert state() == applied
    assert "nothing to do" in flow.vmwire("up").stdout
    rate = float(flow.vmwire("exec", "--nic", "brnat,vnet_hdr=off,rate_out=1Mbit", "--", "python3", "-c", FLOOD, "{fd0}").stdout)
    assert 0.93 <= rate <= 1.07, rate
