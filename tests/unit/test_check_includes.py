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


@pytest.mark.parametrize("line", ["#ifdef __FreeBSD__", "#ifndef __linux__", "#if defined(__linux__) && 1", "# elif __FreeBSD_version > 1"])
def test_a_question_for_the_operating_system_is_found(tree, line):
    (tree / "src" / "engine" / "zz.c").write_text(f"\n{line}\n#endif\n")
    faults = check(tree)[0]
    assert len(faults) == 1 and faults[0].startswith("src/engine/zz.c:2: __")


@pytest.mark.parametrize("folder", ["base", "host/freebsd"])
def test_base_and_the_backend_may_ask(tree, folder):
    (tree / "src" / folder / "zz.c").write_text("#ifdef __FreeBSD__\n#endif\n")
    assert not check(tree)[0]
