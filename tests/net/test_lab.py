"""The lab: a world that works at once, for root and for an ordinary user, and of which nothing stays."""
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from conftest import VMWIRE

TWO_MACS = """
ip link add br0 type bridge forward_delay 0
ip link set re1 master br0 up
ip link set br0 up
ip netns add guest
ip link add far address 02:00:00:00:00:03 index 300 type veth peer name near
ip link set near master br0 up
ip link set far netns guest
ip -n guest link set far up
ip -n guest address add 192.168.87.71/24 dev far
for file in /proc/sys/net/bridge/bridge-nf-call-iptables; do [ -e $file ] && echo 0 >$file; done
# The port sees the bridge's own MAC first.
busybox arping -q -c 1 -w 1 -I br0 192.168.87.1
ip netns exec guest ping -c 1 -W 1 192.168.87.1
"""


def lab(*words, prefix=(), **options):
    return subprocess.run([*prefix, str(VMWIRE), "lab", *words], capture_output=True, text=True, timeout=60, **options)


def inside(namespaces):
    """Every process of this machine that is in one of them, with its start: a number of either kind is soon another's."""
    found = set()
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if namespaces & {os.readlink(link) for link in (process / "ns").iterdir()}:
                found.add((process.name, (process / "stat").read_text().rpartition(")")[2].split()[19]))
        except OSError:
            pass
    return found


def as_nobody():
    """A prefix that makes an ordinary user of root; skips where that user cannot reach the program or namespaces."""
    prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if os.geteuid():
        return []
    for probe in ([str(VMWIRE), "version"], ["unshare", "-Urn", "true"]):
        if subprocess.run([*prefix, *probe], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/").returncode:
            pytest.skip("an ordinary user cannot reach the program or make user namespaces here")
    return prefix


@pytest.mark.parametrize("user", ["root", "ordinary"])
def test_the_first_packet_reaches_the_internet_and_names_resolve(user):
    prefix = as_nobody() if user == "ordinary" else ()
    done = lab("sh", "-ec", "ping -c 1 -W 1 8.8.8.8 >&2; busybox nslookup example.test; busybox nslookup any.name; "
               "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 5 8.8.8.8 80", prefix=prefix, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("203.0.113.80") == 2 and "the internet of the lab answers" in done.stdout


def test_the_host_is_the_articles():
    done = lab("sh", "-ec", "ip -br link; ip -br address show re0; ip route; cat /etc/resolv.conf; ls /sys/class/net")
    assert re.search(r"^re0@\S+\s+UP\s+18:a6:f7:01:66:51 ", done.stdout, re.M)
    assert re.search(r"^re1@\S+\s+DOWN\s+18:a6:f7:01:66:52 ", done.stdout, re.M)
    assert "192.168.87.44/24" in done.stdout and "default via 192.168.87.1 dev re0" in done.stdout
    assert "nameserver 192.168.87.1" in done.stdout
    assert done.stdout.endswith("lo\nre0\nre1\n")


def test_the_router_serves_dhcp_and_hides_the_home_network():
    done = lab("sh", "-ec", """
        ip link set re1 up
        busybox udhcpc -i re1 -n -q -t 5 -T 1 -s /bin/true 2>&1
        ip netns exec internet tcpdump -c 1 -nni isp icmp 2>/dev/null & sleep 0.3
        ping -c 1 -W 1 8.8.8.8 >/dev/null
        wait""")
    assert "lease of 192.168.87.46 obtained" in done.stdout
    assert "198.51.100.2 > 8.8.8.8: ICMP echo request" in done.stdout


@pytest.mark.parametrize("command, status", [
    (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["true"], 0), (["no-such-program"], 127),
    (["/etc/passwd"], 126), (["--", "sh", "-c", "exit 3"], 3), (["--single-mac", "sh", "-c", "exit 4"], 4),
    (["--no-such-option"], 2)])
def test_the_commands_exit_status_is_passed_on(command, status):
    assert lab(*command).returncode == status


def test_standard_input_reaches_the_command_and_the_shell():
    assert lab("cat", input="hello\n").stdout == "hello\n"
    assert lab(input="echo $((6 * 7))\n", env={**os.environ, "SHELL": "/bin/sh"}).stdout == "42\n"


@pytest.mark.parametrize("end", ["exit", "kill -9", "kill"])
def test_nothing_stays(end):
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    process = subprocess.Popen(
        [str(VMWIRE), "lab", "sh", "-c",
         "setsid sleep 4711 & for name in net pid mnt; do readlink /proc/self/ns/$name; done; "
         "for name in router internet; do ip netns exec $name readlink /proc/self/ns/net; done; read line"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    of_the_lab = {process.stdout.readline().strip() for _ in range(5)}
    assert len(of_the_lab) == 5
    members = inside(of_the_lab)
    assert members
    if end == "exit":
        process.communicate("\n", timeout=20)
    else:
        process.send_signal(signal.SIGKILL if end == "kill -9" else signal.SIGTERM)
        process.wait(20)
    for _ in range(100):
        if not members & inside(of_the_lab):
            break
        time.sleep(0.05)
    assert not members & inside(of_the_lab)
    assert pathlib.Path("/proc/self/mountinfo").read_text() == mounts
    assert not os.path.exists("/run/lab")


@pytest.mark.parametrize("single_mac", [True, False])
def test_single_mac_drops_the_second_mac_and_counts_it(single_mac):
    done = lab(*["--single-mac"] * single_mac, "sh", "-c", TWO_MACS + "echo status $?\n"
               "ip netns exec router nft list counters bridge")
    assert f"status {1 if single_mac else 0}" in done.stdout, done.stderr
    dropped = re.search(r"counter dropped1 {\s*packets (\d+)", done.stdout)
    assert (dropped and int(dropped[1]) >= 1) if single_mac else not dropped


def test_the_lab_is_ready_within_a_second():
    times = []
    for _ in range(3):
        start = time.monotonic()
        assert lab("true").returncode == 0
        times.append(time.monotonic() - start)
    assert min(times) < 1


def test_a_host_with_two_cards_on_one_segment_has_nothing_wrong(tmp_path):
    """re0 answers ARP for re1's address and the other way round: both are the host's."""
    file = tmp_path / "vmwire.yaml"
    file.write_text("networks:\n  brext: {mode: bridged, uplink: re1, address: dhcp}\n"
                    "  brnat: {mode: nat, subnet: 10.0.0.0/24}\n")
    program = f"{VMWIRE} -c {file}"
    done = lab("sh", "-ec", f"{program} up >&2; {program} doctor; {program} probe brext; {program} probe brnat",
               cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("nothing is wrong") == 3
