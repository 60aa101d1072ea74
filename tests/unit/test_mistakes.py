"""Every mistake of tests/golden/bad, and files that cannot be read, as the program tells them."""
import os
import re
import shutil
import subprocess

import pytest
from conftest import ROOT, VMWIRE

BAD = sorted((ROOT / "tests/golden/bad").glob("*.yaml"))


def check(path, **kwargs):
    return subprocess.run([VMWIRE, "-c", path.name, "check"], cwd=path.parent, capture_output=True, text=True, timeout=10, **kwargs)


def test_each_mistake_has_its_place_and_ends_with_2(tmp_path):
    assert len(BAD) > 100
    for bad in BAD:
        path = tmp_path / bad.name
        shutil.copyfile(bad, path)
        path.chmod(0o600)
        done = check(path)
        assert (done.returncode, done.stdout) == (2, ""), bad.name
        assert done.stderr.splitlines(), bad.name
        for line in done.stderr.splitlines():
            assert re.match(rf"{re.escape(bad.name)}:\d+:\d+: .{{10}}", line), line


@pytest.mark.parametrize("kind, words", [
    ("nothing", "No such file"), ("directory", "it is a directory; name the file in it"), ("fifo", "not a regular file"),
    ("unreadable", "Permission denied"), ("writable", "everybody can write to it (mode 0666); cure: chmod go-w "),
    ("dangling", "No such file"),
])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, kind, words):
    path = tmp_path / "vmwire.yaml"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    elif kind != "nothing":
        path.write_text("networks: {brnat: {mode: nat, subnet: 10.0.0.0/24}}\n")
        path.chmod(0o666 if kind == "writable" else 0)
    if kind != "unreadable":
        done = check(path)
    elif os.getuid() == 0:  # whom permissions do not stop
        tmp_path.chmod(0o755)
        done = check(path, user=65534, group=65534, extra_groups=[])
    else:
        done = check(path)
    assert done.returncode == 2
    assert done.stderr.startswith("vmwire: ") and "vmwire.yaml'" in done.stderr and words in done.stderr, done.stderr
