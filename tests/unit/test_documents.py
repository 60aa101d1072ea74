"""The documents say what the program does: keys, commands, options and examples are compared with their sources."""
import json
import os
import pathlib
import re
import subprocess

import pytest
from conftest import BUILD, ROOT, VMWIRE

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def text(path):
    return (ROOT / path).read_text()


def plain(page):
    """A manual page without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"^\.(\w+) ", "", text(page).replace("\\&", ""), flags=re.M))


def commands():
    source = text("src/cli/commands.c")
    table = source[source.index("commands[] = {"):]
    return re.findall(r'\{"(\w+)",\s*"([^"]*)",\s*"', table)


@pytest.mark.parametrize("page", ["man/vmwire.8", "man/vmwire-findings.7", "man/vmwire.yaml.5"])
def test_manual_page_is_without_a_complaint(page):
    done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", ROOT / page], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def commands_page():
    """An entry whose arguments go over several lines as if they were on one."""
    return text("man/vmwire.8").replace(".It Xo\n.Cm ", ".It Cm ")


def test_every_command_and_option_is_in_the_manual():
    page = commands_page()
    for name, arguments in commands():
        assert re.search(rf"^\.It Cm {name}\b", page, flags=re.M), name
        for option in re.findall(r"--?(\w[\w-]+)", arguments):
            assert re.search(rf"Fl -{option}\b", page), (name, option)


def entry_of(name):
    """The head of a command's entry in the manual: the command and its arguments."""
    page = text("man/vmwire.8")
    return re.search(rf"^\.It Cm {name}\b.*$|^\.It Xo\n\.Cm {name}\b(?:.*\n)*?(?=\.Xc)", page, flags=re.M)[0]


def options_of(words):
    return set(re.findall(r"(?<![\w-])--?\w[\w-]*", words))


@pytest.mark.parametrize("name, arguments, offered", [
    (name, arguments, offered) for name, arguments, offered in re.findall(
        r'\{"(\w+)",\s*"([^"]*)",\s*"(?:[^"]*)",\s*"([^"]*)",', text("src/cli/commands.c"))], ids=lambda words: words.split(" ")[0])
def test_usage_completion_manual_and_program_have_the_same_options(name, arguments, offered):
    options = options_of(arguments)
    manual = {f"-{option}" for option in re.findall(r"Fl (-?\w[\w-]*)", entry_of(name))}
    assert set(offered.split()) == options == manual
    for option in options:
        takes = not re.search(rf"{re.escape(option)}(\]| \||$)", arguments)
        if name not in ("exec", "lab"):  # whose words are another program's; else --help is answered once all options are known
            words = [option, "16"] if takes else [option]
            done = subprocess.run([VMWIRE, name, *words, "--help"], capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, ""), (option, done.stderr)
            assert done.stdout.startswith(f"usage: vmwire {name} {arguments}".rstrip())


def test_the_program_has_no_option_that_usage_does_not_tell():
    taken = set()
    for source in (ROOT / "src/cli").glob("*.c"):
        taken |= set(re.findall(r'\{"(--?\w[\w-]*)",\s*\.(?:flag|value|number)', source.read_text()))
    assert {"--timeout", "--json", "-w", "--confirm"} <= taken
    assert taken - {"--help", "-h", "-c", "-v"} <= set().union(*(options_of(arguments) for _, arguments in commands()))


def test_every_command_of_the_manual_exists():
    page = commands_page()
    listed = page[page.index(".Sh COMMANDS"):page.index(".Sh WHAT")]
    # keys of a nic are spelled `Cm mac Ns = …`
    assert set(re.findall(r"^\.It Cm (\w+)(?! Ns)\b(?! Ns)", listed, flags=re.M)) == {name for name, _ in commands()}


def test_every_key_is_in_the_manual_with_its_default():
    page = text("man/vmwire.yaml.5")
    keys = set()
    for source in (ROOT / "src/config").glob("*.c"):
        keys |= set(re.findall(r'\.name = "(\w+)"', source.read_text()))
    assert keys >= {"mode", "uplink", "subnet", "cpus", "nics", "queues", "read_only"}
    for key in keys:
        assert re.search(rf"^\.(It )?Ic (\w+ , )?{key}\b", page, flags=re.M), key
    for entry in re.split(r"^\.It Ic ", page, flags=re.M)[1:]:
        name = entry.split("\n")[0]
        assert re.search(r"Default:|Required\.|Default: none", entry), name


