"""Guests without a hypervisor: a namespace behind a real tap that `vmwire exec` wired.  As a program:
`guests.py FD PID MAC [offload]` joins tap descriptor FD to an interface eth0 with MAC in the namespaces of PID;
offload: with virtio's header, so that large packets stay whole, as between QEMU and a virtio driver."""
import ctypes
import fcntl
import json
import os
import select
import struct
import subprocess
import sys

TUNSETIFF, TAP_WITHOUT_HEADER, CLONE_NEWNET = 0x400454CA, 0x1002, 0x40000000
TUNSETOFFLOAD, TUNSETVNETHDRSZ, IFF_VNET_HDR, CHECKSUMS_AND_SEGMENTS = 0x400454D0, 0x400454D8, 0x4000, 7


def shovel(fd, pid, mac, offload=False):
    """What a hypervisor and a guest's driver do: frames both ways."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")
    inside = os.open("/dev/net/tun", os.O_RDWR)
    flags = TAP_WITHOUT_HEADER | (IFF_VNET_HDR if offload else 0)
    fcntl.ioctl(inside, TUNSETIFF, struct.pack("16sH22x", b"eth0", flags))
    if offload:
        fcntl.ioctl(inside, TUNSETVNETHDRSZ, struct.pack("i", 12))
        for end in (fd, inside):
            fcntl.ioctl(end, TUNSETOFFLOAD, CHECKSUMS_AND_SEGMENTS)
    subprocess.run(["ip", "link", "set", "dev", "eth0", "address", mac, "up"], check=True)
    other = {fd: inside, inside: fd}
    while True:
        for ready in select.select([fd, inside], [], [])[0]:
            try:
                os.write(other[ready], os.read(ready, 70000))
            except OSError:
                return


def unlock(host):
    """Let guests of 10.0.0.0/24 send what they will."""
    host.config((host.directory / "vmwire.yaml").read_text().replace("10.0.0.0/24", "10.0.0.0/24, lock: off", 1))
    host.vmwire("up")


class Guest:
    """`machine` None: it stays a program of exec.  Without `address` it has none yet: see lease().  `given` is the address
    that exec is told, by default that one."""

    def __init__(self, host, network, machine="vm0", index=0, mac="00:a0:98:1b:c8:07", address=None, gateway=None,
                 offload=False, options="", vlan=None, given=""):
        from conftest import VMWIRE, Namespace

        self.host, self.mac = host, mac
        self.space = host.peers[f"guest {len(host.peers)}"] = Namespace(host.directory)
        given = given or (address.split("/")[0] if address and ":" not in address else "")
        more = (f",vlan={vlan}" if vlan else "") + "".join(f",address={one}" for one in given.split()) + ("" if offload else ",vnet_hdr=off")
        tag = (f" {given}" if given else "") + (f" vlan {vlan}" if vlan else "")
        self.process = host.popen(VMWIRE, "exec", "--nic", f"{network},mac={mac}{options}{more}", "--", "python3", __file__, "{fd0}",
                                  str(self.space.holder.pid), mac, *(["offload"] if offload else []), stdin=subprocess.DEVNULL)
        host.wait_for(lambda: self.space.run("ip", "link", "show", "dev", "eth0", "up", check=False).stdout)
        self.tap = next(row["ifname"] for row in json.loads(host.sh("ip -j link"))
                        if row.get("ifalias", "") == f"vmwire:{network} -/0 {mac}{tag}")
        if machine:
            host.sh(f"ip link set dev {self.tap} alias 'vmwire:{network} {machine}/{index} {mac}{tag}'")
        if address:
            self.space.sh(f"ip addr add {address} dev eth0")
        if gateway:
            self.space.sh(f"ip route add default via {gateway}")

    def lease(self, *flags):
        """Ask for one, as a guest does when it boots; flags of udhcpc."""
        script = self.host.directory / f"{self.tap}.event"
        script.write_text('#!/bin/sh\n[ "$1" = bound ] || exit 0\nip addr add $ip/$mask dev $interface\n'
                          "ip route add default via $router\n")
        script.chmod(0o755)
        self.space.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", *flags, "-s", script)
        return json.loads(self.space.sh("ip -j -4 addr show dev eth0"))[0]["addr_info"][0]["local"]

    def ping(self, target, count=1, wait=1, check=False):
        return self.space.run("ping", "-c", str(count), "-i", "0.2", "-W", str(wait), target, check=check)

    def background(self, *argv):
        """A program in the guest that runs until the guest is closed."""
        return self.space.popen(*argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    shovel(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], len(sys.argv) > 4)
