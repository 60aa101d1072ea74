"""The guard: a change that would cut the host off is undone, whoever is killed meanwhile; and one that waits to be confirmed."""
import json
import os
import pty
import random
import re
import signal
import subprocess
import time

import pytest

from conftest import FAULTY, VMWIRE
from test_up_down import BOTH, KEEP, home, operations

# A host's own firewall that nobody notices before the uplink is a port of a bridge.
BRIDGE_DROP = "nft add table bridge own; nft 'add chain bridge own input { type filter hook input priority 0; policy drop; }'"
STATIC = KEEP + "    address: 192.168.87.9/24\n"
SOON = "guard_ms: 700\n"
KILLS = int(os.environ.get("VMWIRE_KILLS", "10"))


def guards(host):
    return [pid for pid, words in host.processes() if "vmwire" in words and "dnsmasq" not in words]


def settled(host, before):
    """As it was, without any further command."""
    host.wait_for(lambda: not guards(host))
    assert host.snapshot() == before


def test_a_takeover_that_a_bridge_filter_cuts_off_is_undone(host):
    home(host)
    host.config(SOON + KEEP)
    host.sh(BRIDGE_DROP)
    before = host.snapshot()
    done = host.vmwire("up", check=False)
    assert done.returncode == 1
    assert "the default gateway 192.168.87.1 does not answer (ARP)" in done.stderr
    assert "the default gateway fd00:87::1 does not answer (neighbour discovery)" in done.stderr
    assert "rolled back" in done.stderr and "reached as before" in done.stderr
    assert host.snapshot() == before


def test_a_router_that_heeds_one_address_only(host):
    """IP source guard: a switch or router that drops what another address sends."""
    peer = home(host)
    peer.sh("nft add table arp guard; nft 'add chain arp guard input { type filter hook input priority 0; }'; "
            "nft add rule arp guard input arp saddr ip 192.168.87.9 drop")
    host.config(SOON + STATIC)
    before = host.snapshot()
    done = host.vmwire("up", check=False)
    assert done.returncode == 1 and "192.168.87.1 does not answer (ARP)" in done.stderr
    assert host.snapshot() == before
    host.sh("ping -c1 -W2 192.168.87.1")


def test_an_address_that_would_be_lost_is_missed(host):
    """`address: none` on an uplink that has no default route, but the caller's connection."""
    home(host)
    host.uplink("re1", "10.9.0.1/24", "10.9.0.2/24")
    host.config(SOON + "networks:\n  br1:\n    mode: bridged\n    uplink: re1\n    address: none\n")
    before = host.snapshot()
    connection = {"SSH_CONNECTION": "10.9.0.2 50000 10.9.0.1 22"}
    done = host.vmwire("up", check=False, env=connection)
    assert done.returncode == 1 and "10.9.0.2 does not answer (ARP)" in done.stderr
    assert host.snapshot() == before
    # Who wants that says so.
    host.vmwire("up", "--guard-ms", "0", env=connection)
    assert "10.9" not in host.sh("ip -br addr")
    host.vmwire("down", env=connection)
    assert host.snapshot() == before


def firewall(host, ifname):
    """A host's own rules, which name an interface."""
    host.sh("nft add table inet own; nft 'add chain inet own input { type filter hook input priority 0; policy drop; }'; "
            f"nft 'add rule inet own input iifname {{ lo, {ifname} }} accept'")


def test_a_firewall_that_names_the_uplink(host):
    home(host)
    host.config(SOON + KEEP)
    firewall(host, "re0")
    before = host.snapshot()
    done = host.vmwire("up", check=False)
    assert done.returncode == 1 and "192.168.87.1 does not answer (ping)" in done.stderr
    assert host.snapshot() == before


def test_down_is_guarded_too(host):
    home(host)
    host.config(SOON + KEEP)
    host.vmwire("up")
    (host.directory / "vmwire.yaml").unlink()  # its guard_ms is remembered
    firewall(host, "brext")
    up = host.snapshot()
    begun = time.monotonic()
    done = host.vmwire("down", check=False)
    assert time.monotonic() - begun < 8
    assert done.returncode == 1 and "192.168.87.1 does not answer (ping)" in done.stderr
    host.wait_for(lambda: host.snapshot()["addresses"] == up["addresses"])
    host.config(SOON + KEEP)
    assert "nothing to do" in host.vmwire("up").stdout


def test_a_gateway_that_did_not_answer_before_is_not_waited_for(host):
    peer = home(host)
    peer.sh("ip link set dev far down")
    host.config(KEEP)
    host.wait_for(lambda: "NO-CARRIER" in host.sh("ip link show dev re0"))
    done = host.vmwire("up")
    assert "cannot be checked" in done.stderr


