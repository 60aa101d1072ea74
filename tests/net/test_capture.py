"""capture: what passes each hop, as lines and as pcapng, and nothing that stays."""
import os
import select
import shutil
import signal
import struct
import subprocess
import time

import pytest

from conftest import VMWIRE
from guests import Guest

FILE = """networks:
  brnat: {mode: nat, subnet: 10.0.0.0/24}
machines:
  vm0: {memory: 64M, nics: [{network: brnat, mac: "00:a0:98:1b:c8:07"}]}
"""


@pytest.fixture
def nat(host):
    host.outside = host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24", mac="18:a6:f7:01:66:52")
    host.outside.sh("ip addr add 8.8.8.8/32 dev lo")
    host.config(FILE)
    host.vmwire("up")
    host.guest = Guest(host, "brnat", address="10.0.0.2/24", gateway="10.0.0.1")
    host.guest.ping("8.8.8.8", wait=3, check=True)
    yield host
    host.guest.close()


def capture(host, *args):
    """It runs, and sees: what it says first is said when everything is open."""
    process = host.popen(VMWIRE, "capture", *args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"capturing on" in process.stderr.readline()
    return process


def blocks(data):
    """An independent little reader of pcapng: (type, body) and the options of a block."""
    at, found = 0, []
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        assert length % 4 == 0 and struct.unpack_from("=I", data, at + length - 4)[0] == length
        found.append((kind, data[at + 8:at + length - 4]))
        at += length
    assert at == len(data)
    return found


def options(data):
    at, found = 0, {}
    while at < len(data):
        code, length = struct.unpack_from("=HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4:at + 4 + length]
        at += 4 + length + (-length % 4)
    return found


def read(data):
    """Interfaces (name, description, exponent of the resolution) and packets (interface, time, frame, comment, flags)."""
    interfaces, packets = [], []
    for kind, body in blocks(data):
        if kind == 0x0A0D0D0A:
            assert struct.unpack_from("=IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
        elif kind == 1:
            assert struct.unpack_from("=HHI", body) == (1, 0, 0)
            told = options(body[8:])
            interfaces.append((told[2].decode(), told[3].decode(), told[9][0]))
        elif kind == 6:
            interface, high, low, caplen, length = struct.unpack_from("=IIIII", body)
            told = options(body[20 + caplen + (-caplen % 4):])
            assert caplen == length
            packets.append((interface, high << 32 | low, body[20:20 + caplen], told[1].decode(),
                            struct.unpack("=I", told[2])[0]))
        else:
            raise AssertionError(kind)
    return interfaces, packets


def test_lines_are_like_tcpdumps_and_each_hop_has_its_own(nat):
    process = capture(nat, "brnat", "--count", "6", "icmp and host 8.8.8.8")
    nat.guest.ping("8.8.8.8", wait=3, check=True)
    said, counts = process.communicate(timeout=10)
    lines = said.decode().splitlines()
    assert process.returncode == 0
    assert [line.split()[1:3] for line in lines] == [
        ["vm0/0", "in"], ["brnat", "in"], ["re0", "out"], ["re0", "in"], ["brnat", "out"], ["vm0/0", "out"]]
    assert "00:a0:98:1b:c8:07 > " in lines[0] and ", IPv4, length 98: 10.0.0.2 > 8.8.8.8: ICMP echo request, id" in lines[0]
    assert "18:a6:f7:01:66:52 > " in lines[2] and "192.168.87.44 > 8.8.8.8: ICMP echo request" in lines[2]
    assert "8.8.8.8 > 192.168.87.44: ICMP echo reply" in lines[3] and "8.8.8.8 > 10.0.0.2: ICMP echo reply" in lines[5]
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert "6 packets captured\n0 packets dropped by kernel\n" in counts.decode()


def test_a_file_has_every_hop_with_names_comments_and_time_order(nat):
    process = capture(nat, "vm0", "-w", "all.pcapng", "icmp")
    nat.guest.ping("8.8.8.8", count=5, wait=3, check=True)
    process.send_signal(signal.SIGINT)  # the last frames still wait for their turn
    _, counts = process.communicate(timeout=10)
    assert process.returncode == 0 and b"30 packets captured" in counts
    path = nat.directory / "all.pcapng"
    interfaces, packets = read(path.read_bytes())
    assert interfaces == [(nat.guest.tap, "nic 0 of machine vm0 on network brnat", 9),
                          ("brnat", "bridge of network brnat", 9), ("re0", "uplink of network brnat", 9)]
    assert len(packets) == 30 and [p[1] for p in packets] == sorted(p[1] for p in packets)
    assert [p[0] for p in packets[:6]] == [0, 1, 2, 2, 1, 0]
    assert [p[3] for p in packets[:6]] == [
        "vm0/0: in, from the guest", "brnat: in, from vm0/0", "re0: out, from vm0/0", "re0: in, to vm0/0", "brnat: out, to vm0/0",
        "vm0/0: out, to the guest"]
    assert [p[4] for p in packets[:6]] == [1, 1, 2, 1, 2, 2]
    assert abs(packets[0][1] / 1e9 - time.time()) < 60
    assert path.stat().st_mode & 0o777 == 0o600
    dumped = nat.sh("tcpdump -nr all.pcapng 2>/dev/null")
    assert dumped.count("ICMP echo") == 30


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_behind_nat_each_frame_of_the_uplink_has_its_machine(nat):
    """Two guests and the host ask for the same at once: only what is a guest's says so."""
    twin = Guest(nat, "brnat", machine="vm1", mac="00:a0:98:1b:c8:08", address="10.0.0.3/24", gateway="10.0.0.1")
    server = nat.outside.popen("socat", "TCP-LISTEN:80,fork,reuseaddr", "PIPE", stdin=subprocess.DEVNULL)
    nat.wait_for(lambda: ":80 " in nat.outside.sh("ss -Hlnt"))
    process = capture(nat, "brnat", "-w", "two.pcapng", "host 8.8.8.8")
    asks = "ping -c 3 -i 0.2 -W 3 8.8.8.8 & echo hello | busybox nc -w 1 8.8.8.8 80; wait"
    running = [space.popen("sh", "-c", asks, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
               for space in (nat.guest.space, twin.space, nat)]
    assert [each.wait(timeout=20) for each in running] == [0, 0, 0]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    server.kill()
    server.wait()
    twin.close()
    _, packets = read((nat.directory / "two.pcapng").read_bytes())
    seen = {}
    for _, _, _, comment, _ in packets:
        if comment.startswith("re0"):
            seen[comment] = seen.get(comment, 0) + 1
    at_taps = {name: sum(comment.startswith(f"{name}: in") for *_, comment, _ in packets) for name in ("vm0/0", "vm1/0")}
    for name in ("vm0/0", "vm1/0"):
        assert seen[f"re0: out, from {name}"] == at_taps[name] >= 6 and seen[f"re0: in, to {name}"] >= 5, (seen, at_taps)
    assert seen["re0: out"] >= 6 and seen["re0: in"] >= 5, seen  # the host's own


def test_wireshark_reads_names_and_comments(nat):
    process = capture(nat, "brnat", "-w", "-", "--count", "6", "icmp")
    nat.guest.ping("8.8.8.8", wait=3, check=True)
    data, _ = process.communicate(timeout=10)
    (nat.directory / "pipe.pcapng").write_bytes(data)
    told = nat.sh("tshark -r pipe.pcapng -T fields -e frame.interface_name -e frame.comment -e ip.src 2>/dev/null")
    rows = [line.split("\t") for line in told.splitlines()]
    assert rows[2] == ["re0", "re0: out, from vm0/0", "192.168.87.44"] and rows[0][1] == "vm0/0: in, from the guest"


def test_a_pipe_gets_each_packet_at_once(nat):
    process = capture(nat, "vm0/0", "-w", "-", "icmp")
    nat.guest.ping("8.8.8.8", wait=3, check=True)
    seen, end = b"", time.monotonic() + 2
    while time.monotonic() < end and seen.count(b"from the guest") + seen.count(b"to the guest") < 2:
        if select.select([process.stdout], [], [], 0.1)[0]:
            seen += os.read(process.stdout.fileno(), 65536)
    assert process.poll() is None  # it still runs: nothing was flushed by its end
    interfaces, packets = read(seen)
    assert len(interfaces) == 1 and len(packets) == 2
    process.stdout.close()  # the reader goes: that is no failure
    nat.guest.ping("8.8.8.8", wait=3)
    assert process.wait(timeout=5) == 0


def test_a_bad_filter_is_a_wrong_command_line_with_libpcaps_words(nat):
    done = nat.vmwire("capture", "brnat", "icmp and", check=False)
    assert done.returncode == 2 and "syntax error" in done.stderr and done.stdout == ""


def test_unknown_names_say_what_there_is(nat):
    done = nat.vmwire("capture", "brant", check=False)
    assert done.returncode == 1 and f"there is brnat, vm0/0 ({nat.guest.tap})" in done.stderr


def test_it_ends_by_itself_when_the_guest_goes(nat):
    process = capture(nat, nat.guest.tap)
    nat.guest.close()
    _, said = process.communicate(timeout=10)
    assert process.returncode == 1 and b"gone or down" in said


def test_it_stops_after_its_seconds_and_leaves_nothing(nat):
    def flags():
        return [(row["ifname"], row["flags"], row.get("promiscuity")) for row in nat.json("ip", "-d", "-j", "link")]

    before = flags(), nat.sh("nft -st list ruleset")
    start = time.monotonic()
    assert nat.vmwire("capture", "brnat", "--seconds", "1", "icmp").stdout == ""
    assert 1 <= time.monotonic() - start < 3
    assert (flags(), nat.sh("nft -st list ruleset")) == before
