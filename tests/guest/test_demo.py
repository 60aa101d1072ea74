"""The article's story, as `make demo` tells it."""
import subprocess

from conftest import ROOT


def test_the_story_is_seen_as_expected():
    done = subprocess.run([ROOT / "scripts" / "demo"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on brext: who asks" in done.stdout and "  NO" not in done.stdout


def test_guests_behind_a_port_that_passes_one_mac():
    done = subprocess.run([ROOT / "scripts" / "demo-single-mac", "5"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "frames that the port dropped" in done.stdout and "  NO" not in done.stdout
