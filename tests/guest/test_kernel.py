"""System tests that want more of the kernel than the build machine's may have, on Debian's: in the outer machine
(tests/outer.py), which runs pytest itself.  A file of tests/net joins by a line in FILES: there it skips what its kernel
lacks, and here nothing may be skipped but what wants a kernel to lack something.
"""
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import BUILD, ROOT
from outer import Outer, OuterError
from passthrough import images  # noqa: F401

FILES = ["tests/net/test_vlan.py", "tests/net/test_rate_flow.py",
         "'tests/net/test_exact.py::test_every_example_comes_and_goes_without_a_trace[vlan.yaml]'"]
MODULES = "tun veth bridge nf_tables"


@pytest.fixture(scope="module")
def machine(images, tmp_path_factory):  # noqa: F811
    outer = Outer(tmp_path_factory.mktemp("outer"), "plain", iommu=False)
    try:
        outer.__enter__()
    except OuterError:
        if not outer.hung:
            raise
        outer.reboot()
    outer.sh(f"modprobe -a {MODULES}")
    yield outer
    outer.__exit__()


@pytest.mark.parametrize("file", FILES)
def test_on_debians_kernel(machine, file):
    command = (f"cd {ROOT}; VMWIRE_BUILD={BUILD} PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q -x --tb=short "
               f"-p no:cacheprovider --basetemp=/root/tests --junitxml=/root/report.xml {file}")
    status, said, _ = machine.run(command, timeout=600)
    assert status == 0, said
    cases = list(ElementTree.fromstring(machine.sh("cat /root/report.xml")).iter("testcase"))
    skipped = [case.find("skipped").get("message") for case in cases if case.find("skipped") is not None]
    assert len(cases) > len(skipped) and all("to lack" in reason for reason in skipped), skipped
