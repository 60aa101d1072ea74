"""A running guest is given nics and loses them, while the stream of another nic goes on."""
import json
import os
import re
import select
import subprocess
import time

from conftest import VMWIRE
from test_guest import NETWORKS, image, machine, wired  # noqa: F401  (fixtures)


class Guest:
    """The shell on a machine's console."""

    def __init__(self, host, name):
        self.console = host.popen(VMWIRE, "console", name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.count = 0

    def until(self, pattern, seconds=30):
        said, end = "", time.monotonic() + seconds
        while not (found := re.search(pattern, said, flags=re.S)) and time.monotonic() < end:
            if select.select([self.console.stdout], [], [], 0.2)[0]:
                said += os.read(self.console.stdout.fileno(), 65536).decode(errors="replace").replace("\r", "")
        assert found, said[-2000:]
        return found

    def run(self, command, seconds=30):
        """What is said meanwhile; the mark is written otherwise than it is printed, because the console echoes."""
        self.count += 1
        self.console.stdin.write(f"{command}\necho e''nd {self.count}\n".encode())
        self.console.stdin.flush()
        return self.until(rf"(.*)\nend {self.count}\n", seconds)[1]


def nics(host, name="vm0"):
    told = json.loads(host.vmwire("status", "--json", check=False).stdout)
    ports = [(p["index"], network["name"], p["ifname"], p["mac"]) for network in told["networks"]
             for p in network["ports"] if p.get("machine") == name]
    return sorted(ports)


def test_nics_come_and_go_while_a_stream_of_another_goes_on(wired):  # noqa: F811
    wired.config(NETWORKS + machine("vm0", ["network: brnat"]))
    wired.vmwire("up")
    wired.vmwire("start", "vm0")
    guest = Guest(wired, "vm0")
    listener = "import socket, sys; s = socket.create_server(('', 7000)).accept()[0]; " \
               "[sys.stdout.buffer.write(b) or sys.stdout.flush() for b in iter(lambda: s.recv(4096), b'')]"
    stream = wired.peers["re0"].popen("python3", "-c", listener, stdout=subprocess.PIPE)
    guest.until("GUEST eth0 mac=", 60)
    guest.run("(while echo tick; do sleep 0.1; done) | nc 172.20.0.1 7000 >/dev/null 2>&1 &")

    def stream_lives():
        os.set_blocking(stream.stdout.fileno(), False)
        while stream.stdout.read(65536):
            pass
        wired.wait_for(lambda: (stream.stdout.read(65536) or b"").count(b"tick") >= 1)
        assert stream.poll() is None

    def addressed(nic, network):
        """The guest finds the card, and has a lease on its network, and the router answers."""
        guest.run(f"for i in $(seq 100); do [ -e /sys/class/net/{nic} ] && break; sleep 0.1; done; ip link set {nic} up")
        said = guest.run(f"udhcpc -i {nic} -s /etc/lease -O mtu -t 5 -T 1 -A 1 -n -q 2>&1")
        address = re.search(rf"GUEST {nic} mac=(\S+) address=({network}\.\d+)/24 router=(\S+)", said)
        assert address, said
        assert ", 0% packet loss" in guest.run(f"ping -c 2 -I {nic} {address[3]}")
        return address[1]

    stream_lives()
    before = nics(wired)
    said = wired.vmwire("attach", "vm0", "brext").stdout
    assert "machine 'vm0' has nic 1 on 'brext'" in said and "not in the file" in said
    (_, (index, network, tap, mac)) = nics(wired)
    assert (index, network) == (1, "brext") and addressed("eth1", "192.168.87") == mac
    stream_lives()

    # What the file gives it is what it gets; the same place in the guest as after a start with that file.
    wired.config(NETWORKS + machine("vm0", ["network: brnat", "network: brext", "network: brnat, model: e1000, "
                                            'mac: "02:00:00:00:00:77", address: 10.0.0.77']))
    wired.vmwire("up")
    said = wired.vmwire("attach", "vm0", "brnat").stdout
    assert "has nic 2" in said and "not in the file" not in said
    guest.run("insmod /lib/nics/e1000.ko")
    assert addressed("eth2", "10.0.0") == "02:00:00:00:00:77"
    assert "10.0.0.77/24" in guest.run("ip -4 addr show dev eth2")
    assert "/0000:00:10.2/" in guest.run("readlink /sys/class/net/eth2")
    assert wired.vmwire("status", check=False).returncode == 0

    # Its link goes off and on with the move, by which a DHCP client knows to ask anew.
    changes = int(guest.run("echo; cat /sys/class/net/eth1/carrier_changes").split()[-1])
    wired.config(NETWORKS + machine("vm0", ["network: brnat", "network: brnat"]))
    wired.vmwire("up")
    wired.wait_for(lambda: int(guest.run("echo; cat /sys/class/net/eth1/carrier_changes").split()[-1]) == changes + 2)
    assert [nic[1:3] for nic in nics(wired)][1] == ("brnat", tap) and addressed("eth1", "10.0.0") == mac
    stream_lives()

    twice = wired.vmwire("detach", "vm0", "brnat", check=False)
    assert twice.returncode == 1 and "3 nics on 'brnat': 0 (" in twice.stderr and "2 (02:00:00:00:00:77)" in twice.stderr
    wired.vmwire("detach", "vm0", "02:00:00:00:00:77")
    wired.vmwire("detach", "vm0", mac)
    assert nics(wired) == before
    assert f" {tap}:" not in wired.sh("ip -o link")
    assert "eth1" not in guest.run("ls /sys/class/net") and "eth2" not in guest.run("ls /sys/class/net")
    stream_lives()

    # The one that it started with goes as well, and comes back as it was.
    wired.vmwire("detach", "vm0", "0")
    assert nics(wired) == []
    wired.vmwire("attach", "vm0", "brnat")
    assert [nic[::3] for nic in nics(wired)] == [nic[::3] for nic in before]
    addressed("eth0", "10.0.0")
    guest.console.terminate()
    wired.vmwire("stop", "vm0", "--timeout", "0")
    stream.terminate()
