"""A guest without a disk boots from the network: QEMU's iPXE, vmwire's DHCP and TFTP."""
import os
import pty

from conftest import VMWIRE
from test_guest import read_until

FILE = """networks:
  brnat:
    mode: nat
    subnet: 10.0.0.0/24
    boot: {file: start.ipxe, root: /run/tftp}
machines:
  vm0:
    memory: 128M
    nics: [{network: brnat, address: 10.0.0.50}]
"""


def test_a_guest_boots_what_the_network_says(host):
    host.uplink("re0", "172.20.0.2/24", "172.20.0.1/24")
    host.sh("mkdir /run/tftp; cat >/run/tftp/start.ipxe", input="#!ipxe\n"
            "echo GUEST ${net0/ip} boots ${filename} of ${next-server}\nchain second.ipxe\n")
    host.sh("cat >/run/tftp/second.ipxe", input="#!ipxe\necho GUEST second\n")
    host.config(FILE)
    host.vmwire("up")
    terminal, theirs = pty.openpty()
    machine = host.popen(VMWIRE, "run", "vm0", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    read_until(terminal, b"GUEST 10.0.0.50 boots start.ipxe of 10.0.0.1", 60)
    read_until(terminal, b"GUEST second", 20)
    os.write(terminal, b"\x01x")  # QEMU's own key: end
    assert machine.wait(timeout=20) == 0
    os.close(terminal)
