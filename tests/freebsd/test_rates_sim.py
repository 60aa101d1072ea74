"""Rates on FreeBSD: ipfw's rules and dummynet's pipes come, change, are mended and go, and ipfw never decides about anything
else: neither the host's packets nor what the rules of others are about."""
import pytest
from test_sim import as_it_was, bsd  # noqa: F401 (a fixture)

ROUTED = ("networks:\n  front: {mode: routed, subnet: 10.1.0.0/24, uplink: vtnet0, dhcp: off, dns: off, "
          "rate: {in: 100Mbit, out: 1500kbit}%s}\nmachines:\n  vm0: {nics: [{network: front, address: 10.1.0.5, rate: %s}]}\n")
TEXT = ROUTED % ("", "{out: 10Mbit, burst: 256kB}")
BEGIN, END = [1, 31, "skipto 50000 ip from any to any layer2 // vmwire"], [59999, 31, "allow ip from any to any layer2 // vmwire"]
IN = [50000, 31, "pipe 50000 ip from any to any layer2 out xmit front // vmwire front in 100000000 65536"]
OUT = [50001, 31, "pipe 50001 ip from any to any layer2 in recv front // vmwire front out 1500000 65536 nics"]
SYSCTLS = ("net.inet.ip.fw.one_pass", "net.link.ether.ipfw")


def rules(bsd):
    assert not bsd.host.get("cut")
    return bsd.host["ipfw"]["rules"]


def shaping(bsd):
    return [bsd.host["sysctls"].get(name) for name in SYSCTLS]


def restored(bsd):
    """Modules are as they were too."""
    assert not bsd.host["modules"].get("ipfw") and not bsd.host["modules"].get("dummynet")
    as_it_was(bsd)


def loaded(bsd, *others, last="deny", one_pass="1", frames="0", **more):
    """ipfw as an administrator has it: loaded, with rules."""
    def act(host):
        host["modules"]["ipfw"] = True
        host["ipfw"] = {"rules": [list(other) for other in others], "pipes": {}, "last": last}
        host["sysctls"] |= {"net.inet.ip.fw.enable": "1", "net.inet.ip.fw.one_pass": one_pass, "net.link.ether.ipfw": frames, **more}
    bsd.change(act)


def test_they_come_change_under_a_guest_and_go(bsd):  # noqa: F811
    bsd.file(TEXT)
    assert "ipfw is loaded for rates" in bsd.run("up")
    assert rules(bsd) == [BEGIN, IN, OUT, END] and shaping(bsd) == ["0", "1"]
    assert bsd.host["ipfw"]["pipes"] == {"50000": [100000000, 610 * 1024, 65536], "50001": [1500000, 64 * 1024, 65536]}
    assert "nothing to do" in bsd.run("up")
    bsd.run("start", "vm0")
    mac = next(link for link in bsd.host["links"].values() if link["group"] == "tap")["description"].split()[2]
    out = [52001, 31, f"pipe 52001 ip from any to any MAC any {mac} layer2 in recv front // vmwire front out 10000000 256000 nic tap0"]
    assert rules(bsd) == [BEGIN, IN, OUT, out, END] and bsd.host["ipfw"]["pipes"]["52001"] == [10000000, 64 * 1024, 256000]
    told = bsd.run("status")
    assert "100Mbit" in told and "1500kbit" in told and "10Mbit" in told
    assert "nothing to do" in bsd.run("up")
    bsd.file(ROUTED.replace("1500kbit", "2Mbit") % ("", "{in: 5Mbit}"))
    bsd.run("plan", "--exit-code", status=3)
    bsd.run("up")
    assert bsd.host["ipfw"]["pipes"]["50001"][0] == 2000000 and "52001" not in bsd.host["ipfw"]["pipes"]
    assert rules(bsd)[3][2] == f"pipe 52000 ip from any to any MAC {mac} any layer2 out xmit front // vmwire front in 5000000 65536 nic tap0"
    assert "nothing to do" in bsd.run("up")
    bsd.run("stop", "vm0")
    assert len(rules(bsd)) == 4 and sorted(bsd.host["ipfw"]["pipes"]) == ["50000", "50001"]
    bsd.run("down")
    restored(bsd)


