"""One MTU from the uplink, or from the file, through bridge and taps to guests; large packets pass, or their sender is told."""
import json
import subprocess

import pytest
from conftest import FAULTY
from guests import Guest
from test_ip6 import HEAD, WORLD, fixed6, guest6, solicit  # noqa: F401 (a fixture)
from test_modes import reaches

NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
BRIDGED = "networks:\n  brext:\n    mode: bridged\n    uplink: re0\n"
MAC = "00:a0:98:00:00:0"
RECEIVER = """
import socket
listener = socket.create_server(("", 5000)); print("ready", flush=True)
sock, _ = listener.accept(); count = 0
while (data := sock.recv(65536)): count += len(data)
print(count)
"""


def mtu(space, ifname):
    return json.loads(space.sh(f"ip -j link show dev {ifname}"))[0]["mtu"]


def index(space, ifname):
    return json.loads(space.sh(f"ip -j link show dev {ifname}"))[0]["ifindex"]


def fits(space, target, size):
    """Does a packet of `size` bytes come and go in one piece?  Tried anew: the first may only teach the path's MTU."""
    return space.run("ping", "-c", "1", "-W", "1", "-M", "do", "-s", str(size - 28), target, check=False).returncode == 0


def guest_of(host, network="brnat", number=1, size=1500):
    guest = Guest(host, network, f"vm{number}", mac=f"{MAC}{number}")
    guest.space.sh(f"ip link set dev eth0 mtu {size}")
    if network == "brnat":
        guest.address = guest.lease()
    return guest


def settled(host, network, guests=(), size=1500):
    assert "nothing to do" in host.vmwire("up").stdout
    assert host.vmwire("status", check=False).returncode == 0
    assert [mtu(host, network)] + [mtu(host, guest.tap) for guest in guests] == [size] * (1 + len(guests))


def changed(host, text, network, guests=(), size=1500):
    host.config(text)
    before = [index(host, guest.tap) for guest in guests]
    host.vmwire("up")
    settled(host, network, guests, size)
    assert [index(host, guest.tap) for guest in guests] == before


def home(host, size=1500):
    host.outside = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24", mtu=size)
    return host


@pytest.mark.parametrize("size", [1420, 9000])
@pytest.mark.parametrize("more", ["", "    uplink: re0\n"])
def test_a_nat_network_has_its_uplinks_mtu_and_keeps_it_without_guests(host, size, more):
    home(host, size)
    host.config(NAT + more)
    host.vmwire("up")
    guest = guest_of(host, size=size)
    settled(host, "brnat", [guest], size)
    assert f"option:mtu,{size}" in host.sh("cat /run/vmwire/network/brnat/dnsmasq.conf")
    assert fits(guest.space, "192.168.87.1", size)
    assert host.vmwire("exec", "--nic", "brnat", "--", "echo", "{mtu0}").stdout == f"{size}\n"
    guest.close()
    host.wait_for(lambda: "vm1" not in host.sh("ip link"))
    settled(host, "brnat", size=size)


def test_jumbo_frames_end_to_end_and_live_changes(host):
    before = home(host, 9000).snapshot()
    changed(host, NAT, "brnat", size=9000)
    guest = guest_of(host, size=9000)
    assert fits(guest.space, "192.168.87.1", 9000)
    changed(host, NAT + "    mtu: 1280\n", "brnat", [guest], 1280)
    assert fits(guest.space, "192.168.87.1", 1280)
    other = guest_of(host, number=2, size=1280)
    changed(host, NAT + "    mtu: 65521\n", "brnat", [guest, other], 65521)
    guest.space.sh("ip link set dev eth0 mtu 65521")
    assert fits(guest.space, "10.0.0.1", 65521)
    changed(host, NAT, "brnat", [guest, other], 9000)
    other.close()
    guest.close()
    host.wait_for(lambda: "vm2" not in host.sh("ip link") and "vm1" not in host.sh("ip link"))
    settled(host, "brnat", size=9000)
    host.vmwire("down")
    assert host.snapshot() == before


def test_what_the_uplink_or_a_hand_changes_is_drift_and_mended(host):
    home(host)
    changed(host, NAT, "brnat")
    guest = guest_of(host)
    host.sh("ip link set dev re0 mtu 1420")  # a tunnel's, say
    told = host.vmwire("status", check=False)
    assert told.returncode == 3 and "MTU of 1420" in told.stdout
    host.vmwire("up")
    settled(host, "brnat", [guest], 1420)
    host.sh(f"ip link set dev {guest.tap} mtu 1300")
    assert "mtu-mismatch" in host.vmwire("doctor", "brnat", check=False).stdout
    assert "machine 'vm1'" in host.vmwire("doctor", "brnat", check=False).stdout
    host.vmwire("up")
    settled(host, "brnat", [guest], 1420)


