"""`mac: shared`: guests on the uplink's own segment behind a switch port that passes one MAC.  The port is the far end of the
uplink, which drops and counts every frame that has another one."""
import json
import re
import socket
import struct
import subprocess
import time

import pytest

from conftest import VMWIRE
from guests import Guest

HOST_MAC = "18:a6:f7:01:66:51"
MAC1, MAC2 = "00:a0:98:1b:c8:07", "00:a0:98:1b:c8:08"
SHARED = "networks:\n  brext:\n    mode: bridged\n    uplink: re0\n    mac: shared\n"
PORT = """table netdev switch {
  chain port {
    type filter hook ingress device far priority -500;
    ether saddr != %s counter drop
  }
}
""" % HOST_MAC
SERVER = ["dnsmasq", "-k", "-p0", "-u", "root", "-i", "far", "--bind-interfaces", "-F", "192.168.87.100,192.168.87.199,1h",
          "--dhcp-authoritative", "--no-ping", "--dhcp-option=3,192.168.87.1", "-l", "/run/leases", "-x", "/run/dnsmasq.pid"]


@pytest.fixture
def outside(host):
    """The router's side of the port."""
    far = host.uplink("re0", address="192.168.87.44/24", gateway="192.168.87.1/24", mac=HOST_MAC)
    far.run("nft", "-f", "-", input=PORT)
    host.config(SHARED)
    return far


def foreign(far):
    """Frames that the port dropped."""
    return int(re.search(r"counter packets (\d+)", far.sh("nft list table netdev switch"))[1])


