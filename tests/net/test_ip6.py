"""IPv6 behind the host: addresses, names, the way out and in, and the host's own IPv6, which it keeps while it forwards."""
import json
import pathlib
import re
import subprocess
import threading
import time

import pytest
from conftest import FAULTY
from guests import Guest
from test_firewalls import RULES, Firewalld, ufw_on
from test_forward import ask, server
from test_probe import serve_names

MAC = "00:a0:98:00:00:05"
SLAAC = "fd00:1:2:3:2a0:98ff:fe00:5"
WORLD = "2001:4860:4860::8888"
HEAD = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n    subnet6: fd00:1:2:3::/64\n"
VM0 = f'machines:\n  vm0:\n    nics: [{{network: brnat, mac: "{MAC}"}}]\n'
SOLICIT = """
import socket
one = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
one.sendto(bytes([133] + [0] * 7), ("ff02::2", 0, 0, socket.if_nametoindex("%s")))
"""
DHCP6 = """
import socket, struct, sys
mac, duid = bytes.fromhex(sys.argv[1].replace(":", "")), bytes.fromhex(sys.argv[2].replace(":", "")) if sys.argv[2:] else b""
duid = duid or bytes.fromhex("00030001") + mac
one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
one.bind(("::", 546))
one.settimeout(3)
def option(code, content): return struct.pack("!HH", code, len(content)) + content
def options(data):
    while data:
        code, size = struct.unpack("!HH", data[:4])
        yield code, data[4:4 + size]
        data = data[4 + size:]
ia = option(3, struct.pack("!III", 1, 0, 0))
def ask(kind, more):
    one.sendto(bytes([kind, 1, 2, 3]) + option(1, duid) + option(8, b"\\0\\0") + option(6, struct.pack("!HH", 23, 24)) + more,
               ("ff02::1:2", 547, 0, socket.if_nametoindex("eth0")))
    return dict(options(one.recv(2000)[4:]))
offer = ask(1, ia)
got = ask(3, option(2, offer[2]) + option(3, offer[3]))
address = next(content[:16] for code, content in options(got[3][12:]) if code == 5)
print(socket.inet_ntop(socket.AF_INET6, address), socket.inet_ntop(socket.AF_INET6, got[23][:16]))
"""


def has(space, address, dev="eth0"):
    return f" {address}/" in space.sh(f"ip -6 addr show dev {dev} -tentative 2>/dev/null || true")


def own6(host, dev="re0"):
    return json.loads(host.sh(f"ip -j -6 addr show dev {dev} scope global"))[0]["addr_info"][0]["local"]


def default6(space):
    return space.sh("ip -6 route show default proto ra")


@pytest.fixture
def fixed6(host):
    """A host whose IPv6 somebody set."""
    host.outside = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.outside.sh("sysctl -qw net.ipv6.conf.all.forwarding=1; ip -6 addr add 2001:db8:1::1/64 dev far nodad; "
                    f"ip -6 addr add {WORLD}/128 dev lo; ip addr add 8.8.8.8/32 dev lo")
    host.sh("ip -6 addr add 2001:db8:1::44/64 dev re0 nodad; ip -6 route add default via 2001:db8:1::1")
    return host


@pytest.fixture
def host6(fixed6):
    """A host that learns from a router on its uplink, which speaks every few seconds."""
    host = fixed6
    host.sh("ip -6 route del default; ip -6 addr del 2001:db8:1::44/64 dev re0")
    (host.directory / "radvd.conf").write_text(
        "interface far { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime 7;\n"
        "prefix 2001:db8:1::/64 { AdvValidLifetime 60; AdvPreferredLifetime 60; }; };\n")
    host.radvd = host.outside.popen("radvd", "-n", "-C", host.directory / "radvd.conf", "-p", "/run/radvd.pid",
                                    stderr=subprocess.DEVNULL)
    host.wait_for(lambda: "fe80" in host.sh("ip -6 addr show dev re0 -tentative"))
    solicit(host, "re0")
    host.wait_for(lambda: default6(host) and "2001:db8:1:" in host.sh("ip -6 addr show dev re0 -tentative"), seconds=15)
    return host


