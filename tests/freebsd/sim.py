#!/usr/bin/python3 -SE
"""sim.py: the programs of a FreeBSD 12.1 that vmwire runs, over a host kept as JSON in /mnt/sim/host.json.

It answers, and fails, as the transcripts of a real one have it: what is made although a command fails, what stays
behind, which words and exit statuses come.  Called by the name of the program that it stands for, or through simcall.c,
for which one process of it serves.

A host with "real" is real too: its interfaces are Linux's, in a network namespace of the test, and a jail is another
namespace, whose number is its first process's.
"""
import fcntl
import ipaddress
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import tty

sys.dont_write_bytecode = True  # of sim_ipfw, in the tree
HOME = "/mnt/sim"
caller = None  # the process that stands for this one (simcall.c)
FLAGS = {"UP": 0x1, "BROADCAST": 0x2, "RUNNING": 0x40, "PROMISC": 0x100, "SIMPLEX": 0x800, "LINK0": 0x1000,
         "MULTICAST": 0x8000}


class Fail(Exception):
    """(status, stdout, stderr)"""


def fail(text, status=1, out=""):
    raise Fail(status, out, text)


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Host:
    """The host, locked while a program changes it."""

    def __enter__(self):
        self.lock = open(f"{HOME}/lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        with open(f"{HOME}/host.json") as file:
            self.__dict__.update(json.load(file))
        return self

    def __exit__(self, *_):
        keep = {key: value for key, value in self.__dict__.items() if key != "lock"}
        with open(f"{HOME}/host.json.new", "w") as file:
            json.dump(keep, file, indent=1)
        os.rename(f"{HOME}/host.json.new", f"{HOME}/host.json")
        self.lock.close()

    def find(self, name, prefix="ifconfig: interface {} does not exist\n"):
        if name not in self.links or not self.here(name):
            fail(prefix.format(name))
        return self.links[name]

    def here(self, name):
        """In the stack that asks; what a jail had comes back when it has ended."""
        jail = self.links[name].get("vnet")
        if jail and not runs(jail):
            self.links[name].update(vnet=None, flags=["BROADCAST", "SIMPLEX", "MULTICAST"])
            jail = None
        return bool(jail) == self.in_jail()

    def in_jail(self):
        return bool(self.__dict__.get("real")) and os.readlink("/proc/self/ns/net") != self.real

    def ip(self, *words):
        if self.__dict__.get("real"):
            subprocess.run(["ip", *words], check=False, stderr=subprocess.DEVNULL)

    def bridge_of(self, name):
        return next((bridge for bridge, link in self.links.items() if name in link.get("members", [])), None)


# --- ifconfig


def show(host, name):
    link = host.links[name]
    flags = [flag for flag in FLAGS if flag in link["flags"]]
    text = f"{name}: flags={sum(FLAGS[flag] for flag in flags):x}<{','.join(flags)}> metric 0 mtu {link['mtu']}\n"
    if link.get("description"):
        text += f"\tdescription: {link['description']}\n"
    text += f"\tether {link['ether']}\n"
    for address in link["inet"]:
        broadcast = ipaddress.ip_interface(address).network.broadcast_address
        text += f"\tinet {address} broadcast {broadcast}\n"
    for member in link.get("members", []):
        private = member in link.get("private", [])
        text += f"\tmember: {member} flags={'943' if private else '143'}<LEARNING,DISCOVER,{'PRIVATE,' * private}AUTOEDGE,AUTOPTP>\n"
        limit = link.get("limits", {}).get(member, 0)
        text += f"\t        ifmaxaddr {limit} port 4 priority 128 path cost 2000000\n"
    if link["group"]:
        text += f"\tgroups: {link['group']}\n"
    if link.get("vlan"):
        text += "\tvlan: {} vlanpcp: 0 parent interface: {}\n".format(*link["vlan"])
    if link["group"] != "bridge":
        text += f"\tmedia: Ethernet autoselect\n\tstatus: {'active' if link.get('carrier') else 'no carrier'}\n"
    text += "\tnd6 options=1<PERFORMNUD>\n"
    if link.get("opened"):
        text += f"\tOpened by PID {link['opened']}\n"
    return text


def create(host, kind, words):
    if kind == "epair":
        return create_epair(host)
    number = 0
    while f"{kind}{number}" in host.units:
        number += 1
    made = f"{kind}{number}"
    host.units.append(made)
    name, out = made, ""
    link = {"flags": ["BROADCAST", "SIMPLEX", "MULTICAST"], "mtu": 1500, "inet": [], "group": kind, "unit": made,
            "ether": f"58:9c:fc:10:00:{number:02x}" if kind == "bridge" else f"00:bd:00:16:ff:{number:02x}"}
    if kind == "bridge":
        link["members"] = []
    if kind == "vlan":  # 08-tap-route of the real one: `ifconfig vlan create vlan 5 vlandev vtnet0`
        if words[:1] != ["vlan"] or words[2:3] != ["vlandev"]:
            fail("ifconfig: both vlan and vlandev must be specified\n")
        parent = host.find(words[3])
        if any(other.get("vlan") == [words[1], words[3]] for other in host.links.values()):
            host.units.remove(made)
            fail("ifconfig: SIOCIFCREATE2: File exists\n")
        link |= {"vlan": [words[1], words[3]], "ether": parent["ether"], "carrier": True}
        words = words[4:]
    host.links[made] = link
    if words[:1] == ["name"]:
        if words[1] in host.links:
            fail("ifconfig: ioctl SIOCSIFNAME (set name): File exists\n", out=f"{made}\n")
        host.links[words[1]] = host.links.pop(made)
        name = words[1]
        if words[2:]:
            fail(f"ifconfig: {words[2]}: bad value\n", out=f"{name}\n")
    if kind == "bridge":
        host.ip("link", "add", name, "address", link["ether"], "type", "bridge")
    if kind == "vlan":  # this kernel may have none: a tap stands for it
        host.ip("tuntap", "add", name, "mode", "tap")
    return f"{name}\n" + out


def create_epair(host):
    if "if_epair" in host.missing:
        fail("ifconfig: SIOCIFCREATE2: Invalid argument\n")
    number = 0
    while f"epair{number}a" in host.units:
        number += 1
    first = f"epair{number}a"
    host.units.append(first)
    for end in "ab":
        host.links[f"epair{number}{end}"] = {
            "flags": ["BROADCAST", "SIMPLEX", "MULTICAST", "RUNNING"], "mtu": 1500, "inet": [], "group": "epair",
            "unit": first, "ether": f"02:b9:45:8a:{number:02x}:0{end}", "carrier": True}
    host.ip("link", "add", first, "type", "veth", "peer", "name", f"epair{number}b")
    return f"{first}\n"


def addm(host, bridge, member):
    link = host.find(bridge)
    if member not in host.links:
        fail(f"ifconfig: BRDGADD {member}: No such file or directory\n")
    if member in link["members"]:
        fail(f"ifconfig: BRDGADD {member}: File exists\n")
    if host.bridge_of(member):
        fail(f"ifconfig: BRDGADD {member}: Device busy\n")
    port = host.links[member]
    if port["group"] in ("bridge", "lo") or (link["members"] and port["mtu"] != link["mtu"]):
        fail(f"ifconfig: BRDGADD {member}: Invalid argument\n")
    link["mtu"] = port["mtu"]
    link["members"].append(member)
    link["private"] = [name for name in link.get("private", []) if name != member]
    host.ip("link", "set", member, "master", bridge)
    port["flags"] = sorted({*port["flags"], "PROMISC"})


def port_gone(link, member):
    """With a port go its flags, its limit, and its entries in the table of addresses."""
    link["members"].remove(member)
    link.get("limits", {}).pop(member, None)
    link["addresses"] = [entry for entry in link.get("addresses", []) if entry[1] != member]


def addresses(host, link, verb, words):
    """The table of addresses; entries are [MAC, port, static]."""
    table = link.setdefault("addresses", [])
    if verb == "addr":
        return "".join(f"{mac} Vlan1 {port} {'0 flags=1<STATIC>' if static else '1199 flags=0<>'}\n" for mac, port, static in table)
    if verb == "flush":
        link["addresses"] = [entry for entry in table if entry[2]]
    elif verb == "deladdr":
        if not any(entry[0] == words[0] for entry in table):
            fail(f"ifconfig: BRDGDADDR {words[0]}: No such file or directory\n")
        link["addresses"] = [entry for entry in table if entry[0] != words[0]]
    elif words[0] not in link["members"]:
        fail(f"ifconfig: {'BRDGSADDR' if verb == 'static' else 'BRDGSIFAMAX'} {words[0]}: No such file or directory\n")
    elif verb == "ifmaxaddr":
        link.setdefault("limits", {})[words[0]] = int(words[1])
    else:  # bridge_rtupdate: the limit keeps out what is not there yet; another port keeps a static one
        entry = next((entry for entry in table if entry[0] == words[1]), None)
        limit = link.get("limits", {}).get(words[0], 0)
        if not entry and limit and sum(entry[1] == words[0] for entry in table) >= limit:
            fail(f"ifconfig: BRDGSADDR {words[0]}: No space left on device\n")
        if not entry:
            table.append([words[1], words[0], True])
        elif not entry[2]:
            entry[1:] = [words[0], True]
    return ""


def routes_of(host, name, address, add):
    net = str(ipaddress.ip_interface(address).network)
    route = {"to": net, "gateway": "link#1", "flags": "U", "netif": name}
    if add:
        host.routes.append(route)
    elif route in host.routes:
        host.routes.remove(route)


def inet(host, name, words):
    link = host.find(name)
    if words[-1] == "delete":
        found = [address for address in link["inet"] if address.split("/")[0] == words[0]]
        if not found:
            fail("ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address\n")
        link["inet"].remove(found[0])
        routes_of(host, name, found[0], False)
        net = ipaddress.ip_interface(found[0]).network
        host.neighbours = [n for n in host.neighbours if n["netif"] != name or ipaddress.ip_address(n["ip"]) not in net]
        return
    if words[-1] != "alias":
        link["inet"] = []
    host.ip("address", "add", words[0], "broadcast", "+", "dev", name)
    if host.in_jail():
        return
    link["inet"].append(words[0])
    routes_of(host, name, words[0], True)


def destroy(host, name):
    link = host.find(name)
    if link["group"] not in ("bridge", "tap", "epair", "vlan"):
        fail("ifconfig: SIOCIFDESTROY: Invalid argument\n")
    bridge = host.bridge_of(name)
    if bridge:
        port_gone(host.links[bridge], name)
    for member in link.get("members", []):
        host.links[member]["flags"].remove("PROMISC")
    host.routes = [route for route in host.routes if route["netif"] != name]
    host.units.remove(link["unit"])
    host.ip("link", "del", name)
    for other in [other for other in host.links if host.links[other].get("unit") == link["unit"]]:
        del host.links[other]


def ifconfig(host, words):
    if words[:1] == ["-a"]:
        return "".join(show(host, name) for name in host.links if host.here(name))
    if words[:1] == ["-f"]:
        words = words[2:]
    name, rest = words[0], words[1:]
    if rest[:1] == ["create"]:
        return create(host, name, rest[1:])
    link = host.find(name)
    if not rest:
        return show(host, name)
    verb, arguments = rest[0], rest[1:]
    if verb in ("up", "down"):
        host.ip("link", "set", name, verb)
        link["flags"] = sorted({*link["flags"], "UP", "RUNNING"} if verb == "up" else {*link["flags"]} - {"UP", "RUNNING"})
    elif verb == "link0":
        link["flags"] = sorted({*link["flags"], "LINK0"})
    elif verb == "description":
        if len(arguments) > 1:
            fail(f"ifconfig: {arguments[1]}: bad value\n")
        link["description"] = arguments[0]
    elif verb == "-description":
        link["description"] = ""
    elif verb == "vnet":
        link["vnet"] = int(arguments[0])
        host.ip("link", "set", name, "netns", arguments[0])
    elif verb == "ether":
        host.ip("link", "set", name, "address", arguments[0])
        link["ether"] = arguments[0]
    elif verb == "mtu":
        # if_bridge.c, bridge_ioctl: each member must have it already.
        if any(host.links[member]["mtu"] != int(arguments[0]) for member in link.get("members", ())):
            fail("ifconfig: ioctl SIOCSIFMTU (set mtu): Invalid argument\n")
        link["mtu"] = int(arguments[0])
    elif verb == "addm":
        addm(host, name, arguments[0])
    elif verb in ("private", "-private"):
        if arguments[0] not in link["members"]:
            fail(f"ifconfig: BRDGGIFFLGS {arguments[0]}: No such file or directory\n")
        link["private"] = sorted({*link.get("private", []), arguments[0]} if verb == "private"
                                 else {*link.get("private", [])} - {arguments[0]})
    elif verb == "deletem":
        if arguments[0] not in link["members"]:
            fail(f"ifconfig: BRDGDEL {arguments[0]}: No such file or directory\n")
        port_gone(link, arguments[0])
        host.links[arguments[0]]["flags"].remove("PROMISC")
    elif verb == "inet":
        inet(host, name, arguments)
    elif verb == "destroy":
        destroy(host, name)
    elif verb in ("addr", "static", "ifmaxaddr", "deladdr", "flush"):
        return addresses(host, link, verb, arguments)
    else:
        fail(f"ifconfig: {verb}: bad value\n")
    return ""


# --- routes, sysctls, modules


def netstat(host, words):
    if words[-1] != "inet":
        return "Routing tables\n"
    text = "Routing tables\n\nInternet:\nDestination        Gateway            Flags     Netif Expire\n"
    for route in host.routes:
        text += f"{route['to']:18} {route['gateway']:18} {route['flags']:8} {route['netif']:>6}\n"
    return text


def route(host, words):
    verb, rest = words[1], [word for word in words[2:] if not word.startswith("-")]
    if host.in_jail():
        host.ip("route", "add", rest[0], "via", rest[1])
        return ""
    there = [route for route in host.routes if route["to"] == rest[0] and "G" in route["flags"]]
    if verb == "delete":
        if not there:
            fail("route: route has not been found\n", out=f"delete net {rest[0]} fib 0: not in table\n")
        host.routes.remove(there[0])
        return f"delete net {rest[0]}\n"
    if there:
        fail("", out=f"add net {rest[0]}: gateway {rest[1]} fib 0: route already in table\n")
    netif = next((name for name, link in host.links.items() for address in link["inet"]
                  if ipaddress.ip_address(rest[1]) in ipaddress.ip_interface(address).network), None)
    if not netif:
        fail("route: writing to routing socket: Network is unreachable\n",
             out=f"add net {rest[0]}: gateway {rest[1]} fib 0: Network is unreachable\n")
    host.routes.append({"to": rest[0], "gateway": rest[1], "flags": "UGS", "netif": netif})
    return f"add net {rest[0]}: gateway {rest[1]}\n"


def arp(host, words):
    """Of those that were entered; the host's own addresses look the same.  Which interface is told by the route."""
    if words == ["-an"]:
        text = ""
        for name, link in host.links.items():
            for address in link["inet"]:
                text += f"? ({address.split('/')[0]}) at {link['ether']} on {name} permanent [ethernet]\n"
        for n in host.neighbours:
            text += f"? ({n['ip']}) at {n['mac']} on {n['netif']} permanent{' published' if n['pub'] else ''} [ethernet]\n"
        return text
    there = [n for n in host.neighbours if n["ip"] == words[1]]
    if words[0] == "-d":
        if not there:
            fail(f"arp: delete: cannot locate {words[1]}\n")
        host.neighbours.remove(there[0])
        return f"{words[1]} ({words[1]}) deleted\n"
    netif = next((name for name, link in host.links.items() for address in link["inet"]
                  if ipaddress.ip_address(words[1]) in ipaddress.ip_interface(address).network), None)
    if not netif:
        fail(f"arp: cannot intuit interface index and type for {words[1]}\n")
    for n in there:
        host.neighbours.remove(n)
    host.neighbours.append({"ip": words[1], "mac": words[2], "netif": netif, "pub": words[3:] == ["pub"]})
    return ""


def ndp(host, words):
    return f"{'Neighbor':31} {'Linklayer Address':17} {'Netif':>6} {'Expire':9} S Flags\n"


def sysctl(host, words):
    if len(words) > 1 and "=" not in words[-1]:  # those that are known, and as many failures as there are others
        known = [name for name in words if name in host.sysctls]
        out = "".join(f"{name}: {host.sysctls[name]}\n" for name in known)
        if len(known) < len(words):
            fail("".join(f"sysctl: unknown oid '{name}'\n" for name in words if name not in known),
                 len(words) - len(known), out)
        return out
    name, _, value = words[-1].partition("=")
    if name not in host.sysctls:
        fail(f"sysctl: unknown oid '{name}'\n")
    old = host.sysctls[name]
    if not value:
        return f"{name}: {old}\n"
    host.sysctls[name] = value
    return f"{name}: {old} -> {value}\n"


def kldload(host, words):
    module = words[-1]
    if module in host.missing:
        fail(f"kldload: can't load {module}: No such file or directory\n")
    if module in ("ipfw", "dummynet"):
        import sim_ipfw
        sim_ipfw.load(host, module)
    host.modules[module] = True
    return ""


# --- pf


def shown(rule):
    """A rule as pfctl shows it."""
    if re.match(r"(nat|rdr|binat)-anchor|anchor", rule):
        return rule + " all"
    if rule.startswith("nat on"):
        return rule + " round-robin"
    if rule.startswith("rdr"):  # a port has its service's name before the arrow
        return re.sub(r"port = 80 ", "port = http ", rule)
    for port, name in ((67, "bootps"), (68, "bootpc"), (547, "dhcpv6-server")):
        rule = re.sub(rf"port (= )?{port}\b", f"port = {name}", rule)
    if " no state" in rule:
        return rule
    keep = "keep state" if "proto udp" in rule else "flags S/SA keep state"
    if rule.startswith("pass"):
        tag = re.search(r" (tag|tagged) \w+$", rule)
        return rule[:tag.start()] + f" {keep}" + tag[0] if tag else f"{rule} {keep}"
    return rule


def counted(pf, rule):
    packets = pf.get("dropped", {}).get(rule, 0)
    return (f"  [ Evaluations: {packets + 9:<9} Packets: {packets:<9} Bytes: {packets * 60:<11} States: 0     ]\n"
            "  [ Inserted: uid 0 pid 76 State Creations: 0     ]\n")


def pfctl(host, words):
    pf = host.pf
    if not host.modules["pf"]:
        fail("pfctl: /dev/pf: No such file or directory\n")
    anchor = None
    if words[0] == "-a":
        anchor, words = words[1], words[2:]
    rules = pf["anchors"].get(anchor) if anchor else pf["main"]
    if words[0] == "-f":
        lines = [line for line in (sys.stdin if words[1] == "-" else open(words[1])).read().splitlines() if line]
        for number, line in enumerate(lines, 1):
            if not re.match(r"(nat|rdr|pass|block|anchor|nat-anchor|rdr-anchor)\b", line):
                fail(f"stdin:{number}: syntax error\npfctl: Syntax error in config file: pf rules not loaded\n")
        if anchor and not lines:
            pf["anchors"].pop(anchor, None)
        elif anchor:
            pf["anchors"][anchor] = lines
        else:
            pf["main"] = lines
    elif words[0] == "-e":
        if pf["on"]:
            fail("pfctl: pf already enabled\n")
        pf["on"] = True
    elif words[0] == "-d":
        if not pf["on"]:
            fail("pfctl: pf not enabled\n")
        pf["on"] = False
    elif words[0] == "-F":
        nat = words[1] == "nat"
        pf["main"] = [line for line in pf["main"] if bool(re.match("nat|rdr", line)) != nat]
    elif words == ["-s", "info"]:
        return f"Status: {'Enabled' if pf['on'] else 'Disabled'} for 0 days 00:00:00           Debug: Urgent\n"
    elif words == ["-s", "Anchors"]:
        found = [name for name in pf["anchors"] if name.startswith(f"{anchor}/")]
        if not found and anchor:
            fail("pfctl: DIOCGETRULESETS: No such file or directory\n")
        return "".join(f"  {name}\n" for name in found)
    elif rules is None:  # an anchor that is not there: a complaint, and status 0
        raise Fail(0, "", "pfctl: DIOCGETRULES: Invalid argument\n")
    else:
        nat = words[-1] == "nat"
        counts = words == ["-vsr"]
        return "".join(f"{shown(line)}\n" + counted(pf, line) * counts for line in rules
                       if bool(re.match("nat|rdr", line)) == nat)
    return ""


# --- devices


def pciconf(host, words):
    text = ""
    for device in host.devices:
        driver = device.get("now") or "none"
        text += f"{driver}@{device['selector']}:\tclass=0x020000 card=0x11001af4 chip=0x100e8086 rev=0x03 hdr=0x00\n"
        if "v" in words[0]:
            text += "    vendor     = 'Intel Corporation'\n    device     = '82540EM Gigabit Ethernet Controller'\n"
    return text


def devctl(host, words):
    force = "-f" in words
    rest = [word for word in words if word != "-f"]
    device = next((device for device in host.devices if device["selector"] == rest[2]), None)
    if not device:
        fail(f"devctl: Failed to set {rest[2]} driver: No such file or directory\n")
    if rest[0] == "set":
        if not force or device.get("stuck"):
            fail(f"devctl: Failed to set {rest[2]} driver to {rest[3]}: Device busy\n")
        device["link"] = host.links.pop(device["now"], None)
        device["now"] = f"{rest[3]}0"
        return ""
    if os.path.isdir("/dev/vmm") and os.listdir("/dev/vmm"):
        fail(f"devctl: Failed to clear {rest[2]} driver: Device busy\n")
    device["now"] = device["own"]
    if device.get("link"):
        host.links[device["own"]] = {**device["link"], "flags": ["BROADCAST", "SIMPLEX", "MULTICAST"], "inet": []}
    return ""


# --- processes


def root_mount(pid):
    """Its number is the mount namespace's own.  (ns/mnt is not shown to a helper that vmwire took capabilities from.)"""
    with open(f"/proc/{pid}/mountinfo") as file:
        return file.readline().split(" ")[0]


def processes():
    for entry in sorted((entry for entry in os.listdir("/proc") if entry.isdigit()), key=int):
        try:
            if root_mount(entry) != root_mount("self"):
                continue  # not of this host
            with open(f"/proc/{entry}/cmdline") as file:
                words = file.read().split("\0")
        except OSError:
            continue
        yield int(entry), words[0] if re.match(r"(dhclient|bhyve): ", words[0]) else " ".join(words).strip()


def pgrep(host, words):
    found = [f"{pid} {line}\n" for pid, line in processes() if words[1] in line and pid not in (os.getpid(), caller)]
    if not found:
        fail("")
    return "".join(found)


def sockstat(host, words):
    text = "USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS         FOREIGN ADDRESS      \n"
    if not host.__dict__.get("real"):
        return text
    protocol, port = words[2], words[4] if len(words) > 4 else None
    listening = subprocess.run(["ss", "-Hln4u" if protocol == "udp" else "-Hln4t"], stdout=subprocess.PIPE, text=True, check=True)
    pid = next((pid for pid, line in processes() if line.startswith("dnsmasq")), 1)
    for line in listening.stdout.splitlines():
        local = re.sub(r"^0\.0\.0\.0(%\w+)?:", "*:", line.split()[3])
        if port in (None, local.rpartition(":")[2]):
            text += f"nobody   dnsmasq {pid:8} 4  {protocol}4   {local:21} *:*\n"
    return text


def in_background(title, words):
    """A child that lives on under a title, as setproctitle(3) leaves it; its pid."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execv(sys.executable, [title, "-SE", os.path.realpath(__file__), *words])


# What busybox's client calls; it is told where the leases are.
EVENT = """#!/bin/sh
[ "$1" = bound ] || exit 0
cat >"$LEASES" <<END
lease {
  interface "$interface";
  fixed-address $ip;
  option subnet-mask $subnet;
  option routers $router;
  option domain-name-servers $dns;
  option dhcp-server-identifier $serverid;
}
END
"""


def dhclient_in_jail(name, options):
    """With -d, and for real: in the end it stays, as dhclient does."""
    with open(options["-c"]) as config, open(f"{HOME}/dhclient.conf", "w") as seen:
        seen.write(config.read())
    with open(f"{HOME}/event", "w") as event:
        event.write(EVENT)
    os.chmod(f"{HOME}/event", 0o755)
    os.close(os.open(options["-p"], os.O_CREAT | os.O_WRONLY, 0o644))
    os.environ["LEASES"] = options["-l"]
    os.execvp("sh", ["dhclient", "-c", f"busybox udhcpc -i {name} -n -q -f -t 3 -T 1 -s {HOME}/event >&2\n"
                     "exec sleep 1000"])


def dhclient(words):
    foreground = words[0] == "-d"
    words = words[foreground:]
    options = dict(zip(words[:-1:2], words[1:-1:2]))
    name = words[-1]
    with Host() as host:
        if foreground and name in host.links:
            dhclient_in_jail(name, options)
        if name not in host.links:
            fail(f"ifconfig: interface {name} does not exist\n{name}: not found\nexiting.\n")
        for pid, line in processes():
            if line == f"dhclient: {name}":
                fail(f"dhclient already running, pid: {pid}.\nexiting.\n")
        if host.dhcp:
            inet(host, name, [host.dhcp["address"], "alias"])
            if not any(route["to"] == "default" for route in host.routes):
                host.routes.append({"to": "default", "gateway": host.dhcp["router"], "flags": "UGS", "netif": name})
            with open(options["-l"], "a") as leases:
                leases.write(f'lease {{\n  interface "{name}";\n  fixed-address {host.dhcp["address"].split("/")[0]};\n'
                             f'  option subnet-mask 255.255.255.0;\n  option routers {host.dhcp["router"]};\n}}\n')
    with open(options["-p"], "w") as file:
        file.write(f"{in_background(f'dhclient: {name}', ['sleep'])}\n")


def dnsmasq(words):
    with Host() as host:
        real = host.__dict__.get("real")
    if real:
        os.execv("/mnt/sbin/dnsmasq", ["dnsmasq", *words])
    # Started anew by what ps(1) shows of the one before, it has words of this program's before its own.
    config = next(word for word in words if word.startswith("--conf-file="))
    with open(config.partition("=")[2]) as file:
        pid_path = re.search(r"^pid-file=(.*)$", file.read(), flags=re.M)[1]
    pid = in_background("dnsmasq", ["sleep", config])
    with open(pid_path, "w") as file:
        file.write(f"{pid}\n")


# --- bhyve


def tap_open(taps):
    with Host() as host:
        for tap in taps:
            if tap not in host.links:
                fail(f"open of tap device /dev/{tap} failed\ndevice emulation initialization error: No such file or directory\n", 4)
            if host.links[tap].get("opened"):
                fail(f"open of tap device /dev/{tap} failed\ndevice emulation initialization error: Device busy\n", 4)
        for tap in taps:
            link = host.links[tap]
            bridge = host.bridge_of(tap)
            with open(f"{HOME}/guest.log", "a") as log:
                log.write(f"{tap} {'UP' if 'UP' in link['flags'] else 'not UP'} on {bridge}\n")
            link["opened"], link["carrier"] = os.getpid(), True
            link["flags"] = sorted({*link["flags"], "RUNNING"})


def tap_close(taps):
    with Host() as host:
        for tap in taps:
            link = host.links.get(tap)
            if link:
                link["opened"], link["carrier"] = None, False
                if "LINK0" not in link["flags"]:
                    link["flags"] = sorted({*link["flags"]} - {"UP", "RUNNING"})


def guest_act():
    """What the guest does in this run: the next word of the file `guest`."""
    with open(f"{HOME}/guest") as file:
        acts = file.read().split()
    with open(f"{HOME}/guest", "w") as file:
        file.write(" ".join(acts[1:]))
    return acts[0] if acts else "run"


def bhyve(words):
    """Everything is opened; then it takes its title, which comes by executing once more."""
    name = words[-1]
    if "-s" not in words:
        fail("Usage: bhyve [-abehuwxACHPSWY]\n")
    with Host() as host:
        if not host.modules["vmm"]:
            fail("vm_create: No such file or directory\n", 4)
    if os.path.exists(f"/dev/vmm/{name}"):
        fail("vm_reinit: Device busy\n", 4)
    os.makedirs("/dev/vmm", exist_ok=True)
    open(f"/dev/vmm/{name}", "w").close()
    with open(f"{HOME}/guest.log", "a") as log:
        log.write(" ".join(["bhyve", *words]) + "\n")
    taps = [word.split(",")[2] for word in words if ",virtio-net,tap" in word]
    tap_open(taps)
    act = guest_act()
    if act == "error":
        tap_close(taps)
        fail("bind: Address already in use\ndevice emulation initialization error: Address already in use\n", 4)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until there is somebody to hear it
    console = next((word.partition(",")[2] for word in words if word.startswith("com1,/dev/nmdm")), "")
    os.execv(sys.executable, [f"bhyve: {name}", "-SE", os.path.realpath(__file__), "guest", act, name,
                              "-A" if "-A" in words else "", console, *taps])


def console_open(path):
    """The guest's side of a nullmodem; the other one is a terminal too."""
    if not path:
        return None
    guest_side, other_side = os.openpty()
    tty.setraw(other_side)
    other = path[:-1] + "B"
    if os.path.lexists(other):
        os.unlink(other)
    os.symlink(os.ttyname(other_side), other)
    os.write(guest_side, b"login: ")
    return guest_side


def guest(words):
    act, name, acpi, console, *taps = words
    line = console_open(console)
    if act in ("run", "deaf"):
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1) if act == "run" else None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        while not stop and not os.path.exists(f"{HOME}/poweroff-{name}"):
            time.sleep(0.02)
            if line and select.select([line], [], [], 0)[0]:
                os.write(line, b"<" + os.read(line, 100).strip() + b">")
        tap_close(taps)
        sys.exit(1 if acpi or not stop else 143)
    time.sleep(0.1)
    tap_close(taps)
    if act == "triple":
        os.kill(os.getpid(), signal.SIGABRT)
    sys.exit({"reset": 0, "poweroff": 1, "halt": 2}[act])


