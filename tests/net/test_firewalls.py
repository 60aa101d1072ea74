"""Other firewalls that drop what nobody allowed: guests have DHCP, DNS and the way out all the same, by the smallest rule, in the
other's own chains; what the other refuses by name stays refused; `down` leaves the other as it was."""
import json
import pathlib
import subprocess

import pytest

from conftest import FAULTY, ROOT, VMWIRE, dies_with_us
from guests import Guest

RULES = pathlib.Path(__file__).resolve().parent.parent / "firewalls"
NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
BRIDGED = "networks:\n  brext:\n    mode: bridged\n    uplink: re0\n"
BOTH = BRIDGED + "  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"


def outside(host):
    """The uplink, and behind it a host that answers pings and, on port 80, TCP."""
    peer = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    peer.popen("socat", "TCP4-LISTEN:80,fork,reuseaddr", "EXEC:echo", stdin=subprocess.DEVNULL, preexec_fn=dies_with_us)
    peer.wait_for(lambda: ":80" in peer.sh("ss -Hlnt"))
    return peer


def reaches(guest, target="192.168.87.1", port=80):
    """By TCP: ufw lets every ping pass."""
    return guest.space.run("socat", "-T1", "-", f"TCP4:{target}:{port},connect-timeout=1", input="", check=False).returncode == 0


def docker(host, version):
    """A host as Docker leaves it: its bridge with a container, forwarding on, its rules."""
    host.sh("ip link add name docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set dev docker0 up; "
            "sysctl -qw net.ipv4.ip_forward=1")
    container = host.uplink("cont0")
    host.sh("ip link set dev cont0 master docker0")
    container.sh("ip addr add 172.17.0.2/16 dev far; ip route add default via 172.17.0.1")
    docker_rules(host, version)
    return container


def docker_rules(host, version):
    if version >= 29:
        host.sh(f"nft -f {RULES}/docker-{version}.nft")
    else:
        host.sh(f"iptables-restore {RULES}/docker-{version}.rules")


@pytest.fixture
def ufw(host):
    """Real ufw, switched on, with a copy of its files that only this host sees."""
    ufw_on(host)
    return host


def ufw_on(host, forwarded="REJECT"):
    host.sh("mkdir /run/ufw.copy; cp -a /etc/ufw /run/ufw.copy/etc; "
            f"sed s/^DEFAULT_FORWARD_POLICY=.*/DEFAULT_FORWARD_POLICY={forwarded}/ /etc/default/ufw >/run/ufw.copy/default; "
            "mount --bind /run/ufw.copy/etc /etc/ufw; mount --bind /run/ufw.copy/default /etc/default/ufw; "
            "ufw --force enable")


def guest_has_all(host, network="brnat"):
    guest = Guest(host, network)
    address = guest.lease()
    assert guest.ping("192.168.87.1").returncode == 0 and reaches(guest), "the way out"
    asked = guest.space.run("busybox", "nslookup", "nobody.brnat", "10.0.0.1", check=False)
    assert "timed out" not in asked.stdout + asked.stderr, "DNS"
    return guest, address


def admissions(host, *options):
    plan = json.loads(host.vmwire("plan", "--json", *options).stdout)
    return [op for op in plan["operations"] if op["kind"].startswith("admission-")]


@pytest.mark.parametrize("version", [20, 28, 29])
def test_guests_work_beside_docker(host, version):
    outside(host)
    container = docker(host, version)
    host.config(NAT)
    before = host.snapshot()
    wanted = admissions(host)
    assert {(op["chain"], op["type"]) for op in wanted} == (
        {("FORWARD", "from"), ("FORWARD", "to")} if version < 29 else set())
    host.vmwire("up")
    guest, _ = guest_has_all(host)
    # What Docker keeps from its neighbours stays kept: a container's ports that it did not publish.
    if version >= 28:
        assert guest.ping("172.17.0.2").returncode != 0
    assert container.run("ping", "-c1", "-W1", "192.168.87.1", check=False).returncode == 0
    assert "nothing to do" in host.vmwire("up").stdout
    guest.close()
    host.vmwire("down")
    after = host.snapshot()
    assert {k: v for k, v in after.items() if v != before[k]} == {}


