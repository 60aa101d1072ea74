"""Many networks: what each takes of the host's means is there before it is needed, and given back."""
import pytest

from conftest import FAULTY

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
