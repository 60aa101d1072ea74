"""Completion in real interactive shells: a terminal, a line, the key, and what stands on the line then."""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest
from conftest import VMWIRE

FILE = """\
networks:
  brext: {mode: bridged, uplink: re1}
  brnat: {mode: nat, subnet: 10.0.0.0/24}
machines:
  vm0: {nics: [{network: brnat}]}
  web: {nics: [{network: brext}]}
"""

# Meta-* inserts every candidate, Control-X takes the line away into the file "line".
SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        """
        set -o emacs
        bind 'set bell-style none'
        bind 'set enable-bracketed-paste off'
        bind '"\\e*": insert-completions'
        take() { printf '%s\\n' "$READLINE_LINE" >line.part; mv line.part line; READLINE_LINE=; READLINE_POINT=0; }
        bind -x '"\\C-x": take'
        source completion
        """,
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        """
        autoload -Uz compinit && compinit -u -D
        bindkey -e
        zle -C every complete-word _generic
        zstyle ':completion:every:*' insert yes
        zstyle ':completion:every::::' completer _all_matches _complete
        bindkey '\\e*' every
        take() { print -r -- $BUFFER >line.part; mv line.part line; BUFFER= }
        zle -N take
        bindkey '^X' take
        source ./completion
        """,
    ),
}


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, name, directory):
        argv, setup = SHELLS[name]
        self.name = name
        assert shutil.which(name), f"{name} is not installed"
        self.directory = directory
        (directory / "completion").write_text(
            subprocess.run([VMWIRE, "completion", name], check=True, capture_output=True, text=True).stdout
        )
        (directory / "setup").write_text("\n".join(line.strip() for line in setup.splitlines()) + "\n: >ready\n")
        environment = {
            "PATH": f"{VMWIRE.parent}:{os.environ['PATH']}", "HOME": str(directory), "TERM": "dumb",
            "LC_ALL": "C.UTF-8", "PS1": "> ", "INPUTRC": "/dev/null",
        }
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(argv[0], argv, environment)
        self.seen = ""
        self.send(". ./setup\r")
        self.wait_for(directory / "ready")

    def send(self, text):
        os.write(self.terminal, text.encode())

    def drain(self):
        while select.select([self.terminal], [], [], 0.02)[0]:
            try:
                self.seen += os.read(self.terminal, 65536).decode(errors="replace")
            except OSError:
                return

    def wait_for(self, path):
        end = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < end, f"the shell did not answer; it showed: {self.seen!r}"
            self.drain()

    def complete(self, line):
        """The words that completing `line` puts in the place of its last one."""
        result = self.directory / "line"
        result.unlink(missing_ok=True)
        self.send(line + "\x1b*")
        self.drain()
        self.send("\x18")
        self.wait_for(result)
        keep = len(line) - len(re.search(r"[^ =]*$", line).group())
        text = result.read_text().rstrip("\n")
        assert text.startswith(line[:keep]), text
        return sorted(text[keep:].split())

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture(params=SHELLS)
def shell(request, tmp_path):
    for name in ("vmwire.yaml", "other file.yaml"):
        (tmp_path / name).write_text(FILE if name == "vmwire.yaml" else FILE.replace("brnat", "lan"))
        (tmp_path / name).chmod(0o600)
    running = Shell(request.param, tmp_path)
    yield running
    running.close()


def help_commands():
    text = subprocess.run([VMWIRE, "help"], check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2].isalpha()]


def test_every_command_of_help_is_offered_and_nothing_else(shell):
    # bash has no second list for options
    options = {"-c", "-v", "--help", "--version"} if shell.name == "bash" else set()
    assert shell.complete("vmwire ") == sorted(set(help_commands()) | options)


def test_a_command_is_completed(shell):
    assert shell.complete("vmwire chec") == ["check"]
    assert shell.complete("vmwire -v stat") == ["status"]


def test_networks_and_machines_come_from_the_file(shell):
    assert shell.complete("vmwire up br") == ["brext", "brnat"]
    assert shell.complete("vmwire leases brn") == ["brnat"]
    assert shell.complete("vmwire run ") == ["vm0", "web"]
    assert shell.complete("vmwire console w") == ["web"]


def test_names_come_from_the_file_that_the_line_names(shell):
    assert shell.complete("vmwire -c other\\ file.yaml up la") == ["lan"]


def test_a_network_is_offered_once(shell):
    assert shell.complete("vmwire up brext br") == ["brnat"]


def test_options_of_a_command_are_completed(shell):
    assert shell.complete("vmwire plan --e") == ["--exit-code"]
    assert shell.complete("vmwire lab --s") == ["--single-mac"]


def test_values_of_options_are_completed(shell):
    assert shell.complete("vmwire exec --nic brn") == ["brnat"]
    assert shell.complete("vmwire exec --nic=brn") == ["brnat"]
    assert shell.complete("vmwire -c vmwire.y") == ["vmwire.yaml"]


def test_fixed_words_are_completed(shell):
    assert shell.complete("vmwire completion ") == ["bash", "zsh"]
    assert shell.complete("vmwire help completi") == ["completion"]


def test_a_command_behind_the_dashes_is_completed(shell):
    assert "mktemp" in shell.complete("vmwire exec --nic brnat -- mktem")
    assert "mktemp" in shell.complete("vmwire lab mktem")


def test_a_wrong_file_offers_nothing_and_says_nothing(shell):
    (shell.directory / "vmwire.yaml").write_text("networks: [\n")
    shell.seen = ""
    assert shell.complete("vmwire run vm") == ["vm"]
    assert "vmwire:" not in shell.seen and "yaml" not in shell.seen