def test_without_the_admission_docker_drops_guests(host):
    """What the tests of this file would not see if the rules were not in force."""
    outside(host)
    docker(host, 20)
    host.config(NAT)
    host.vmwire("up")
    guest, _ = guest_has_all(host)
    host.sh("iptables-save | grep -v vmwire: | iptables-restore")
    assert guest.ping("192.168.87.1").returncode != 0
    assert host.vmwire("status", check=False).returncode == 3
    assert "2 changes" in host.vmwire("up").stdout
    assert guest.ping("192.168.87.1").returncode == 0
    guest.close()


def test_dockers_own_tools_still_read_and_write_their_table(host):
    outside(host)
    docker(host, 20)
    host.config(NAT)
    host.vmwire("up")
    rules = host.sh("iptables -S FORWARD")
    assert "-A FORWARD -i brnat -m comment --comment \"vmwire:brnat from\" -j ACCEPT" in rules
    assert rules.rstrip().endswith("-A FORWARD -o brnat -m comment --comment \"vmwire:brnat to\" -j ACCEPT")
    host.sh("iptables-save | iptables-restore; iptables -I FORWARD -i docker9 -j ACCEPT; iptables -D FORWARD -i docker9 -j ACCEPT")
    assert "nothing to do" in host.vmwire("up").stdout
    host.vmwire("down")
    assert "vmwire" not in host.sh("iptables-save")


def test_a_refusal_by_name_stays(host):
    """The administrator's own rule for the bridge, where Docker's users put theirs."""
    outside(host)
    docker(host, 20)
    host.config(NAT)
    host.sh("iptables -I DOCKER-USER -i brnat -j DROP")
    host.vmwire("up")
    guest = Guest(host, "brnat")
    guest.lease()
    assert guest.ping("192.168.87.1").returncode != 0
    host.sh("iptables -D DOCKER-USER -i brnat -j DROP")
    assert guest.ping("192.168.87.1").returncode == 0
    guest.close()


def test_docker_that_starts_later_is_drift_and_mended(host):
    outside(host)
    host.config(NAT)
    host.vmwire("up")
    healthy = host.snapshot()["nft"]
    docker(host, 20)
    told = json.loads(host.vmwire("status", "--json", check=False).stdout)
    assert any("FORWARD" in line for line in told["networks"][0]["drift"])
    host.vmwire("up")
    guest_has_all(host)[0].close()
    # and one that goes
    host.sh("nft delete table ip filter; nft delete table ip nat")
    assert "nothing to do" in host.vmwire("up").stdout
    assert host.snapshot()["nft"] == healthy


def test_bridged_guests_work_where_bridged_frames_meet_the_firewall(host):
    """br_netfilter, which Docker loads: frames between the ports of a bridge go through FORWARD."""
    peer = outside(host)
    docker(host, 20)
    host.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
    host.config(BRIDGED)
    assert [op["type"] for op in admissions(host)] == ["inside"]
    before = host.snapshot()
    host.vmwire("up")
    guest = Guest(host, "brext", address="192.168.87.60/24")
    assert guest.ping("192.168.87.1").returncode == 0
    peer.sh("ping -c1 -W2 192.168.87.60")
    host.sh("iptables-save | grep -v vmwire: | iptables-restore")
    assert guest.ping("192.168.87.1").returncode != 0
    guest.close()
    # Off: nothing is to be let through.
    host.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    assert admissions(host) == []
    host.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
    host.vmwire("down")
    assert host.snapshot() == before


