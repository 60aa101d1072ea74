"""What is edited while guests run is applied by `up` with the guests attached and their connections alive; who is cut is told."""
import json
import subprocess

import pytest
from guests import Guest

MAC = "00:a0:98:00:00:0"
SERVER = """
import socket, sys, threading
listener = socket.create_server(("", int(sys.argv[1]))); print("ready", flush=True)
def serve(sock):
    while (data := sock.recv(65536)): sock.sendall(data)
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
# Numbered lines there and back, one at a time; the file has the last that came back.
CLIENT = """
import os, socket, sys, time
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30)
lines, number = sock.makefile("rw"), 0
while True:
    number += 1
    lines.write(f"{number:08} {'x' * 1400}\\n"); lines.flush()
    if int(lines.readline().split()[0]) != number: sys.exit("out of order")
    with open(sys.argv[3] + ".new", "w") as file: file.write(str(number))
    os.rename(sys.argv[3] + ".new", sys.argv[3])
    time.sleep(0.01)
"""


class Stream:
    """One TCP connection that says on and on how far it is."""

    def __init__(self, host, name, space, address, port):
        self.host, self.path = host, host.directory / f"{name}.stream"
        self.process = space.popen("python3", "-c", CLIENT, address, str(port), self.path, stdin=subprocess.DEVNULL)
        self.alive()

    def number(self):
        return int(self.path.read_text()) if self.path.exists() else 0

    def moves(self, seconds):
        now = self.number()
        try:
            self.host.wait_for(lambda: self.number() > now + 3, seconds)
        except AssertionError:
            return False
        return self.process.poll() is None

    def alive(self, what=""):
        assert self.moves(5), what

    def cut(self, what=""):
        """After what was under way has come."""
        self.moves(0.2)
        assert not self.moves(0.7), what


def serve(space, port):
    process = space.popen("python3", "-c", SERVER, str(port), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"


class Live:
    """The file as it is edited, and what runs meanwhile."""

    def __init__(self, host):
        self.host, self.guests, self.streams = host, [], []
        self.networks, self.machines, self.top = {}, {}, {}

    def set(self, network, **keys):
        entry = self.networks.setdefault(network, {})
        for key, value in keys.items():
            entry[key] = value
            if value is None:
                del entry[key]

    def text(self):
        lines = [f"{key}: {value}" for key, value in self.top.items()] + ["networks:"]
        for name, keys in self.networks.items():
            lines += [f"  {name}:"] + [f"    {key}: {value}" for key, value in keys.items()]
        if self.machines:
            lines += ["machines:"] + [f"  {name}:\n    nics: [{nic}]" for name, nic in self.machines.items()]
        return "\n".join(lines) + "\n"

    def taps(self):
        return [json.loads(self.host.sh(f"ip -j link show dev {guest.tap}"))[0]["ifindex"] for guest in self.guests]

    def up(self, what=""):
        """Applied, to the last; the guests' taps are those that they were.  What up said."""
        before = self.taps()
        self.host.config(self.text())
        said = self.host.vmwire("up")
        assert "nothing to do" not in said.stdout, what
        assert "nothing to do" in self.host.vmwire("up").stdout, what
        assert self.host.vmwire("status", check=False).returncode == 0, what
        assert self.taps() == before, what
        return said.stderr

    def alive(self, what):
        for stream in self.streams:
            stream.alive((what, stream.path.name))


@pytest.fixture
def live(host):
    host.outside = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.segment = host.uplink("re1", gateway="192.168.88.1/24")
    host.other = host.uplink("re2", "172.20.0.2/24", "172.20.0.1/24")
    host.before = host.snapshot()
    return Live(host)


def natted(live):
    live.set("brnat", mode="nat", subnet="10.0.0.0/24", forward="[tcp 2222 -> vm0:22]")
    live.machines["vm0"] = f'{{network: brnat, mac: "{MAC}0", address: 10.0.0.50}}'
    live.up()
    guest = Guest(live.host, "brnat", "vm0", mac=f"{MAC}0", given="10.0.0.50")
    assert guest.lease() == "10.0.0.50"
    live.guests.append(guest)
    serve(live.host.outside, 7000)
    serve(guest.space, 22)
    live.streams += [Stream(live.host, "out", guest.space, "192.168.87.1", 7000),
                     Stream(live.host, "in", live.host.outside, "192.168.87.44", 2222)]
    return guest


