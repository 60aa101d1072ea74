"""A VLAN of an interface as a tap, for kernels without 8021q.  usage: vlan_tap.py INTERFACE VLAN TAP

Frames that come in by INTERFACE with the tag leave by TAP without; what is sent through TAP goes out with it.
"""
import fcntl
import os
import select
import socket
import struct
import sys

ETH_P_ALL, ETH_P_8021Q = 3, 0x8100
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 8, 23
AUXDATA = struct.Struct("=IIIHHHH")
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000


def main(interface, vlan, name):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    wire.bind((interface, ETH_P_ALL))
    for option in (PACKET_AUXDATA, PACKET_IGNORE_OUTGOING):
        wire.setsockopt(SOL_PACKET, option, 1)
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    while True:
        ready, _, _ = select.select([wire, tap], [], [])
        if tap in ready:
            frame = os.read(tap, 1 << 16)
            wire.send(frame[:12] + struct.pack("!HH", ETH_P_8021Q, vlan) + frame[12:])
        if wire in ready:
            frame, ancillary, _, _ = wire.recvmsg(1 << 16, 64)
            # The kernel has taken the tag out of the frame.
            tags = [AUXDATA.unpack(data[:AUXDATA.size])[5] for _, kind, data in ancillary if kind == PACKET_AUXDATA]
            if tags and tags[0] & 0xFFF == vlan:
                try:
                    os.write(tap, frame)
                except OSError:
                    pass  # the tap is not up yet


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
