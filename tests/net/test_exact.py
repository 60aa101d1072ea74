"""The host is put back exactly: after every example, after a change that was killed, when a system call fails, when the run
directory is full, and when the host itself changed meanwhile."""
import json
import pathlib
import re
import subprocess

import pytest

from conftest import FAULTY, ROOT, VMWIRE
from test_up_down import BOTH, NAT, home

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.yaml"))


def everything(host):
    """The usual snapshot, and what only administrators set: forwarding entries, all of net.*, /etc."""
    seen = host.snapshot()
    seen["vlans"] = host.json("bridge", "-j", "vlan")
    seen["fdb"] = sorted(str(row) for row in host.json("bridge", "-j", "fdb") if row.get("state") in ("permanent", "static"))
    text = host.run("sysctl", "-a", "--pattern", "^net[.]", check=False).stdout
    moving = ("neigh.", "route.", "count", "tcp_fastopen_key", "stable_secret", "icmp_msgs", "netdev_rss_key", "flow_limit")
    seen["net"] = [line for line in text.splitlines() if not any(word in line.split("=")[0] for word in moving)]
    seen["etc"] = host.sh("find /etc -xdev -printf '%p %m %u %g %s %T@ %l\n' | sort")
    return seen


def difference(before, after):
    changed = {}
    for key, old in before.items():
        new = after[key]
        if new != old:
            lines = (old.splitlines(), new.splitlines()) if isinstance(old, str) else (old, new)
            changed[key] = [x for x in lines[0] if x not in lines[1]], [x for x in lines[1] if x not in lines[0]]
    return changed


def networks(text):
    """Of an example: those that need no PCI device."""
    part = re.split(r"^\w", text[text.index("networks:") + 9:], maxsplit=1, flags=re.M)[0]
    found = re.findall(r"^  (\S+):.*\n((?:    .*\n|\n)*)", part, flags=re.M)
    return [name for name, body in found if "mode: passthrough" not in body]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_comes_and_goes_without_a_trace(host, name):
    home(host)
    for ifname, subnet in (("re1", "172.20.1"), ("re2", "172.20.2")):
        host.uplink(ifname).sh(f"ip addr add {subnet}.1/24 dev far; dnsmasq --conf-file=/dev/null --port=0 --interface=far "
                               f"--bind-interfaces --dhcp-range={subnet}.10,{subnet}.20,1h --dhcp-leasefile=/run/leases "
                               "--pid-file=/run/dnsmasq.pid")
    text = (ROOT / "examples" / name).read_text()
    wanted = networks(text)
    uplinks = set(re.findall(r"^    uplink: (\S+)", text, flags=re.M))
    if not wanted:
        pytest.skip("passthrough alone: tests/guest/test_passthrough.py")
    assert uplinks <= {"re0", "re1", "re2"}, uplinks
    for folder in re.findall(r"root: (/srv/[^\s}]+)", text):  # what guests boot from
        host.sh(f"mount -t tmpfs tmpfs /srv; mkdir {folder}")
    host.sh("sysctl -qw net.ipv4.conf.re0.forwarding=0 net.ipv4.conf.re0.rp_filter=2 net.ipv6.conf.re1.accept_ra=2; "
            "ip neigh add 172.20.2.99 lladdr 02:00:00:00:00:99 dev re2 nud permanent")
    for vlan in set(re.findall(r"^    vlan: (\d+)", text, flags=re.M)):  # whose segments have a DHCP server as well
        for peer in host.peers.values():
            peer.sh(f"ip link add link far name far.{vlan} type vlan id {vlan} && ip link set dev far.{vlan} up && "
                    f"ip addr add 172.21.{vlan}.1/24 dev far.{vlan} && dnsmasq --conf-file=/dev/null --port=0 "
                    f"--interface=far.{vlan} --bind-interfaces --dhcp-range=172.21.{vlan}.10,172.21.{vlan}.20,1h "
                    f"--dhcp-leasefile=/run/leases{vlan} --pid-file=/run/dnsmasq{vlan}.pid || true")
    host.config(text)
    before = everything(host)
    done = host.vmwire("up", *wanted, check=False)
    if done.returncode == 2 and "cannot be had: this kernel" in done.stderr:
        assert difference(before, everything(host)) == {}
        pytest.skip("what this kernel lacks: " + re.search(r"this kernel.*", done.stderr)[0])
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in host.vmwire("up", *wanted).stdout
    host.vmwire("down")
    assert difference(before, everything(host)) == {}


