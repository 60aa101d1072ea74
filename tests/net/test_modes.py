"""Networks without translation: routed, whose subnet others route to the host, and isolated, which leads nowhere."""
import json
import subprocess

import pytest
from guests import Guest
from test_forward import ask, server
from test_names import resolves

HOST = "192.168.87.44"
MAC = "00:a0:98:00:00:0"


def file(**modes):
    return "networks:\n" + "".join(
        f"  {name}:\n    mode: {mode}\n    subnet: 10.0.{i}.0/24\n" for i, (name, mode) in enumerate(modes.items()))


def reaches(space, target):
    return space.run("ping", "-c", "1", "-W", "1", target, check=False).returncode == 0


@pytest.fixture
def practice(host):
    host.outside = host.uplink("re0", f"{HOST}/24", "192.168.87.1/24")
    host.other = host.uplink("re1", "172.20.0.2/24", "172.20.0.1/24")
    for peer, via in ((host.outside, HOST), (host.other, "172.20.0.2")):
        peer.sh(f"ip route add 10.0.0.0/16 via {via}")
    host.before = host.snapshot()
    return host


def guest_of(host, network, number, name=None):
    guest = Guest(host, network, name or f"vm{number}", mac=MAC + str(number))
    return guest, guest.lease()


def test_a_routed_network_is_reached_and_reaches_out_under_its_own_addresses(practice):
    practice.config(file(net0="routed"))
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    guest, address = guest_of(practice, "net0", 1)
    assert reaches(practice.outside, address) and reaches(practice.other, address)
    server(guest.space, "inside", "tcp:22")
    server(practice.outside, "outside", "tcp:80")
    assert ask(practice.outside, "tcp", address, 22) == "inside 192.168.87.1 22"
    assert ask(guest.space, "tcp", "192.168.87.1", 80) == f"outside {address} 80"
    assert json.loads(practice.vmwire("status", "--json").stdout)["networks"][0]["mode"] == "routed"


def test_a_routed_network_with_an_uplink_has_that_way_alone(practice):
    practice.config(file(net0="routed") + "    uplink: re0\n")
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    guest, address = guest_of(practice, "net0", 1)
    assert reaches(practice.outside, address) and reaches(guest.space, "192.168.87.1")
    assert not reaches(practice.other, address) and not reaches(guest.space, "172.20.0.1")


def test_an_isolated_network_has_guests_and_host_and_nothing_else(practice):
    practice.config(file(net0="isolated"))
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    practice.sh("sysctl -qw net.ipv4.ip_forward=1")  # somebody else's need
    one, _ = guest_of(practice, "net0", 1)
    two, address = guest_of(practice, "net0", 2)
    assert "default" not in one.space.sh("ip route")
    one.space.sh("ip route add default via 10.0.0.1")
    assert reaches(one.space, address) and reaches(one.space, "10.0.0.1") and reaches(practice, address)
    assert not reaches(one.space, "192.168.87.1") and not reaches(practice.outside, address)
    # Nor does the DNS server ask anybody for a guest.
    watch = practice.outside.popen("tcpdump", "-lnni", "far", "udp", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    one.space.run("busybox", "nslookup", "secret.example", "10.0.0.1", check=False)
    watch.terminate()
    assert b"secret" not in watch.communicate()[0]


def test_an_isolated_network_needs_no_name_server(practice):
    (practice.directory / "resolv.conf").write_text("# nobody\n")
    practice.sh(f"mount --bind {practice.directory}/resolv.conf $(readlink -f /etc/resolv.conf)")
    practice.config(file(net0="isolated"))
    practice.vmwire("up")
    assert "nothing is wrong" in practice.vmwire("doctor").stdout
    assert "warning" not in practice.vmwire("status").stdout


def test_forwarding_is_not_switched_on_for_an_isolated_network(practice):
    practice.config(file(net0="isolated"))
    practice.vmwire("up")
    assert practice.sh("sysctl -n net.ipv4.ip_forward").strip() == "0"
    practice.vmwire("down")
    assert practice.snapshot() == practice.before


def test_without_the_host_it_is_a_switch(practice):
    practice.config("networks:\n  net0:\n    mode: isolated\n    host: no\n")
    practice.vmwire("up")
    assert "nothing to do" in practice.vmwire("up").stdout
    one = Guest(practice, "net0", "vm1", mac=MAC + "1", address="10.0.0.1/24")
    two = Guest(practice, "net0", "vm2", mac=MAC + "2", address="10.0.0.2/24")
    assert reaches(one.space, "10.0.0.2") and reaches(two.space, "10.0.0.1")
    assert practice.sh("ip -br addr show dev net0").split()[2:] == []
    assert practice.sh("nft list tables") == "" and not practice.sh("ss -Hlnu")
    one.close()
    two.close()
    practice.vmwire("down")
    assert practice.snapshot() == practice.before


def test_who_reaches_whom(practice):
    """nat is closed, routed is open, isolated is closed both ways."""
    practice.config(file(nat0="nat", routed1="routed", isolated2="isolated", routed3="routed"))
    practice.vmwire("up")
    names = ("nat0", "routed1", "isolated2", "routed3")
    guests = {name: guest_of(practice, name, i) for i, name in enumerate(names)}
    guests["isolated2"][0].space.sh("ip route add default via 10.0.2.1")
    open_to = {(a, b) for a in names for b in names if a != b and reaches(guests[a][0].space, guests[b][1])}
    assert open_to == {("nat0", "routed1"), ("nat0", "routed3"), ("routed1", "routed3"), ("routed3", "routed1")}


def test_names_resolve_where_guests_are_reached(practice):
    text = file(nat0="nat", routed1="routed", isolated2="isolated")
    practice.config(text + "machines:\n" + "".join(
        f"  vm{i}:\n    nics: [{{network: {name}, mac: \"{MAC}{i}\", address: 10.0.{i}.9}}]\n"
        for i, name in enumerate(("nat0", "routed1", "isolated2"))))
    practice.vmwire("up")

    names = ("vm0.nat0", "vm1.routed1", "vm2.isolated2")
    known = [[bool(resolves(practice, name, f"10.0.{i}.1")) for name in names] for i in range(3)]
    assert known == [[True, True, False], [False, True, False], [False, False, True]]


def test_a_network_changes_its_mode_in_place(practice):
    before = None
    for mode in ("nat", "routed", "isolated", "nat"):
        practice.config(file(net0=mode))
        practice.vmwire("up")
        assert "nothing to do" in practice.vmwire("up").stdout, mode
        if not before:
            guest, address = guest_of(practice, "net0", 1)
            before = address
        assert reaches(practice.outside, address) == (mode == "routed"), mode
        assert reaches(guest.space, "192.168.87.1") == (mode != "isolated"), mode
    guest.close()
    practice.vmwire("down")
    assert practice.snapshot() == practice.before
