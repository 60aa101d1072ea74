"""Many at once: every command succeeds or waits its turn, whoever is killed meanwhile, and nothing is left in the end."""
import collections
import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from conftest import VMWIRE
from test_guard import BRIDGE_DROP
from test_up_down import KEEP, home

SECONDS = float(os.environ.get("VMWIRE_MANY_SECONDS", "10"))
WORKERS = int(os.environ.get("VMWIRE_MANY_WORKERS", "50"))

NETWORKS = KEEP + "".join(f"  n{i}:\n    mode: nat\n    subnet: 10.0.{i}.0/24\n" for i in range(4))
MACHINES = "machines:\n" + "".join(
    f"  vm{i}:\n    memory: 16M\n    serial: socket\n    nics: [{{network: n0}}]\n" for i in range(2))

# What a command may say that finds its network taken down at that moment, or its machine as another one wants it.
TURNS = ("is not up", "already running", "runs already", "does not run", "not running")


class Crowd:
    def __init__(self, host):
        self.host = host
        self.end = time.monotonic() + SECONDS
        self.wrong = []
        self.done = collections.Counter()
        self.slowest = collections.Counter()
        self.lock = threading.Lock()

    def command(self, *words, allowed=(0,), kill_after=None):
        begun = time.monotonic()
        process = self.host.popen(VMWIRE, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  stdin=subprocess.DEVNULL)
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        try:
            out, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            errors += "\nit hung for 60 s"
        with self.lock:
            self.done[words[0] + (" killed" if kill_after is not None else "")] += 1
            self.slowest[words[0]] = max(self.slowest[words[0]], time.monotonic() - begun)
            turn = any(text in errors for text in TURNS) and words[0] in ("exec", "start", "stop")
            if kill_after is None and process.returncode not in allowed and not turn:
                self.wrong.append((words, process.returncode, errors))

    def work(self, number):
        chance = random.Random(number)
        while time.monotonic() < self.end:
            network = f"n{chance.randrange(1, 4)}"
            kind = chance.randrange(10)
            if kind == 0:
                self.command("up")
            elif kind == 1:
                self.command("up", network)
            elif kind == 2:
                self.command("down", network)
            elif kind == 3:
                self.command("up", network, kill_after=chance.random() / 5)
            elif kind == 4:
                self.command("down", network, kill_after=chance.random() / 5)
            elif kind < 7:
                self.command("exec", "--nic", "n0", "--nic", network, "--", "true")
            elif kind < 9:
                self.command("status", "--json", allowed=(0, 3))
            elif number < 2:
                self.command("start", f"vm{number}")
                self.command("stop", f"vm{number}", "--timeout", "0")
            else:
                self.command("plan", allowed=(0, 3))


def test_fifty_at_once(host):
    home(host)
    host.config(NETWORKS + MACHINES)
    before = host.snapshot()
    host.vmwire("up")
    crowd = Crowd(host)
    threads = [threading.Thread(target=crowd.work, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(dict(crowd.done), {word: round(seconds, 1) for word, seconds in crowd.slowest.items()})
    assert not crowd.wrong, crowd.wrong[:5]
    host.vmwire("up")
    assert "nothing to do" in host.vmwire("up").stdout
    for machine in ("vm0", "vm1"):
        host.vmwire("stop", machine, "--timeout", "0")
    host.vmwire("down")
    assert host.snapshot() == before


@pytest.mark.parametrize("reader", [["status"], ["plan"], ["status", "--json"], ["leases"]])
def test_a_reader_waits_for_no_writer_longer_than_a_second(host, reader):
    """The writer is a guard that asks in vain for 8 s."""
    home(host)
    host.config("guard_ms: 8000\n" + NETWORKS)
    host.sh(BRIDGE_DROP)
    writer = host.popen(VMWIRE, "up", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host.wait_for(lambda: "192.168.87.44" in host.sh("ip -br addr show dev brext 2>/dev/null || true"))
    taken = []
    for _ in range(3):
        begun = time.monotonic()
        done = host.vmwire(*reader, check=False)
        taken.append(time.monotonic() - begun)
        assert done.returncode in (0, 3)
    assert writer.poll() is None
    assert min(taken) < 1.2, taken
    if reader != ["leases"]:
        assert "another vmwire is changing" in done.stderr
    if "--json" in reader:
        json.loads(done.stdout)
    assert writer.wait(timeout=30) == 1


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_is_free_once_its_holder_is_killed(host, kill):
    home(host)
    host.config("guard_ms: 30000\n" + NETWORKS)
    host.sh(BRIDGE_DROP)
    writer = host.popen(VMWIRE, "up", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host.wait_for(lambda: "192.168.87.44" in host.sh("ip -br addr show dev brext 2>/dev/null || true"))
    for pid, words in host.processes():
        if "vmwire" in words and "dnsmasq" not in words:
            os.kill(pid, kill)
    writer.wait(timeout=10)
    begun = time.monotonic()
    host.vmwire("down")
    assert time.monotonic() - begun < 5


def test_rules_of_all_networks_are_one_transaction(host):
    """nft(8) counts them: with one a network, `up` and `down` of many would take time by their square."""
    host.config("networks:\n" + "".join(f"  br{i}:\n    mode: nat\n    subnet: 10.0.{i}.0/24\n" for i in range(3)))
    monitor = host.popen("stdbuf", "-oL", "nft", "monitor", stdout=subprocess.PIPE, text=True)
    seen = []
    threading.Thread(target=lambda: seen.extend(monitor.stdout), daemon=True).start()

    def listening():
        host.sh("nft add table ip ready; nft delete table ip ready")
        return seen

    def generations(after):
        host.sh(f"nft add table ip {after}")
        host.wait_for(lambda: any(f"add table ip {after}" in line for line in seen) and seen[-1].startswith("# new generation"))
        found = [line for line in seen if line.startswith("# new generation") and "vmwire" in line]
        seen.clear()
        return len(found)

    try:
        host.wait_for(listening)
        generations("begun")
        host.vmwire("up")
        assert generations("upped") == 1
        assert "10.0.2.0/24" in host.sh("nft list table inet vmwire") and '"br2"' in host.sh("nft list table bridge vmwire_lock")
        assert "nothing to do" in host.vmwire("up").stdout
        host.vmwire("down", "br1")
        assert generations("one") == 1
        host.vmwire("up")
        assert generations("again") == 1
        host.vmwire("down")
        assert generations("downed") == 1 and "vmwire" not in host.sh("nft list tables")
    finally:
        monitor.kill()
        monitor.wait()