def test_a_name_server_that_is_lost(host):
    peer = home(host)
    peer.sh("ip addr add 8.8.8.8/32 dev lo")
    server = peer.popen("dnsmasq", "-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--listen-address=8.8.8.8",
                        "--bind-interfaces", "--pid-file=", stderr=subprocess.DEVNULL)
    host.wait_for(lambda: "8.8.8.8:53" in peer.sh("ss -Hlnu"))
    (host.directory / "resolv.conf").write_text("nameserver 127.0.0.53\nnameserver 8.8.8.8\n")
    host.sh(f"mount --bind {host.directory}/resolv.conf $(readlink -f /etc/resolv.conf)")
    host.config(SOON + KEEP)
    firewall(host, "re0")
    host.sh("nft 'add rule inet own input meta l4proto { icmp, ipv6-icmp } accept'")
    before = host.snapshot()
    done = host.vmwire("up", check=False)
    assert done.returncode == 1 and "name server 8.8.8.8 does not answer (DNS)" in done.stderr, done.stderr
    assert "127.0.0.53" not in done.stderr
    assert host.snapshot() == before
    host.sh("nft delete table inet own")
    host.vmwire("up")
    server.kill()
    server.wait()


@pytest.mark.parametrize("how", ["here", "of sudo's parent"])
def test_the_callers_own_connection_is_guarded_on_any_interface(host, how):
    home(host)
    host.uplink("re1", "10.9.0.1/24", "10.9.0.2/24")
    host.config(SOON + "networks:\n  br1:\n    mode: bridged\n    uplink: re1\n")
    host.sh(BRIDGE_DROP)
    before = host.snapshot()
    connection = {"SSH_CONNECTION": "10.9.0.2 50000 10.9.0.1 22"}
    if how == "here":
        done = host.vmwire("up", check=False, env=connection)
    else:
        done = host.run("sh", "-c", f"env -u SSH_CONNECTION {VMWIRE} up; exit $?", check=False, env=connection)
    assert done.returncode == 1
    assert "your end of the SSH connection 10.9.0.2 does not answer (ARP)" in done.stderr
    assert "your end of the SSH connection 10.9.0.2 does not answer (ping)" in done.stderr
    assert host.snapshot() == before
    # Without that connection nothing depends on re1.
    assert host.vmwire("up").returncode == 0


@pytest.mark.parametrize("who", ["caller", "guard"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_of_one_at_any_operation_is_undone_by_the_other(host, who, when):
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    for number in range(1, operations(host) + 1):
        done = host.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"kill-{who}-{when} {number}"})
        assert done.returncode == (1 if who == "guard" else -9) or (who, done.returncode) == ("caller", 137), number
        if "rolled back" not in done.stderr:
            # The caller died when all was done: then all stays.
            assert who == "caller" and "nothing to do" in host.vmwire("up").stdout, number
            host.vmwire("down")
        settled(host, before)


