"""A nat network as its guests see it: lease, DNS, the way out, and nothing that comes in unasked."""
import json
import subprocess

import pytest

NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
EVENT = """#!/bin/sh
env | grep -E '^(ip|mask|router|dns|domain|mtu|lease)=' > {out}
[ "$1" = bound ] && ip addr add $ip/$mask dev $interface && ip route add default via $router
exit 0
"""


def guest_on(host, bridge, name, mac=None):
    """A namespace as guest: the far end of a veth that is a port of `bridge`; asks for a lease."""
    guest = host.uplink(name)
    if mac:
        guest.sh(f"ip link set dev far address {mac}")
    host.sh(f"ip link set dev {name} master {bridge}")
    script = host.directory / f"{name}.event"
    out = host.directory / f"{name}.lease"
    script.write_text(EVENT.format(out=out))
    script.chmod(0o755)
    guest.run("busybox", "udhcpc", "-i", "far", "-n", "-q", "-t", "5", "-T", "1", "-s", script, "-x", f"hostname:{name}",
              "-O", "mtu")
    return guest, dict(line.split("=", 1) for line in out.read_text().splitlines())


@pytest.fixture
def nat(host):
    host.outside = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24", mtu=1400)
    host.config(NAT)
    host.vmwire("up")
    return host


def test_lease_has_gateway_dns_domain_and_mtu(nat):
    _, lease = guest_on(nat, "brnat", "guest")
    assert lease["router"] == lease["dns"] == "10.0.0.1"
    assert lease["mask"] == "24" and lease["mtu"] == "1400" and lease["domain"] == "brnat"
    told = json.loads(nat.vmwire("leases", "--json").stdout)["networks"][0]["leases"]
    assert [(row["address"], row["hostname"]) for row in told] == [(lease["ip"], "guest")]
    assert lease["ip"] in nat.vmwire("leases", "brnat").stdout


