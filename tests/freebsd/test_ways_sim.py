"""Routed and isolated networks, and guests that do not reach each other, on FreeBSD: pf's anchors and if_bridge's private ports."""
import subprocess

from conftest import BUILD, ROOT
from test_sim import as_it_was, bsd  # noqa: F401 (a fixture)

ROUTED = "networks:\n  front: {mode: routed, subnet: 10.1.0.0/24, uplink: vtnet0}\n"
ISOLATED = "networks:\n  back: {mode: isolated, subnet: 10.2.0.0/24}\n"
ROUTED_RULES = """pass in on front inet from 10.1.0.0/24 to any
pass in on front inet proto udp from any port 68 to any port 67
pass out on vtnet0 inet from 10.1.0.0/24 to any
pass in on vtnet0 inet from any to 10.1.0.0/24 tag vmwire_routed
pass out quick on front inet all tagged vmwire_routed
pass out quick on front inet from 10.1.0.0/24 to 10.1.0.0/24
pass out quick inet from 10.1.0.0/24 to 224.0.0.0/3
block drop out quick on front inet from any to 10.1.0.0/24
block drop out quick on ! vtnet0 inet from 10.1.0.0/24 to ! 10.1.0.0/24
"""
ISOLATED_RULES = """pass in on back inet from 10.2.0.0/24 to any
pass in on back inet proto udp from any port 68 to any port 67
pass out quick on back inet from 10.2.0.0/24 to 10.2.0.0/24
pass out quick inet from 10.2.0.0/24 to 224.0.0.0/3
block drop out quick on back inet from any to 10.2.0.0/24
block drop out quick on ! back inet from 10.2.0.0/24 to ! 10.2.0.0/24
"""


ROUTED6_RULES = """pass in on front inet6 from fd00:1::/64 to any
pass in on front inet6 from fe80::/10 to any
pass in on front inet6 from :: to ff02::/16
pass out quick on front inet6 from fe80::/10 to any
pass out on vtnet0 inet6 from fd00:1::/64 to any
pass in on vtnet0 inet6 from any to fd00:1::/64 tag vmwire_routed
pass out quick on front inet6 all tagged vmwire_routed
pass out quick on front inet6 from fd00:1::/64 to fd00:1::/64
pass out quick inet6 from fd00:1::/64 to fe80::/10
pass out quick inet6 from fd00:1::/64 to ff00::/8
block drop out quick on front inet6 from any to fd00:1::/64
block drop out quick on ! vtnet0 inet6 from fd00:1::/64 to ! fd00:1::/64
"""


def rules(bsd, network):  # noqa: F811
    return "\n".join(bsd.host["pf"]["anchors"][f"vmwire/{network}"]) + "\n"


def test_a_routed_network_is_filtered_and_not_translated(bsd):  # noqa: F811
    bsd.file(ROUTED)
    bsd.run("up")
    assert rules(bsd, "front") == ROUTED_RULES
    assert bsd.host["pf"]["on"] and bsd.host["sysctls"]["net.inet.ip.forwarding"] == "1"
    assert "nothing to do" in bsd.run("up") and "routed" in bsd.run("status")
    bsd.change(lambda host: host["pf"]["anchors"]["vmwire/front"].pop())
    bsd.run("status", status=3)
    bsd.run("up")
    assert rules(bsd, "front") == ROUTED_RULES
    bsd.run("down")
    as_it_was(bsd)


def test_an_isolated_network_is_shut_also_on_a_host_that_forwards(bsd):  # noqa: F811
    bsd.file(ISOLATED)
    bsd.run("up")
    assert rules(bsd, "back") == ISOLATED_RULES
    assert bsd.host["pf"]["on"] and bsd.host["sysctls"]["net.inet.ip.forwarding"] == "0"
    assert "nothing to do" in bsd.run("up")
    assert "dhcp-option=option:router\n" in bsd.sh("cat /var/run/vmwire/network/back/dnsmasq.conf")
    bsd.run("down")
    as_it_was(bsd)


def test_without_the_host_there_is_a_bridge_and_no_rule(bsd):  # noqa: F811
    bsd.file("networks:\n  cable: {mode: isolated, host: no}\n")
    bsd.run("up")
    assert not bsd.host["pf"]["on"] and not bsd.host["pf"]["anchors"] and not bsd.host["links"]["cable"]["inet"]
    assert "nothing to do" in bsd.run("up")
    bsd.run("down")
    as_it_was(bsd)


def test_a_network_changes_its_mode_in_place(bsd):  # noqa: F811
    for mode, more, nats in (("nat", ", uplink: vtnet0", 1), ("routed", ", uplink: vtnet0", 0), ("isolated", "", 0)):
        bsd.file(f"networks:\n  net0: {{mode: {mode}, subnet: 10.1.0.0/24{more}}}\n")
        bsd.run("up")
        assert sum(rule.startswith("nat") for rule in bsd.host["pf"]["anchors"]["vmwire/net0"]) == nats
        assert "nothing to do" in bsd.run("up"), mode
    bsd.run("down")
    as_it_was(bsd)


def test_isolated_guests_are_private_ports_and_the_host_carries_nothing_between_them(bsd):  # noqa: F811
    text = "networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: vtnet0%s}\nmachines:\n  vm0: {nics: [{network: brnat}]}\n"
    bsd.file(text % "")
    bsd.run("up")
    bsd.run("start", "vm0")
    bsd.file(text % ", isolate: yes")
    assert "ifconfig brnat private tap0" in bsd.run("plan")
    bsd.run("up")
    assert bsd.host["links"]["brnat"]["private"] == ["tap0"] and "nothing to do" in bsd.run("up")
    inside = "pass out quick on brnat inet from (brnat) to 10.0.0.0/24"
    assert inside in rules(bsd, "brnat")
    bsd.change(lambda host: host["links"]["brnat"].update(private=[]))
    bsd.run("status", status=3)
    bsd.run("up")
    assert bsd.host["links"]["brnat"]["private"] == ["tap0"]
    bsd.run("stop", "vm0")
    bsd.run("start", "vm0")  # private before anybody has it open
    assert bsd.host["links"]["brnat"]["private"] == ["tap0"] and "nothing to do" in bsd.run("up")
    bsd.file(text % "")
    bsd.run("up")
    assert bsd.host["links"]["brnat"]["private"] == [] and inside not in rules(bsd, "brnat")
    bsd.run("stop", "vm0")


def plan(file):
    return subprocess.run([BUILD / "src" / "vmwire", "-c", file, "plan", "--host", "freebsd"],
                          capture_output=True, text=True, check=True).stdout


def test_the_example_is_planned_from_anywhere(tmp_path):
    told = plan(ROOT / "examples" / "modes.yaml")
    for line in (*ROUTED_RULES.replace("vtnet0", "re0").splitlines(), *ISOLATED_RULES.splitlines(), "ifconfig cable mtu 9000"):
        assert line in told
    file = tmp_path / "vmwire.yaml"
    file.write_text(ROUTED.replace("uplink", "subnet6: 'fd00:1::/64', uplink"))
    file.chmod(0o600)
    assert ROUTED_RULES + ROUTED6_RULES in plan(file)
