#!/usr/bin/env python3
"""Timings beside the hand-written floor and a peer, all in one run, in throw-away namespaces.

`make bench` runs all of it (about 12 minutes); `bench/bench.py NAME…` some of: updown idle nic memory packets
forwards shared locks scale.  The last one (about 6 minutes) has 600 dnsmasq at once, and raises root's inotify limit for so
long.
Prints one table: what was measured, the figure, what it is compared with, the ratio, the bound, and whether it holds.
Exits 1 when a bound does not hold."""
import contextlib
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from conftest import VMWIRE, Host  # noqa: E402

ROWS = []
NAT = "networks:\n  brnat:\n    mode: nat\n    subnet: 10.0.0.0/24\n"


def row(what, figure, beside, ratio, bound, holds):
    ROWS.append((what, figure, beside, ratio, bound, "yes" if holds else "NO"))


def ms(seconds):
    return f"{seconds * 1000:.1f} ms"


def timed(host, argv, warm=1, runs=5):
    """Median seconds of a command inside the namespace, the cost of entering it taken off."""
    def once(command):
        start = time.perf_counter()
        host.run(*command)
        return time.perf_counter() - start

    both = [(once(argv), once(["true"])) for _ in range(warm + runs)][warm:]
    return max(statistics.median(a for a, _ in both) - statistics.median(b for _, b in both), 1e-6)


def practice():
    folder = tempfile.TemporaryDirectory()
    host = Host(folder.name)
    host.folder = folder
    host.uplink("re0", "192.168.87.44/24", "192.168.87.1/24")
    return host


FLOOR_UP = """
set -e
ip -batch - <<'EOF'
link add name brf type bridge stp_state 0 forward_delay 0
link set dev brf up
addr add 10.9.0.1/24 broadcast 10.9.0.255 dev brf
EOF
sysctl -qw net.ipv4.ip_forward=1
nft -f - <<'EOF'
table inet floor {
  chain forward { type filter hook forward priority filter; policy accept;
    oifname "brf" ct state established,related accept
    oifname "brf" iifname "brf" accept
    oifname "brf" reject
  }
  chain postrouting { type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.9.0.0/24 ip daddr != 10.9.0.0/24 masquerade
  }
}
EOF
dnsmasq --conf-file=/dev/null --interface=brf --except-interface=lo --bind-interfaces --pid-file=/run/floor.pid \
  --dhcp-range=10.9.0.10,10.9.0.250 --dhcp-leasefile=/run/floor.leases --no-ping
kill "$(cat /run/floor.pid)"
while grep -q dnsmasq "/proc/$(cat /run/floor.pid)/cmdline" 2>/dev/null; do sleep 0.002; done
nft delete table inet floor
ip link del dev brf
sysctl -qw net.ipv4.ip_forward=0
"""


# The daemon's network part needs no QEMU driver, whose user a half-installed libvirt lacks.
LIBVIRT_CONFIG = """
mkdir -p /run/libvirt /run/etc-libvirt && cp -a /etc/libvirt/. /run/etc-libvirt/
printf 'user = "root"\\ngroup = "root"\\n' > /run/etc-libvirt/qemu.conf && mount --bind /run/etc-libvirt /etc/libvirt
for place in lib log cache; do mount -t tmpfs tmpfs /var/$place && mkdir -p /var/$place/libvirt; done
mkdir -p /var/lib/libvirt/dnsmasq
for kind in passwd group; do cp /etc/$kind /run/$kind; done
grep -q ^libvirt-qemu: /run/passwd || echo 'libvirt-qemu:x:64055:64055::/:/bin/false' >> /run/passwd
grep -q ^libvirt-qemu: /run/group || echo 'libvirt-qemu:x:64055:' >> /run/group
for kind in passwd group; do mount --bind /run/$kind /etc/$kind; done
"""


def compiled(name):
    program = ROOT / "build" / name
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, ROOT / "bench" / f"{name}.c"], check=True)
    return program


@contextlib.contextmanager
def closing():
    """Hosts by name, which are closed in the end."""
    hosts = {}
    try:
        yield hosts
    finally:
        for host in hosts.values():
            host.close()


