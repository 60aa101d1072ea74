"""`vlan:` on networks and nics.

It needs a kernel with 802.1Q and bridges that know VLANs; tests/guest/test_kernel.py runs all of it on Debian's.  Where
the kernel lacks them what is said then is tested, and nothing else.
"""
import json

import pytest
from conftest import FAULTY, kernel_knows
from guests import Guest
from test_trace import trace

HEAD = "networks:\n"
PLAIN = "  plain: {mode: bridged, uplink: re1}\n"
MAC = "00:a0:98:00:00:0"


NICS = "machines:\n" + "".join(f"  vm{n}:\n    nics: [{{network: plain, mac: \"{MAC}{n}\"{more}}}]\n"
                               for n, more in ((1, ""), (2, ", vlan: 20"), (3, ", vlan: 30")))


def tagged(name, vlan, more="", uplink="re1"):
    return f"  {name}: {{mode: bridged, uplink: {uplink}, vlan: {vlan}{more}}}\n"


has_vlans = kernel_knows("type vlan")
needs_vlans = pytest.mark.skipif(not has_vlans, reason="this kernel has no 802.1Q (CONFIG_VLAN_8021Q)")


@pytest.fixture
def switch(host):
    """re1 leads to a switch that carries VLANs 10, 20 and 30 tagged, and a segment without a tag; a router on each."""
    far = host.uplink("re1", "192.168.87.44/24", "192.168.87.1/24")
    if has_vlans:
        for vlan in (10, 20, 30):
            far.sh(f"ip link add link far name far.{vlan} type vlan id {vlan}; ip link set dev far.{vlan} up; "
                   f"ip addr add 10.{vlan}.0.1/24 dev far.{vlan}")
    host.far = far
    return host


def up(host, text):
    host.config(HEAD + text)
    host.vmwire("up")
    assert "nothing to do" in host.vmwire("up").stdout


def mended(host, harms, *checks):
    """Each harm is seen by `status`, with a finding where one belongs to it, and `up` mends it."""
    for harm, finding in harms.items():
        host.sh(harm)
        status = host.vmwire("status", "--json", check=False)
        assert status.returncode == 3, harm
        assert not finding or json.loads(status.stdout)["findings"][0]["code"] == finding, harm
        host.vmwire("up")
        assert host.vmwire("status", check=False).returncode == 0, harm
        for guest, address in checks:
            assert reaches(guest, address), harm


def reaches(guest, address):
    return guest.ping(address, wait=3).returncode == 0


def deaf(guest, *addresses):
    """Nobody answers there: asked at once, for half a second."""
    script = "".join(f"ping -c 1 -W 0.5 {address} >/dev/null && echo {address} & " for address in addresses)
    return guest.space.sh(script + "wait") == ""


def guest(host, network, subnet, number=1, **more):
    return Guest(host, network, f"vm{number}", mac=f"{MAC}{number}", address=f"10.{subnet}.0.{number + 50}/24", **more)


def refused(host, text, *words):
    host.config(HEAD + text)
    before = host.snapshot()
    done = host.vmwire("up", check=False)
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert host.snapshot() == before


@pytest.mark.skipif(has_vlans, reason="this kernel has what the test wants it to lack")
def test_a_kernel_without_vlans_is_said_to_be_so_before_anything_changes(switch):
    refused(switch, tagged("v10", 10), "vmwire.yaml:2:43", "CONFIG_VLAN_8021Q, module '8021q'")
    refused(switch, PLAIN + NICS, "vmwire.yaml:7:61", "CONFIG_BRIDGE_VLAN_FILTERING", "put the nic on a network with 'vlan: 20'")


@needs_vlans
def test_networks_on_one_uplink_keep_apart_and_go_without_a_trace(switch):
    """One without a tag, one with an address of the host's, one that shares the uplink's MAC; the uplink was down."""
    switch.sh("ip addr flush dev re1; ip link set dev re1 down")
    before = switch.snapshot()
    up(switch, PLAIN + tagged("v10", 10, ", address: 10.10.0.2/24") + tagged("v20", 20, ", mac: shared"))
    one, two, plain = guest(switch, "v10", 10, 1), guest(switch, "v20", 20, 2), guest(switch, "plain", 30, 3)
    plain.space.sh("ip addr add 192.168.87.53/24 dev eth0")
    assert reaches(one, "10.10.0.1") and reaches(one, "10.10.0.2")
    assert reaches(two, "10.20.0.1") and reaches(plain, "192.168.87.1")
    switch.sh("ping -c 1 -W 3 10.10.0.1")
    # Another VLAN's addresses are nobody's here.
    one.space.sh("ip addr add 10.20.0.99/24 dev eth0; ip addr add 192.168.87.99/24 dev eth0")
    assert deaf(one, "10.20.0.1", "10.20.0.52", "192.168.87.1", "192.168.87.53")
    plain.space.sh("ip addr add 10.10.0.99/24 dev eth0")
    assert deaf(plain, "10.10.0.1", "10.10.0.2")
    # The one that stays keeps the uplink up; the last sets it down.
    switch.vmwire("down", "plain", "v10")
    assert reaches(two, "10.20.0.1")
    switch.vmwire("down")
    for each in (one, two, plain):
        each.close()
    assert switch.snapshot() == before