def test_what_is_harmed_is_drift_and_mended(bsd):  # noqa: F811
    bsd.file(TEXT)
    bsd.run("up")
    bsd.run("start", "vm0")
    whole = bsd.host["ipfw"]
    harms = [lambda host: host["ipfw"]["rules"].pop(0) and host["sysctls"].update({SYSCTLS[0]: "1"}),
             lambda host: host["ipfw"]["rules"].append(OUT) or host["ipfw"]["pipes"].pop("52001"),
             lambda host: host["ipfw"]["pipes"]["50000"].__setitem__(0, 90000000) or host["sysctls"].update({SYSCTLS[1]: "0"}),
             lambda host: host["ipfw"]["rules"].pop(2)]
    for changes, harm in zip((1, 2, 2, 1), harms):
        bsd.change(harm)
        assert f"up: {changes} change" in bsd.run("up")
        assert bsd.host["ipfw"] == whole and shaping(bsd) == ["0", "1"]
    bsd.sh("ipfw -f flush")
    assert bsd.host["ipfw"] == whole
    bsd.change(lambda host: host["links"].pop("tap0"))  # somebody has destroyed it
    bsd.run("up")
    assert len(rules(bsd)) == 4 and "52001" not in bsd.host["ipfw"]["pipes"]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_change_that_breaks_off_at_any_operation_is_taken_back(bsd, direction):  # noqa: F811
    bsd.file(TEXT)
    if direction == "down":
        bsd.run("up")
    before = bsd.host
    hows = ("kill-after", "fail-after", "kill-before", "fail-before")
    for number in range(1 if direction == "up" else 2, 100, 4):
        how = hows[number // 4 % 4]
        process = bsd.start(direction, fault=f"{how} {number}")
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        bsd.run("plan")  # a command that only looks takes it back too
        assert not bsd.host.get("cut")
        if direction == "up":
            restored(bsd)
        else:
            assert bsd.host["ipfw"] == before["ipfw"] and shaping(bsd) == ["0", "1"]
    assert number > 8
    bsd.run("down")
    restored(bsd)


OTHERS = ([100, 0, "allow ip from any to any via lo0"], [65000, 0, "deny tcp from any to any dst-port 23"])


def test_rules_of_others_decide_what_they_did(bsd):  # noqa: F811
    loaded(bsd, *OTHERS)
    before = bsd.host
    bsd.file(TEXT)
    assert "is loaded" not in bsd.run("up")
    assert rules(bsd) == [BEGIN, OTHERS[0], IN, OUT, END, OTHERS[1]]  # no frame gets to them, as before
    assert "kenv" not in " ".join(bsd.log()[-200:]).replace("kenv -q net", "") and bsd.host["ipfw"]["last"] == "deny"
    bsd.run("down")
    assert bsd.host["ipfw"] == before["ipfw"] and shaping(bsd) == ["1", "0"] and bsd.host["modules"]["ipfw"]


def test_modules_stay_where_others_have_come_to_use_them(bsd):  # noqa: F811
    bsd.file(TEXT)
    bsd.run("up")
    bsd.sh("ipfw -q add 200 deny tcp from any to any dst-port 25")
    told = bsd.run("down")
    assert "stay loaded, since others use them ('00200 deny tcp" in told
    assert rules(bsd) == [[200, 0, "deny tcp from any to any dst-port 25"]] and shaping(bsd) == ["1", "0"]
    assert bsd.host["modules"]["dummynet"] and not bsd.exists("/var/run/vmwire")


REFUSED = [
    (([50, 0, "pipe 7 ip from any to any out xmit vtnet0"],), {}, "rule '00050 pipe 7 ip from any to any out xmit vtnet0' may count on 1"),
    (([100, 0, "allow ip from any to any"],), {"frames": "1"}, "rules ('00100 allow ip from any to any') decide about frames already"),
    ((), {"frames": "1"}, "('65535 deny ip from any to any') decide about frames already"),
    (([50500, 0, "count ip from any to any"],), {}, "others have '50500 count ip from any to any'"),
    (([1, 0, "count ip from any to any"],), {}, "others have '00001 count ip from any to any'"),
    ((), {"net.inet.ip.fw.enable": "0"}, "switched off"),
]


def test_where_others_would_be_changed_it_is_refused_and_nothing_is_done(bsd):  # noqa: F811
    bsd.file(TEXT)
    for others, more, reason in REFUSED:
        loaded(bsd, *others, **more)
        before = bsd.host
        told = bsd.run("up", status=2)
        assert "vmwire.yaml:2:89: network 'front': 'rate' cannot be had: " in told and reason in told, told
        assert bsd.host == before
    loaded(bsd, [50, 0, "pipe 7 ip from any to any out xmit vtnet0"], one_pass="0")
    bsd.run("up")


def test_what_cannot_be_limited_here_is_refused_with_its_place(bsd):  # noqa: F811
    bsd.file("networks:\n  brext: {mode: bridged, uplink: vtnet0, rate: 10Mbit}\n"
             "  back: {mode: isolated, subnet: 10.2.0.0/24}\n"
             "  fast: {mode: routed, subnet: 10.3.0.0/24, uplink: vtnet0, rate: 10Gbit}\n"
             "machines:\n  vm0: {nics: [{network: back, rate: {out: 1Mbit}}]}\n")
    before = bsd.host
    told = bsd.run("up", status=2)
    assert "vmwire.yaml:2:48: network 'brext': on FreeBSD 'rate' limits what the host routes" in told
    assert "vmwire.yaml:6:38: network 'back': on FreeBSD" in told and "net.link.bridge.ipfw=1" in told
    assert "vmwire.yaml:4:67: network 'fast': a rate of 10Gbit is more than a pipe of dummynet can have, 2147Mbit" in told
    assert bsd.host == before


def test_a_kernel_without_dummynet_is_told_and_all_is_as_it_was(bsd):  # noqa: F811
    told = {"net.inet.ip.fw.default_to_accept": "1"}  # by /boot/loader.conf, say
    bsd.change(lambda host: host.update(missing=["dummynet"], kenv=told))
    bsd.file(TEXT)
    assert "the module dummynet, which rates need, cannot be loaded" in bsd.run("up", status=1)
    assert not bsd.host["modules"].get("ipfw")
    as_it_was(bsd, missing=["dummynet"], kenv=told)


def test_a_nic_of_exec_has_its_own(bsd):  # noqa: F811
    words = ("exec", "--nic", "front,rate_out=1Mbit", "--", "sh", "-c", "cat /mnt/sim/host.json # {mac0}")
    bsd.file(ROUTED % ("", "{in: 1Mbit}"))
    bsd.run("up")
    assert "vmwire front out 1000000 65536 nic tap0" in bsd.run(*words)
    assert "nothing to do" in bsd.run("up") and len(rules(bsd)) == 4  # and goes with it
    assert "rate goes by its MAC" in bsd.run(*words[:-1], "true", status=1)
    bsd.file(TEXT.replace("rate: {in: 100Mbit, out: 1500kbit}", "isolate: yes"))
    bsd.run("up")
    assert "nothing to limit what goes in by" in bsd.run("exec", "--nic", "front,rate_in=1Mbit", "--", "true", "{mac0}", status=1)
