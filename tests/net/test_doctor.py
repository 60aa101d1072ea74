"""doctor: no finding on healthy hosts; each break alone is its first finding, and so in `status`."""
import json
import signal
import subprocess
import time

import pytest

from conftest import VMWIRE
from guests import Guest, unlock
from test_probe import serve_names

MAC, OTHER_MAC = "00:a0:98:1b:c8:07", "00:a0:98:1b:c8:08"


def doctor(host, *args):
    done = host.vmwire("doctor", *args, "--json", check=False)
    assert done.stderr == "" and done.returncode in (0, 1), (done.stdout, done.stderr)
    told = json.loads(done.stdout)["findings"]
    assert (done.returncode == 1) == any(f["severity"] == "error" for f in told), told
    return told


def first(host, *args):
    told = doctor(host, *args)
    assert told, "nothing was found"
    return told[0]["code"], told[0]["evidence"]


def codes(host, *args):
    return [finding["code"] for finding in doctor(host, *args)]


def nft(space, text):
    space.run("nft", "-f", "-", input=text)


def resolvers(host, text):
    (host.directory / "resolv.conf").write_text(text)
    host.sh(f"mount --bind {host.directory}/resolv.conf $(readlink -f /etc/resolv.conf)")


@pytest.fixture
def nat(host):
    host.router = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.router.sh("ip addr add 8.8.8.8/32 dev lo")
    resolvers(host, "nameserver 8.8.8.8\n")
    host.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24}\n")
    host.vmwire("up")
    return host


@pytest.fixture
def bridged(host):
    host.router = host.uplink("re1", "192.168.87.44/24", "192.168.87.1/24")
    host.config("networks:\n  brext: {mode: bridged, uplink: re1, address: keep}\n")
    host.vmwire("up")
    return host


@pytest.fixture
def guest(nat):
    nat.guest = Guest(nat, "brnat", mac=MAC)
    nat.address = nat.guest.lease()
    assert nat.guest.ping("10.0.0.1").returncode == 0
    yield nat
    nat.guest.close()


# ---- healthy ----

def test_a_healthy_nat_network(nat):
    assert doctor(nat) == []


def test_a_healthy_guest_on_nat(guest):
    assert doctor(guest) == [] and doctor(guest, "brnat") == []


def test_a_healthy_nat_network_with_a_named_uplink(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    resolvers(host, "nameserver 192.168.87.1\n")
    host.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: re0}\n")
    host.vmwire("up")
    assert doctor(host) == []


@pytest.mark.parametrize("address", ["keep", "none", "192.168.87.50/24"])
def test_a_healthy_bridged_network(host, address):
    host.uplink("re1", None if address == "none" else "192.168.87.44/24", "192.168.87.1/24")
    host.config(f"networks:\n  brext: {{mode: bridged, uplink: re1, address: {address}}}\n")
    host.vmwire("up")
    assert doctor(host) == []


def test_a_healthy_guest_on_a_bridged_network(bridged):
    guest = Guest(bridged, "brext", mac=MAC, address="192.168.87.47/24", gateway="192.168.87.1")
    assert guest.ping("192.168.87.1").returncode == 0
    found = doctor(bridged)
    guest.close()
    assert found == []


def test_both_at_once_and_an_innocent_firewall(bridged):
    bridged.config("networks:\n  brext: {mode: bridged, uplink: re1, address: keep}\n  brnat: {mode: nat, subnet: 10.0.0.0/24}\n")
    resolvers(bridged, "nameserver 192.168.87.1\n")
    bridged.vmwire("up")
    nft(bridged, """table inet fine {
        set bad { type ipv4_addr; flags interval; elements = { 203.0.113.0/24, 198.51.100.7 }; }
        chain in { type filter hook input priority filter; policy drop;
            iif lo accept
            ct state established,related accept
            iifname { "brnat", "brext" } accept
        }
        chain fw { type filter hook forward priority filter; policy drop;
            ct state vmap { established : accept, related : accept, invalid : drop }
            ip daddr @bad drop
            tcp dport 25 reject
            iifname "br*" counter accept
        }
    }""")
    bridged.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    assert doctor(bridged) == []


def test_no_file_and_nothing_up(host):
    assert doctor(host) == []


@pytest.mark.parametrize("keys", ["dns: off", "dhcp: off", "dns: off, dhcp: off", "dns: {upstream: 192.0.2.1}"])
def test_a_healthy_network_without_services(host, keys):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    resolvers(host, "nameserver 192.168.87.1\n" if "upstream" not in keys else "")
    host.config(f"networks:\n  brnat: {{mode: nat, subnet: 10.0.0.0/24, {keys}}}\n")
    host.vmwire("up")
    assert doctor(host) == []


