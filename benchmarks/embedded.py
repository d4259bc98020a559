"""The embedded filter bank beside SqueezeNet with ImageNet weights and with random weights.

All training images of each product, whole frame, exact greedy bank of 2,000 rows, image AUROC on
all test images. SqueezeNet with unit layer norm; the filter bank with both.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from common import Clock, extractor, keep, patches, products, scores, show, squeezenet
from torchvision.models import squeezenet1_1

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.metrics.curves import image_auroc

NAMES = ("impeller", "cookie", "magnetic_tile")
SIZE = 2000


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        random_weights = Path(folder) / "random.pth"
        torch.save(squeezenet1_1(weights=None).state_dict(), random_weights)
        backbones = {
            "filterbank": {"backbone": "filterbank", "weights": ""},
            "squeezenet1_1, ImageNet": {},
            "squeezenet1_1, random seed 0": {"weights": str(random_weights)},
        }
        for label, settings in backbones.items():
            for norm in ("none", "unit") if label == "filterbank" else ("unit",):
                tool = extractor(squeezenet(layer_norm=norm, **settings))
                row = {"backbone": label, "layer norm": norm, "D": tool.backbone.dimension}
                for name, product in products(*NAMES).items():
                    with Clock() as clock:
                        x = patches(tool, product.train)
                    bank = x[greedy_k_center(x, SIZE).indices]
                    del x
                    found = scores(tool, product.test, {"bank": bank})["bank"]
                    labels = np.array([t.anomalous for t in found.images])
                    row[name] = image_auroc(found.scores, labels)
                    done = f"{row[name]:.4f} ({clock.seconds:.0f} s)"
                    print(label, norm, name, done, flush=True)
                rows.append(row)
    show("image AUROC, bank of 2,000 rows", rows)
    keep("embedded", rows)


if __name__ == "__main__":
    main()
