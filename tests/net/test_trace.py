"""trace: a healthy guest has no finding; each break alone is the first finding, with its evidence."""
import json
import signal
import subprocess
import time

import pytest

from conftest import VMWIRE
from guests import Guest, unlock

MAC, OTHER_MAC = "00:a0:98:1b:c8:07", "00:a0:98:1b:c8:08"


def trace(host, *args, machine="vm0", doing=(), seconds=10):
    """Trace while the guest does `doing` (an argv); the whole of the JSON."""
    process = host.popen(VMWIRE, "trace", machine, *args, "--seconds", str(seconds), "--json", stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    time.sleep(0.3)
    does = host.guest.background(*doing) if doing else None
    said, errors = process.communicate(timeout=seconds + 20)
    if does:
        does.kill()
        does.wait()
    assert errors == "" and process.returncode in (0, 1), (said, errors)
    told = json.loads(said)
    assert (process.returncode == 0) == (not [f for f in told["findings"] if f["severity"] != "note"])
    return told


def first(told):
    assert told["findings"], told
    return told["findings"][0]["code"], told["findings"][0]["evidence"]


def pinging(target, *more):
    return ["ping", "-i", "0.3", "-W", "1", *more, target]


def serve(space, what):
    """A TCP server on port 80, listening."""
    server = space.popen("socat", "-u" if what.startswith("OPEN") else "-T9", "TCP-LISTEN:80,fork,reuseaddr", what,
                         stdin=subprocess.DEVNULL)
    while ":80 " not in space.sh("ss -Hlnt"):
        time.sleep(0.05)
    return server


@pytest.fixture
def nat(host):
    host.router = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.router.sh("ip addr add 8.8.8.8/32 dev lo")
    host.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24}\n")
    host.vmwire("up")
    host.guest = Guest(host, "brnat", mac=MAC, address="10.0.0.2/24", gateway="10.0.0.1")
    yield host
    host.guest.close()


@pytest.fixture
def bridged(host):
    host.router = host.uplink("re1", "192.168.87.44/24", "192.168.87.1/24")
    host.router.sh("ip addr add 8.8.8.8/32 dev lo")
    host.config("networks:\n  brext: {mode: bridged, uplink: re1, address: keep}\n")
    host.vmwire("up")
    host.guest = Guest(host, "brext", mac=MAC, address="192.168.87.47/24", gateway="192.168.87.1")
    yield host
    host.guest.close()


def test_a_healthy_nat_guest(nat):
    told = trace(nat, "8.8.8.8", doing=pinging("8.8.8.8"))
    assert told["findings"] == [] and told["answered"] and 0 < told["round_trip_us"] < 1000000
    assert "10.0.0.2 > 8.8.8.8: ICMP echo request" in told["flow"]
    hops = [(hop["way"], hop["where"]) for hop in told["hops"] if " " not in hop["where"]]
    assert hops == [("out", nat.guest.tap), ("out", "brnat"), ("out", "re0"), ("back", "re0"), ("back", "brnat"),
                    ("back", nat.guest.tap)]
    assert all(hop["mark"] == "passed" for hop in told["hops"])
    assert "leaves as 192.168.87.44 > 8.8.8.8" in [hop["what"] for hop in told["hops"]]
    chains = [(hop["way"], hop["where"]) for hop in told["hops"] if " " in hop["where"]]
    assert ("out", "inet vmwire forward") in chains and ("back", "inet vmwire inward") in chains


def test_a_healthy_bridged_guest(bridged):
    told = trace(bridged, doing=pinging("8.8.8.8"))
    assert told["findings"] == [] and told["answered"]
    assert [h["where"] for h in told["hops"] if " " not in h["where"]][:3] == [bridged.guest.tap, "brext", "re1"]


def test_a_guest_with_ipv6(bridged):
    bridged.router.sh("ip addr add 2001:db8:87::1/64 dev far nodad; ip addr add 2001:db8:8::8/128 dev lo")
    bridged.guest.space.sh("ip addr add 2001:db8:87::47/64 dev eth0 nodad; ip route add default via 2001:db8:87::1")
    told = trace(bridged, "2001:db8:8::8", doing=pinging("2001:db8:8::8"))
    assert told["findings"] == [] and told["answered"], told
    assert "2001:db8:87::47 > 2001:db8:8::8: ICMP6, echo request" in told["flow"]
    bridged.run("nft", "-f", "-", input="table bridge foreign {\nchain fw {\ntype filter hook forward priority 0\nip6 daddr 2001:db8:8::8 drop\n}\n}\n")
    code, evidence = first(trace(bridged, "2001:db8:8::8", doing=pinging("2001:db8:8::8")))
    assert code == "bridge-refused" and "ip6 daddr 2001:db8:8::8 drop" in evidence