def test_a_healthy_network_that_shares_a_mac(host):
    host.uplink("re1", "192.168.87.44/24", "192.168.87.1/24")
    host.config("networks:\n  brext: {mode: bridged, uplink: re1, address: keep, mac: shared}\n")
    host.vmwire("up")
    guest = Guest(host, "brext", mac=MAC, address="192.168.87.47/24", gateway="192.168.87.1")
    assert guest.ping("192.168.87.1", count=3).returncode == 0
    found = doctor(host)
    guest.close()
    assert found == []


MODES = ["{mode: routed, subnet: 10.0.0.0/24}", "{mode: routed, subnet: 10.0.0.0/24, uplink: re0}",
         "{mode: isolated, subnet: 10.0.0.0/24}", "{mode: isolated, host: no}"]


@pytest.mark.parametrize("keys", MODES)
def test_healthy_networks_of_other_modes(host, keys):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    resolvers(host, "nameserver 192.168.87.1\n")
    host.config(f"networks:\n  brnat: {keys}\n")
    host.vmwire("up")
    guest = Guest(host, "brnat", mac=MAC)
    if "host: no" not in keys:
        guest.lease()
        assert guest.ping("10.0.0.1").returncode == 0
    found = doctor(host)
    guest.close()
    assert found == []


@pytest.mark.parametrize("keys", MODES[1:3])
@pytest.mark.parametrize("breakage, code", [("kill -9 $(cat /run/vmwire/network/brnat/dnsmasq.pid); sleep 0.3", "dnsmasq-dead"),
                                            ("ip addr del 10.0.0.1/24 dev brnat", "bridge-address-missing"),
                                            ("ip addr add 10.0.0.77/16 dev re0", "subnet-overlap"),
                                            ("ip link set dev brnat arp off", "arp-off")])
def test_breaks_of_other_modes(host, keys, breakage, code):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    resolvers(host, "nameserver 192.168.87.1\n")
    host.config(f"networks:\n  brnat: {keys}\n")
    host.vmwire("up")
    host.sh(breakage)
    assert first(host)[0] == code


def test_a_healthy_forward(nat):
    nat.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, forward: [tcp 8080 -> 10.0.0.2:80]}\n")
    nat.vmwire("up")
    guest = Guest(nat, "brnat", mac=MAC, address="10.0.0.2/24", gateway="10.0.0.1")
    assert guest.ping("10.0.0.1").returncode == 0
    found = doctor(nat)
    guest.close()
    assert found == []


def test_a_forward_to_nobody(nat):
    nat.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, forward: [tcp 8080 -> 10.0.0.2:80]}\n")
    nat.vmwire("up")
    guest = Guest(nat, "brnat", mac=MAC, address="10.0.0.3/24", gateway="10.0.0.1")
    nat.router.sh("busybox nc -w 1 192.168.87.44 8080 </dev/null || true")
    nat.wait_for(lambda: "FAILED" in nat.sh("ip neigh show 10.0.0.2 dev brnat"))
    code, evidence = first(nat)
    guest.close()
    assert code == "forward-target-silent" and "10.0.0.2" in evidence


def test_a_forward_at_an_address_that_the_host_has_not(nat):
    config = (nat.directory / "vmwire.yaml").read_text()
    forward = "forward: [tcp 127.0.0.1:80 -> 10.0.0.2, tcp 192.168.87.44:81 -> 10.0.0.2:80, tcp 0.0.0.0:82 -> 10.0.0.2:80%s]"
    nat.config(config.replace("subnet: 10.0.0.0/24", "subnet: 10.0.0.0/24, " + forward % ""))
    nat.vmwire("up")
    assert doctor(nat) == []
    nat.config(config.replace("subnet: 10.0.0.0/24", "subnet: 10.0.0.0/24, " + forward % ", tcp 192.168.87.99:90 -> 10.0.0.2"))
    nat.vmwire("up")
    code, evidence = first(nat)
    assert code == "forward-address-missing" and evidence == "tcp 192.168.87.99:90 -> 10.0.0.2:90: the host has no address 192.168.87.99"
    nat.sh("ip addr add 192.168.87.99/24 dev re0")
    assert doctor(nat) == []


