"""probe: a healthy network has no finding and takes less than two seconds; each break alone is the first finding."""
import json
import signal
import subprocess
import time

import pytest

from conftest import VMWIRE
from guests import Guest, unlock


def probe(host, network, *args):
    """The whole of the JSON, and how long it took."""
    start = time.monotonic()
    done = host.vmwire("probe", network, *args, "--json", check=False)
    took = time.monotonic() - start
    assert done.stderr == "" and done.returncode in (0, 1), (done.stdout, done.stderr)
    told = json.loads(done.stdout)
    assert (done.returncode == 1) == any(f["severity"] == "error" for f in told["findings"])
    return told, took


def first(host, network, *args):
    told, _ = probe(host, network, *args)
    assert told["findings"], told
    return told["findings"][0]["code"], told["findings"][0]["evidence"]


def serve_names(space, address):
    """A DNS server which knows one name."""
    space.popen("dnsmasq", "-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", f"--listen-address={address}",
                "--bind-interfaces", "--address=/example.com/192.0.2.1", "--pid-file=", stderr=subprocess.DEVNULL)
    while f"{address}:53" not in space.sh("ss -Hlnu"):
        time.sleep(0.05)


@pytest.fixture
def nat(host):
    host.router = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.router.sh("ip addr add 8.8.8.8/32 dev lo")
    serve_names(host.router, "8.8.8.8")
    (host.directory / "resolv.conf").write_text("nameserver 8.8.8.8\n")
    host.sh(f"mount --bind {host.directory}/resolv.conf $(readlink -f /etc/resolv.conf)")
    host.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24}\n")
    host.vmwire("up")
    return host


@pytest.fixture
def bridged(host):
    host.router = host.uplink("re1", "192.168.87.44/24", "192.168.87.1/24")
    host.router.sh("ip addr add 8.8.8.8/32 dev lo")
    serve_names(host.router, "8.8.8.8")
    host.dhcp = host.router.popen(
        "dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=far", "--bind-interfaces", "--no-ping",
        "--dhcp-range=192.168.87.100,192.168.87.200", "--dhcp-option=6,8.8.8.8", "--dhcp-leasefile=/run/leases",
        "--pid-file=", stderr=subprocess.DEVNULL)
    while ":67" not in host.router.sh("ss -Hlnu"):
        time.sleep(0.05)
    host.config("networks:\n  brext: {mode: bridged, uplink: re1, address: keep}\n")
    host.vmwire("up")
    return host


@pytest.fixture
def bridged6(bridged):
    """The same with a router that advertises itself, to the host too."""
    bridged.router.sh("sysctl -qw net.ipv6.conf.all.forwarding=1; ip addr add 2001:db8:87::1/64 dev far nodad; "
                      "ip addr add 2001:db8:8::8/128 dev lo")
    (bridged.directory / "radvd.conf").write_text(
        "interface far { AdvSendAdvert on; prefix 2001:db8:87::/64 {}; };\n")
    bridged.radvd = bridged.router.popen("radvd", "-n", "-C", bridged.directory / "radvd.conf", "-p", "/run/radvd.pid",
                                         stderr=subprocess.DEVNULL)
    bridged.wait_for(lambda: "ra" in bridged.sh("ip -6 route show default dev brext"), seconds=15)
    return bridged


def healthy(told, took, ipv6="skipped", lease6="skipped"):
    assert told["findings"] == [], told
    assert [step["outcome"] for step in told["steps"]] == ["passed"] * 6 + [ipv6] * 2 + [lease6], told["steps"]
    assert took < 2


