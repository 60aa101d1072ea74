"""up and down on a real kernel: exact, idempotent, undone when anything fails."""
import json
import re
import subprocess
import time

import pytest

from conftest import FAULTY

NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
KEEP = "networks:\n  brext:\n    mode: bridged\n    uplink: re0\n"
BOTH = KEEP + "  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n    forward: tcp 2222 -> 10.0.0.5:22\n"


def home(host):
    """re0 as on a host that is in use: two addresses of one subnet, one of another, IPv6, routes with metric and source."""
    peer = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24", mac="18:a6:f7:01:66:51")
    host.sh(
        """
        ip addr add 192.168.87.45/24 dev re0
        ip addr add 172.16.5.1/30 broadcast 172.16.5.3 dev re0 label re0:1
        ip addr add fd00:87::44/64 dev re0 nodad
        ip -6 route add default via fd00:87::1 dev re0 metric 77
        ip route add 203.0.113.0/24 via 192.168.87.1 dev re0 src 192.168.87.45 metric 300
        ip route add 198.51.100.0/24 via 192.168.87.1 dev re0 table 100 mtu 1400
        ip neigh add 192.168.87.9 lladdr 02:00:00:00:00:09 dev re0 nud permanent protocol static
        ip neigh add fd00:87::9 lladdr 02:00:00:00:00:09 dev re0 nud permanent router
        ip neigh add fe80::9 lladdr 02:00:00:00:00:0a dev re0 nud permanent
        ip neigh add proxy 192.168.87.10 dev re0
        ip neigh add proxy fd00:87::10 dev re0
        bridge fdb add 02:00:00:00:00:42 dev re0 self
        """
    )
    peer.sh("ip addr add fd00:87::1/64 dev far nodad")
    host.wait_for(lambda: "tentative" not in host.sh("ip -6 addr show dev re0"))
    return peer


def managed(host):
    """re0 as NetworkManager leaves it: the kernel makes no prefix routes, and those that there are look like the kernel's."""
    host.uplink("re0", gateway="192.168.87.1/24")
    host.peers["re0"].sh("ip addr add fd00:87::1/64 dev far nodad")
    host.sh(
        """
        ip addr add 192.168.87.44/24 dev re0 noprefixroute
        ip route add 192.168.87.0/24 dev re0 proto kernel scope link src 192.168.87.44 metric 101
        ip route add default via 192.168.87.1 dev re0 proto static metric 101
        ip addr add fd00:87::44/64 dev re0 noprefixroute nodad
        ip -6 route add fd00:87::/64 dev re0 proto kernel metric 101
        ip -6 route add default via fd00:87::1 dev re0 proto static metric 101
        """
    )


CASES = {
    "nat": NAT,
    "nat with an uplink": NAT + "    uplink: re0\n",
    "nat without dhcp": NAT + "    dhcp: off\n",
    "nat with forwards": NAT + "    forward: [tcp 2222 -> 10.0.0.5:22, udp 192.168.87.44:53 -> 10.0.0.5, "
                               "tcp 8000-8010 -> 10.0.0.6]\n",
    "keep": KEEP,
    "static": KEEP + "    address: 192.168.87.9/24\n",
    "both": BOTH,
    "idle uplink": "networks:\n  brext:\n    mode: bridged\n    uplink: re1\n    address: none\n",
}


@pytest.mark.parametrize("name", CASES)
def test_down_puts_the_host_back_exactly(host, name):
    home(host)
    host.uplink("re1", up=False)
    host.config(CASES[name])
    before = host.snapshot()
    host.vmwire("up")
    assert host.snapshot() != before
    host.vmwire("down")
    assert host.snapshot() == before


@pytest.mark.parametrize("name", CASES)
def test_a_second_up_has_nothing_to_do(host, name):
    home(host)
    host.uplink("re1", up=False)
    host.config(CASES[name])
    host.vmwire("up")
    after = host.snapshot()
    assert "nothing to do" in host.vmwire("up").stdout
    assert host.vmwire("plan", "--exit-code").returncode == 0
    assert host.snapshot() == after


def test_down_needs_no_file(host):
    home(host)
    before = host.snapshot()
    path = host.config(BOTH)
    host.vmwire("up")
    path.unlink()
    host.vmwire("down")
    assert host.snapshot() == before


def test_down_of_one_network_leaves_the_other(host):
    home(host)
    host.config(BOTH)
    host.vmwire("up", "brnat")
    only_nat = host.snapshot()
    host.vmwire("up")
    host.vmwire("down", "brext")
    assert host.snapshot() == only_nat


def test_a_network_that_left_the_file_goes(host):
    home(host)
    host.config(BOTH)
    host.vmwire("up")
    host.config(NAT)
    assert host.vmwire("status", check=False).returncode == 3
    host.vmwire("up")
    links = [link["ifname"] for link in host.json("ip", "-j", "link")]
    assert "brext" not in links and "brnat" in links
    assert host.json("ip", "-j", "addr", "show", "dev", "re0")[0]["addr_info"][0]["local"] == "192.168.87.44"


