"""What the tests of passthrough share: the outer machine as a fixture, its state as text, machines' entries, vmwire in it."""
import difflib
import json
import re
import subprocess
import time

import pytest

from conftest import ROOT, VMWIRE
from outer import GUEST, IMAGE, Outer, OuterError

CONFIG = "/root/vmwire.yaml"


@pytest.fixture(scope="module")
def images():
    for script in ("guest-image", "outer-image"):
        subprocess.run([ROOT / "scripts" / script], check=True, capture_output=True)


@pytest.fixture(scope="module")
def machine(images, request, tmp_path_factory):
    """The outer machine, of the module's LAYOUT: booted once; each test leaves it as it found it."""
    outer = Outer(tmp_path_factory.mktemp("outer"), getattr(request.module, "LAYOUT", "device"))
    try:
        outer.__enter__()
    except OuterError:
        if not outer.hung:
            raise
        outer.reboot()
    try:
        outer.home = state(outer)
        yield outer
    finally:
        outer.__exit__()


def state(outer):
    """All of the host that passing a device through may touch, as text; without what moves by itself.

    An interface that came back has a new index, which the kernel chooses; so there are none here.
    """
    text = outer.sh("""
        ls -l --time-style=+ /sys/bus/pci/devices/*/driver | sed 's/^.*sys.bus/driver/'
        grep -s . /sys/bus/pci/devices/*/driver_override /sys/bus/pci/devices/*/sriov_* || true
        find /run/vmwire -mindepth 1 2>/dev/null || true
        ip -o -d link | sed 's/^[0-9]*: //' | sort
        ip -d addr; ip route show table all""")
    # An interface that was never up has another queue discipline than one that is down again.
    # A function has no MAC of its own: its driver thinks one out, which ip calls permanent, and is told the old one.
    text = re.sub(r"valid_lft \S+ preferred_lft \S+|qdisc \S+|permaddr \S+ |\w+_timer +\S+", "", text)
    links = re.split(r"^\d+: ", text, flags=re.M)
    # What follows the last link is the routes.
    last, *routes = re.split(r"^(?! )", links[-1], flags=re.M)[1:]
    return "".join([links[0], *sorted([*links[1:-1], last]), *sorted(routes)])


def same(outer, before, seconds=90):
    """The host is as it was; carriers and IPv6's checks for duplicates may take a while."""
    end = time.monotonic() + seconds
    while (now := state(outer)) != before and time.monotonic() < end:
        time.sleep(0.5)
    assert now == before, "".join(difflib.unified_diff(before.splitlines(True), now.splitlines(True), "before", "now"))


@pytest.fixture
def outer(machine):
    if machine.hung:
        machine.reboot()
        machine.home = state(machine)
    yield machine
    if machine.hung:
        return
    same(machine, machine.home)
    # Who gave a device back may still be about to exit.
    machine.wait_for("! pgrep 'vmwire|qemu-system'")


def held(name, *nics):
    """A machine whose hypervisor has its devices and whose guest never runs."""
    return (f"  {name}:\n    memory: 32M\n    serial: off\n    extra: [-S]\n    nics:\n"
            + "".join(f"      - {{network: {nic}}}\n" for nic in nics))


def booted(name, module, *nics):
    command = ("console=ttyS0 quiet mitigations=off nokaslr panic=-1 no_timer_check tsc=reliable "
               f"driver={module} ping=8.8.8.8")
    return (f"  {name}:\n    memory: 256M\n    kernel: {GUEST}/vmlinuz\n    initrd: {IMAGE}/guest.img\n"
            f"    cmdline: {command}\n    extra: [-cpu, qemu64]\n    nics:\n"
            + "".join(f"      - {{network: {nic}}}\n" for nic in nics))


def vmwire(outer, *words, status=0, program=VMWIRE, timeout=240, env=None):
    got, out, err = outer.run([program, *words], timeout=timeout, env=env)
    assert status is None or got == status, f"{words} gave {got}:\n{out}{err}"
    return out + err


def driver(outer, address):
    return outer.run(f"basename $(readlink /sys/bus/pci/devices/{address}/driver)")[1].strip()


def devices(outer):
    status, out, err = outer.run([VMWIRE, "devices", "--json"])
    assert status == 0, err
    told = json.loads(out)
    return told, {device["address"]: device for device in told["devices"]}


def refused(outer, text, *words, status=1, command=("run", "vm1")):
    """The command says these words and changes nothing; the fixture sees that nothing changed."""
    outer.write(CONFIG, text)
    said = vmwire(outer, *command, status=status)
    for word in words:
        assert word in said, said


def qemu(outer):
    """The hypervisor's pid."""
    return outer.sh("pgrep -f '^[^ ]*qemu-system.*guest=vm1'").split()[0]