def test_it_is_fast(guest):
    times = []
    for _ in range(5):
        start = time.monotonic()
        guest.vmwire("doctor")
        times.append(time.monotonic() - start)
    assert min(times) < 0.2  # nsenter among it; the figure itself is the benchmark's


def test_text(guest):
    assert "nothing is wrong" in guest.vmwire("doctor").stdout
    guest.sh("sysctl -qw net.ipv4.ip_forward=0")
    done = guest.vmwire("doctor", "brnat", check=False)
    assert done.returncode == 1
    assert "error: the host: the host does not forward  [forwarding-off]" in done.stdout
    assert "seen: net.ipv4.ip_forward is 0" in done.stdout and "cure: sysctl -w net.ipv4.ip_forward=1" in done.stdout


def test_status_has_the_findings(guest):
    guest.sh("sysctl -qw net.ipv4.ip_forward=0")
    done = guest.vmwire("status", "--json", check=False)
    assert done.returncode == 3
    assert json.loads(done.stdout)["findings"][0]["code"] == "forwarding-off"
    said = guest.vmwire("status", check=False).stdout
    assert "error: the host: the host does not forward  [forwarding-off]" in said


def test_wrong_command_lines(nat):
    assert nat.vmwire("doctor", "brnat", "more", check=False).returncode == 2
    done = nat.vmwire("doctor", "nobody", check=False)
    assert done.returncode == 1 and "there is brnat" in done.stderr


# ---- what vmwire made, and the uplink ----

def test_network_down(nat):
    nat.vmwire("down")
    assert first(nat)[0] == "network-down"


def test_bridge_gone(nat):
    nat.sh("ip link del dev brnat")
    assert first(nat)[0] == "bridge-missing"


def test_bridge_down(nat):
    nat.sh("ip link set dev brnat down")
    assert first(nat)[0] == "bridge-down"


def test_a_foreign_interface_has_the_name(nat):
    nat.vmwire("down")
    nat.sh("ip link add brnat type bridge")
    assert first(nat)[0] == "bridge-foreign"


def test_uplink_gone(bridged):
    bridged.router.sh("ip link del dev far")
    assert first(bridged)[0] == "uplink-missing"


def test_uplink_down(bridged):
    bridged.sh("ip link set dev re1 down")
    assert first(bridged)[0] == "uplink-down"


def test_uplink_without_carrier(bridged):
    bridged.router.sh("ip link set dev far down")
    assert first(bridged)[0] == "uplink-no-carrier"


def test_uplink_without_carrier_on_nat(nat):
    nat.router.sh("ip link set dev far down")
    assert first(nat)[0] == "uplink-no-carrier"


def test_uplink_unplugged(bridged):
    bridged.sh("ip link set dev re1 nomaster")
    assert first(bridged)[0] == "uplink-unplugged"


def test_uplink_in_another_bridge(bridged):
    bridged.sh("ip link set dev re1 nomaster; ip link add other type bridge; ip link set dev re1 master other")
    code, evidence = first(bridged)
    assert code == "uplink-unplugged" and "'other'" in evidence


def blocked(host, bridge, port):
    """Its spanning tree listens on the port first, for a quarter of a minute."""
    host.sh(f"ip link set dev {port} down; ip link set dev {bridge} type bridge forward_delay 1500 stp_state 1;"
            f"ip link set dev {port} up")
    host.wait_for(lambda: "state listening" in host.sh(f"bridge -d link show dev {port}"))
    code, evidence = first(host)
    assert code == "port-blocked" and "listening" in evidence


def test_uplink_port_blocked(bridged):
    blocked(bridged, "brext", "re1")


def test_uplink_port_locked(bridged):
    bridged.sh("bridge link set dev re1 locked on")
    assert first(bridged)[0] == "port-restricted"


def test_uplink_address(bridged):
    bridged.sh("ip addr add 192.168.99.2/24 dev re1")
    assert "uplink-address" in codes(bridged)


def test_mtu_mismatch(bridged):
    bridged.sh("ip link set dev re1 mtu 1400; ip link set dev brext mtu 1500")
    assert first(bridged)[0] in ("mtu-mismatch", "network-drifted") and "mtu-mismatch" in codes(bridged)


# ---- guests ----

def test_two_guests_with_one_mac(guest):
    twin = Guest(guest, "brnat", machine="vm1", mac=OTHER_MAC, address="10.0.0.3/24")
    guest.sh(f"ip link set dev {twin.tap} alias 'vmwire:brnat vm1/0 {MAC}'")
    code, evidence = first(guest)
    twin.close()
    assert code == "mac-duplicate" and MAC in evidence and "'vm1'" in evidence


