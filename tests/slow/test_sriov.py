"""SR-IOV functions on a host with an IOMMU and an igb card (tests/outer.py): made, told, given to guests, and gone again."""
import json
import re
import sys

import pytest

from conftest import FAULTY, ROOT, VMWIRE
from outer import QEMU10
from passthrough import (CONFIG, booted, devices, driver, held, images, machine, outer, qemu, refused,  # noqa: F401
                         same, state, vmwire)

LAYOUT = "sriov"
N1, FUNCTIONS = "0000:02:00.0", ["0000:02:10.0", "0000:02:10.2", "0000:02:10.4"]
VLAN, VLAN_ROUTER = 20, "192.168.20.1"
MAC = "02:00:00:00:00:07"
# What no function has by itself: on a fresh one spoof checking is on, all else off.
SETTINGS = f"vlan: {VLAN}, trust: on, spoof_check: off, rate: 100"
TOLD = {"vlan": VLAN, "trust": True, "spoofchk": False, "rate": 100}
# An operation's undo when it was not done, and when it was; tests/guest has the other two.
HOWS = ("fail-before", "kill-after")
FRESH = {"address": "00:00:00:00:00:00", "vlan": 0, "trust": False, "spoofchk": True, "rate": 0}


@pytest.fixture(scope="module", autouse=True)
def igb(images):
    if not QEMU10.exists():
        pytest.skip((QEMU10.parent / "no-qemu").read_text())


def pool(functions=2, settings="", more="", name="lan", vf="auto"):
    count = f", functions: {functions}" if functions else ""
    return (f"  {name}:\n    mode: passthrough\n    device: {{parent: n1, vf: {vf}{count}{settings and ', ' + settings}}}\n"
            + more)


def config(outer, *parts):
    outer.write(CONFIG, "networks:\n" + "".join(parts))


def three(outer, functions=2):
    config(outer, pool(functions), "machines:\n", *(held(f"vm{number}", "lan") for number in (1, 2, 3)))


def told(outer):
    """What the parent was told of its functions, by number."""
    rows = json.loads(outer.sh("ip -d -j link show dev n1"))[0].get("vfinfo_list", [])
    return {row["vf"]: {"address": row["address"], "vlan": row.get("vlan_list", [{}])[0].get("vlan", 0),
                        "trust": row["trust"], "spoofchk": row["spoofchk"], "rate": row["rate"]["max_tx"]}
            for row in rows}


def made(outer):
    return int(outer.sh(f"cat /sys/bus/pci/devices/{N1}/sriov_numvfs"))


def ended(outer, *names):
    for name in names:
        vmwire(outer, "stop", name, "--timeout", "0")
        # Its directory goes when its function is back.
        outer.wait_for(f"! [ -e /run/vmwire/machine/{name} ]")


# Making and counting.


def test_a_machine_gets_a_function_made_for_it_and_down_takes_them_away(outer):
    three(outer)
    assert "a function of device 0000:02:00.0 (n1)" in vmwire(outer, "plan")
    card = devices(outer)[1][N1]
    assert (card["functions_total"], card["functions_now"], card["functions_used"]) == (7, 0, 0)
    vmwire(outer, "start", "vm1")
    cards = devices(outer)[1]
    assert (cards[N1]["functions_now"], cards[N1]["functions_used"]) == (2, 1)
    assert cards[N1]["verdict"] == "unfit" and "its 2 SR-IOV functions would go with it" in cards[N1]["why"]
    first, second = (cards[address] for address in FUNCTIONS[:2])
    assert (first["driver"], first["machine"], first["parent"]) == ("vfio-pci", "vm1", N1)
    # The host has no driver at the others: it would give them names and bring them up.
    assert (second["driver"], second["machine"], second["parent"]) == (None, None, N1)
    text = vmwire(outer, "devices")
    assert "SR-IOV: 2 of 7 functions made, 1 in use" in text and f"function 0 of {N1}" in text
    said = json.loads(outer.run([VMWIRE, "status", "--json"])[1])
    (network,) = said["networks"]
    assert {"address": FUNCTIONS[0], "machine": "vm1"}.items() <= network["devices"][0].items()
    ended(outer, "vm1")
    assert made(outer) == 2 and driver(outer, FUNCTIONS[0]) == ""
    vmwire(outer, "down")