def test_a_bridged_network_has_its_uplinks_mtu(host):
    home(host, 9000)
    before = host.snapshot()
    changed(host, BRIDGED, "brext", size=9000)
    guest = guest_of(host, "brext", size=9000)
    guest.space.sh("ip addr add 192.168.87.50/24 dev eth0")
    assert fits(guest.space, "192.168.87.1", 9000) and fits(host, "192.168.87.1", 9000)
    # With less than the uplink's, which is left alone.
    for size in (1500, 1400):
        host.config(BRIDGED + f"    mtu: {size}\n")
        assert "less than its uplink 're0'" in host.vmwire("up").stderr
        settled(host, "brext", [guest], size)
        assert mtu(host, "re0") == 9000 and fits(guest.space, "192.168.87.1", size)
    host.vmwire("down")
    host.vmwire("up")
    settled(host, "brext", [guest], 1400)
    guest.close()
    host.vmwire("down")
    assert host.snapshot() == before
    host.config(BRIDGED + "    mtu: 1500\n")  # the bridge does not take its first port's
    host.vmwire("up")
    settled(host, "brext", size=1500)


def test_more_than_the_uplink_carries_is_refused_with_the_command_that_changes_that(host):
    home(host)
    host.config(BRIDGED + "    mtu: 9000\n")
    before = host.snapshot()
    told = host.vmwire("up", check=False)
    assert told.returncode != 0 and "vmwire.yaml:5:10" in told.stderr and host.snapshot() == before
    command = told.stderr.split("that MTU first (")[1].split(")")[0]
    host.sh(command)
    host.outside.sh("ip link set dev far mtu 9000")
    host.vmwire("up")
    settled(host, "brext", size=9000)


def test_ipv6_addresses_are_not_lost_to_a_small_mtu(host):
    home(host)
    host.sh("ip addr add fd00:87::44/64 dev re0 nodad")
    host.config(BRIDGED + "    mtu: 1279\n")
    told = host.vmwire("up", check=False)
    assert told.returncode != 0 and "would lose fd00:87::44/64" in told.stderr
    host.config(BRIDGED + "    mtu: 1280\n")
    host.vmwire("up")
    settled(host, "brext", size=1280)
    assert "fd00:87::44" in host.sh("ip -6 addr show dev brext")


def test_a_nat_network_behind_a_bridged_one_has_that_ones(host):
    home(host)
    text = BRIDGED + "    mtu: 1400\n" + NAT.split("\n", 1)[1]
    host.config(text)
    host.vmwire("up")
    settled(host, "brnat", size=1400)
    assert mtu(host, "brext") == 1400


def test_an_isolated_network_has_1500_or_what_the_file_says(host):
    home(host, 9000)
    text = "networks:\n  lan:\n    mode: isolated\n    host: no\n"
    changed(host, text, "lan")
    changed(host, text + "    mtu: 9000\n", "lan", size=9000)
    guests = [guest_of(host, "lan", number, 9000) for number in (1, 2)]
    for number, guest in enumerate(guests):
        guest.space.sh(f"ip addr add 10.9.9.{number + 1}/24 dev eth0")
    assert fits(guests[0].space, "10.9.9.2", 9000)


def join(one, one_address, two, two_address, size):
    name = f"to{len(one.sh('ip -br link').splitlines())}"
    one.sh(f"ip link add name {name} mtu {size} type veth peer name {name}b mtu {size} netns {two.holder.pid}; "
           f"ip addr add {one_address} dev {name}; ip link set dev {name} up")
    two.sh(f"ip addr add {two_address} dev {name}b; ip link set dev {name}b up")


