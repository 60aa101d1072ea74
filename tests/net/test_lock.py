"""A hostile guest with raw sockets: of what is not its own to send nothing gets through, and status counts it."""
import json
import pathlib
import re
import signal
import subprocess
import time

import hostile
import pytest
from conftest import VMWIRE
from guests import Guest
from test_isolate import Ear, practice
from test_isolate import hostile as flood
from test_modes import reaches

HEAD = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
MACHINES = ('machines:\n  vm1:\n    nics: [{network: brnat, mac: "00:a0:98:00:00:01", address: 10.0.0.31}]\n'
            '  vm2:\n    nics: [{network: brnat, mac: "00:a0:98:00:00:02"}]\n')
SCRIPT = pathlib.Path(hostile.__file__)
KINDS = ["mac", "ip", "arp", "dhcp", "ra"]


def send(guest, kind, *number):
    """All of a kind, or that one alone."""
    guest.space.run("python3", SCRIPT, kind, *number)


def dropped(host, guest):
    networks = json.loads(host.vmwire("status", "--json", check=False).stdout)["networks"]
    return next(port["dropped"] for network in networks for port in network["ports"] if port["ifname"] == guest.tap)


def finding(host, *about):
    told = json.loads(host.vmwire("doctor", *about, "--json", check=False).stdout)["findings"]
    return [row for row in told if row["code"] == "nic-locked"]


@pytest.fixture
def two(practice):
    """vm1, whose address the file gives, and vm2, which leases the only one that there is."""
    def up(more=""):
        practice.config(HEAD + more + "    dhcp: 10.0.0.32-10.0.0.32\n" + MACHINES)
        practice.vmwire("up")
        guests = [Guest(practice, "brnat", "vm1", mac="00:a0:98:00:00:01", given="10.0.0.31"),
                  Guest(practice, "brnat", "vm2", mac="00:a0:98:00:00:02")]
        assert tuple(guest.lease() for guest in guests) == ("10.0.0.31", "10.0.0.32")
        for guest in guests:
            practice.wait_for(lambda g=guest: "fe80" in g.space.sh("ip -6 addr show dev eth0 scope link -tentative"))
        assert "nothing to do" in practice.vmwire("up").stdout
        return guests
    return up


def test_of_what_is_not_its_own_nothing_gets_through_and_status_counts_it(practice, two):
    one, other = two()
    before = dropped(practice, one)
    for kind in KINDS:
        ears = [Ear(other.space, "eth0"), Ear(practice, "brnat")]
        send(one, kind)
        assert [ear.heard() for ear in ears] == [0, 0], kind
        after = dropped(practice, one)
        assert {k: after[k] - before[k] for k in KINDS} == {k: len(hostile.KINDS[k]) * (k == kind) for k in KINDS}, kind
        before = after
    ears = [Ear(other.space, "eth0"), Ear(practice, "brnat")]
    send(one, "good")
    assert [ear.heard() for ear in ears] == [len(hostile.KINDS["good"])] * 2
    assert dropped(practice, one) == before and dropped(practice, other)["arp"] == 0
    assert one.tap in practice.vmwire("status").stdout
    assert reaches(one.space, "10.0.0.32") and reaches(one.space, "192.168.87.1") and reaches(practice, "10.0.0.31")


def test_without_locks_all_of_it_gets_through(practice, two):
    one, other = two("    lock: off\n")
    ears = [Ear(other.space, "eth0"), Ear(practice, "brnat")]
    for kind in [*KINDS, "good"]:
        send(one, kind)
    assert [ear.heard() for ear in ears] == [sum(len(frames) for frames in hostile.KINDS.values())] * 2
    assert dropped(practice, one) == {}


def test_an_address_that_nobody_gave_is_dropped_and_doctor_says_what_to_write(practice):
    practice.config(HEAD + MACHINES)
    practice.vmwire("up")
    guest = Guest(practice, "brnat", "vm2", mac="00:a0:98:00:00:02")
    guest.space.sh("ip addr add 10.0.0.77/24 dev eth0")
    assert not reaches(guest.space, "10.0.0.1") and not reaches(practice, "10.0.0.77")
    told = finding(practice, "brnat")
    assert len(told) == 1 and told[0]["severity"] == "warning" and "'vm2'" in told[0]["subject"]
    assert "10.0.0.77" in told[0]["evidence"] and "none" in told[0]["evidence"]
    assert "'address: 10.0.0.77'" in told[0]["cure"] and "'lock: [mac, dhcp, ra]'" in told[0]["cure"]
    text = HEAD + MACHINES.replace('00:02"', '00:02", address: 10.0.0.77')
    for change, through in ((text, True), (HEAD + MACHINES, False), (HEAD + "    lock: [mac, dhcp, ra]\n" + MACHINES, True)):
        practice.config(change)
        practice.vmwire("up")
        assert "nothing to do" in practice.vmwire("up").stdout
        guest.space.sh("ip neigh flush dev eth0")
        assert reaches(guest.space, "10.0.0.1") == through
        assert bool(finding(practice, "brnat")) != (change == text)