def test_a_healthy_nat_network(nat):
    before = nat.sh("ls /sys/class/net; nft -st list ruleset")
    told, took = probe(nat, "brnat")
    healthy(told, took)
    assert [(hop["way"], hop["where"]) for hop in told["hops"] if " " not in hop["where"]] == [
        ("out", "tap0"), ("out", "brnat"), ("out", "re0"), ("back", "re0"), ("back", "brnat"), ("back", "tap0")]
    bridge, uplink = (json.loads(nat.sh(f"ip -j link show dev {name}"))[0]["address"] for name in ("brnat", "re0"))
    frames = {(hop["way"], hop["where"]): hop["frame"] for hop in told["hops"]}
    assert f"> {bridge}, IPv4, length 98: 10.0.0." in frames["out", "tap0"] and "> 8.8.8.8: ICMP echo request" in frames["out", "tap0"]
    assert frames["out", "re0"].startswith(f"{uplink} > ") and "192.168.87.44 > 8.8.8.8: ICMP echo request" in frames["out", "re0"]
    assert f"> {uplink}, IPv4, length 98: 8.8.8.8 > 192.168.87.44: ICMP echo reply" in frames["back", "re0"]
    assert frames["back", "tap0"].startswith(f"{bridge} > ") and "8.8.8.8 > 10.0.0." in frames["back", "tap0"]
    assert nat.sh("ls /sys/class/net; nft -st list ruleset") == before
    leases = json.loads(nat.vmwire("leases", "--json").stdout)["networks"][0]["leases"]
    assert leases == []  # it was given back


def test_a_healthy_bridged_network(bridged):
    healthy(*probe(bridged, "brext"))


def test_a_healthy_network_with_ipv6(bridged6):
    told, took = probe(bridged6, "brext")
    healthy(told, min(took, 1), ipv6="passed")  # a router may wait three seconds between two advertisements
    router, ping, _ = told["steps"][6:]
    assert router["what"].startswith("2001:db8:87:") and " from fe80:" in router["what"]
    assert ping["what"].startswith("fe80:") and "answers in" in ping["what"]


def test_an_ipv6_target(bridged6):
    told, _ = probe(bridged6, "brext", "2001:db8:8::8")
    assert told["target6"] == "2001:db8:8::8" and told["findings"] == [], told
    assert told["steps"][7]["what"].startswith("2001:db8:8::8 answers")
    code, evidence = first(bridged6, "brext", "2001:db8:8::9")
    assert code == "target-silent" and "2001:db8:8::9" in evidence


def test_ipv6_router_advertisement_missing(bridged6):
    """The host learned of the router, and then it fell silent: what guests that start now get."""
    bridged6.radvd.send_signal(signal.SIGKILL)  # SIGTERM would take the host's route back
    bridged6.radvd.wait()
    code, _ = first(bridged6, "brext")
    assert code == "ra-missing"


def test_ipv6_router_silent(bridged6):
    bridged6.router.run("nft", "-f", "-", input="table ip6 mute {\nchain in {\ntype filter hook input priority 0\nicmpv6 type echo-request drop\n}\n}\n")
    code, evidence = first(bridged6, "brext")
    assert code == "router-silent" and "fe80:" in evidence


def test_isolated_networks(host):
    host.config("networks:\n  isolated: {mode: isolated, subnet: 10.0.0.0/24}\n  alone: {mode: isolated, host: no}\n")
    host.vmwire("up")
    told, _ = probe(host, "isolated")
    healthy(told, 0)
    assert told["steps"][3]["what"] == "10.0.0.1 answers, and asks nobody outside"
    done = host.vmwire("probe", "alone", check=False)
    assert done.returncode == 2 and "there is nobody to ask" in done.stderr


def test_an_isolated_network_with_ipv6_has_addresses_and_no_router(host):
    host.config("networks:\n  brin: {mode: isolated, subnet: 10.0.0.0/24, subnet6: fd00:5::/64}\n")
    host.vmwire("up")
    told, took = probe(host, "brin")
    healthy(told, min(took, 1), ipv6="passed", lease6="passed")
    router, ping, lease = (step["what"] for step in told["steps"][6:])
    assert router.startswith("fd00:5::") and "no router" in router
    assert ping.startswith("fd00:5::1 answers") and "fd00:5::" in lease


