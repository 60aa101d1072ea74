"""The FreeBSD backend, whole: vmwire-freebsd in a mount namespace whose ifconfig, pfctl, bhyve and the rest are sim.py,
which answers as a FreeBSD 12.1 was seen to.  Nothing of this host is touched: none of its network programs is run."""
import atexit
import copy
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from conftest import BUILD, dies_with_us

HERE = pathlib.Path(__file__).resolve().parent
VMWIRE = BUILD / "tests" / "freebsd" / "vmwire-freebsd"
PROGRAMS = ["ifconfig", "ipfw", "kldload", "kldunload", "pfctl", "resolvconf", "route", "sysctl", "kenv", "pgrep", "netstat", "sockstat", "devctl",
            "pciconf", "arp", "ndp"]
PROCESSES = ["dhclient", "dnsmasq", "bhyve", "bhyvectl"]  # what somebody looks at while it runs: sim.py itself

# /usr/bin and /usr/sbin become folders of links to what they were, with sim.py under the names of FreeBSD's programs.
SETUP = """
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
for folder in bin sbin; do
    mkdir /mnt/$folder /mnt/new-$folder
    mount --bind /usr/$folder /mnt/$folder
    cp -s /mnt/$folder/* /mnt/new-$folder/ 2>/dev/null || :
done
links() {
    program=$1
    shift
    for name; do
        ln -sf $program /mnt/new-bin/$name
        ln -sf $program /mnt/new-sbin/$name
    done
}
links @CALL@ @PROGRAMS@
links @SIM@ @PROCESSES@
mount --bind /mnt/new-bin /usr/bin
mount --bind /mnt/new-sbin /usr/sbin
mkdir /mnt/run /mnt/dev /mnt/sim
mount --bind @DIRECTORY@ /mnt/sim
mount --bind /mnt/run /var/run
mount -t tmpfs tmpfs /mnt/dev
mknod /mnt/dev/null c 1 3
mkdir /mnt/dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts /mnt/dev/pts
ln -s pts/ptmx /mnt/dev/ptmx
mount --rbind /mnt/dev /dev
@CALL@ --serve @SIM@ >/dev/null &
until [ -S /mnt/call ]; do sleep 0.01; done
echo ready
exec sleep infinity >/dev/null
"""


def link(ether, up=True, inet=(), group="", **more):
    flags = ["BROADCAST", "SIMPLEX", "MULTICAST"] + (["UP", "RUNNING"] if up else [])
    return {"flags": flags, "mtu": 1500, "inet": list(inet), "group": group, "ether": ether, "carrier": True, **more}


FRESH = {
    "links": {
        "vtnet0": link("52:54:00:12:34:56", inet=["192.0.2.5/24"]),
        "re1": link("52:54:00:12:34:57", up=False),
        "em0": link("52:54:00:12:34:58", up=False),
        "lo0": link("00:00:00:00:00:00", group="lo"),
    },
    "units": [],
    "routes": [{"to": "default", "gateway": "192.0.2.1", "flags": "UGS", "netif": "vtnet0"},
               {"to": "192.0.2.0/24", "gateway": "link#1", "flags": "U", "netif": "vtnet0"}],
    "neighbours": [{"ip": "192.0.2.9", "mac": "52:54:00:00:00:09", "netif": "vtnet0", "pub": False},
                   {"ip": "192.0.2.10", "mac": "52:54:00:12:34:56", "netif": "vtnet0", "pub": True}],
    "sysctls": {"net.inet.ip.forwarding": "0", "hw.vmm.iommu.enable": "1", "net.link.bridge.pfil_member": "1",
                "net.link.bridge.pfil_local_phys": "0"},
    "missing": [],
    "modules": {"pf": False, "vmm": False, "nmdm": False},
    "kenv": {},
    "ipfw": {"rules": [], "pipes": {}},
    "pf": {"on": False, "main": [], "anchors": {}},
    "devices": [{"selector": "pci0:0:3:0", "own": "em0", "now": "em0"}],
    "dhcp": {"address": "10.0.2.15/24", "router": "10.0.2.2"},
}


