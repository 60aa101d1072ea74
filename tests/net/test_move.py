"""A nic that the file has on another network goes there while its machine runs: the same tap, on another bridge."""
import json

import pytest

from conftest import FAULTY, VMWIRE
from test_up_down import home

NETWORKS = """networks:
  near:
    mode: nat
    subnet: 10.0.0.0/24
    isolate: yes
    lock: [mac]
    rate: {in: 50Mbit, out: 60Mbit}
  far:
    mode: isolated
    subnet: 10.0.9.0/24
    mtu: 1400
    lock: [mac]
"""
MACHINE = "machines:\n  vm0:\n    memory: 16M\n    serial: socket\n    nics: [{network: near}, {network: %s}]\n"


@pytest.fixture
def running(host):
    home(host)
    host.config(NETWORKS + MACHINE % "near")
    host.vmwire("up")
    host.vmwire("start", "vm0")
    yield host
    host.vmwire("stop", "vm0", "--timeout", "0")
    host.vmwire("down")


def wiring(host):
    """Taps with all that a network gives them, and who may send behind them."""
    links = [link for link in host.json("ip", "-d", "-j", "link") if link["ifname"].startswith("tap")]
    entries = host.json("bridge", "-j", "fdb", "show")
    limits = {link["ifname"]: host.sh(f"for what in 'qdisc show' 'filter show ingress' 'filter show egress'; do "
                                      f"tc $what dev {link['ifname']} 2>/dev/null; done | sed 's/index [0-9]*//' || true") for link in links}
    return {link["ifname"]: {
        "index": link["ifindex"], "alias": link.get("ifalias"), "master": link.get("master"), "mtu": link["mtu"],
        "group": link["group"], "limits": limits[link["ifname"]], "up": "UP" in link["flags"], "port": {
            key: link.get("linkinfo", {}).get("info_slave_data", {}).get(key) for key in ("isolated", "locked", "learning")},
        "macs": sorted((e["mac"], e.get("master")) for e in entries if e["ifname"] == link["ifname"] and "offload" not in e
                       and e.get("state") == "static")} for link in links}


def test_a_nic_moves_with_its_tap_and_is_what_one_of_a_fresh_start_is(running):
    host, before = running, wiring(running)
    assert sorted(tap["master"] for tap in before.values()) == ["near", "near"]
    host.config(NETWORKS + MACHINE % "far")
    told = host.vmwire("status", "--json", check=False)
    assert told.returncode == 3
    assert any("moving nic 'tap1' to network 'far'" in line for line in json.loads(told.stdout)["networks"][1]["drift"])
    host.vmwire("up")
    moved = wiring(host)
    assert before["tap1"]["limits"].count("mirred") == 2 and "mirred" not in moved["tap1"]["limits"]
    assert moved["tap0"] == before["tap0"] and moved["tap1"]["index"] == before["tap1"]["index"]
    assert moved["tap1"]["alias"].startswith("vmwire:far vm0/1 ") and moved["tap1"]["master"] == "far"
    assert host.vmwire("up").stdout == "up: nothing to do\n" and host.vmwire("status").returncode == 0
    host.vmwire("stop", "vm0", "--timeout", "0")
    host.vmwire("start", "vm0")
    fresh = wiring(host)
    assert {**fresh["tap1"], "index": 0} == {**moved["tap1"], "index": 0}
    assert moved["tap1"]["mtu"] == 1400 and moved["tap1"]["port"]["isolated"] is False

    # And back, from a network that leaves the file.
    taps = wiring(host)
    host.config(NETWORKS[:NETWORKS.index("  far")] + MACHINE % "near")
    assert "loses its network" not in host.vmwire("up").stderr
    back = wiring(host)
    assert {**back["tap1"], "index": 0} == {**before["tap1"], "index": 0} and back["tap1"]["index"] == taps["tap1"]["index"]
    assert host.vmwire("up").stdout == "up: nothing to do\n"


@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
def test_a_move_that_fails_or_is_killed_at_any_step_is_undone(running, leaves):
    """Also where the network that the nic comes from goes with the same change."""
    host = running
    if leaves:
        host.config(NETWORKS + MACHINE % "far")
        host.vmwire("up")
        host.config(NETWORKS[:NETWORKS.index("  far")] + MACHINE % "near")
    else:
        host.config(NETWORKS + MACHINE % "far")
    before, count = wiring(host), len(json.loads(host.vmwire("plan", "--json").stdout)["operations"])
    assert count >= 5
    for number in range(1, count + 1):
        for way in ("fail-after",) if leaves else ("fail-before", "fail-after", "kill-after"):
            done = host.vmwire("up", program=FAULTY, env={"VMWIRE_FAULT": f"{way} {number}"}, check=False)
            assert done.returncode != 0
            if way == "kill-after":
                host.vmwire("status", check=False)
            assert wiring(host) == before, (way, number, done.stderr)
    host.vmwire("up")
    assert host.vmwire("up").stdout == "up: nothing to do\n"


def test_a_plan_of_it_that_sh_runs_leaves_the_same(running):
    host = running
    host.config(NETWORKS + MACHINE % "far")
    script = host.vmwire("plan").stdout
    host.run("sh", "-ec", script)
    by_sh = wiring(host)
    assert host.vmwire("up").stdout == "up: nothing to do\n"
    host.config(NETWORKS + MACHINE % "near")
    host.vmwire("up")
    host.config(NETWORKS + MACHINE % "far")
    host.vmwire("up")
    assert wiring(host) == by_sh


def test_what_a_running_machine_lacks_is_said_and_another_mac_is_another_nic(running):
    host, before = running, wiring(running)
    host.config(NETWORKS + MACHINE % "near}, {network: far")
    assert "machine 'vm0' runs without its nic 2 on 'far': vmwire attach vm0 far" in host.vmwire("up").stderr
    told = json.loads(host.vmwire("doctor", "vm0", "--json", check=False).stdout)["findings"]
    assert "nic-missing" in [finding["code"] for finding in told]
    host.vmwire("attach", "vm0", "far")
    assert "runs without" not in host.vmwire("up").stderr
    host.config(NETWORKS + MACHINE % "near")
    told = json.loads(host.vmwire("doctor", "vm0", "--json", check=False).stdout)["findings"]
    assert "its nic 2 on 'far', 'tap2', is not in the file" in str([f for f in told if f["code"] == "nic-unlisted"])
    host.vmwire("detach", "vm0", "far", "--timeout", "0", "--force")
    host.config(NETWORKS + MACHINE % 'far, mac: "02:00:00:00:00:99"')
    host.vmwire("up")
    assert wiring(host) == before


def test_an_up_that_is_killed_while_the_link_is_off_leaves_it_to_the_next_command(running):
    host = running
    host.config(NETWORKS + MACHINE % "far")
    up = host.popen(VMWIRE, "up")
    record = "/run/vmwire/machine/vm0/replug-1"
    host.wait_for(lambda: record in host.run_files())
    up.kill()
    up.wait()
    host.vmwire("status", check=False)
    assert record not in host.run_files() and wiring(host)["tap1"]["master"] == "far"
