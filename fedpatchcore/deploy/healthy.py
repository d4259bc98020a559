"""Exit code 0 if a URL answers 200, 1 if not: what a container's health check asks.

python -m fedpatchcore.deploy.healthy https://superlink:8000/health /pki/ca.crt
"""

from __future__ import annotations

import ssl
import sys
import urllib.request

__all__ = ["healthy"]


def healthy(url: str, ca: str = "", *, seconds: float = 4.0) -> bool:
    """Whether ``url`` answers 200; its certificate is verified against ``ca`` if given."""
    context = ssl.create_default_context(cafile=ca) if ca else None
    try:
        with urllib.request.urlopen(url, timeout=seconds, context=context) as reply:
            return reply.status == 200
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not healthy(*sys.argv[1:3]))