def test_a_guest_uses_anothers_mac(guest):
    unlock(guest)
    twin = Guest(guest, "brnat", machine="vm1", mac=OTHER_MAC, address="10.0.0.3/24")
    twin.space.sh(f"ip link set dev eth0 address {MAC}")
    told = []

    def seen():  # each frame of either guest moves the MAC to its port: the doctor sees the last one's
        twin.ping("10.0.0.1")
        told[:] = first(guest)
        return told[0] == "mac-duplicate"

    guest.wait_for(seen)
    twin.close()
    assert twin.tap in told[1]


def test_two_guests_with_one_address(guest):
    twin = Guest(guest, "brnat", machine="vm1", mac=OTHER_MAC, address=f"{guest.address}/24")
    guest.guest.space.sh("ip addr flush dev eth0")  # so that the other one answers
    guest.sh("ip neigh flush dev brnat")
    guest.wait_for(lambda: twin.ping("10.0.0.1") and OTHER_MAC in guest.sh(f"ip neigh show {guest.address} dev brnat"))
    code, evidence = first(guest)
    twin.close()
    assert code == "address-duplicate" and guest.address in evidence and OTHER_MAC in evidence


def test_nic_unplugged(guest):
    guest.sh(f"ip link set dev {guest.guest.tap} nomaster")
    assert first(guest)[0] == "nic-unplugged"


def test_nic_down(guest):
    guest.sh(f"ip link set dev {guest.guest.tap} down")
    assert first(guest)[0] == "nic-down"


def test_nic_blocked(guest):
    blocked(guest, "brnat", guest.guest.tap)


def test_driver_never_came_up(nat):
    guest = Guest(nat, "brnat", mac=MAC)
    guest.process.send_signal(signal.SIGSTOP)
    dead = nat.popen(VMWIRE, "exec", "--nic", f"brnat,mac={OTHER_MAC},vnet_hdr=off", "--", "sleep", "infinity")
    nat.wait_for(lambda: "tap1" in nat.sh("ip -br link"))
    nat.sh("ip link set dev tap1 txqueuelen 1; ip addr add 10.0.0.9/32 dev lo; for i in $(seq 20); do ping -b -c1 -W0.01 10.0.0.255 || true; done")
    guest.process.send_signal(signal.SIGCONT)
    guest.close()
    found = doctor(nat)
    dead.kill()
    dead.wait()
    assert found and found[0]["code"] == "guest-driver-down" and "tap1" in found[0]["evidence"], found


def test_guest_silent(guest):
    silent = nat_silent(guest)
    found = [f for f in doctor(guest) if f["code"] == "guest-silent"]
    silent.kill()
    silent.wait()
    assert found and "machine 'vm9'" == found[0]["subject"]


def nat_silent(host):
    """A nic of a machine whose guest never sends."""
    process = host.popen(VMWIRE, "exec", "--nic", f"brnat,mac={OTHER_MAC},vnet_hdr=off", "--", "sleep", "infinity")
    host.wait_for(lambda: OTHER_MAC in host.sh("ip link show type tun"))
    tap = next(row["ifname"] for row in json.loads(host.sh("ip -j link")) if OTHER_MAC in row.get("ifalias", ""))
    host.sh(f"ip link set dev {tap} alias 'vmwire:brnat vm9/0 {OTHER_MAC}'")
    return process


def test_machine_stopped(nat):
    nat.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24}\n"
               "machines:\n  vm0: {memory: 64M, nics: [{network: brnat}]}\n")
    nat.vmwire("up")
    assert doctor(nat) == []
    assert first(nat, "vm0")[0] == "machine-stopped"


# ---- addresses and routes ----

def test_subnet_overlap(nat):
    nat.sh("ip addr add 10.0.0.77/16 dev re0")
    code, evidence = first(nat)
    assert code == "subnet-overlap" and "10.0.0.77/16" in evidence and "'re0'" in evidence


def test_bridge_address_missing(nat):
    nat.sh("ip addr del 10.0.0.1/24 dev brnat")
    assert first(nat)[0] == "bridge-address-missing"


@pytest.mark.parametrize("route", ["10.0.0.0/24 dev re0 metric 0", "10.0.0.0/25 dev re0", "10.0.0.128/25 dev re0",
                                   "10.0.0.77/32 dev re0", "blackhole 10.0.0.0/25"])
def test_a_route_to_the_subnet_leads_elsewhere(nat, route):
    nat.sh(f"ip route prepend {route}")
    assert first(nat)[0] == "route-elsewhere"


