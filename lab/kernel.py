# SPDX-License-Identifier: BSD-3-Clause
"""Debian kernels for the lab's host and its guests.

Each name becomes build/kernels/NAME with vmlinuz, vmlinux (the ELF file out
of it), config, release (the kernel's own name) and lib/modules. The packages
are unpacked, never installed.
"""
import re
import shutil
import time
from pathlib import Path

import apt
from bzimage import extract_vmlinux

# Name: the metapackage that leads to the newest image, and its suite.
KERNELS = {
    "6.1-cloud": ("linux-image-cloud-amd64", apt.SUITE),
    "6.1-generic": ("linux-image-amd64", apt.SUITE),
    "6.12-cloud": ("linux-image-cloud-amd64", apt.BACKPORTS),
    "6.12-generic": ("linux-image-amd64", apt.BACKPORTS),
}
FOLDER = apt.BUILD / "kernels"


def image_package(name):
    """The package (with version) of the newest kernel of that name."""
    meta, suite = KERNELS[name]
    newest = None
    text = apt.run(["apt-cache", *apt.options(), "--all-versions", "show",
                    meta], f"looking up {meta}")
    for paragraph in text.split("\n\n"):
        depends = re.search(r"^Depends: (linux-image-\S+) \(= (\S+)\)",
                            paragraph, re.M)
        if not depends:
            continue
        backport = "~bpo" in depends.group(2)
        if backport == (suite == apt.BACKPORTS):
            newest = depends.groups()
            break
    if not newest:
        raise apt.LabError(f"no kernel in {meta} of {suite}")
    package, version = newest
    return f"{package}={version}", package.removeprefix("linux-image-")


def complete(name):
    return (FOLDER / name / "release").exists()


def _make(name):
    began = time.monotonic()
    apt.update()
    package, release = image_package(name)
    apt.say(f"fetching Linux {release} ({name})")
    with apt.fresh_folder(FOLDER / name) as folder:
        raw = folder / "package"
        apt.fetch([package], raw)
        (raw / "boot" / f"vmlinuz-{release}").rename(folder / "vmlinuz")
        (raw / "boot" / f"config-{release}").rename(folder / "config")
        modules = raw / "lib" / "modules"
        if not modules.exists():
            modules = raw / "usr" / "lib" / "modules"
        (folder / "lib").mkdir()
        modules.rename(folder / "lib" / "modules")
        shutil.rmtree(raw)
        depmod = shutil.which("depmod") or "/usr/sbin/depmod"
        apt.run([depmod, "-b", str(folder), release], "depmod")
        extract_vmlinux(folder / "vmlinuz", folder / "vmlinux")
        (folder / "release").write_text(release + "\n", encoding="ascii")
    apt.say(f"Linux {release} is at hand "
            f"({time.monotonic() - began:.0f} s)")


def ensure(name):
    """Have that kernel; returns its folder."""
    if not complete(name):
        with apt.locked("kernels"):
            if not complete(name):
                _make(name)
    return FOLDER / name