NAT_STEPS = [  # what is set, one after the other; none of it cuts anybody
    {"forward": "[tcp 2222 -> vm0:22, tcp 8000-8003 -> vm0:8000-8003]"},
    {"forward": "[tcp 2222 -> vm0:22, udp 5353 -> vm0:53]"},
    {"forward": "[tcp 2223 -> vm0:22]"},  # that one's connections end when they end
    {"forward": None},
    {"forward": "[tcp 2222 -> vm0:22]"},
    {"dns": "{upstream: [9.9.9.9], hosts: {nas: 10.0.0.99}}"},
    {"dns": "off"},
    {"dns": None},
    {"domain": "lab.example"},
    {"dhcp": "10.0.0.100-10.0.0.200"},
    {"dhcp": "{lease: 10m, options: {ntp-server: 10.0.0.1}}"},
    {"dhcp": "off"},
    {"dhcp": None},
    {"boot": "{file: pxelinux.0, server: 10.0.0.9}"},
    {"boot": None},
    {"lock": "[mac]"},
    {"lock": "[mac, dhcp, ra]"},
    {"lock": "[mac, ip, arp, dhcp, ra]"},
    {"isolate": "yes"},
    {"lock": "[ra]", "isolate": None},
    {"lock": "off"},
    {"lock": None},
    {"mtu": "9000"},
    {"mtu": "1280"},
    {"mtu": None},
    {"subnet6": "fd00:1:2:3::/64"},
    {"subnet6": "auto"},
    {"subnet6": None},
    {"rate": "{in: 800Mbit, out: 500Mbit, burst: 1MB}"},
    {"rate": "{in: 900Mbit}"},
    {"rate": None},
    {"uplink": "re0"},
    {"uplink": None},
    {"mode": "routed", "forward": None},  # what is translated stays so until it ends
    {"mode": "nat"},
]


def test_every_key_of_a_nat_network_changes_under_its_guests(live):
    natted(live)
    for step in NAT_STEPS:
        live.set("brnat", **step)
        said = live.up(step)
        assert "vm0" not in said, (step, said)
        live.alive(step)


def moves(live, words):
    """The address that connections leave under moves; they are mostly found again, and others can be made at once."""
    assert f"network 'brnat': 'vm0' may be cut off: the host's address, under which connections leave, moves {words}" in live.up()
    live.streams[:] = [Stream(live.host, f"out {words}", live.guests[0].space, "192.168.87.1", 7000),
                       Stream(live.host, f"in {words}", live.host.outside, "192.168.87.44", 2222)]


def test_what_is_around_a_network_changes_beside_its_guests(live):
    natted(live)

    def step(what):
        assert "vm0" not in live.up(what), what
        live.alive(what)

    live.machines["vm9"] = f'{{network: brnat, mac: "{MAC}9", address: 10.0.0.90}}'
    step("another machine")
    live.machines["vm9"] = f'{{network: brnat, mac: "{MAC}9", address: 10.0.0.91}}'
    step("its address")
    live.machines["vm9"] = f'{{network: brnat, mac: "{MAC}9", address: 10.0.0.91, rate: {{out: 10Mbit}}}}'
    live.set("brnat", rate="{out: 500Mbit}")
    step("another one's rate")
    live.machines["vm0"] = f'{{network: brnat, mac: "{MAC}0", address: 10.0.0.50, rate: {{out: 100Mbit}}}}'
    live.host.config(live.text())
    assert "vm0" not in live.host.vmwire("up").stderr
    live.alive("its own rate")
    live.machines["vm0"] = f'{{network: brnat, mac: "{MAC}0", address: 10.0.0.50}}'
    live.set("brnat", rate=None)
    step("no rate")
    live.set("two", mode="nat", subnet="10.0.2.0/24", forward="[tcp 3333 -> 10.0.2.9:22]")
    step("another network")
    live.set("lan", mode="isolated", subnet="10.0.3.0/24")
    step("an isolated one")
    live.set("wire", mode="bridged", uplink="re1")
    step("a bridged one")
    live.set("two", subnet="10.0.4.0/24", forward=None)
    step("another network's subnet")
    del live.machines["vm9"], live.networks["two"], live.networks["lan"]
    step("less of all that")
    # Its uplink becomes a port, and its address moves, under the streams.
    live.set("wire", uplink="re0")
    live.set("wire", address="keep")
    moves(live, "from 're0' to 'wire'")
    del live.networks["wire"]
    moves(live, "from 'wire' to 're0'")
    live.guests.pop().close()
    live.streams.clear()
    live.host.vmwire("down")
    assert live.host.snapshot() == live.host.before