def test_a_connection_that_works(nat):
    server = serve(nat.router, "PIPE")
    told = trace(nat, doing=["sh", "-c", "(echo hello; sleep 3) | busybox nc 8.8.8.8 80"])
    server.kill()
    server.wait()
    assert told["findings"] == [] and told["answered"]


def test_ping_causes_traffic(nat):
    nat.guest.space.sh("ip addr flush dev eth0")
    address = nat.guest.lease()
    told = trace(nat, "--ping", seconds=5)
    assert told["findings"] == [] and told["answered"] and f"10.0.0.1 > {address}: ICMP echo request" in told["flow"]


def test_driver_never_came_up(nat):
    nat.guest.process.send_signal(signal.SIGSTOP)  # it has the tap open, and never reads
    told = trace(nat, "--ping", seconds=3)
    nat.guest.process.send_signal(signal.SIGCONT)
    code, evidence = first(told)
    assert code == "guest-driver-down" and "none was read" in evidence


def test_guest_silent(nat):
    nat.guest.space.sh("ip link set dev eth0 down; ip link set dev eth0 up arp off; ip addr flush dev eth0")
    time.sleep(2)
    told = trace(nat, seconds=3)
    assert first(told)[0] == "guest-silent"


def test_static_address_of_the_wrong_subnet(nat):
    nat.guest.space.sh("ip addr flush dev eth0; ip addr add 192.168.1.50/24 dev eth0; ip route add default via 192.168.1.1")
    told = trace(nat, "8.8.8.8", doing=pinging("8.8.8.8"))
    code, evidence = first(told)
    assert code == "guest-wrong-subnet" and "192.168.1.50" in evidence and "10.0.0.0/24" in evidence


def test_two_guests_with_one_mac(nat):
    twin = Guest(nat, "brnat", machine="vm1", mac=OTHER_MAC, address="10.0.0.3/24", gateway="10.0.0.1")
    twin.space.sh(f"ip link set dev eth0 address {MAC}")
    nat.sh(f"ip link set dev {twin.tap} alias 'vmwire:brnat vm1/0 {MAC}'")
    noise = twin.background(*pinging("10.0.0.1"))
    told = trace(nat, doing=pinging("8.8.8.8"))
    noise.kill()
    noise.wait()
    twin.close()
    code, evidence = first(told)
    assert code == "mac-duplicate" and MAC in evidence and "'vm1'" in evidence


def test_two_guests_with_one_address(nat):
    twin = Guest(nat, "brnat", machine="vm1", mac=OTHER_MAC, address="10.0.0.2/24", gateway="10.0.0.1")
    noise = twin.background(*pinging("10.0.0.1"))
    told = trace(nat, doing=pinging("8.8.8.8"))
    noise.kill()
    noise.wait()
    twin.close()
    code, evidence = first(told)
    assert code == "address-duplicate" and "10.0.0.2" in evidence and OTHER_MAC in evidence and "'vm1'" in evidence


def test_a_foreign_chain_drops(nat):
    nat.run("nft", "-f", "-", input="""table inet foreign {
        chain fw { type filter hook forward priority 10; policy accept;
            tcp dport 25 accept
            ip daddr 8.8.8.8 counter drop comment "not there"
        }
    }""")
    told = trace(nat, "8.8.8.8", doing=pinging("8.8.8.8"))
    code, evidence = first(told)
    assert code == "forward-refused"
    assert "table 'inet foreign', chain 'fw', rule 'ip daddr 8.8.8.8 counter drop" in evidence and "not there" in evidence
    lost = [hop["where"] for hop in told["hops"] if hop["mark"] == "lost"]
    assert lost == ["inet foreign fw", "re0"]


def test_a_foreign_policy_drops(nat):
    nat.run("nft", "-f", "-", input="table ip docker {\nchain FORWARD {\ntype filter hook forward priority 0; policy drop;\n}\n}\n")
    code, evidence = first(trace(nat, doing=pinging("8.8.8.8")))
    assert code == "forward-refused" and "table 'ip docker', chain 'FORWARD', by its policy" in evidence