@pytest.mark.parametrize("how", ["fail-before", "kill-after"])
def test_a_fault_at_any_operation_leaves_docker_as_it_was(host, how):
    outside(host)
    docker(host, 20)
    host.config(BOTH)
    before = host.snapshot()
    for direction in ("up", "down"):
        count = len(json.loads(host.vmwire("plan", "--json", *(["--down"] if direction == "down" else [])).stdout)["operations"])
        for number in range(1, count + 1):
            host.vmwire(direction, program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
            host.vmwire("plan")
            if direction == "up":
                host.vmwire("down")
                assert host.snapshot() == before, number
            else:
                assert "nothing to do" in host.vmwire("up").stdout, number
        host.vmwire("up")
    host.vmwire("down")
    assert host.snapshot() == before


@pytest.mark.parametrize("default", ["deny", "reject"])
def test_guests_work_beside_ufw(ufw, default):
    outside(ufw)
    ufw.sh(f"ufw default {default} incoming; ufw default {default} routed")
    ufw.config(NAT)
    before = ufw.snapshot()
    ufw.vmwire("up")
    assert {(op["chain"], op["type"]) for op in admissions(ufw, "--down")} == {
        ("ufw-after-forward", "from"), ("ufw-after-forward", "to"), ("ufw-after-input", "dhcp"),
        ("ufw-after-input", "dns-udp"), ("ufw-after-input", "dns-tcp"), ("ufw6-after-forward", "inside")}
    guest, address = guest_has_all(ufw)
    # The host's own ports stay closed.
    server = ufw.popen("socat", "TCP4-LISTEN:7777,fork", "EXEC:cat")
    ufw.wait_for(lambda: ":7777" in ufw.sh("ss -Hlnt"))
    assert not reaches(guest, "10.0.0.1", 7777)
    server.kill()
    server.wait()
    # ufw's own reload takes the rules away; `up` mends.
    ufw.sh("ufw reload")
    assert not reaches(guest)
    assert ufw.vmwire("status", check=False).returncode == 3
    ufw.vmwire("up")
    assert reaches(guest)
    ufw.sh("ufw status")
    guest.close()
    ufw.vmwire("down")
    after = ufw.snapshot()
    assert {k: v for k, v in after.items() if v != before[k]} == {}


def test_ufw_switched_off_and_on_again(ufw):
    outside(ufw)
    ufw.config(NAT)
    assert refusals(ufw) == []
    ufw.vmwire("up")
    ufw.sh("ufw disable")
    ufw.vmwire("up")
    assert admissions(ufw) == []
    guest_has_all(ufw)[0].close()
    ufw.sh("ufw --force enable")
    ufw.vmwire("up")
    guest_has_all(ufw)[0].close()
    ufw.vmwire("down")
    assert "vmwire" not in ufw.sh("nft list ruleset")


UNKNOWN = {
    "policy": ("nft add table inet strict; nft add chain inet strict way '{ type filter hook forward priority 0; policy drop; }'",
               ["pings", "table 'inet strict', chain 'way', by its policy", "nft insert rule inet strict way"]),
    "a rule by name": ("iptables -P FORWARD ACCEPT; iptables -N GUESTS; iptables -A FORWARD -j GUESTS; "
                       "iptables -A GUESTS -i br+ -p tcp -j DROP",
                       ["TCP connections", "chain 'GUESTS', rule handle", "iptables -I GUESTS -i brnat -j ACCEPT"]),
    "to the host": ("iptables -P INPUT DROP", ["DHCP requests", "DNS requests", "chain 'INPUT', by its policy",
                                                "iptables -I INPUT -i brnat -p udp -m multiport --dports 53,67 -j ACCEPT"]),
    "iptables-legacy": ("iptables-legacy -P FORWARD DROP", ["iptables-legacy, table 'ip filter'", "chain 'FORWARD', by its policy",
                                                             "iptables-legacy -I FORWARD -i brnat -j ACCEPT"]),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_firewall_is_named_and_its_cure_cures(host, name):
    outside(host)
    make, words = UNKNOWN[name]
    host.config(NAT)
    host.sh(make)
    rules = host.snapshot()["nft"]
    planned, foretold = host.vmwire("plan").stdout, json.loads(host.vmwire("plan", "--json").stdout)["refusals"]
    said = host.vmwire("up").stderr
    assert [f"vmwire: network '{row['network']}': {row['text']}" for row in foretold] == said.splitlines()
    assert [f"# network '{row['network']}': {row['text']}" for row in foretold] == planned.splitlines()[-len(foretold):]
    assert json.loads(host.vmwire("plan", "--json").stdout)["refusals"] == foretold
    for word in ["network 'brnat': another firewall drops", *words]:
        assert word in said, said
    for _ in range(6):  # a cure a line; an answer's turn comes when its question passes
        cures = [line.split("to let it pass: ")[1] for line in said.splitlines() if "to let it pass: " in line]
        if not cures:
            break
        host.sh("\n".join(cures))
        said = host.vmwire("up").stderr
    assert said == ""
    guest_has_all(host)[0].close()
    host.vmwire("down")
    assert "vmwire" not in host.snapshot()["nft"]
    if name == "policy":
        host.sh("nft delete table inet strict; " + make)
        assert host.snapshot()["nft"] == rules


@pytest.mark.parametrize("version", [20, 28, 29])
def test_nothing_is_said_where_nothing_is_dropped(host, version):
    outside(host)
    docker(host, version)
    host.sh("iptables -P INPUT ACCEPT")
    host.config(BOTH)
    assert refusals(host) == []
    assert host.vmwire("up").stderr == ""
    assert refusals(host) == []


def test_a_planned_admission_does_not_hide_a_refusal_by_name(host):
    outside(host)
    docker(host, 20)
    host.sh("iptables -I DOCKER-USER -i brnat -j DROP")
    host.config(BOTH)
    foretold = refusals(host)
    assert foretold and all(row["network"] == "brnat" and "DOCKER-USER" in row["text"] for row in foretold)
    assert [f"vmwire: network '{row['network']}': {row['text']}" for row in foretold] == host.vmwire("up").stderr.splitlines()


def test_another_ones_comment_is_a_comment_in_a_plan(host):
    outside(host)
    host.sh("nft add table inet strict; nft add chain inet strict way '{ type filter hook forward priority 0; }'")
    host.run("nft", "-f", "-", input='add rule inet strict way drop comment "a\ntouch /tmp/evil"\n')
    host.config(NAT)
    lines = host.vmwire("plan").stdout.splitlines()
    assert any("another firewall drops" in line for line in lines)
    assert not any(line.startswith("touch") for line in lines)


def refusals(host):
    return json.loads(host.vmwire("plan", "--json").stdout)["refusals"]


class Firewalld:
    """Real firewalld on a bus of its own; the rest of the machine sees neither."""

    def __init__(self, host, zone):
        """`zone`: vmwire's is installed, and firewalld speaks iptables."""
        self.host = host
        host.borrow("firewalld")
        host.sh("cp -a /etc/firewalld /run/firewalld.etc; mount --bind /run/firewalld.etc /etc/firewalld; "
                "mkdir -p /run/dbus /run/log; mount --bind /run/log /var/log; "
                "dbus-daemon --system --fork --nopidfile")
        if zone:
            host.sh("sed -i s/^FirewallBackend=.*/FirewallBackend=iptables/ /etc/firewalld/firewalld.conf")
            host.sh(f"mkdir -p /etc/firewalld/zones; cp {ROOT}/scripts/firewalld/vmwire.xml /etc/firewalld/zones/")
        self.start()

    def start(self):
        self.program = self.host.popen("firewalld", "--nofork", "--nopid", stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, preexec_fn=dies_with_us)
        self.host.wait_for(lambda: self.cmd("--state", check=False).stdout == "running\n", 30)

    def cmd(self, *words, **options):
        return self.host.run("firewall-cmd", *words, **options)

    def zone(self, ifname):
        return self.cmd(f"--get-zone-of-interface={ifname}", check=False).stdout.strip()

    def stop(self):
        self.program.terminate()
        self.program.wait()


@pytest.mark.parametrize("way", ["zone", "rules"])
def test_guests_work_beside_firewalld(host, way):
    """By rules in firewalld's chains, or by vmwire's zone where nobody else may change these."""
    outside(host)
    firewalld = Firewalld(host, way == "zone")
    host.config(NAT)
    firewalld.cmd("--reload")
    assert refusals(host) == []
    before = host.snapshot()
    done = host.vmwire("up")
    assert done.stderr == ""
    assert firewalld.zone("brnat") == ("vmwire" if way == "zone" else "")
    assert ("vmwire:brnat" in host.sh("nft list table inet firewalld || true")) == (way == "rules")
    guest, _ = guest_has_all(host)
    # The host's own ports stay closed.
    server = host.popen("socat", "TCP4-LISTEN:7777,fork", "EXEC:cat", preexec_fn=dies_with_us)
    host.wait_for(lambda: ":7777" in host.sh("ss -Hlnt"))
    assert not reaches(guest, "10.0.0.1", 7777)
    server.kill()
    server.wait()
    assert "nothing to do" in host.vmwire("up").stdout
    # Its reload takes either away; `up` mends.
    firewalld.cmd("--reload")
    assert not reaches(guest)
    assert host.vmwire("status", check=False).returncode == 3
    host.vmwire("up")
    assert reaches(guest)
    guest.close()
    host.vmwire("down")
    if way == "zone":  # firewalld keeps the chains of a zone that is empty now
        firewalld.cmd("--reload")
    after = host.snapshot()
    assert {k: v for k, v in after.items() if v != before[k]} == {}


def test_a_bridge_follows_its_uplink_into_its_zone(host):
    """What the host serves there stays reachable through the bridge: never cut off."""
    peer = outside(host)
    firewalld = Firewalld(host, False)
    firewalld.cmd("--zone=internal", "--add-interface=re0")
    firewalld.cmd("--zone=internal", "--add-port=7777/tcp")
    host.popen("socat", "TCP4-LISTEN:7777,fork", "EXEC:echo", preexec_fn=dies_with_us)
    host.wait_for(lambda: ":7777" in host.sh("ss -Hlnt"))
    host.config(BRIDGED)
    before = host.snapshot()
    asked = ("socat", "-T1", "-", "TCP4:192.168.87.44:7777,connect-timeout=1")
    peer.run(*asked, input="")
    host.vmwire("up")
    peer.run(*asked, input="")
    assert firewalld.zone("brext") == "internal"
    assert "nothing to do" in host.vmwire("up").stdout
    host.vmwire("down")
    assert host.snapshot() == before


def test_a_zone_that_the_administrator_chose_stays(host):
    outside(host)
    firewalld = Firewalld(host, False)
    firewalld.cmd("--zone=block", "--add-interface=brnat")
    host.config(NAT)
    said = host.vmwire("up").stderr
    assert firewalld.zone("brnat") == "block" and "zone-add" not in host.vmwire("plan", "--json").stdout
    assert "another firewall drops pings" in said and "filter_FWD_block" in said, said
    host.vmwire("down")
    assert firewalld.zone("brnat") == "block"


@pytest.mark.parametrize("way", ["zone", "rules"])
def test_firewalld_that_is_stopped_and_started(host, way):
    outside(host)
    firewalld = Firewalld(host, way == "zone")
    host.config(NAT)
    host.vmwire("up")
    firewalld.stop()
    assert "nothing to do" in host.vmwire("up").stdout
    guest_has_all(host)[0].close()
    firewalld.start()
    host.vmwire("up")
    guest_has_all(host)[0].close()
    firewalld.stop()
    host.vmwire("down")
    assert "vmwire" not in host.sh("nft list ruleset")


@pytest.mark.parametrize("how", ["fail-after", "kill-after"])
def test_a_fault_at_any_operation_leaves_firewalld_as_it_was(host, how):
    outside(host)
    Firewalld(host, False)
    host.config(NAT)
    before = host.snapshot()
    count = len(json.loads(host.vmwire("plan", "--json").stdout)["operations"])
    for number in range(1, count + 1):
        host.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        host.vmwire("plan")
        assert host.snapshot() == before, number


FORWARD = NAT + "    forward:\n      - tcp 8022 -> 10.0.0.77:22\n"


def other_firewall(host, name):
    """The host with one of them in force; what reloads it."""
    if name == "docker":
        docker(host, 28)
        return lambda: docker_rules(host, 28)
    if name == "ufw":
        ufw_on(host)
        return lambda: host.sh("ufw reload")
    firewalld = Firewalld(host, False)
    return lambda: firewalld.cmd("--reload")


@pytest.mark.parametrize("name", ["docker", "ufw", "firewalld"])
def test_port_forwards_pass_and_nothing_else_does(host, name):
    peer = outside(host)
    other_firewall(host, name)
    host.config(FORWARD)
    assert "drops" not in host.vmwire("up").stderr
    guest = Guest(host, "brnat", address="10.0.0.77/24", gateway="10.0.0.1")
    for port in (22, 23):
        guest.background("socat", f"TCP4-LISTEN:{port},fork,reuseaddr", "EXEC:echo")
    guest.space.wait_for(lambda: ":22" in guest.space.sh("ss -Hlnt"))
    peer.sh("ip route add 10.0.0.0/24 via 192.168.87.44")
    peer.run("socat", "-T1", "-", "TCP4:192.168.87.44:8022,connect-timeout=2", input="")
    for target in ("192.168.87.44:8023", "10.0.0.77:22", "10.0.0.77:23"):
        assert peer.run("socat", "-T1", "-", f"TCP4:{target},connect-timeout=1", input="", check=False).returncode != 0, target
    guest.close()
    host.vmwire("down")


@pytest.mark.parametrize("name", ["docker", "ufw", "firewalld"])
def test_watch_puts_the_rules_back_after_a_reload(host, name):
    outside(host)
    reload = other_firewall(host, name)
    host.config(NAT)
    host.vmwire("up")
    watch = host.popen(VMWIRE, "watch", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    guest, _ = guest_has_all(host)
    for _ in range(2):
        reload()
        if name == "docker":  # iptables-restore empties the table
            host.wait_for(lambda: "vmwire:brnat to" in host.sh("nft list ruleset"), 5)
        host.wait_for(lambda: reaches(guest), 5)
    watch.terminate()
    watch.wait()
    guest.close()
    host.vmwire("down")
    assert "vmwire" not in host.sh("nft list ruleset")
