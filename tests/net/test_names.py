"""What a nat network serves its guests: leases that last, names, DHCP's options, booting from the network."""
import json

import pytest
from guests import Guest
from test_nat import guest_on

HEAD = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
MAC = "00:a0:98:00:00:0"
OPTIONS = """#!/bin/sh
[ "$1" = bound ] && env > {out}
exit 0
"""


def machines(count, address=""):
    return "machines:\n" + "".join(
        f"  vm{i}:\n    nics: [{{network: brnat, mac: \"{MAC}{i}\"{address.format(i)}}}]\n" for i in range(count))


@pytest.fixture
def practice(host):
    host.outside = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    return host


def up(host, text):
    host.config(text)
    return host.vmwire("up").stdout


def pid(host):
    return host.sh("cat /run/vmwire/network/brnat/dnsmasq.pid").strip()


def resolves(space, name, server="10.0.0.1"):
    done = space.run("busybox", "nslookup", name, server, check=False).stdout
    return [line.split()[-1] for line in done.splitlines()[2:] if line.startswith("Address")]


def test_leases_survive_down_and_up(practice):
    up(practice, HEAD)
    guests = [Guest(practice, "brnat", f"vm{i}", mac=MAC + str(i)) for i in range(3)]
    addresses = [guest.lease() for guest in guests]
    for guest in guests:
        guest.close()
    practice.vmwire("down")
    assert practice.sh("cat /run/vmwire/leases/brnat").count("\n") == 3
    up(practice, HEAD)
    told = json.loads(practice.vmwire("leases", "--json").stdout)["networks"][0]["leases"]
    assert sorted(row["address"] for row in told) == sorted(addresses)
    assert Guest(practice, "brnat", "vm1", mac=MAC + "1").lease() == addresses[1]


def test_a_network_without_leases_leaves_no_file(practice):
    before = practice.sh("find /run | sort")
    up(practice, HEAD)
    practice.vmwire("down")
    assert practice.sh("find /run | sort") == before


def test_a_machine_that_comes_or_changes_is_told_to_the_running_server(practice):
    up(practice, HEAD + machines(1))
    first, guest = pid(practice), Guest(practice, "brnat", "vm0", mac=MAC + "0")
    assert guest.lease()
    assert "2 changes" in up(practice, HEAD + machines(3, ", address: 10.0.0.10{}"))
    assert pid(practice) == first
    practice.wait_for(lambda: resolves(guest.space, "vm2.brnat") == ["10.0.0.102"])
    assert Guest(practice, "brnat", "vm1", mac=MAC + "1").lease() == "10.0.0.101"
    assert "nothing to do" in practice.vmwire("up").stdout


def test_a_failed_change_is_told_back(practice):
    up(practice, HEAD + machines(2, ", address: 10.0.0.10{}"))
    first = pid(practice)
    two = HEAD + "  brtwo:\n    mode: nat\n    subnet: 10.0.2.0/24\n" + machines(2, ", address: 10.0.0.20{}")
    practice.sh("mount --bind /bin/false $(command -v dnsmasq)")
    practice.config(two)
    done = practice.vmwire("up", check=False)
    assert done.returncode == 1 and "rolled back" in done.stderr
    assert pid(practice) == first
    practice.wait_for(lambda: resolves(practice, "vm1.brnat") == ["10.0.0.101"])


def test_another_domain_hosts_and_upstream(practice):
    practice.outside.popen("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=5353", "--no-resolv", "--no-hosts",
                           "--address=/outside.example/203.0.113.7", "--pid-file=")
    up(practice, HEAD + "    domain: lab.example\n    dns:\n      upstream: [\"192.168.87.1:5353\"]\n"
       "      hosts: {printer: 192.168.87.20, www.other.example: 203.0.113.9}\n" + machines(1, ", address: 10.0.0.50"))
    guest, lease = guest_on(practice, "brnat", "guest", mac=MAC + "0")
    assert lease["domain"] == "lab.example" and lease["ip"] == "10.0.0.50"
    assert resolves(guest, "vm0.lab.example") == ["10.0.0.50"]
    assert resolves(guest, "printer.lab.example") == ["192.168.87.20"]
    assert resolves(guest, "www.other.example") == ["203.0.113.9"]
    practice.wait_for(lambda: resolves(guest, "outside.example") == ["203.0.113.7"])
    assert resolves(guest, "vm0.brnat") == []


def test_dhcp_lease_time_and_options(practice):
    up(practice, HEAD + "    dhcp:\n      range: 10.0.0.100-10.0.0.120\n      lease: 12h\n"
       "      options: {ntp-server: 10.0.0.7, domain-search: \"a.example,b.example\", dns-server: 9.9.9.9}\n")
    out = practice.directory / "env"
    script = practice.directory / "event"
    script.write_text(OPTIONS.format(out=out))
    script.chmod(0o755)
    guest = Guest(practice, "brnat")
    guest.space.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-s", script, "-O", "ntpsrv", "-O", "search")
    told = dict(line.split("=", 1) for line in out.read_text().splitlines() if "=" in line)
    assert told["lease"] == str(12 * 3600) and told["ntpsrv"] == "10.0.0.7" and told["dns"] == "9.9.9.9"
    assert told["search"] == "a.example b.example"
    assert 100 <= int(told["ip"].split(".")[-1]) <= 120


@pytest.mark.parametrize("more, services", [("    dns: off\n", ["67"]), ("    dhcp: off\n", ["53"]),
                                            ("    dns: off\n    dhcp: off\n", [])])
def test_what_is_off_is_not_there(practice, more, services):
    up(practice, HEAD + more)
    listeners = practice.sh("ss -Hlnup")
    assert sorted({line.split()[3].rsplit(":", 1)[1] for line in listeners.splitlines()}) == services
    assert "nothing to do" in practice.vmwire("up").stdout
    if services == ["67"]:
        assert guest_on(practice, "brnat", "guest")[1].get("dns") is None
    practice.vmwire("down")


def test_booting_from_the_network(practice):
    root = practice.directory / "tftp"
    root.mkdir()
    (root / "pxelinux.0").write_text("first stage")
    for folder in [root, *root.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    up(practice, HEAD + f"    boot: {{file: pxelinux.0, uefi: ipxe.efi, root: {root}}}\n")
    out = practice.directory / "env"
    script = practice.directory / "event"
    script.write_text(OPTIONS.format(out=out))
    script.chmod(0o755)
    guest = Guest(practice, "brnat", address="10.0.0.77/24")

    def boot_file(*more):
        guest.space.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-s", script, *more)
        return dict(line.split("=", 1) for line in out.read_text().splitlines() if "=" in line)

    told = boot_file()
    assert told["boot_file"] == "pxelinux.0" and told["siaddr"] == "10.0.0.1"
    assert boot_file("-x", "0x5d:0007")["boot_file"] == "ipxe.efi"
    guest.space.sh("cd /run && busybox tftp -g -r pxelinux.0 10.0.0.1")
    assert guest.space.sh("cat /run/pxelinux.0") == "first stage"
