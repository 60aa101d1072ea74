"""What a guest's port may do: nothing reaches another guest; no frame leaves with another MAC."""
import json
import subprocess

import pytest
from conftest import FAULTY
from guests import Guest
from test_modes import reaches

HEAD = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
MAC = "00:a0:98:00:00:0"
FRAMES = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); wire.bind(("eth0", 0))
for number in range(int(sys.argv[2])):
    source = bytes.fromhex(sys.argv[1].replace(":", "")) if sys.argv[1] != "many" else b"\\x02\\x66" + number.to_bytes(4, "big")
    wire.send(b"\\xff" * 6 + source + b"\\x88\\xb5" + b"hostile".ljust(50))
"""
HEARS = """
import select, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); wire.bind((sys.argv[1], 3))
print("ready", flush=True); count = 0
while True:
    ready = select.select([wire, sys.stdin], [], [])[0]
    if wire not in ready and not select.select([wire], [], [], 0.3)[0]: break
    if wire in ready or select.select([wire], [], [], 0)[0]: frame = wire.recv(2048); count += b"hostile" in frame or b"\\x60\\x0b\\xad\\x0f" in frame
print(count)
"""


def hostile(guest, mac, count=1):
    guest.space.run("python3", "-c", FRAMES, mac, count)


class Ear:
    """Counts frames with the word hostile that an interface of a namespace hears, until it is asked."""

    def __init__(self, space, ifname):
        self.process = space.popen("python3", "-c", HEARS, ifname, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def heard(self):
        return int(self.process.communicate("")[0])


@pytest.fixture
def practice(host):
    host.outside = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    return host


def two(host, text):
    host.config(text)
    host.vmwire("up")
    assert "nothing to do" in host.vmwire("up").stdout
    guests = [Guest(host, "brnat", f"vm{i}", mac=MAC + str(i)) for i in (1, 2)]
    return guests, [guest.lease() for guest in guests]


def test_isolated_guests_reach_the_world_and_the_host_but_not_each_other(practice):
    (one, second), (_, address) = two(practice, HEAD + "    isolate: yes\n")
    assert reaches(one.space, "192.168.87.1") and reaches(one.space, "10.0.0.1")
    assert not reaches(one.space, address)
    # Nor by way of the host, nor with the other's MAC in hand.
    one.space.sh(f"ip route add {address}/32 via 10.0.0.1")
    assert not reaches(one.space, address)
    one.space.sh(f"ip route del {address}/32 via 10.0.0.1; ip neigh replace {address} lladdr {MAC}2 dev eth0")
    assert not reaches(one.space, address)
    ear = Ear(second.space, "eth0")
    hostile(one, MAC + "1", 20)
    assert ear.heard() == 0


def test_a_forward_still_leads_to_an_isolated_guest(practice):
    from test_forward import ask, server
    (one, second), (address, _) = two(practice, HEAD + "    isolate: yes\n    forward: tcp 2222 -> 10.0.0.60:22\n"
                                      f"machines:\n  vm1:\n    nics: [{{network: brnat, mac: \"{MAC}1\", "
                                      "address: 10.0.0.60}]\n")
    assert address == "10.0.0.60"
    server(one.space, "one", "tcp:22")
    assert ask(practice.outside, "tcp", "192.168.87.44", 2222) == "one 192.168.87.1 22"


def test_a_locked_guest_sends_from_its_own_mac_alone(practice):
    (one, second), (_, address) = two(practice, HEAD + "    lock: [mac]\n")
    assert reaches(one.space, address) and reaches(one.space, "192.168.87.1") and reaches(practice, address)
    ears = [Ear(second.space, "eth0"), Ear(practice, "brnat")]
    hostile(one, MAC + "2", 20)  # the other's
    hostile(one, "02:de:ad:be:ef:00", 20)
    hostile(one, "many", 200)
    hostile(one, MAC + "1", 3)
    assert [ear.heard() for ear in ears] == [3, 3]
    entries = json.loads(practice.sh("bridge -j fdb show br brnat"))
    assert not [row for row in entries if row["mac"].startswith("02:66")]
    # The other's frames still go to the other.
    assert reaches(practice, address)


def test_without_a_lock_all_of_that_gets_through(practice):
    (one, second), _ = two(practice, HEAD + "    lock: off\n")
    ear = Ear(second.space, "eth0")
    hostile(one, "many", 20)
    assert ear.heard() == 20


def test_rules_change_while_guests_run_and_come_back_after_down(practice):
    (one, second), (_, address) = two(practice, HEAD + "    lock: off\n")
    for more, isolated, locked in (("    isolate: yes\n    lock: [mac]\n", True, True), ("    lock: mac\n", False, True),
                                   ("    lock: off\n", False, False), ("    isolate: yes\n    lock: off\n", True, False)):
        practice.config(HEAD + more)
        practice.vmwire("up")
        assert "nothing to do" in practice.vmwire("up").stdout, more
        one.space.sh("ip neigh flush dev eth0")  # what was asked in vain before is not asked again at once
        assert reaches(one.space, address) == (not isolated), more
        ear = Ear(practice, "brnat")
        hostile(one, "many", 5)
        assert ear.heard() == (0 if locked else 5), more
    practice.config(HEAD + "    isolate: yes\n    lock: [mac]\n")
    practice.vmwire("down")
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    assert not reaches(one.space, address) and reaches(one.space, "10.0.0.1")
    ear = Ear(practice, "brnat")
    hostile(one, "many", 5)
    assert ear.heard() == 0


def test_drift_of_a_port_is_seen_and_mended(practice):
    (one, _), (_, address) = two(practice, HEAD + "    isolate: yes\n")
    practice.sh(f"bridge link set dev {one.tap} isolated off")
    assert practice.vmwire("status", check=False).returncode == 3
    assert "1 change" in practice.vmwire("up").stdout
    one.space.sh("ip neigh flush dev eth0")
    assert not reaches(one.space, address)


def test_a_program_of_exec_that_does_not_ask_for_its_mac_may_have_another(practice):
    practice.config(HEAD + "    lock: [mac]\n")
    practice.vmwire("up")
    show = ["sh", "-c", "ip link show dev $0; nft list set bridge vmwire_lock nic_any; ls -l /proc/self/fd"]
    free = practice.vmwire("exec", "--nic", "brnat", "--", *show, "{tap0}").stdout
    assert " any\n" in free and "elements" in free and "socket" not in free
    held = practice.vmwire("exec", "--nic", "brnat", "--", *show, "{tap0}", "{mac0}").stdout
    assert " any\n" not in held and "elements" not in held


@pytest.mark.parametrize("how", ["fail-before", "fail-after", "kill-before", "kill-after"])
def test_a_change_that_fails_at_any_operation_leaves_the_ports_as_they_were(practice, how):
    two(practice, HEAD + "    lock: [mac, dhcp]\n")

    def state():
        return practice.sh("bridge -d -j link; nft -s list table bridge vmwire_lock | sed 's/ expires [0-9a-z]*//g'")

    before = state()
    practice.config(HEAD + "    isolate: yes\n    lock: [ra]\n")
    count = len(json.loads(practice.vmwire("plan", "--json").stdout)["operations"])
    assert count == 5  # the bridge's tag, the locks, two ports, the rules
    for number in range(1, count + 1):
        practice.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        practice.vmwire("plan")
        assert state() == before, number


# A DHCP answer, a DHCPv6 answer, a router advertisement, a redirect, and one datagram that anybody may send; the first
# argument is the VLAN tag in hexadecimal, or "".
LIES = """
import socket, struct, sys
tag = bytes.fromhex(sys.argv[1])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); wire.bind(("eth0", 0))
own = wire.getsockname()[4]
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def udp(source, target): return struct.pack("!HHHH", source, target, 15, 0) + b"hostile"
def ip4(body):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0, bytes([10, 0, 0, 1]), b"\\xff" * 4)
    return b"\\x08\\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body