@contextlib.contextmanager
def watches(count):
    """Room for the inotify instances of several hosts' servers; the limit is the whole machine's."""
    limit = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
    before = limit.read_text()
    limit.write_text(str(count))
    try:
        yield
    finally:
        limit.write_text(before)


def in_turns(hosts, rounds, measure):
    """What `measure` makes of each host, by its name; rounds are in turns, so that what else this machine does meets all."""
    figures = {name: [] for name in hosts}
    for _ in range(rounds):
        for name, host in hosts.items():
            figures[name].append(measure(host))
    return figures


def ratio_of(one, other):
    """Taken within each round."""
    return statistics.median(a / b for a, b in zip(one, other))


def guest_behind(host, address, gateway):
    guest = host.uplink("guest", gateway=address)
    guest.sh(f"ip route add default via {gateway}")
    return guest


def wire(host, network, address, group):
    """`guest` as a tap is; `group` is a command of sh that tells its device group."""
    mac = host.peers["guest"].sh("cat /sys/class/net/far/address").strip()
    host.sh(f"ip link set dev guest group $({group}); ip link set dev guest alias 'vmwire:{network} -/0 {mac} {address}'; "
            f"ip link set dev guest master {network}")
    host.vmwire("up", timeout=300)
    host.peers["guest"].run("ping", "-c1", "-W2", "192.168.87.1")


