"""What the scripts that make test machines share: Debian's packages, taken apart without installing, and cpio archives."""
import io
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
META_PACKAGE = "linux-image-amd64"


def run(*argv, **options):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, **options).stdout


def kernel_package():
    """The name of the newest kernel package: what the meta package depends on."""
    text = run("apt-cache", "depends", META_PACKAGE, text=True)
    found = re.search(r"Depends: (linux-image-\S+)", text)
    if not found:
        sys.exit(f"image: apt knows no '{META_PACKAGE}'; run apt-get update")
    return found[1]


def fetch(package, directory, *apt):
    """The newest file of a package, from Debian; `apt` are options of apt-get."""
    directory.mkdir(parents=True, exist_ok=True)
    staging = directory / f"partial-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        run("apt-get", "-q", "-o", "APT::Sandbox::User=root", *apt, "download", package, cwd=staging)
        (fetched,) = staging.glob("*.deb")
        final = directory / fetched.name
        fetched.rename(final)
    finally:
        shutil.rmtree(staging)
    return final


def fetch_kernel(directory):
    """The kernel package's file, from the cache or from Debian."""
    if "VMWIRE_KERNEL_DEB" in os.environ:
        return pathlib.Path(os.environ["VMWIRE_KERNEL_DEB"])
    cached = sorted(directory.glob("linux-image-*.deb"))
    if cached:
        return cached[-1]
    package = kernel_package()
    print(f"image: fetching {package}", flush=True)
    return fetch(package, directory)


def package_files(deb, wanted):
    """The plain files of a package whose path (from the root, without the leading slash) `wanted` takes: (path, bytes)."""
    process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)
    with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
        for member in archive:
            path = pathlib.PurePosixPath(os.path.normpath(member.name))
            if member.isfile() and wanted(path):
                yield path, archive.extractfile(member).read()
    if process.wait():
        sys.exit(f"image: '{deb}' is no package")


def decompress(bzimage):
    """The ELF kernel inside a bzImage; the bzImage itself where its compression is not xz."""
    for start in (match.start() for match in re.finditer(b"\xfd7zXZ\x00", bzimage)):
        try:
            kernel = lzma.LZMADecompressor().decompress(bzimage[start:])
        except lzma.LZMAError:
            continue
        if kernel.startswith(b"\x7fELF"):
            return kernel
    return bzimage


class Cpio:
    """A newc archive (Documentation/driver-api/early-userspace/buffer-format.rst), owned by root, without times."""

    def __init__(self):
        self.out, self.inode = io.BytesIO(), 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.inode += 1
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        self.out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
        self.pad()
        self.out.write(data)
        self.pad()

    def pad(self):
        self.out.write(b"\0" * (-self.out.tell() % 4))

    def finish(self):
        self.add("TRAILER!!!", 0)
        return self.out.getvalue()


def replace(path, data):
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(data)
    temporary.rename(path)
