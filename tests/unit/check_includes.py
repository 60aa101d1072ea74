#!/usr/bin/env python3
"""Fail on an #include that docs/ARCHITECTURE.md's table of rooms forbids.

usage: check_includes.py SOURCE_ROOT

The room of a file is the first folder below src/; the room of an include is the first part of its path.  A room may
include its own files and those of the rooms that the table gives it; of some only one header, where the section "Names
with two owners" says so.  Every room on disk stands in the table and every room in the table is on disk.

Fail too on an #if that asks for the operating system outside of base and of the backends' own folders.
"""
import pathlib
import re
import sys

# The section "Names with two owners": of another room, this one may use a single header.
NARROWED = re.compile(r"`plan_op` types are in `src/(?P<header>[^`]+)`; the (?P<room>\w+) room may use them and nothing else")


def rooms_read(text):
    """{room: set of rooms that it may use}."""
    rooms = {}
    for line in text.splitlines():
        row = re.match(r"\|\s*`(\w+)`\s*\|.*\|([^|]*)\|\s*$", line)
        if row:
            rooms[row[1]] = set(re.findall(r"\w+", row[2]))
    return rooms


def narrowed_read(text):
    """{(room, other room): header}: of that other room, the room may use this header only."""
    return {(found["room"], found["header"].split("/")[0]): found["header"] for found in NARROWED.finditer(text)}


# What only one operating system's compiler defines, in a directive.
SYSTEM = re.compile(r"\s*#\s*(?:el)?if.*\b(__FreeBSD(?:_version|__)|__linux(?:__)?|__unix__|__gnu_linux__|BSD)\b")
SYSTEM_FOLDERS = ("base/", "host/freebsd/", "host/linux/")


def system_faults(root, path):
    """Where a file asks which operating system it is compiled for, and may not."""
    if path.relative_to(root / "src").as_posix().startswith(SYSTEM_FOLDERS):
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = SYSTEM.match(line)
        if found:
            yield f"{path.relative_to(root)}:{number}: {found[1]}: the operating system is asked for in base and host alone"


def includes(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if found:
            yield number, found[1]


def check(root):
    text = (root / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms, narrowed = rooms_read(text), narrowed_read(text)
    source = root / "src"
    on_disk = {path.name for path in source.iterdir() if path.is_dir()}
    faults = [f"docs/ARCHITECTURE.md: room '{room}' is not a folder of src/" for room in sorted(rooms.keys() - on_disk)]
    faults += [f"src/{room}: not in the table of docs/ARCHITECTURE.md" for room in sorted(on_disk - rooms.keys())]
    count = 0
    for path in sorted(source.rglob("*.[ch]")):
        room = path.relative_to(source).parts[0]
        faults += system_faults(root, path)
        for number, included in includes(path):
            count += 1
            where = f"{path.relative_to(root)}:{number}"
            other = included.split("/")[0]
            if not (source / included).is_file():
                faults.append(f"{where}: '{included}' is not a path below src/")
            elif other != room and other not in rooms.get(room, ()):
                faults.append(f"{where}: room '{room}' may not include '{included}'")
            elif narrowed.get((room, other), included) != included:
                faults.append(f"{where}: of room '{other}', '{room}' may include only '{narrowed[room, other]}'")
    if not count:
        faults.append("src/: no #include found; the check looked at nothing")
    return faults, count


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    faults, count = check(pathlib.Path(sys.argv[1]))
    for fault in faults:
        print(fault)
    print(f"{count} includes, {len(faults)} forbidden")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