def start(host, *args):
    # A shell's background job ignores SIGINT, and hands that on.
    return host.popen(VMWIRE, *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGINT", "SIGTERM", "SIGHUP"])
def test_a_caller_that_goes_while_the_guard_asks(host, signal_name):
    home(host)
    host.config("guard_ms: 20000\n" + KEEP)
    host.sh(BRIDGE_DROP)
    before = host.snapshot()
    caller = start(host, "up")
    host.wait_for(lambda: "192.168.87.44" in host.sh("ip -br addr show dev brext 2>/dev/null || true"))
    time.sleep(0.3)
    caller.send_signal(getattr(signal, signal_name))
    begun = time.monotonic()
    told = caller.communicate(timeout=10)[1]
    assert "has ended" in told and "rolled back" in told
    settled(host, before)
    assert time.monotonic() - begun < 5


def test_a_terminal_that_is_dropped(host):
    home(host)
    host.config("guard_ms: 20000\n" + KEEP)
    host.sh(BRIDGE_DROP)
    before = host.snapshot()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("nsenter", host.enter(VMWIRE, "up"))
    host.wait_for(lambda: "192.168.87.44" in host.sh("ip -br addr show dev brext 2>/dev/null || true"))
    os.close(terminal)
    os.waitpid(pid, 0)
    settled(host, before)


def test_a_caller_that_is_stopped_stops_nothing(host):
    home(host)
    host.config(SOON + KEEP)
    host.sh(BRIDGE_DROP)
    before = host.snapshot()
    caller = start(host, "up")
    host.wait_for(lambda: "192.168.87.44" in host.sh("ip -br addr show dev brext 2>/dev/null || true"))
    caller.send_signal(signal.SIGSTOP)
    host.wait_for(lambda: "brext" not in host.sh("ip -br link"))
    caller.send_signal(signal.SIGCONT)
    assert caller.wait(timeout=10) == 1
    assert "does not answer" in caller.communicate()[1]
    settled(host, before)


# ---- confirm ----


def test_an_unconfirmed_change_is_undone(host):
    home(host)
    host.config(KEEP)
    before = host.snapshot()
    begun = time.monotonic()
    done = host.vmwire("up", "--confirm", "2")
    assert "undone in 2 s unless you confirm" in done.stderr
    assert time.monotonic() - begun < 2
    assert "192.168.87.44" in host.sh("ip -br addr show dev brext")
    settled(host, before)
    assert 2 <= time.monotonic() - begun < 4
    late = host.vmwire("confirm", check=False)
    assert late.returncode == 1 and "no change waits" in late.stderr
    assert host.snapshot() == before


@pytest.mark.parametrize("text", [BOTH, "networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24}\n"])
def test_a_confirmed_change_stays(host, text):
    home(host)
    host.config(text)
    host.vmwire("up", "--confirm", "30")
    assert "stays" in host.vmwire("confirm").stdout
    assert not guards(host)
    assert "nothing to do" in host.vmwire("up").stdout
    assert "confirm" not in host.sh("ls /run/vmwire")


def test_readers_work_while_a_change_waits_and_changes_are_refused(host):
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    host.vmwire("up", "--confirm", "60")
    begun = time.monotonic()
    status = host.vmwire("status")
    assert "waits to be confirmed" in status.stderr and "brext" in status.stdout
    assert 50000 < json.loads(host.vmwire("status", "--json").stdout)["confirm_ms"] <= 60000
    plan = host.vmwire("plan")
    assert "waits to be confirmed" in plan.stderr and "nothing to do" in plan.stdout
    for way in ("up", "down"):
        refused = host.vmwire(way, check=False)
        assert refused.returncode == 1 and "'vmwire confirm' keeps it" in refused.stderr
    assert time.monotonic() - begun < 5
    assert "undone" in host.vmwire("confirm", "--undo").stdout
    assert host.snapshot() == before
    assert json.loads(host.vmwire("status", "--json", check=False).stdout)["confirm_ms"] is None


def test_a_guard_that_is_killed_while_it_waits_is_undone_by_the_next_command(host):
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    host.vmwire("up", "--confirm", "60")
    for pid in guards(host):
        os.kill(pid, signal.SIGKILL)
    host.wait_for(lambda: not guards(host))
    late = host.vmwire("confirm", check=False)
    assert late.returncode == 1
    assert "have been undone" in host.vmwire("status", check=False).stderr
    assert host.snapshot() == before


def test_a_guard_that_waits_undoes_at_once_when_the_host_goes_down(host):
    """SIGTERM to everybody, and the host waits for nobody longer than it must."""
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    host.vmwire("up", "--confirm", "600")
    for pid in guards(host):
        os.kill(pid, signal.SIGTERM)
    settled(host, before)


def test_a_guard_that_is_about_to_wait_hears_that_the_host_goes_down(host):
    """It has said that it waits, and is slow to do so."""
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    with open(host.directory / "said", "w+", encoding="ascii") as said:
        slow = host.popen("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=dup2", "-e", "inject=dup2:delay_enter=300000",
                          VMWIRE, "up", "--confirm", "600", stdout=said, stderr=said)
        host.wait_for(lambda: "undone in 600 s unless you confirm it" in (host.directory / "said").read_text())
        for pid, words in host.processes():
            if words.split()[0].endswith("vmwire"):
                os.kill(pid, signal.SIGTERM)
        slow.wait(timeout=20)
    settled(host, before)



def test_a_terminal_that_goes_while_a_change_waits_does_not_matter(host):
    home(host)
    host.config(KEEP)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("nsenter", host.enter(VMWIRE, "up", "--confirm", "30"))
    os.waitpid(pid, 0)
    os.close(terminal)
    host.vmwire("confirm")
    assert "192.168.87.44" in host.sh("ip -br addr show dev brext")


@pytest.mark.parametrize("words", [["--confirm", "0"], ["--confirm", "x"], ["--guard-ms", "-1"], ["--guard-ms", "600001"]])
def test_wrong_numbers_are_refused(host, words):
    home(host)
    host.config(KEEP)
    done = host.vmwire("up", *words, check=False)
    assert done.returncode == 2 and words[0] in done.stderr


# ---- the gap ----


def test_none_of_600_pings_is_lost_by_a_guarded_takeover(host):
    peer = home(host)
    host.config(KEEP)
    peer.sh("ping -c1 -W2 192.168.87.44")
    pings = peer.popen("ping", "-q", "-i", "0.01", "-c", "600", "-W", "2", "192.168.87.44", stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    host.vmwire("up", "--confirm", "60")
    time.sleep(1)
    host.vmwire("confirm")
    told = pings.communicate(timeout=30)[0]
    assert int(re.search(r"(\d+) received", told)[1]) == 600, told


# ---- kills at random moments ----


@pytest.mark.parametrize("way", ["up", "down"])
def test_kills_of_anybody_at_random_moments(host, way):
    """Old state or new one, exactly, after the next command; whoever was killed of caller, guard and helpers being started."""
    home(host)
    host.config(BOTH)
    before = host.snapshot()
    whole = f"up: {operations(host)} changes"
    chance = random.Random(way)
    for number in range(KILLS):
        if way == "down":
            host.vmwire("up")
        process = start(host, way)
        time.sleep(chance.random() * 0.12)
        for pid in guards(host):
            if chance.random() < 0.6:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        process.communicate(timeout=30)
        host.wait_for(lambda: not guards(host))
        host.vmwire("plan")
        told = host.vmwire("up").stdout
        assert "nothing to do" in told or whole in told, (number, told)
        host.vmwire("down")
        assert host.snapshot() == before, number