def keys_in(section):
    source = text(f"src/config/{section[0]}.c")
    body = source[source.index(f"section_{section[1]} = {{"):]
    return re.findall(r'\.name = "(\w+)"', body[:body.index("{0}}}")])


@pytest.mark.parametrize("section", [("network", "network"), ("machine", "machine"), ("machine", "nic"), ("device", "function")],
                         ids=lambda section: section[1])
def test_the_synopsis_has_every_key(section):
    page = text("man/vmwire.yaml.5")
    synopsis = page[page.index(".Sh SYNOPSIS"):page.index(".Sh DESCRIPTION")]
    networks, machines = synopsis.split("\nmachines:\n")
    for key in keys_in(section):
        assert re.search(rf"\b{key}:", networks if section[0] != "machine" else machines), key


def test_the_readme_and_the_manual_name_the_commands_with_json():
    with_json = {name for name, arguments in commands() if "--json" in arguments}
    told = re.search(r"The reading commands ([^.]*?) take `--json`", text("README.md"), flags=re.S)[1]
    assert set(re.findall(r"`(\w+)`", told)) == with_json
    assert {name for name in with_json if f"vmwire {name} --json" in text("docs/JSON.md") or
            re.search(rf"^#+ .*\b{name}\b", text("docs/JSON.md"), flags=re.M)} == with_json


def findings():
    """The rows of finding.c: code, severity, finders, title, cure."""
    return re.findall(r'\{"([a-z0-9-]+)", FINDING_(\w+), ([A-Z_ |]+),\s*"([^"]*)",\s*"([^"]*)"\}', text("src/diag/finding.c"))


def test_every_finding_has_its_paragraph_and_every_paragraph_its_finding():
    page = text("man/vmwire-findings.7")
    rows = findings()
    assert len(rows) > 50
    entries = re.split(r"^\.It Sy ", page[page.index(".Sh FINDINGS"):page.index(".Sh EXIT")], flags=re.M)[1:]
    assert [entry.split("\n")[0] for entry in entries] == [row[0] for row in rows]  # and in the same order
    for entry, (code, severity, finders, title, cure) in zip(entries, rows):
        names = finders.replace("EVERY", "FIND_DOCTOR | FIND_PROBE | FIND_TRACE").replace("FIND_", "").lower().split(" | ")
        lines = " ".join(entry.split("\n")[1:]).replace("  ", " ").lower()
        assert lines.startswith(f"{severity.lower()}; {', '.join(names)}."), code
        assert title.replace("`", "").lower() in lines, code
        assert re.sub(r"\s+", " ", cure.replace("`", "").lower().rstrip(".?")) in re.sub(r"\s+", " ", lines), code
        meaning = lines.split("cure: ")[0].replace(title.lower(), "").split(".", 2)[-1]
        assert len(meaning.split()) > 6, (code, "is not explained")


