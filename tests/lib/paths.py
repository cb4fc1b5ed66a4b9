# SPDX-License-Identifier: BSD-3-Clause
"""Where things stand in the tree."""
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BELLOWS_BUILD", ROOT / "build"))
BELLOWS = BUILD / "bellows"
KERNELS = BUILD / "kernels"
GUEST_IMAGES = BUILD / "guest-images"
BARE_GUEST = BUILD / "guest" / "bare" / "bare.elf"
