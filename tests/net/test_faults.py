"""What the host refuses: each with words that help, exit status 1 or 2, and nothing changed."""
import subprocess

import pytest

from conftest import VMWIRE

NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"


def refused(host, config, status, *words):
    host.config(config)
    before = host.snapshot()
    done = host.vmwire("up", check=False)
    assert done.returncode == status, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert host.snapshot() == before


def bridged(uplink, more=""):
    return f"networks:\n  brext:\n    mode: bridged\n    uplink: {uplink}\n{more}"


def test_an_uplink_that_does_not_exist(host):
    host.uplink("re0")
    refused(host, bridged("re1"), 2, "vmwire.yaml:4:13", "'re1' does not exist", "did you mean 're0'?")


def test_an_uplink_that_is_a_bridge(host):
    host.sh("ip link add name br0 type bridge")
    refused(host, bridged("br0"), 2, "vmwire.yaml:4:13", "is itself a bridge")


def test_an_uplink_that_is_a_port_elsewhere(host):
    host.uplink("re0")
    host.sh("ip link add name br0 type bridge; ip link set dev re0 master br0")
    refused(host, bridged("re0"), 2, "vmwire.yaml:4:13", "already a port of 'br0'")


def test_address_none_on_the_default_route(host):
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    refused(host, bridged("re0", "    address: none\n"), 2, "vmwire.yaml:5:14", "would cut this host off", "keep")


def test_a_subnet_that_is_routed_already(host):
    host.uplink("re0", "10.0.0.7/16", "10.0.0.1/16")
    refused(host, NAT, 2, "vmwire.yaml:4:13", "overlaps the route 10.0.0.0/16 dev re0")


def test_a_name_that_is_taken(host):
    host.sh("ip link add name brnat type bridge")
    refused(host, NAT, 2, "vmwire.yaml:2:3", "not vmwire's")


def test_an_uplink_that_is_down_is_brought_up_for_a_bridge_and_said_for_nat(host):
    host.uplink("re0", up=False)
    host.config(NAT + "    uplink: re0\n")
    assert "uplink 're0' is down" in host.vmwire("up").stderr
    host.vmwire("down")
    host.config(bridged("re0"))
    host.vmwire("up")
    assert "UP" in host.json("ip", "-j", "link", "show", "dev", "re0")[0]["flags"]
    host.vmwire("down")
    assert "UP" not in host.json("ip", "-j", "link", "show", "dev", "re0")[0]["flags"]


def test_no_dnsmasq(host):
    host.sh("touch /run/nothing; mount --bind /run/nothing $(command -v dnsmasq)")
    refused(host, NAT, 1, "dnsmasq", "not installed", "apt install dnsmasq-base")


def test_port_67_taken(host):
    taker = host.popen("socat", "UDP4-RECVFROM:67", "-", stdin=subprocess.PIPE)
    host.wait_for(lambda: ":67" in host.sh("ss -Hlnu"))
    refused(host, NAT, 1, "port 67", "socat", "rolled back")
    taker.kill()
    taker.wait()


def test_port_53_taken_by_a_resolver_that_listens_everywhere(host):
    taker = host.popen("socat", "TCP4-LISTEN:53", "-", stdin=subprocess.PIPE)
    host.wait_for(lambda: ":53" in host.sh("ss -Hlnt"))
    refused(host, NAT, 1, "port 53", "socat", "rolled back")
    taker.kill()
    taker.wait()


def test_a_resolver_of_its_own_does_not_clash(host):
    """systemd-resolved's way: port 53 on one loopback address."""
    host.sh("dnsmasq --conf-file=/dev/null --listen-address=127.0.0.53 --bind-interfaces --no-dhcp-interface=lo "
            "--pid-file=/run/resolver.pid --except-interface=nothing")
    host.config(NAT)
    host.vmwire("up")
    assert host.sh("ss -Hlnu 'sport = :53'").count("10.0.0.1") == 1
    host.vmwire("down")
    assert "127.0.0.53" in host.sh("ss -Hlnu 'sport = :53'")


def test_no_permission(host):
    host.config(NAT)
    before = host.snapshot()
    done = host.run("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", VMWIRE, "up", check=False)
    assert done.returncode == 1
    assert "not permitted" in done.stderr and "root" in done.stderr
    assert host.snapshot() == before


def test_an_ordinary_user_is_told_to_be_root(host, tmp_path):
    done = host.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
                    f"{VMWIRE} -c /etc/passwd down", check=False)
    assert done.returncode == 1
    assert "root" in done.stderr


@pytest.mark.parametrize("mode", ["666", "620"])
def test_a_file_that_others_may_write_is_refused(host, mode):
    path = host.config(NAT)
    path.chmod(int(mode, 8))
    done = host.vmwire("up", check=False)
    assert done.returncode == 2
    assert "chmod" in done.stderr