def serve(far):
    far.popen(*SERVER, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    far.sh("until [ -e /run/dnsmasq.pid ]; do sleep 0.05; done")


def pings(space, target, seconds):
    """Does it answer before so much time is over?  The answer's time, or None."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if space.run("ping", "-c1", "-W0.2", target, check=False).returncode == 0:
            return time.monotonic() - start
    return None


def addresses(host):
    network = json.loads(host.vmwire("status", "--json").stdout)["networks"][0]
    return {row["address"]: row for row in network["shared"]["addresses"]}


def test_a_guest_has_its_lease_and_is_reached_and_the_wire_sees_one_mac(host, outside):
    serve(outside)
    before = host.snapshot()
    host.vmwire("up")
    assert "nothing to do" in host.vmwire("plan").stdout
    guest = Guest(host, "brext", mac=MAC1)
    address = guest.lease()
    assert address.startswith("192.168.87.1")
    assert guest.ping("192.168.87.1").returncode == 0
    assert outside.run("ping", "-c1", "-W1", address, check=False).returncode == 0
    # The server knows guests apart by the MAC inside their requests.
    assert MAC1 in outside.sh("cat /run/leases")
    guest.background("busybox", "nc", "-ll", "-p", "2222", "-e", "/bin/echo", "the guest's")
    outside.popen("busybox", "nc", "-ll", "-p", "3333", "-e", "/bin/echo", "the router's", stdin=subprocess.DEVNULL)
    time.sleep(0.3)
    assert "guest's" in outside.run("busybox", "nc", address, "2222", input="").stdout
    assert "router's" in guest.space.run("busybox", "nc", "192.168.87.1", "3333", input="").stdout
    assert host.run("ping", "-c1", "-W1", "192.168.87.1").returncode == 0
    assert addresses(host)[address] | {"since": None} == {
        "address": address, "mac": MAC1, "host": False, "machine": "vm0", "known": "learned", "since": None, "live": True}
    assert re.search(rf"vm0\s+{address}\s+{MAC1}\s+brext\s+\d+ s\s+lately", host.vmwire("status").stdout)
    assert address in host.vmwire("map").stdout
    assert HOST_MAC in outside.sh(f"ip neigh show {address}")
    assert foreign(outside) == 0
    guest.close()
    host.vmwire("down")
    assert host.snapshot() == before


def test_without_sharing_the_port_drops_the_guest(host, outside):
    """The proof that the port does what it is there for."""
    host.config(SHARED.replace("    mac: shared\n", ""))
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    assert guest.ping("192.168.87.1").returncode != 0
    assert foreign(outside) > 0


def test_guests_and_the_host_speak_untranslated(host, outside):
    host.vmwire("up")
    first = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    second = Guest(host, "brext", machine="vm1", mac=MAC2, address="192.168.87.51/24")
    assert first.ping("192.168.87.51").returncode == 0 and first.ping("192.168.87.44").returncode == 0
    assert MAC2 in first.space.sh("ip neigh show 192.168.87.51")
    assert HOST_MAC in first.space.sh("ip neigh show 192.168.87.44")
    assert MAC1 in host.sh("ip neigh show 192.168.87.50")
    # IPv6 among them too.
    link_local = json.loads(second.space.sh("ip -j -6 addr show dev eth0"))[0]["addr_info"][0]["local"]
    host.wait_for(lambda: first.space.run("ping", "-6", "-c1", "-W1", f"{link_local}%eth0", check=False).returncode == 0)
    assert foreign(outside) == 0


LISTEN = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + socket.inet_aton(sys.argv[1]))
s.settimeout(10)
print("ready", flush=True)
print(s.recvfrom(100)[0].decode(), flush=True)
"""
SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
s.sendto(sys.argv[2].encode(), ("224.0.0.251", 5353))
"""


def heard(space, address, speak):
    listener = space.popen("python3", "-c", LISTEN, address, stdout=subprocess.PIPE, text=True)
    assert listener.stdout.readline() == "ready\n"
    speak()
    return listener.communicate(timeout=15)[0].strip()


def test_multicast_reaches_guests_and_the_wire(host, outside):
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    assert heard(guest.space, "192.168.87.50",
                 lambda: outside.run("python3", "-c", SEND, "192.168.87.1", "from the wire")) == "from the wire"
    assert heard(outside, "192.168.87.1",
                 lambda: guest.space.run("python3", "-c", SEND, "192.168.87.50", "from the guest")) == "from the guest"
    assert foreign(outside) == 0


def advertisement(source):
    """A router advertisement with the prefix 2001:db8::/64."""
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    body += struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, socket.inet_pton(socket.AF_INET6, "2001:db8::"))
    target = socket.inet_pton(socket.AF_INET6, "ff02::1")
    pseudo = socket.inet_pton(socket.AF_INET6, source) + target + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", ~checksum(pseudo + body) & 0xFFFF) + body[4:]
    header = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + socket.inet_pton(socket.AF_INET6, source) + target
    return bytes.fromhex("333300000001" + HOST_MAC.replace(":", "") + "86dd") + header + body


INJECT = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
s.send(bytes.fromhex(sys.argv[2]))
"""


def inject(space, ifname, frame):
    space.run("python3", "-c", INJECT, ifname, frame.hex())


@pytest.mark.parametrize("shared", [True, False])
def test_router_advertisements_reach_the_host_alone(host, outside, shared):
    host.config(SHARED if shared else SHARED.replace("    mac: shared\n", ""))
    host.vmwire("up")
    host.sh("sysctl -qw net.ipv6.conf.brext.accept_ra=2")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    host.wait_for(lambda: "tentative" not in host.sh("ip -6 addr") + guest.space.sh("ip -6 addr"))
    frame = bytearray(advertisement("fe80::1"))
    frame[6:12] = bytes.fromhex("404a03761de1")
    inject(outside, "far", bytes(frame))
    host.wait_for(lambda: "2001:db8:" in host.sh("ip -6 addr show dev brext"))
    if shared:
        time.sleep(0.5)
        assert "2001:db8:" not in guest.space.sh("ip -6 addr show dev eth0")
        assert guest.space.run("ping", "-6", "-c1", "-W1", "fe80::1%eth0", check=False).returncode != 0
        assert foreign(outside) == 0
    else:
        host.wait_for(lambda: "2001:db8:" in guest.space.sh("ip -6 addr show dev eth0"))


def test_a_guest_that_changes_its_address_is_found_again(host, outside):
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    assert pings(guest.space, "192.168.87.1", 2)
    guest.space.sh("ip addr flush dev eth0 scope global; ip addr add 192.168.87.60/24 dev eth0")
    assert pings(guest.space, "192.168.87.1", 2) and pings(outside, "192.168.87.60", 2)
    assert foreign(outside) == 0


def test_two_guests_that_swap_their_addresses_converge(host, outside):
    host.vmwire("up")
    first = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    second = Guest(host, "brext", machine="vm1", mac=MAC2, address="192.168.87.51/24")
    for guest in (first, second):
        assert pings(guest.space, "192.168.87.1", 2)
    for guest, address in ((first, "51"), (second, "50")):
        guest.space.sh(f"ip addr flush dev eth0 scope global; ip addr add 192.168.87.{address}/24 dev eth0")
    start = time.monotonic()
    both = [guest.space.popen("ping", "-c", "40", "-i", "0.2", "-W1", "192.168.87.1", stdout=subprocess.DEVNULL)
            for guest in (first, second)]
    host.wait_for(lambda: all(addresses(host)[f"192.168.87.{n}"]["mac"] == mac for n, mac in ((51, MAC1), (50, MAC2))), 4)
    took = time.monotonic() - start
    for ping in both:
        ping.kill()
    assert took < 2
    assert pings(outside, "192.168.87.51", 1) and pings(outside, "192.168.87.50", 1)
    assert foreign(outside) == 0


@pytest.mark.parametrize("mac", [MAC1, MAC2])
def test_a_guest_that_restarts_has_its_address_again(host, outside, mac):
    """With the same MAC, and with another: nobody answers for the address any longer."""
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    assert pings(guest.space, "192.168.87.1", 2)
    guest.close()
    again = Guest(host, "brext", mac=mac, address="192.168.87.50/24")
    took = pings(again.space, "192.168.87.1", 4)
    assert took is not None and took < 2
    assert pings(outside, "192.168.87.50", 1)
    assert foreign(outside) == 0


def arp(operation, sender, address, target="ff:ff:ff:ff:ff:ff", probe=False):
    """An ARP frame in which `sender` says that it has `address`."""
    mac = bytes.fromhex(sender.replace(":", ""))
    return (bytes.fromhex(target.replace(":", "")) + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, operation) + mac +
            (bytes(4) if probe else socket.inet_aton(address)) + b"\0" * 6 + socket.inet_aton(address))


