# SPDX-License-Identifier: BSD-3-Clause
"""The emulated host's initramfs: busybox, a few modules, init and relay."""
import lzma
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import apt

HERE = Path(__file__).resolve().parent
BUSYBOX = Path("/bin/busybox")
MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay",
           "kvm-amd"]
FLAGS = ["-std=gnu17", "-O2", "-s", "-static", "-Wall", "-Wextra", "-Wshadow",
         "-Wundef", "-Wvla", "-Wcast-qual", "-Wwrite-strings",
         "-Wpointer-arith", "-Wstrict-prototypes", "-Wmissing-prototypes",
         "-Wimplicit-fallthrough", "-Wswitch-enum", "-Werror"]


def compile_c(source, target, *flags):
    """Compile one of our C files if it changed since the last time."""
    if target.exists() and \
            target.stat().st_mtime >= source.stat().st_mtime:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    apt.run([os.environ.get("CC", "cc"), *FLAGS, *flags, "-o", str(fresh),
             str(source)], f"compiling {source.name}")
    fresh.rename(target)
    return target


def module_order(folder):
    """Paths of the modules in the order to load them, as depmod found."""
    depends = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, needed = line.split(":")
        depends[path] = needed.split()
    names = {Path(path).name.split(".ko")[0].replace("-", "_"): path
             for path in depends}
    order = []
    for name in MODULES:
        path = names.get(name.replace("-", "_"))
        if not path:
            continue        # built into this kernel
        # modules.dep lists what to load in reverse.
        for needed in [*reversed(depends[path]), path]:
            if needed not in order:
                order.append(needed)
    return [folder / path for path in order]


def fill(folder, kernel, relay):
    for name in ("bin", "dev", "modules"):
        (folder / name).mkdir()
    shutil.copy(BUSYBOX, folder / "bin" / "busybox")
    shutil.copy(relay, folder / "relay")
    shutil.copy(HERE / "init", folder / "init")
    (folder / "init").chmod(0o755)
    release = (kernel / "release").read_text().strip()
    names = []
    for path in module_order(kernel / "lib" / "modules" / release):
        data = path.read_bytes()
        if path.suffix == ".xz":
            data = lzma.decompress(data)
        names.append(path.name.removesuffix(".xz"))
        (folder / "modules" / names[-1]).write_bytes(data)
    (folder / "modules" / "order").write_text("\n".join(names) + "\n")


def ensure(kernel):
    """The image for the kernel in that folder, made when out of date."""
    if not BUSYBOX.exists():
        raise apt.LabError(f"no {BUSYBOX} (Debian package busybox-static)")
    relay = compile_c(HERE / "relay.c", apt.BUILD / "lab" / "relay",
                      "-static")
    target = apt.BUILD / "lab" / f"host-{kernel.name}.cpio"
    newest = max(p.stat().st_mtime for p in (
        HERE / "init", Path(__file__), relay, BUSYBOX, kernel / "release"))
    if target.exists() and target.stat().st_mtime >= newest:
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name) / "root"
        folder.mkdir()
        fill(folder, kernel, relay)
        files = "\0".join(str(p.relative_to(folder))
                          for p in sorted(folder.rglob("*")))
        done = subprocess.run(
            ["cpio", "-o", "-0", "-H", "newc", "-R", "0:0", "--quiet"],
            input=files.encode(), stdout=subprocess.PIPE, cwd=folder,
            check=True)
        fresh = Path(name) / "image"
        fresh.write_bytes(done.stdout)
        fresh.rename(target)
    return target
