# SPDX-License-Identifier: BSD-3-Clause
"""A file system in a guest that was made with guest/image KERNEL.load: FAT, on
a block device that keeps nothing, or that keeps all in the kernel's memory."""
from .vmm import MIB

FOLDER = "/tmp/disk"


def make(vmm, size, keeps):
    """Mount one of that many bytes at FOLDER."""
    # A kernel may have some built in.
    for name in ("configfs", "fat", "vfat", "nls_cp437", "nls_ascii"):
        vmm.console.command(f"insmod {name}.ko")
    vmm.console.ask("insmod null_blk.ko nr_devices=0")
    steps = (
        "mount -t configfs none /sys/kernel/config",
        "cd /sys/kernel/config/nullb && mkdir nullb0 && cd nullb0",
        f"echo {size // MIB} >size && echo {keeps:d} >memory_backed",
        "echo 4096 >blocksize && echo 0 >queue_mode && echo 1 >power",
        # Of one that keeps nothing, the file system's own blocks are only in
        # its page cache, which it loses when nobody has it open any more, or
        # when the size of its blocks is set anew.
        "{ sleep 86400 </dev/nullb0 >/dev/null 2>&1 & }",
        "busybox mkdosfs /dev/nullb0",
        f"mkdir {FOLDER} && mount -t vfat /dev/nullb0 {FOLDER}")
    vmm.console.ask(f"sh {{ {' && '.join(steps)}; }} 2>&1")