def take(thief, address, victims):
    """What a guest can do to have another's address: say so to everybody and to each, and speak from it."""
    thief.space.sh("ip addr flush dev eth0 scope global; ip addr add %s/24 dev eth0" % address)
    for _ in range(4):
        for operation in (1, 2):
            for target in ("ff:ff:ff:ff:ff:ff", *victims):
                inject(thief.space, "eth0", arp(operation, thief.mac, address, target))
        # Asking somebody else, so that the owner does not hear of it.
        inject(thief.space, "eth0", arp(1, thief.mac, address, "02:00:00:00:00:99", probe=True))
        thief.ping("192.168.87.1", count=2)
        time.sleep(0.5)


@pytest.mark.parametrize("address", ["192.168.87.50", "192.168.87.44"])
def test_a_guest_cannot_take_the_address_of_a_guest_or_of_the_host(host, outside, address):
    host.vmwire("up")
    owner = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    thief = Guest(host, "brext", machine="vm1", mac=MAC2, address="192.168.87.51/24")
    for guest in (owner, thief):
        assert pings(guest.space, "192.168.87.1", 2) and pings(guest.space, "192.168.87.44", 2)
    third = Guest(host, "brext", machine="vm2", mac="00:a0:98:1b:c8:09", address="192.168.87.52/24")
    assert pings(third.space, address, 2)
    take(thief, address, (HOST_MAC, third.mac, MAC1))
    mac = HOST_MAC if address.endswith("44") else MAC1
    assert addresses(host)[address]["mac"] == mac
    assert MAC2 not in host.sh(f"ip neigh show {address}") + third.space.sh(f"ip neigh show {address}")
    assert pings(outside, address, 1) and pings(third.space, address, 1)
    outside.sh("ip neigh flush all")
    got = thief.space.popen("timeout", "2", "tcpdump", "-lnni", "eth0", "icmp and src 192.168.87.1",
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    time.sleep(0.5)
    assert pings(outside, address, 1)
    assert not got.communicate()[0].strip()
    assert foreign(outside) == 0


def test_an_address_of_the_file_is_its_nics_before_it_speaks(host, outside):
    host.config(SHARED + f"machines:\n  vm0:\n    nics:\n      - {{network: brext, mac: \"{MAC1}\", address: 192.168.87.50}}\n")
    host.vmwire("up")
    assert "nothing to do" in host.vmwire("plan").stdout
    row = addresses(host)["192.168.87.50"]
    assert (row["mac"], row["known"]) == (MAC1, "fixed")
    thief = Guest(host, "brext", machine="vm1", mac=MAC2, address="192.168.87.50/24")
    take(thief, "192.168.87.50", [HOST_MAC])
    assert not pings(thief.space, "192.168.87.1", 1)
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    assert pings(guest.space, "192.168.87.1", 2)
    # Taken out of the file it is learned; given again, it is fixed.
    text = (host.directory / "vmwire.yaml").read_text()
    host.config(SHARED)
    host.vmwire("up")
    assert pings(guest.space, "192.168.87.1", 2)
    assert addresses(host)["192.168.87.50"]["known"] == "learned"
    host.config(text)
    host.vmwire("up")
    assert addresses(host)["192.168.87.50"]["known"] == "fixed"
    assert pings(guest.space, "192.168.87.1", 1)
    assert "nothing to do" in host.vmwire("plan").stdout


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def request(secs, flags=0, known="0.0.0.0", udp_sum=True, source="0.0.0.0"):
    """A DHCPDISCOVER (or a renewal, when `known` is set) as a frame."""
    mac = bytes.fromhex(MAC1.replace(":", ""))
    bootp = struct.pack("!BBBBIHH4s12x6s10x192x", 1, 1, 6, 0, 0x12345678, secs, flags, socket.inet_aton(known), mac)
    bootp += bytes.fromhex("63825363350101ff") + b"\0" * 52
    length = len(bootp) + 8
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, 17, 0, socket.inet_aton(source), b"\xff" * 4)
    header = header[:10] + struct.pack("!H", ~checksum(header) & 0xFFFF) + header[12:]
    udp = struct.pack("!HHHH", 68, 67, length, 0)
    pseudo = socket.inet_aton(source) + b"\xff" * 4 + struct.pack("!HH", 17, length)
    if udp_sum:
        udp = udp[:6] + struct.pack("!H", ~checksum(pseudo + udp + bootp) & 0xFFFF or 0xFFFF)
    return b"\xff" * 6 + mac + b"\x08\x00" + header + udp + bootp


