"""What a round of training takes at a site: 100 images, 224 pixels, SqueezeNet.

    python training_time.py                    # all methods, a minute or two on an idle machine
    python training_time.py --methods student  # one of them

One site, 100 training images of magnetic tiles (15 of them held out for the threshold), each method
at its default settings: two rounds, the second from the bank of the first. ``CPU`` is the seconds
that all threads of the process computed, which other work on the machine changes little; ``wall``
is what passed, and means something on an idle machine alone. The first round reads, extracts and
keeps features; later ones have them from the cache. ``without a cache``: a round that extracts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from common import keep, products, show, squeezenet

from fedpatchcore.config import RunConfig
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.inprocess import federate
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.setup import use_threads
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of

SET, IMAGES = "magnetic_tile", 100
METHODS = ("patchcore", "feddymem", "generator", "student")


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    asked = parser.parse_args()
    base = squeezenet()
    use_threads(base.threads)
    backbone = build_backbone(base)
    (whole,) = products(SET).values()
    product = replace(whole, train=whole.train[:IMAGES], test=())
    rows = []
    for method in asked.methods:
        how = {"method": method, "calibration": "holdout", "min_sites": 1, "group_by": "none"}
        config = RunConfig(**{**base.model_dump(), "compare_local": False, **how})
        with tempfile.TemporaryDirectory() as folder:
            for cache in (SiteCache(Path(folder), 10.0), None):
                site = Site("site", {SET: product}, config, backbone, cache=cache)
                federation = Federation(config, rules=rule_of)
                for round in (1, 2):
                    wall, cpu = time.perf_counter(), time.process_time()
                    federate([site], rounds=1, evaluate=False, federation=federation)
                    if round == 1 and cache is None:
                        continue  # as with an empty cache
                    rows.append(
                        {
                            "method": method,
                            "round": round,
                            "features": "without a cache"
                            if cache is None
                            else ("extracted", "cached")[round - 1],
                            "CPU s": time.process_time() - cpu,
                            "wall s": time.perf_counter() - wall,
                        }
                    )
                    print(rows[-1], flush=True)
    load = os.getloadavg()[0]
    show(f"a round of {IMAGES} images at one site, load {load:.1f} at the end", rows)
    keep("training_time", {"rows": rows, "load": load, "cores": os.cpu_count()})


if __name__ == "__main__":
    main()
