"""Many networks: what each takes of the host's means is there before it is needed, and given back."""
import os
import random
import signal
import subprocess
import time

import pytest

from conftest import FAULTY, VMWIRE

NETWORKS = "networks:\n" + "".join(f"  n{i}:\n    mode: nat\n    subnet: 10.0.{i}.0/24\n" for i in range(3))
LIMIT = "/proc/sys/fs/inotify/max_user_instances"


@pytest.fixture
def near_limit(host):
    """A host whose limit (a file of this test's, the real one is the whole machine's) leaves no room for three more."""
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.config(NETWORKS)
    host.sh(f"echo 018 > /run/limit && mount --bind /run/limit {LIMIT}")
    return lambda: host.sh(f"cat {LIMIT}").strip()


def test_up_makes_room_for_as_many_servers_as_there_are_networks(host, near_limit):
    before = host.snapshot()
    host.vmwire("up")
    assert near_limit() == "131" and "nothing to do" in host.vmwire("up").stdout
    host.vmwire("down", "n0", "n1")
    assert near_limit() == "131"
    host.vmwire("down")
    assert near_limit() == "018" and host.snapshot() == before


def test_a_limit_with_room_is_left_alone(host, near_limit):
    host.sh(f"echo 019 > {LIMIT}")
    host.vmwire("up")
    assert near_limit() == "019" and not host.sh("find /run -name former-watches")


@pytest.mark.parametrize("how", ["fail-after", "kill-before"])
def test_the_limit_is_put_back_when_up_fails(host, near_limit, how):
    for number in (1, 2, 3, 6):
        assert host.vmwire("up", program=FAULTY, check=False, env={"VMWIRE_FAULT": f"{how} {number}"}).returncode != 0
        host.vmwire("down")
        assert near_limit() == "018", number


MANY = "networks:\n" + "".join(f"  n{i}:\n    mode: nat\n    subnet: 10.0.{i}.0/24\n" for i in range(30))


def servers(host):
    return {words.split("/network/")[1].split("/")[0] for _, words in host.processes() if "dnsmasq" in words}


@pytest.fixture
def many(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.config(MANY)
    return host


def test_one_server_of_many_that_cannot_start_is_named_and_nothing_stays(many):
    many.sh("sysctl -qw net.ipv4.ip_nonlocal_bind=1")
    taken = many.popen("/usr/bin/python3", "-c", "import socket, time; s = socket.socket(); s.bind(('10.0.17.1', 53)); "
                       "s.listen(); print(flush=True); time.sleep(100)", stdout=subprocess.PIPE)
    taken.stdout.readline()
    before = many.snapshot()
    done = many.vmwire("up", check=False)
    assert done.returncode == 1 and "network 'n17': starting dnsmasq" in done.stderr, done.stderr
    assert "TCP port 53 (DNS) is taken by 'python3'" in done.stderr and "rolled back" in done.stderr, done.stderr
    assert many.snapshot() == before
    taken.terminate()
    taken.wait()


def test_down_of_many_deletes_no_interface_but_its_own(many):
    many.sh("for i in 1 2 3; do ip link add name other$i group $((i * 7)) type bridge; done")
    before = many.snapshot()
    many.vmwire("up")
    many.sh("ip link set dev n5 group 9")  # somebody's own
    many.vmwire("down")
    assert many.snapshot() == before


@pytest.mark.parametrize("command", ["up", "down"])
def test_killed_while_many_start_or_end_it_is_undone(many, command):
    """At six moments, spread over the time that it takes."""
    before = many.snapshot()
    chance = random.Random(command)
    for number in range(6):
        if command == "down":
            many.vmwire("up")
        process = many.popen(VMWIRE, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        many.wait_for(lambda: many.run("test", "-e", "/run/vmwire/journal", check=False).returncode == 0
                      or process.poll() is not None)
        time.sleep(chance.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        ended = process.wait() == 0
        if command == "down":
            many.vmwire("status", check=False)
            assert len(servers(many)) == (0 if ended else 30), number
            continue
        many.vmwire("status", check=False)
        assert ended or not servers(many), number
        many.vmwire("down")
    many.vmwire("down")
    assert many.snapshot() == before


def test_killed_while_many_are_rolled_back_the_next_command_ends_it(many):
    before = many.snapshot()
    chance = random.Random("back")
    for number in range(6):
        process = many.popen(FAULTY, "up", env={**os.environ, "VMWIRE_FAULT": "fail-after 250"}, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        many.wait_for(lambda: many.run("test", "-e", "/sys/class/net/n25", check=False).returncode == 0
                      or process.poll() is not None)
        time.sleep(chance.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        many.vmwire("down")
        assert many.snapshot() == before, number