def test_a_machine_is_no_network(host):
    host.config("networks:\n  brin: {mode: isolated, subnet: 10.0.0.0/24}\nmachines:\n  vm0: {nics: [{network: brin}]}\n")
    done = host.vmwire("probe", "vm0", check=False)
    assert done.returncode == 2 and "is a machine" in done.stderr and "vmwire trace vm0" in done.stderr


def test_text(nat):
    said = nat.vmwire("probe", "brnat").stdout
    assert "✓  lease" in said and "nothing is wrong" in said, said
    assert "router6" not in said and "not tried" not in said, said


def test_the_target_is_the_files(nat):
    nat.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, probe: 192.168.87.1}\n")
    told, _ = probe(nat, "brnat")
    assert told["target"] == "192.168.87.1" and told["findings"] == []


def test_kill_9_leaves_nothing(nat):
    before = nat.sh("ls /sys/class/net; nft -st list ruleset")
    processes = sorted(command for _, command in nat.processes())
    running = nat.popen(VMWIRE, "probe", "brnat", "8.8.4.4", stdout=subprocess.DEVNULL)
    nat.wait_for(lambda: "tap" in nat.sh("ip -br link"))
    time.sleep(0.3)
    running.send_signal(signal.SIGKILL)
    running.wait()
    nat.wait_for(lambda: nat.sh("ls /sys/class/net; nft -st list ruleset") == before, seconds=1)
    assert sorted(command for _, command in nat.processes()) == processes


def test_wrong_command_lines(nat):
    assert nat.vmwire("probe", check=False).returncode == 2
    assert nat.vmwire("probe", "brnat", "8.8.8", check=False).returncode == 2
    assert nat.vmwire("probe", "nowhere", check=False).returncode == 1


def test_no_dhcp_server_on_a_bridged_segment(bridged):
    bridged.dhcp.kill()
    assert first(bridged, "brext")[0] == "dhcp-none"


def test_a_switch_port_that_passes_one_mac(bridged):
    mac = json.loads(bridged.sh("ip -j link show dev brext"))[0]["address"]
    bridged.router.run("nft", "-f", "-", input=f"table netdev port {{\nchain one {{\ntype filter hook ingress device far priority 0\nether saddr != {mac} drop\n}}\n}}\n")
    code, _ = first(bridged, "brext")
    assert code == "switch-one-mac"


def test_router_never_answers(nat):
    nat.router.sh("ip link set dev far arp off")
    nat.sh("ip neigh flush dev re0")
    code, evidence = first(nat, "brnat")
    assert code == "router-silent" and "192.168.87.1" in evidence


def test_forwarding_off(nat):
    nat.sh("sysctl -qw net.ipv4.ip_forward=0")
    assert first(nat, "brnat")[0] == "forwarding-off"


def test_a_foreign_chain_refuses(nat):
    nat.run("nft", "-f", "-", input="table inet foreign {\nchain fw {\ntype filter hook forward priority 10\nip daddr 8.8.8.8 drop\n}\n}\n")
    code, evidence = first(nat, "brnat")
    assert code == "forward-refused" and "table 'inet foreign', chain 'fw', rule 'ip daddr 8.8.8.8 drop'" in evidence


def test_masquerade_missing(nat):
    nat.sh("nft flush chain inet vmwire postrouting")
    assert first(nat, "brnat")[0] == "masquerade-missing"


def test_dnsmasq_dead(nat):
    nat.kill_service("brnat", "dnsmasq")
    assert first(nat, "brnat")[0] == "dnsmasq-dead"


@pytest.mark.parametrize("port", [67, 53])
def test_dnsmasq_firewalled(nat, port):
    nat.run("nft", "-f", "-", input=f"table inet foreign {{\nchain fw {{\ntype filter hook input priority 10\nudp dport {port} drop\n}}\n}}\n")
    code, evidence = first(nat, "brnat")
    assert code == "service-refused" and f"udp dport {port} drop" in evidence