def test_a_rule_takes_the_subnet_elsewhere(nat):
    nat.sh("ip route add default via 192.168.87.1 dev re0 table 7; ip rule add pref 100 to 10.0.0.0/24 lookup 7")
    assert first(nat)[0] == "route-elsewhere"


def test_forwarding_off(nat):
    nat.sh("sysctl -qw net.ipv4.ip_forward=0")
    assert first(nat)[0] == "forwarding-off"


@pytest.mark.parametrize("name", ["brnat", "re0"])
def test_forwarding_off_of_one_interface(nat, name):
    nat.sh(f"sysctl -qw net.ipv4.conf.{name}.forwarding=0")
    code, evidence = first(nat)
    assert code == "forwarding-off" and name in evidence


def test_no_default_route(nat):
    nat.sh("ip route del default")
    assert first(nat)[0] == "no-default-route"


@pytest.mark.parametrize("kind", ["blackhole", "prohibit", "unreachable"])
def test_a_route_refuses(nat, kind):
    nat.sh(f"ip route add {kind} 8.8.8.0/24")
    assert first(nat)[0] == "route-refused"


def test_a_rule_refuses(nat):
    nat.sh("ip rule add pref 100 from 10.0.0.0/24 prohibit")
    assert first(nat)[0] == "route-refused"


def test_uplink_not_routed(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.uplink("re1", "192.168.88.44/24", "192.168.88.1/24")
    resolvers(host, "nameserver 192.168.87.1\n")
    host.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: re1}\n")
    host.vmwire("up")
    code, evidence = first(host)
    assert code == "uplink-not-routed" and "'re0'" in evidence and "'re1'" in evidence


def test_policy_routing_is_no_fault(nat):
    """The guests' way out has a table of its own, and the kernel's path filter knows it."""
    nat.uplink("re9", "192.168.99.44/24", "192.168.99.1/24")
    nat.sh("ip route add default via 192.168.99.1 dev re9 table 9; ip rule add pref 90 iif brnat lookup 9;"
           "sysctl -qw net.ipv4.conf.re9.rp_filter=1 net.ipv4.conf.all.rp_filter=1")
    assert doctor(nat) == []


def test_arp_off(nat):
    nat.sh("ip link set dev brnat arp off")
    assert first(nat)[0] == "arp-off"


def test_arp_ignored(nat):
    nat.sh("sysctl -qw net.ipv4.conf.brnat.arp_ignore=8")
    assert first(nat)[0] == "arp-off"


def test_arp_firewalled(nat):
    nft(nat, "table arp foreign {\nchain in {\ntype filter hook input priority 0\narp daddr ip 10.0.0.1 drop\n}\n}\n")
    code, evidence = first(nat)
    assert code == "arp-off" and "table 'arp foreign', chain 'in', rule 'arp daddr ip 10.0.0.1 drop'" in evidence


@pytest.mark.parametrize("entry", ["192.168.87.1 dev re0", "10.0.0.10 dev brnat"])
def test_a_neighbour_entry_made_by_hand(nat, entry):
    nat.sh(f"ip neigh replace {entry.replace(' dev', ' lladdr 02:00:00:00:00:01 nud permanent dev')}")
    told = doctor(nat)
    assert [f["code"] for f in told] == ["neighbour-fixed"] and told[0]["severity"] == "warning"


def test_a_neighbour_entry_with_another_mac(guest):
    guest.sh(f"ip neigh replace {guest.address} lladdr 02:00:00:00:00:01 nud permanent dev brnat")
    code, evidence = first(guest)
    assert code == "address-conflict" and "made by hand" in evidence


def test_a_guest_with_the_bridges_mac(nat):
    mac = json.loads(nat.sh("ip -j link show dev brnat"))[0]["address"]
    guest = Guest(nat, "brnat", mac=MAC)  # `exec` itself refuses such a nic
    nat.sh(f"ip link set dev {guest.tap} alias 'vmwire:brnat vm0/0 {mac}'")
    code, evidence = first(nat)
    guest.close()
    assert code == "mac-duplicate" and "the host's own" in evidence


def test_router_silent(nat):
    nat.router.sh("ip link set dev far arp off")
    nat.sh("ip neigh flush dev re0; ping -c1 -W1 192.168.87.1 || true")
    nat.wait_for(lambda: "FAILED" in nat.sh("ip neigh show dev re0") or "INCOMPLETE" in nat.sh("ip neigh show dev re0"))
    code, evidence = first(nat)
    assert code == "router-silent" and "192.168.87.1" in evidence