def libvirt_cycle(host):
    """Median seconds of virsh net-start + net-destroy with libvirt's daemon in the namespace; None when not installed."""
    if not shutil.which("virsh") or not shutil.which("libvirtd"):
        return None
    host.sh(LIBVIRT_CONFIG)
    daemon = host.popen("libvirtd", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    virsh = ["virsh", "-q", "-c", "qemu:///system"]
    xml = host.directory / "net.xml"
    xml.write_text("<network><name>peer</name><forward mode='nat'/><bridge name='virpeer' stp='off' delay='0'/>"
                   "<ip address='10.8.0.1' netmask='255.255.255.0'><dhcp><range start='10.8.0.10' end='10.8.0.250'/>"
                   "</dhcp></ip></network>")
    try:
        host.wait_for(lambda: host.run(*virsh, "version", check=False).returncode == 0, 20)
        host.run(*virsh, "net-define", str(xml))
        cycle = " ".join(virsh)
        return timed(host, ["sh", "-ec", f"{cycle} net-start peer; {cycle} net-destroy peer"])
    finally:
        daemon.terminate()
        daemon.wait()


def bench_updown():
    host = practice()
    try:
        host.config(NAT)
        ours, floor = [], []
        for _ in range(8):  # in turn, so that the machine's drift hits both
            ours.append(timed(host, ["sh", "-c", f"{VMWIRE} up && {VMWIRE} down"], 0, 1))
            floor.append(timed(host, ["sh", "-c", FLOOR_UP], 0, 1))
        ours, floor = statistics.median(ours[1:]), statistics.median(floor[1:])
        row("up + down, nat with DHCP", ms(ours), f"ip -batch + nft -f + dnsmasq {ms(floor)}", f"{ours / floor:.2f}",
            "<= 1.0", ours <= floor)
        peer = libvirt_cycle(host)
        if peer:
            row("up + down, nat with DHCP", ms(ours), f"virsh net-start + net-destroy {ms(peer)}",
                f"1/{peer / ours:.1f}", "<= 1/8", ours * 8 <= peer)
        else:
            row("up + down, nat with DHCP", ms(ours), "libvirt is not installed", "-", "<= 1/8", True)
    finally:
        host.close()


def ports(host, count):
    """`count` more ports on brnat, the way a hypervisor's taps sit there."""
    batch = "".join(f"tuntap add name p{i} mode tap\nlink set dev p{i} master brnat up\n" for i in range(count))
    host.run("ip", "-batch", "-", input=batch)


def bench_idle():
    host = practice()
    try:
        host.config(NAT)
        host.vmwire("up")
        ports(host, 1000)
        up = timed(host, [VMWIRE, "up"])
        status = timed(host, [VMWIRE, "status", "--json"])
        row("up, nothing to do, 1,000 ports", ms(up), "-", "-", "<= 20 ms", up <= 0.020)
        row("status --json, 1,000 ports", ms(status), "-", "-", "<= 40 ms", status <= 0.040)
        doctor = timed(host, [VMWIRE, "doctor"])
        row("doctor, 1,000 ports", ms(doctor), "-", "-", "<= 50 ms", doctor <= 0.050)
    finally:
        host.close()


FLOOR_NIC = "ip tuntap add name tfloor mode tap && ip link set dev tfloor master brnat up && ip link del dev tfloor"


def bench_nic():
    host = practice()
    try:
        host.config(NAT)
        host.vmwire("up")

        def both():
            ours, floor = [], []
            for _ in range(11):
                ours.append(timed(host, [VMWIRE, "exec", "--nic", "brnat", "--", "true"], 0, 1))
                floor.append(timed(host, ["sh", "-c", FLOOR_NIC], 0, 1))
            return statistics.median(ours[1:]), statistics.median(floor[1:])

        first, floor = both()
        row("exec --nic NET -- true", ms(first), f"ip tuntap add, master, del {ms(floor)}", f"{first / floor:.2f}",
            "<= 1.5", first <= 1.5 * floor)
        ports(host, 999)
        last, floor = both()
        row("the 1,000th nic", ms(last), f"the first {ms(first)}", f"{last / first:.2f}", "<= 1.2", last <= 1.2 * first)
    finally:
        host.close()


def peak_mib(host, argv):
    script = "import os,subprocess,resource,sys; subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL); " \
             "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    return int(host.run("/usr/bin/python3", "-c", script, *argv).stdout) / 1024


def bench_memory():
    host = practice()
    try:
        machines = "".join(
            f"  vm{i}:\n    memory: 512M\n    nics:\n      - {{network: brnat}}\n" for i in range(1000))
        host.config(NAT.replace("10.0.0.0/24", "10.0.0.0/16") + "machines:\n" + machines)
        worst = 0
        for command in (["check"], ["plan"], ["up"], ["status", "--json"], ["args", "vm999"], ["down"]):
            worst = max(worst, peak_mib(host, [str(VMWIRE), *command]))
        row("peak memory, 1,000 machines", f"{worst:.1f} MiB", "-", "-", "< 16 MiB", worst < 16)
        resident = [c for _, c in host.processes() if "vmwire " in c and "dnsmasq" not in c]
        row("resident processes of ours after up", str(len(resident)), "-", "-", "0", not resident)
    finally:
        host.close()


def forwarded(host, blaster, seconds=3):
    """Frames a second that arrive outside while a guest on brnat sends."""
    def arrived():
        return int(host.peers["re0"].sh("cat /sys/class/net/far/statistics/rx_packets"))

    before, start = arrived(), time.perf_counter()
    host.peers["guest"].run(blaster, "192.168.87.1", "9", str(seconds))
    return (arrived() - before) / (time.perf_counter() - start)


def bench_packets():
    blaster = compiled("udpblast")
    with watches(2048), closing() as hosts:
        for count in (1, 200):
            host = hosts[count] = practice()
            more = "".join(f"  net{i}:\n    mode: nat\n    subnet: 10.1.{i}.0/24\n    dhcp: off\n"
                           for i in range(count - 1))
            host.config(NAT + more)
            # Rules are what is measured, not servers.
            host.sh("mount --bind /bin/true $(command -v dnsmasq)")
            host.vmwire("up", timeout=300)
            guest_behind(host, "10.0.0.2/24", "10.0.0.1")
            host.sh("ip link set dev guest master brnat")
        rates = in_turns(hosts, 5, lambda host: forwarded(host, blaster))
        one, many = statistics.median(rates[1]), statistics.median(rates[200])
        row("forwarded packets/s, 200 networks", f"{many:,.0f}", f"1 network {one:,.0f}", f"{many / one:.2f}", ">= 0.95",
            many >= 0.95 * one)


def forwarding_host(count, blaster):
    """`count` UDP forwards, the last of which leads to the guest 10.0.0.2; each run of `blaster` has a source of its own."""
    host = practice()
    rules = "".join(f"      - udp {20000 + i} -> 10.0.0.2:{30000 + i * 2}\n" for i in range(count))
    host.config(NAT + "    dhcp: off\n    forward:\n" + rules)
    host.sh("mount --bind /bin/true $(command -v dnsmasq)")
    host.up = timed(host, ["sh", "-c", f"{VMWIRE} up && {VMWIRE} down"], 0, 3)
    host.vmwire("up")
    host.idle = timed(host, [VMWIRE, "up"])
    guest = guest_behind(host, "10.0.0.2/24", "10.0.0.1")
    guest.sh("sysctl -qw net.ipv4.icmp_ratelimit=100000")
    host.sh("ip link set dev guest master brnat")
    host.peers["re0"].sh("".join(f"ip addr add 192.168.87.{100 + i}/24 dev far\n" for i in range(12)))
    host.run_number = 0

    def flow_ns():
        source = f"192.168.87.{100 + host.run_number}"
        host.run_number += 1
        return float(host.peers["re0"].run(blaster, "192.168.87.44", str(20000 + count - 1), source, "10000").stdout)

    host.flow_ns = flow_ns
    return host


def bench_forwards():
    blaster = compiled("flows")
    with closing() as hosts:
        for count in (1, 1000):
            hosts[count] = forwarding_host(count, blaster)
        times = in_turns(hosts, 11, lambda host: host.flow_ns())
        one, many = (min(times[count][1:]) for count in (1, 1000))
        row("new flow through a forward, 1,000 of them", f"{many / 1000:.2f} us", f"1 forward {one / 1000:.2f} us",
            f"{many / one:.2f}", "<= 1.05", many <= 1.05 * one)
        one, many = hosts[1], hosts[1000]
        row("up + down, 1,000 forwards", ms(many.up), f"1 forward {ms(one.up)}", f"{many.up / one.up:.2f}",
            "<= 2", many.up <= 2 * one.up)
        row("up, nothing to do, 1,000 forwards", ms(many.idle), f"1 forward {ms(one.idle)}",
            f"{many.idle / one.idle:.2f}", "<= 20 ms", many.idle <= 0.020)


CLAIMS = """
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("far", 0))
for n in range(499):
    mac, ip = struct.pack("!HI", 0x200, n + 1), bytes([192, 168, 88 + n // 250, 1 + n % 250])
    s.send(b"\\xff" * 6 + mac + b"\\x08\\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac + ip + bytes(6) + ip)
"""


def bridging_host(shared, guests):
    """A host with a bridged network; `guest` sits on it as a tap does, and `guests` addresses are known there."""
    host = practice()
    host.config("networks:\n  brext:\n    mode: bridged\n    uplink: re0\n" + "    mac: shared\n" * shared)
    host.vmwire("up")
    guest = host.uplink("guest", gateway="192.168.87.50/24")
    host.sh("ip link set dev guest master brext")
    if shared:  # the group that vmwire gives its taps
        host.sh("ip link set dev guest group $(nft list map bridge vmwire guest_arp | grep -o '[0-9]\\{10\\}')")
    guest.run("ping", "-c1", "-W2", "192.168.87.1")
    if guests > 1:
        guest.run("python3", "-c", CLAIMS)
    return host


def arriving(source, sink, blaster, target, seconds=0.5):
    """Frames from one namespace that arrive in another, for each second that the processor worked for the sender: between
    namespaces that is all of the way."""
    def arrived():
        return int(sink.sh("cat /sys/class/net/far/statistics/rx_packets"))

    before = arrived()
    worked = float(source.run("taskset", "-c", "0", blaster, target, "9", str(seconds)).stdout.split()[1])
    return (arrived() - before) / worked


def bench_shared():
    """`mac: shared` beside plain bridging, out and in; rounds are short."""
    blaster = compiled("udpblast")
    with closing() as hosts:
        for name, shared, guests in (("plain", False, 1), ("one", True, 1), ("many", True, 500)):
            hosts[name] = bridging_host(shared, guests)
        for way in ("out", "in"):
            def measure(host, out=way == "out"):
                ends = host.peers["guest"], host.peers["re0"]
                return (arriving(*ends, blaster, "192.168.87.1") if out else
                        arriving(*reversed(ends), blaster, "192.168.87.50"))
            three_rows(in_turns(hosts, 21, measure), f"mac: shared, packets/s {way}", "plain bridge", 0.9,
                       f"the same, 500 guests, {way}", "1 guest")


def three_rows(rates, what, plain_what, bound, many_what, one_what):
    """One beside a plain one, and many beside one."""
    plain, one, many = (statistics.median(rates[name]) for name in ("plain", "one", "many"))
    ratio, grown = ratio_of(rates["one"], rates["plain"]), ratio_of(rates["many"], rates["one"])
    row(what, f"{one:,.0f}", f"{plain_what} {plain:,.0f}", f"{ratio:.2f}", f">= {bound:.2f}", round(ratio, 2) >= bound)
    row(many_what, f"{many:,.0f}", f"{one_what} {one:,.0f}", f"{grown:.2f}", ">= 0.95", grown >= 0.95)


def locked_host(lock, nics):
    """A nat network; `guest` is wired as a tap is, and so are others, which do nothing."""
    host = practice()
    host.config(NAT + ("" if lock else "    lock: off\n"))
    host.vmwire("up")
    guest_behind(host, "10.0.0.2/24", "10.0.0.1")
    ports(host, nics - 1)
    batch = "".join(f"link set dev p{i} alias 'vmwire:brnat -/0 02:00:00:00:{i >> 8:02x}:{i & 255:02x} 10.0.0.9'\n"
                    for i in range(nics - 1))
    host.run("ip", "-batch", "-", input=batch)
    wire(host, "brnat", "10.0.0.2", "nft list set bridge vmwire_lock no_mac | grep -o '[0-9]\\{10\\}'" if lock else "echo 0")
    return host


def bench_locks():
    """What a locked guest sends to the outside, beside an unlocked one; measured as `mac: shared` is."""
    blaster = compiled("udpblast")
    with closing() as hosts:
        for name, lock, nics in (("plain", False, 1), ("one", True, 1), ("many", True, 1000)):
            hosts[name] = locked_host(lock, nics)
        rates = in_turns(hosts, 31, lambda host: arriving(host.peers["guest"], host.peers["re0"], blaster, "192.168.87.1"))
        three_rows(rates, "nat, locked, packets/s out", "lock: off", 0.85, "the same, 1,000 nics", "1 nic")


def scale_text(networks, nics=20):
    """nat networks with locks; each nic has a lease of its own and a port of the host's."""
    out = ["networks:"]
    for i in range(networks):
        out += [f"  n{i}:", "    mode: nat", f"    subnet: 10.{i // 250 + 1}.{i % 250}.0/24",
                "    forward:", *(f"      - tcp {10000 + i * nics + k} -> vm{i * nics + k}:22" for k in range(nics))]
    out.append("machines:")
    for i in range(networks):
        for k in range(nics):
            out.append(f"  vm{i * nics + k}:\n    nics:\n"
                       f"      - {{network: n{i}, address: 10.{i // 250 + 1}.{i % 250}.{k + 10}}}")
    return "\n".join(out) + "\n"


def wall(host, *argv):
    start = time.perf_counter()
    host.run(*argv, timeout=300)
    return time.perf_counter() - start


def servers_by_hand(host):
    """Seconds that the host's servers take to start in one go, with what vmwire wrote for them; they are its afterwards."""
    servers = {pid: words for pid, words in host.processes() if words.startswith("dnsmasq ")}
    host.sh("kill " + " ".join(str(pid) for pid in servers))
    host.wait_for(lambda: not any(words.startswith("dnsmasq ") for _, words in host.processes()), 60)
    return wall(host, "sh", "-c", "\n".join(f"{words} &" for words in servers.values()) + "\nwait")


def bridges_deleted(count):
    """Seconds that deleting as many bridges takes in one go: the kernel waits for each."""
    host = practice()
    try:
        host.run("ip", "-batch", "-", input="".join(
            f"link add name br{i} type bridge\nlink set dev br{i} up group 7\n" for i in range(count)))
        return wall(host, "ip", "link", "delete", "group", "7")
    finally:
        host.close()


SCALE = {  # what a command may take at 4,000 nics, and how much more at twice as many
    "up from nothing": (3, 2.2), "down": (6, 2.2), "up, nothing to do": (0.3, 2.2), "plan, nothing to do": (0.3, 2.2),
    "status": (0.6, 2.2), "doctor": (0.6, 2.2), "map": (0.6, 2.2)}


def scale_times(host):
    """Seconds of each command that changes nothing."""
    return {name: wall(host, VMWIRE, *name.split(",")[0].split()) for name in list(SCALE)[2:]}


def scale_cycle(host):
    return {"up from nothing": wall(host, VMWIRE, "up"), "down": wall(host, VMWIRE, "down")}


def scale_guest(host, networks):
    """A guest on n0 among a thousand ports."""
    batch = "".join(f"tuntap add name p{i} mode tap\nlink set dev p{i} master n{i % networks} up\n" for i in range(1000))
    host.run("ip", "-batch", "-", input=batch)
    guest_behind(host, "10.1.0.10/24", "10.1.0.1")
    wire(host, "n0", "10.1.0.10",
         "nft list set bridge vmwire_lock no_mac | grep -o '[0-9]* comment \"n0\"' | cut -d' ' -f1")


def scale_rows(rounds, floors):
    for name, (bound, growth) in SCALE.items():
        half, whole = ([one[name] for one in rounds[networks] if name in one] for networks in (200, 400))
        figure, twice, grown = min(half), min(whole), sum(whole) / sum(half)
        beside, floor = floors.get(name, ("-", None))
        row(f"{name}, 4,000 nics on 200 networks", ms(figure), f"{beside} {ms(floor)}" if floor else beside,
            f"{figure / floor:.2f}" if floor else "-", f"<= {bound} s", figure <= bound)
        row("the same, 8,000 nics on 400", ms(twice), f"half of them {ms(figure)}", f"{grown:.2f}", f"<= {growth}",
            grown <= growth)


def bench_scale():
    blaster = compiled("udpblast")
    with watches(2048), closing() as hosts:
        for networks in (1, 200, 400):
            hosts[networks] = practice()
            hosts[networks].config(scale_text(networks))
        large = {networks: hosts[networks] for networks in (200, 400)}
        cycles = in_turns(large, 21, scale_cycle)
        hosts[200].vmwire("up", timeout=300)
        floors = {"up from nothing": ("its 200 dnsmasq by hand", servers_by_hand(hosts[200])),
                  "down": ("ip link delete, 200 bridges", bridges_deleted(200))}
        hosts[400].vmwire("up", timeout=300)
        idle = in_turns(large, 7, scale_times)
        hosts.pop(400).close()
        scale_rows({networks: cycles[networks] + idle[networks] for networks in large}, floors)

        hosts[1].vmwire("up")
        small = {networks: hosts[networks] for networks in (1, 200)}
        for networks, host in small.items():
            scale_guest(host, networks)
        rates = in_turns(small, 31,
                         lambda host: arriving(host.peers["guest"], host.peers["re0"], blaster, "192.168.87.1", 0.2))
        ratio = ratio_of(rates[200], rates[1])
        one, many = statistics.median(rates[1]), statistics.median(rates[200])
        row("packets/s out, 4,000 nics on 200 networks", f"{many:,.0f}", f"20 nics on 1 {one:,.0f}", f"{ratio:.2f}",
            ">= 0.97", round(ratio, 2) >= 0.97)


def main():
    parts = {"updown": bench_updown, "idle": bench_idle, "nic": bench_nic, "memory": bench_memory,
             "packets": bench_packets, "forwards": bench_forwards, "shared": bench_shared, "locks": bench_locks,
             "scale": bench_scale}
    for name in sys.argv[1:] or parts:
        parts[name]()
    head = ("what", "vmwire", "beside", "ratio", "bound", "holds")
    widths = [max(len(r[i]) for r in [head, *ROWS]) for i in range(6)]
    for line in [head, *ROWS]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    return 0 if all(r[5] == "yes" for r in ROWS) else 1


if __name__ == "__main__":
    sys.exit(main())