def test_dns_upstream_dead(nat):
    nat.router.run("nft", "-f", "-", input="table inet dead {\nchain in {\ntype filter hook input priority 0\nudp dport 53 drop\n}\n}\n")
    code, evidence = first(nat, "brnat")
    assert code == "dns-upstream-dead" and "8.8.8.8 answers" in evidence


def test_path_mtu_black_hole(nat):
    nat.router.run("nft", "-f", "-", input="table netdev hole {\nchain far {\ntype filter hook ingress device far priority 0\nmeta length > 1420 drop\n}\n}\n")
    code, evidence = first(nat, "brnat")
    assert code == "mtu-black-hole" and "1400 bytes pass" in evidence


def test_target_silent(nat):
    code, evidence = first(nat, "brnat", "8.8.4.4")
    assert code == "target-silent" and "8.8.4.4" in evidence


def test_address_conflict(bridged):
    told, _ = probe(bridged, "brext")
    address = told["steps"][0]["what"].split("/")[0]
    bridged.router.sh(f"ip addr add {address}/32 dev lo")
    code, evidence = first(bridged, "brext")
    assert code == "address-conflict" and address in evidence


def test_a_route_to_the_subnet_leads_elsewhere(nat):
    nat.sh("ip route add 10.0.0.0/25 dev re0; ip route add 10.0.0.128/25 dev re0")
    code, evidence = first(nat, "brnat")
    assert code == "route-elsewhere" and "'re0'" in evidence


def test_a_second_dhcp_server(nat):
    unlock(nat)
    rogue = Guest(nat, "brnat", mac="00:a0:98:1b:c8:09", address="10.0.0.66/24")
    rogue.background("dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces",
                     "--no-ping", "--dhcp-range=10.0.0.70,10.0.0.80", "--dhcp-leasefile=/run/rogue", "--pid-file=")
    nat.wait_for(lambda: ":67" in rogue.space.sh("ss -Hlnu"))
    code, evidence = first(nat, "brnat")
    rogue.close()
    assert code == "dhcp-rogue" and "10.0.0.66" in evidence


def drop(space, chain, rule):
    space.run("nft", "-f", "-", input=f"table inet foreign {{\nchain c {{\n{chain}\n{rule}\n}}\n}}\n")


@pytest.mark.parametrize("breakage, code", [("ip link set dev re0 down", "no-default-route"),  # it went with its routes
                                            ("ip link set dev brnat down", "bridge-down"),
                                            ("ip link set dev brnat arp off", "arp-off"),
                                            ("ip addr del 10.0.0.1/24 dev brnat", "bridge-address-missing"),
                                            ("ip route add prohibit 8.8.8.8", "route-refused"),
                                            ("sysctl -qw net.ipv4.conf.re0.forwarding=0", "forwarding-off"),
                                            ("kill -STOP $(cat /run/vmwire/network/brnat/dnsmasq.pid)", "dnsmasq-stopped"),
                                            ("ip rule add pref 100 to 10.0.0.0/24 blackhole", "route-elsewhere")])
def test_breaks_on_the_host(nat, breakage, code):
    nat.sh(breakage)
    assert first(nat, "brnat")[0] == code


def test_uplink_without_carrier(nat):
    nat.router.sh("ip link set dev far down")
    assert first(nat, "brnat")[0] == "uplink-no-carrier"


def test_bridged_uplink_without_carrier(bridged):
    bridged.router.sh("ip link set dev far down")
    assert first(bridged, "brext")[0] == "uplink-no-carrier"


def test_uplink_unplugged(bridged):
    bridged.sh("ip link set dev re1 nomaster")
    assert first(bridged, "brext")[0] == "uplink-unplugged"


def test_router_never_answers_on_a_bridge(bridged):
    bridged.router.sh("ip link set dev far arp off")
    bridged.sh("ip neigh flush dev brext")
    assert first(bridged, "brext")[0] in ("router-silent", "dhcp-none")


