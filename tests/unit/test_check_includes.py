"""check_includes.py sees a forbidden include, and lets the allowed ones pass."""
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from check_includes import check  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def test_the_project_keeps_its_table():
    faults, count = check(ROOT)
    assert not faults and count > 100


@pytest.mark.parametrize(
    "room, header, complaint",
    [
        ("model", "host/host.h", "room 'model' may not include 'host/host.h'"),
        ("lab", "model/model.h", "room 'lab' may not include 'model/model.h'"),
        ("host", "plan/plan.h", "of room 'plan', 'host' may include only 'plan/op.h'"),
        ("base", "nowhere.h", "'nowhere.h' is not a path below src/"),
    ],
)
def test_a_forbidden_include_is_found(tree, room, header, complaint):
    (tree / "src" / room / "zz.c").write_text(f'#include "{header}"\n')
    assert check(tree)[0] == [f"src/{room}/zz.c:1: {complaint}"]


def test_a_room_outside_the_table_is_found(tree):
    (tree / "src" / "attic").mkdir()
    assert check(tree)[0] == ["src/attic: not in the table of docs/ARCHITECTURE.md"]
