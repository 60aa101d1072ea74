"""Port forwards: from outside, from the host itself and from guests; who may not; and what `up` refuses."""
import json
import pathlib
import socket
import struct
import subprocess

import pytest
from guests import Guest

ANSWER = pathlib.Path(__file__).parent / "answer.py"
HOST = "192.168.87.44"
MAC = "00:a0:98:00:00:05"
FILE = """networks:
  brnat:
    mode: nat
    subnet: 10.0.0.0/24
    forward:
      - tcp 2222 -> vm0:22
      - udp 0.0.0.0:53 -> vm0:5353
      - tcp 8000-8003 -> vm0:9000-9003
      - tcp 127.0.0.1:3333 -> vm0:22
      - tcp 172.20.0.2:4444 -> vm0:22
machines:
  vm0:
    nics: [{network: brnat, mac: "%s"}]
""" % MAC


def server(space, name, *ports):
    process = space.popen("python3", ANSWER, name, *ports, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def ask(space, kind, address, port):
    return space.run("python3", ANSWER, "ask", kind, address, port).stdout.strip()


@pytest.fixture
def wired(host):
    host.outside = host.uplink("re0", f"{HOST}/24", "192.168.87.1/24")
    host.other = host.uplink("re1", "172.20.0.2/24", "172.20.0.1/24")
    host.before = host.snapshot()
    host.config(FILE)
    host.vmwire("up")
    host.vm0 = Guest(host, "brnat", mac=MAC)
    host.vm0_address = host.vm0.lease()
    server(host.vm0.space, "vm0", "tcp:22", "udp:5353", *(f"tcp:{port}" for port in range(9000, 9004)))
    return host


def test_from_outside_the_guest_sees_who_asks(wired):
    assert ask(wired.outside, "tcp", HOST, 2222) == "vm0 192.168.87.1 22"
    assert ask(wired.outside, "udp", HOST, 53) == "vm0 192.168.87.1 5353"
    assert ask(wired.outside, "tcp", HOST, 22) == ""


def test_a_range_keeps_its_order(wired):
    for i in range(4):
        assert ask(wired.outside, "tcp", HOST, 8000 + i) == f"vm0 192.168.87.1 {9000 + i}"
    assert ask(wired.outside, "tcp", HOST, 8004) == ""


def test_the_target_has_its_address_as_a_static_lease(wired):
    planned = wired.vmwire("plan", "--json").stdout
    assert json.loads(planned)["operations"] == []
    rows = json.loads(wired.vmwire("status", "--json").stdout)["networks"][0]["forwards"]
    assert {row["target"] for row in rows} == {wired.vm0_address}
    assert "tcp 2222" in wired.vmwire("status").stdout


def test_from_the_host_itself_by_each_of_its_addresses(wired):
    for address in ("127.0.0.1", "127.0.0.53", HOST, "172.20.0.2", "10.0.0.1"):
        assert ask(wired, "tcp", address, 2222).startswith("vm0 "), address
        assert ask(wired, "tcp", address, 8001).endswith(" 9001"), address
    assert ask(wired, "udp", "127.0.0.1", 53).startswith("vm0 10.0.0.1 ")


def test_a_forward_of_one_address_is_that_address_alone(wired):
    assert ask(wired, "tcp", "127.0.0.1", 3333).startswith("vm0 ")
    assert ask(wired, "tcp", HOST, 3333) == "" and ask(wired.outside, "tcp", HOST, 3333) == ""
    assert ask(wired.other, "tcp", "172.20.0.2", 4444) == "vm0 172.20.0.1 22"
    assert ask(wired.outside, "tcp", HOST, 4444) == ""


@pytest.mark.parametrize("bridge_netfilter", [0, 1])
def test_hairpin_from_the_guest_itself_its_neighbour_and_another_network(wired, bridge_netfilter):
    """With br_netfilter DNAT happens in the bridge, which sends no frame back to the port that it came from."""
    wired.sh(f"sysctl -qw net.bridge.bridge-nf-call-iptables={bridge_netfilter}")
    wired.config(FILE.replace("machines:", "  brtwo:\n    mode: nat\n    subnet: 10.0.2.0/24\nmachines:"))
    wired.vmwire("up")
    neighbour = Guest(wired, "brnat", "vm1", mac="00:a0:98:00:00:06")
    neighbour.lease()
    stranger = Guest(wired, "brtwo", "vm2", mac="00:a0:98:00:00:07")
    stranger.lease()
    for target in (HOST, "10.0.0.1"):
        if not bridge_netfilter:
            assert ask(wired.vm0.space, "tcp", target, 2222) == "vm0 10.0.0.1 22"
        assert ask(neighbour.space, "tcp", target, 2222) == "vm0 10.0.0.1 22"
        assert ask(stranger.space, "tcp", target, 2222) == "vm0 10.0.0.1 22"
    assert ask(stranger.space, "tcp", wired.vm0_address, 22) == ""


def test_the_networks_own_dns_keeps_its_port(wired):
    assert wired.vm0_address in wired.vm0.space.sh("busybox nslookup vm0.brnat 10.0.0.1")
    assert wired.vm0_address in wired.sh("busybox nslookup vm0.brnat 10.0.0.1")


def test_nothing_else_comes_in(wired):
    wired.outside.sh(f"ip route add 10.0.0.0/24 via {HOST}")
    assert ask(wired.outside, "tcp", wired.vm0_address, 22) == ""
    assert ask(wired.outside, "tcp", wired.vm0_address, 2222) == ""


def test_a_named_uplink_does_not_refuse_the_answers(host):
    host.uplink("re0", f"{HOST}/24", "192.168.87.1/24")
    other = host.uplink("re1", "172.20.0.2/24", "172.20.0.1/24")
    host.config(FILE.replace("    forward:", "    uplink: re0\n    forward:"))
    host.vmwire("up")
    guest = Guest(host, "brnat", mac=MAC)
    guest.lease()
    server(guest.space, "vm0", "tcp:22")
    assert ask(other, "tcp", "172.20.0.2", 2222) == "vm0 172.20.0.1 22"


def sends(space, ifname, mac, source, target, port, own_port=40000):
    """One TCP SYN and one UDP datagram, written as frames: what a hostile neighbour does."""
    script = f"""
import socket, struct
def sum16(data):
    total = sum(struct.unpack(f"!{{len(data) // 2}}H", data + bytes(len(data) % 2)))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
s, d = socket.inet_aton({source!r}), socket.inet_aton({target!r})
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); wire.bind(({ifname!r}, 0))
own = wire.getsockname()[4]
for proto, body in ((17, struct.pack("!HHHH", {own_port}, {port}, 8, 0)),
                    (6, struct.pack("!HHIIBBHHH", {own_port}, {port}, 1, 0, 0x50, 2, 1024, 0, 0))):
    pseudo = s + d + struct.pack("!BBH", 0, proto, len(body))
    check = sum16(pseudo + body)
    body = body[:6] + struct.pack("!H", check) if proto == 17 else body[:16] + struct.pack("!H", check) + body[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, proto, 0) + s + d
    head = head[:10] + struct.pack("!H", sum16(head)) + head[12:]
    wire.send(bytes.fromhex({mac!r}.replace(":", "")) + own + b"\\x08\\x00" + head + body)
"""
    space.run("python3", "-c", script)


def counted(host, rule):
    return int(host.sh(f"nft list table inet vmwire | grep '{rule}' | sed 's/.*packets \\([0-9]*\\).*/\\1/'"))


def test_guests_do_not_reach_what_listens_on_the_loopback_alone(wired):
    """route_localnet is on for the bridge; without the rules these frames arrive.  So they do where no lock is."""
    wired.config(FILE.replace("mode: nat\n", "mode: nat\n    lock: off\n", 1))
    wired.vmwire("up")
    assert wired.sh("sysctl -n net.ipv4.conf.brnat.route_localnet").strip() == "1"
    assert wired.sh("sysctl -n net.ipv4.conf.re0.route_localnet").strip() == "0"
    bridge = json.loads(wired.sh("ip -j link show dev brnat"))[0]["address"]
    heard = wired.popen("python3", "-c", "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                        "s.bind(('127.0.0.1', 7777)); print('ready', flush=True); s.settimeout(3)\n"
                        "print(s.recvfrom(10))", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert heard.stdout.readline() == "ready\n"
    for source in (wired.vm0_address, "127.0.0.1"):
        for target in ("127.0.0.1", "10.0.0.1"):
            if (source, target) != (wired.vm0_address, "10.0.0.1"):
                sends(wired.vm0.space, "eth0", bridge, source, target, 7777)
    assert heard.communicate()[0] == ""
    assert counted(wired, "guests do not reach the loopback") == 4
    assert counted(wired, "guests are not the loopback") == 2


def test_a_neighbour_of_the_host_does_not_reach_a_forward_of_its_loopback(wired):
    """DNAT comes before the kernel's own check of loopback addresses."""
    watch = wired.popen("tcpdump", "-lnni", "brnat", "tcp", "or", "udp", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        text=True)
    watch.stderr.readline(), watch.stderr.readline()
    mac = json.loads(wired.sh("ip -j link show dev re0"))[0]["address"]
    for port in (3333, 2222, 53):
        sends(wired.outside, "far", mac, "192.168.87.1", "127.0.0.1", port)
    sends(wired.outside, "far", mac, "192.168.87.1", HOST, 2222, 40001)
    # The first packet on the bridge is the only one that may be there.
    assert f"192.168.87.1.40001 > {wired.vm0_address}.22: Flags [S]" in watch.stdout.readline()
    watch.terminate()
    watch.communicate()


def test_a_connection_lives_through_changes_of_other_forwards(wired):
    hold = wired.vm0.space.popen(
        "python3", "-c", "import socket\ns = socket.create_server(('', 7000)); print('ready', flush=True)\n"
        "c, _ = s.accept()\nwhile True: c.send(c.recv(100))", stdout=subprocess.PIPE, text=True)
    assert hold.stdout.readline() == "ready\n"
    more = FILE.replace("      - udp", "      - tcp 7000 -> vm0:7000\n      - udp")
    wired.config(more)
    wired.vmwire("up")
    client = wired.outside.popen(
        "python3", "-c", f"import socket, sys\ns = socket.create_connection(('{HOST}', 7000))\n"
        "for line in sys.stdin: s.send(line.encode()); print(s.recv(100).decode().strip(), flush=True)",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def alive(word):
        client.stdin.write(word + "\n")
        client.stdin.flush()
        return client.stdout.readline().strip() == word

    assert alive("one")
    wired.config(more.replace("tcp 2222 -> vm0:22", "tcp 2223 -> vm0:22"))
    assert "1 change" in wired.vmwire("up").stdout
    assert alive("two") and ask(wired.outside, "tcp", HOST, 2223) and not ask(wired.outside, "tcp", HOST, 2222)
    client.stdin.close()
    client.wait()


def test_a_port_moves_to_another_network_in_one_up_and_back_when_it_fails(wired):
    two = "  brtwo:\n    mode: nat\n    subnet: 10.0.2.0/24\n    forward: tcp 2222 -> 10.0.2.5:22\n"
    wired.config(FILE.replace("      - tcp 2222 -> vm0:22\n", "").replace("machines:", two + "machines:"))
    refused = wired.vmwire("up", "brtwo", check=False)
    assert refused.returncode == 2 and "network 'brnat' of this host has already" in refused.stderr
    assert ask(wired.outside, "tcp", HOST, 2222) == "vm0 192.168.87.1 22"
    # dnsmasq of brtwo cannot start: everything is as it was.
    wired.sh("mount --bind /bin/false $(command -v dnsmasq)")
    failed = wired.vmwire("up", check=False)
    assert failed.returncode == 1 and "rolled back" in failed.stderr
    assert ask(wired.outside, "tcp", HOST, 2222) == "vm0 192.168.87.1 22"
    wired.sh("umount $(command -v dnsmasq)")
    wired.vmwire("up")
    assert "nothing to do" in wired.vmwire("up").stdout
    assert ask(wired.outside, "tcp", HOST, 2222) == ""


def test_a_port_that_somebody_listens_on_is_refused_and_he_is_named(host):
    host.uplink("re0", f"{HOST}/24", "192.168.87.1/24")
    listener = server(host, "somebody", "tcp@127.0.0.1:8002", f"udp@{HOST}:53")
    before = host.snapshot()
    host.config(FILE)
    done = host.vmwire("up", check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "taken" in line]
    assert [line.split(" ")[0] for line in lines] == ["vmwire.yaml:7:9:", "vmwire.yaml:8:9:"]
    assert f"'python3' (pid {listener.pid}), which listens at 127.0.0.1" in lines[1] or "python3" in lines[1]
    assert f"listens at {HOST}" in lines[0]
    assert host.snapshot() == before
    # Another address's port is free, and what is in force stays when somebody comes later.
    host.config(FILE.replace("udp 0.0.0.0:53", "udp 172.20.0.2:53").replace("8000-8003", "8010-8013"))
    host.vmwire("up")
    late = server(host, "late", "tcp:8010")
    assert "nothing to do" in host.vmwire("up").stdout
    for process in (listener, late):
        process.kill()
        process.wait()


def test_drift_is_seen_and_mended(wired):
    wired.sh("nft delete element inet vmwire forward_any '{ tcp . 8001 }'")
    assert wired.vmwire("status", check=False).returncode == 3
    wired.vmwire("up")
    assert ask(wired.outside, "tcp", HOST, 8001)
    wired.sh("sysctl -qw net.ipv4.conf.brnat.route_localnet=0")
    assert wired.vmwire("status", check=False).returncode == 3
    assert "1 change" in wired.vmwire("up").stdout
    assert ask(wired, "tcp", "127.0.0.1", 8001)


def test_without_forwards_the_loopback_is_closed_again_and_down_puts_all_back(wired):
    wired.config(FILE[:FILE.index("    forward:")] + FILE[FILE.index("machines:"):])
    wired.vmwire("up")
    assert wired.sh("sysctl -n net.ipv4.conf.brnat.route_localnet").strip() == "0"
    assert ask(wired.outside, "tcp", HOST, 2222) == ""
    wired.config(FILE)
    wired.vmwire("up")
    wired.vm0.close()
    wired.vmwire("down")
    assert wired.snapshot() == wired.before


def test_a_forward_to_a_guest_that_runs_leads_to_the_address_that_it_has(host):
    outside = host.uplink("re0", f"{HOST}/24", "192.168.87.1/24")
    bare = FILE[:FILE.index("    forward:")] + FILE[FILE.index("machines:"):]
    host.config(bare)
    host.vmwire("up")
    others = [Guest(host, "brnat", f"vm{i}", mac=f"00:a0:98:00:01:0{i}") for i in range(2)]
    guest = Guest(host, "brnat", mac=MAC)
    for other in others:
        other.lease()
    # Not the address that would be made from its MAC.
    host.sh(f"printf '%s\\n' '4102444800 {MAC} 10.0.0.77 * *' >> /run/vmwire/leases/brnat; "
            "kill $(cat /run/vmwire/network/brnat/dnsmasq.pid); sleep 0.2")
    host.vmwire("up")
    assert guest.lease() == "10.0.0.77"
    server(guest.space, "vm0", "tcp:22")
    host.config(bare.replace("machines:", "    forward: tcp 2222 -> vm0:22\nmachines:"))
    host.vmwire("up")
    assert ask(outside, "tcp", HOST, 2222) == "vm0 192.168.87.1 22"
    assert "nothing to do" in host.vmwire("up").stdout
    # It is the guest's for good, also when its lease is over.
    host.sh("kill $(cat /run/vmwire/network/brnat/dnsmasq.pid); sleep 0.2; : > /run/vmwire/leases/brnat")
    host.vmwire("up")
    assert ask(outside, "tcp", HOST, 2222) == "vm0 192.168.87.1 22"
    assert "nothing to do" in host.vmwire("up").stdout