@pytest.mark.parametrize("iptables", ["iptables-nft", "iptables-legacy"])
def test_dockers_policy(nat, iptables):
    from test_doctor import DOCKER

    nat.sh(DOCKER.replace("iptables ", iptables + " "))
    code, evidence = first(nat, "brnat")
    assert code == "forward-refused" and "table 'ip filter', chain 'FORWARD'" in evidence and "policy" in evidence


def test_ufw(nat):
    from test_doctor import ufw

    ufw(nat)
    code, evidence = first(nat, "brnat")
    assert code == "service-refused" and "chain 'ufw-" in evidence


def test_bridge_netfilter(bridged):
    bridged.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1; iptables -P FORWARD DROP")
    code, evidence = first(bridged, "brext")
    assert code == "bridge-netfilter" and "chain 'FORWARD'" in evidence


def test_legacy_rules_refuse(nat):
    nat.sh("iptables-legacy -N own; iptables-legacy -A FORWARD -i br+ -j own; iptables-legacy -A own -p icmp -d 8.8.8.8 -j DROP")
    code, evidence = first(nat, "brnat")
    assert code == "forward-refused" and "iptables-legacy, table 'ip filter', chain 'own', rule 1" in evidence


def test_the_hosts_answers_are_dropped(nat):
    drop(nat, "type filter hook output priority 0", "udp sport 67 drop")
    code, evidence = first(nat, "brnat")
    assert code == "service-refused" and "the answer to" in evidence and "udp sport 67 drop" in evidence


def test_port_53_taken(nat):
    nat.sh("kill -9 $(cat /run/vmwire/network/brnat/dnsmasq.pid)")
    nat.wait_for(lambda: ":53" not in nat.sh("ss -Hlnu"))
    other = nat.popen("socat", "UDP-RECVFROM:53,bind=10.0.0.1,fork", "EXEC:/bin/true")
    nat.wait_for(lambda: "10.0.0.1:53" in nat.sh("ss -Hlnu"))
    code, evidence = first(nat, "brnat")
    other.kill()
    other.wait()
    assert code == "dnsmasq-port-taken" and "socat" in evidence


def test_the_path_filter(nat):
    """Packets leave by a mark's table, and the filter looks for the way back without the mark."""
    other = nat.uplink("re9", "192.168.99.44/24", "192.168.99.1/24")
    other.sh("ip addr add 8.8.8.8/32 dev lo")
    serve_names(other, "8.8.8.8")
    nat.run("nft", "-f", "-", input="table inet marks {\nchain pre {\ntype filter hook prerouting priority -150\niifname brnat meta mark set 7\n}\n}\n")
    nat.sh("ip route add default via 192.168.99.1 dev re9 table 9; ip rule add pref 90 fwmark 7 lookup 9")
    told, _ = probe(nat, "brnat")
    assert told["findings"] == []
    nat.sh("sysctl -qw net.ipv4.conf.re9.rp_filter=1")
    code, evidence = first(nat, "brnat")
    assert code == "rp-filter" and "IPReversePathFilter" in evidence


def test_subnet_overlap(nat):
    """The host's own segment has the addresses: what guests ask there is looked for on the bridge."""
    nat.router.sh("ip addr add 10.0.0.200/32 dev lo")
    nat.sh("ip addr add 10.0.0.78/16 dev re0")
    assert first(nat, "brnat", "10.0.0.200")[0] == "subnet-overlap"