def test_an_exhausted_pool_says_who_has_which(outer):
    three(outer)
    vmwire(outer, "start", "vm1")
    vmwire(outer, "start", "vm2")
    before = state(outer)
    said = vmwire(outer, "start", "vm3", status=1)
    assert "all 2 functions of 'n1' are taken (0: machine 'vm1', 1: machine 'vm2')" in said
    assert "stop these machines" in said
    same(outer, before)
    # More can be made only by way of none, which would take them from under the guests.
    three(outer, 5)
    said = vmwire(outer, "start", "vm3", status=1)
    assert "0: machine 'vm1', 1: machine 'vm2'" in said
    assert made(outer) == 2
    config(outer, pool(7, name="third", vf=0), "machines:\n", held("vm3", "third"))
    assert "function 0 of 'n1' is taken" in vmwire(outer, "start", "vm3", status=1)
    same(outer, before)
    # One that came back goes to the next.
    ended(outer, "vm1")
    three(outer)
    vmwire(outer, "start", "vm3")
    assert devices(outer)[1][FUNCTIONS[0]]["machine"] == "vm3"
    ended(outer, "vm2", "vm3")
    vmwire(outer, "down")


def test_machines_that_start_at_the_same_time_get_different_functions(outer):
    three(outer)
    starting = [outer.start([VMWIRE, "start", f"vm{number}"]) for number in (1, 2, 3)]
    assert sorted(one.wait(240) for one in starting) == [0, 0, 1], [one.output() for one in starting]
    (late,) = [one.output() for one in starting if one.status()]
    assert "all 2 functions of 'n1' are taken" in late
    cards = devices(outer)[1]
    having = {cards[address]["machine"] for address in FUNCTIONS[:2]}
    assert len(having) == 2 and None not in having
    ended(outer, *having)
    vmwire(outer, "down")


def test_functions_stay_while_a_guest_has_one_and_go_with_the_last(outer):
    three(outer)
    vmwire(outer, "start", "vm1")
    vmwire(outer, "start", "vm2")
    assert "has functions in use" in vmwire(outer, "down")
    assert made(outer) == 2 and driver(outer, FUNCTIONS[0]) == driver(outer, FUNCTIONS[1]) == "vfio-pci"
    ended(outer, "vm1")
    assert made(outer) == 2
    ended(outer, "vm2")
    same(outer, outer.home)


def test_functions_stay_while_another_program_has_one(outer):
    config(outer, pool(8), "machines:\n", held("vm1", "lan"))
    said = vmwire(outer, "start", "vm1", status=1)
    assert N1 in said and "it can have 7 functions, and 'functions: 8' asks for more" in said
    three(outer)
    vmwire(outer, "start", "vm1")
    path = f"/sys/bus/pci/devices/{FUNCTIONS[1]}"
    outer.sh(f"echo vfio-pci >{path}/driver_override; echo {FUNCTIONS[1]} >/sys/bus/pci/drivers_probe")
    said = vmwire(outer, "start", "vm2", status=1)
    assert "0: machine 'vm1', 1: another program (it is bound to vfio-pci)" in said
    ended(outer, "vm1")
    said = vmwire(outer, "down")
    assert f"has functions in use ({FUNCTIONS[1]}: another program" in said and made(outer) == 2
    outer.sh(f"echo {FUNCTIONS[1]} >{path}/driver/unbind")
    vmwire(outer, "down")
    same(outer, outer.home)