# ---- firewalls ----

DOCKER = """
iptables -P FORWARD DROP
iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -A DOCKER-USER -j RETURN
iptables -N DOCKER-ISOLATION-STAGE-1; iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j RETURN; iptables -A DOCKER-ISOLATION-STAGE-1 -j RETURN
iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -N DOCKER; iptables -A FORWARD -o docker0 -j DOCKER
iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT; iptables -A FORWARD -i docker0 -o docker0 -j ACCEPT
iptables -t nat -N DOCKER; iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
"""


@pytest.mark.parametrize("iptables", ["iptables-nft", "iptables-legacy"])
def test_dockers_policy(nat, iptables):
    nat.sh(DOCKER.replace("iptables ", iptables + " "))
    code, evidence = first(nat)
    assert code == "forward-refused" and "table 'ip filter', chain 'FORWARD', by its policy (Docker's)" in evidence
    assert doctor(nat)[0]["cure"] == ("vmwire up brnat" if iptables == "iptables-nft" else "iptables-legacy -I FORWARD -i brnat -j ACCEPT")
    if iptables == "iptables-nft":
        nat.vmwire("up")
    else:
        nat.sh(f"{iptables} -I DOCKER-USER -i brnat -j ACCEPT; {iptables} -I DOCKER-USER -o brnat -j ACCEPT")
    assert doctor(nat) == []


def ufw(host, forwarded="REJECT"):
    """ufw's own rules, as its own program loads them, from a copy of its configuration."""
    host.sh("mkdir -p /run/ufw-etc && cp -a /etc/ufw/. /run/ufw-etc && mount --bind /run/ufw-etc /etc/ufw;"
            f"sed s/^DEFAULT_FORWARD_POLICY=.*/DEFAULT_FORWARD_POLICY={forwarded}/ /etc/default/ufw >/run/ufw-default;"
            "mount --bind /run/ufw-default /etc/default/ufw;"
            "sed -i s/ENABLED=no/ENABLED=yes/ /etc/ufw/ufw.conf; sed -i /^net/d /etc/ufw/sysctl.conf;"
            "/lib/ufw/ufw-init start")


@pytest.mark.parametrize("forwarded, where", [("REJECT", "chain 'ufw-reject-forward'"),
                                              ("DROP", "chain 'FORWARD', by its policy")])
def test_ufw(nat, forwarded, where):
    before = nat.sh("sysctl net.ipv4.ip_forward")
    ufw(nat, forwarded)
    assert nat.sh("sysctl net.ipv4.ip_forward") == before
    code, evidence = first(nat)
    assert code == "forward-refused" and where in evidence and "(ufw's)" in evidence
    told = {finding["code"]: finding for finding in doctor(nat)}
    assert "chain 'ufw-" in told["service-refused"]["evidence"] and told["forward-refused"]["cure"] == "vmwire up brnat"
    nat.vmwire("up")
    assert doctor(nat) == []


@pytest.mark.parametrize("rule, part", [
    ("ip daddr 8.8.8.8 counter drop", "rule 'ip daddr 8.8.8.8 counter drop"),
    ("iifname brnat reject", "rule 'iifname \"brnat\" reject"),
    ("meta l4proto { tcp, udp } th dport { 53, 443 } drop", "drop'"),
    ("ip saddr 10.0.0.0/8 ip daddr != 192.168.0.0/16 drop", "drop'"),
    ("ct state new drop", "ct state new drop"),
    ("iifname . oifname { \"brnat\" . \"re0\" } drop", "drop'"),
    ("iifname vmap { \"brnat\" : drop, \"other\" : accept }", "vmap"),
])
def test_a_foreign_rule(nat, rule, part):
    nft(nat, f"table inet foreign {{\nchain fw {{\ntype filter hook forward priority 10\n{rule}\n}}\n}}\n")
    code, evidence = first(nat)
    assert code == "forward-refused" and "table 'inet foreign', chain 'fw'" in evidence and part in evidence


@pytest.mark.parametrize("rule", [
    "ip daddr 8.8.4.4 drop", "tcp dport 25 drop", "iifname \"other\" drop", "ip saddr 10.0.1.0/24 drop", "ct state invalid drop",
    "iifname \"brnat\" accept", "limit rate 5/second log prefix \"x\"", "ip protocol esp drop", "oifname != \"re*\" oifname != \"br*\" drop",
])
def test_an_innocent_rule(nat, rule):
    nft(nat, f"table inet foreign {{\nchain fw {{\ntype filter hook forward priority 10\n{rule}\n}}\n}}\n")
    assert doctor(nat) == []


