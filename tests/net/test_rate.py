"""Limits of rates, measured with one TCP stream: of a nic and of a network, each way, behind the host and on the uplink's segment;
changed under a running stream; harmed by hand and mended; and gone without a trace."""
import json
import os
import re
import subprocess
import time

import pytest
from conftest import FAULTY, VMWIRE
from guests import Guest

NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
BRIDGED = "networks:\n  brnat:\n    mode: bridged\n    uplink: re0\n"
MAC = "00:a0:98:00:00:0"


def nics(*rates):
    """Machines vm1, vm2, …, each with a nic of this rate."""
    lines = "".join(f"  vm{i}:\n    nics: [{{network: brnat, mac: \"{MAC}{i}\"{', rate: ' + rate if rate else ''}}}]\n"
                    for i, rate in enumerate(rates, 1))
    return "machines:\n" + lines


@pytest.fixture
def practice(host):
    host.outside = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    for port in (5201, 5202):
        listen(host.outside, port)
    return host


def listen(space, port):
    space.popen("iperf3", "-s", "-p", str(port), stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    space.wait_for(lambda: f":{port}" in space.sh("ss -Hlnt"))


def guest_of(host, number=1, **kwargs):
    home, gateway = ("10.0.0", "10.0.0.1") if "mode: nat" in (host.directory / "vmwire.yaml").read_text() else ("192.168.87", None)
    return Guest(host, "brnat", f"vm{number}", mac=f"{MAC}{number}", offload=True, address=f"{home}.{200 + number}/24",
                 gateway=gateway, **kwargs)


def client(space, *options, seconds=2, peer="192.168.87.1"):
    return space.popen("iperf3", "-c", peer, "-t", str(seconds), "-O", "1", "-J", *options, stdout=subprocess.PIPE, text=True)


def mbit(process):
    """Or what iperf3 says instead: its server may still be busy with the stream before."""
    report = json.loads(process.communicate(timeout=60)[0])
    return report.get("error") or report["end"]["sum_received"]["bits_per_second"] / 1e6


def held_to(space, **rates):
    """One stream each way, one after the other, within 5 %; another program may have the processor for a moment."""
    for way, rate in rates.items():
        seen = []
        while not seen or isinstance(seen[-1], str) or abs(seen[-1] - rate) > 0.05 * rate:
            assert len(seen) < 3, f"{way}: {seen} Mbit/s, not {rate}"
            seen.append(mbit(client(space, *(["-R"] if way == "into" else []), seconds=1 + len(seen))))


@pytest.mark.parametrize("network, of_nic, into, out", [(NAT, False, 200, 50), (NAT, True, 100, 50), (BRIDGED, False, 50, 200),
                                                       (BRIDGED, True, 60, 100)], ids="nat-all nat-nic bridged-all bridged-nic".split())
def test_a_tcp_stream_has_the_rate(practice, network, of_nic, into, out):
    rate = f"{{in: {into}Mbit, out: {out}Mbit}}"
    practice.config(network + (nics(rate) if of_nic else f"    rate: {rate}\n" + nics(None)))
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    guest = guest_of(practice)
    assert ("1 change" if of_nic else "nothing to do") in practice.vmwire("up").stdout  # one of exec becomes a machine's
    assert "nothing to do" in practice.vmwire("up").stdout
    held_to(guest.space, into=into, out=out)
    if network == BRIDGED:  # the host's own is not the guests'
        assert mbit(client(practice, seconds=1)) > 300


def test_a_nics_rate_is_part_of_its_networks(practice):
    practice.config(NAT + "    rate: {out: 60Mbit}\n" + nics("{out: 20Mbit}", None))
    practice.vmwire("up")
    one, second = guest_of(practice, 1), guest_of(practice, 2)
    practice.vmwire("up")
    streams = [client(one.space, seconds=3), client(second.space, "-p", "5202", seconds=3)]
    first, other = [mbit(stream) for stream in streams]
    assert abs(first - 20) <= 1.5 and abs(first + other - 60) <= 4, (first, other)


def test_a_change_is_felt_by_the_stream_that_runs(practice):
    practice.config(NAT + "    rate: {out: 100Mbit}\n" + nics(None))
    practice.vmwire("up")
    guest = guest_of(practice)
    stream = client(guest.space, "-i", "0.5", seconds=6)
    time.sleep(2.5)
    practice.config(NAT + "    rate: {out: 100Mbit}\n" + nics("{in: 500Mbit, out: 20Mbit}"))
    assert "3 changes" in practice.vmwire("up").stdout  # the shapers of both ways, and the nic
    time.sleep(2)
    practice.config(NAT + nics(None))
    assert "3 changes" in practice.vmwire("up").stdout
    assert "nothing to do" in practice.vmwire("up").stdout
    assert "clsact" not in practice.sh(f"tc qdisc show dev {guest.tap}")
    report = json.loads(stream.communicate(timeout=30)[0])
    rates = [row["sum"]["bits_per_second"] / 1e6 for row in report["intervals"]]
    assert "error" not in report and any(80 < rate < 125 for rate in rates[2:5]), rates
    assert any(12 < rate < 28 for rate in rates[5:]) and max(rates[-3:]) > 200, rates


HARM = ["ip link del dev {out}", "tc qdisc del dev {out} root", "tc filter del dev {out} parent 7677:", "ip link set dev {into} down",
        "tc class replace dev {into} parent 7677:0 classid 7677:1 htb rate 1gbit ceil 1gbit",
        "tc qdisc del dev {tap} clsact", "tc filter del dev {tap} egress pref 2"]


def test_what_was_harmed_is_seen_and_mended(practice):
    practice.config(NAT + "    rate: {in: 100Mbit}\n" + nics("{out: 20Mbit}"))
    practice.vmwire("up")
    guest = guest_of(practice)
    practice.vmwire("up")
    into, out = sorted(name for name in os.listdir(f"/proc/{practice.holder.pid}/root/sys/class/net") if name.startswith("vmw"))
    status = json.loads(practice.vmwire("status", "--json").stdout)["networks"][0]
    assert status["rate"] == {"in": {"bits_s": 10**8, "burst": 65536}, "out": None}
    nic = next(port for port in status["ports"] if port["kind"] == "nic")
    assert nic["rate"]["in"] is None and nic["rate"]["out"]["bits_s"] == 2 * 10**7
    assert re.search(r"\(all\) +brnat +100Mbit +- +64KiB\n" + guest.tap + r" +brnat +- +20Mbit +64KiB\n", practice.vmwire("status").stdout)
    for harm in HARM:
        practice.sh(harm.format(into=into, out=out, tap=guest.tap))
        assert practice.vmwire("status", check=False).returncode == 3, harm
        practice.vmwire("up")
        assert "nothing to do" in practice.vmwire("up").stdout, harm


def shaping(host):
    names = host.sh("ip -o link show type ifb").splitlines()
    names = [line.split(": ")[1] for line in names]
    return [re.sub(r"bfifo [0-9a-f]+:|leaf [0-9a-f]+:", "", host.sh(f"tc qdisc show dev {name}; tc class show dev {name}; "
                                                                    f"ip -o link show dev {name}; cat /sys/class/net/{name}/ifalias"))
            for name in names]


def test_down_leaves_nothing_and_up_gives_a_running_guest_its_rate_back(practice):
    before = practice.snapshot()
    practice.config(NAT + "    rate: 100Mbit\n" + nics("20Mbit"))
    practice.vmwire("up")
    guest = guest_of(practice)
    practice.vmwire("up")
    for _ in range(2):
        practice.vmwire("down")
        assert "clsact" not in practice.sh(f"tc qdisc show dev {guest.tap}") and not practice.sh("ip link show type ifb")
        practice.vmwire("up")
        assert "nothing to do" in practice.vmwire("up").stdout
    held_to(guest.space, out=20)
    guest.close()
    practice.vmwire("down")
    assert practice.snapshot() == before


@pytest.mark.parametrize("how", ["fail-after", "kill-after"])
def test_a_change_that_breaks_off_is_undone(practice, how):
    one, other = NAT + "    rate: {in: 100Mbit}\n" + nics("{out: 20Mbit}"), NAT + "    rate: {out: 50Mbit}\n" + nics("{in: 10Mbit}")
    practice.config(one)
    practice.vmwire("up")
    guest_of(practice)
    practice.vmwire("up")
    for number in range(1, 20):
        practice.config(other)
        done = practice.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        if done.returncode == 0:
            break
        practice.config(one)
        assert "nothing to do" in practice.vmwire("up").stdout, number
    assert number == 4  # two shapers, the nic's two ways in one; then it goes through
    practice.vmwire("down")
    assert not practice.sh("ip link show type ifb")


def test_the_rendered_plan_does_what_apply_does(practice):
    practice.config(NAT + "    rate: {in: 100Mbit, out: 1500kbit, burst: 1MB}\n")
    script = practice.vmwire("plan").stdout
    practice.vmwire("up")

    def state():  # but for indexes and MACs
        return [re.sub(r"^\d+: |link/ether \S+|\\ *", "", text, flags=re.M) for text in shaping(practice)]
    applied = state()
    assert len(applied) == 2
    practice.vmwire("down")
    practice.sh(script)
    assert state() == applied
    assert "nothing to do" in practice.vmwire("up").stdout


def test_exec_and_args_carry_a_nics_rate(practice):
    practice.config(NAT + nics("{out: 20Mbit, burst: 128kB}"))
    practice.vmwire("up")
    assert "rate_out=20Mbit,burst=128kB" in practice.vmwire("args", "vm1").stdout
    guest = Guest(practice, "brnat", None, mac=f"{MAC}7", offload=True, options=",rate_out=30Mbit", address="10.0.0.207/24",
                  gateway="10.0.0.1")
    assert "nothing to do" in practice.vmwire("up").stdout
    held_to(guest.space, out=30)


def test_classes_of_nics_that_are_gone_do_not_pile_up(practice):
    practice.config(NAT + nics("{out: 20Mbit}"))
    practice.vmwire("up")
    classes = "tc class show dev $(ls /sys/class/net | grep vmwout) | grep -c :8"
    for _ in range(3):
        count = practice.vmwire("exec", *["--nic", "brnat,rate_out=30Mbit"] * 64, "--", "sh", "-c", classes).stdout
        assert 64 <= int(count) <= 130
    assert "nothing to do" in practice.vmwire("up").stdout


def test_a_nic_on_a_network_that_limits_nothing_is_told_what_to_do(practice):
    practice.config(NAT)
    practice.vmwire("up")
    done = practice.vmwire("exec", "--nic", "brnat,rate_in=1Mbit", "--", "true", check=False)
    assert done.returncode == 1 and "run `vmwire up brnat`" in done.stderr
    done = practice.vmwire("exec", "--nic", "brnat,rate_in=1bit", "--", "true", check=False)
    assert done.returncode == 2 and "64kbit is the least" in done.stderr


def test_what_the_kernel_lacks_is_named_before_anything_is_changed(practice):
    practice.config(NAT + nics("1Mbit"))
    before = practice.snapshot()
    done = practice.run("setpriv", "--bounding-set=-bpf", "--inh-caps=-bpf", VMWIRE, "up", check=False)
    if done.returncode == 0:
        pytest.skip("this kernel has cls_flow, and needs no program")
    assert done.returncode == 2 and "vmwire.yaml:7:61: network 'brnat': 'rate' cannot be had" in done.stderr
    assert "CONFIG_NET_CLS_FLOW" in done.stderr
    assert practice.snapshot() == before
