"""A host with an IOMMU, made of software, for what needs real PCI devices.

An outer QEMU machine (no KVM) with an emulated IOMMU boots the test guest's kernel on this machine's own root, seen
read-only through 9p under an overlay in memory: programs and the build directory are where they are here, everything can
be written, and nothing reaches this machine.  Its NICs lead into a namespace with a router: DHCP on 192.168.87.0/24, and
8.8.8.8.  What runs in it runs as root beside real devices, groups and drivers; QEMU in it starts the inner guest.

Limits are for a machine that hangs, not for one that is slow: they cost nothing where all is well.

    with Outer(tmp_path) as outer:
        status, stdout, stderr = outer.run("ip -br link", timeout=20)

Layouts.  "device": n0 (the host's uplink, with the default route), n1 and n2, each in a group of its own; p0 and p1, which
share theirs; v0, a virtio card on another NUMA node.  "sriov": n0, and n1, an igb with 7 functions.  "plain": n0, for what needs nothing but Debian's kernel.  The names are given by PCI address, as udev would.
"""
import base64
import contextlib
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

from conftest import BUILD, ROOT, VMWIRE, Namespace, dies_with_us

GUEST = BUILD / "guest"
IMAGE = BUILD / "outer"
QEMU10 = IMAGE / "qemu"
UPLINK_ADDRESS, ROUTER = "192.168.87.2/24", "192.168.87.1"
# With memory above 4 GiB (3G here) QEMU 10 maps the functions' registers wrongly: "igbvf: PF still in reset state".
MEMORY = "2G"


DOES_NOT_ANSWER = "the outer machine does not answer"


class OuterError(AssertionError):
    pass


def nic(name, number, model="e1000e", bus=None, netdev=True):
    # No boot ROM: the inner guest's firmware would run it.
    device = f"{model},bus={bus or f'rp{number}'},mac=52:54:00:00:00:{number:02x},romfile="
    words = ["-netdev", f"tap,id={name},ifname=tap-{name},script=no,downscript=no"] if netdev else []
    return words + ["-device", device + (f",netdev={name}" if netdev else "")]


def root_port(number, bus="pcie.0"):
    return ["-device", f"pcie-root-port,id=rp{number},chassis={number},slot={number},bus={bus}"]


# A second node with half of the memory, and a host bridge that belongs to it: its buses start at 40.
NUMA = ["-object", "memory-backend-ram,id=near,size=1G", "-numa", "node,nodeid=0,cpus=0-1,memdev=near",
        "-object", "memory-backend-ram,id=more,size=1G", "-numa", "node,nodeid=1,memdev=more",
        "-device", "pxb-pcie,id=far,bus=pcie.0,bus_nr=64,numa_node=1"]


class Layout:
    def __init__(self, names, taps, devices):
        self.names, self.taps, self.devices = names, taps, devices


LAYOUTS = {
    "device": Layout(
        {"0000:01:00.0": "n0", "0000:02:00.0": "n1", "0000:03:00.0": "n2", "0000:05:01.0": "p0", "0000:05:02.0": "p1",
         "0000:41:00.0": "v0"},
        ["n0", "n1", "n2"],
        [*root_port(1), *root_port(2), *root_port(3), *root_port(4), *nic("n0", 1), *nic("n1", 2), *nic("n2", 3),
         "-device", "pcie-pci-bridge,id=pci,bus=rp4",
         *nic("p0", 5, "e1000,addr=1", "pci", netdev=False), *nic("p1", 6, "e1000,addr=2", "pci", netdev=False),
         *NUMA, *root_port(7, "far"),
         *nic("v0", 7, "virtio-net-pci,iommu_platform=on,disable-legacy=on", netdev=False)]),
    "plain": Layout({"0000:01:00.0": "n0"}, ["n0"], [*root_port(1), *nic("n0", 1)]),
    "sriov": Layout({"0000:01:00.0": "n0", "0000:02:00.0": "n1"}, ["n0", "n1"],
                    [*root_port(1), *root_port(2), *nic("n0", 1), *nic("n1", 2, "igb")]),
}