def test_a_rule_about_one_guest(guest):
    nft(guest, f"table inet foreign {{\nchain fw {{\ntype filter hook forward priority 10\nip saddr {guest.address} drop\n}}\n}}\n")
    code, evidence = first(guest)
    assert code == "forward-refused" and guest.address in evidence


def test_a_rule_that_nobody_can_judge(nat):
    nft(nat, "table inet foreign {\nchain fw {\ntype filter hook forward priority 10\nlimit rate over 5/second drop\n}\n}\n")
    told = doctor(nat)
    assert [f["code"] for f in told] == ["firewall-unknown"] and told[0]["severity"] == "note" and "limit" in told[0]["evidence"]


def test_a_chain_in_prerouting(nat):
    nft(nat, "table inet raw {\nchain pre {\ntype filter hook prerouting priority -300\niifname brnat ip daddr 8.8.8.8 drop\n}\n}\n")
    assert first(nat)[0] == "forward-refused"


def test_the_answers_are_dropped(nat):
    nft(nat, "table inet foreign {\nchain fw {\ntype filter hook forward priority 10\nct state established iifname re0 drop\n}\n}\n")
    code, evidence = first(nat)
    assert code == "forward-refused" and "answers" in evidence


@pytest.mark.parametrize("port", [67, 53])
def test_services_firewalled(nat, port):
    nft(nat, f"table inet foreign {{\nchain in {{\ntype filter hook input priority 10\nudp dport {port} drop\n}}\n}}\n")
    code, evidence = first(nat)
    assert code == "service-refused" and f"udp dport {port} drop" in evidence


def test_input_policy(nat):
    nft(nat, "table inet foreign {\nchain in {\ntype filter hook input priority 0; policy drop;\niif lo accept\nct state established accept\n}\n}\n")
    code, evidence = first(nat)
    assert code == "service-refused" and "chain 'in', by its policy" in evidence


def test_bridge_netfilter(bridged):
    bridged.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
    assert doctor(bridged) == []
    bridged.sh("iptables -P FORWARD DROP")
    code, evidence = first(bridged)
    assert code == "bridge-netfilter" and "chain 'FORWARD', by its policy" in evidence
    bridged.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    assert doctor(bridged) == []


def test_a_bridge_chain(bridged):
    nft(bridged, "table bridge foreign {\nchain fw {\ntype filter hook forward priority 0\nip protocol icmp drop\n}\n}\n")
    code, evidence = first(bridged)
    assert code == "bridge-refused" and "rule 'ip protocol icmp drop'" in evidence


def test_a_chain_at_the_uplink(bridged):
    nft(bridged, "table netdev foreign {\nchain in {\ntype filter hook ingress device re1 priority 0\narp operation reply drop\nudp dport 68 drop\nip protocol icmp drop\n}\n}\n")
    assert first(bridged)[0] == "bridge-refused"


def test_masquerade_missing(nat):
    nat.sh("nft flush chain inet vmwire postrouting")
    assert first(nat)[0] == "masquerade-missing"


def test_masquerade_missing_with_the_table(nat):
    nat.sh("nft delete table inet vmwire")
    assert first(nat)[0] == "masquerade-missing"


def test_conntrack_full(nat):
    limit = int(nat.sh("sysctl -n net.netfilter.nf_conntrack_max"))
    count = int(nat.sh("sysctl -n net.netfilter.nf_conntrack_count"))
    assert count < limit
    # The limit is the machine's, not the namespace's: it is shown smaller instead.
    fake = nat.directory / "max"
    fake.write_text(f"{max(count, 0)}\n" if count else "1\n")
    nat.sh("ping -c1 -W1 8.8.8.8 >/dev/null; ping -c1 -W1 192.168.87.1 >/dev/null || true")
    fake.write_text("1\n")
    nat.sh(f"mount --bind {fake} /proc/sys/net/netfilter/nf_conntrack_max")
    code, evidence = first(nat)
    assert code == "conntrack-full" and "and 1 can be" in evidence


def test_no_tun(nat):
    nat.sh("mount -t tmpfs tmpfs /dev/net")
    code, evidence = first(nat)
    assert code == "kernel-feature-missing" and "/dev/net/tun" in evidence


