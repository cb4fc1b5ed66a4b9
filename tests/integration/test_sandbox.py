# SPDX-License-Identifier: BSD-3-Clause
"""What the process of a VM may still do, and that it has lost nothing."""
import os
import pwd
from pathlib import Path

from harness import (MIB, expect, expect_equal, power_off, resize_to, test,
                     wait_filled, wait_until)

NOBODY = pwd.getpwnam("nobody")


def status(vmm):
    """/proc/PID/status of all threads of the VMM, as dicts."""
    folder = Path(f"/proc/{vmm.pid}/task")
    return [dict(line.split(":\t", 1) for line in
                 (folder / task / "status").read_text().splitlines()
                 if ":\t" in line) for task in os.listdir(folder)]


def check_confined(vmm, uid):
    rows = status(vmm)
    expect(len(rows) > 3, f"{len(rows)} threads")
    for row in rows:
        name = row["Name"]
        expect_equal(f"{name}: Seccomp", row["Seccomp"], "2")
        expect_equal(f"{name}: NoNewPrivs", row["NoNewPrivs"], "1")
        for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
            expect_equal(f"{name}: {kind}", int(row[kind], 16), 0)
        expect_equal(f"{name}: Uid", set(row["Uid"].split()), {str(uid)})
    expect_equal("what is in its root",
                 os.listdir(f"/proc/{vmm.pid}/root"), [])


def use(vmm, witness):
    """Everything that needs something of the host."""
    resize_to(vmm, witness, "em0", 256 * MIB)
    vmm.console.ask("load 192 seq")     # what was not touched is nowhere
    wait_filled(vmm)
    rows = vmm.api("GET", "/v1/vm/residence")["memory"]
    expect(all(row["host_node_bytes"] for row in rows),
           f"memory that is nowhere: {rows}")
    vmm.console.ask("load stop")
    mark = vmm.console.mark()
    vmm.reset()
    vmm.wait_ready(since=mark)
    vmm.wait_plugged("em0", 256 * MIB)
    witness.check()
    resize_to(vmm, witness, "em0", 0)


@test("sandbox/by-default")
def by_default(lab):
    """As root: no capability, an empty root, a filter on each thread."""
    vmm, witness = lab.guest(cpus=2)
    check_confined(vmm, 0)
    use(vmm, witness)
    check_confined(vmm, 0)
    path = vmm.socket_path
    expect(os.path.exists(path), f"no {path}")
    power_off(vmm)
    expect(not os.path.exists(path), f"{path} was left behind")


@test("sandbox/another-user")
def another_user(lab):
    """As nobody, in an empty folder, memory committed as it is plugged."""
    root = lab.folder / "root"
    root.mkdir()
    vmm, witness = lab.guest(cpus=2, options=[
        "--user", "nobody", "--chroot", str(root), "--prealloc"])
    check_confined(vmm, NOBODY.pw_uid)
    expect_equal("root", os.readlink(f"/proc/{vmm.pid}/root"), str(root))
    use(vmm, witness)
    path = vmm.socket_path
    power_off(vmm)
    expect(not os.path.exists(path), f"{path} was left behind")


@test("sandbox/killed")
def killed(lab):
    """Who is killed leaves no socket either."""
    vmm = lab.start(ready=False, memory=256 * MIB)
    path = vmm.socket_path
    wait_until("socket", lambda: os.path.exists(path))
    vmm.show()
    vmm.process.kill()
    wait_until("socket gone", lambda: not os.path.exists(path))
