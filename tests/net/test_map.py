"""map: drawn from what is: three guests and sixty, broken parts with their reasons, and names that are not markup."""
import json
import subprocess
import xml.etree.ElementTree

import pytest

from conftest import VMWIRE

FILE = """networks:
  brnat: {mode: nat, subnet: 10.0.0.0/24}
  brext: {mode: bridged, uplink: re1, address: keep}
machines:
  idle: {memory: 64M, nics: [{network: brnat}]}
"""


class Nics:
    """Taps of guests that only hold them open."""

    def __init__(self, host, network, machines, first):
        macs = [f"00:a0:98:1b:{first:02x}:{i:02x}" for i in range(len(machines))]
        options = [word for mac in macs for word in ("--nic", f"{network},mac={mac}")]
        self.process = host.popen(VMWIRE, "exec", *options, "--", "sleep", "infinity")
        self.taps = {}

        def all_there():
            for link in host.json("ip", "-j", "link"):
                words = link.get("ifalias", "").split()
                if len(words) == 3 and words[2] in macs and "LOWER_UP" in link["flags"]:
                    self.taps[machines[macs.index(words[2])]] = link["ifname"]
            return len(self.taps) == len(machines)

        host.wait_for(all_there)
        host.sh("\n".join(
            f"ip link set dev {self.taps[name]} alias 'vmwire:{network} {name}/0 {mac}'" for name, mac in zip(machines, macs)))

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def wired(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.uplink("re1", "192.168.88.46/24", "192.168.88.1/24")
    (host.directory / "resolv.conf").write_text("nameserver 192.168.87.1\n")
    host.sh(f"mount --bind {host.directory}/resolv.conf $(readlink -f /etc/resolv.conf)")
    host.config(FILE)
    host.vmwire("up")
    host.nics = [Nics(host, "brnat", ["vm0", "vm1"], 0xc8), Nics(host, "brext", ["vm2"], 0xc9)]
    yield host
    for nics in host.nics:
        nics.close()


def drawn(host):
    done = host.vmwire("map", "--json")
    told = json.loads(done.stdout)
    return told, {node["id"]: node for node in told["nodes"]}, {(e["from"], e["to"]): e["broken"] for e in told["edges"]}


def svg(host, name="map.svg"):
    """Every text of the picture, in one line."""
    host.vmwire("map", "--svg", name)
    root = xml.etree.ElementTree.parse(host.directory / name).getroot()
    return " ".join("".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text"))


def test_the_three_guests_of_a_healthy_host(wired):
    told, nodes, edges = drawn(wired)
    tap0, tap2 = wired.nics[0].taps["vm0"], wired.nics[1].taps["vm2"]
    chain = ["router:192.168.87.1", "uplink:re0", "nat:brnat", "bridge:brnat", f"nic:{tap0}", "machine:vm0"]
    for link in list(zip(chain, chain[1:])) + [("uplink:re1", "bridge:brext"), ("bridge:brext", f"nic:{tap2}")]:
        assert edges[link] is False, link
    assert [node for node in told["nodes"] if node["state"] == "broken"] == [] and not any(edges.values())
    # Nobody is behind the taps.
    assert {reason["code"] for node in told["nodes"] for reason in node["reasons"]} == {"guest-silent"}
    assert "10.0.0.0/24 as 192.168.87.44" in nodes["nat:brnat"]["lines"]
    assert nodes["bridge:brnat"]["lines"][:2] == ["10.0.0.1/24", "DHCP and DNS"]
    assert told["machines_stopped"] == ["idle"] and told["networks_down"] == []
    seen = svg(wired)
    for word in ("router", "192.168.87.1", "uplink re1", "NAT", "bridge brnat", tap0, "vm0", "not running: idle"):
        assert word in seen, word


def test_the_tree(wired):
    lines = wired.vmwire("map").stdout.splitlines()
    assert lines[0] == "router 192.168.87.1"
    assert lines[1].startswith("└── re0  uplink  192.168.87.44/24")
    assert lines[3].startswith("        └── brnat  bridge  10.0.0.1/24  DHCP and DNS")
    assert lines[4].startswith(f"            ├── {wired.nics[0].taps['vm0']}  vm0  ")
    assert lines[-1] == "not running: idle"


def test_a_lease_is_the_guests_address(wired):
    wired.sh("echo '4102444800 00:a0:98:1b:c8:00 10.0.0.77 vm0 *' >> /run/vmwire/leases/brnat")
    _, nodes, _ = drawn(wired)
    assert nodes["machine:vm0"]["lines"] == ["10.0.0.77"]


def test_broken_parts_say_why(wired):
    tap0, tap2 = wired.nics[0].taps["vm0"], wired.nics[1].taps["vm2"]
    wired.sh(f"nft flush chain inet vmwire postrouting; sysctl -qw net.ipv4.ip_forward=0; ip link set {tap0} down; "
             f"ip link set {tap2} nomaster; ip link set re1 nomaster")
    wired.peers["re1"].sh("ip link set far down")
    _, nodes, edges = drawn(wired)
    codes = {id: {reason["code"] for reason in node["reasons"]} for id, node in nodes.items()}
    assert {"masquerade-missing", "forwarding-off"} <= codes["nat:brnat"]
    assert {"uplink-no-carrier", "uplink-unplugged"} <= codes["uplink:re1"]
    assert "nic-down" in codes[f"nic:{tap0}"] and "nic-unplugged" in codes[f"nic:{tap2}"]
    assert "network-drifted" in codes["bridge:brext"]
    assert edges[("uplink:re1", "bridge:brext")] and edges[("bridge:brext", f"nic:{tap2}")]
    assert not edges[("router:192.168.87.1", "uplink:re0")]
    seen, tree = svg(wired), wired.vmwire("map").stdout
    assert "the uplink has no carrier" in seen and "#dc2626" in (wired.directory / "map.svg").read_text()
    assert "└─✗ brext" in tree and "✗ the uplink is not a port of the bridge" in tree


def test_what_doctor_finds_is_drawn_where_it_is(wired):
    wired.run("nft", "-f", "-", input="table ip docker {\nchain FORWARD {\ntype filter hook forward priority 0; policy drop;\n}\n}\n")
    wired.kill_service("brnat", "dnsmasq")
    _, nodes, _ = drawn(wired)
    codes = {id: {reason["code"] for reason in node["reasons"]} for id, node in nodes.items()}
    assert "forward-refused" in codes["nat:brnat"] and "dnsmasq-dead" in codes["bridge:brnat"]
    assert codes["bridge:brext"] <= {"bridge-netfilter"}  # where bridged frames go through that chain too
    assert "a firewall refuses to forward" in svg(wired) and "✗ a firewall refuses to forward" in wired.vmwire("map").stdout


def test_a_guests_address_without_a_lease_is_what_the_kernel_knows(wired):
    tap = wired.nics[1].taps["vm2"]
    wired.sh("ip neigh replace 192.168.88.47 lladdr 00:a0:98:1b:c9:00 dev brext nud reachable")
    _, nodes, _ = drawn(wired)
    assert nodes["machine:vm2"]["lines"] == ["192.168.88.47"] and nodes[f"nic:{tap}"]["lines"][0] == "192.168.88.47"


def test_sixty_guests_are_one_box_and_the_broken_one_is_not(wired):
    many = Nics(wired, "brnat", [f"web{i}" for i in range(60)], 0xd0)
    wired.nics.append(many)
    wired.sh(f"ip link set {many.taps['web7']} down")
    seen = svg(wired)
    assert "61 guests" in seen and "61 taps" in seen and "web59" in seen
    dot = wired.vmwire("map", "--dot").stdout
    assert "STYLE=" in dot and "g1 [label" in dot and "g2 [label" not in dot
    assert dot.count("<B>vm2</B>") == 1 and dot.count("the guest has never sent a frame") == 3  # the box, web7, vm2
    tree = wired.vmwire("map").stdout
    assert "61 guests" in tree and len(tree.splitlines()) < 50 and "web7" in tree
    told, nodes, _ = drawn(wired)
    assert sum(node["kind"] == "machine" for node in told["nodes"]) == 63  # data is never grouped


def test_names_are_not_markup(wired):
    name = "a<b>&\"'{}"
    wired.run("ip", "link", "add", "name", name, "type", "veth", "peer", "name", "far0")
    wired.run("ip", "link", "set", "dev", name, "master", "brext", "up")
    wired.run("ip", "link", "add", "name", "x\x1b[31m", "master", "brext", "type", "veth", "peer", "name", "far1")
    assert name in svg(wired)
    tree = wired.vmwire("map").stdout
    assert name in tree and "\x1b" not in tree and "x?[31m" in tree


def test_without_graphviz_it_says_what_to_do(wired):
    wired.sh("mount --bind /dev/null $(readlink -f /usr/bin/dot)")
    done = wired.vmwire("map", "--svg", "map.svg", check=False)
    assert done.returncode == 1 and "package graphviz" in done.stderr
    assert not list(wired.directory.glob("map.svg*"))


def test_a_picture_that_cannot_be_written_leaves_the_former(wired):
    done = wired.vmwire("map", "--svg", "nowhere/map.svg", check=False)
    assert done.returncode == 1 and "'nowhere/map.svg'" in done.stderr


def test_it_changes_nothing_and_what_is_down_is_listed(wired):
    before = wired.snapshot()
    wired.vmwire("map")
    svg(wired)
    assert wired.snapshot() == before
    for nics in wired.nics:
        nics.close()
    wired.vmwire("down")
    told, _, _ = drawn(wired)
    assert told["nodes"] == [] and told["networks_down"] == ["brnat", "brext"]


def test_wrong_command_lines(wired):
    assert wired.vmwire("map", "--dot", "--json", check=False).returncode == 2
    assert wired.vmwire("map", "brnat", check=False).returncode == 2
    assert wired.vmwire("map", "--svg", check=False).returncode == 2
    assert wired.vmwire("map", "--svg", "-", check=False).returncode == 2


WORDS = """networks:
  brnat:
    mode: nat
    subnet: 10.0.0.0/24
    subnet6: fd00:1:2:3::/64
    domain: lab.internal
    isolate: yes
    mtu: 1400
    rate: {in: 100Mbit, out: 50Mbit, burst: 1MB}
    forward: "tcp 2222 -> vm0:22"
  brext: {mode: bridged, uplink: re1, lock: [mac, ip], isolate: yes, rate: 20Mbit}
  brin: {mode: isolated, subnet: 10.2.0.0/24, dhcp: off}
  brout: {mode: routed, subnet: 10.3.0.0/24, dns: off}
machines:
  vm0: {nics: [{network: brnat, address: 10.0.0.9, mac: "00:a0:98:1b:c8:00", rate: {in: 10Mbit, out: 5Mbit}}]}
"""


def test_what_guests_are_held_to_and_served_is_in_status_and_map(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.uplink("re1")
    host.config(WORDS)
    host.vmwire("up")
    guest = Nics(host, "brnat", ["vm0"], 0xc8)
    host.vmwire("up")
    inside = "fd00:1:2:3:2a0:98ff:fe1b:c800"
    _, nodes, _ = drawn(host)
    kinds = "lock mac, ip, arp, dhcp, ra"
    bridge = [line for line in nodes["bridge:brnat"]["lines"] if not line.startswith("02:")]
    assert bridge == ["10.0.0.1/24", "fd00:1:2:3::1/64", "DHCP, DNS and RA", "domain lab.internal", "MTU 1400", "isolate", kinds,
                      "rate in 100Mbit, out 50Mbit, burst 1MB"]
    assert nodes["nat:brnat"]["lines"] == ["10.0.0.0/24 as 192.168.87.44", "fd00:1:2:3::/64", "tcp 2222 -> 10.0.0.9:22",
                                          f"tcp [::]:2222 -> [{inside}]:22"]
    assert nodes["bridge:brext"]["lines"][1:] == ["isolate", "lock mac, ip", "rate 20Mbit"]
    assert nodes["bridge:brin"]["lines"][:3] == ["isolated", "10.2.0.1/24", "DNS"]
    assert nodes["bridge:brout"]["lines"][:3] == ["routed", "10.3.0.1/24", "DHCP"]
    assert nodes[f"nic:{guest.taps['vm0']}"]["lines"] == ["10.0.0.9", inside, "00:a0:98:1b:c8:00", "rate in 10Mbit, out 5Mbit"]
    assert nodes["machine:vm0"]["lines"] == ["10.0.0.9", inside]
    assert "rate in 10Mbit, out 5Mbit" in svg(host) and "rate in 10Mbit, out 5Mbit" in host.vmwire("map").stdout
    told = {row["name"]: row for row in json.loads(host.vmwire("status", "--json").stdout)["networks"]}
    assert [(row["serves"], row["domain"], row["isolate"]) for row in told.values()] == [
        (["dhcp", "dns", "ra"], "lab.internal", True), ([], None, True), (["dns"], "brin", False), (["dhcp"], "brout", False)]
    assert told["brnat"]["ports"][0]["addresses"] == ["10.0.0.9", inside]
    lines = [line.split() for line in host.vmwire("status").stdout.splitlines()]
    for row in ("brnat mac, ip, arp, dhcp, ra yes DHCP, DNS and RA lab.internal", "brext mac, ip yes - -",
                "(all) brnat 100Mbit 50Mbit 1MB", f"{guest.taps['vm0']} brnat 10Mbit 5Mbit 64KiB",
                f"{guest.taps['vm0']} brnat vm0/0 00:a0:98:1b:c8:00 10.0.0.9 {inside} up"):
        assert row.split() in lines, row
    # Of what is there, not of the file.
    host.sh(f"bridge link set dev {guest.taps['vm0']} isolated off")
    host.config(WORDS.replace("lab.internal", "other.internal"))
    _, nodes, _ = drawn(host)
    assert "domain lab.internal" in nodes["bridge:brnat"]["lines"] and "isolate" not in nodes["bridge:brnat"]["lines"]
    guest.close()
    host.vmwire("down")