def test_a_foreign_chain_drops_the_answers(nat):
    nat.run("nft", "-f", "-", input="table inet foreign {\nchain back {\ntype filter hook forward priority 10\nip saddr 8.8.8.8 drop\n}\n}\n")
    code, evidence = first(trace(nat, doing=pinging("8.8.8.8")))
    assert code == "forward-refused" and "'ip saddr 8.8.8.8 drop'" in evidence and "the answer to" in evidence


def test_a_bridge_chain_drops(bridged):
    bridged.run("nft", "-f", "-", input="table bridge foreign {\nchain fw {\ntype filter hook forward priority 0\nether saddr 00:a0:98:1b:c8:07 ip protocol icmp drop\n}\n}\n")
    code, evidence = first(trace(bridged, doing=pinging("8.8.8.8")))
    assert code == "bridge-refused" and "table 'bridge foreign', chain 'fw', rule 'ether saddr" in evidence


def test_masquerade_missing(nat):
    nat.sh("nft flush chain inet vmwire postrouting")
    code, evidence = first(trace(nat, doing=pinging("8.8.8.8")))
    assert code == "masquerade-missing" and "10.0.0.2" in evidence


def test_forwarding_off(nat):
    nat.sh("sysctl -qw net.ipv4.ip_forward=0")
    assert first(trace(nat, doing=pinging("8.8.8.8")))[0] == "forwarding-off"


def test_router_never_answers_on_nat(nat):
    nat.router.sh("ip link set dev far arp off")
    nat.sh("ip neigh flush dev re0")
    code, evidence = first(trace(nat, doing=pinging("8.8.8.8")))
    assert code == "router-silent" and "192.168.87.1" in evidence


def test_router_never_answers_on_a_bridge(bridged):
    bridged.router.sh("ip link set dev far arp off")
    bridged.sh("ip neigh flush dev brext")
    bridged.guest.space.sh("ip neigh flush dev eth0")
    told = trace(bridged, "--ping", "8.8.8.8", doing=pinging("8.8.8.8"))
    code, evidence = first(told)
    assert code == "router-silent" and "who-has 192.168.87.1 tell 192.168.87.47" in evidence


def test_a_port_that_passes_one_mac(bridged):
    mac = json.loads(bridged.sh("ip -j link show dev brext"))[0]["address"]
    bridged.router.run("nft", "-f", "-", input=f"table netdev port {{\nchain one {{\ntype filter hook ingress device far priority 0\nether saddr != {mac} drop\n}}\n}}\n")
    bridged.guest.space.sh("ip neigh flush dev eth0")
    code, evidence = first(trace(bridged, "--ping", doing=pinging("8.8.8.8")))
    assert code == "switch-one-mac" and MAC in evidence


def test_target_silent(nat):
    code, evidence = first(trace(nat, "8.8.4.4", doing=pinging("8.8.4.4")))
    assert code == "target-silent" and "8.8.4.4" in evidence


def test_tcp_refused(nat):
    code, _ = first(trace(nat, "8.8.8.8", doing=["busybox", "nc", "8.8.8.8", "81"]))
    assert code == "tcp-refused"


def test_dnsmasq_dead(nat):
    nat.kill_service("brnat", "dnsmasq")
    code, _ = first(trace(nat, doing=["busybox", "udhcpc", "-i", "eth0", "-n", "-t", "9", "-T", "1", "-s", "/bin/true"]))
    assert code == "dnsmasq-dead"


def test_path_mtu_black_hole(nat):
    """A router behind the uplink passes no packet above 1400 bytes and says nothing."""
    nat.router.run("nft", "-f", "-", input="table netdev hole {\nchain far {\ntype filter hook ingress device far priority 0\nmeta length > 1300 drop\n}\n}\n")
    server = serve(nat.router, "OPEN:/dev/null")
    told = trace(nat, doing=["sh", "-c", "(echo hello; sleep 1; head -c 20000 /dev/zero; sleep 30) | busybox nc 8.8.8.8 80"],
                 seconds=15)
    server.kill()
    server.wait()
    code, evidence = first(told)
    assert code == "mtu-black-hole" and "1500 bytes" in evidence


def tables(host):
    return "vmwire_trace" in host.sh("nft list tables")


