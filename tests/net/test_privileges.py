"""What vmwire and the programs that it starts may do: no more than they need, and nothing by inheritance."""
import os
import pathlib
import stat
import subprocess

import pytest

from conftest import VMWIRE

NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
DHCP = "networks:\n  brext:\n    mode: bridged\n    uplink: re0\n    address: dhcp\n"
MACHINE = NAT + "machines:\n  vm0:\n    memory: 64M\n    firmware: bios\n    serial: off\n    nics: [{network: brnat}]\n"

CAPABILITIES = """chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot
sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog
wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore""".split()

# With what a caller can leave to its children.
GREEDY = ("setpriv", "--inh-caps=+net_admin,+sys_admin,+sys_boot", "--ambient-caps=+net_admin,+sys_admin,+sys_boot")


def sets(pid):
    """The process's capability sets by their names in /proc: {"CapBnd": {"net_admin", …}, …}."""
    lines = (line.split() for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return {line[0][:-1]: {name for bit, name in enumerate(CAPABILITIES) if int(line[1], 16) >> bit & 1}
            for line in lines if line[0].startswith("Cap")}


def environment(pid):
    return {word.split(b"=")[0].decode() for word in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if word}


def of_program(host, name):
    found = [pid for pid, command in host.processes() if name in command.split()[0] or f" {name} " in command]
    assert found, host.processes()
    return found[0]


HELPER = {"chown", "dac_override", "dac_read_search", "fowner", "kill", "setgid", "setuid", "setpcap", "net_bind_service",
          "net_broadcast", "net_admin", "net_raw"}


@pytest.mark.parametrize("config, program", [(NAT, "dnsmasq"), (DHCP, "udhcpc")])
def test_helpers_have_what_they_need_and_no_more(host, config, program):
    peer = host.uplink("re0", gateway="192.168.87.1/24")
    peer.sh("dnsmasq --conf-file=/dev/null --port=0 --interface=far --bind-interfaces --dhcp-range=192.168.87.44,192.168.87.49,1h "
            "--dhcp-leasefile=/run/leases --pid-file=/run/dnsmasq.pid")
    host.config(config)
    before = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(before, True)
    host.run(*GREEDY, VMWIRE, "up", env={"SECRET": "1", "LD_LIBRARY_PATH": "/nowhere"})
    pid = of_program(host, program)
    have = sets(pid)
    assert have["CapInh"] == have["CapAmb"] == set()
    assert have["CapBnd"] <= HELPER and have["CapPrm"] <= HELPER
    assert environment(pid) == {"PATH", "LC_ALL"}
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [link for link in links if "/etc/passwd" in link or "vmwire.yaml" in link]
    os.close(before)
    host.vmwire("down", "--guard-ms", "0")  # the host was not reachable before either


def test_the_hypervisor_has_no_say_over_the_network(host):
    host.config(MACHINE)
    host.vmwire("up")
    host.run(*GREEDY, VMWIRE, "start", "vm0", env={"SECRET": "1"})
    pid = of_program(host, "qemu-system-x86_64")
    have = sets(pid)
    assert have["CapInh"] == have["CapAmb"] == set()
    for name in ("net_admin", "net_raw", "sys_admin", "sys_module", "sys_ptrace", "sys_rawio", "mknod", "sys_boot", "setpcap"):
        assert name not in have["CapBnd"] | have["CapPrm"], name
    assert "SECRET" not in environment(pid)
    host.vmwire("stop", "vm0", "--timeout", "1")
    host.vmwire("down")


def test_watch_gives_up_what_it_does_not_need(host):
    host.config(NAT)
    watch = host.popen(*GREEDY, VMWIRE, "watch", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host.wait_for(lambda: "brnat" in host.sh("ip -br link"))
    pid = next(pid for pid, command in host.processes() if command.split()[1:] == ["watch"])
    have = sets(pid)
    for name in ("sys_admin", "sys_boot", "sys_time", "sys_rawio", "mknod", "perfmon", "syslog", "audit_control", "mac_admin"):
        assert name not in have["CapBnd"] | have["CapPrm"], name
    assert have["CapInh"] == have["CapAmb"] == set()
    watch.terminate()
    watch.wait()
    host.vmwire("down")


def test_a_program_of_exec_has_what_the_user_has_but_nothing_by_inheritance(host):
    host.config(NAT)
    host.vmwire("up")
    told = host.run(*GREEDY, VMWIRE, "exec", "--nic", "brnat", "--", "grep", "^Cap", "/proc/self/status").stdout
    values = dict(line.split(":\t") for line in told.splitlines())
    assert int(values["CapInh"], 16) == int(values["CapAmb"], 16) == 0
    assert int(values["CapBnd"], 16) & 1 << CAPABILITIES.index("sys_admin")
    host.vmwire("down")


def test_the_run_directory_is_roots_alone(host):
    host.config(NAT)
    host.run("sh", "-c", f"umask 0; exec {VMWIRE} up")
    seen = [line.split(" ", 4) for line in host.sh("find /run/vmwire* -printf '%y %m %u %g %p\n'").splitlines()]
    for kind, mode, user, group, path in seen:
        tables = path.startswith("/run/vmwire-dnsmasq")
        assert not int(mode, 8) & (stat.S_IWGRP | stat.S_IWOTH), path
        assert user == "root" or path.endswith("/dnsmasq.pid"), path
        assert (kind, mode, group) == (("d", "710", "nogroup") if tables else ("d", "700", "root")) or kind == "f", path
        assert not tables or kind == "d" or mode == "640" and group == "nogroup", path
    # Somebody else sees nothing at all; dnsmasq, which is nobody's group by then, reads its two tables and cannot look around.
    other = ("setpriv", "--reuid=1", "--regid=1", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    for path in [row[4] for row in seen if row[0] == "f"]:
        assert host.run(*other, "cat", path, check=False).returncode != 0, path
    table = "/run/vmwire-dnsmasq/brnat/hosts"
    assert host.run("setpriv", "--reuid=1", "--regid=65534", "--clear-groups", "cat", table).returncode == 0
    assert host.run("setpriv", "--reuid=1", "--regid=65534", "--clear-groups", "ls", "/run/vmwire-dnsmasq", check=False).returncode != 0
    # One that an earlier version left open is closed.
    host.sh("chmod 711 /run/vmwire")
    host.vmwire("up")
    assert host.sh("stat -c %a /run/vmwire") == "700\n"
    # One that somebody else made first is not used.
    host.vmwire("down")
    host.sh("mkdir /run/vmwire; chown nobody /run/vmwire")
    refused = host.vmwire("up", check=False)
    assert refused.returncode == 1 and "belongs to somebody else" in refused.stderr
    host.sh("rmdir /run/vmwire; mkdir /run/elsewhere; ln -s /run/elsewhere /run/vmwire")
    assert host.vmwire("up", check=False).returncode == 1
    assert host.sh("ls /run/elsewhere") == ""
    for made in ("mkdir /run/vmwire-dnsmasq; chown nobody /run/vmwire-dnsmasq",
                 "rmdir /run/vmwire-dnsmasq; ln -s /run/elsewhere /run/vmwire-dnsmasq"):
        host.sh(f"rm -f /run/vmwire; {made}")
        refused = host.vmwire("up", check=False)
        assert refused.returncode == 1 and "'/run/vmwire-dnsmasq' belongs to somebody else" in refused.stderr
        assert host.sh("ls /run/elsewhere; ip -br link show type bridge") == ""


@pytest.mark.parametrize("command, status", [(["capture", "brnat", "--seconds", "1", "-w"], 1), (["map", "--svg"], 0)])
def test_no_symbolic_link_is_followed_where_others_may_write(host, command, status):
    """Somebody else's link in /tmp must not make root overwrite what it points to; the kernel's own guard is off."""
    host.config(NAT)
    host.vmwire("up")
    shared = host.directory / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    victim = host.directory / "victim"
    victim.write_text("precious")
    (shared / "out").symlink_to(victim)
    os.lchown(shared / "out", 65534, 65534)
    done = host.vmwire(*command, shared / "out", check=False)
    assert victim.read_bytes() == b"precious"
    assert done.returncode == status and ("symbolic link" in done.stderr) == (status == 1), done.stderr
    # One's own link in a place of one's own is followed, or replaced.
    host.directory.chmod(0o755)
    (host.directory / "mine").symlink_to(host.directory / "target")
    host.vmwire(*command, host.directory / "mine")
    assert (host.directory / "mine").stat().st_size > 0
    host.vmwire("down")


def test_a_link_on_the_way_and_one_to_the_file_are_not_followed_either(host):
    """Not the last component alone: somebody else's directory may be a link, and a file that is read as well."""
    host.config(NAT)
    host.vmwire("up")
    shared = host.directory / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    private = host.directory / "private"
    private.mkdir()
    for name, target in (("way", private), ("vmwire.yaml", host.directory / "vmwire.yaml")):
        (shared / name).symlink_to(target)
        os.lchown(shared / name, 65534, 65534)
    for command in (["capture", "brnat", "--seconds", "1", "-w", shared / "way" / "out"], ["map", "--svg", shared / "way" / "out"],
                    ["-c", shared / "vmwire.yaml", "check"]):
        done = host.vmwire(*command, check=False)
        assert done.returncode != 0 and "symbolic link" in done.stderr, (command, done.stderr)
    assert list(private.iterdir()) == []
    # One's own links lead where they lead, there too.
    os.lchown(shared / "way", 0, 0)
    os.lchown(shared / "vmwire.yaml", 0, 0)
    host.vmwire("map", "--svg", shared / "way" / "out")
    assert (private / "out").stat().st_size > 0
    host.vmwire("-c", shared / "vmwire.yaml", "check")
    host.vmwire("down")