def test_a_guest_that_speaks_and_nobody_knows(nat):
    guest = Guest(nat, "brnat", mac=MAC)
    guest.space.sh("ip addr add 192.168.5.5/24 dev eth0; ping -c1 -W1 192.168.5.6 || true")
    told = doctor(nat)
    guest.close()
    assert [(f["code"], f["severity"]) for f in told] == [("nic-locked", "warning"), ("guest-no-lease", "note")]
    assert "192.168.5.5" in told[0]["evidence"]


def test_packet_program(nat):
    nat.sh("tc qdisc add dev re0 clsact")
    told = doctor(nat)
    assert [f["code"] for f in told] == ["packet-program"] and told[0]["severity"] == "note"


# ---- services ----

def test_dnsmasq_dead(nat):
    nat.sh("kill -9 $(cat /run/vmwire/network/brnat/dnsmasq.pid)")
    nat.wait_for(lambda: ":53" not in nat.sh("ss -Hlnu"))
    assert first(nat)[0] == "dnsmasq-dead"


def test_dnsmasq_stopped(nat):
    nat.sh("kill -STOP $(cat /run/vmwire/network/brnat/dnsmasq.pid)")
    assert first(nat)[0] == "dnsmasq-stopped"


def test_port_53_taken(nat):
    nat.sh("kill -9 $(cat /run/vmwire/network/brnat/dnsmasq.pid)")
    nat.wait_for(lambda: ":53" not in nat.sh("ss -Hlnu"))
    other = nat.popen("socat", "UDP-RECVFROM:53,bind=10.0.0.1,fork", "EXEC:/bin/true")
    nat.wait_for(lambda: "10.0.0.1:53" in nat.sh("ss -Hlnu"))
    code, evidence = first(nat)
    other.kill()
    other.wait()
    assert code == "dnsmasq-port-taken" and "socat" in evidence and "53" in evidence


def test_port_67_shared(nat):
    """Alive, and another program has bound as much of its port: the packets go to that."""
    other = nat.popen("socat", "UDP-RECVFROM:67,so-bindtodevice=brnat,reuseaddr,reuseport,fork", "EXEC:/bin/true",
                      stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    if other.poll() is not None:
        pytest.skip("the port cannot be shared")
    code, evidence = first(nat)
    other.kill()
    other.wait()
    assert code == "dnsmasq-port-taken" and "socat" in evidence and "67" in evidence


def test_other_resolvers_are_no_conflict(nat):
    other = nat.popen("socat", "UDP-RECVFROM:53,bind=127.0.0.53,fork", "EXEC:/bin/true")
    nat.wait_for(lambda: "127.0.0.53:53" in nat.sh("ss -Hlnu"))
    found = doctor(nat)
    other.kill()
    other.wait()
    assert found == []


def test_no_name_server(nat):
    resolvers(nat, "# nobody\n")
    told = doctor(nat)
    assert [f["code"] for f in told] == ["dns-no-upstream"] and told[0]["severity"] == "warning"


def test_range_exhausted(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    resolvers(host, "nameserver 192.168.87.1\n")
    host.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, dhcp: 10.0.0.10-10.0.0.10}\n")
    host.vmwire("up")
    guest = Guest(host, "brnat", mac=MAC)
    guest.lease()
    guest.ping("10.0.0.1")
    code, _ = first(host)
    guest.close()
    assert code == "dhcp-exhausted"


@pytest.fixture
def leased(host):
    router = host.uplink("re1", None, "192.168.87.1/24")
    router.popen("dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=far", "--bind-interfaces", "--no-ping",
                 "--dhcp-range=192.168.87.100,192.168.87.200", "--dhcp-leasefile=/run/leases", "--pid-file=",
                 stderr=subprocess.DEVNULL)
    host.wait_for(lambda: ":67" in router.sh("ss -Hlnu"))
    host.config("networks:\n  brext: {mode: bridged, uplink: re1, address: dhcp}\n")
    host.vmwire("up")
    host.wait_for(lambda: "inet 192.168.87." in host.sh("ip -4 addr show dev brext"))
    return host


def test_a_healthy_bridged_network_with_dhcp(leased):
    assert doctor(leased) == []


def test_dhcp_client_without_a_lease(leased):
    leased.sh("ip -4 addr flush dev brext")
    assert first(leased)[0] == "dhcp-client-no-lease"


def test_dhcp_client_dead(leased):
    leased.sh("P=$(cat /run/vmwire/network/brext/dhcp-client.pid); kill -9 $P; while kill -0 $P 2>/dev/null; do sleep 0.05; done")
    assert first(leased)[0] == "dhcp-client-dead"