class Outer:
    def __init__(self, directory, layout="device", iommu=True):
        self.directory, self.layout, self.iommu = pathlib.Path(directory), LAYOUTS[layout], iommu
        self.stack = contextlib.ExitStack()
        self.numbers, self.answers, self.arrived = itertools.count(1), {}, threading.Condition()
        self.dead, self.hung = None, False

    # Making and ending it.

    def __enter__(self):
        for last in (False, False, True):
            try:
                with self.stack:
                    self.outside()
                    self.boot()
                    self.settle()
                    self.stack = self.stack.pop_all()
                return self
            except OuterError:
                if last or not self.hung:
                    raise
                self.renew()

    def __exit__(self, *_):
        self.stack.close()

    def reboot(self):
        """A fresh one, where the emulation has lost it."""
        self.stack.close()
        self.renew()
        self.__enter__()

    def renew(self):
        self.stack = contextlib.ExitStack()
        self.answers, self.dead, self.hung = {}, None, False

    def outside(self):
        """The network outside: a bridge with the taps of the outer machine's NICs, and the router on it."""
        self.network = Namespace(self.directory)
        self.stack.callback(self.network.close)
        taps = "".join(f"ip tuntap add dev tap-{name} mode tap; ip link set dev tap-{name} master outside up; "
                       for name in self.layout.taps)
        self.network.sh("ip link add name outside type bridge forward_delay 0; ip link set dev outside up; "
                        f"ip addr add {ROUTER}/24 dev outside; ip addr add 8.8.8.8/32 dev lo; {taps}")
        self.spawn("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--interface=outside",
                   "--except-interface=lo", "--bind-interfaces", "--no-ping", "--no-resolv", "--no-hosts",
                   "--pid-file=/run/router.pid", "--dhcp-leasefile=/run/router.leases",
                   "--dhcp-range=192.168.87.40,192.168.87.99")

    def spawn(self, *argv, **options):
        process = self.network.popen(*argv, preexec_fn=dies_with_us, stdin=subprocess.DEVNULL, **options)
        self.stack.callback(lambda: (process.kill(), process.wait()))
        return process

    def command_line(self):
        environment, program = dict(os.environ), ["qemu-system-x86_64"]
        if QEMU10.exists():
            environment["QEMU_MODULE_DIR"] = str(QEMU10 / "usr/lib/x86_64-linux-gnu/qemu")
            program = [str(QEMU10 / "usr/bin/qemu-system-x86_64"), "-L", str(QEMU10 / "usr/share/qemu"),
                       "-L", str(QEMU10 / "usr/share/seabios")]
        # A timer that is set for one moment is now and then lost by the emulation, and with it its processor; one that
        # ticks goes on.
        kernel = (f"console=ttyS0 intel_iommu={'on' if self.iommu else 'off'} mitigations=off nokaslr panic=-1 quiet "
                  "nohz=off highres=off "
                  f"vmwire.build={BUILD} vmwire.agent={ROOT}/tests/outer_agent.py")
        return [*program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35",
                "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", "2", "-m", MEMORY,
                "-kernel", str(GUEST / "vmlinuz"), "-initrd", str(IMAGE / "initrd.img"), "-append", kernel,
                "-monitor", "none", "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
                "-device", "intel-iommu,intremap=on",
                "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
                "-device", "virtio-9p-pci,fsdev=root,mount_tag=hostroot",
                "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={self.socket_path}",
                "-device", "virtserialport,chardev=agent,name=agent",
                *self.layout.devices], environment

    def boot(self):
        self.console = self.directory / "outer.console"
        self.socket_path = self.directory / "agent.sock"
        listener = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        self.socket_path.unlink(missing_ok=True)
        listener.bind(str(self.socket_path))
        listener.listen(1)
        listener.settimeout(60)
        argv, environment = self.command_line()
        self.qemu_errors = self.directory / "outer.stderr"
        with open(self.qemu_errors, "wb") as errors:
            self.qemu = self.spawn(*argv, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            self.port = self.stack.enter_context(listener.accept()[0])
        except TimeoutError:
            raise OuterError(f"the outer QEMU did not start:\n{self.told()}") from None
        threading.Thread(target=self.listen, args=[self.port], daemon=True).start()
        self.wait(0, 100)  # it takes seconds; where the emulation loses it, another one is booted

    def settle(self):
        """What udev and a distribution's start would have done: the drivers, the names, the uplink's address."""
        self.sh("modprobe -a e1000e e1000 igb virtio_net; ip link set dev lo up; hostname outer")
        names = " ".join(f"{address}={name}" for address, name in self.layout.names.items())
        self.sh(f"""
            for pair in {names}; do
                d=/sys/bus/pci/devices/${{pair%=*}}
                i=0; until ls -d $d/net/* $d/virtio*/net/* 2>/dev/null >/run/found; [ -s /run/found ]; do
                    i=$((i+1)); [ $i -lt 300 ]; sleep 0.1
                done
                ip link set dev $(basename $(cat /run/found)) name ${{pair#*=}}
            done
            ip link set dev n0 up; ip addr add {UPLINK_ADDRESS} dev n0; ip route add default via {ROUTER}""")
        self.wait_for("ip -br link show n0 | grep -q LOWER_UP && ! ip addr | grep -q tentative")

    # Speaking with it.

    def listen(self, port):
        rest, why = b"", "it closed its port"
        try:
            while data := port.recv(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    with self.arrived:
                        self.answers[message["id"]] = message
                        self.arrived.notify_all()
        except (OSError, ValueError) as error:
            why = str(error)
        with self.arrived:
            if port is self.port:  # not of one before a reboot
                self.dead = why
                self.arrived.notify_all()

    def wait(self, number, seconds):
        with self.arrived:
            self.arrived.wait_for(lambda: number in self.answers or self.dead, seconds)
            message = self.answers.pop(number, None)
        if not message:
            self.hung = True
            raise OuterError(f"{DOES_NOT_ANSWER} ({self.dead or 'too late'}):\n{self.told()}")
        if "error" in message:
            raise OuterError(message["error"])
        return message

    def told(self):
        """The ends of what QEMU and the kernel said, for a failure's message."""
        return "".join(path.read_text(errors="replace")[-3000:] for path in (self.qemu_errors, self.console)
                       if path.exists())

    def ask(self, command, seconds, **request):
        number = next(self.numbers)
        argv = ["sh", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        self.port.sendall(json.dumps({"id": number, "argv": argv, "timeout": seconds, **request}).encode() + b"\n")
        return self.wait(number, seconds + 15)

    def run(self, command, timeout=120, input="", cwd="/root", env=None):
        """(status, stdout, stderr) of a shell command, or of a list of words; a signal's status is negative."""
        message = self.ask(command, timeout, stdin=base64.b64encode(input.encode()).decode(), cwd=cwd, env=env or {})
        out, err = (base64.b64decode(message[name]).decode(errors="replace") for name in ("stdout", "stderr"))
        if message.get("timeout"):
            raise OuterError(f"{command} took longer than {timeout} s:\n{out}{err}")
        return message["status"], out, err

    def sh(self, command, timeout=120, **options):
        """The stdout of a shell command that must succeed."""
        status, out, err = self.run(["sh", "-ec", command], timeout, **options)
        if status:
            raise OuterError(f"{command} gave {status}:\n{out}{err}")
        return out

    def start(self, command, cwd="/root", env=None):
        """The same in the background."""
        return Running(self, self.ask(command, 10, start=True, cwd=cwd, env=env or {}))

    def write(self, path, text):
        self.sh(f"umask 077; mkdir -p $(dirname {path}); cat >{path}", input=text)

    def wait_for(self, command, seconds=120):
        """Until a shell command succeeds there."""
        self.sh(f"i=0; until {{ {command}; }} >/dev/null 2>&1; do i=$((i+1)); [ $i -lt {int(seconds * 10)} ]; sleep 0.1; done",
                timeout=4 * seconds + 10)


class Running:
    def __init__(self, outer, message):
        self.outer, self.pid, self.base = outer, message["pid"], message["base"]

    def output(self):
        return self.outer.sh(f"cat {self.base}.out {self.base}.err")

    def status(self):
        """Its exit status, negative for a signal; None while it runs."""
        text = self.outer.run(f"cat {self.base}.status")[1]
        return int(text) if text else None

    def wait(self, seconds=120):
        self.outer.wait_for(f"test -e {self.base}.status", seconds)
        return self.status()

    def read_until(self, word, seconds):
        """What it said so far, once that holds `word`."""
        end = time.monotonic() + seconds
        while True:
            ended = self.status() is not None
            said = self.output()
            if word in said:
                return said
            if ended or time.monotonic() > end:
                raise OuterError(f"{'it ended' if ended else f'after {seconds} s'} without '{word}':\n{said}")
            time.sleep(0.5)

    def kill(self, sig="KILL"):
        self.outer.run(f"kill -{sig} -{self.pid}")


def by_hand(*layout):
    """A line at a time, each a shell of its own."""
    with tempfile.TemporaryDirectory() as directory, Outer(directory, *layout) as outer:
        print(f"outer: {' '.join(outer.layout.names.values())}; vmwire is {VMWIRE}; end with ctrl-d")
        while True:
            try:
                status, out, err = outer.run(input("outer# "), timeout=600)
                print(out + err + (f"(status {status})\n" if status else ""), end="")
            except EOFError:
                return
            except OuterError as error:
                print(error)


if __name__ == "__main__":
    by_hand(*sys.argv[1:])