def ip6(number, body):
    source, target = bytes.fromhex("fe80" + "00" * 13 + "66"), bytes.fromhex("ff02" + "00" * 13 + "01")
    if number == 58:
        total = checksum(source + target + struct.pack("!II", len(body), 58) + body)
        body = body[:2] + struct.pack("!H", total) + body[4:]
    return b"\\x86\\xdd" + struct.pack("!IHBB", 6 << 28, len(body), number, 255) + source + target + body
for frame in (ip4(udp(67, 68)), ip6(17, udp(547, 546)), ip6(58, bytes([134, 0, 0, 0]) + bytes(5) + b"hostile"),
              ip6(58, bytes([137, 0, 0, 0]) + bytes(29) + b"hostile"), ip4(udp(1067, 68))):
    wire.send(b"\\xff" * 6 + own + tag + frame)
"""

@pytest.mark.parametrize("tag", ["", "81000000"])
@pytest.mark.parametrize("lock, through", [("off", 5), ("[dhcp]", 3), ("[ra]", 3), ("[mac, dhcp, ra]", 1)])
def test_a_locked_guest_is_no_dhcp_server_and_no_router(practice, lock, through, tag):
    (one, second), _ = two(practice, HEAD + f"    lock: {lock}\n")
    ears = [Ear(second.space, "eth0"), Ear(practice, "brnat")]
    one.space.run("python3", "-c", LIES, tag)
    assert [ear.heard() for ear in ears] == [through, through]


def test_locks_of_two_networks_come_and_go_one_by_one(practice):
    before = practice.sh("nft list ruleset")
    text = HEAD + "    lock: [dhcp]\n  brtwo:\n    mode: nat\n    subnet: 10.0.2.0/24\n    lock: [dhcp, ra]\n"
    practice.config(text)
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    practice.sh("nft delete rule bridge vmwire_lock prerouting handle "
                "$(nft -a list chain bridge vmwire_lock prerouting | sed -n 's/.*ICMPv6.*handle //p')")
    assert practice.vmwire("status", check=False).returncode == 3
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    practice.vmwire("down", "brnat")
    assert "brtwo" in practice.sh("nft list table bridge vmwire_lock") and "brnat" not in practice.sh("nft list tables")
    practice.config(text.replace("lock: [dhcp, ra]", "lock: off"))
    practice.vmwire("up", "brtwo")
    assert "vmwire_lock" not in practice.sh("nft list tables")
    practice.vmwire("down")
    assert practice.sh("nft list ruleset") == before