def test_a_target_that_answers_no_ping(nat):
    nat.router.sh("sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
    told, _ = probe(nat, "brnat")
    assert [(f["code"], f["severity"]) for f in told["findings"]] == [("target-silent", "note")]


FORWARD = """networks:
  brnat: {mode: nat, subnet: 10.0.0.0/24, forward: [tcp 8080 -> vm0:80]}
machines:
  vm0: {memory: 64M, nics: [{network: brnat, mac: "00:a0:98:1b:c8:07", address: 10.0.0.5}]}
"""


def test_a_forward_that_leads_to_nobody(nat):
    nat.config(FORWARD)
    nat.vmwire("up")
    told, _ = probe(nat, "brnat")
    assert [(f["code"], f["severity"]) for f in told["findings"]] == [("forward-target-silent", "note")]  # vm0 does not run
    guest = Guest(nat, "brnat", address="10.0.0.5/24", gateway="10.0.0.1")
    code, evidence = first(nat, "brnat")
    assert code == "forward-target-silent" and "tcp 8080 -> 10.0.0.5:80" in evidence and "nothing listens" in evidence
    server = guest.space.popen("socat", "TCP-LISTEN:80,fork,reuseaddr", "PIPE", stdin=subprocess.DEVNULL)
    nat.wait_for(lambda: ":80 " in guest.space.sh("ss -Hlnt"))
    told, _ = probe(nat, "brnat")
    server.kill()
    server.wait()
    guest.close()
    assert told["findings"] == []


def test_a_guest_has_the_routers_address(nat):
    thief = Guest(nat, "brnat", machine="vm1", mac="00:a0:98:1b:c8:09", address="10.0.0.1/24")
    code, evidence = first(nat, "brnat")
    thief.close()
    assert code == "address-conflict" and "10.0.0.1, the host's own address" in evidence and "'vm1'" in evidence


def test_translated_to_an_address_of_nobody(nat):
    nat.run("nft", "-f", "-", input="table ip foreign {\nchain post {\ntype nat hook postrouting priority 90\nip saddr 10.0.0.0/24 snat to 192.0.2.9\n}\n}\n")
    code, evidence = first(nat, "brnat")
    assert code == "masquerade-missing" and "192.0.2.9, which is no address of this host" in evidence


def test_a_wrong_entry_for_the_router(nat):
    nat.sh("ip neigh replace 192.168.87.1 lladdr 02:00:00:00:00:01 nud permanent dev re0")
    told, _ = probe(nat, "brnat")
    assert [f["code"] for f in told["findings"]] == ["target-silent", "neighbour-fixed"]


def test_arp_is_firewalled(nat):
    nat.run("nft", "-f", "-", input="table arp foreign {\nchain in {\ntype filter hook input priority 0\narp daddr ip 10.0.0.1 drop\n}\n}\n")
    code, evidence = first(nat, "brnat")
    assert code == "arp-off" and "table 'arp foreign', chain 'in', rule 'arp daddr ip 10.0.0.1 drop'" in evidence


def test_dns_is_redirected(nat):
    nat.sh("iptables -t nat -A PREROUTING -i brnat -p udp --dport 53 -j DNAT --to 192.0.2.1")
    code, evidence = first(nat, "brnat")
    assert code == "service-refused" and "towards 192.0.2.1" in evidence


def test_connections_are_not_tracked(nat):
    drop(nat, "type filter hook prerouting priority -300", "iifname brnat ip daddr 8.8.8.8 notrack")
    told, _ = probe(nat, "brnat")
    assert told["findings"][0]["code"] == "masquerade-missing" and "notrack" in told["findings"][0]["cure"]


def test_a_small_time_to_live(nat):
    drop(nat, "type filter hook prerouting priority -150", "iifname brnat ip ttl set 1")
    code, evidence = first(nat, "brnat")
    assert code == "packet-lost" and "time exceeded" in evidence


def test_tcp_is_dropped_behind_the_uplink(nat):
    drop(nat.router, "type filter hook input priority 0", "meta l4proto tcp drop")
    assert first(nat, "brnat")[0] == "tcp-silent"


def test_the_dhcp_server_ignores_everybody(nat):
    nat.sh("cd /run/vmwire/network/brnat; echo dhcp-ignore=tag:nobody,tag:!known >> dnsmasq.conf; sed -i s/tag:nobody,// dnsmasq.conf;"
           "P=$(cat dnsmasq.pid); kill $P; while kill -0 $P 2>/dev/null; do sleep 0.05; done; dnsmasq --conf-file=$PWD/dnsmasq.conf")
    told, _ = probe(nat, "brnat")
    assert [f["code"] for f in told["findings"]] == ["dhcp-silent", "network-drifted"]
