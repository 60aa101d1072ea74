"""A real guest's nic has its rate from the start on, each way."""
import subprocess

from test_guest import NETWORKS, image, machine, wired  # noqa: F401  (fixtures)
from test_hotplug import Guest

# One TCP stream: Mbit/s of four seconds after four seconds, from the second on, until it had its rate within 5 %: another
# program may have this machine's processors for a moment, and a guest under emulation has nothing then.
METER = """
import socket, sys, time
peer, out, rate = socket.create_server(("", int(sys.argv[1]))).accept()[0], sys.argv[2] == "out", float(sys.argv[3])
begin, count, windows, seen = time.time() + 2, 0, 0, 0
while windows < 5 and abs(seen - rate) > 0.05 * rate:
    count += len(peer.recv(65536)) if out else peer.send(bytes(65536))
    now = time.time()
    if now < begin:
        count = 0
    elif now > begin + 4:
        seen = count * 8 / (now - begin) / 1e6
        count, begin, windows = 0, now, windows + 1
        print(seen)
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
        meter = wired.peers["re0"].popen("python3", "-c", METER, str(port), way, str(rate), stdout=subprocess.PIPE,
                                          text=True)
        wired.peers["re0"].wait_for(lambda: f":{port}" in wired.peers["re0"].sh("ss -Hlnt"))
        guest.run(command, 40)
        seen = [float(word) for word in meter.communicate(timeout=10)[0].split()]
        assert abs(seen[-1] - rate) <= 0.05 * rate and max(seen) <= 1.05 * rate, (way, seen)
    wired.vmwire("stop", "vm0", "--timeout", "0")
