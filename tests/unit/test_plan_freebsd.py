"""`vmwire plan --host freebsd`: the article's networks as FreeBSD's commands, word for word, on any system."""
import json
import os
import subprocess

import pytest

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("VMWIRE_BUILD", os.path.join(SOURCE, "build"))
EXAMPLES = os.path.join(SOURCE, "examples")


def vmwire(*arguments):
    return subprocess.run([os.path.join(BUILD, "vmwire"), *arguments], capture_output=True, text=True, timeout=60)


def plan(path=os.path.join(EXAMPLES, "article.yaml"), *arguments):
    done = vmwire("-c", path, "plan", "--host", "freebsd", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["article", "forward", "ipv6", "lock", "modes", "names", "rates"])
def test_networks_come_out_word_for_word(name):
    with open(os.path.join(EXAMPLES, f"{name}.plan")) as golden:
        assert plan(os.path.join(EXAMPLES, f"{name}.yaml")) == golden.read()


def test_a_forward_of_the_loopback_is_refused(tmp_path):
    path = tmp_path / "vmwire.yaml"
    path.write_text("networks:\n  n1:\n    mode: nat\n    subnet: 10.1.0.0/24\n    uplink: re0\n"
                    "    forward: tcp 127.0.0.1:22 -> 10.1.0.5\n")
    done = vmwire("-c", str(path), "plan", "--host", "freebsd")
    assert done.returncode == 2 and f"{path}:6:14:" in done.stderr and "loopback" in done.stderr


def test_what_the_articles_author_types_is_there_in_his_order():
    # An address is an alias (it would replace another one), dhclient gets files of its own, the anchor is pf.conf's part
    typed = ["ifconfig bridge create name brext", "ifconfig brext up", "ifconfig re1 up", "ifconfig brext addm re1",
             "dhclient ", "ifconfig bridge create name brnat", "ifconfig brnat up", "ifconfig brnat inet 10.0.0.1/24",
             "nat on re0 inet from 10.0.0.0/24 to any -> (re0)", "pfctl -e", "sysctl net.inet.ip.forwarding=1"]
    lines = plan().splitlines()
    at = 0
    for words in typed:
        found = [i for i in range(at, len(lines)) if lines[i].startswith(words)]
        assert found, f"{words!r} is not behind line {at}"
        at = found[0] + 1


def test_the_plan_is_sh(tmp_path):
    script = tmp_path / "plan.sh"
    script.write_text(plan())
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0


def test_json_says_whose_commands_these_are():
    answer = json.loads(plan(os.path.join(EXAMPLES, "article.yaml"), "--json"))
    assert answer["host"] == "freebsd" and answer["fresh"] is True
    kinds = [operation["kind"] for operation in answer["operations"]]
    # rules, and the ruleset that refers to them, before packets are forwarded
    assert kinds.index("firewall-set") < kinds.index("firewall-enable") < kinds.index("sysctl-set")
    enable = answer["operations"][kinds.index("firewall-enable")]
    assert enable["load"] is True and enable["enable"] is True
    assert enable["undo"] == "pfctl -d\npfctl -F nat\npfctl -F rules\n"


def test_a_card_is_bound_by_its_selector(tmp_path):
    path = tmp_path / "vmwire.yaml"
    path.write_text("networks:\n  nic1: {mode: passthrough, device: 3/0/0, bind: up}\n")
    assert plan(str(path)).endswith("kldload -n vmm\ndevctl set driver -f pci0:3:0:0 ppt\n")
    # an interface's card has an address that nobody knows: checked when a machine takes it
    path.write_text("networks:\n  nic1: {mode: passthrough, device: re1}\n")
    assert "devctl" not in plan(str(path))
    path.write_text("networks:\n  nic1: {mode: passthrough, device: re1, bind: up}\n")
    assert vmwire("-c", str(path), "plan", "--host", "freebsd").returncode == 2


def test_two_nat_networks_share_one_main_ruleset(tmp_path):
    path = tmp_path / "vmwire.yaml"
    path.write_text("networks:\n  n1: {mode: nat, subnet: 10.1.0.0/24, uplink: re0}\n"
                    "  n2: {mode: nat, subnet: 10.2.0.0/24, uplink: re0}\n")
    text = plan(str(path))
    assert text.count("\npfctl -e\n") == 1 and text.count("pfctl -f - ") == 1
    assert "pfctl -a vmwire/n1 -f - " in text and "pfctl -a vmwire/n2 -f - " in text


def test_nat_without_an_uplink_needs_one_named(tmp_path):
    path = tmp_path / "vmwire.yaml"
    path.write_text("networks:\n  n1: {mode: nat, subnet: 10.1.0.0/24}\n")
    done = vmwire("-c", str(path), "plan", "--host", "freebsd")
    assert done.returncode == 2
    assert f"{path}:2:" in done.stderr and "uplink: re0" in done.stderr


@pytest.mark.parametrize("arguments, word", [(["--host", "openbsd"], "linux|freebsd"),
                                             (["--host", "freebsd", "--down"], "--down")])
def test_what_cannot_be_planned_is_a_wrong_command_line(arguments, word):
    done = vmwire("-c", os.path.join(EXAMPLES, "article.yaml"), "plan", *arguments)
    assert done.returncode == 2 and word in done.stderr


def test_nothing_looks_at_a_taps_node():
    """Opening /dev/tapN, and even looking at it, makes a tap that nobody takes away (net.link.tap.devfs_cloning)."""
    for folder, _, names in os.walk(os.path.join(SOURCE, "src")):
        for name in names:
            with open(os.path.join(folder, name)) as source:
                text = source.read()
            assert '"/dev/tap' not in text and "net.link.tap" not in text, name