@needs_vlans
def test_a_vlan_is_mended_changed_and_exchanged_while_guests_are_attached(switch):
    up(switch, tagged("one", 10, ", address: 10.10.0.2/24") + tagged("two", 20))
    one, two = guest(switch, "one", 10, 1), guest(switch, "two", 20, 2)
    mended(switch, {"ip link del dev re1.10": "vlan-missing", "ip link set dev re1.10 nomaster": "uplink-unplugged",
                    "ip link set dev re1.10 down mtu 1400": "vlan-down", "ip link set dev re1 down": "uplink-down"},
           (one, "10.10.0.1"))
    one.space.sh("ip addr add 10.20.0.61/24 dev eth0; ip addr add 10.30.0.61/24 dev eth0")
    two.space.sh("ip addr add 10.10.0.62/24 dev eth0; ip addr add 192.168.87.62/24 dev eth0")
    up(switch, tagged("one", 20) + tagged("two", 10))
    assert reaches(one, "10.20.0.1") and reaches(two, "10.10.0.1") and deaf(one, "10.10.0.1", "10.10.0.62")
    up(switch, tagged("one", 30) + "  two: {mode: bridged, uplink: re1}\n")
    assert reaches(one, "10.30.0.1") and reaches(two, "192.168.87.1")
    switch.sh("ping -c 1 -W 3 192.168.87.1")
    switch.sh("ip link add link re1 name mine type vlan id 20")
    refused(switch, tagged("one", 20) + "  two: {mode: bridged, uplink: re1}\n", "already, as 'mine': write 'uplink: mine'")


@needs_vlans
def test_nics_of_one_network_have_vlans_and_its_other_guests_stay(switch):
    before = switch.snapshot()
    up(switch, PLAIN.replace("}", ", lock: [mac, dhcp]}"))
    plain = guest(switch, "plain", 20)
    plain.space.sh("ip addr add 192.168.87.51/24 dev eth0")
    assert reaches(plain, "192.168.87.1")
    locked = PLAIN.replace("}", ", lock: [mac, dhcp]}")
    up(switch, locked + NICS)
    two, three = (guest(switch, "plain", 20 + 10 * n, 2 + n, vlan=20 + 10 * n) for n in (0, 1))
    assert reaches(two, "10.20.0.1") and reaches(three, "10.30.0.1") and reaches(plain, "192.168.87.1")
    assert deaf(plain, "10.20.0.1")
    status = json.loads(switch.vmwire("status", "--json").stdout)["networks"][0]["ports"]
    assert {port["machine"]: port["vlan"] for port in status if port["kind"] == "nic"} == {"vm1": None, "vm2": 20, "vm3": 30}
    switch.guest = two
    for _ in range(3):  # a slow machine does not see every frame at every hop
        told = trace(switch, "10.20.0.1", machine="vm2", doing=["ping", "-i", "0.3", "10.20.0.1"], seconds=3)
        assert told["answered"] and not told["findings"], told["findings"]
        tagged_at = [hop["where"] for hop in told["hops"] if "vlan 20," in (hop["frame"] or "")]
        if "re1" in tagged_at:
            break
    assert "re1" in tagged_at, told["hops"]
    mended(switch, {f"bridge vlan del dev {three.tap} vid 30; bridge vlan del dev re1 vid 20": "vlan-ends",
                    "bridge vlan add dev re1 vid 77; ip link set dev plain type bridge vlan_filtering 0": None,
                    "ip link set dev re1 nomaster": "uplink-unplugged"}, (two, "10.20.0.1"), (plain, "192.168.87.1"))
    # A nic's VLAN is another, then none.
    up(switch, locked + NICS.replace("vlan: 20", "vlan: 10"))
    two.space.sh("ip addr add 10.10.0.52/24 dev eth0; ip addr add 192.168.87.52/24 dev eth0")
    assert reaches(two, "10.10.0.1") and deaf(two, "10.20.0.1")
    up(switch, PLAIN)
    assert reaches(two, "192.168.87.1")
    for each in (plain, two, three):
        each.close()
    switch.vmwire("down")
    assert switch.snapshot() == before


@needs_vlans
def test_a_change_that_breaks_off_is_undone_and_the_printed_plan_makes_it_too(switch):
    """At every other operation, by a failure or by a kill, before it or after it."""
    nics = NICS.replace("vm1:", "vm0:")
    old, new = (PLAIN + tagged("one", a) + tagged("two", b) + nics.replace("vlan: 20", f"vlan: {nic}")
                for a, b, nic in ((10, 40, 20), (40, 10, 50)))
    switch.sh("ip addr flush dev re1")
    up(switch, old)
    two = guest(switch, "plain", 20, 2, vlan=20)

    def state():
        links = {link["ifname"]: (link.get("ifalias"), link.get("master"), link.get("link"), link["mtu"], "UP" in link["flags"],
                                  link.get("linkinfo", {}).get("info_data", {}).get("vlan_filtering"),
                                  link.get("linkinfo", {}).get("info_data", {}).get("id"))
                 for link in switch.json("ip", "-d", "-j", "link")}
        return links, sorted(switch.json("bridge", "-j", "vlan"), key=lambda port: port["ifname"]), switch.run_files()

    before = state()
    switch.config(HEAD + new)
    count = len(json.loads(switch.vmwire("plan", "--json").stdout)["operations"])
    assert count > 12
    for number in range(1, count + 1, 2):
        how = ("fail-before", "kill-after", "fail-after", "kill-before")[number // 2 % 4]
        assert switch.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"}).returncode, number
        plan = switch.vmwire("plan").stdout
        assert state() == before, (number, how)
    switch.sh(plan)
    assert "nothing to do" in switch.vmwire("up").stdout
    assert state()[0][two.tap][0].endswith(" vlan 50")
    up(switch, old)
    assert reaches(two, "10.20.0.1")
