"""A site's work behind one door: a request goes in, a packet comes out.

Two transports lead to the same code: `SiteService` does the work in this process, `Link` asks
the worker that owns the images over its Unix socket. What travels between them is in `frames`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bodies": ["pack_body"],
        "caller": ["Caller", "user_name"],
        "frames": ["Frame", "Kind", "read_frame", "write_frame"],
        "link": ["Link"],
        "request": ["Request"],
        "site_service": ["SiteService"],
    },
)
