"""What does federating give? Magnetic tiles over five sites that differ in lighting.

Sites are acquisition groups (exposures 0+1, 2, 3, 4, 5+6), divided by a manifest; every bank has
2,500 rows; all 585 test images judge every bank; differences carry 95% intervals of a paired
bootstrap over tiles. ``--norm none`` repeats it without layer normalisation.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from common import SHARED, exposure, extractor, keep, patches, products, scores, show, squeezenet
from common import tile_groups as groups_of

from fedpatchcore.aggregation import AGGREGATIONS
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.data.partition import partition
from fedpatchcore.detection.smoothing import map_of
from fedpatchcore.metrics.curves import image_auroc, paired_bootstrap, pixel_auroc
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.measuring import truth_masks
from fedpatchcore.site.site import Site

SIZE, SHIP = 2500, 1000
SITE_OF = {0: "exp-0-1", 1: "exp-0-1", 2: "exp-2", 3: "exp-3", 4: "exp-4"}
SITE_OF |= {5: "exp-5-6", 6: "exp-5-6"}


def manifest(folder: Path) -> Path:
    """A manifest that divides the tiles by exposure and gives every site the whole test set."""
    path = folder / "sites.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "site", "group"])
        with (SHARED / "data" / "magnetic_tile.csv").open() as source:
            for row in csv.DictReader(source):
                name = Path(row["file"])
                site = SITE_OF[exposure(name)] if row["split"] == "train" else "*"
                table.writerow([row["file"], site, row["tile_group"]])
    return path


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--norm", choices=("unit", "none"), default="unit")
    norm = options.parse_args().norm
    base = squeezenet(
        layer_norm=norm, coreset_size=SHIP, global_bank_size=SIZE, holdout=0.0, min_sites=3
    )
    tool = extractor(base)
    whole = products("magnetic_tile")
    tests = whole["magnetic_tile"].test
    with tempfile.TemporaryDirectory() as folder:
        parts = partition(
            whole, "manifest", sites=5, manifest=manifest(Path(folder)), root=SHARED / "data"
        )
    sites = [Site(n, own, base, tool.backbone, cache=tool.cache) for n, own in parts.items()]
    replies = [site.train() for site in sites]
    banks: dict[str, np.ndarray] = {
        f"local {site.name}": site.own_rows("magnetic_tile") for site in sites
    }
    facts = {}
    for name in AGGREGATIONS:
        federation = Federation(base.model_copy(update={"aggregation": name}), say=print)
        for reply in replies:
            federation.accept(reply)
        section = federation.merge(1).section("magnetic_tile")
        banks[name] = section.features
        facts[name] = {"rows": len(section), "radius": section.radius, "flagged": section.flagged}
    everything = patches(tool, whole["magnetic_tile"].train)
    pooled = greedy_k_center(everything, SIZE)
    banks["pooled"] = everything[pooled.indices]
    del everything

    found = scores(tool, tests, banks)
    readable = found["pooled"].images
    labels = np.array([t.anomalous for t in readable])
    groups = groups_of(readable)
    masks = truth_masks(tool, readable, found["pooled"].grids)
    federated = found["federated_coreset"].scores
    rows = []
    for name, result in found.items():
        difference = (0.0, 0.0, 0.0)
        if name != "federated_coreset":
            difference = paired_bootstrap(labels, federated, result.scores, groups)
        rows.append(
            {
                "bank": name,
                "rows": len(banks[name]),
                "image AUROC": image_auroc(result.scores, labels),
                "pixel AUROC": pixel_auroc(
                    [map_of(one, tool.backbone.geometry) for one in result.patches], masks
                ),
                "federated_coreset minus this": "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference),
            }
        )
    show(f"five sites by light, layer norm {norm}, bank {SIZE}", rows)

    light = np.array([SITE_OF[exposure(t.path)] for t in readable])
    met = []
    for site in sites:
        own, other = light == site.name, light != site.name
        alone = found[f"local {site.name}"].scores
        met.append(
            {
                "site": site.name,
                "alone, own light": image_auroc(alone[own], labels[own]),
                "federated, own light": image_auroc(federated[own], labels[own]),
                "alone, lights never seen": image_auroc(alone[other], labels[other]),
                "federated, lights never seen": image_auroc(federated[other], labels[other]),
            }
        )
    show("lights a site has never seen", met)
    keep(f"federation_{norm}", {"banks": rows, "lights": met, "aggregations": facts})


if __name__ == "__main__":
    main()