def test_it_adds_rules_only_while_it_runs(nat):
    before = nat.sh("nft -st list ruleset")
    process = nat.popen(VMWIRE, "trace", "vm0", "--seconds", "30", stdout=subprocess.DEVNULL)
    nat.wait_for(lambda: tables(nat))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) in (0, 1)  # the guest was silent, but perhaps for IPv6's own frames
    assert nat.sh("nft -st list ruleset") == before


def test_nothing_is_injected(nat):
    """Neither to the guest nor to the wire."""
    nat.guest.space.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
    watch = [nat.popen("tcpdump", "-Q", "out", "-nqpi", name, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
             for name in (nat.guest.tap, "re0", "brnat")]
    for each in watch:
        assert "listening" in each.stderr.readline() + each.stderr.readline()
    nat.vmwire("trace", "vm0", "--seconds", "2", check=False)
    for each in watch:
        each.send_signal(signal.SIGINT)
    sent = [each.communicate(timeout=5)[0] for each in watch]
    # A veth and a bridge have an IPv6 of their own, and a bridge tells which groups it is in: they speak when they like.
    own = (" IP6 ", "224.0.0.22: igmp")
    assert [[line for line in out.splitlines() if line and not any(word in line for word in own)] for out in sent] == [[], [], []]


def test_kill_9_leaves_no_rule(nat):
    before = nat.sh("nft -st list ruleset")
    process = nat.popen(VMWIRE, "trace", "vm0", "--seconds", "30", stdout=subprocess.DEVNULL)
    nat.wait_for(lambda: tables(nat))
    process.kill()
    process.wait()
    nat.wait_for(lambda: not tables(nat), seconds=3)
    assert nat.sh("nft -st list ruleset") == before


def test_wrong_command_lines(nat):
    assert nat.vmwire("trace", check=False).returncode == 2
    assert nat.vmwire("trace", "vm0", "8.8.8", check=False).returncode == 2
    done = nat.vmwire("trace", "nobody", check=False)
    assert done.returncode == 1 and "there is brnat, vm0/0" in done.stderr


def test_dockers_policy(nat):
    from test_doctor import DOCKER

    nat.sh(DOCKER)
    code, evidence = first(trace(nat, doing=pinging("8.8.8.8")))
    assert code == "forward-refused" and "table 'ip filter', chain 'FORWARD'" in evidence and "policy" in evidence


def test_ufw(nat):
    from test_doctor import ufw

    ufw(nat)
    code, evidence = first(trace(nat, doing=["busybox", "nc", "8.8.8.8", "443"]))
    assert code == "forward-refused" and "chain 'ufw-" in evidence


def test_legacy_rules_refuse(nat):
    nat.sh("iptables-legacy -A FORWARD -s 10.0.0.2 -j DROP")
    code, evidence = first(trace(nat, doing=pinging("8.8.8.8")))
    assert code == "forward-refused" and "iptables-legacy, table 'ip filter', chain 'FORWARD', rule 1" in evidence


def test_bridge_netfilter(bridged):
    bridged.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1; iptables -P FORWARD DROP")
    code, evidence = first(trace(bridged, doing=pinging("8.8.8.8")))
    assert code == "bridge-netfilter" and "chain 'FORWARD'" in evidence


def test_the_path_filter(nat):
    other = nat.uplink("re9", "192.168.99.44/24", "192.168.99.1/24")
    other.sh("ip addr add 8.8.8.8/32 dev lo")
    nat.run("nft", "-f", "-", input="table inet marks {\nchain pre {\ntype filter hook prerouting priority -150\niifname brnat meta mark set 7\n}\n}\n")
    nat.sh("ip route add default via 192.168.99.1 dev re9 table 9; ip rule add pref 90 fwmark 7 lookup 9; sysctl -qw net.ipv4.conf.re9.rp_filter=1")
    code, evidence = first(trace(nat, doing=pinging("8.8.8.8")))
    assert code == "rp-filter" and "IPReversePathFilter" in evidence


def test_dns_upstream_dead(nat):
    (nat.directory / "resolv.conf").write_text("nameserver 192.168.87.1\n")
    nat.sh(f"mount --bind {nat.directory}/resolv.conf $(readlink -f /etc/resolv.conf)")
    nat.router.run("nft", "-f", "-", input="table inet dead {\nchain in {\ntype filter hook input priority 0\nudp dport 53 drop\n}\n}\n")
    nat.vmwire("down")
    nat.guest.close()
    nat.vmwire("up")
    nat.guest = Guest(nat, "brnat", mac=MAC, address="10.0.0.2/24", gateway="10.0.0.1")
    code, _ = first(trace(nat, doing=["busybox", "nslookup", "example.com", "10.0.0.1"]))
    assert code == "dns-upstream-dead"


def test_a_second_dhcp_server(nat):
    unlock(nat)
    rogue = Guest(nat, "brnat", machine="vm1", mac=OTHER_MAC, address="10.0.0.66/24")
    rogue.background("dnsmasq", "-k", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces",
                     "--no-ping", "--dhcp-range=10.0.0.70,10.0.0.80", "--dhcp-leasefile=/run/rogue", "--pid-file=")
    nat.wait_for(lambda: ":67" in rogue.space.sh("ss -Hlnu"))
    told = trace(nat, doing=["busybox", "udhcpc", "-i", "eth0", "-n", "-t", "9", "-T", "1", "-s", "/bin/true"], seconds=4)
    rogue.close()
    code, evidence = first(told)
    assert code == "dhcp-rogue" and "10.0.0.66" in evidence


def test_uplink_unplugged(bridged):
    bridged.sh("ip link set dev re1 nomaster")
    assert first(trace(bridged, seconds=3, doing=pinging("8.8.8.8")))[0] == "uplink-unplugged"


def test_a_route_to_the_subnet_leads_elsewhere(nat):
    nat.sh("ip route add 10.0.0.0/25 dev re0")
    assert first(trace(nat, doing=pinging("8.8.8.8")))[0] == "route-elsewhere"


def test_a_forward_that_leads_to_nobody(nat):
    nat.config("networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, forward: [tcp 8080 -> 10.0.0.2:80]}\n")
    nat.vmwire("up")
    asking = nat.router.popen("sh", "-c", "while :; do busybox nc -w 1 192.168.87.44 8080 </dev/null; sleep 0.3; done",
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    told = trace(nat, seconds=3)
    asking.kill()
    asking.wait()
    code, evidence = first(told)
    assert code == "forward-target-silent" and "tcp 8080 -> 10.0.0.2:80" in evidence and "nothing listens" in evidence


def test_a_name_server_of_the_host_that_hangs(nat):
    """It is on the loopback, as systemd-resolved's is: nothing that would tell is seen at the uplink."""
    (nat.directory / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    nat.sh(f"mount --bind {nat.directory}/resolv.conf $(readlink -f /etc/resolv.conf)")
    resolver = nat.popen("dnsmasq", "-k", "--conf-file=/dev/null", "--listen-address=127.0.0.53", "--bind-interfaces", "--no-resolv",
                         "--address=/#/192.0.2.7", "--pid-file=", stderr=subprocess.DEVNULL)
    nat.wait_for(lambda: "127.0.0.53:53" in nat.sh("ss -Hlnu"))
    nat.vmwire("down")
    nat.guest.close()
    nat.vmwire("up")
    nat.guest = Guest(nat, "brnat", mac=MAC, address="10.0.0.2/24", gateway="10.0.0.1")
    asking = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do busybox nslookup -type=a host$i.example 10.0.0.1; sleep 0.3; done"]
    assert trace(nat, "10.0.0.1", doing=asking)["findings"] == []
    resolver.send_signal(signal.SIGSTOP)
    code, evidence = first(trace(nat, "10.0.0.1", doing=[word.replace("host", "other") for word in asking]))
    resolver.kill()
    resolver.wait()
    assert code == "dns-silent" and "10.0.0.1.53" in evidence and "other" in evidence


def test_the_answer_is_lost_at_the_tap(nat):
    """Its queue takes nothing, as of somebody who wanted to limit it: no rule, no route, no filter."""
    router = json.loads(nat.sh("ip -j link show dev brnat"))[0]["address"]
    nat.guest.space.sh(f"ip neigh replace 10.0.0.1 lladdr {router} dev eth0 nud permanent")
    assert trace(nat, doing=pinging("8.8.8.8"))["findings"] == []
    nat.sh(f"tc qdisc replace dev {nat.guest.tap} root bfifo limit 1")
    told = trace(nat, doing=pinging("8.8.8.8"))
    code, evidence = first(told)
    assert code == "reply-lost" and "8.8.8.8" in evidence and "came in at 're0' and not to the guest" in evidence
    assert [(hop["where"], hop["way"]) for hop in told["hops"] if hop["mark"] == "lost"] == [(nat.guest.tap, "back")]