CHANGED = ("networks:\n  brext:\n    mode: bridged\n    uplink: re0\n    address: 192.168.87.9/24\n"
           "  brnat:\n    mode: nat\n    subnet: 10.1.0.0/24\n    uplink: re1\n    forward: [tcp 8022 -> 10.1.0.77:22]\n"
           "  brnew:\n    mode: nat\n    subnet: 10.2.0.0/24\n")


def apart_from_bridges_made_anew(seen):
    """A bridge that was deleted and made again has another number and, for a moment, another carrier."""
    seen = dict(seen)
    seen["links"] = [{k: v for k, v in link.items() if k not in ("ifindex", "flags", "link_index")} for link in seen["links"]]
    seen["links"] = sorted(json.dumps(link, sort_keys=True) for link in seen["links"])
    seen["addresses"] = sorted(map(str, seen["addresses"]))
    for key in ("routes4", "routes6"):
        seen[key] = sorted(json.dumps(row, sort_keys=True) for row in seen[key])
    seen["listeners"] = re.sub(r"pid=\d+,fd=\d+", "", seen["listeners"])  # dnsmasq was started anew
    del seen["bridges"]
    return seen


@pytest.mark.parametrize("how", ["fail-before", "fail-after", "kill-before", "kill-after"])
def test_a_change_of_the_file_that_breaks_off_leaves_the_old_state_whole(host, how):
    home(host)
    host.uplink("re1")
    host.config(BOTH)
    host.vmwire("up")
    old = apart_from_bridges_made_anew(host.snapshot())
    host.config(CHANGED)
    count = len(json.loads(host.vmwire("plan", "--json").stdout)["operations"])
    assert count > 15
    for number in range(1, count + 1):
        done = host.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        assert done.returncode != 0, number
        host.config(BOTH)
        host.vmwire("status", check=False)
        now = apart_from_bridges_made_anew(host.snapshot())
        assert difference(old, now) == {}, (number, done.stderr)
        assert "nothing to do" in host.vmwire("up").stdout, number
        host.config(CHANGED)


def test_a_full_run_directory_changes_nothing(host):
    """No space at the first byte, after the record, in the middle of the journal, …"""
    home(host)
    host.config(BOTH)
    host.sh("mkdir /run/pad; mount -o remount,size=256k /run")
    before = host.snapshot()
    came = 0
    for left in range(0, 60, 4):
        host.sh(f"dd if=/dev/zero of=/run/pad/all bs=4k 2>/dev/null || true; truncate -s -{left}k /run/pad/all")
        done = host.vmwire("up", check=False)
        host.sh("rm /run/pad/all")
        if done.returncode == 0:
            came += 1
            host.vmwire("down")
        else:
            assert "No space left" in done.stderr, done.stderr
            host.vmwire("status", check=False)
        assert difference(before, host.snapshot()) == {}, (left, done.stderr)
    assert 0 < came < 15


def test_an_uplink_that_vanished_is_said_and_the_rest_put_back(host):
    home(host)
    host.uplink("re1", "172.20.0.2/24", "172.20.0.1/24")
    host.config(BOTH.replace("re0", "re1"))
    before = host.snapshot()
    host.vmwire("up")
    host.sh("ip link delete dev re1")
    done = host.vmwire("down")
    assert "uplink 're1' is gone" in done.stderr
    after = host.snapshot()
    assert {key for key in after if after[key] != before[key]} <= {"links", "addresses", "routes4", "routes6", "bridges", "sysctls"}
    assert all("re1" in str(row) for part in difference(before, after).values() for row in part[0] + part[1])