def bridged(live):
    live.set("brext", mode="bridged", uplink="re1", address="192.168.88.44/24")
    live.machines["vm0"] = f'{{network: brext, mac: "{MAC}0"}}'
    live.up()
    guest = Guest(live.host, "brext", "vm0", mac=f"{MAC}0", address="192.168.88.50/24")
    live.guests.append(guest)
    serve(live.host.segment, 7000)
    serve(guest.space, 22)
    live.streams += [Stream(live.host, "out", guest.space, "192.168.88.1", 7000),
                     Stream(live.host, "in", live.host.segment, "192.168.88.50", 22)]
    return guest


BRIDGED_STEPS = [
    {"address": "192.168.88.45/24"},
    {"address": "none"},
    {"address": "192.168.88.46/24"},
    {"isolate": "yes"},
    {"lock": "[mac, dhcp, ra]"},
    {"isolate": None, "lock": None},
    {"rate": "{in: 800Mbit, out: 500Mbit}"},
    {"rate": None},
    {"mac": "shared"},
    {"mac": None},
    {"probe": "192.168.88.1"},
]


def test_every_key_of_a_bridged_network_changes_under_its_guests(live):
    bridged(live)
    for step in BRIDGED_STEPS:
        live.set("brext", **step)
        if "probe" in step:
            live.host.config(live.text())
            assert "nothing to do" in live.host.vmwire("up").stdout
            continue
        live.up(step)
        live.alive(step)


def cut_by(live, what, words, **keys):
    """It is applied, its guest keeps its tap, loses its connections, and was named."""
    live.set(what, **keys)
    said = live.up(keys)
    assert f"network '{what}': 'vm0' is cut off: {words}" in said, said
    for stream in live.streams:
        stream.cut(keys)


def back(live, network, **keys):
    live.set(network, **keys)
    live.up(keys)
    live.alive(keys)


def test_who_is_cut_off_is_told_and_has_its_connections_back_with_the_network(live):
    natted(live)
    live.streams.pop()  # from outside
    live.set("brnat", forward=None)
    live.up()
    del live.machines["vm0"]  # its address is of one subnet
    live.up()
    cut_by(live, "brnat", "nothing outside is reached", mode="isolated")
    back(live, "brnat", mode="routed")
    cut_by(live, "brnat", "addresses of 10.0.0.0/24 lead nowhere now", subnet="10.0.9.0/24")
    back(live, "brnat", subnet="10.0.0.0/24")
    cut_by(live, "brnat", "what left by 're0' does not leave by 're2'", uplink="re2")
    back(live, "brnat", uplink="re0")
    cut_by(live, "brnat", "the host is not on it any longer", mode="isolated", uplink=None, subnet=None, host="no")
    live.streams.clear()  # what may be left of that one is the other end's to say
    back(live, "brnat", mode="nat", host=None, subnet="10.0.0.0/24")
    live.streams.append(Stream(live.host, "anew", live.guests[0].space, "192.168.87.1", 7000))
    cut_by(live, "brnat", "the segment is another one now", mode="bridged", uplink="re1", subnet=None)


def test_who_is_on_another_segment_is_told(live):
    bridged(live)
    cut_by(live, "brext", "the segment is that of 're2' now", uplink="re2", address="none")
    back(live, "brext", uplink="re1")
    cut_by(live, "brext", "packets of more than 1400 bytes", mtu="1400")
    back(live, "brext", mtu=None)
    assert "'vm0' is cut off: the network goes away" in live.host.vmwire("down").stderr
    for stream in live.streams:
        stream.cut("down")
    live.host.vmwire("up")
    live.alive("up")


def test_settings_that_are_no_hosts_touch_no_guest(live):
    natted(live)
    live.top["guard_ms"] = 3000
    live.up()
    live.alive("guard_ms")
    live.set("brnat", probe="1.1.1.1")
    live.host.config(live.text())
    assert "nothing to do" in live.host.vmwire("up").stdout
    live.alive("probe")
