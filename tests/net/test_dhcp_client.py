"""`address: dhcp`: the host's own lease on the bridge, from a real server beyond the uplink."""

BRIDGED = "networks:\n  brext:\n    mode: bridged\n    uplink: re1\n    address: dhcp\n"


def server(host):
    router = host.uplink("re1", gateway="192.168.87.1/24", up=False)
    router.sh("dnsmasq --conf-file=/dev/null --interface=far --except-interface=lo --bind-interfaces --no-ping "
              "--pid-file=/run/router.pid --dhcp-leasefile=/run/router.leases --dhcp-range=192.168.87.40,192.168.87.99")
    return router


def test_the_bridge_gets_a_lease_and_a_default_route_and_down_takes_all_of_it_away(host):
    router = server(host)
    host.config(BRIDGED)
    before = host.snapshot()
    host.vmwire("up")
    assert "192.168.87." in host.sh("ip -br -4 addr show dev brext")
    assert "default via 192.168.87.1 dev brext proto dhcp" in host.sh("ip route")
    assert "nothing to do" in host.vmwire("up").stdout
    host.sh("ping -c1 -W2 192.168.87.1")
    host.vmwire("down")
    assert host.snapshot() == before
    # The lease was given back.
    host.wait_for(lambda: not router.sh("cat /run/router.leases").strip())


def test_no_answer_fails_and_changes_nothing(host):
    host.uplink("re1", up=False)
    host.config(BRIDGED)
    before = host.snapshot()
    done = host.vmwire("up", check=False)
    assert done.returncode == 1
    assert "network 'brext': starting dhcp-client" in done.stderr and "rolled back" in done.stderr
    assert host.snapshot() == before


def test_a_dead_client_is_drift_and_comes_back(host):
    server(host)
    host.config(BRIDGED)
    host.vmwire("up")
    host.sh("kill -9 $(cat /run/vmwire/network/brext/dhcp-client.pid)")
    assert host.vmwire("status", check=False).returncode == 3
    host.vmwire("up")
    assert host.vmwire("status").returncode == 0
