"""MTUs on FreeBSD, whose bridges refuse one that a port does not have."""
import pytest
from test_sim import BRIDGED, MACHINE, NAT, bsd  # noqa: F401 (a fixture)


def mtus(bsd, *names):
    return [bsd.host["links"][name]["mtu"] for name in names]


@pytest.mark.parametrize("how", ["kill-after"])
def test_it_changes_under_a_running_guest_and_comes_back_wherever_that_ends(bsd, how):  # noqa: F811
    bsd.change(lambda host: host["links"]["vtnet0"].update(mtu=9000))
    text = MACHINE.replace("uplink: vtnet0", "uplink: vtnet0, dhcp: off, dns: off")
    bsd.file(text)
    bsd.run("up")
    bsd.run("start", "vm0")
    assert mtus(bsd, "brnat", "tap0") == [9000, 9000]
    bsd.file(text.replace("off}", "off, mtu: 1400}"))
    assert "ifconfig tap0 mtu 1400" in bsd.run("plan") and "drifted" in bsd.run("status", status=3)
    for number in range(1, 100):
        process = bsd.start("up", fault=f"{how} {number}")
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        if how == "kill-after":
            bsd.run("status", status=3)
        assert mtus(bsd, "brnat", "tap0") == [9000, 9000], number
    assert number == 4 and mtus(bsd, "brnat", "tap0", "vtnet0") == [1400, 1400, 9000]
    assert "nothing to do" in bsd.run("up")
    bsd.run("stop", "vm0")
    bsd.run("down")


def test_a_bridged_network_has_its_uplinks_or_is_refused(bsd):  # noqa: F811
    for mtu, word in ((9000, "more than"), (1400, "not that of")):
        bsd.file(BRIDGED.replace("vtnet0", f"vtnet0, mtu: {mtu}"))
        told = bsd.run("up", status=2)
        assert word in told and f"(ifconfig vtnet0 mtu {mtu})" in told
    bsd.change(lambda host: host["links"]["vtnet0"].update(mtu=1400))
    bsd.run("up")
    assert mtus(bsd, "brext", "vtnet0") == [1400, 1400] and "nothing to do" in bsd.run("up")


def test_a_nat_network_has_the_files(bsd):  # noqa: F811
    bsd.file(NAT.replace("vtnet0", "vtnet0, mtu: 1280"))
    bsd.run("up")
    assert mtus(bsd, "brnat") == [1280] and "nothing to do" in bsd.run("up")
    assert "option:mtu,1280" in bsd.sh("cat /var/run/vmwire/network/brnat/dnsmasq.conf")
    assert bsd.run("exec", "--nic", "brnat", "--", "echo", "{mtu0}") == "1280\n"
    assert mtus(bsd, "brnat") == [1280]
