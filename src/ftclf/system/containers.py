"""The control groups of Linux that this process is in: what its container may use of the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def control_groups(controller: str, root: Path = ROOT, own: Path = OWN) -> Iterator[Path]:
    """Yield the folder of each group that this process is in, and of those above it, for a controller as cpu."""
    try:
        groups = re.findall("^[0-9]+:([^:]*):(.*)$", own.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        return
    for controllers, name in groups:
        folder = root if not controllers else root / controllers
        if controllers and controller not in controllers.split(","):
            continue
        for path in [folder / name.lstrip("/"), *(folder / name.lstrip("/")).parents]:
            if path.is_relative_to(folder):
                yield path


def free_in_container(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Return the bytes of memory that the groups' limits leave; None without a limit."""
    left = [_left_in(group) for group in control_groups("memory", root, own)]
    return min((one for one in left if one is not None), default=None)


def _left_in(group: Path) -> int | None:
    """Return what the limit of one group leaves; files that the system only keeps in memory are as good as free."""
    limit, used, cached = ("memory.max", "memory.current", "inactive_file")
    if not (group / limit).is_file():  # version 1
        limit, used, cached = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    with suppress(OSError, ValueError):  # no such file, or `max`
        most, taken = (int((group / name).read_text(encoding="utf-8")) for name in (limit, used))
        found = re.search(rf"^{cached} ([0-9]+)$", (group / "memory.stat").read_text(encoding="utf-8"), re.MULTILINE)
        return max(0, most - taken + int(found[1] if found else 0))
    return None