def solicit(space, dev):
    """Ask for routers now: a kernel does when it has the link, and then in four seconds."""
    space.run("python3", "-c", SOLICIT % dev)


def up(host, text):
    host.config(text)
    return host.vmwire("up").stdout


def guest6(host, mac=MAC, name="vm0", network="brnat", given=""):
    guest = Guest(host, network, name, mac=mac, given=given)
    host.wait_for(lambda: default6(guest.space) and "fd00:" in guest.space.sh("ip -6 addr show dev eth0 -tentative"))
    return guest


def routes6(host):
    """Of the snapshot's, without lifetimes, which run."""
    return [{k: v for k, v in row.items() if k != "expires"} for row in host.snapshot()["routes6"]]


def test_slaac_the_way_out_and_nothing_in(host6):
    before, learned = host6.snapshot(), routes6(host6)
    up(host6, HEAD + VM0)
    assert "nothing to do" in host6.vmwire("up").stdout
    guest = guest6(host6)
    assert has(guest.space, SLAAC)
    watch = host6.outside.popen("tcpdump", "-lnni", "far", "-c", "1", "icmp6[0] = 128", stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
    watch.stderr.readline(), watch.stderr.readline()
    guest.ping(WORLD, check=True)
    assert f"{own6(host6)} > {WORLD}" in watch.communicate(timeout=10)[0]
    assert guest.ping("fd00:1:2:3::1").returncode == 0
    host6.outside.sh(f"ip route add fd00:1:2:3::/64 via {own6(host6)}")
    assert host6.outside.run("ping", "-c1", "-W1", SLAAC, check=False).returncode != 0
    guest.close()
    host6.vmwire("down")
    after = host6.snapshot()
    assert routes6(host6) == learned
    assert {k: v for k, v in after.items() if k != "routes6"} == {k: v for k, v in before.items() if k != "routes6"}


def test_the_host_keeps_its_router_while_it_forwards_and_after(host6):
    """The router's lifetime is seven seconds: only a host that goes on listening has it after eight."""
    lost = []
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            if not default6(host6):
                lost.append(time.monotonic())
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        up(host6, HEAD)
        assert host6.sh("sysctl -n net.ipv6.conf.re0.accept_ra net.ipv6.conf.all.forwarding").split() == ["2", "1"]
        time.sleep(8)
        host6.vmwire("down")
        assert host6.sh("sysctl -n net.ipv6.conf.re0.accept_ra net.ipv6.conf.all.forwarding").split() == ["1", "0"]
        time.sleep(2)
    finally:
        stop.set()
        watcher.join()
    assert lost == []


def test_what_somebody_sets_back_is_drift_and_mended(host6):
    up(host6, HEAD)
    host6.sh("sysctl -qw net.ipv6.conf.re0.accept_ra=1; ip -6 route flush proto ra")
    assert "accept_ra" in host6.vmwire("status", check=False).stdout
    found = json.loads(host6.vmwire("doctor", "--json", check=False).stdout)["findings"]
    assert "ra-ignored" in [row["code"] for row in found]
    up(host6, HEAD)
    host6.wait_for(lambda: default6(host6))
    host6.sh("sysctl -qw net.ipv6.conf.all.forwarding=0")
    found = json.loads(host6.vmwire("doctor", "--json", check=False).stdout)["findings"]
    assert ("forwarding-off", "net.ipv6.conf.all.forwarding is 0") in [(r["code"], r["evidence"]) for r in found]
    up(host6, HEAD)
    host6.vmwire("down")
    assert host6.sh("sysctl -n net.ipv6.conf.re0.accept_ra net.ipv6.conf.all.forwarding").split() == ["1", "0"]


def test_a_failed_up_the_last_network_and_a_host_that_forwards_already(host6):
    before = host6.run_files()
    host6.sh("mount --bind /bin/false $(command -v dnsmasq)")
    host6.config(HEAD)
    assert "rolled back" in host6.vmwire("up", check=False).stderr
    assert host6.sh("sysctl -n net.ipv6.conf.re0.accept_ra net.ipv6.conf.all.forwarding").split() == ["1", "0"]
    assert default6(host6) and host6.run_files() == before
    host6.sh("umount $(command -v dnsmasq)")
    # IPv6 forwarding goes with the last network that has IPv6, not with the last.
    up(host6, HEAD + "  brtwo:\n    mode: nat\n    subnet: 10.0.2.0/24\n")
    host6.vmwire("down", "brnat")
    assert host6.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding").split() == ["1", "0"]
    assert default6(host6)
    # Where it was on before, it is the administrator's, and so is what it does to the host.
    host6.sh("sysctl -qw net.ipv6.conf.all.forwarding=1")
    host6.vmwire("up")
    assert host6.sh("sysctl -n net.ipv6.conf.re0.accept_ra").strip() == "1"
    host6.vmwire("down")
    assert host6.sh("sysctl -n net.ipv6.conf.re0.accept_ra net.ipv6.conf.all.forwarding").split() == ["1", "1"]


def test_a_fault_at_any_setting_leaves_the_router(host6):
    """Whichever of them fails, or is the last that is done: undone in the order that keeps the route."""
    host6.config(HEAD)
    for direction in ("up", "down"):
        plan = json.loads(host6.vmwire("plan", "--json", *(["--down"] if direction == "down" else [])).stdout)["operations"]
        settings = [i + 1 for i, op in enumerate(plan) if op["kind"] == "sysctl-set" and op["name"].startswith("net.ipv6")]
        assert len(settings) >= 2
        for how in ("fail-before", "kill-after"):
            for number in settings:
                host6.vmwire(direction, program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
                host6.vmwire("plan")  # rolls back what was killed
                expected = ["1", "0"] if direction == "up" else ["2", "1"]
                assert host6.sh("sysctl -n net.ipv6.conf.re0.accept_ra net.ipv6.conf.all.forwarding").split() == expected
                assert default6(host6), (direction, how, number)
        host6.vmwire(direction)
    assert default6(host6)


def test_a_bridge_learns_in_its_uplinks_place(host6):
    bridged = "  brext:\n    mode: bridged\n    uplink: re0\n    address: keep\n"
    up(host6, HEAD + bridged)
    host6.wait_for(lambda: "dev brext" in default6(host6), seconds=15)
    guest6(host6).ping(WORLD, wait=2, check=True)
    assert "nothing to do" in host6.vmwire("up").stdout
    # The other order: the bridge is there first.
    host6.vmwire("down", "brnat")
    host6.sh("sysctl -qw net.ipv6.conf.brext.accept_ra=1")
    assert default6(host6)
    host6.vmwire("up", "brnat")
    assert host6.sh("sysctl -n net.ipv6.conf.brext.accept_ra").strip() == "2" and "dev brext" in default6(host6)
    host6.vmwire("down")
    assert host6.sh("sysctl -n net.ipv6.conf.re0.accept_ra").strip() == "1"
    host6.wait_for(lambda: "dev re0" in default6(host6), seconds=15)


@pytest.mark.parametrize("network", [
    "  brin:\n    mode: isolated\n    subnet: 10.0.5.0/24\n    subnet6: fd00:5::/64\n",
    "  brin:\n    mode: nat\n    subnet: 10.0.5.0/24\n    lock: off\n"])
def test_a_guest_that_advertises_itself_is_no_router_of_the_hosts(fixed6, network):
    up(fixed6, "networks:\n" + network)
    guest = Guest(fixed6, "brin", "vm0", mac=MAC)
    if "subnet6" in network:
        fixed6.wait_for(lambda: "fd00:5:" in guest.space.sh("ip -6 addr show dev eth0 -tentative"))
        assert not default6(guest.space)  # nor is the host the guest's: nothing leads out
        assert guest.ping("fd00:5::1").returncode == 0
    (fixed6.directory / "evil.conf").write_text(
        "interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix fd66::/64 {}; };\n")
    guest.space.sh("sysctl -qw net.ipv6.conf.all.forwarding=1")
    for space, dev in ((guest.space, "eth0"), (fixed6, "brin")):
        fixed6.wait_for(lambda: "fe80" in space.sh(f"ip -6 addr show dev {dev} -tentative"))
    guest.space.popen("radvd", "-n", "-C", fixed6.directory / "evil.conf", "-p", "/run/r.pid", stderr=subprocess.DEVNULL)
    watch = fixed6.popen("timeout", "15", "tcpdump", "-lnni", "brin", "-c", "1", "icmp6[0] = 134 and ether src " + MAC,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch.stderr.readline(), watch.stderr.readline()
    solicit(fixed6, "brin")
    assert "fe80" in watch.communicate()[0]
    time.sleep(0.3)
    assert "fd66" not in fixed6.sh("ip -6 addr") and "brin" not in default6(fixed6)


def test_a_routed_prefix_is_not_translated(fixed6):
    up(fixed6, "networks:\n  brout:\n    mode: routed\n    subnet: 10.0.9.0/24\n    subnet6: fd00:9::/64\n")
    guest = guest6(fixed6, network="brout")
    fixed6.outside.sh(f"ip route add fd00:9::/64 via {own6(fixed6)}")
    guest.ping(WORLD, check=True)
    fixed6.outside.sh("ping -c1 -W2 fd00:9::2a0:98ff:fe00:5")
    fixed6.outside.sh("ip route del fd00:9::/64")
    assert guest.ping(WORLD).returncode != 0


def test_dhcp6_static_addresses_names_and_leases(fixed6):
    up(fixed6, HEAD + f'machines:\n  vm0:\n    nics: [{{network: brnat, mac: "{MAC}", address6: "fd00:1:2:3::77"}}]\n')
    guest = guest6(fixed6, given="fd00:1:2:3::77")
    assert guest.space.sh(f"python3 -c '{DHCP6}' {MAC}").split() == ["fd00:1:2:3::77", "fd00:1:2:3::1"]
    # Whatever the client calls itself: it is known by its MAC.
    other = guest6(fixed6, mac="00:a0:98:00:00:06", name="vm1")
    pool = other.space.sh(f"python3 -c '{DHCP6}' 00:a0:98:00:00:06 00:04:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00")
    assert pool.startswith("fd00:1:2:3::")
    rows = json.loads(fixed6.vmwire("leases", "--json").stdout)["networks"][0]["leases"]
    assert ("fd00:1:2:3::77", MAC, "vm0") in [(row["address"], row["mac"], row["hostname"]) for row in rows]
    assert (pool.split()[0], None) in [(row["address"], row["mac"]) for row in rows]
    assert "fd00:1:2:3::77" in fixed6.vmwire("status").stdout
    assert "fd00:1:2:3::77" in fixed6.vmwire("map").stdout
    for space in (guest.space, fixed6):
        assert "fd00:1:2:3::77" in space.sh("busybox nslookup vm0.brnat fd00:1:2:3::1")


def test_a_guest_with_an_ipv4_lease_has_its_slaac_address_in_the_dns(fixed6):
    """And one that has no IPv6 is noted."""
    up(fixed6, HEAD + VM0)
    guest, other = guest6(fixed6), Guest(fixed6, "brnat", "vm1", mac="00:a0:98:00:00:06")
    other.space.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
    guest.lease(), other.lease()
    fixed6.wait_for(lambda: SLAAC in fixed6.sh("busybox nslookup vm0.brnat 10.0.0.1"), seconds=20)
    fixed6.sh("ip -6 neigh flush dev brnat")  # what it said before
    guest.ping("fd00:1:2:3::1", check=True)
    found = json.loads(fixed6.vmwire("doctor", "--json", check=False).stdout)["findings"]
    assert [row["subject"] for row in found if row["code"] == "guest-no-ipv6"] == ["machine 'vm1'"]


def test_a_running_network_gets_ipv6_and_loses_it(fixed6):
    up(fixed6, HEAD.replace("    subnet6: fd00:1:2:3::/64\n", "") + VM0)
    guest = Guest(fixed6, "brnat", "vm0", mac=MAC)
    guest.lease()
    up(fixed6, HEAD + VM0)
    fixed6.wait_for(lambda: has(guest.space, SLAAC) and guest.ping(WORLD).returncode == 0)
    assert guest.tap in fixed6.sh("ip link show master brnat") and guest.ping("8.8.8.8").returncode == 0
    up(fixed6, HEAD.replace("    subnet6: fd00:1:2:3::/64\n", "") + VM0)
    assert guest.ping("8.8.8.8").returncode == 0 and guest.ping(WORLD).returncode != 0
    assert fixed6.sh("sysctl -n net.ipv6.conf.all.forwarding").strip() == "0" and "fd00" not in fixed6.sh("ip -6 addr")
    assert "nothing to do" in fixed6.vmwire("up").stdout


@pytest.mark.parametrize("more, ports", [("    dhcp: off\n", ["53"]), ("    dns: off\n", ["547", "67"]),
                                         ("    dhcp: off\n    dns: off\n", [])])
def test_router_advertisements_are_there_without_dhcp_and_dns(fixed6, more, ports):
    up(fixed6, HEAD + more)
    guest6(fixed6).ping(WORLD, check=True)
    listeners = {line.split()[3].rsplit(":", 1)[1] for line in fixed6.sh("ss -Hlnup").splitlines() if "dnsmasq" in line}
    assert sorted(listeners) == ports
    assert "nothing to do" in fixed6.vmwire("up").stdout


def test_forwards(fixed6):
    up(fixed6, HEAD + "    forward:\n      - tcp 2222 -> vm0:22\n      - tcp [::]:3333 -> vm0:22\n"
       "      - udp 5353 -> [fd00:1:2:3::77]:53\n      - tcp 0.0.0.0:4444 -> vm0:22\n" + VM0)
    fixed6.sh("sysctl -qw net.bridge.bridge-nf-call-ip6tables=0")
    guest = guest6(fixed6)
    guest.space.sh("ip -6 addr add fd00:1:2:3::77/64 dev eth0 nodad")
    address = guest.lease()
    server(guest.space, "vm0", "tcp:22", "tcp6:22", "udp6:53")
    own = own6(fixed6)
    assert ask(fixed6.outside, "tcp", own, 2222) == "vm0 2001:db8:1::1 22"
    assert ask(fixed6.outside, "tcp", "192.168.87.44", 2222) == "vm0 192.168.87.1 22"
    assert ask(fixed6.outside, "tcp", own, 3333) == "vm0 2001:db8:1::1 22"
    assert ask(fixed6.outside, "udp", own, 5353) == "vm0 2001:db8:1::1 53"
    assert ask(fixed6.outside, "tcp", "192.168.87.44", 3333) == ask(fixed6.outside, "tcp", own, 4444) == ""
    assert ask(fixed6, "tcp", own, 2222) == f"vm0 {own} 22" and ask(fixed6, "tcp", "fd00:1:2:3::1", 2222).startswith("vm0")
    neighbour = guest6(fixed6, mac="00:a0:98:00:00:06", name="vm1")
    for space in (guest.space, neighbour.space):
        assert ask(space, "tcp", own, 2222) == "vm0 fd00:1:2:3::1 22"
    # ::1 keeps its ports, and says at once that nobody is there.
    start = time.monotonic()
    assert ask(fixed6, "tcp", "::1", 2222) == "" and time.monotonic() - start < 0.9
    assert "nothing to do" in fixed6.vmwire("up").stdout
    rows = json.loads(fixed6.vmwire("status", "--json", check=False).stdout)["networks"][0]["forwards"]
    assert [row["target"] for row in rows if row["first"] == 2222] == [address, SLAAC]
    assert {row["machine"] for row in rows if row["first"] == 2222} == {"vm0"}
    # Live: one goes, the others stay.
    up(fixed6, HEAD + "    forward: tcp 2222 -> vm0:22\n" + VM0)
    assert ask(fixed6.outside, "tcp", own, 2222) and not ask(fixed6.outside, "tcp", own, 3333)


def test_a_port_that_somebody_has_by_ipv6_is_refused(fixed6):
    taken = fixed6.popen("python3", pathlib.Path(__file__).parent / "answer.py", "x", "tcp6:8080", stdout=subprocess.PIPE, text=True)
    assert taken.stdout.readline() == "ready\n"
    fixed6.config(HEAD + "    forward: tcp [::]:8080 -> vm0:80\n" + VM0)
    done = fixed6.vmwire("up", check=False)
    assert done.returncode == 2 and "python3" in done.stderr and ":6:14:" in done.stderr


def test_a_subnet_that_the_host_routes_is_refused(fixed6):
    fixed6.sh("ip -6 addr add fd00:1:2:3::9/48 dev re0 nodad")
    fixed6.config(HEAD)
    done = fixed6.vmwire("up", check=False)
    assert done.returncode == 2 and "fd00:1:2::/48" in done.stderr and ":5:14:" in done.stderr


def test_a_host_without_ipv6_says_so(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
    host.config(HEAD)
    done = host.vmwire("up", check=False)
    assert done.returncode == 2 and "IPv6 is switched off" in done.stderr and not host.run_files()[2:]


def test_auto_is_stable_and_each_networks_own(fixed6):
    text = "networks:\n" + "".join(f"  n{i}:\n    mode: nat\n    subnet: 10.0.{i}.0/24\n    subnet6: auto\n" for i in range(9))
    up(fixed6, text)
    def prefixes():
        return [[a for a in row["addresses"] if a.startswith("fd")]
                for row in json.loads(fixed6.vmwire("status", "--json").stdout)["networks"]]
    first = prefixes()
    assert all(len(row) == 1 and row[0].endswith("::1/64") for row in first) and len({row[0] for row in first}) == 9
    fixed6.vmwire("down")
    up(fixed6, text)
    assert prefixes() == first


def test_the_plan_run_by_a_shell_leaves_the_same(fixed6):
    fixed6.config(HEAD + "    forward: tcp 2222 -> vm0:22\n" + VM0)
    (fixed6.directory / "plan.sh").write_text(fixed6.vmwire("plan").stdout)
    fixed6.sh(f"sh -e {fixed6.directory}/plan.sh")
    assert "nothing to do" in fixed6.vmwire("up").stdout
    fixed6.vmwire("down")


def probe(host, *args):
    told = json.loads(host.vmwire("probe", "brnat", *args, "--json", check=False).stdout)
    return told, {step["step"]: (step["outcome"], step["what"]) for step in told["steps"]}


def test_probe(fixed6):
    serve_names(fixed6.outside, "8.8.8.8")
    up(fixed6, HEAD + "    dns: {upstream: 8.8.8.8}\n")
    told, steps = probe(fixed6)
    assert [steps[name][0] for name in ("router6", "ping6", "lease6")] == ["passed"] * 3, told
    assert steps["router6"][1].startswith("fd00:1:2:3:") and steps["ping6"][1].startswith(f"{WORLD} answers")
    assert "offered by fe80:" in steps["lease6"][1] and told["target6"] == WORLD
    assert "fd00:" not in fixed6.vmwire("leases").stdout  # nothing was taken
    fixed6.sh("nft add table inet other; nft 'add chain inet other in { type filter hook input priority 0; }'; "
             "nft add rule inet other in udp dport 547 drop")
    told, steps = probe(fixed6)
    assert steps["lease6"][0] == "failed" and "dhcp6-silent" in [row["code"] for row in told["findings"]]


def has_all(host, guest):
    """Router, addresses by both ways, names, and the way out."""
    host.wait_for(lambda: "fe80" in guest.space.sh("ip -6 addr show dev eth0 -tentative"))
    solicit(guest.space, "eth0")
    host.wait_for(lambda: default6(guest.space) and "fd00:" in guest.space.sh("ip -6 addr show dev eth0 -tentative"))
    assert ask(guest.space, "tcp", WORLD, 80) == "world 2001:db8:1::44 80"
    assert guest.space.sh(f"python3 -c '{DHCP6}' {MAC}").startswith("fd00:1:2:3:")
    host.wait_for(lambda: "fd00:" in guest.space.run("busybox", "nslookup", "vm0.brnat", "fd00:1:2:3::1", check=False).stdout)


def found(host):
    """What doctor says, but that a host without name servers has none."""
    rows = json.loads(host.vmwire("doctor", "--json", check=False).stdout)["findings"]
    return [row for row in rows if row["code"] != "dns-no-upstream"]


def docker6(command):
    return f"sysctl -qw net.ipv6.conf.all.forwarding=1; {command} {RULES}/docker-28.rules6"


@pytest.mark.parametrize("whose", ["ufw", "ufw that drops", "docker", "firewalld"])
def test_beside_other_firewalls(fixed6, whose):
    """ufw and firewalld themselves; Docker's ip6tables as it leaves them.  Nothing is said of what drops nothing."""
    ufw = whose.startswith("ufw")
    if ufw:
        ufw_on(fixed6, "REJECT" if whose == "ufw" else "DROP")
        fixed6.sh("ufw reload")  # its tables stand in another order from then on
    elif whose == "docker":
        fixed6.sh(docker6("ip6tables-restore"))
    else:
        Firewalld(fixed6, False).cmd("--reload")
    before = fixed6.snapshot()["nft"]
    fixed6.config(HEAD + VM0)
    assert fixed6.vmwire("up").stderr == ""
    server(fixed6.outside, "world", "tcp6:80")
    guest = guest6(fixed6)
    has_all(fixed6, guest)
    assert "nothing to do" in fixed6.vmwire("up").stdout and found(fixed6) == []
    if ufw:  # its reload takes vmwire's rules away: of both families it is named
        fixed6.sh("ufw reload")
        told = [row["evidence"] for row in found(fixed6) if row["code"] == "forward-refused"]
        assert len(told) == 2 and "IPv6" not in told[0] and "TCP connections by IPv6" in told[1], told
        where = "chain 'ufw%s-reject-forward'" if whose == "ufw" else "chain 'FORWARD', by its policy (ufw's)"
        assert all((where % kind if whose == "ufw" else where) in row for kind, row in zip(("", "6"), told)), told
        assert ask(guest.space, "tcp", WORLD, 80) == ""
    guest.close()
    fixed6.vmwire("down")
    assert fixed6.snapshot()["nft"] == before


UNKNOWN = {
    "nft inet": ("nft 'add table inet strict; add chain inet strict way { type filter hook forward priority 0; policy drop; }'",
                 ["drops pings, TCP connections (port 443), UDP (DNS, port 53), IPv6 pings, TCP connections by IPv6 (port 443), UDP by IPv6 (DNS, port 53): "
                  "table 'inet strict', chain 'way', by its policy; to let it pass: nft insert rule inet strict way"]),
    "a rule by name": ("ip6tables -N GUESTS; ip6tables -A FORWARD -j GUESTS; ip6tables -A GUESTS -i br+ -p tcp -j REJECT",
                       ["drops TCP connections by IPv6 (port 443): table 'ip6 filter', chain 'GUESTS', rule handle", "ip6tables -I GUESTS -i brnat -j ACCEPT"]),
    "Docker's, legacy": (docker6("ip6tables-legacy-restore"),
                         ["drops IPv6 pings", "iptables-legacy, table 'ip6 filter', chain 'FORWARD', by its policy", "ip6tables-legacy -I FORWARD -i brnat -j ACCEPT"]),
    "to the host": ("ip6tables -P INPUT DROP",
                    ["drops guests' router solicitations, guests' neighbour solicitations", "ip6tables -I INPUT -p ipv6-icmp -j ACCEPT",
                     "drops guests' DHCPv6 requests, guests' DNS requests by IPv6", "ip6tables -I INPUT -i brnat -p udp -m multiport --dports 53,547 -j ACCEPT"]),
    "by the host": ("ip6tables -A OUTPUT -o brnat -j DROP",
                    ["drops the host's router advertisements, the host's neighbour advertisements", "drops the host's DHCPv6 answers, the host's DNS answers by IPv6",
                     "ip6tables -I OUTPUT -o brnat -p udp -m multiport --sports 53,547 -j ACCEPT"]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_firewall_is_named_and_its_cure_cures(fixed6, name):
    """As IPv4's: test_firewalls.py."""
    make, words = UNKNOWN[name]
    fixed6.config(HEAD + VM0)
    fixed6.sh(make)
    server(fixed6.outside, "world", "tcp6:80")
    said = fixed6.vmwire("up").stderr
    for word in words:
        assert word in said, said
    # What the forward chains drop, they drop between guests too, where bridged frames are shown to them.
    codes = {row["code"] for row in found(fixed6)} - {"bridge-netfilter"}
    assert codes == {"service-refused" if "host" in name else "forward-refused"}
    if "host" in name:
        guest = Guest(fixed6, "brnat", mac=MAC)
        fixed6.wait_for(lambda: "fe80" in fixed6.sh("ip -6 addr show dev brnat -tentative"))
        own = re.search(r"fe80::[0-9a-f:]+", fixed6.sh("ip -6 addr show dev brnat"))[0]
        assert guest.ping(f"{own}%eth0").returncode != 0
    else:
        guest = guest6(fixed6)
        assert guest.space.run("socat", "-T1", "-", f"TCP6:[{WORLD}]:80,connect-timeout=1", input="", check=False).returncode != 0
    for _ in range(6):  # a cure a line; an answer's turn comes when its question passes
        cures = [line.split("to let it pass: ")[1] for line in said.splitlines() if "to let it pass: " in line]
        if not cures:
            break
        fixed6.sh("\n".join(cures))
        said = fixed6.vmwire("up").stderr
    assert said == ""
    has_all(fixed6, guest)
    assert found(fixed6) == []
    guest.close()


def test_bridged_ipv6_that_meets_the_firewall_is_named(fixed6):
    """br_netfilter: frames between the ports of a bridge go through ip6tables, and only where that is switched on."""
    fixed6.config("networks:\n  brext:\n    mode: bridged\n    uplink: re0\n")
    fixed6.sh("ip6tables-legacy -P FORWARD DROP; sysctl -qw net.bridge.bridge-nf-call-ip6tables=0")
    assert fixed6.vmwire("up").stderr == "" and found(fixed6) == []
    fixed6.sh("sysctl -qw net.bridge.bridge-nf-call-ip6tables=1")
    said = fixed6.vmwire("up").stderr
    assert "drops guests' neighbour solicitations, " in said and "ip6tables-legacy -I FORWARD -i brext -o brext -j ACCEPT" in said
    row, = found(fixed6)
    assert row["code"] == "bridge-netfilter" and row["cure"] == "sysctl -w net.bridge.bridge-nf-call-ip6tables=0"
    guest = Guest(fixed6, "brext", address="2001:db8:1::77/64")
    assert guest.ping("2001:db8:1::1").returncode != 0
    fixed6.sh(row["cure"])
    fixed6.wait_for(lambda: guest.ping("2001:db8:1::1").returncode == 0)
    assert found(fixed6) == []
    guest.close()