def test_every_mistake_at_once(host):
    host.config("networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.5/24\n    uplnk: re0\n"
                "  a/b:\n    mode: bridgd\n")
    done = host.vmwire("check", check=False)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert any(":4:13:" in line and "10.0.0.0/24" in line for line in lines)
    assert any(":5:5:" in line and "did you mean 'uplink'?" in line for line in lines)
    assert any(":6:3:" in line and "a/b" in line for line in lines)
    assert any(":7:11:" in line and "did you mean 'bridged'?" in line for line in lines)


@pytest.mark.parametrize("name", ["tx", "dev", "up", "type", "master", "via", "bridge", "ip", "meta", "all2"])
def test_rendered_plan_does_what_apply_does(host, name):
    """The commands that `plan` prints, run by sh, leave the same kernel state as `up`; the name may be a keyword."""
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    host.sh("ip neigh add 192.168.87.9 lladdr 02:00:00:00:00:09 dev re0 nud permanent protocol static; "
            "ip neigh add fe80::9 lladdr 02:00:00:00:00:0a dev re0 nud permanent router; "
            "ip neigh add proxy 192.168.87.10 dev re0")
    host.config(f"networks:\n  {name}:\n    mode: nat\n    subnet: 10.0.0.0/24\n"
                f"  x{name}:\n    mode: bridged\n    uplink: re0\n    mac: shared\n")
    script = host.vmwire("plan").stdout

    def state():
        seen = host.snapshot()
        return {key: seen[key] for key in ("addresses", "neighbours", "nft", "sysctls", "run")} | {
            "routes": host.sh("ip route; ip -6 route | grep -v fe80 || true"),
            "links": [
                {k: link.get(k) for k in ("ifname", "address", "mtu", "ifalias", "master", "flags")}
                for link in host.json("ip", "-d", "-j", "link")
            ],
        }

    host.vmwire("up")
    applied = state()
    host.vmwire("down")
    host.sh(script)
    # The kernel gives a new bridge a new index and its link-local address new lifetimes; the rest is equal.
    assert state() == applied
    assert "nothing to do" in host.vmwire("up").stdout
    host.vmwire("down")


NO_NETFILTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
int socket(int domain, int type, int protocol)
{
    if (domain == AF_NETLINK && protocol == 12) { /* NETLINK_NETFILTER */
        errno = EPROTONOSUPPORT;
        return -1;
    }
    return ((int (*)(int, int, int))dlsym(RTLD_NEXT, "socket"))(domain, type, protocol);
}
"""


def test_a_kernel_without_nftables(host):
    """As a kernel without nfnetlink answers: the socket cannot be had."""
    library = host.directory / "no-netfilter.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=NO_NETFILTER, text=True, check=True)
    host.config(NAT)
    before = host.snapshot()
    done = host.vmwire("up", check=False, env={"LD_PRELOAD": str(library), "ASAN_OPTIONS": "verify_asan_link_order=0"})
    assert done.returncode == 1
    assert "setting the firewall rules of 'brnat'" in done.stderr and "CONFIG_NF_TABLES" in done.stderr, done.stderr
    assert "rolled back" in done.stderr
    assert host.snapshot() == before


NO_BRIDGE_FAMILY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
static int refused;
int nft_run_cmd_from_buffer(void *context, const char *text)
{
    refused = strstr(text, "table bridge vmwire_lock") != 0;
    return refused ? -1 : ((int (*)(void *, const char *))dlsym(RTLD_NEXT, "nft_run_cmd_from_buffer"))(context, text);
}
const char *nft_ctx_get_error_buffer(void *context)
{
    return refused ? "<cmdline>:1:1-1: Error: Could not process rule: Operation not supported\n"
                   : ((const char *(*)(void *))dlsym(RTLD_NEXT, "nft_ctx_get_error_buffer"))(context);
}
"""


def test_a_kernel_without_the_bridge_family_of_nftables(host):
    """`up` leaves it to the change itself to show that; it is undone, and what nobody wrote is done without."""
    library = host.directory / "no-bridge-family.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=NO_BRIDGE_FAMILY, text=True, check=True)
    env = {"LD_PRELOAD": str(library), "ASAN_OPTIONS": "verify_asan_link_order=0"}
    before = host.snapshot()
    host.config(NAT + "    lock: [mac]\n")
    for command in ("plan", "up"):
        done = host.vmwire(command, check=False, env=env)
        assert done.returncode == 2 and ":5:11: " in done.stderr and "'lock' cannot be had: this kernel's nf_tables has no bridge" \
            in done.stderr, done.stderr
        assert host.snapshot() == before
    host.config(NAT)
    assert "guests may use any MAC and address: 'lock' cannot be had" in host.vmwire("plan", check=False, env=env).stderr
    said = host.vmwire("up", env=env)
    assert said.stderr.count("guests may use any MAC and address: 'lock' cannot be had") == 1 and "up: 1" in said.stdout, said
    assert "vmwire_lock" not in host.sh("nft list tables") and "table inet vmwire" in host.sh("nft list tables")
    assert "nothing to do" in host.vmwire("up", env=env).stdout
    host.vmwire("down", env=env)
    assert host.snapshot() == before
