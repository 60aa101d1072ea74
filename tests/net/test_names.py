"""What a nat network serves its guests: leases that last, names, DHCP's options, booting from the network."""
import json
import subprocess
import sys

import pytest
from conftest import FAULTY, ROOT, dies_with_us
from guests import Guest
from test_nat import guest_on

sys.path.insert(0, str(ROOT / "scripts"))
import image  # noqa: E402

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
    # Two tables, the word to read them, and what the nic that is there may send from.
    assert "4 changes" in up(practice, HEAD + machines(3, ", address: 10.0.0.10{}"))
    assert pid(practice) == first
    practice.wait_for(lambda: resolves(guest.space, "vm2.brnat") == ["10.0.0.102"])
    assert Guest(practice, "brnat", "vm1", mac=MAC + "1", given="10.0.0.101").lease() == "10.0.0.101"
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


USERS = """
mkdir -p /run/dbus /run/users /run/systemd/resolve
for kind in passwd group; do cp /etc/$kind /run/users/$kind; done
grep -q ^systemd-resolve: /run/users/passwd || echo 'systemd-resolve:x:997:997::/:/bin/false' >> /run/users/passwd
grep -q ^systemd-resolve: /run/users/group || echo 'systemd-resolve:x:997:' >> /run/users/group
for kind in passwd group; do mount --bind /run/users/$kind /etc/$kind; done
cp -a /usr/share/dbus-1/system.d /run/system.d
cp {unpacked}/usr/share/dbus-1/system.d/*.conf /run/system.d/
mount --bind /run/system.d /usr/share/dbus-1/system.d
chown systemd-resolve:systemd-resolve /run/systemd/resolve
dbus-daemon --system --fork --nopidfile
"""


@pytest.fixture
def resolved(practice, tmp_path):
    """Debian's systemd-resolved, taken apart: installed, it would take over this machine's own names."""
    cache = ROOT / "build" / "packages"
    package = next(iter(sorted(cache.glob("systemd-resolved_*.deb"))), None) or image.fetch("systemd-resolved", cache)
    unpacked = tmp_path / "resolved"
    subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
    practice.sh(USERS.replace("{unpacked}", str(unpacked)))

    def start():
        practice.resolver = practice.popen(unpacked / "lib/systemd/systemd-resolved", stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL, preexec_fn=dies_with_us)
        practice.wait_for(lambda: "127.0.0.53" in practice.sh("ss -Hlnu"))

    practice.start_resolver = start
    practice.resolvectl = lambda *words: practice.run(unpacked / "usr/bin/resolvectl", *words, check=False).stdout
    start()
    yield practice
    practice.resolver.terminate()
    practice.resolver.wait()


def test_the_host_resolves_guests_names_through_systemd_resolved(resolved):
    text = HEAD + "    domain: lab.example\n" + machines(1, ", address: 10.0.0.50")
    up(resolved, text)
    Guest(resolved, "brnat", mac=MAC + "0", given="10.0.0.50")  # a bridge without a port has no carrier, and is not asked
    resolved.wait_for(lambda: resolves(resolved, "vm0.lab.example", "127.0.0.53") == ["10.0.0.50"])
    assert "nothing to do" in resolved.vmwire("up").stdout
    told = resolved.resolvectl("status", "brnat")
    assert "-DefaultRoute" in told and "~lab.example" in told
    # Another domain is told in place; dns: off takes it back.
    up(resolved, text.replace("lab.example", "other.example"))
    resolved.wait_for(lambda: resolves(resolved, "vm0.other.example", "127.0.0.53") == ["10.0.0.50"])
    up(resolved, HEAD + "    dns: off\n")
    assert "10.0.0.1" not in resolved.resolvectl("dns", "brnat")
    up(resolved, text)
    assert "10.0.0.1" in resolved.resolvectl("dns", "brnat")
    resolved.vmwire("down")
    assert "brnat" not in resolved.resolvectl("dns")


def test_a_resolver_that_forgot_is_drift_and_told_again(resolved):
    up(resolved, HEAD)
    resolved.resolvectl("revert", "brnat")
    assert resolved.vmwire("status", check=False).returncode == 3
    assert "1 change" in resolved.vmwire("up").stdout
    assert "10.0.0.1" in resolved.resolvectl("dns", "brnat")


@pytest.mark.parametrize("how", ["fail-before", "fail-after", "kill-before", "kill-after"])
def test_a_change_that_fails_at_any_operation_leaves_the_resolver_as_it_was(resolved, how):
    up(resolved, HEAD + machines(1))
    before = resolved.resolvectl("dns", "brnat") + resolved.resolvectl("domain", "brnat") + resolved.sh(
        "cat /run/vmwire-dnsmasq/brnat/*hosts /run/vmwire/network/brnat/dnsmasq.conf")
    resolved.config(HEAD + "    domain: other.example\n" + machines(3))
    count = len(json.loads(resolved.vmwire("plan", "--json").stdout)["operations"])
    assert count >= 4
    for number in range(1, count + 1):
        resolved.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"})
        resolved.vmwire("plan")
        assert resolved.resolvectl("dns", "brnat") + resolved.resolvectl("domain", "brnat") + resolved.sh(
            "cat /run/vmwire-dnsmasq/brnat/*hosts /run/vmwire/network/brnat/dnsmasq.conf") == before, number
