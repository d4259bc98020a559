"""Three products over five sites, and sites that meet a product they have never made.

`category` partition of magnetic tiles, impellers and cookies; a section per product. First: is
each product's bank the one that a federation of this product alone would make? Then: every
site is asked to judge all three products. Alone it has only its own products' bank; with the
federation it has everybody's.
"""

from __future__ import annotations

import numpy as np
from common import extractor, keep, products, scores, show, squeezenet

from fedpatchcore.data.partition import partition
from fedpatchcore.inprocess import federate
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.site.site import Site

NAMES = ("cookie", "impeller", "magnetic_tile")
SIZE = 2000


def main() -> None:
    config = squeezenet(
        coreset_size=1000, global_bank_size=SIZE, holdout=0.0, min_sites=1, heatmaps=0
    )
    tool = extractor(config)
    whole = products(*NAMES)
    parts = partition(whole, "category", sites=5, seed=0)
    sites = [Site(n, own, config, tool.backbone, cache=tool.cache) for n, own in parts.items()]
    for site in sites:
        print(site.name, {n: len(p.train) for n, p in site.products.items()}, flush=True)
    together = federate(sites, evaluate=False).bank

    rows, banks = [], {}
    for name in NAMES:
        makers = [
            Site(n, {name: own[name]}, config, tool.backbone, cache=tool.cache)
            for n, own in parts.items()
            if name in own
        ]
        alone = federate(makers, evaluate=False).bank
        banks[name] = together.section(name).features
        judged = {"together": banks[name], "alone": alone.section(name).features}
        found = scores(tool, whole[name].test, judged)
        labels = np.array([t.anomalous for t in found["alone"].images])
        rows.append(
            {
                "product": name,
                "sites": len(makers),
                "rows": len(banks[name]),
                "AUROC, three products together": image_auroc(found["together"].scores, labels),
                "AUROC, this product alone": image_auroc(found["alone"].scores, labels),
                "same bank to the bit": bool(np.array_equal(*judged.values())),
            }
        )
        show("three products over five sites", rows[-1:])

    met = []
    for name in NAMES:
        judged = {"federated": banks[name]}
        for site in sites:
            own = [site.own_rows(product) for product in site.products]
            judged[site.name] = np.concatenate(own)
        found = scores(tool, whole[name].test, judged)
        labels = np.array([t.anomalous for t in found["federated"].images])
        row = {"product judged": name}
        row["federated"] = image_auroc(found["federated"].scores, labels)
        for site in sites:
            made = " (makes it)" if name in site.products else ""
            value = image_auroc(found[site.name].scores, labels)
            row[f"{site.name} alone"] = f"{value:.3f}{made}"
        met.append(row)
        show("a product that most sites have never made", [row])
    keep("products", {"sections": rows, "unseen": met})


if __name__ == "__main__":
    main()