def test_the_parent_is_refused_while_it_has_functions_and_the_functions_while_it_is_away(outer):
    three(outer)
    vmwire(outer, "start", "vm1")
    whole = "  whole:\n    mode: passthrough\n    device: n1\n    in_use: take\nmachines:\n" + held("vm9", "whole")
    # The same when the network that had the functions is now to have the card.
    for text in (whole, whole.replace("whole", "lan")):
        config(outer, text)
        said = vmwire(outer, "start", "vm9", status=1)
        assert N1 in said and "its 2 SR-IOV functions would go with it" in said and "vmwire down" in said
    assert made(outer) == 2
    ended(outer, "vm1")
    three(outer)
    vmwire(outer, "down")
    config(outer, whole)
    vmwire(outer, "start", "vm9")
    three(outer)
    said = vmwire(outer, "start", "vm1", status=1)
    assert N1 in said and "vm9" in said
    config(outer, whole)
    ended(outer, "vm9")


def test_functions_that_somebody_made_are_used_and_left(outer):
    """Of a number that others chose, with the host's own driver: back they go to it, and `down` leaves them."""
    outer.sh(f"modprobe igbvf; ip link set dev n1 up; echo 3 >/sys/bus/pci/devices/{N1}/sriov_numvfs")
    outer.wait_for(f"[ $(ls -d /sys/bus/pci/devices/{N1}/virtfn*/net/* | wc -l) = 3 ]")
    outer.sh(f"ip link set dev $(ls /sys/bus/pci/devices/{FUNCTIONS[0]}/net) name v0 && ip link set dev v0 up; "
             f"ip link set dev $(ls /sys/bus/pci/devices/{FUNCTIONS[1]}/net) name v1; "
             # Once up, it has told the parent its MAC, as it does when that is given back to it.
             "ip link set dev v1 up; ip link set dev v1 down")
    outer.wait_for("ip -br link show v0 | grep -q LOWER_UP && ip -br link show n1 | grep -q LOWER_UP && "
                   "! ip addr | grep -q tentative")
    before = state(outer)
    three(outer)
    # The first is an interface that the host has up.
    vmwire(outer, "start", "vm1")
    cards = devices(outer)[1]
    assert cards[FUNCTIONS[0]]["driver"] == "igbvf" and cards[FUNCTIONS[1]]["machine"] == "vm1"
    ended(outer, "vm1")
    vmwire(outer, "down")
    same(outer, before)
    outer.sh(f"echo 0 >/sys/bus/pci/devices/{N1}/sriov_numvfs; ip link set dev n1 down; rmmod igbvf")


def test_a_machines_nics_get_different_functions(outer):
    config(outer, pool(0), pool(0, name="second", vf=1), "machines:\n", held("vm1", "lan", "second", "lan"))
    vmwire(outer, "start", "vm1")
    cards = devices(outer)[1]
    assert [cards[address]["machine"] for address in FUNCTIONS] == ["vm1"] * 3
    assert cards[FUNCTIONS[1]]["network"] == "second" and made(outer) == 3
    ended(outer, "vm1")
    vmwire(outer, "down")


# Telling the parent.


def test_the_parent_is_told_before_a_guest_starts_and_forgets_at_every_end(outer):
    """With a fault at each operation: no hypervisor starts before all is said.  The next command leaves what was."""
    config(outer, pool(settings=SETTINGS), "machines:\n", held("vm1", "lan").replace("{network: lan}",
                                                                                 f'{{network: lan, mac: "{MAC}"}}'))
    for how in HOWS:
        said = []
        for number in range(1, 20):
            status, out, err = outer.run([FAULTY, "start", "vm1"], env={"VMWIRE_FAULT": f"{how} {number}"}, timeout=240)
            if status == 0:
                break
            assert status == (-9 if how.startswith("kill") else 1), out + err
            assert outer.run("pgrep qemu-system")[0] == 1
            said.append(told(outer).get(0))
            vmwire(outer, "status", status=None)
            same(outer, outer.home)
        assert number > 5, f"only {number} operations: {out}{err}"
        if how == "kill-after":
            assert said[-1] == {"address": MAC, **TOLD}
        assert told(outer) == {0: {"address": MAC, **TOLD}, 1: FRESH}
        ended(outer, "vm1")
        assert told(outer) == {0: FRESH, 1: FRESH}
        vmwire(outer, "down")
        same(outer, outer.home)


