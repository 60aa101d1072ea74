"""Real QEMU guests: Debian's kernel and busybox, wired by vmwire, without KVM."""
import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

from conftest import BUILD, ROOT, VMWIRE

GUEST = BUILD / "guest"


@pytest.fixture(scope="session", autouse=True)
def image():
    subprocess.run([ROOT / "scripts" / "guest-image"], check=True, capture_output=True)


def machine(name, nics, do="", more=""):
    return (f"  {name}:\n    memory: 192M\n    kernel: {GUEST}/vmlinuz\n    initrd: {GUEST}/initrd.img\n"
            f"    cmdline: console=ttyS0 quiet vmwire.do={do}\n{more}    nics:\n"
            + "".join(f"      - {{{nic}}}\n" for nic in nics))


NETWORKS = """networks:
  brext:
    mode: bridged
    uplink: re1
  brnat:
    mode: nat
    subnet: 10.0.0.0/24
machines:
"""


@pytest.fixture
def wired(host):
    host.uplink("re0", "172.20.0.2/24", "172.20.0.1/24")
    router = host.uplink("re1", gateway="192.168.87.1/24", up=False)
    router.sh("ip addr add 8.8.8.8/32 dev lo; sysctl -qw net.ipv4.ip_forward=1; ip route add 172.20.0.0/24 dev far "
              "2>/dev/null || true")
    host.peers["re0"].sh("ip addr add 8.8.8.8/32 dev lo")
    router.sh("dnsmasq --conf-file=/dev/null --interface=far --except-interface=lo --bind-interfaces --no-ping "
              "--pid-file=/run/router.pid --dhcp-leasefile=/run/router.leases --dhcp-range=192.168.87.40,192.168.87.99")
    return host


def run(host, name, seconds=90):
    return host.vmwire("run", name, timeout=seconds, input="").stdout


def machine_running(host, name):
    # 3 is drift, which a guest's own doing can be; the shape is the same.
    told = json.loads(host.vmwire("status", "--json", check=False).stdout)
    return next(m for m in told["machines"] if m["name"] == name)


