"""Frames that a guest must not send, each with the word hostile in it, or a flow label that is as much: `hostile.py KIND [NUMBER]` sends a kind's (or one of them) from eth0.  As a
module: how many there are."""
import socket
import struct
import sys

OWN = bytes.fromhex("00a098000001")
OTHER = bytes.fromhex("00a098000002")  # the other guest's
ALL = b"\xff" * 6
ADDRESS = {"own": bytes([10, 0, 0, 31]), "other": bytes([10, 0, 0, 32]), "host": bytes([10, 0, 0, 1])}
LOCAL = {name: bytes.fromhex("fe80000000000000") + mac[:1].replace(b"\x00", b"\x02") + mac[1:3] + b"\xff\xfe" + mac[3:]
         for name, mac in (("own", OWN), ("other", OTHER))}
NODES = bytes.fromhex("ff02" + "00" * 13 + "01")


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(source, target, body=b""):
    return struct.pack("!HHHH", source, target, 8 + len(body) + 7, 0) + body + b"hostile"


def ip(source, body, protocol=17, target=b"\xff" * 4):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, source, target)
    return b"\x08\x00" + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ip6(source, body, number=17, target=NODES):
    if number == 58:
        total = checksum(source + target + struct.pack("!II", len(body), 58) + body)
        body = body[:2] + struct.pack("!H", total) + body[4:]
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28 | 0xBAD0F, len(body), number, 255) + source + target + body


def arp(operation, mac, address, target=ADDRESS["other"], kind=b"\x00\x01\x08\x00\x06\x04"):
    return b"\x08\x06" + kind + struct.pack("!H", operation) + mac + address + bytes(6) + target + b"hostile" + bytes(11)


def icmp6(kind, rest, source=LOCAL["own"]):
    """Neighbour discovery, which has no room for the word: the flow label says it."""
    return ip6(source, bytes([kind, 0, 0, 0]) + rest, 58)


def bootp(operation, mac, options=b""):
    return struct.pack("!BBBBIHH4s4s4s4s16s192x4s", operation, 1, 6, 0, 7, 0, 0, bytes(4), bytes(4), bytes(4), bytes(4),
                       mac + bytes(10), b"\x63\x82\x53\x63") + options


def option(kind, mac):
    return bytes([kind, 1]) + mac


def once(body, source=OWN):
    """As it is, with a VLAN tag of number 0, and with two of them."""
    return [ALL + source + tags + body for tags in (b"", bytes.fromhex("81000000"), bytes.fromhex("8100000081000000"))]


GLOBAL6 = bytes.fromhex("20010db8" + "00" * 11 + "05")
HEADER = bytes([58, 0, 1, 4, 0, 0, 0, 0])  # destination options, of no effect
KINDS = {
    "mac": [ALL + mac + body for mac in (OTHER, bytes.fromhex("02deadbeef00")) for body in
            (b"\x88\xb5hostile" + bytes(40), ip(ADDRESS["own"], udp(9, 9)), arp(1, OWN, ADDRESS["own"]))],
    "ip": [frame for source in ("other", "host") for frame in once(ip(ADDRESS[source], udp(9, 9)))]
    + [ALL + OWN + ip(bytes(source), udp(9, 9)) for source in ((10, 0, 0, 99), (8, 8, 8, 8), (0, 0, 0, 0), (127, 0, 0, 1))]
    + once(ip6(LOCAL["other"], udp(9, 9))) + [ALL + OWN + ip6(source, udp(9, 9)) for source in (GLOBAL6, bytes(16))],
    "arp": [frame for frame in once(arp(2, OWN, ADDRESS["other"]))[:2]]
    + [ALL + OWN + arp(1, OWN, ADDRESS["host"]), ALL + OWN + arp(2, OTHER, ADDRESS["own"]),
       ALL + OWN + arp(1, OWN, bytes(4)), ALL + OWN + arp(2, OWN, bytes(4)), ALL + OWN + arp(1, OWN, bytes([10, 0, 0, 99])),
       ALL + OWN + arp(2, OWN, ADDRESS["own"], kind=b"\x00\x06\x08\x00\x06\x04")]
    + [ALL + OWN + icmp6(*what) for what in (
        (136, bytes(4) + LOCAL["other"] + option(2, OWN)),      # the other's address, here
        (136, bytes(4) + LOCAL["own"] + option(2, OTHER)),      # its own, there
        (136, bytes(4) + LOCAL["own"] + bytes([14, 1]) + bytes(6) + option(2, OTHER)),
        (135, bytes(4) + LOCAL["other"] + option(1, OTHER)),
        (135, bytes(4) + LOCAL["other"], bytes(16)),            # "is it free?", of what is the other's
        (133, bytes(4) + option(1, OTHER)))]
    + [ALL + OWN + ip6(LOCAL["own"], HEADER + bytes([136, 0, 0, 0]) + bytes(4) + LOCAL["own"] + option(2, OTHER), 60)],
    "dhcp": [frame for body in (ip(ADDRESS["own"], udp(67, 68)), ip6(LOCAL["own"], udp(547, 546))) for frame in once(body)[:2]]
    + [ALL + OWN + ip(bytes(4), udp(68, 67, bootp(1, OTHER, b"\x35\x01\x01\xff")))],
    "ra": [frame for body in (icmp6(134, bytes(12)), icmp6(137, bytes(36))) for frame in once(body)[:2]],
    "good": [ALL + OWN + body for body in (
        b"\x88\xb5hostile" + bytes(40), ip(ADDRESS["own"], udp(9, 9)), arp(1, OWN, ADDRESS["own"]),
        arp(1, OWN, bytes(4), bytes([10, 0, 0, 77])), ip(bytes(4), udp(68, 67, bootp(1, OWN, b"\x35\x01\x01\xff"))),
        ip6(LOCAL["own"], udp(9, 9)), icmp6(136, bytes(4) + LOCAL["own"] + option(2, OWN)),
        icmp6(135, bytes(4) + LOCAL["other"] + option(1, OWN)), icmp6(133, bytes(4) + option(1, OWN)),
        icmp6(135, bytes(4) + LOCAL["own"][:15] + b"\x77", bytes(16)))]
    + [ALL + OWN + bytes.fromhex("81000000") + ip(ADDRESS["own"], udp(9, 9))],
}

MANY6 = [ALL + OWN + ip6(bytes.fromhex("fdaa000000000001") + bytes(6) + struct.pack("!H", 256 + i), udp(9, 9)) for i in range(500)]

if __name__ == "__main__":
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind(("eth0", 0))
    frames = MANY6 if sys.argv[1] == "many6" else KINDS[sys.argv[1]]
    for frame in [frames[int(sys.argv[2])]] if sys.argv[2:] else frames:
        wire.send(frame.ljust(60, b"\x00"))