CATCH = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
s.bind((sys.argv[1], 0))
s.settimeout(10)
print("ready", flush=True)
left = int(sys.argv[2])
while left:
    frame = s.recv(2000)
    if frame[23] == 17 and frame[36:38] == bytes([0, 67]):
        print(frame.hex(), flush=True)
        left -= 1
"""


def caught(space, ifname, count, speak):
    catcher = space.popen("python3", "-c", CATCH, ifname, str(count), stdout=subprocess.PIPE, text=True)
    assert catcher.stdout.readline() == "ready\n"
    speak()
    return [bytes.fromhex(line) for line in catcher.communicate(timeout=20)[0].split()]


def sound(frame):
    """Is its UDP checksum right?"""
    length = struct.unpack("!H", frame[38:40])[0]
    return frame[40:42] == b"\0\0" or checksum(frame[26:34] + struct.pack("!HH", 17, length) + frame[34:34 + length]) == 0xFFFF


SECS = [0, 1, 2, 3, 4, 7, 8, 16, 48, 64, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x7FFF, 0x8000, 0x8001, 0xFFFF]


def test_requests_for_a_lease_ask_for_a_broadcast_under_a_right_checksum(host, outside):
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1)
    sent = [request(secs) for secs in SECS] + [request(0, udp_sum=False)]
    assert all(map(sound, sent))
    script = "import socket,sys\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('eth0', 0))\n" \
             "for line in sys.stdin: s.send(bytes.fromhex(line))"
    got = caught(outside, "far", len(sent), lambda: guest.space.run(
        "python3", "-c", script, input="\n".join(frame.hex() for frame in sent)))
    for frame, secs in zip(got, SECS + [0]):
        assert frame[6:12].hex(":") == HOST_MAC and frame[70:76].hex(":") == MAC1, secs
        assert frame[52:54] == b"\x80\x00" and sound(frame), (secs, frame[50:54].hex())
    # Who asks for a broadcast, or has an address that answers go to, is left alone.
    asked, renewing = request(5, flags=0x8000), request(5, known="192.168.87.50", source="192.168.87.50")
    got = caught(outside, "far", 2, lambda: [inject(guest.space, "eth0", frame) for frame in (asked, renewing)])
    assert [frame[14:] for frame in got] == [asked[14:], renewing[14:]]
    assert foreign(outside) == 0


CHECKSUMS_OFF = """
import ctypes, fcntl, socket, struct, sys
value = ctypes.create_string_buffer(struct.pack("II", 0x17, 0))  # ETHTOOL_STXCSUM
fcntl.ioctl(socket.socket(), 0x8946, struct.pack("16sP16x", sys.argv[1].encode(), ctypes.addressof(value)))  # SIOCETHTOOL
"""


def test_a_checksum_that_hardware_has_yet_to_fill_in_comes_out_right(host, outside):
    """As Windows guests send: by a UDP socket, whose checksum is left to the card.  The uplink computes it here."""
    host.vmwire("up")
    guest = host.uplink("guest")
    host.sh("ip link set dev guest master brext")
    host.run("python3", "-c", CHECKSUMS_OFF, "re0")
    guest.sh(f"ip link set dev far address {MAC1}; ip addr add 0.0.0.0 dev far 2>/dev/null || true; ip route add default dev far")
    payload = request(0)[42:]
    script = "import socket,sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n" \
             "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n" \
             "s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'far')\ns.bind(('', 68))\n" \
             "s.sendto(bytes.fromhex(sys.argv[1]), ('255.255.255.255', 67))"
    [frame] = caught(outside, "far", 1, lambda: guest.run("python3", "-c", script, payload.hex()))
    assert frame[26:30] == b"\0\0\0\0" and frame[52:54] == b"\x80\x00"
    assert frame[40:42] != b"\0\0" and sound(frame)
    assert foreign(outside) == 0


def test_what_is_not_ip_stays_inside(host, outside):
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    for protocol in ("88b5", "8100000a0800", "86dd60000000"):
        inject(guest.space, "eth0", bytes.fromhex("ffffffffffff" + MAC1.replace(":", "") + protocol) + b"\0" * 60)
    time.sleep(0.3)
    assert foreign(outside) == 0
    assert "counter packets 0 " not in next(
        line for line in host.sh("nft list table bridge vmwire").splitlines() if "has no address that an answer" in line)


def test_two_networks_share_two_macs(host, outside):
    other = host.uplink("re1", gateway="192.168.87.1/24", mac="18:a6:f7:01:66:52")
    other.run("nft", "-f", "-", input=PORT.replace(HOST_MAC, "18:a6:f7:01:66:52"))
    host.config(SHARED + SHARED.replace("networks:\n", "").replace("brext", "brtwo").replace("re0", "re1"))
    host.vmwire("up")
    first = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    second = Guest(host, "brtwo", machine="vm1", mac=MAC2, address="192.168.87.50/24")
    assert pings(first.space, "192.168.87.1", 2) and pings(second.space, "192.168.87.1", 2)
    assert pings(outside, "192.168.87.50", 1) and pings(other, "192.168.87.50", 1)
    assert foreign(outside) == 0 and foreign(other) == 0
    host.vmwire("down", "brtwo")
    assert pings(first.space, "192.168.87.1", 1) and addresses(host)["192.168.87.50"]["mac"] == MAC1
    assert "nothing to do" in host.vmwire("plan", "brext").stdout


def test_what_others_have_in_the_table_stays(host, outside):
    theirs = "add table bridge vmwire\nadd chain bridge vmwire theirs\nadd set bridge vmwire some { type ether_addr; }\n"
    host.run("nft", "-f", "-", input=theirs)
    before = host.sh("nft list ruleset")
    host.vmwire("up")
    host.sh("nft flush chain bridge vmwire prerouting")  # mended by the whole of it anew
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    assert pings(guest.space, "192.168.87.1", 1) and foreign(outside) == 0
    assert "nothing to do" in host.vmwire("plan").stdout
    host.vmwire("down")
    assert host.sh("nft list ruleset") == before


def test_an_uplink_that_is_gone_does_not_keep_down_from_its_work(host, outside):
    host.vmwire("up")
    host.sh("ip link del dev re0")
    host.vmwire("down")
    assert host.sh("nft list ruleset") == "" and not host.sh("find /run -name record").strip()


def rules(host):
    """All of nftables but what the host's own packets left in it for a moment."""
    return re.sub(r"\n\t\telements = \{[^}]* expires [^}]*\}", "", host.sh("nft list ruleset"))