def bhyvectl(words):
    name = words[1].partition("=")[2]
    if not os.path.exists(f"/dev/vmm/{name}"):
        fail("", out=f"VM:{name} is not created.\n")
    if words[0] == "--destroy":
        os.unlink(f"/dev/vmm/{name}")
    else:
        open(f"{HOME}/poweroff-{name}", "w").close()


def main(program, words):
    if program == "sleep":
        signal.pause()
        return
    with open(f"{HOME}/log", "a") as log:
        log.write("" if program == "guest" else " ".join([program, *words]) + "\n")
    try:
        if program in ("bhyve", "guest", "bhyvectl", "dhclient", "dnsmasq"):
            globals()[program](words)
        elif program == "resolvconf":
            pass
        elif program in ("ipfw", "kenv", "kldunload"):
            import sim_ipfw
            with Host() as host:
                sys.stdout.write(getattr(sim_ipfw, program)(host, words, fail))
        else:
            with Host() as host:
                sys.stdout.write(globals()[program](host, words))
    except Fail as failure:
        status, out, errors = failure.args
        sys.stdout.write(out)
        sys.stderr.write(errors)
        sys.exit(status)


def exit_status(reason):
    """As the interpreter ends by it."""
    if isinstance(reason, str):
        sys.stderr.write(f"{reason}\n")
        return 1
    return 0 if reason is None else reason


def answer(connection):
    """One call of simcall's, in a process of its own."""
    global caller
    caller = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    message, fds, _, _ = socket.recv_fds(connection, 200000, 3)
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    folder, count, *rest = [os.fsdecode(word) for word in message.split(b"\0")[:-1]]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(word.split("=", 1) for word in rest[int(count):])
    status = 1
    try:
        main(os.path.basename(rest[0]), rest[1:int(count)])
        status = 0
    except SystemExit as end:
        status = exit_status(end.code)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([status]))


def serve():
    listener = socket.socket(fileno=3)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            try:
                answer(connection)
            finally:
                os._exit(0)
        connection.close()


if sys.argv[1:] == ["--serve"]:
    import socket
    import struct
    import traceback
    import sim_ipfw  # noqa: F401  (for those that are forked)
    serve()
elif os.path.basename(sys.argv[0]) in ("sim.py", "call.sim"):
    main(sys.argv[1], sys.argv[2:])
else:
    main(os.path.basename(sys.argv[0]), sys.argv[1:])