def test_a_smaller_link_on_the_way_is_learned_through_nat(host):
    """Path MTU discovery (RFC 1191): 1500 on every link but the third of four, which carries 1400."""
    home(host)
    router, far = host.uplink("unused0"), host.uplink("unused1")
    join(host.outside, "172.31.0.1/24", router, "172.31.0.2/24", 1400)
    join(router, "172.31.1.1/24", far, "172.31.1.2/24", 1500)
    for space in (host.outside, router):
        space.sh("sysctl -qw net.ipv4.ip_forward=1")
    host.outside.sh("ip route add default via 172.31.0.2")
    router.sh("ip route add default via 172.31.0.1")
    far.sh("ip route add default via 172.31.1.1")
    changed(host, NAT, "brnat")
    guest = guest_of(host)
    told = guest.space.run("ping", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1472", "172.31.1.2", check=False)
    assert "Frag needed and DF set (mtu = 1400)" in told.stdout
    assert fits(guest.space, "172.31.1.2", 1400)
    for sender, target, receiver in ((guest.space, "172.31.1.2", far), (far, "192.168.87.44", guest.space)):
        if receiver is guest.space:
            changed(host, NAT + f"    forward: tcp 5000 -> {guest.address}:5000\n", "brnat", [guest])
        guest.space.sh("ip route flush cache")
        listener = receiver.popen("python3", "-c", RECEIVER, stdout=subprocess.PIPE, text=True)
        assert listener.stdout.readline() == "ready\n"
        sender.sh(f"python3 -c 'import socket; s = socket.create_connection((\"{target}\", 5000)); "
                  "s.sendall(bytes(3000000)); s.close()'")
        assert listener.communicate(timeout=20)[0] == "3000000\n"
        assert "mtu 1400" in sender.sh(f"ip route get {target}")


def fits6(space, target, size):
    return space.run("ping", "-c", "1", "-W", "1", "-M", "do", "-s", str(size - 48), target, check=False).returncode == 0


def test_ipv6_guests_learn_it_from_router_advertisements(fixed6):  # noqa: F811
    host = fixed6

    def told(guest):
        return int(guest.space.sh("cat /proc/sys/net/ipv6/conf/eth0/mtu"))

    def learns(guest, size):
        solicit(guest.space, "eth0")
        host.wait_for(lambda: told(guest) == size)

    for space, ifname in ((host, "re0"), (host.outside, "far")):
        space.sh(f"ip link set dev {ifname} mtu 9000")
    host.config(HEAD)
    host.vmwire("up")
    guest = guest6(host)
    assert told(guest) == 1500  # as large as its own interface
    guest.space.sh("ip link set dev eth0 mtu 9000")
    learns(guest, 9000)
    assert fits6(guest.space, WORLD, 9000)
    changed(host, HEAD + "    mtu: 1280\n", "brnat", [guest], 1280)
    learns(guest, 1280)
    changed(host, HEAD, "brnat", [guest], 9000)
    # A link on the way has less: packet too big (RFC 8201).
    host.sh("ip link set dev re0 mtu 1400")
    changed(host, HEAD + "    mtu: 9000\n", "brnat", [guest], 9000)
    learns(guest, 9000)
    told_so = guest.space.run("ping", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "8952", WORLD, check=False)
    assert "mtu=1400" in told_so.stdout + told_so.stderr or "mtu: 1400" in told_so.stdout + told_so.stderr
    assert fits6(guest.space, WORLD, 1400)


def test_an_ipv6_network_has_at_least_1280(fixed6):  # noqa: F811
    host = fixed6
    host.config(HEAD + "    mtu: 1279\n")
    told = host.vmwire("up", check=False)
    assert told.returncode == 2 and "IPv6 needs at least 1280" in told.stderr
    host.sh("ip link set dev re0 mtu 1000")
    host.config(HEAD)
    host.vmwire("up")
    settled(host, "brnat", size=1280)


@pytest.mark.parametrize("how", ["fail-after", "kill-after"])
def test_a_change_that_fails_at_any_operation_leaves_every_mtu_as_it_was(host, how):
    home(host, 9000)
    changed(host, NAT, "brnat", size=9000)
    guests = [guest_of(host, number=number) for number in (1, 2)]

    def state():
        return host.sh("ip -br link; ip -j link | grep -o '\"mtu\":[0-9]*'; grep mtu /run/vmwire/network/brnat/dnsmasq.conf")

    before = state()
    host.config(NAT + "    mtu: 1400\n")
    count = len(json.loads(host.vmwire("plan", "--json").stdout)["operations"])
    assert count == 6  # the bridge, two taps, dnsmasq's stop, configuration and start
    for number in range(1, count + 1):
        host.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        host.vmwire("plan")
        assert state() == before, number
    assert [reaches(guest.space, "192.168.87.1") for guest in guests] == [True, True]


def test_the_printed_plan_leaves_the_same_mtu(host):
    """A bridge that has been told its MTU keeps it when its ports come and go."""
    home(host, 9000)
    host.config(NAT)
    plan = host.vmwire("plan").stdout
    host.sh("\n".join(line for line in plan.splitlines() if line.startswith("ip link") and "brnat" in line))
    assert mtu(host, "brnat") == 9000
    host.sh("ip link add name v0 mtu 9000 type veth; ip link set dev v0 master brnat; ip link del dev v0")
    assert mtu(host, "brnat") == 9000