@pytest.mark.parametrize("harm", [
    "nft delete table bridge vmwire",
    "nft flush chain bridge vmwire wire_out_brext",
    "nft flush map bridge vmwire wire_in",
    "nft flush chain bridge vmwire prerouting",
    "nft delete element bridge vmwire owner_brext { 192.168.87.44 }",
    "nft delete element bridge vmwire live_brext { 192.168.87.44 }",
])
def test_up_mends_drift(host, outside, harm):
    host.vmwire("up")
    healthy = rules(host)
    host.sh(harm)
    assert host.vmwire("status", check=False).returncode == 3
    host.vmwire("up")
    assert rules(host) == healthy
    assert "nothing to do" in host.vmwire("plan").stdout


@pytest.mark.parametrize("how", ["fail-before", "fail-after", "kill-before", "kill-after"])
def test_a_fault_at_any_operation_of_up_and_down_is_undone(host, outside, how):
    from conftest import FAULTY

    host.config(SHARED + f"machines:\n  vm0:\n    nics:\n      - {{network: brext, mac: \"{MAC1}\", address: 192.168.87.50}}\n")
    before = host.snapshot()
    count = len(json.loads(host.vmwire("plan", "--json").stdout)["operations"])
    for number in range(1, count + 1):
        assert host.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"}).returncode != 0
        host.vmwire("plan")
        host.vmwire("down")
        assert host.snapshot() == before, number
    host.vmwire("up")
    up = rules(host)
    count = len(json.loads(host.vmwire("plan", "--down", "--json").stdout)["operations"])
    for number in range(1, count + 1):
        assert host.vmwire("down", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"}).returncode != 0
        host.vmwire("up")
        assert rules(host) == up, number
    host.vmwire("down")
    assert host.snapshot() == before


def test_the_file_may_turn_sharing_on_and_off_while_guests_run(host, outside):
    host.config(SHARED.replace("    mac: shared\n", ""))
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    assert not pings(guest.space, "192.168.87.1", 1)
    host.config(SHARED)
    host.vmwire("up")
    dropped = foreign(outside)
    assert pings(guest.space, "192.168.87.1", 2)
    assert foreign(outside) == dropped
    host.config(SHARED.replace("    mac: shared\n", ""))
    host.vmwire("up")
    assert host.sh("nft list ruleset") == ""


def test_probe_and_trace_follow_a_shared_mac(host, outside):
    serve(outside)
    host.vmwire("up")
    done = host.vmwire("probe", "brext", "192.168.87.1", "--json", check=False, timeout=120)
    told = json.loads(done.stdout)
    assert not [finding["code"] for finding in told["findings"] if finding["severity"] == "error"], done.stdout
    assert foreign(outside) == 0


def test_a_lease_that_is_seen_says_whose_the_address_is(host, outside):
    """A guest that has been given an address and has not spoken from it: what comes for it finds its way."""
    serve(outside)
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1)
    script = host.directory / "silent"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "$ip" > %s/bound\nexit 0\n' % host.directory)
    script.chmod(0o755)
    guest.space.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "8", "-T", "1", "-s", script)
    address = (host.directory / "bound").read_text().strip()
    row = addresses(host)[address]
    assert (row["mac"], row["known"], row["live"]) == (MAC1, "learned", False)
    guest.space.sh(f"ip addr add {address}/24 dev eth0")
    assert pings(guest.space, "192.168.87.1", 2)
    assert addresses(host)[address]["live"]