@functools.cache
def simcall():
    """simcall.c, compiled: each process of pytest has its own."""
    program = pathlib.Path(tempfile.mkdtemp()) / "simcall"
    atexit.register(shutil.rmtree, program.parent)
    subprocess.run(["cc", "-O1", "-D_GNU_SOURCE", "-o", program, HERE / "simcall.c"], check=True)
    return program


class FreeBSD:
    def __init__(self, directory):
        self.directory = directory
        self.state = directory / "host.json"
        self.change(lambda host: host.update(copy.deepcopy(FRESH)))
        (directory / "guest").write_text("")
        setup = SETUP
        for name, value in (("PROGRAMS", " ".join(PROGRAMS)), ("PROCESSES", " ".join(PROCESSES)), ("SIM", HERE / "sim.py"),
                            ("CALL", simcall()), ("DIRECTORY", directory)):
            setup = setup.replace(f"@{name}@", str(value))
        self.holder = subprocess.Popen(["unshare", "-m", "-n", "sh", "-ec", setup], stdout=subprocess.PIPE, text=True,
                                       stdin=subprocess.DEVNULL, preexec_fn=dies_with_us)
        assert self.holder.stdout.readline() == "ready\n"

    def change(self, act):
        host = json.loads(self.state.read_text()) if self.state.exists() else {}
        act(host)
        self.state.write_text(json.dumps(host))

    @property
    def host(self):
        return json.loads(self.state.read_text())

    def file(self, text):
        path = self.directory / "vmwire.yaml"
        path.write_text(text)
        path.chmod(0o600)

    def sh(self, script):
        return subprocess.run(["nsenter", "-t", str(self.holder.pid), "-m", "-n", "sh", "-ec", script], check=True,
                              capture_output=True, text=True).stdout

    def start(self, *words, fault=None, stdin=subprocess.DEVNULL, environment=None):
        environment = {**os.environ, **(environment or {}), **({"VMWIRE_FAULT": fault} if fault else {})}
        return subprocess.Popen(
            ["nsenter", "-t", str(self.holder.pid), "-m", "-n", VMWIRE, "-c",
             str(self.directory / "vmwire.yaml"), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=stdin, text=True,
            env=environment, preexec_fn=dies_with_us)

    def run(self, *words, status=0):
        process = self.start(*words)
        out, errors = process.communicate(timeout=60)
        assert status is None or process.returncode == status, f"{words} gave {process.returncode}:\n{out}{errors}"
        return out + errors

    def exists(self, path):
        """Asked in there: from here /var/run, an absolute link, would lead to this host's /run."""
        return subprocess.run(["nsenter", "-t", str(self.holder.pid), "-m", "test", "-e", path, "-o", "-L", path],
                              check=False).returncode == 0

    def pids(self, title):
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cmdline").read_bytes().split(b"\0")[0].decode() == title and \
                        os.readlink(entry / "ns/mnt") == os.readlink(f"/proc/{self.holder.pid}/ns/mnt"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def log(self, name="log"):
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, what, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if what():
                return
            time.sleep(0.05)
        raise AssertionError("it does not come")

    def end(self):
        mine = os.readlink(f"/proc/{self.holder.pid}/ns/mnt")
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.readlink(entry / "ns/mnt") == mine:
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
        self.holder.wait()
        self.holder.stdout.close()


@pytest.fixture
def bsd(tmp_path):
    host = FreeBSD(tmp_path)
    yield host
    host.end()


BRIDGED = "networks:\n  brext: {mode: bridged, uplink: vtnet0}\n"
DHCP = "networks:\n  brext: {mode: bridged, uplink: re1, address: dhcp}\n"
NAT = "networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: vtnet0}\n"
MACHINE = NAT + "machines:\n  vm0: {nics: [{network: brnat}], display: false}\n".replace(", display: false", "")


def as_it_was(bsd, **changes):
    want = {**copy.deepcopy(FRESH), **changes}
    now = bsd.host
    for host in (want, now):
        host.pop("modules")  # what was loaded stays loaded
        host["routes"].sort(key=str)
        host["neighbours"].sort(key=str)
        for name in host["links"]:
            host["links"][name]["flags"].sort()
            host["links"][name].pop("description", None)
    assert now == want
    assert not bsd.exists("/var/run/vmwire")


def test_keep_moves_the_address_and_down_moves_it_back(bsd):
    bsd.file(BRIDGED)
    bsd.run("up")
    host = bsd.host
    assert host["links"]["brext"]["inet"] == ["192.0.2.5/24"] and host["links"]["vtnet0"]["inet"] == []
    assert host["links"]["brext"]["members"] == ["vtnet0"]
    assert {"to": "default", "gateway": "192.0.2.1", "flags": "UGS", "netif": "brext"} in host["routes"]
    assert {(n["ip"], n["netif"], n["pub"]) for n in host["neighbours"]} == {
        ("192.0.2.9", "brext", False), ("192.0.2.10", "brext", True)}
    assert "is as" in bsd.run("up") or bsd.host == host
    assert bsd.run("plan", "--exit-code") is not None
    assert "up" in bsd.run("status")
    bsd.run("down")
    as_it_was(bsd)


VLANS = ("networks:\n  office: {mode: bridged, uplink: re1, vlan: 10, address: 10.10.0.2/24}\n"
         "  voice: {mode: bridged, uplink: re1, vlan: 20}\n")


def test_networks_that_are_vlans_of_one_uplink_come_change_and_go(bsd):
    bsd.file(VLANS)
    bsd.run("up")
    links = bsd.host["links"]
    assert links["re1.10"]["vlan"] == ["10", "re1"] and links["office"]["members"] == ["re1.10"]
    assert links["voice"]["members"] == ["re1.20"] and "UP" in links["re1"]["flags"]
    before = bsd.host
    bsd.run("up")
    assert bsd.host == before
    bsd.file(VLANS.replace("10,", "30,").replace("20}", "10}"))
    bsd.run("up")
    links = bsd.host["links"]
    assert links["office"]["members"] == ["re1.30"] and links["voice"]["members"] == ["re1.10"] and "re1.20" not in links
    bsd.run("down", "office")
    assert "UP" in bsd.host["links"]["re1"]["flags"]
    bsd.run("down")
    as_it_was(bsd)


def test_a_vlan_that_breaks_off_at_any_operation_is_taken_back(bsd):
    bsd.file(VLANS.split("  voice")[0])
    number = 1
    while True:
        how = ("kill-after", "fail-after", "kill-before", "fail-before")[number % 4]
        process = bsd.start("up", fault=f"{how} {number}")
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        bsd.run("plan")
        as_it_was(bsd)
        number += 1
    assert number > 5


def test_dhcp_is_dhclients_and_goes_with_it(bsd):
    bsd.file(DHCP)
    bsd.run("up")
    assert bsd.host["links"]["brext"]["inet"] == ["10.0.2.15/24"]
    assert len(bsd.pids("dhclient: brext")) == 1
    before = bsd.host
    bsd.run("up")
    assert bsd.host == before and len(bsd.pids("dhclient: brext")) == 1
    bsd.run("down")
    assert not bsd.pids("dhclient: brext") and "resolvconf -f -d brext" in bsd.log()
    as_it_was(bsd)


def test_a_default_route_that_was_leased_goes_with_the_lease(bsd):
    bsd.file(DHCP)
    bsd.change(lambda host: host["routes"].pop(0))
    bsd.run("up")
    assert bsd.host["routes"][-1] == {"to": "default", "gateway": "10.0.2.2", "flags": "UGS", "netif": "brext"}
    bsd.run("down")
    as_it_was(bsd, routes=FRESH["routes"][1:])


def test_a_dhclient_that_runs_already_is_told_and_everything_rolled_back(bsd):
    bsd.file(DHCP)
    bsd.change(lambda host: host["links"].update(brext=link("52:54:00:00:00:01")))
    subprocess.run(["nsenter", "-t", str(bsd.holder.pid), "-m", "dhclient", "-p",
                    str(bsd.directory / "pid"), "-l", str(bsd.directory / "leases"), "brext"], check=True)
    bsd.change(lambda host: host.update(copy.deepcopy(FRESH)))
    bsd.wait_for(lambda: bsd.pids("dhclient: brext"))
    (pid,) = bsd.pids("dhclient: brext")
    said = bsd.run("up", status=1)
    assert f"a dhclient runs for 'brext' already (pid {pid})" in said
    os.kill(pid, signal.SIGKILL)
    as_it_was(bsd)


def test_no_dhcp_server_is_said_and_everything_rolled_back(bsd):
    bsd.file(DHCP)
    bsd.change(lambda host: host.update(dhcp=None))
    said = bsd.run("up", status=1)
    assert "no DHCP server answered on 'brext'" in said
    assert not bsd.pids("dhclient: brext")
    as_it_was(bsd, dhcp=None)


def test_nat_loads_a_ruleset_and_puts_everything_back(bsd):
    bsd.file(NAT)
    bsd.run("up")
    host = bsd.host
    assert host["pf"]["on"] and host["pf"]["main"] == ['nat-anchor "vmwire/*"', 'rdr-anchor "vmwire/*"', 'anchor "vmwire/*"']
    assert host["pf"]["anchors"]["vmwire/brnat"][0] == "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0)"
    assert host["sysctls"]["net.inet.ip.forwarding"] == "1"
    count = len(bsd.log())
    bsd.run("up")
    assert bsd.host == host and not [line for line in bsd.log()[count:] if line.startswith(("dnsmasq", "pfctl -a vmwire/brnat -f"))]
    bsd.run("down")
    as_it_was(bsd)


def test_forwards_are_rdr_rules_and_known_again(bsd):
    bsd.file(NAT.replace("uplink: vtnet0", "uplink: vtnet0, forward: ['tcp 80 -> 10.0.0.5:8080', 'udp 5000-5003 -> 10.0.0.6']"))
    bsd.run("up")
    rules = bsd.host["pf"]["anchors"]["vmwire/brnat"]
    assert "rdr inet proto tcp from any to (self) port = 80 tag vmwire_in -> 10.0.0.5 port 8080" in rules
    before = bsd.host
    bsd.run("plan", "--exit-code")
    bsd.run("up")
    assert bsd.host == before
    bsd.run("down")
    as_it_was(bsd)


def test_a_lost_rule_is_drift_and_mended(bsd):
    bsd.file(NAT)
    bsd.run("up")
    whole = bsd.host
    bsd.change(lambda host: host["pf"]["anchors"]["vmwire/brnat"].pop())
    bsd.run("status", status=3)
    bsd.run("up")
    assert bsd.host == whole


def test_pf_conf_without_the_anchors_is_refused_with_the_lines(bsd):
    bsd.file(NAT)
    bsd.change(lambda host: (host["modules"].update(pf=True), host["pf"].update(on=True, main=["pass all"])))
    said = bsd.run("up", status=2)
    assert '\n    nat-anchor "vmwire/*"\n    rdr-anchor "vmwire/*"\n' in said and "pfctl -f /etc/pf.conf" in said
    lines = ['nat-anchor "vmwire/*"', 'rdr-anchor "vmwire/*"', "pass all", 'anchor "vmwire/*"']
    bsd.change(lambda host: host["pf"].update(main=lines))
    bsd.run("up")
    assert bsd.host["pf"]["main"] == lines
    bsd.run("down")
    as_it_was(bsd, pf={"on": True, "main": lines, "anchors": {}})


def test_a_kernel_without_pf_is_told_and_everything_rolled_back(bsd):
    bsd.file(NAT)
    bsd.change(lambda host: host["missing"].append("pf"))
    assert "the module pf is missing" in bsd.run("up", status=1)
    as_it_was(bsd, missing=["pf"])


@pytest.mark.parametrize("how", ["fail-after", "kill-after"])
def test_up_is_undone_wherever_it_ends(bsd, how):
    """Each operation is the last one that is done: the host is as it was, at once or with the next command."""
    bsd.file("networks:\n  brext: {mode: bridged, uplink: vtnet0}\n  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: em0}\n")
    for number in range(1, 100):
        process = bsd.start("up", fault=f"{how} {number}")
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        if how == "kill-after":
            bsd.run("down")
        as_it_was(bsd)
        assert not bsd.pids("dnsmasq")
    assert number > 15  # it went through all of them
    bsd.run("down")
    as_it_was(bsd)


@pytest.mark.parametrize("change, status, words", [
    (lambda host: host["links"].update(brext=link("52:54:00:00:00:01")), 2, "an interface of that name already"),
    (lambda host: host["links"].update(bridge0=link("58:9c:fc:00:00:01", group="bridge", members=["vtnet0"])), 2,
     "is already a port of 'bridge0'"),
    (lambda host: host["links"].pop("vtnet0"), 2, "vtnet0"),
])
def test_what_stands_in_the_way_is_said_and_nothing_changed(bsd, change, status, words):
    bsd.file(BRIDGED)
    bsd.change(change)
    before = bsd.host
    assert words in bsd.run("up", status=status)
    assert bsd.host == before


# --- machines


def test_a_guest_that_reboots_has_its_network_again(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    (bsd.directory / "guest").write_text("reset reset poweroff")
    bsd.run("run", "vm0")
    assert [line for line in bsd.log("guest.log") if line.startswith("tap")] == 3 * ["tap0 UP on brnat"]
    (line,) = {line for line in bsd.log("guest.log") if line.startswith("bhyve")}
    assert line.startswith("bhyve -c 1 -m 1G -w -H -s 0,hostbridge -s 5,virtio-net,tap0") and line.endswith(" vm0")
    assert [line for line in bsd.log() if line.startswith("bhyvectl")] == 4 * ["bhyvectl --destroy --vm=vm0"]
    assert "tap0" not in bsd.host["links"] and not bsd.exists("/dev/vmm/vm0")
    assert not bsd.exists("/var/run/vmwire/machine") and not bsd.exists("/var/run/vmwire/nic")
    bsd.run("down")
    as_it_was(bsd)


@pytest.mark.parametrize("act, status, words", [
    ("halt", 0, ""), ("error", 1, "bhyve could not start the machine (status 4): bind: Address already in use"),
    ("triple", 1, "the guest's processor gave up (triple fault) (status 134)"),
])
def test_how_it_ended_is_said(bsd, act, status, words):
    bsd.file(MACHINE)
    bsd.run("up")
    (bsd.directory / "guest").write_text(act)
    assert words in bsd.run("run", "vm0", status=status)
    assert "tap0" not in bsd.host["links"] and not bsd.exists("/dev/vmm/vm0")


def test_vmm_absent(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    bsd.change(lambda host: host["missing"].append("vmm"))
    said = bsd.run("run", "vm0", status=1)
    assert "the module 'vmm', which is bhyve's kernel part, cannot be loaded" in said and "No such file" in said
    assert "tap0" not in bsd.host["links"] and not bsd.exists("/var/run/vmwire/machine")


def test_start_and_stop_by_the_power_button(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    assert "machine 'vm0' runs (pid" in bsd.run("start", "vm0")
    (pid,) = bsd.pids("bhyve: vm0")
    assert bsd.host["links"]["tap0"]["opened"] == pid
    line = next(line for line in bsd.log("guest.log") if line.startswith("bhyve"))
    assert " -A " in line and "-l com1,/dev/nmdm-vm0A" in line
    assert str(pid) in bsd.run("status")
    assert "already running" in bsd.run("start", "vm0", status=1)
    assert "shut itself down" in bsd.run("stop", "vm0")
    assert not bsd.pids("bhyve: vm0") and "tap0" not in bsd.host["links"] and not bsd.exists("/dev/vmm/vm0")
    bsd.run("down")
    as_it_was(bsd)


def test_a_guest_that_does_not_listen_is_switched_off(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    (bsd.directory / "guest").write_text("deaf")
    bsd.run("start", "vm0")
    assert "was switched off: the guest did not shut down within 1 s" in bsd.run("stop", "vm0", "--timeout", "1")
    assert "bhyvectl --force-poweroff --vm=vm0" in bsd.log()
    assert "tap0" not in bsd.host["links"] and not bsd.exists("/dev/vmm/vm0")


def test_sigterm_to_run_is_passed_on(bsd):
    bsd.file(MACHINE.replace("nics:", "extra: ['-A'], nics:"))
    bsd.run("up")
    machine = bsd.start("run", "vm0")
    bsd.wait_for(lambda: bsd.pids("bhyve: vm0"))
    bsd.wait_for(lambda: bsd.host["links"]["tap0"].get("opened"))
    machine.terminate()
    machine.communicate(timeout=20)
    assert machine.returncode == 0
    assert "tap0" not in bsd.host["links"] and not bsd.exists("/dev/vmm/vm0")


def test_a_tap_has_the_mtu_of_its_bridge_before_it_becomes_a_port(bsd):
    bsd.file(BRIDGED + "machines:\n  vm0: {nics: [{network: brext}]}\n")
    bsd.change(lambda host: host["links"]["vtnet0"].update(mtu=9000))
    bsd.run("up")
    bsd.run("start", "vm0")
    assert bsd.host["links"]["tap0"]["mtu"] == 9000 and bsd.host["links"]["brext"]["members"] == ["vtnet0", "tap0"]
    bsd.run("stop", "vm0")


def test_a_running_guests_nic_goes_where_the_file_has_it_and_no_other_comes(bsd):
    both = NAT.replace("networks:", BRIDGED.rstrip())
    bsd.file(both + "machines:\n  vm0: {nics: [{network: brnat}]}\n")
    bsd.run("up")
    bsd.run("start", "vm0")
    bsd.file(both + "machines:\n  vm0: {nics: [{network: brext}, {network: brnat}]}\n")
    said = bsd.run("up")
    assert "its nic 0 goes from 'brnat' to 'brext'" in said
    assert "vm0' runs without its nic 1 on 'brnat': it has that when it was stopped and started" in said
    links = bsd.host["links"]
    assert links["brext"]["members"] == ["vtnet0", "tap0"] and not links["brnat"]["members"]
    assert links["tap0"]["description"].startswith("vmwire:brext vm0/0 ") and "nothing to do" in bsd.run("up")
    for words in (("attach", "vm0", "brnat"), ("detach", "vm0", "brext")):
        assert "bhyve cannot change the nics of a running machine" in bsd.run(*words, status=1)
    bsd.run("stop", "vm0")


def test_the_line_of_args_can_be_run(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    line = bsd.run("args", "vm0").strip()
    assert " exec --nic brnat,mac=" in line and " -- bhyve -c 1 -m 1G -w -H -s 0,hostbridge -s '5,virtio-net,{tap0}" in line
    assert line.endswith("-l bootrom,/usr/local/share/uefi-firmware/BHYVE_UEFI.fd vm0")
    bsd.change(lambda host: host["modules"].update(vmm=True))
    (bsd.directory / "guest").write_text("poweroff")
    done = subprocess.run(["nsenter", "-t", str(bsd.holder.pid), "-m", "sh", "-c",
                           line.replace("vmwire", str(VMWIRE), 1)], preexec_fn=dies_with_us)
    assert done.returncode == 1 and "tap0 UP on brnat" in bsd.log("guest.log")
    assert "tap0" not in bsd.host["links"]


def test_the_console_is_the_other_end_of_a_nullmodem(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    assert "is not running" in bsd.run("console", "vm0", status=1)
    bsd.run("start", "vm0")
    bsd.wait_for(lambda: bsd.exists("/dev/nmdm-vm0B"))
    console = bsd.start("console", "vm0", stdin=subprocess.PIPE)
    assert console.stdout.read(7) == "login: "
    console.stdin.write("hello\n")
    console.stdin.flush()
    assert console.stdout.read(7) == "<hello>"
    assert "somebody else has its console open" in bsd.run("console", "vm0", status=1)
    bsd.run("stop", "vm0")
    console.communicate(timeout=20)  # it ends with the machine
    assert console.returncode == 0


def test_a_bhyve_that_fails_at_once_is_told_by_start(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    (bsd.directory / "guest").write_text("error")
    assert "another program has the display's port" in bsd.run("start", "vm0", status=1)
    assert "tap0" not in bsd.host["links"] and not bsd.exists("/var/run/vmwire/machine")


def test_somebody_elses_bhyve_of_that_name_is_left_alone(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    bsd.change(lambda host: host["modules"].update(vmm=True))
    other = subprocess.Popen(["nsenter", "-t", str(bsd.holder.pid), "-m", "bhyve", "-s",
                              "0,hostbridge", "-A", "vm0"], preexec_fn=dies_with_us)
    bsd.wait_for(lambda: bsd.pids("bhyve: vm0"))
    assert f"(pid {other.pid}): end it first" in bsd.run("run", "vm0", status=1)
    assert bsd.exists("/dev/vmm/vm0") and other.poll() is None
    other.terminate()
    assert other.wait() == 1


def test_a_killed_keeper_leaves_nothing_for_long(bsd):
    bsd.file(MACHINE)
    bsd.run("up")
    keeper = bsd.start("run", "vm0")
    bsd.wait_for(lambda: bsd.pids("bhyve: vm0"))
    (pid,) = bsd.pids("bhyve: vm0")
    parent = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(parent, signal.SIGKILL)
    keeper.wait()
    assert "already running" in bsd.run("run", "vm0", status=1)  # the guest lives on
    assert "tap0" in bsd.host["links"]
    os.kill(pid, signal.SIGKILL)
    bsd.wait_for(lambda: not bsd.pids("bhyve: vm0"))
    bsd.change(lambda host: host["links"]["tap0"].update(opened=None))
    assert bsd.exists("/dev/vmm/vm0")
    bsd.run("up")
    assert "tap0" not in bsd.host["links"]  # stale, by tag and lock
    (bsd.directory / "guest").write_text("poweroff")
    bsd.run("run", "vm0")
    assert not bsd.exists("/dev/vmm/vm0")


def test_exec_takes_its_tap_away(bsd):
    bsd.file(NAT)
    bsd.run("up")
    assert "tap0" in bsd.run("exec", "--nic", "brnat", "--", "sh", "-c", "echo {tap0}")
    assert "tap0" not in bsd.host["links"]


# --- passthrough


PASSTHROUGH = ("networks:\n  nic1: {mode: passthrough, device: 0/3/0}\n"
               "machines:\n  vm0: {nics: [{network: nic1}]}\n")


def test_a_card_goes_to_ppt_for_the_guest_and_comes_back(bsd):
    bsd.file(PASSTHROUGH)
    (bsd.directory / "guest").write_text("reset poweroff")
    bsd.run("run", "vm0")
    log = bsd.log()
    assert log.index("devctl set driver -f pci0:0:3:0 ppt") < log.index("devctl clear driver -f pci0:0:3:0")
    line = next(line for line in bsd.log("guest.log") if line.startswith("bhyve"))
    assert " -S " in line and "-s 6,passthru,0/3/0" in line
    assert bsd.host["devices"][0]["now"] == "em0" and "em0" in bsd.host["links"]
    assert "em0" in bsd.run("devices")


def test_a_card_that_ppt_cannot_have_comes_with_the_line_for_loader_conf(bsd):
    bsd.file(PASSTHROUGH)
    bsd.change(lambda host: host["devices"][0].update(stuck=True))
    said = bsd.run("run", "vm0", status=1)
    assert 'pptdevs="0/3/0" in /boot/loader.conf, and reboot' in said
    assert bsd.host["devices"][0]["now"] == "em0"


# --- probe


@pytest.fixture
def real(bsd):
    """The same host with real interfaces, and behind vtnet0 a router with 8.8.8.8, which knows names."""
    bsd.router = subprocess.Popen(["unshare", "-n", "sh", "-ec", "echo ready; exec sleep infinity >/dev/null"],
                                  stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, preexec_fn=dies_with_us)
    assert bsd.router.stdout.readline() == "ready\n"
    bsd.sh("mknod -m 666 /dev/urandom c 1 9; ip link add vtnet0 address 52:54:00:12:34:56 type veth peer name far; ip link set lo up; ip address add 192.0.2.5/24 dev vtnet0; "
           f"ip link set far netns {bsd.router.pid}; ip link set vtnet0 up; echo 1 >/proc/sys/net/ipv4/ip_forward; "
           "ip route add default via 192.0.2.1; nft add table ip nat; "
           "nft 'add chain ip nat out { type nat hook postrouting priority srcnat; }'; "
           "nft add rule ip nat out oifname vtnet0 masquerade; "
           "echo nameserver 8.8.8.8 >/mnt/resolv.conf; mount --bind /mnt/resolv.conf $(readlink -f /etc/resolv.conf)")
    subprocess.run(["nsenter", "-t", str(bsd.router.pid), "-n", "sh", "-ec",
                    "ip link set lo up; ip address add 192.0.2.1/24 dev far; ip address add 8.8.8.8/32 dev lo; ip link set far up"],
                   check=True)
    names = subprocess.Popen(
        ["nsenter", "-t", str(bsd.router.pid), "-n", "dnsmasq", "-k", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
         "--listen-address=8.8.8.8", "--bind-interfaces", "--address=/example.com/192.0.2.9", "--pid-file="],
        stderr=subprocess.DEVNULL, preexec_fn=dies_with_us)
    bsd.change(lambda host: host.update(real=os.readlink(f"/proc/{bsd.holder.pid}/ns/net")))
    bsd.file(NAT)
    bsd.run("up")
    yield bsd
    for process in (names, bsd.router):
        process.kill()
        process.wait()
    bsd.router.stdout.close()


def nothing_left(bsd):
    assert not [name for name in bsd.host["links"] if name.startswith("epair")]
    assert not bsd.exists("/var/run/vmwire/nic") and "epair" not in bsd.sh("ip link")
    assert not bsd.pids("dhclient")


def test_probe_is_a_guest_in_a_jail(real):
    resolv = real.sh("cat /etc/resolv.conf")
    told = json.loads(real.run("probe", "brnat", "--json"))
    assert told["findings"] == [], told
    assert [step["outcome"] for step in told["steps"]] == ["passed"] * 6 + ["skipped"] * 3
    assert [(hop["way"], hop["where"]) for hop in told["hops"]] == [
        ("out", "epair0a"), ("out", "brnat"), ("out", "vtnet0"), ("back", "vtnet0"), ("back", "brnat"), ("back", "epair0a")]
    log = real.log()
    (tag,) = [line for line in log if line.startswith("ifconfig epair0a description")]
    mac = tag.split()[-1]
    at = log.index(tag)
    assert log[at - 1].endswith("epair create") and log[at + 1:at + 4] == [
        f"ifconfig epair0b ether {mac}", "ifconfig epair0a up", "ifconfig brnat addm epair0a"]
    (client,) = [line for line in log if line.startswith("dhclient")]
    assert client == ("dhclient -d -c /var/run/vmwire/nic/epair0.conf -l /var/run/vmwire/nic/epair0.leases "
                      "-p /var/run/vmwire/nic/epair0.pid epair0b")
    assert 'script "/usr/bin/true";' in real.log("dhclient.conf") and real.sh("cat /etc/resolv.conf") == resolv
    assert log.index("ifconfig epair0a destroy") > at
    nothing_left(real)


def test_probe_without_dhcp_has_the_last_address(real):
    real.run("down")
    real.file(NAT.replace("uplink:", "dhcp: off, uplink:"))
    real.run("up")
    told = json.loads(real.run("probe", "brnat", "--json"))
    assert told["findings"] == [] and told["steps"][0]["what"] == "10.0.0.254/24: the network has no DHCP", told
    assert [step["outcome"] for step in told["steps"]] == ["passed"] * 6 + ["skipped"] * 3
    nothing_left(real)


def test_probe_says_that_nobody_answers(real):
    (pid,) = real.pids("dnsmasq")
    os.kill(pid, signal.SIGKILL)
    told = json.loads(real.run("probe", "brnat", "--json", status=1))
    assert told["steps"][0]["outcome"] == "failed" and told["steps"][0]["what"] == "no lease"
    assert told["findings"][0]["severity"] == "error", told["findings"]
    nothing_left(real)


def test_a_killed_probe_leaves_an_epair_that_the_next_command_takes_away(real):
    (pid,) = real.pids("dnsmasq")
    os.kill(pid, signal.SIGKILL)  # so that it waits for a lease
    probe = real.start("probe", "brnat")
    real.wait_for(lambda: real.log("dhclient.conf"))
    probe.kill()
    probe.wait()
    real.wait_for(lambda: not real.pids("dhclient") and not real.pids(str(VMWIRE)), seconds=4)  # a lease has ten
    probe.communicate()
    assert "epair0a" in real.host["links"]
    real.run("up")
    nothing_left(real)


@pytest.mark.parametrize("how, words", [("vimage", "no network stack of its own"), ("if_epair", "kldload if_epair")])
def test_a_kernel_that_cannot_is_told(real, how, words):
    real.change(lambda host: host["missing"].append(how))
    if how == "vimage":
        process = real.start("probe", "brnat", environment={"VMWIRE_TEST_NO_VIMAGE": "1"})
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 1
    else:
        errors = real.run("probe", "brnat", status=1)
    assert words in errors
    nothing_left(real)
