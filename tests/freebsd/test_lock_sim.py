"""Locks on FreeBSD: each nic's own rules of pf, and the bridge's table of addresses."""
import pytest
from test_sim import as_it_was, bsd  # noqa: F401 (a fixture)

FILE = """networks:
  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: vtnet0, dhcp: off, dns: off%s}
machines:
  vm0: {nics: [{network: brnat, mac: '02:00:00:00:00:01'%s}]}
"""
SERVERS = ['block drop in quick on tap0 inet proto udp from any port = 67 to any label "brnat dhcp"',
           'block drop in quick on tap0 inet6 proto udp from any port = 547 to any label "brnat dhcp"',
           'block drop in quick on tap0 inet6 proto ipv6-icmp all icmp6-type routeradv label "brnat ra"',
           'block drop in quick on tap0 inet6 proto ipv6-icmp all icmp6-type redir label "brnat ra"']
ADDRESSES = """pass in on tap0 inet from %s to any no state label "brnat ip" tag vmwire_own
pass in on tap0 inet proto udp from 0.0.0.0 port = 68 to 255.255.255.255 port = 67 no state label "brnat ip" tag vmwire_own
pass in on tap0 inet proto igmp from 0.0.0.0 to 224.0.0.0/4 no state label "brnat ip" tag vmwire_own
block drop in quick on tap0 inet all label "brnat ip" ! tagged vmwire_own
pass in on tap0 inet6 from fe80::/10 to any no state label "brnat ip" tag vmwire_own
pass in on tap0 inet6 from :: to ff02::/16 no state label "brnat ip" tag vmwire_own
block drop in quick on tap0 inet6 all label "brnat ip" ! tagged vmwire_own"""
ANCHOR = "vmwire/nic:tap0"
LOCAL = "net.link.bridge.pfil_local_phys"


def rules(source):
    return SERVERS + (ADDRESSES % source).splitlines()


def held(bsd):  # noqa: F811
    bridge = bsd.host["links"]["brnat"]
    return bsd.host["pf"]["anchors"].get(ANCHOR), bridge.get("addresses", []), bridge.get("limits", {}).get("tap0", 0)


def whole(source):
    return rules(source), [["02:00:00:00:00:01", "tap0", True]], 1


def test_a_nic_is_locked_before_its_guest_runs_and_comes_and_goes_with_it(bsd):  # noqa: F811
    bsd.file(FILE % ("", ""))
    told = bsd.run("up")
    assert "the lock 'arp' is not held" in told and "any IPv4 address of 10.0.0.0/24" in told
    assert bsd.host["sysctls"][LOCAL] == "1"
    bsd.run("start", "vm0")
    assert held(bsd) == whole("10.0.0.0/24")
    assert "nothing to do" in bsd.run("up") and "drifted" not in bsd.run("status")
    bsd.change(lambda host: host["pf"].update(dropped={rule: 7 for rule in SERVERS}))
    told = bsd.run("status")
    row = next(line for line in told.splitlines() if line.startswith("tap0") and "vm0/0" in line and "14" in line)
    assert row.split() == ["tap0", "brnat", "vm0/0", "-", "0", "-", "14", "14"]
    bsd.run("stop", "vm0")
    bsd.run("up")
    assert ANCHOR not in bsd.host["pf"]["anchors"]
    bsd.change(lambda host: host["pf"].pop("dropped"))
    bsd.run("down")
    as_it_was(bsd)


def test_an_edit_reaches_a_running_guest_and_drift_is_mended(bsd):  # noqa: F811
    bsd.file(FILE % (", lock: off", ""))
    bsd.run("up")
    bsd.run("start", "vm0")
    assert held(bsd) == (None, [], 0) and bsd.host["sysctls"][LOCAL] == "0"
    bsd.change(lambda host: host["links"]["brnat"].update(addresses=[["02:00:00:00:00:66", "tap0", False]]))
    for lock, address in (("", ", address: 10.0.0.77"), ("", "")):
        bsd.file(FILE % (lock, address))
        bsd.run("up")
        assert held(bsd) == whole("10.0.0.77" if address else "10.0.0.0/24")  # what was learned before is flushed
        assert "nothing to do" in bsd.run("up")
    for spoil in (lambda host: host["pf"]["anchors"][ANCHOR].pop(0),
                  lambda host: host["links"]["brnat"].update(addresses=[["02:00:00:00:00:66", "tap0", False]]),
                  lambda host: host["sysctls"].update({LOCAL: "0"}),
                  lambda host: host["pf"]["anchors"].update({"vmwire/nic:tap9": rules("10.0.0.9")})):
        bsd.change(spoil)
        bsd.run("status", status=3)
        bsd.run("up")
        assert held(bsd) == whole("10.0.0.0/24") and bsd.host["sysctls"][LOCAL] == "1"
        assert "vmwire/nic:tap9" not in bsd.host["pf"]["anchors"]
    assert "nothing to do" in bsd.run("up")
    bsd.file(FILE % (", lock: [dhcp]", ""))
    bsd.run("up")
    assert held(bsd) == (SERVERS[:2], [], 0)
    bsd.file(FILE % (", lock: off", ""))
    bsd.run("up")
    assert held(bsd) == (None, [], 0) and bsd.host["sysctls"][LOCAL] == "0"
    bsd.run("stop", "vm0")
    bsd.run("down")
    as_it_was(bsd)


@pytest.mark.parametrize("command, how", [("up", "kill-after"), ("down", "fail-after")])
def test_wherever_it_ends_all_of_it_is_put_back(bsd, command, how):  # noqa: F811
    bsd.file(FILE % ("", ""))
    bsd.run("up")
    bsd.run("start", "vm0")
    if command == "up":
        bsd.file(FILE % (", lock: off", ""))
        bsd.run("up")
        bsd.file(FILE % ("", ""))
    before = held(bsd), bsd.host["sysctls"]
    for number in range(1, 60, 2):
        process = bsd.start(command, fault=f"{how} {number}")
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        if how == "kill-after":
            bsd.run("plan")
        assert (held(bsd), bsd.host["sysctls"]) == before, number
    assert number > 3
    if command == "down":
        assert ANCHOR not in bsd.host["pf"]["anchors"] and bsd.host["sysctls"][LOCAL] == "0"
        bsd.run("up")
    assert held(bsd) == whole("10.0.0.0/24")


def test_what_no_filter_sees_is_refused_in_its_place(bsd):  # noqa: F811
    before = bsd.host
    bsd.file(FILE % (",\n          lock: [ip, arp, ra]", ""))
    told = bsd.run("up", status=2)
    assert "vmwire.yaml:3:" in told and "'lock: arp' cannot be had on this host" in told and "'lock: [mac, ip, ra]'" in told
    assert bsd.host == before


def test_a_bridged_networks_guests_are_held_where_the_file_says_so(bsd):  # noqa: F811
    text = (FILE % ("", "")).replace("nat, subnet: 10.0.0.0/24", "bridged").replace("vtnet0, dhcp: off, dns: off", "re1%s")
    bsd.file(text % ", lock: [ip, ra]")
    assert "may use any IPv4 address" in bsd.run("up")
    bsd.run("start", "vm0")
    assert held(bsd) == (SERVERS[2:], [["02:00:00:00:00:01", "tap0", True]], 1)
    assert bsd.host["pf"]["on"] and "nothing to do" in bsd.run("up")
    bsd.run("stop", "vm0")
    bsd.run("down")
    as_it_was(bsd)
