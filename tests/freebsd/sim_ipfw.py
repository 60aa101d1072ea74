"""ipfw, dummynet and their modules, for sim.py.

As the sources of 12.1 have it (ipfw2.c, dummynet.c, ip_fw2.c): a rule that is not there is no failure with -f; a pipe that
is not there is a complaint and none; all options are printed; set 31 outlives a flush; the last rule is what the loader's
variable said when the module came, and a host whose last rule denies, with no other, is cut off for good ("cut")."""
import re

SYSCTLS = {"net.inet.ip.fw.enable": "1", "net.inet.ip.fw.one_pass": "1", "net.link.ether.ipfw": "0"}
LIMIT = "net.inet.ip.dummynet.pipe_byte_limit"
UNITS = {"": 1, "K": 1000, "M": 1000000}
ACTIONS = r"(allow|deny|count|reset|skipto \d+|pipe \d+|queue \d+|nat \d+)"
OPTIONS = r"( (layer2|in|out|recv \S+|xmit \S+|via \S+|MAC \S+ \S+|established|dst-port \d+))*"


def load(host, module):
    if module == "dummynet":
        load(host, "ipfw")
        host.sysctls.setdefault(LIMIT, "1048576")
    elif not host.modules.get("ipfw"):
        host.sysctls.update(SYSCTLS)
        accept = host.kenv.get("net.inet.ip.fw.default_to_accept") == "1"
        host.ipfw = {"rules": [], "pipes": {}, "last": "allow" if accept else "deny"}
        if not accept:
            host.cut = True
    host.modules[module] = True


def kldunload(host, words, fail):
    module = words[-1]
    if not host.modules.get(module):
        fail(f"kldunload: can't find file {module}: No such file or directory\n")
    if module == "ipfw" and (host.modules.get("dummynet") or "ipfw_nat" in host.modules):
        fail("kldunload: can't unload file: Device busy\n")
    for name in SYSCTLS if module == "ipfw" else [LIMIT]:
        host.sysctls.pop(name)
    host.modules[module] = False
    if module == "ipfw":
        host.ipfw = {"rules": [], "pipes": {}}
    else:
        host.ipfw["pipes"] = {}
    return ""


def kenv(host, words, fail):
    names = [word for word in words if not word.startswith("-")]
    name, equals, value = names[0].partition("=")
    if "-u" in words:
        host.kenv.pop(name, None)
        return ""
    if equals:
        host.kenv[name] = value
        return f'{name}="{value}"\n'
    if name not in host.kenv:
        fail("" if "-q" in words else f"kenv: unable to get {name}\n")
    return f"{host.kenv[name]}\n"


def bandwidth(bits):
    for unit, scale in (("Gbit/s", 10 ** 9), ("Mbit/s", 10 ** 6), ("Kbit/s", 1000)):
        if bits >= scale:
            return f"{bits / scale:7.3f} {unit}"
    return f"{bits:7.3f} bit/s "


def pipe(host, words, flags, fail):
    if not host.modules.get("dummynet"):
        fail("ipfw: setsockopt(IP_DUMMYNET_CONFIGURE): Protocol not available\n", 71)
    pipes = host.ipfw["pipes"]
    if words == ["list"]:
        text = ""
        for number in sorted(pipes, key=int):
            bits, queue, burst = pipes[number]
            shown = f"{burst}" if "v" in flags else f"{burst / 1024:.0f} Ki"
            text += f"{int(number):05d}: {bandwidth(bits)}    0 ms burst {shown}\n"
            text += f"q{int(number) + 131072} {queue // 1024} KB 0 flows (1 buckets) sched {int(number) + 65536} weight 0 lmax 0 pri 0 droptail\n"
            text += f" sched {int(number) + 65536} type FIFO flags 0x0 0 buckets 0 active\n"
        return text
    if words[0] == "delete":
        if words[1] not in pipes:
            fail("ipfw: rule 1: setsockopt(IP_DUMMYNET_DEL): Invalid argument\n", 0 if "f" in flags else 1)
        del pipes[words[1]]
        return ""
    found = re.fullmatch(r"(\d+) config bw (\d+)([KM]?)bit/s queue (\d+)KBytes burst (\d+)", " ".join(words))
    if not found:
        fail(f"ipfw: unrecognised option ``{words[-1]}''\n", 65)
    number, bits, unit, queue, burst = found.groups()
    bits, queue = int(bits) * UNITS[unit], int(queue) * 1024
    if bits > 2 ** 31 - 1:
        fail("ipfw: bandwidth too large\n", 65)
    if queue > int(host.sysctls[LIMIT]):
        fail(f"ipfw: queue size must be < {host.sysctls[LIMIT]}B\n", 65)
    pipes[number] = [bits, queue, int(burst)]
    return ""


def add(host, words, fail):
    number, words = int(words[0]), words[1:]
    place = 0
    if words[0] == "set":
        place, words = int(words[1]), words[2:]
    text = " ".join(words)
    body, slashes, comment = text.partition(" // ")
    if not re.fullmatch(ACTIONS + r" (ip|tcp|udp) from \S+( \d+)? to \S+( \d+)?" + OPTIONS, body):
        fail(f"ipfw: unrecognised option [-1] {words[-1]}\n", 64)
    if len(comment) > 80:
        fail("ipfw: comment too long (max 80 chars)\n", 65)
    rules = host.ipfw["rules"]
    rules.append([number, place, body + slashes + comment])
    rules.sort(key=lambda rule: rule[0])  # those of one number stay in order
    return ""


def ipfw(host, words, fail):
    flags = ""
    while words[0].startswith("-"):
        flags, words = flags + words[0][1:], words[1:]
    if not host.modules.get("ipfw"):
        fail("ipfw: retrieving config failed: Protocol not available\n", 0 if "f" in flags else 71)
    rules = host.ipfw["rules"]
    if words == ["list"]:
        return "".join(f"{number:05d} {body}\n" for number, _, body in rules) + f"65535 {host.ipfw['last']} ip from any to any\n"
    if words[0] == "pipe":
        return pipe(host, words[1:], flags, fail)
    if words[0] == "add":
        return add(host, words[1:], fail)
    if words[0] == "flush":
        host.ipfw["rules"] = [rule for rule in rules if rule[1] == 31]
        return ""
    numbers = [int(word) for word in words[1:]]
    missing = [number for number in numbers if all(rule[0] != number for rule in rules)]
    host.ipfw["rules"] = [rule for rule in rules if rule[0] not in numbers]
    if missing and "f" not in flags:
        fail("" if "q" in flags else f"ipfw: rule {missing[0]} not found\n", 69)
    return ""
