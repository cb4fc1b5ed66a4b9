# SPDX-License-Identifier: BSD-3-Clause
"""Debian's kernel headers, to build a module for the lab's kernels with.

Each name of kernel.KERNELS becomes build/headers/NAME: the packages
linux-headers-RELEASE, its -common part and linux-kbuild, unpacked and never
installed, with the absolute paths in them made to point into that folder.
What Kbuild wants as -C is the folder that ensure() returns.
"""
import re

import apt
import kernel

FOLDER = apt.BUILD / "headers"


def packages(release):
    """The headers' packages of a kernel, each with its version."""
    wanted, queue = [], [f"linux-headers-{release}"]
    while queue:
        name = queue.pop()
        fields = apt.show(name)
        wanted.append(f"{name}={fields['Version']}")
        for part in fields.get("Depends", "").split(","):
            needed = re.match(r"linux-(?:headers|kbuild)-\S+", part.strip())
            known = [w.split("=")[0] for w in wanted] + queue
            if needed and needed[0] not in known:
                queue.append(needed[0])
    return wanted


def relocate(folder, target):
    """Let the one file that names /usr/src name this folder instead."""
    for makefile in folder.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text(encoding="utf-8")
        makefile.write_text(text.replace("include /usr/", f"include {target}/usr/"),
                            encoding="utf-8")


def _make(name, release):
    apt.update()
    apt.say(f"fetching the headers of Linux {release} ({name})")
    with apt.fresh_folder(FOLDER / name) as folder:
        apt.fetch(packages(release), folder)
        relocate(folder, FOLDER / name)
        # With it Kbuild would want pahole, for type information that
        # nothing here needs.
        for image in folder.glob("usr/src/linux-headers-*/vmlinux"):
            image.unlink()
        (folder / "release").write_text(release + "\n", encoding="ascii")


def ensure(name):
    """Have the headers of that kernel; returns Kbuild's folder."""
    release = (kernel.ensure(name) / "release").read_text().strip()
    stamp = FOLDER / name / "release"
    with apt.locked("headers"):
        if not stamp.exists() or stamp.read_text().strip() != release:
            _make(name, release)
    return FOLDER / name / "usr" / "src" / f"linux-headers-{release}"
