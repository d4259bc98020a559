"""The worker: a process at a site that owns images, features, bank and ledger, and no network.

It listens on a Unix socket; the site's node, which has the network and no images, passes on what
the server asks. What the site allows stands in the worker's own file (`settings`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "running": ["run_worker"],
        "settings": ["WorkerConfig", "read_worker_config", "worker_file"],
    },
)