def test_every_finding_can_be_found():
    """By each finder that the table names; what doctor finds explains for the others where they see something lost:
    its errors for both, its warnings for trace (known_take in src/diag/trace_explain.c)."""
    sources = {name: "".join(path.read_text() for path in sorted((ROOT / "src/diag").glob(pattern)))
               for name, pattern in (("DOCTOR", "doctor*.c"), ("PROBE", "probe*.c"), ("TRACE", "trace*.c"))}
    sources["PROBE"] += text("src/diag/forward_check.c")
    for code, severity, finders, _, _ in findings():
        found = {name for name, source in sources.items() if f'"{code}"' in source}
        assert found, code
        if finders == "EVERY":
            assert found & {"DOCTOR", "TRACE"}, code
            continue
        for name in re.findall(r"FIND_(\w+)", finders):
            by_doctor = "DOCTOR" in found and severity in (("ERROR", "WARNING") if name == "TRACE" else ("ERROR",))
            assert name in found or by_doctor or (name == "PROBE" and "TRACE" in found), (code, name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_is_in_the_manual_as_it_is(example):
    assert f".Bd -literal\n{example.read_text()}.Ed\n" in text("man/vmwire.yaml.5").replace("\\e", "\\")


def yaml_blocks():
    return re.findall(r"```yaml\n(.*?)```", text("README.md"), flags=re.S)


def test_the_file_of_the_readme_is_right(tmp_path):
    (block,) = yaml_blocks()
    path = tmp_path / "vmwire.yaml"
    path.write_text(block)
    path.chmod(0o600)
    done = subprocess.run([VMWIRE, "-c", path, "check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_readme_names_only_commands_that_are_there():
    named = set(re.findall(r"`vmwire (\w+)", text("README.md")))
    assert named <= {name for name, _ in commands()}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/JSON.md", "docs/ERRORS.md"])
def test_links_between_documents_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", text(page)):
        assert (ROOT / pathlib.Path(page).parent / target).exists(), target


def test_every_kind_of_operation_is_described():
    kinds = re.findall(r'^    \[OP_\w+\] = \{"([\w-]+)"', text("src/plan/op_fields.c"), flags=re.M)
    assert len(kinds) > 10
    for kind in kinds:
        assert f"`{kind}`" in text("docs/JSON.md"), kind


@pytest.mark.parametrize("name", ["vmwire.service", "vmwire-watch.service"])
def test_unit_file_names_what_is_installed(name):
    unit = text(f"scripts/systemd/{name}")
    for line in re.findall(r"^Exec\w+=(.*)$", unit, flags=re.M):
        assert line.startswith("@sbindir@/vmwire ")
        assert line.split()[-1] in {name for name, _ in commands()}


def test_the_ports_list_is_what_is_installed():
    """The port of FreeBSD: what meson installs, with rc.d's script in the place of systemd's unit, and without firewalld's zone."""
    installed = json.loads(subprocess.run(["meson", "introspect", "--installed", BUILD], capture_output=True,
                                          text=True, check=True).stdout).values()
    options = json.loads(subprocess.run(["meson", "introspect", "--buildoptions", BUILD], capture_output=True,
                                        text=True, check=True).stdout)
    prefix = next(option["value"] for option in options if option["name"] == "prefix")
    linux = re.compile("/(systemd|firewalld)/")
    files = {os.path.relpath(path, prefix) for path in installed if not linux.search(path)} | {"etc/rc.d/vmwire"}
    listed = {line.removesuffix(".gz") for line in text("port/pkg-plist").splitlines() if not line.startswith("@")}
    assert listed == files
    version = re.search(r"version: '([^']+)'", text("meson.build"))[1]
    assert f"DISTVERSION=\t{version}\n" in text("port/Makefile")
    assert all(len(line) < 80 for line in text("port/pkg-descr").splitlines())
    assert len(re.search(r"^COMMENT=\t(.*)$", text("port/Makefile"), flags=re.M)[1]) <= 70


def test_the_rc_script_is_sh_and_calls_commands_that_are_there(tmp_path):
    script = tmp_path / "vmwire"
    script.write_text(text("scripts/rc.d/vmwire.in").replace("@sbindir@", "/usr/local/sbin").replace("@file@", "/f"))
    assert subprocess.run(["sh", "-n", script]).returncode == 0
    called = re.findall(r'"\$\{command\}"(?: -c "\$\{vmwire_file\}")? (\w+)', script.read_text())
    assert called == ["up", "down", "status"]
    assert set(called) <= {name for name, _ in commands()}
    for variable in ("vmwire_enable", "vmwire_file"):
        assert f": ${{{variable}:=" in script.read_text()


def test_no_file_of_c_is_longer_than_contributing_says():
    (limit,) = re.findall(r"files up to (\d+)", text("CONTRIBUTING.md"))
    long = {str(path.relative_to(ROOT)): lines for folder in ("src", "tests/unit", "tests/freebsd")
            for path in (ROOT / folder).rglob("*.[ch]") if (lines := path.read_text().count("\n")) > int(limit)}
    assert long == {}
