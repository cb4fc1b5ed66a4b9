# SPDX-License-Identifier: BSD-3-Clause
"""Mends the emulated host's QEMU while it runs, before the command does.

Threads of QEMU 10 change a processor's flags that are not theirs without a
lock, and undo what its own thread does to them at that moment:

- whenever a processor loads its FPU's state, the first one's flags are written
  to, to clear one that only DOS knows (IGNNE). The first one may enter or leave
  a guest just then. It then has no interrupts while the guest runs, or takes
  one machine's page tables for the other's: it stands still, or host and guests
  die of anything. Here that function returns at once.
- a processor that enters or leaves a guest changes its pending interrupts, and
  may forget one that just came. Here it does so by one atomic instruction.

What is not found in the program is left as it is.
"""
import re
import subprocess
from pathlib import Path

RETURN = b"\xc3"
# Bit 8 of what is at a register and a distance, cleared or set: a virtual
# interrupt that is pending no more, or is.
VIRTUAL = re.compile(
    rb"\x81([\xa0-\xa3\xa5-\xa7])(.{4})\xff\xfe\xff\xff"    # and
    rb"|\x81([\x88-\x8b\x8d-\x8f])(.{4})\x00\x01\x00\x00",  # or
    re.DOTALL)


def atomic(match):
    """The same in as many bytes: lock btr, or lock bts, and a no-operation."""
    clear, clear_at, set_, set_at = match.groups()
    where = bytes([0xb0 | clear[0] & 7 if clear else 0xa8 | set_[0] & 7])
    return b"\xf0\x0f\xba" + where + (clear_at or set_at) + b"\x08\x90"


def functions(program):
    """{name: (address, size)} of what the program shows to its modules."""
    done = subprocess.run(["nm", "-D", "-S", "--defined-only", program],
                          stdout=subprocess.PIPE, text=True, check=True)
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[3].partition("@")[0]: (int(row[0], 16), int(row[1], 16))
            for row in rows if len(row) == 4}


def loaded_at(pid, program):
    """Where the program's first byte is in the memory of its process."""
    path = str(Path(program).resolve())
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split()
        if words[-1] == path and int(words[2], 16) == 0:
            return int(words[0].partition("-")[0], 16)
    raise OSError(f"{path} is not in the memory of process {pid}")


def races(known, memory, base=0):
    """[(place, what is to stand there)] in a file that has the program."""
    found = []
    for name in ("cpu_clear_ignne", "helper_vmrun", "do_vmexit"):
        at, size = known.get(name, (0, 0))
        memory.seek(base + at)
        code = memory.read(size)
        if name == "cpu_clear_ignne":
            if code and code[:1] != RETURN:
                found.append((base + at, RETURN))
        else:
            found += [(base + at + match.start(), atomic(match))
                      for match in VIRTUAL.finditer(code)]
    return found


def mend(pid, program):
    """Before the processors of that host have run a guest. The program is
    position independent: its addresses count from where it is loaded."""
    base = loaded_at(pid, program)
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for place, code in races(functions(program), memory, base):
            memory.seek(place)
            memory.write(code)
