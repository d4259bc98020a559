"""A folder that grows between rounds: what do later rounds send, and does detection hold?

Magnetic tiles over five sites (images dealt at random). A growing share of each site's
training images is there from round to round. Beside it: the bank of one single round over all
images, which is what shipping everything anew would give.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from common import extractor, keep, products, scores, show, squeezenet

from fedpatchcore.data.partition import partition
from fedpatchcore.inprocess import federate
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.site import Site

NAME = "magnetic_tile"


def bytes_of(federation: Federation) -> int:
    """Bytes that all sites sent in the last round."""
    return sum(site["bytes"] for site in federation.history[-1]["train"].values())


def main() -> None:
    config = squeezenet(coreset_size=1000, global_bank_size=2500, holdout=0.0, compare_local=False)
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
            site.represented.key = lambda section, n=name: f"{'f' * 40}{tag}-{n}-{section}"
            opened.append(site)
        return opened

    rows = []
    once = federate(sites(1.0, "once"), evaluate=False)
    for shares in ((0.6, 0.7, 0.8, 0.9, 1.0), (0.5, 1.0)):
        federation, banks, sent = None, {}, []
        for share in shares:
            tag = f"grow-{len(shares)}"
            federation = federate(sites(share, tag), evaluate=False, federation=federation)
            name = f"round {len(banks) + 1}: {share:.0%} of the images"
            banks[name] = federation.bank.section(NAME).features
            sent.append(bytes_of(federation))
        banks["one round, all images"] = once.bank.section(NAME).features
        sent.append(bytes_of(once))
        found = scores(tool, whole[NAME].test, banks)
        for name, size in zip(banks, sent, strict=True):
            labels = np.array([t.anomalous for t in found[name].images])
            rows.append(
                {
                    "growth": " → ".join(f"{share:.0%}" for share in shares),
                    "bank": name,
                    "image AUROC": image_auroc(found[name].scores, labels),
                    "MB sent": size / 1e6,
                    "of round 1": f"{size / sent[0]:.0%}",
                }
            )
    show("a folder that grows between rounds", rows)
    keep("streaming", rows)


if __name__ == "__main__":
    main()
