"""Programs that configure the uplink as well: systemd-networkd is told to leave it alone, and gets it back; the others are named."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from conftest import FAULTY, dies_with_us
from test_exact import difference

KEEP = "networks:\n  brext:\n    mode: bridged\n    uplink: re0\n"
BOTH = KEEP + "  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
TOLD = "/run/systemd/network/00-vmwire-brext.network"


@pytest.fixture
def bus(host):
    """A host with a system bus of its own, and /sys as in a container: managers do not wait for udev."""
    host.borrow("NetworkManager")
    host.sh("mkdir -p /run/dbus /run/udev; mount -o remount,ro /sys; dbus-daemon --system --fork --nopidfile")
    return host


def has_address(host, ifname="re0"):
    return "192.168.87.44/24" in host.sh(f"ip -br addr show dev {ifname}")


@pytest.fixture
def networkd(bus):
    bus.uplink("re0", gateway="192.168.87.1/24")
    bus.sh("mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp; "
           "chown -R systemd-network:systemd-network /run/systemd/netif; "
           "printf '[Match]\\nName=re0\\n[Network]\\nAddress=192.168.87.44/24\\nGateway=192.168.87.1\\nIPv6AcceptRA=no\\n' "
           "> /run/systemd/network/10-re0.network")
    bus.popen("/lib/systemd/systemd-networkd", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=dies_with_us)
    bus.wait_for(lambda: "configured" in managed_by(bus, "re0"), 20)
    return bus


def managed_by(host, ifname):
    """What networkd has to do with an interface."""
    rows = [line.split() for line in host.run("networkctl", "--no-legend", "--no-pager", check=False).stdout.splitlines()]
    return next((row[4] for row in rows if row[1] == ifname), "")


def test_networkd_lets_go_of_the_uplink_and_gets_it_back(networkd):
    host = networkd
    host.config(BOTH)
    before = host.snapshot()
    assert "networkctl reload" in host.vmwire("plan").stdout
    host.vmwire("up")
    host.wait_for(lambda: managed_by(host, "re0") == managed_by(host, "brext") == managed_by(host, "brnat") == "unmanaged")
    assert has_address(host, "brext") and not has_address(host)
    assert "nothing to do" in host.vmwire("up").stdout
    # It is told again where somebody took the file away, and it has taken the uplink out of the bridge.
    host.sh(f"rm {TOLD}; networkctl reload")
    host.wait_for(lambda: has_address(host) and "default via 192.168.87.1 dev re0" in host.sh("ip route"))
    assert "master" not in host.sh("ip link show re0")
    assert host.vmwire("status", check=False).returncode == 3
    host.vmwire("up")
    host.wait_for(lambda: managed_by(host, "re0") == "unmanaged")
    host.sh("ping -c1 -W2 192.168.87.1")
    host.vmwire("down")
    host.wait_for(lambda: managed_by(host, "re0").startswith("configur"))
    assert has_address(host) and "default via 192.168.87.1 dev re0" in host.sh("ip route")
    after = host.snapshot()
    assert TOLD not in after["run"]
    assert {k for k, v in after.items() if v != before[k]} <= {"run"}


def test_the_host_is_reachable_all_the_time_beside_networkd(networkd):
    networkd.config(KEEP)
    pings = networkd.peers["re0"].popen("ping", "-q", "-i", "0.01", "-c", "150", "-W", "2", "192.168.87.44",
                                        stdout=subprocess.PIPE, text=True)
    networkd.vmwire("up")
    assert " 150 received" in pings.communicate(timeout=30)[0]


@pytest.mark.parametrize("how", ["fail-after", "kill-after"])
def test_a_fault_while_networkd_is_told_leaves_no_word(networkd, how):
    networkd.config(KEEP)
    operations = json.loads(networkd.vmwire("plan", "--json").stdout)["operations"]
    number = 1 + [op["kind"] for op in operations].index("unmanage")
    networkd.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
    networkd.vmwire("down")
    assert "vmwire" not in networkd.sh("ls /run/systemd/network")
    networkd.wait_for(lambda: managed_by(networkd, "re0").startswith("configur"))
    assert has_address(networkd)


def test_networkmanager_is_named_and_its_uplink_taken_and_given_back(bus):
    host = bus
    host.uplink("re0", gateway="192.168.87.1/24")
    host.sh("mkdir -p /run/nm/system-connections /run/NetworkManager; mount --bind /run/nm /etc/NetworkManager; "
            "mount -t tmpfs tmpfs /var/lib/NetworkManager; printf '[main]\\nplugins=keyfile\\nno-auto-default=*\\n' "
            "> /etc/NetworkManager/NetworkManager.conf; cat > /etc/NetworkManager/system-connections/re0.nmconnection <<'EOF'\n"
            "[connection]\nid=re0\ntype=ethernet\ninterface-name=re0\n[ipv4]\nmethod=manual\n"
            "address1=192.168.87.44/24,192.168.87.1\n[ipv6]\nmethod=ignore\nEOF\n"
            "chmod 600 /etc/NetworkManager/system-connections/*")
    host.popen("NetworkManager", "--no-daemon", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=dies_with_us)
    host.wait_for(lambda: "default" in host.sh("ip route"), 30)
    host.config(KEEP)
    addresses = host.snapshot()["addresses"]
    said = host.vmwire("up").stderr
    assert has_address(host, "brext") and not has_address(host)
    assert "NetworkManager manages 're0'" in said
    let_go, back = re.findall(r"nmcli device set re0 managed (?:no|yes)", said)
    # What is said is right: it lets go without a gap, and what would have had it take the interface back does not.
    pings = host.peers["re0"].popen("ping", "-q", "-i", "0.01", "-c", "150", "-W", "2", "192.168.87.44",
                                    stdout=subprocess.PIPE, text=True)
    host.sh(let_go)
    assert " 150 received" in pings.communicate(timeout=30)[0]
    host.peers["re0"].sh("ip link set dev far down; sleep 1; ip link set dev far up")
    time.sleep(3)
    assert has_address(host, "brext") and not has_address(host) and "master brext" in host.sh("ip link show dev re0")
    host.wait_for(lambda: host.run("ping", "-c1", "-W1", "192.168.87.1", check=False).returncode == 0)
    assert host.vmwire("up").stderr == ""
    host.vmwire("down")
    host.sh(back)
    host.wait_for(lambda: "re0:connected" in host.sh("nmcli -t -f device,state device"), 20)
    host.wait_for(lambda: "default via 192.168.87.1 dev re0" in host.sh("ip route"))
    assert host.snapshot()["addresses"] == addresses


def test_a_dhcp_client_of_the_uplink_is_named(bus):
    """Its lease would end on the bridge, and its renewal would put the address back on the uplink."""
    host = bus
    peer = host.uplink("re0", gateway="192.168.87.1/24")
    peer.sh("dnsmasq --conf-file=/dev/null --port=0 --interface=far --bind-interfaces --dhcp-range=192.168.87.44,192.168.87.44,1h "
            "--dhcp-leasefile=/run/leases --pid-file=/run/dnsmasq.pid")
    host.sh("mkdir -p /run/dhcpcd /run/lease; mount --bind /run/lease /var/lib/dhcpcd; touch /run/resolv; "
            "mount --bind /run/resolv /etc/resolv.conf; dhcpcd -q -4 -A -w re0", timeout=60)
    host.config(KEEP)
    said = host.vmwire("up").stderr
    assert "address 192.168.87.44/24 of 're0' is leased for another" in said and "'address: dhcp'" in said
    assert "dhcpcd asks for an address on 're0'" in said and "denyinterfaces" in said
    for pid, command in host.processes():
        if command.startswith("dhcpcd"):
            os.kill(pid, signal.SIGKILL)
    host.vmwire("down")
    assert has_address(host)


def test_ifupdown_is_named_and_finds_its_interface_again(host):
    """Debian's own way: no resident program, but ifup and ifdown by hand, and at the start of the host."""
    host.borrow("ifup")
    host.uplink("re0", gateway="192.168.87.1/24")
    host.sh("mkdir -p /run/network; printf 'iface re0 inet static\\n  address 192.168.87.44/24\\n  gateway 192.168.87.1\\n' "
            "> /run/interfaces; ifup -i /run/interfaces re0")
    before = host.snapshot()
    assert has_address(host)
    host.config(KEEP)
    said = host.vmwire("up").stderr
    assert "ifupdown has set 're0' up" in said and "before 'vmwire down'" in said
    assert has_address(host, "brext") and not has_address(host)
    assert "already configured" in host.run("ifup", "-i", "/run/interfaces", "re0", check=False).stderr
    assert has_address(host, "brext") and not has_address(host)
    assert "ifupdown" not in host.vmwire("up").stderr  # said when the uplink is taken
    host.vmwire("down")
    assert difference(before, host.snapshot()) == {}
    host.sh("ifdown -i /run/interfaces re0")
    assert not has_address(host)