def test_keep_moves_addresses_and_routes(host):
    peer = home(host)
    host.config(KEEP)
    host.vmwire("up")
    addresses = host.sh("ip -br addr show dev brext")
    for address in ("192.168.87.44/24", "192.168.87.45/24", "172.16.5.1/30", "fd00:87::44/64"):
        assert address in addresses
    assert "192.168" not in host.sh("ip -br addr show dev re0")
    routes = host.sh("ip route; ip -6 route; ip route show table 100")
    assert "default via 192.168.87.1 dev brext" in routes
    assert "default via fd00:87::1 dev brext metric 77" in routes
    assert re.search(r"203.0.113.0/24 via 192.168.87.1 dev brext src 192.168.87.45 metric 300", routes)
    assert re.search(r"198.51.100.0/24 via 192.168.87.1 dev brext.* mtu 1400", routes)
    entered = host.sh("ip neigh show nud permanent; ip neigh show proxy")
    for neighbour in ("192.168.87.9 dev brext lladdr 02:00:00:00:00:09 PERMANENT proto static", "192.168.87.10 dev brext proxy",
                      "fd00:87::9 dev brext lladdr 02:00:00:00:00:09 router PERMANENT", "fd00:87::10 dev brext proxy"):
        assert neighbour in entered
    assert "re0" not in entered
    link = host.json("ip", "-d", "-j", "link", "show", "dev", "brext")[0]
    assert link["address"] == "18:a6:f7:01:66:51"
    data = link["linkinfo"]["info_data"]
    assert data["stp_state"] == 0 and data["forward_delay"] == 0
    host.sh("ping -c1 -W2 192.168.87.1; ping -c1 -W2 fd00:87::1")
    peer.sh("ping -c1 -W2 192.168.87.44; ping -c1 -W2 fd00:87::44")


def test_keep_moves_what_networkmanager_set(host):
    managed(host)
    host.config(KEEP)
    before = host.snapshot()
    host.vmwire("up")
    routes = host.sh("ip route; ip -6 route")
    assert "192.168.87.0/24 dev brext proto kernel scope link src 192.168.87.44 metric 101" in routes
    assert "default via 192.168.87.1 dev brext proto static metric 101" in routes
    assert "fd00:87::/64 dev brext proto kernel metric 101" in routes and "dev re0" not in routes.replace("fe80::/64 dev re0", "")
    host.sh("ping -c1 -W2 192.168.87.1; ping -c1 -W2 fd00:87::1")
    assert "nothing to do" in host.vmwire("up").stdout
    host.vmwire("down")
    after = host.snapshot()
    assert {k: v for k, v in after.items() if v != before[k]} == {}


def test_an_uplink_that_somebody_set_down_is_given_back_whole(host):
    home(host)
    host.config(KEEP)
    before = host.snapshot()
    host.vmwire("up")
    host.sh("ip link set dev re0 down")
    host.vmwire("down")
    after = host.snapshot()
    assert {k: v for k, v in after.items() if v != before[k]} == {}


