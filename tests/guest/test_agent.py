"""A guest with an agent is told to ping by trace --ping; a real qemu-ga in a real guest."""
import json
import shutil

import pytest

from test_guest import GUEST, NETWORKS, image, machine, wired  # noqa: F401  (fixtures)


@pytest.mark.skipif(not shutil.which("qemu-ga"), reason="qemu-guest-agent is not installed")
def test_trace_lets_the_guests_agent_ping(wired):  # noqa: F811
    text = machine("vm0", ["network: brnat"], more="    agent: yes\n").replace("initrd.img", "agent.img")
    wired.config(NETWORKS + text)
    wired.vmwire("up", "brnat")
    wired.vmwire("start", "vm0")
    try:
        wired.wait_for(lambda: json.loads(wired.vmwire("leases", "--json").stdout)["networks"][0]["leases"], seconds=90)
        for _ in range(20):  # the agent comes up beside the lease
            done = wired.vmwire("trace", "vm0", "8.8.8.8", "--ping", "--json", "--seconds", "5", check=False)
            if "does not answer" not in done.stderr:
                break
        told = json.loads(done.stdout)
        assert done.stderr == "" and told["answered"] and told["findings"] == [], (done.stderr, told)
        assert "> 8.8.8.8: ICMP echo request" in told["flow"] and told["hops"][0]["what"] == "vm0/0 sends"
    finally:
        wired.vmwire("stop", "vm0", "--timeout", "0")

