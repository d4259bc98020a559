"""What does the tree of merges cost in detection? The exact merge against little memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from common import SHARED, extractor, keep, products, scores, show, squeezenet
from common import tile_groups as groups_of
from federation import manifest

from fedpatchcore.coreset.memory import least_memory
from fedpatchcore.data.partition import partition
from fedpatchcore.metrics.curves import image_auroc, paired_bootstrap
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.site import Site


def tiles() -> None:
    """Magnetic tiles over five sites by light: the exact merge against trees of little memory."""
    product, ship, banks, facts = "magnetic_tile", 1000, {}, {}
    base = squeezenet(coreset_size=ship, holdout=0.0, min_sites=3, compare_local=False)
    tool = extractor(base)
    whole = products(product)
    with tempfile.TemporaryDirectory() as folder:
        parts = partition(
            whole, "manifest", sites=5, manifest=manifest(Path(folder)), root=SHARED / "data"
        )
    sites = [Site(n, own, base, tool.backbone, cache=tool.cache) for n, own in parts.items()]
    replies = [site.train() for site in sites]
    for size in (250, 500, 1000):
        least = least_memory(size, 768) / 1e9
        kinds = {"exact": (0.0, 0), "exact, seed 1": (0.0, 1), "exact, seed 2": (0.0, 2)}
        kinds |= {"tree, 7 k rows": (least * 1.0001, 0)}
        if size < 1000:
            kinds |= {"tree, 12 k rows": (least * 12 / 7, 0)}
        for kind, (memory, seed) in kinds.items():
            update = {"global_bank_size": size, "server_memory_gb": memory, "seed": seed}
            federation = Federation(base.model_copy(update=update))
            for reply in replies:
                federation.accept(reply)
            banks[size, kind] = federation.merge(1).section(product).features
            facts[size, kind] = federation.story.record["sections"][product]
    found = scores(tool, whole[product].test, banks)
    rows = []
    for (size, kind), result in found.items():
        labels = np.array([t.anomalous for t in result.images])
        groups = groups_of(result.images)
        exact = found[size, "exact"].scores
        difference = paired_bootstrap(labels, result.scores, exact, groups)
        told = facts[size, kind]
        tree = told.get("tree", {"blocks": 1, "depth": 1, "factor": 2.0, "factor_worst": 2.0})
        rows.append(
            {
                "bank": size,
                "merge": kind,
                "blocks": tree["blocks"],
                "depth": tree["depth"],
                "radius": told["radius"],
                "radius proved": tree.get("radius_proved", told["radius"]),
                "factor": tree["factor"],
                "factor worst": tree["factor_worst"],
                "image AUROC": image_auroc(result.scores, labels),
                "minus exact": "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference),
            }
        )
    show("five sites by light, 5,000 rows offered", rows)
    keep("server_scale_tiles", rows)