def test_bridge_has_the_uplinks_mtu(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24", mtu=1400)
    host.config(BOTH)
    host.vmwire("up")
    for bridge in ("brext", "brnat"):
        assert host.json("ip", "-j", "link", "show", "dev", bridge)[0]["mtu"] == 1400


@pytest.mark.parametrize("harm", [
    "nft flush ruleset",
    "nft delete table inet vmwire",
    "nft flush chain inet vmwire forward",
    "nft flush chain inet vmwire translate",
    "nft add rule inet vmwire forward accept",
    "ip link del dev brnat",
    "ip link set dev brnat down",
    "ip addr flush dev brnat",
    "sysctl -qw net.ipv4.ip_forward=0",
    "kill $(cat /run/vmwire/network/brnat/dnsmasq.pid); sleep 0.3",
    "rm /run/vmwire/network/brnat/dnsmasq.conf",
    "ip link set dev re0 nomaster",
    "ip addr del 192.168.87.45/24 dev brext",
    "ip route del default dev brext",
    "ip route replace default dev brnat",
    "ip route replace default via 192.168.87.2 dev brext",
    "ip link del dev brext",
])
def test_up_mends_drift(host, harm):
    home(host)
    host.config(BOTH)
    host.vmwire("up")
    healthy = host.snapshot()
    host.sh(harm)
    report = host.vmwire("status", "--json", check=False)
    assert report.returncode == 3
    told = json.loads(report.stdout)
    assert told["drift"] or any(network["drift"] for network in told["networks"])
    host.vmwire("up")
    mended = host.snapshot()
    for key in ("nft", "addresses", "listeners", "run", "sysctls"):
        if key == "addresses" or key == "listeners" and "link del" in harm:
            continue
        assert key == "listeners" or mended[key] == healthy[key], key
    assert host.vmwire("status", "--json").returncode == 0
    assert "nothing to do" in host.vmwire("up").stdout


def test_an_address_added_by_hand_is_kept_and_said(host):
    home(host)
    host.config(KEEP)
    host.vmwire("up")
    host.sh("ip addr add 192.168.87.77/24 dev brext")
    assert "nothing to do" in host.vmwire("up").stdout
    said = host.vmwire("down").stderr
    assert "192.168.87.77/24" in said and "kept" in said
    assert "192.168.87.77/24" in host.sh("ip -br addr show dev re0")


def test_a_neighbour_entered_by_hand_is_kept_and_said_and_a_lost_one_entered_again(host):
    home(host)
    host.config(KEEP)
    host.vmwire("up")
    host.sh("ip neigh add 192.168.87.78 lladdr 02:00:00:00:00:78 dev brext nud permanent; ip neigh del proxy fd00:87::10 dev brext")
    host.sh("ip neigh change 192.168.87.9 lladdr 02:00:00:00:00:77 dev brext nud permanent")
    assert host.vmwire("status", check=False).returncode == 3
    host.vmwire("up")
    assert "fd00:87::10 dev brext" in host.sh("ip neigh show proxy")
    assert "02:00:00:00:00:09" in host.sh("ip neigh show 192.168.87.9")
    # The last address of before takes them all along, unseen by who did not ask.
    host.config(KEEP + "    address: 192.168.87.10/24\n")
    host.vmwire("up")
    assert host.sh("ip -4 neigh show dev brext nud permanent").count("PERMANENT") == 2
    assert "nothing to do" in host.vmwire("up").stdout
    said = host.vmwire("down").stderr
    assert "192.168.87.78" in said and "kept" in said
    assert "192.168.87.78 dev re0 lladdr 02:00:00:00:00:78 PERMANENT" in host.sh("ip neigh")


def operations(host):
    return len(json.loads(host.vmwire("plan", "--json").stdout)["operations"])


@pytest.mark.parametrize("how", ["fail-before", "fail-after"])
def test_a_failure_at_any_operation_of_up_changes_nothing(host, how):
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    count = operations(host)
    assert count > 10
    for number in range(1, count + 1):
        done = host.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        assert done.returncode == 1, number
        assert "network '" in done.stderr or "sysctl" in done.stderr or "/run/vmwire/former" in done.stderr
        assert "rolled back" in done.stderr
        assert host.snapshot() == before, (number, done.stderr)


@pytest.mark.parametrize("how", ["kill-before", "kill-after"])
def test_a_kill_at_any_operation_of_up_is_rolled_back_by_the_next_command(host, how):
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    for number in range(1, operations(host) + 1):
        done = host.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        assert done.returncode in (-9, 137), number
        said = host.vmwire("plan").stderr
        assert "interrupted" in said or (how == "kill-before" and number == 1) or "undone" in said, number
        host.vmwire("down")
        assert host.snapshot() == before, number


@pytest.mark.parametrize("how", ["fail-before", "fail-after", "kill-before", "kill-after"])
def test_a_failure_at_any_operation_of_down_keeps_what_was_up(host, how):
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    host.vmwire("up")
    count = len(json.loads(host.vmwire("plan", "--down", "--json").stdout)["operations"])
    for number in range(1, count + 1):
        done = host.vmwire("down", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        assert done.returncode != 0, number
        host.vmwire("plan")
        assert "nothing to do" in host.vmwire("up").stdout, (number, done.stderr)
    host.vmwire("down")
    assert host.snapshot() == before


@pytest.mark.parametrize("way, allowed", [("up", 0), ("down", 1)])
def test_keep_loses_no_packet(host, way, allowed):
    """The host answers pings, 5 ms apart, while the uplink that it is reached by is taken over; and while it is given back,
    where an answer may go into the bridge in the moment between the port's end and that of the bridge's own prefix route.
    (All requests arrive.  To end that route first would be worse: the gateway's ARP answer would still come to the bridge.)"""
    peer = home(host)
    host.config(KEEP)
    if way == "down":
        host.vmwire("up")
    peer.sh("ping -c1 -W2 192.168.87.44")
    pings = peer.popen("ping", "-q", "-i", "0.005", "-c", "300", "-W", "2", "192.168.87.44", stdout=subprocess.PIPE,
                       text=True)
    time.sleep(0.5)
    host.vmwire(way)
    told = pings.communicate(timeout=30)[0]
    assert int(re.search(r"(\d+) received", told)[1]) >= 300 - allowed, told


def test_open_connections_survive_up_and_down(host):
    peer = home(host)
    host.config(KEEP)
    server = host.popen("socat", "TCP4-LISTEN:7777,reuseaddr", "EXEC:cat", stdin=subprocess.DEVNULL)
    host.wait_for(lambda: ":7777" in host.sh("ss -Hlnt"))
    client = peer.popen("socat", "-", "TCP4:192.168.87.44:7777", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for word in ("before", "bridged", "after"):
        client.stdin.write(word + "\n")
        client.stdin.flush()
        assert client.stdout.readline() == word + "\n"
        if word != "after":
            host.vmwire("up" if word == "before" else "down")
    client.stdin.close()
    client.wait(timeout=10)
    server.wait(timeout=10)
