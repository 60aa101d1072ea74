"""A machine's start and stop, and `exec`, killed at every system call that changes anything, or with one failing: at most the next
command, and the host is as before.  They change the host by no operation of a plan (passthrough's are in
tests/guest/test_passthrough.py): a tap lives as long as its descriptors, a machine as long as its lock is held."""
import json
import re

import pytest

from conftest import FAULTY, VMWIRE
from test_exact import CALLS, apart_from_bridges_made_anew, difference
from test_up_down import BOTH, NAT, home

MACHINE = "machines:\n  vm0:\n    memory: 16M\n    serial: socket\n    nics: [{network: brnat}, {network: brnat, model: e1000}]\n"
EXEC = ["exec", "--nic", "brnat,queues=2", "--nic", "brnat", "--", "true"]
STOP = ["stop", "vm0", "--timeout", "0"]

# Before each of these: that is after the one before as well.
CHANGES = {"openat", "mkdir", "flock", "unlink", "rmdir", "ioctl", "sendmsg", "recvmsg", "sendto", "fcntl", "pipe2", "clone", "dup2",
           "execve", "connect", "capset", "write"}
# And how one fails; what is closed or taken away comes back with what it says.
FAILURES = {"openat": "EMFILE", "mkdir": "ENOSPC", "flock": "ENOLCK", "ioctl": "EBUSY", "sendmsg": "ENOBUFS", "recvmsg": "ENOMEM",
            "fcntl": "EMFILE", "pipe2": "EMFILE", "clone": "EAGAIN", "socket": "ENOMEM", "mmap": "ENOMEM", "execve": "ENOMEM",
            "capset": "EPERM"}


@pytest.fixture
def ready(host):
    host.config(NAT + MACHINE)
    before = host.snapshot()
    host.vmwire("up")
    yield host
    host.vmwire("down")
    assert difference(before, host.snapshot()) == {}


def traced(host, command, *options, **kwargs):
    return host.run("strace", "-f", "-b", "execve", "-qq", *options, VMWIRE, *command, check=False, timeout=30, **kwargs)


def points(host, command, calls):
    """Of a command that succeeds: each call of these kinds as (kind, its number), from the first that is about a change."""
    log = host.directory / "calls"
    traced(host, command, "-o", log, "-e", f"trace={','.join(sorted(calls | {'execve', 'mkdir', 'flock', 'openat'}))}")
    seen, found, begun = {}, [], False
    for line in log.read_text().splitlines()[1:]:  # the first execve is strace's own
        call = re.match(r"(\d+) +(\w+)\(", line)
        if not call:
            continue
        begun = begun or re.search(r"mkdir|flock|/run/vmwire", line)
        seen[call.groups()] = number = seen.get(call.groups(), 0) + 1
        # The number counts in each process: the first to come to it is the one that meets it.
        earlier = any(kind == call[2] and pid != call[1] and count >= number for (pid, kind), count in seen.items())
        if begun and call[2] in calls and not earlier:
            found.append((call[2], number))
    return found


def seen(host):
    """What a machine or a nic is made of, without the second that all of a snapshot takes."""
    return {
        "links": [(link["ifname"], link.get("ifalias"), link.get("master")) for link in host.json("ip", "-j", "link")],
        "run": host.run_files(),
        "processes": sorted(words for _, words in host.processes()),
    }


def is_running(host):
    told = json.loads(host.vmwire("status", "--json", check=False).stdout)
    return any(machine["running"] for machine in told["machines"])


def settle(host):
    """The next command: the machine runs, and can be stopped, or there is nothing of it."""
    if is_running(host):
        host.vmwire(*STOP)


def injected(host, command, what, call, number):
    return traced(host, command, "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}", input="")


@pytest.mark.parametrize("command", [EXEC, ["run", "vm0"], ["start", "vm0"]], ids=lambda words: words[0])
def test_a_kill_at_any_call_leaves_nothing(ready, command):
    before = seen(ready)
    # `run` would not end: it is what `start` does up to the hypervisor, but for the fork.
    found = points(ready, EXEC if command is EXEC else ["start", "vm0"], CHANGES)
    settle(ready)
    assert len(found) > 20 and seen(ready) == before
    if command[0] == "run":
        found = [point for point in found[:found.index(("execve", 1)) + 1] if point[0] not in ("pipe2", "clone", "dup2")]
    survived = []
    for call, number in found:
        done = injected(ready, command, "signal=KILL", call, number)
        survived += [(call, number)] * (done.returncode == 0)
        if command is not EXEC:
            settle(ready)
        assert difference(before, seen(ready)) == {}, (call, number, done.stderr)
    assert len(survived) < len(found) * 0.1, survived


