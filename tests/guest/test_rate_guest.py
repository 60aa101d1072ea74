"""A real guest's nic has its rate from the start on, each way."""
import subprocess

from test_guest import NETWORKS, image, machine, wired  # noqa: F401  (fixtures)
from test_hotplug import Guest

# One TCP stream: bytes of four seconds, from the second on.
METER = """
import socket, sys, time
peer = socket.create_server(("", int(sys.argv[1]))).accept()[0]
begin, count, first = time.time(), 0, None
while time.time() < begin + 6:
    count += len(peer.recv(65536)) if sys.argv[2] == "out" else peer.send(bytes(65536))
    if first is None and time.time() > begin + 2:
        first, begun = count, time.time()
print((count - first) * 8 / (time.time() - begun) / 1e6)
"""


def test_a_real_guest_is_held_to_its_nics_rate_from_its_start_on(wired):  # noqa: F811
    wired.config(NETWORKS + machine("vm0", ["network: brnat, rate: {in: 20Mbit, out: 10Mbit}"]))
    wired.vmwire("up")
    wired.vmwire("start", "vm0")
    assert "nothing to do" in wired.vmwire("up").stdout
    guest = Guest(wired, "vm0")
    guest.until("GUEST eth0 mac=", 60)
    for way, port, rate, command in (("out", 7001, 10, "nc 172.20.0.1 7001 </dev/zero"),
                                     ("in", 7002, 20, "nc 172.20.0.1 7002 </dev/null >/dev/null")):
        meter = wired.peers["re0"].popen("python3", "-c", METER, str(port), way, stdout=subprocess.PIPE, text=True)
        wired.peers["re0"].wait_for(lambda: f":{port}" in wired.peers["re0"].sh("ss -Hlnt"))
        guest.run(command, 40)
        seen = float(meter.communicate(timeout=10)[0])
        assert abs(seen - rate) <= 0.05 * rate, (way, seen)
    wired.vmwire("stop", "vm0", "--timeout", "0")