def test_a_setting_that_the_driver_lacks_is_named_and_nothing_stays(outer):
    config(outer, pool(settings="link: up"), "machines:\n", held("vm1", "lan"))
    said = vmwire(outer, "start", "vm1", status=1)
    assert "'n1'" in said and "link state" in said, said


def test_a_down_that_fails_or_is_killed_anywhere_leaves_the_pool_or_nothing(outer):
    three(outer)
    vmwire(outer, "start", "vm1")
    ended(outer, "vm1")
    before = state(outer)
    for how in HOWS:
        for number in range(1, 20):
            status, out, err = outer.run([FAULTY, "down"], env={"VMWIRE_FAULT": f"{how} {number}"})
            if status == 0:
                break
            vmwire(outer, "status", status=None)
            same(outer, before)
        assert number > 2, f"only {number} operations: {out}{err}"
        same(outer, outer.home)
        vmwire(outer, "start", "vm1")
        ended(outer, "vm1")
        same(outer, before)
    vmwire(outer, "down")


def test_kill_9_of_both_and_the_next_command_takes_the_function_back(outer):
    config(outer, pool(settings=SETTINGS), "machines:\n", held("vm1", "lan"))
    vmwire(outer, "start", "vm1")
    outer.sh(f"kill -9 $(pgrep -x vmwire) {qemu(outer)}; while pgrep 'vmwire|qemu-system'; do sleep 0.1; done")
    assert driver(outer, FUNCTIONS[0]) == "vfio-pci" and told(outer)[0]["vlan"] == VLAN
    said = vmwire(outer, "status", status=None)
    assert "vm1" in said and "back" in said, said
    assert driver(outer, FUNCTIONS[0]) == "" and told(outer) == {0: FRESH, 1: FRESH}
    vmwire(outer, "down")


# The whole of it.


def test_a_guest_drives_its_function_on_its_vlan_and_down_leaves_nothing(outer):
    # A router that hears only what the card has tagged.
    outer.spawn(sys.executable, ROOT / "tests/vlan_tap.py", "tap-n1", VLAN, "vlan")
    outer.network.sh("i=0; until ip link set dev vlan up 2>/dev/null; do i=$((i+1)); [ $i -lt 50 ]; sleep 0.1; done; "
                     f"ip addr add {VLAN_ROUTER}/24 dev vlan")
    outer.spawn("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--interface=vlan", "--except-interface=lo",
                "--bind-interfaces", "--no-ping", "--no-resolv", "--no-hosts", "--pid-file=/run/vlan.pid",
                "--dhcp-leasefile=/run/vlan.leases", "--dhcp-range=192.168.20.40,192.168.20.99")
    config(outer, pool(settings=SETTINGS), "machines:\n", booted("vm1", "igbvf", "lan").replace(
        "{network: lan}", f'{{network: lan, mac: "{MAC}"}}'))
    running = outer.start([VMWIRE, "run", "vm1"])
    said = running.read_until("GUEST eth0 address=", 600)
    assert told(outer)[0] == {"address": MAC, **TOLD}
    said = running.read_until("GUEST poweroff", 300)
    assert re.search(r"GUEST eth0 address=192\.168\.20\.\d+/24 router=192\.168\.20\.1", said), said
    assert "GUEST ping 8.8.8.8 ok" in said
    assert running.wait() == 0, running.output()
    assert MAC in outer.network.sh("cat /run/vlan.leases")
    assert told(outer) == {0: FRESH, 1: FRESH}
    vmwire(outer, "down")
