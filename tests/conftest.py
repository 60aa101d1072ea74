"""Throw-away hosts for the system tests: namespaces that live as long as one process of ours, so that nothing stays."""
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from _pytest.runner import runtestprotocol

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("VMWIRE_BUILD", ROOT / "build")).resolve()
VMWIRE = BUILD / "src" / "vmwire"
FAULTY = BUILD / "src" / "vmwire-fault"

PR_SET_PDEATHSIG = 1


def dies_with_us():
    """In a child, before it becomes a program: when the thread that started it is gone, however that came, so is it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Namespace:
    """A network namespace, with mount namespace and its own /run, held by a sleeping process."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        setup = (
            "mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run && mount -t sysfs sysfs /sys && "
            # No name servers but those that a test names.
            'mount --bind /dev/null "$(readlink -f /etc/resolv.conf)" && '
            # Addresses are there at once; nobody on these segments has them already.
            "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad && "
            "ip link set lo up && echo ready && exec sleep infinity >/dev/null"
        )
        self.holder = subprocess.Popen(
            ["unshare", "-n", "-m", "sh", "-c", setup], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            preexec_fn=dies_with_us,
        )
        if self.holder.stdout.readline() != "ready\n":
            raise RuntimeError("a namespace could not be made")
        HOLDERS.add(os.readlink(f"/proc/{self.holder.pid}/ns/net"))

    def enter(self, *argv):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", "--wd=" + str(self.directory), *map(str, argv)]

    def run(self, *argv, check=True, input=None, env=None, timeout=60):
        done = subprocess.run(
            self.enter(*argv), capture_output=True, text=True, input=input, timeout=timeout,
            env={**os.environ, **(env or {})},
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{argv} gave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def popen(self, *argv, **kwargs):
        return subprocess.Popen(self.enter(*argv), **kwargs)

    def sh(self, script, **kwargs):
        return self.run("sh", "-ec", script, **kwargs).stdout

    def json(self, *argv):
        return json.loads(self.run(*argv).stdout or "[]")

    def processes(self):
        """Processes of this network namespace but the holder: (pid, command line)."""
        mine = os.readlink(f"/proc/{self.holder.pid}/ns/net")
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.holder.pid:
                continue
            try:
                if os.readlink(entry / "ns/net") == mine:
                    found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
            except OSError:
                continue
        return found

    def wait_for(self, what, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if what():
                return
            time.sleep(0.05)
        raise AssertionError("waited in vain")

    def borrow(self, program):
        """A program that is not to be installed on a host that is in use (scripts/others-image), for this namespace alone."""
        if self.run("sh", "-c", f"command -v {program}", check=False).returncode == 0:
            return
        subprocess.run([ROOT / "scripts" / "others-image", BUILD / "others"], check=True, stdout=subprocess.DEVNULL)
        self.sh("mount -t tmpfs tmpfs /mnt")
        for top in ("usr", "etc", "var/lib"):
            if (BUILD / "others" / top).is_dir():
                self.sh(f"mkdir -p /mnt/{top}.new /mnt/{top}.work; mount -t overlay overlay -o "
                        f"lowerdir={BUILD}/others/{top}:/{top},upperdir=/mnt/{top}.new,workdir=/mnt/{top}.work /{top}")
        self.sh(f"command -v {program}")

    def close(self):
        end = time.monotonic() + 5
        while (left := self.processes()) and time.monotonic() < end:
            for pid, _ in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        # Its number is free from now on, and may be another one's: nothing of ours is in it any longer.
        if not left:
            HOLDERS.discard(os.readlink(f"/proc/{self.holder.pid}/ns/net"))
        self.holder.kill()
        self.holder.wait()


def kernel_knows(words):
    """Has this kernel such interfaces?  `words` are ip's, that it refuses for another reason where it has."""
    done = subprocess.run(["unshare", "-n", "ip", "link", "add", *words.split()], capture_output=True, text=True)
    return "Unknown device type" not in done.stderr


class Host(Namespace):
    """A practice host with veth uplinks, each leading into a namespace of its own."""

    def __init__(self, directory):
        super().__init__(directory)
        self.peers = {}

    def uplink(self, name, address=None, gateway=None, mac=None, mtu=None, up=True):
        """An interface `name` whose other end, `far`, is in a fresh namespace with address `gateway`."""
        peer = self.peers[name] = Namespace(self.directory)
        self.sh(f"ip link add name {name} type veth peer name far netns {peer.holder.pid}")
        if mac:
            self.sh(f"ip link set dev {name} address {mac}")
        if mtu:
            self.sh(f"ip link set dev {name} mtu {mtu}")
            peer.sh(f"ip link set dev far mtu {mtu}")
        peer.sh("ip link set dev far up")
        # An interface that was never up has no queue discipline yet; one of a real host was up at boot.
        self.sh(f"ip link set dev {name} up")
        if up:  # its carrier, and with it its own IPv6 address, come a moment later
            self.wait_for(lambda: "fe80" in self.sh(f"ip -6 addr show dev {name}"))
        else:
            self.sh(f"ip link set dev {name} down")
        if address:
            self.sh(f"ip addr add {address} dev {name}")
        if gateway:
            peer.sh(f"ip addr add {gateway} dev far")
            if address:
                # The first uplink is the default route's.
                self.sh(f"ip route add default via {gateway.split('/')[0]} dev {name} 2>/dev/null || true")
        return peer

    def vmwire(self, *args, check=True, program=VMWIRE, **kwargs):
        return self.run(program, *args, check=check, **kwargs)

    def config(self, text, name="vmwire.yaml"):
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def kill_service(self, network, kind):
        """With SIGKILL, and it has gone when this returns."""
        self.sh(f"pid=$(cat /run/vmwire/network/{network}/{kind}.pid); kill -9 $pid; "
                "for i in $(seq 200); do kill -0 $pid 2>/dev/null || exit 0; sleep 0.02; done; exit 1")

    def snapshot(self):
        """All that `down` must put back, comparable with ==."""
        self.wait_for(lambda: "tentative" not in self.sh("ip -6 addr"))

        def still(value):
            """Without what moves by itself: counters, timers, and carriers, which settle after a change."""
            if isinstance(value, list):
                return [still(v) for v in value if v not in ("linkdown", "NO-CARRIER", "LOWER_UP")]
            if not isinstance(value, dict):
                return value
            moving = ("stats", "stats64", "operstate", "state")
            return {k: still(v) for k, v in value.items() if k not in moving and "timer" not in k}

        def links():
            return still(self.json("ip", "-d", "-j", "link"))

        def addresses():
            rows = self.json("ip", "-j", "addr")
            return [
                (row["ifname"], [{k: v for k, v in a.items() if not k.endswith("life_time")} for a in row["addr_info"]])
                for row in rows
            ]

        return {
            "links": links(),
            "addresses": addresses(),
            "routes4": still(self.json("ip", "-4", "-j", "route", "show", "table", "all")),
            "routes6": still(self.json("ip", "-6", "-j", "route", "show", "table", "all")),
            "rules": self.json("ip", "-j", "rule"),
            "neighbours": sorted(self.sh("ip neigh show nud permanent; ip neigh show proxy").splitlines()),
            "bridges": still(self.json("bridge", "-j", "link")),
            # without what packets leave in it for less than a second
            "nft": re.sub(r"\n\t\telements = \{[^}]* timeout \d+ms[^}]*\}", "", re.sub(
                # what is known of nics comes and goes with them, and what guests lease with packets
                r"(\n\t(?:set|map) (?:nics|nic_\w+|own_\w+|owner_ip|(?:fresh|taken)_ip6|claims|dropped_\w+|last_\w+) \{[^}]*?)\n\t\telements = \{[^}]*\}",
                r"\1", self.run("nft", "-s", "list", "ruleset").stdout)),
            "sysctls": self.sysctls(),
            "run": self.run_files(),
            "listeners": self.sh("ss -Hlnptu | sort"),
            "processes": sorted(c for _, c in self.processes()),
        }

    def run_files(self):
        """Everything below /run but the leases that a network leaves, and the folders that only hold these."""
        files = [f for f in self.sh("find /run | sort").splitlines() if not f.startswith("/run/vmwire/leases")]
        return [f for f in files if f != "/run/vmwire" or any(g.startswith("/run/vmwire/") for g in files)]

    def sysctls(self):
        text = self.run("sysctl", "-a", "--pattern", "^net[.](ipv4|ipv6|bridge)[.]", check=False).stdout
        # Counters and the like that nobody sets.
        skip = ("neigh.", "route.", "nf_conntrack_count", "tcp_fastopen_key", "stable_secret", "icmp_msgs")
        return [line for line in text.splitlines() if not any(word in line for word in skip)]

    def close(self):
        for peer in self.peers.values():
            peer.close()
        super().close()


@pytest.fixture
def host(tmp_path):
    practice = Host(tmp_path)
    yield practice
    practice.close()


HOLDERS = set()


def left_over():
    """Processes that still are in a network namespace which a test made."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/net") in HOLDERS:
                found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except OSError:
            continue
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind():
    """No test may leave a namespace, a link or a process on the machine that it ran on."""
    def here():
        links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout
        spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
        return [line.split()[0] for line in links.splitlines()], spaces

    before = here()
    yield
    # What others do on this machine meanwhile is theirs: only what is new and looks like a test's counts.
    after = here()
    assert after == before
    end = time.monotonic() + 5  # what was killed needs a moment to go
    while left_over() and time.monotonic() < end:
        time.sleep(0.05)
    assert [c for _, c in left_over()] == []


def pytest_runtest_protocol(item, nextitem):
    """An outer machine (outer.py) that answers nothing any longer was lost by its emulation: booted anew, once a test."""
    if "outer" not in item.fixturenames:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if any(report.failed and "the outer machine does not answer" in report.longreprtext for report in reports):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
