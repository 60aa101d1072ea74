"""What attach and detach refuse, and what is left when they are killed or fail at any call.  These machines have no system that
could answer; tests/guest/test_hotplug.py has one that does."""
import json
import re

import pytest

from test_broken_off import FAILURES, injected, points, seen
from test_exact import difference
from test_up_down import NAT, home

MACHINE = "machines:\n  vm0:\n    memory: 16M\n    serial: socket\n    nics: [{network: brnat}]\n"
ATTACH = ["attach", "vm0", "brnat", "--queues", "2"]


@pytest.fixture
def running(host):
    home(host)
    host.config(NAT + MACHINE)
    host.vmwire("up")
    host.vmwire("start", "vm0")
    yield host
    host.vmwire("stop", "vm0", "--timeout", "0")
    host.vmwire("down")


def refused(host, *args, status=1):
    done = host.vmwire(*args, check=False)
    assert done.returncode == status and done.stdout == "", (done.returncode, done.stdout, done.stderr)
    return done.stderr


def qemu_knows(host):
    """What the hypervisor has of nics: netdevs, cards, and the tap descriptors of its process."""
    script = ("import json, socket, sys\n"
              "s = socket.socket(socket.AF_UNIX); s.connect('/run/vmwire/machine/vm0/qmp'); f = s.makefile('rw'); f.readline()\n"
              "def call(name, **arguments):\n"
              "    f.write(json.dumps({'execute': name, 'arguments': arguments}) + '\\n'); f.flush()\n"
              "    while 'return' not in (said := json.loads(f.readline())) and 'error' not in said: pass\n"
              "    return said.get('return')\n"
              "call('qmp_capabilities')\n"
              "print(call('human-monitor-command', **{'command-line': 'info network'}))\n"
              "print([o['name'] for o in call('qom-list', path='/machine/peripheral') if 'card' in o['name']])\n")
    said = host.run("python3", "-c", script).stdout
    return re.findall(r"^ *.? ?(nic\d+|card\d+)", said, flags=re.M), said.splitlines()[-1], host.sh(
        "ls -l /proc/$(cat /run/vmwire/machine/vm0/pid)/fd | grep -c /dev/net/tun")


def test_what_cannot_be_is_refused_and_changes_nothing(running):
    host, before = running, seen(running)
    assert "no machine" not in refused(host, "attach", "vm1", "brnat") and "does not run" in refused(host, "attach", "vm1", "brnat")
    assert "does not run" in refused(host, "detach", "vm1", "brnat")
    assert "did you mean 'brnat'" in refused(host, "attach", "vm0", "brnta", status=2)
    assert "--mac is a MAC" in refused(host, "attach", "vm0", "brnat", "--mac", "01:00:00:00:00:01", status=2)
    assert "--model is 'virtio' or 'e1000'" in refused(host, "attach", "vm0", "brnat", "--model", "rtl8139", status=2)
    assert "--queues" in refused(host, "attach", "vm0", "brnat", "--queues", "17", status=2)
    assert "one queue" in refused(host, "attach", "vm0", "brnat", "--queues", "2", "--model", "e1000")
    assert "it has no nic 'brext'; it has 0 (brnat, " in refused(host, "detach", "vm0", "brext")
    assert "it has no nic 7; it has 0 (brnat, " in refused(host, "detach", "vm0", "7")
    host.config(NAT + "  other:\n    mode: isolated\n    host: no\n  card:\n    mode: passthrough\n    device: re9\n" + MACHINE)
    assert "network 'other' is not up: run `vmwire up other`" in refused(host, "attach", "vm0", "other")
    assert "passes a device through" in refused(host, "attach", "vm0", "card", status=2)
    assert difference(before, seen(host)) == {}


def test_a_guest_that_does_not_let_go_keeps_the_nic_until_it_is_cut(running):
    host, before = running, seen(running)
    host.vmwire(*ATTACH)
    said = refused(host, "detach", "vm0", "1", "--timeout", "1")
    assert "has not let go of nic 1 within 1 s" in said and "--force" in said
    assert json.loads(host.vmwire("status", "--json").stdout)["networks"][0]["ports"][-1]["index"] == 1
    assert "guest still has the card" in host.vmwire("detach", "vm0", "1", "--timeout", "0", "--force").stdout
    assert difference(before, seen(host)) == {}
    said = refused(host, *ATTACH)
    assert "the guest has a card for nic 1 already" in said and "vmwire detach vm0 1" in said
    assert difference(before, seen(host)) == {}


def test_a_machine_has_room_for_eight_more(running):
    macs = [f"02:00:00:00:01:{number:02x}" for number in range(9)]
    for mac in macs[:-1]:
        running.vmwire("attach", "vm0", "brnat", "--mac", mac)
    before = seen(running)
    assert "room for 8 more" in refused(running, "attach", "vm0", "brnat", "--mac", macs[-1])
    assert "already in use on 'brnat'" in refused(running, "attach", "vm0", "brnat", "--mac", macs[0])
    assert difference(before, seen(running)) == {}


def test_a_kill_or_a_failure_at_any_call_of_attach_leaves_all_or_nothing(running):
    host, before, knows = running, seen(running), qemu_knows(running)

    def undo():
        """The card cannot go without the guest: the machine starts anew."""
        host.vmwire("stop", "vm0", "--timeout", "0")
        host.vmwire("start", "vm0")

    # What the hypervisor is told goes by sendmsg.
    found = points(host, ATTACH, {"ioctl", "sendmsg", "connect", "unlink"})
    undo()
    ways = [(call, number, "signal=KILL") for call, number in found]
    ways += [(call, number, f"error={FAILURES[call]}") for call, number in found if call in ("ioctl", "sendmsg")]
    done = mended = 0
    for call, number, what in ways:
        said = injected(host, ATTACH, what, call, number)
        told = host.vmwire("status", "--json", check=False)  # the next command
        ports = json.loads(told.stdout)["networks"][0]["ports"]
        if len(ports) == 2:
            done += 1
            assert "card1" in str(qemu_knows(host)), (call, number, what, said.stderr, told.stderr)
            undo()
            before, knows = seen(host), qemu_knows(host)
            continue
        mended += "interrupted attach of nic 1 has been undone" in told.stderr
        assert said.returncode != 0
        assert difference(before, seen(host)) == {}, (call, number, what, said.stderr, told.stderr)
        assert qemu_knows(host) == knows, (call, number, what, said.stderr, told.stderr)
    assert len(found) > 20 and 0 < done < len(ways) * 0.5 and mended > 5