def test_the_hosts_own_lease_is_its_own(host, outside):
    serve(outside)
    host.sh("ip route del default; ip addr flush dev re0")
    before = host.snapshot()
    host.config(SHARED + "    address: dhcp\n")
    host.vmwire("up")
    host.wait_for(lambda: "192.168.87.1" in host.sh("ip -4 addr show dev brext"))
    own = json.loads(host.sh("ip -j -4 addr show dev brext"))[0]["addr_info"][0]["local"]
    assert host.run("ping", "-c1", "-W1", "192.168.87.1").returncode == 0
    row = addresses(host)[own]
    assert row["host"] and row["mac"] == HOST_MAC and row["known"] == "learned"
    guest = Guest(host, "brext", mac=MAC1)
    assert guest.lease() != own
    thief = Guest(host, "brext", machine="vm1", mac=MAC2, address="192.168.87.51/24")
    take(thief, own, (MAC1,))
    assert addresses(host)[own]["mac"] == HOST_MAC
    assert pings(outside, own, 1)
    assert foreign(outside) == 0
    guest.close()
    thief.close()
    host.vmwire("down", "--guard-ms", "0")  # it has no other way out
    assert host.snapshot() == before


def test_a_kernel_that_cannot_do_it_is_said_before_anything_is_changed(host, outside):
    """As a kernel without nfnetlink answers."""
    from test_faults import NO_NETFILTER

    library = host.directory / "no-netfilter.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=NO_NETFILTER, text=True, check=True)
    before = host.snapshot()
    for command in ("plan", "up"):
        done = host.vmwire(command, check=False, env={"LD_PRELOAD": str(library), "ASAN_OPTIONS": "verify_asan_link_order=0"})
        assert done.returncode == 2, done.stderr
        assert "vmwire.yaml:5:10: " in done.stderr and "'mac: shared' cannot be had: this kernel" in done.stderr
        assert "use mode nat" in done.stderr
    assert host.snapshot() == before


def test_a_guest_that_runs_through_down_and_up_shows_no_mac_of_its_own(host, outside):
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC1, address="192.168.87.50/24")
    assert pings(guest.space, "192.168.87.1", 2)
    busy = guest.background("ping", "-i", "0.01", "192.168.87.1")
    for _ in range(5):
        host.vmwire("down", "--guard-ms", "0")
        host.vmwire("up", "--guard-ms", "0")
    busy.kill()
    assert pings(guest.space, "192.168.87.1", 2) and pings(outside, "192.168.87.50", 1)
    assert foreign(outside) == 0