def test_a_lease_is_the_guests_that_had_it_last(practice):
    practice.config(HEAD + "    dhcp: 10.0.0.32-10.0.0.32\n")
    practice.vmwire("up")
    first = Guest(practice, "brnat", "vm1", mac="00:a0:98:00:00:01")
    second = Guest(practice, "brnat", "vm2", mac="00:a0:98:00:00:02")
    assert first.lease("-B") == "10.0.0.32" and reaches(first.space, "10.0.0.1")  # an answer to all is one to it
    release = hostile.bootp(1, hostile.OWN, bytes.fromhex("350107" "36040a000001" "3d0701") + hostile.OWN + b"\xff")
    release = release[:12] + bytes([10, 0, 0, 32]) + release[16:]
    first.space.run("python3", "-c", "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                    f"s.bind(('', 68)); s.sendto({release!r}, ('10.0.0.1', 67))")
    practice.wait_for(lambda: "10.0.0.32" not in practice.vmwire("leases").stdout)
    first.space.sh("ip addr flush dev eth0")
    assert second.lease() == "10.0.0.32" and reaches(second.space, "10.0.0.1")
    first.space.sh("ip addr add 10.0.0.32/24 dev eth0")
    assert not reaches(first.space, "10.0.0.1") and reaches(second.space, "10.0.0.1")
    assert dropped(practice, first)["arp"] and not dropped(practice, second)["arp"]


def test_rules_that_somebody_flushed_come_back_with_the_leases(practice, two):
    one, other = two()
    practice.sh("nft delete table bridge vmwire_lock")
    assert practice.vmwire("status", check=False).returncode == 3
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    for guest in (one, other):
        assert reaches(guest.space, "10.0.0.1")
    other.space.run("ping", "-c", "1", "-W", "1", "ff02::1%eth0", check=False)  # an IPv6 address is who's first
    ear = Ear(other.space, "eth0")
    send(one, "ip")
    assert ear.heard() == 0
    saved = practice.sh("nft list table bridge vmwire_lock")
    practice.run("nft", "-f", "-", input="delete table bridge vmwire_lock\n" + saved)  # it can be loaded again
    assert "nothing to do" in practice.vmwire("up").stdout and reaches(other.space, "10.0.0.1")


def test_a_flood_of_macs_fills_nothing_and_a_taps_name_is_not_the_next_ones(practice, two):
    one, other = two()
    size = len(json.loads(practice.sh("bridge -j fdb show br brnat")))
    flood(one, "many", 5000)
    assert len(json.loads(practice.sh("bridge -j fdb show br brnat"))) == size
    assert dropped(practice, one)["mac"] > 500  # the others were too many for the tap
    one.close()
    practice.wait_for(lambda: one.tap not in practice.sh("ip -br link"))
    third = Guest(practice, "brnat", "vm3", mac="00:a0:98:00:00:03")
    assert third.tap == one.tap and set(dropped(practice, third).values()) == {0}
    ear = Ear(practice, "brnat")
    send(third, "good")  # the first one's
    assert ear.heard() == 0 and sum(dropped(practice, third).values()) == len(hostile.KINDS["good"])


def test_on_a_bridged_network_leases_are_learned_from_the_wire(practice):
    practice.outside.popen("dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=far", "--bind-interfaces",
                           "--no-ping", "--dhcp-range=192.168.87.100,192.168.87.200", "--dhcp-leasefile=/run/leases",
                           "--pid-file=")
    practice.wait_for(lambda: ":67" in practice.outside.sh("ss -Hlnu"))
    practice.config("networks:\n  brext: {mode: bridged, uplink: re0, lock: [ip, arp]}\n")
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    guest = Guest(practice, "brext", "vm1", mac="00:a0:98:00:00:01")
    given = Guest(practice, "brext", "vm2", mac="00:a0:98:00:00:02", address="192.168.87.60/24")
    address = guest.lease()
    assert reaches(guest.space, "192.168.87.1") and reaches(given.space, "192.168.87.1") and reaches(given.space, address)
    guest.space.sh(f"ip addr del {address}/24 dev eth0; ip addr add 192.168.87.99/24 dev eth0")
    assert not reaches(guest.space, "192.168.87.1") and dropped(practice, guest)["arp"]


def test_who_takes_an_ipv6_address_first_has_it(practice):
    practice.config(HEAD + "    subnet6: fdaa:0:0:1::/64\n")
    practice.vmwire("up")
    one, thief, third = [Guest(practice, "brnat", f"vm{i}", mac=f"00:a0:98:00:00:0{i}") for i in (1, 2, 3)]
    for guest, address in ((one, "fdaa:0:0:1::5"), (thief, "fdaa:0:0:1::6"), (third, "fdaa:0:0:1::7")):
        guest.space.sh(f"ip addr add {address}/64 dev eth0; ip route add fdaa::/16 dev eth0")

    def asks(guest, source, target="fdaa:0:0:1::7"):
        return guest.space.run("ping", "-c", "1", "-W", "1", "-I", source, target, check=False).returncode == 0

    for guest, address in ((one, "fdaa:0:0:1::5"), (thief, "fdaa:0:0:1::6")):
        practice.wait_for(lambda g=guest, a=address: asks(g, a))
    thief.space.sh("ip addr add fdaa:0:0:1::5/64 dev eth0 nodad; ip addr add fdaa:0:0:2::5/64 dev eth0 nodad")
    assert not asks(thief, "fdaa:0:0:1::5") and not asks(thief, "fdaa:0:0:2::5")
    assert asks(thief, "fdaa:0:0:1::6") and asks(one, "fdaa:0:0:1::5")
    told = finding(practice, "brnat")
    assert len(told) == 1 and "fdaa:0:0:" in told[0]["evidence"] and "'address6: " in told[0]["cure"]
    # So many and no more, that nobody fills the sets.
    send(one, "many6")
    taken = practice.sh("nft list set bridge vmwire_lock taken_ip6").count("expires")
    assert 50 < taken < 80


def traced(host, act, *args, wait=0.5):
    """What trace says of vm1 while `act` is done, and until it has seen enough or is told to end."""
    process = host.popen(VMWIRE, "trace", "vm1", *args, "--json", stdout=subprocess.PIPE, text=True)
    host.wait_for(lambda: "vmwire_trace" in host.sh("nft list tables"))
    act()
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    return json.loads(process.communicate(timeout=30)[0])


OWN = "its nic's MAC is 00:a0:98:00:00:01, its addresses are: 10.0.0.31 (given), 10.0.0.31 (leased)"
DROPPED = [  # of which frame trace speaks, what it says would be right, and how
    ("mac", -1, "02:de:ad:be:ef:00 > ff:ff:ff:ff:ff:ff, ARP, length 60", "its nic's MAC is 00:a0:98:00:00:01, not 02:de:ad:be:ef:00",
     "from a MAC that is not its own", "'mac: 02:de:ad:be:ef:00'"),
    ("ip", 0, "10.0.0.32.9 > 255.255.255.255.9: UDP", OWN, "uses an address that is not its own", "'address: 10.0.0.32'"),
    ("arp", 0, "ARP, Reply 10.0.0.32 is-at 00:a0:98:00:00:01", OWN, "uses an address that is not its own", "'address: 10.0.0.32'"),
    ("arp", 9, "ICMP6, neighbor advertisement", OWN, "names a MAC that is not its own", "'lock: [mac, dhcp, ra]'"),
    ("dhcp", 0, "10.0.0.31.67 > 255.255.255.255.68", "", "acts as a DHCP server", "'lock: [mac, ip, arp, ra]'"),
    ("dhcp", -1, "DHCP discover, client 00:a0:98:00:00:02", "its nic's MAC is 00:a0:98:00:00:01, not 00:a0:98:00:00:02",
     "for another MAC than its own", "'mac: 00:a0:98:00:00:02'"),
    ("ra", 0, "ICMP6, router advertisement", "", "acts as a router", "'lock: [mac, ip, arp, dhcp]'"),
]


def test_trace_names_the_lock_the_nic_the_frame_and_what_would_be_right(practice, two):
    one, other = two()
    assert traced(practice, lambda: reaches(one.space, "10.0.0.1"), "10.0.0.1")["findings"] == []
    for kind, number, frame, right, title, cure in DROPPED:
        before = dropped(practice, one)[kind]
        told = traced(practice, lambda: send(one, kind, number))
        row, = [row for row in told["findings"] if row["code"] == "nic-locked" and f"lock '{kind}'" in row["evidence"]]
        assert row["subject"] == "machine 'vm1'" and title in row["title"] and cure in row["cure"], row
        for word in (f"of network 'brnat' dropped at '{one.tap}' (nic 0)", frame, right):
            assert word in row["evidence"], row
        counter, watched = map(int, re.search(rf"its counter dropped_{kind} is (\d+), of which (\d+) while", row["evidence"]).groups())
        assert watched >= 1 and counter == before + watched, row


def test_trace_of_an_address_that_nobody_gave(practice):
    """ARP is what is dropped first, and the ping that waits for it is never sent."""
    practice.config(HEAD + MACHINES)
    practice.vmwire("up")
    guest = Guest(practice, "brnat", "vm1", mac="00:a0:98:00:00:01")
    guest.space.sh("ip addr add 10.0.0.77/24 dev eth0")
    told = traced(practice, lambda: reaches(guest.space, "10.0.0.1"), wait=1)
    first = told["findings"][0]
    assert first["code"] == "nic-locked" and "lock 'arp'" in first["evidence"] and "tell 10.0.0.77" in first["evidence"]
    assert "its addresses are: none" in first["evidence"] and "'address: 10.0.0.77'" in first["cure"]
    assert [hop["what"] for hop in told["hops"] if hop["mark"] == "lost"][0] == "dropped by the network's lock 'arp'"
