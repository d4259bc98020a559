"""A folder that grows between rounds: what does round 2 send, and does detection hold?

Magnetic tiles over five sites (tiles dealt at random). Half of each site's training images
are there in round 1, all in round 2. Beside it: what a site would send if it shipped a whole
new coreset, and the bank of a single round over all images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from common import extractor, keep, products, scores, show, squeezenet

from fedpatchcore.data.partition import partition
from fedpatchcore.inprocess import federate
from fedpatchcore.metrics import image_auroc
from fedpatchcore.site import Site

NAME = "magnetic_tile"


def main() -> None:
    config = squeezenet(coreset_size=1000, global_bank_size=2500, holdout=0.0, heatmaps=0)
    tool = extractor(config)
    whole = products(NAME)
    parts = partition(whole, "iid", sites=5, seed=0)

    def sites(share: float, tag: str) -> list[Site]:
        opened = []
        for name, own in parts.items():
            product = own[NAME]
            train = product.train[: round(share * len(product.train))]
            cut = {NAME: replace(product, train=train)}
            site = Site(name, cut, config, tool.backbone, cache=tool.cache)
            site._state_key = lambda section, n=name: f"{'f' * 40}{tag}-{n}-{section}"
            opened.append(site)
        return opened

    federation = federate(sites(0.5, "grow"), evaluate=False)
    banks = {"round 1, half the images": federation.bank.section(NAME).features}
    federate(sites(1.0, "grow"), evaluate=False, federation=federation)
    banks["round 2, all images"] = federation.bank.section(NAME).features
    once = federate(sites(1.0, "once"), evaluate=False)
    banks["one round, all images"] = once.bank.section(NAME).features
    sent = [
        sum(s["bytes"] for s in record["train"].values())
        for record in (*federation.history, *once.history)
    ]
    found = scores(tool, whole[NAME].test, banks)
    labels = np.array([t.anomalous for t in found["one round, all images"].images])
    rows = [
        {
            "bank": name,
            "image AUROC": image_auroc(found[name].scores, labels),
            "MB sent in this round": size / 1e6,
        }
        for (name, size) in zip(banks, sent, strict=True)
    ]
    show("a folder that grows between rounds", rows)
    keep("streaming", rows)


if __name__ == "__main__":
    main()