@pytest.mark.parametrize("command", [EXEC, ["start", "vm0"]], ids=lambda words: words[0])
def test_a_call_that_fails_leaves_nothing_or_what_was_wanted(ready, command):
    """Without a next command: what did not succeed has cleaned up itself."""
    before = seen(ready)
    found = points(ready, command, set(FAILURES))
    settle(ready)
    failed = 0
    for call, number in found:
        done = injected(ready, command, f"error={FAILURES[call]}", call, number)
        failed += done.returncode != 0
        if done.returncode == 0 or call == "flock":  # a lock that cannot be had cannot be taken away
            settle(ready)
        assert difference(before, seen(ready)) == {}, (call, number, done.returncode, done.stderr)
        assert done.returncode in (0, 1, 2) and (done.returncode == 0 or done.stderr), (call, number, done.returncode)
    # The rest is memory that the C library gets elsewhere, libnftables asking again, and looks that may fail.
    assert failed > len(found) * 0.6


def test_a_stop_that_is_killed_or_fails_at_any_call_leaves_it_running_or_stopped(ready):
    before = seen(ready)
    ready.vmwire("start", "vm0")
    found = points(ready, STOP, CHANGES)
    ways = [(call, number, "signal=KILL") for call, number in found]
    ways += [(call, number, f"error={FAILURES[call]}") for call, number in found if call in FAILURES]
    broken = 0
    for call, number, what in ways:
        if not is_running(ready):
            assert difference(before, seen(ready)) == {}, (call, number, what)
            ready.vmwire("start", "vm0")
        broken += injected(ready, STOP, what, call, number).returncode != 0
    settle(ready)
    assert difference(before, seen(ready)) == {}
    assert broken > len(found) * 0.8


def test_down_takes_along_what_a_machine_left_that_was_killed(ready):
    """Also of one that the file names no longer."""
    ready.vmwire("start", "vm0")
    ready.config(NAT)
    ready.sh("pid=$(cat /run/vmwire/machine/vm0/pid); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.02; done; "
             "test -e /run/vmwire/machine/vm0/lock; mkdir /run/vmwire/machine/other")
    ready.vmwire("down")
    assert "/run/vmwire/machine" not in ready.run_files()


def test_a_system_call_of_down_that_fails_leaves_one_state_or_the_other(host):
    """The first of each kind and the last, two between, and all that looks: what could not be looked at is not left behind."""
    errors = {**CALLS, "newfstatat": "ENOMEM"}
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    host.vmwire("up")
    found = points(host, ["down"], set(errors) - {"mmap"})
    chosen = []
    for call in errors:
        numbers = [number for kind, number in found if kind == call]
        few = {numbers[i * (len(numbers) - 1) // 3] for i in range(4)} if numbers else set()
        chosen += [(call, number) for number in (numbers[:24] if call in ("openat", "newfstatat") else sorted(few))]
    failed = 0
    for call, number in chosen:
        host.vmwire("up")
        done = injected(host, ["down"], f"error={errors[call]}", call, number)
        failed += done.returncode != 0
        if done.returncode == 0:
            host.vmwire("status", check=False)
            assert difference(before, host.snapshot()) == {}, (call, number)
        else:
            assert "nothing to do" in host.vmwire("up").stdout, (call, number, done.stderr)
    assert failed > len(chosen) * 0.6
    host.vmwire("down")
    assert difference(before, host.snapshot()) == {}


@pytest.mark.parametrize("lost", [False, True])
def test_routes_that_go_with_a_bridge_are_there_again_when_down_fails(host, lost):
    """Those made by hand in a network of guests; those of the host, where the record that knew its uplink is lost."""
    home(host)
    host.config(BOTH)
    host.vmwire("up")
    host.sh("ip route add 10.9.0.0/24 via 10.0.0.77 dev brnat; ip route add 10.8.0.7 dev brnat metric 9")
    if lost:
        host.sh("rm /run/vmwire/network/brext/record")
    before = apart_from_bridges_made_anew(host.snapshot())
    count = len(json.loads(host.vmwire("plan", "--down", "--json").stdout)["operations"])
    done = host.vmwire("down", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"fail-before {count}"})
    assert "rolled back" in done.stderr
    assert difference(before, apart_from_bridges_made_anew(host.snapshot())) == {}
    host.sh("ping -c1 -W2 192.168.87.1; ping -c1 -W2 fd00:87::1")
