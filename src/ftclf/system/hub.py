"""Whether the hub can be reached, asked once and quickly: the libraries below try for 20 seconds and more a file."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from ftclf.system.errors import UserError

DEFAULT_ENDPOINT = "https://huggingface.co"


def reach_hub(what: str, error: type[UserError], *, ways_out: str) -> bool:
    """Return whether only the hub's local cache may be used; raise `error` where neither it nor a network is there.

    `what` is a hub id, `ways_out` the sentence that names what the user can do instead.
    """
    if _network():
        return False
    if _in_cache(what):
        return True
    endpoint = os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT)
    why = "HF_HUB_OFFLINE is set" if _offline() else f"{endpoint} cannot be reached"
    raise error(f"{what}: {why} and it is not in the local cache; {ways_out}")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


@functools.cache
def _network(seconds: float = 3.0) -> bool:
    if _offline():
        return False
    if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the proxy resolves names; a direct probe would say nothing
    url = urlsplit(os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT))
    port = url.port or (80 if url.scheme == "http" else 443)
    try:
        with socket.create_connection((url.hostname or "", port), timeout=seconds):
            return True
    except OSError:
        return False


def _in_cache(what: str) -> bool:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    root = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    name = what.replace("/", "--")
    return any((root / f"{kind}s--{name}").is_dir() for kind in ("model", "dataset"))