def test_a_renamed_uplink_is_given_back_under_its_new_name(host):
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    host.vmwire("up")
    host.sh("ip link set dev re0 name rx0 2>/dev/null || { ip link set dev re0 down; ip link set dev re0 name rx0; ip link set rx0 up; }")
    assert "its uplink 're0' is called 'rx0' now" in host.vmwire("down").stderr
    after = json.loads(json.dumps(host.snapshot()).replace("rx0:1", "rx0").replace("rx0", "re0"))
    want = json.loads(json.dumps(before).replace("re0:1", "re0"))
    for key in ("addresses", "routes4", "neighbours", "nft", "run", "processes"):
        assert sorted(map(str, after[key])) == sorted(map(str, want[key])), key


# Every kind of system call that changes something, or that a program of this kind depends on, and when it fails.
CALLS = {"openat": "EMFILE", "write": "ENOSPC", "rename": "ENOSPC", "mkdir": "ENOSPC", "unlink": "EBUSY",
         "sendmsg": "ENOBUFS", "recvmsg": "ENOMEM", "socket": "ENOMEM", "clone": "EAGAIN", "pipe2": "EMFILE", "flock": "ENOLCK",
         "mmap": "ENOMEM"}


@pytest.mark.parametrize("call", CALLS)
def test_a_system_call_that_fails_once_leaves_one_state_or_the_other(host, call):
    """Of vmwire or the guard of its change; a program that it starts is let go."""
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    failed = 0
    for number in (1, 3, 8, 21):
        done = host.run("strace", "-f", "-b", "execve", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                        f"inject={call}:error={CALLS[call]}:when={number}", VMWIRE, "up", check=False, timeout=30)
        failed += done.returncode != 0
        host.vmwire("status", check=False)
        state = host.snapshot()
        if difference(before, state) == {}:
            continue
        assert "nothing to do" in host.vmwire("up").stdout, (number, done.returncode, done.stderr)
        host.vmwire("down")
        assert difference(before, host.snapshot()) == {}, (number, done.returncode, done.stderr)
    assert failed, "nothing was made to fail"


MACHINE = NAT + "machines:\n  vm0:\n    memory: 64M\n    firmware: bios\n    serial: off\n    nics: [{network: brnat}]\n"


TUN = ("-P", "/dev/net/tun")


@pytest.mark.parametrize("call, error, numbers, where", [("openat", "EMFILE", (1,), TUN), ("ioctl", "EBUSY", (1, 2), TUN),
                                                         ("sendmsg", "ENOBUFS", (2, 3, 5), ()), ("socket", "ENOMEM", (1, 4), ()),
                                                         ("mkdir", "ENOSPC", (1, 2), ()), ("flock", "ENOLCK", (1, 2), ())])
def test_a_system_call_of_run_that_fails_leaves_no_half_of_a_machine(host, call, error, numbers, where):
    """It runs, or nothing of it is there: no tap, no process, no file."""
    host.config(MACHINE)
    host.vmwire("up")
    before, failed = None, 0
    for number in (9999, *numbers):  # the first does not fail: the bridge gets its own IPv6 address with its first carrier
        run = host.popen("strace", "-f", "-b", "execve", "-qq", "-o", "/dev/null", *where, "-e", f"trace={call}", "-e",
                         f"inject={call}:error={error}:when={number}", VMWIRE, "run", "vm0", stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        host.wait_for(lambda: run.poll() is not None or "qemu-system" in str(host.processes()), 20)
        if run.poll() is None:
            host.wait_for(lambda: run.poll() is not None or host.vmwire("stop", "vm0", "--timeout", "0", check=False).returncode == 0)
        said = run.communicate(timeout=20)[1]
        failed += run.returncode == 1 and "vmwire: " in said
        host.vmwire("status", check=False)
        host.wait_for(lambda: "tap" not in host.sh("ip -br link"))
        before = before or host.snapshot()
        assert difference(before, host.snapshot()) == {}, (number, run.returncode, said)
    assert failed, said
    host.vmwire("down")