def test_guest_reaches_out_under_the_hosts_address(nat):
    guest, _ = guest_on(nat, "brnat", "guest")
    watch = nat.outside.popen("tcpdump", "-lnni", "far", "-c", "1", "icmp", stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    watch.stderr.readline(), watch.stderr.readline()
    guest.sh("ping -c 2 -W 2 192.168.87.1")
    assert "192.168.87.44 > 192.168.87.1" in watch.communicate(timeout=10)[0]


def test_guest_names_resolve(nat):
    guest, lease = guest_on(nat, "brnat", "guest")
    assert lease["ip"] in guest.sh("busybox nslookup guest.brnat 10.0.0.1")


STATIC = """machines:
  web.one:
    nics: [{network: brnat, mac: "00:a0:98:00:00:05", address: 10.0.0.5}]
  vm1:
    nics: [{network: brnat, mac: "00:a0:98:00:00:06"}]
"""


def test_a_nic_with_an_address_is_given_it_and_its_machines_name_resolves_before(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.config(NAT.replace("10.0.0.0/24\n", "10.0.0.0/24\n    dhcp: 10.0.0.100-10.0.0.200\n") + STATIC)
    host.vmwire("up")
    guest, _ = guest_on(host, "brnat", "other")
    assert "10.0.0.5" in guest.sh("busybox nslookup web-one.brnat 10.0.0.1")
    _, lease = guest_on(host, "brnat", "one", mac="00:a0:98:00:00:05")
    assert lease["ip"] == "10.0.0.5"
    _, lease = guest_on(host, "brnat", "two", mac="00:a0:98:00:00:06")
    assert lease["ip"] in guest.sh("busybox nslookup vm1.brnat 10.0.0.1")
    assert "nothing to do" in host.vmwire("up").stdout


def test_nothing_comes_in_unasked(nat):
    guest, lease = guest_on(nat, "brnat", "guest")
    nat.outside.sh("ip route add 10.0.0.0/24 via 192.168.87.44")
    assert nat.outside.run("ping", "-c", "1", "-W", "1", lease["ip"], check=False).returncode != 0
    server = guest.popen("busybox", "nc", "-l", "-p", "7777", stdin=subprocess.DEVNULL)
    assert nat.outside.run("busybox", "nc", "-w", "1", lease["ip"], "7777", input="x", check=False).returncode != 0
    server.kill()
    server.wait()


def test_networks_are_closed_to_each_other_and_open_inside(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.config(NAT + "  brtwo:\n    mode: nat\n    subnet: 10.0.2.0/24\n")
    host.vmwire("up")
    one, _ = guest_on(host, "brnat", "one")
    _, second = guest_on(host, "brnat", "two")
    _, third = guest_on(host, "brtwo", "three")
    assert one.run("ping", "-c", "1", "-W", "2", second["ip"], check=False).returncode == 0
    assert one.run("ping", "-c", "1", "-W", "1", third["ip"], check=False).returncode != 0


def test_a_named_uplink_is_the_only_way_out(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.uplink("re1", "172.20.0.2/24", "172.20.0.1/24")
    host.sh("ip route replace default via 192.168.87.1 dev re0")
    host.config(NAT + "    uplink: re0\n")
    host.vmwire("up")
    guest, _ = guest_on(host, "brnat", "guest")
    assert guest.run("ping", "-c", "1", "-W", "2", "192.168.87.1", check=False).returncode == 0
    assert guest.run("ping", "-c", "1", "-W", "1", "172.20.0.1", check=False).returncode != 0


def test_the_default_uplink_may_change(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    other = host.uplink("re1", "172.20.0.2/24")
    other.sh("ip addr add 172.20.0.1/24 dev far; ip addr add 8.8.8.8/32 dev lo")
    host.config(NAT)
    host.vmwire("up")
    guest, _ = guest_on(host, "brnat", "guest")
    assert guest.run("ping", "-c", "1", "-W", "1", "8.8.8.8", check=False).returncode != 0
    host.sh("ip route replace default via 172.20.0.1 dev re1")
    assert guest.run("ping", "-c", "1", "-W", "2", "8.8.8.8", check=False).returncode == 0
    assert "nothing to do" in host.vmwire("up").stdout


def test_bridge_netfilter_does_not_break_guest_to_guest(nat):
    nat.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true")
    one, _ = guest_on(nat, "brnat", "one")
    _, second = guest_on(nat, "brnat", "two")
    assert one.run("ping", "-c", "1", "-W", "2", second["ip"], check=False).returncode == 0


def test_dnsmasq_is_bound_to_the_bridge_and_runs_as_its_own_user(nat):
    listeners = nat.sh("ss -Hlnup 'sport = :53'; ss -Hlntp 'sport = :53'")
    assert "10.0.0.1:53" in listeners and "0.0.0.0:53" not in listeners and "127.0.0.1" not in listeners
    pid = nat.sh("cat /run/vmwire/network/brnat/dnsmasq.pid").strip()
    assert nat.sh(f"ps -o user= -p {pid}").strip() in ("dnsmasq", "nobody")
    assert nat.sh("stat -c '%a %U' /run/vmwire").strip() == "700 root"
    assert nat.sh("stat -c '%a' /run/vmwire/network/brnat/dnsmasq.conf").strip() == "600"


def test_no_process_of_ours_stays(nat):
    assert [c for _, c in nat.processes() if "dnsmasq" not in c] == []


def test_a_killed_server_leaves_nothing(host):
    before = host.snapshot()
    host.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24}\n")
    host.vmwire("up")
    host.kill_service("brnat", "dnsmasq")
    host.vmwire("up")  # and one that ended is started anew
    assert [c for _, c in host.processes() if "dnsmasq" in c]
    host.vmwire("plan", "--exit-code")
    host.kill_service("brnat", "dnsmasq")
    host.vmwire("down")
    assert host.snapshot() == before
