# SPDX-License-Identifier: BSD-3-Clause
"""Do guest, device and host say the same about a machine's memory?"""
import time

from .vmm import KIB, VmmError, pause


class Witness:
    """Checks a running machine whose devices were empty when it was made.

    What each party must say, at rest:
      device  plugged is what was requested;
      guest   MemTotal is what it was with nothing plugged, and what is
              plugged now, to the page (if it brings memory online);
      host    holds no more for a device than is plugged.
    """

    def __init__(self, vmm, onlines=True):
        self.vmm = vmm
        self.onlines = onlines
        status = vmm.status()
        self.plugged_at_start = sum(d["plugged"] for d in status.values())
        self.base = vmm.mem_total() - (self.plugged_at_start if onlines
                                       else 0)

    def complaints(self, status, mem_total):
        bad = []
        plugged = 0
        for name, device in status.items():
            plugged += device["plugged"]
            if device["plugged"] != device["requested"]:
                bad.append(f"{name}: {device['plugged'] // KIB} KiB plugged, "
                           f"{device['requested'] // KIB} KiB requested")
            if device["resident"] > device["plugged"]:
                bad.append(f"{name}: the host holds "
                           f"{device['resident'] // KIB} KiB, more than the "
                           f"{device['plugged'] // KIB} KiB plugged")
        wanted = self.base + (plugged if self.onlines else 0)
        if mem_total != wanted:
            bad.append(f"the guest has {mem_total // KIB} KiB, not "
                       f"{wanted // KIB} KiB ({self.base // KIB} KiB and "
                       f"{plugged // KIB} KiB plugged)")
        return bad

    def check(self, patience=60):
        """Raise unless all agree. The guest counts memory that it has plugged
        a moment after the device does, block by block: patience is for
        something to change."""
        seen, began = None, time.monotonic()
        while True:
            mem_total = self.vmm.mem_total()
            bad = self.complaints(self.vmm.status(), mem_total)
            if not bad:
                return mem_total
            if mem_total != seen:
                seen, deadline = mem_total, time.monotonic() + patience
            if time.monotonic() > deadline:
                raise VmmError("; ".join(bad))
            time.sleep(pause(time.monotonic() - began))
