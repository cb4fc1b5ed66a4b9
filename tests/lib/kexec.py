# SPDX-License-Identifier: BSD-3-Clause
"""What a guest made with guest/image KERNEL.kexec is asked to do."""
import re

from .console import PATIENCE
from .vmm import MIB

MEMORY_BLOCK = 128 * MIB        # Linux's unit here
READY = "BELLOWS-READY"


def shell(vmm, command, timeout=PATIENCE):
    """Run a command of the guest's shell, with what it says on stderr."""
    return vmm.console.ask(f"sh {{ {command}; }} 2>&1", timeout)


def load(vmm, cmdline, *options, again=False):
    """Load the guest's own kernel with its tools; again: also with what it
    needs to do that in its turn."""
    initrd = "/boot/whole"
    if again:
        initrd = "/tmp/initrd"
        shell(vmm, f"cd /boot && cat whole head whole tail >{initrd}")
    shell(vmm, f"kexec {' '.join(options)} /boot/vmlinuz --initrd={initrd} "
               f"'--append={cmdline}' && rm -f /tmp/initrd")


def execute(vmm, timeout=PATIENCE):
    """Start what was loaded; returns when the guest's init said so: the
    monotonic times of the command and of that line."""
    mark = vmm.console.mark()
    vmm.console.send("0 sh echo KEXEC-STARTS >/dev/console; kexec -e\n")
    began, _, mark = vmm.console.wait_for("KEXEC-STARTS", timeout, mark)
    ended, _, _ = vmm.console.wait_for("BELLOWS-INIT", timeout, mark)
    vmm.wait_ready(timeout, mark)
    return began, ended


def crash(vmm, timeout=PATIENCE):
    """Let the kernel panic; until the crash kernel's agent answers."""
    mark = vmm.console.mark()
    vmm.console.send("0 sh echo c >/proc/sysrq-trigger\n")
    vmm.console.wait_for(READY, timeout, mark, panics=False)


def ranges(vmm, what):
    """[(start, end)] of /proc/iomem's entries with that name."""
    rows = []
    for line in vmm.console.ask(f"iomem {what}"):
        found = re.match(r" *([0-9a-f]+)-([0-9a-f]+) : (.*)", line)
        if found and found[3] == what:
            rows.append((int(found[1], 16), int(found[2], 16) + 1))
    return rows


def firmware_map(vmm):
    """[(start, end)] of what the firmware, or the last kernel in its place,
    told the guest's kernel of memory."""
    lines = shell(vmm, "cd /sys/firmware/memmap && for i in *; do "
                  "echo $(cat $i/start $i/end $i/type); done")
    rows = [line.split(None, 2) for line in lines]
    return sorted((int(start, 16), int(end, 16) + 1)
                  for start, end, kind in rows if kind == "System RAM")


def plug_every_other(vmm, device, size):
    """Have every other memory block plugged, size bytes in all. The drivers
    take blocks that are offline before others."""
    vmm.resize(device, 2 * size)
    vmm.wait_plugged(device, 2 * size)
    addr = vmm.show()["elastic"][0]["addr"]
    folder = "/sys/devices/system/memory"
    for at in range(addr + MEMORY_BLOCK, addr + 2 * size, 2 * MEMORY_BLOCK):
        state = f"{folder}/memory{at // MEMORY_BLOCK}/state"
        # What is plugged may not be in use yet.
        shell(vmm, f"until grep -qx online {state} 2>/dev/null; do "
              f"sleep 0.1; done; echo offline >{state}")
    vmm.resize(device, size)
    vmm.wait_plugged(device, size)
    return [(at, at + MEMORY_BLOCK)
            for at in range(addr, addr + 2 * size, 2 * MEMORY_BLOCK)]