def test_a_bridged_guest_has_the_routers_lease_and_its_own_mac_on_the_wire(wired):
    wired.config(NETWORKS + machine("vm0", ['network: brext, mac: "00:a0:98:1b:c8:07"'], "ping:8.8.8.8,poweroff"))
    wired.vmwire("up")
    watch = wired.peers["re1"].popen("tcpdump", "-lennqi", "far", "-c", "1", "icmp", stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
    said = run(wired, "vm0")
    address = re.search(r"GUEST eth0 mac=00:a0:98:1b:c8:07 address=(192\.168\.87\.\d+)/24 router=192.168.87.1", said)
    assert address, said
    assert "GUEST ping 8.8.8.8 ok" in said
    frame = watch.communicate(timeout=10)[0]
    assert "00:a0:98:1b:c8:07 >" in frame and f"{address[1]} > 8.8.8.8" in frame


def test_a_guest_behind_nat_has_vmwires_lease_and_the_hosts_address_outside(wired):
    wired.config(NETWORKS + machine("vm0", ["network: brnat"], "ping:8.8.8.8,poweroff", "    cpus: 2\n"))
    wired.vmwire("up")
    watch = wired.peers["re0"].popen("tcpdump", "-lennqi", "far", "-c", "1", "icmp", stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
    said = run(wired, "vm0")
    assert re.search(r"address=10\.0\.0\.\d+/24 router=10.0.0.1 dns=10.0.0.1 domain=brnat mtu=1500", said), said
    assert "GUEST ping 8.8.8.8 ok" in said
    frame = watch.communicate(timeout=10)[0]
    assert "172.20.0.2 > 8.8.8.8" in frame and "10.0.0." not in frame


def test_an_e1000_guest_has_the_network_too(wired):
    wired.config(NETWORKS + machine("vm0", ["network: brnat, model: e1000"], "ping:8.8.8.8,poweroff"))
    wired.vmwire("up")
    assert "GUEST ping 8.8.8.8 ok" in run(wired, "vm0")


def read_until(fd, wanted, seconds):
    seen, end = b"", time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < end:
        if select.select([fd], [], [], 0.2)[0]:
            seen += os.read(fd, 65536)
    assert wanted in seen, seen[-2000:]
    return seen


def test_start_console_stop_and_no_trace(wired):
    wired.config(NETWORKS.replace("uplink: re1", "uplink: re1\n    mtu: 1400")
                 + machine("vm0", ["network: brnat", "network: brext"]))
    before = wired.snapshot()
    wired.vmwire("up")
    wired.vmwire("start", "vm0")
    twice = wired.vmwire("start", "vm0", check=False)
    assert twice.returncode == 1 and "already running" in twice.stderr
    assert machine_running(wired, "vm0")["running"]
    told = json.loads(wired.vmwire("status", "--json").stdout)
    ports = [p for network in told["networks"] for p in network["ports"] if p["kind"] == "nic"]
    assert sorted((p["machine"], p["index"]) for p in ports) == [("vm0", 0), ("vm0", 1)]

    terminal, theirs = pty.openpty()
    console = wired.popen(VMWIRE, "console", "vm0", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    read_until(terminal, b"guest# ", 60)
    os.write(terminal, b"echo answer $((6*7)) $(cat /sys/class/net/eth?/mtu)\n")  # no DHCP server told the 1400
    read_until(terminal, b"answer 42 1500 1400", 20)
    os.write(terminal, b"\x1d")
    assert console.wait(timeout=10) == 0
    os.close(terminal)

    # The nics stay where they are through a change of the network, and after its bridge was taken away.
    wired.sh("ip link del dev brnat")
    wired.vmwire("up")
    assert "tap" in wired.sh("ls /sys/class/net/brnat/brif")

    assert "shut itself down" in wired.vmwire("stop", "vm0", "--timeout", "60", timeout=90).stdout
    wired.vmwire("down")
    assert wired.snapshot() == before


def test_kill_9_of_the_hypervisor_leaves_nothing(wired):
    wired.config(NETWORKS + machine("vm0", ["network: brnat"]))
    wired.vmwire("up")
    wired.vmwire("start", "vm0")
    wired.sh("kill -9 $(cat /run/vmwire/machine/vm0/pid)")
    wired.wait_for(lambda: not machine_running(wired, "vm0")["running"])
    assert "tap" not in wired.sh("ip -br link")
    assert wired.run("test", "-e", "/run/vmwire/machine/vm0", check=False).returncode == 1
    wired.vmwire("start", "vm0")
    wired.vmwire("stop", "vm0", "--timeout", "0")
    wired.wait_for(lambda: not machine_running(wired, "vm0")["running"])


def test_args_prints_a_line_that_runs(wired):
    wired.config(NETWORKS + machine("vm0", ["network: brnat"], "ping:8.8.8.8,poweroff"))
    wired.vmwire("up")
    line = wired.vmwire("args", "vm0").stdout.strip()
    assert line.startswith("vmwire exec --nic brnat,mac=")
    said = wired.sh(f"PATH={VMWIRE.parent}:$PATH; {line} </dev/null", timeout=90)
    assert "GUEST ping 8.8.8.8 ok" in said


def test_a_machine_needs_its_network_up(wired):
    wired.config(NETWORKS + machine("vm0", ["network: brnat"]))
    done = wired.vmwire("run", "vm0", check=False)
    assert done.returncode == 1 and "vmwire up brnat" in done.stderr


def test_doctor_finds_nothing_wrong_with_a_running_guest_and_that_it_was_stopped(wired):
    (wired.directory / "resolv.conf").write_text("nameserver 172.20.0.1\n")
    wired.sh(f"mount --bind {wired.directory}/resolv.conf $(readlink -f /etc/resolv.conf)")
    wired.config(NETWORKS + machine("vm0", ["network: brnat", "network: brext"]))
    wired.vmwire("up")
    wired.vmwire("start", "vm0")

    def findings(*args):
        done = wired.vmwire("doctor", *args, "--json", check=False)
        return json.loads(done.stdout)["findings"]

    assert findings() == []  # it boots
    wired.wait_for(lambda: "10.0.0." in wired.vmwire("leases").stdout, seconds=60)
    assert findings() == [] and findings("vm0") == []
    pid = machine_running(wired, "vm0")["pid"]
    wired.sh(f"kill -STOP {pid}")
    wired.wait_for(lambda: ") T " in wired.sh(f"cat /proc/{pid}/stat"))
    assert [finding["code"] for finding in findings("vm0")] == ["guest-paused"]
    told = json.loads(wired.vmwire("trace", "vm0", "--seconds", "2", "--json", check=False).stdout)
    assert "guest-paused" in [finding["code"] for finding in told["findings"]][:2]
    wired.sh(f"kill -CONT {pid}")
    wired.sh("ip link del dev tap1")
    assert findings("vm0")[0]["code"] == "nic-missing"
    wired.vmwire("stop", "vm0", "--timeout", "0")
