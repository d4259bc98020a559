"""A synthetic inspection data set for demonstrations and tests: no download, no licence.

Several plants inspect up to three products (a machined washer, woven cloth, a circuit board).
Every plant has its own lamp and its own supplier of material (lot), and its training images show
only those. Every fifth test image, good or defective, shows the lamp and the material of another
plant that makes the same product: parts transferred between plants, a spare lamp, a second
supplier. A memory bank built from one plant's images therefore raises false alarms on conditions
that are normal elsewhere, and the union of all plants' banks covers them. The sample is designed
so, to demonstrate what federation is for; it is no evidence for any real production line.

Layout, MVTec-AD style for each plant and product::

    <root>/sample.json                                       parameters and completeness
    <root>/plant-a/washer/train/good/000.png                 256x256 RGB
    <root>/plant-a/washer/test/good/000.png
    <root>/plant-a/washer/test/scratch/000.png
    <root>/plant-a/washer/ground_truth/scratch/000_mask.png  256x256 L, 0 or 255
"""

from fedpatchcore.data.sample.camera import LAMPS, Condition, Lamp, render
from fedpatchcore.data.sample.folder import MAX_SITES, VERSION, write_sample
from fedpatchcore.data.sample.plan import SITES, products_of_site, site_names
from fedpatchcore.data.sample.scenes import DEFECTS, PRODUCTS

__all__ = [
    "DEFECTS",
    "LAMPS",
    "MAX_SITES",
    "PRODUCTS",
    "SITES",
    "VERSION",
    "Condition",
    "Lamp",
    "products_of_site",
    "render",
    "site_names",
    "write_sample",
]
