"""The network and the embedding of its maps as one graph, which an engine can take."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.features.patches import raised

__all__ = ["Graph", "exported"]

MOST = 4096  # images in a batch


class Graph(nn.Module):
    """Normalised images ``[B, H, W, 3]`` → patch features ``[B, h, w, D]``, as `embed` gives them.

    In other words than there: nothing is written in place, which no exporter takes.
    """

    def __init__(self, network: nn.Module, fingerprint: Fingerprint) -> None:
        super().__init__()
        self.network = network
        self.layers = fingerprint.layers
        self.neighbourhood = fingerprint.neighbourhood
        self.unit = fingerprint.layer_norm == "unit"
        self.aligned = fingerprint.geometry == "tiles"

    def forward(self, images: Tensor) -> Tensor:
        maps = self.network(images.permute(0, 3, 1, 2))
        maps = [maps[layer] for layer in self.layers]
        grid = max((m.shape[-2:] for m in maps), key=lambda hw: hw[0] * hw[1])
        parts = []
        for one in maps:
            if (side := self.neighbourhood) > 1:
                one = F.avg_pool2d(one, side, 1, side // 2, count_include_pad=not self.unit)
            if one.shape[-2:] != grid and self.aligned:
                one = raised(one, grid)
            elif one.shape[-2:] != grid:
                one = F.interpolate(one, size=tuple(grid), mode="bilinear", align_corners=False)
            parts.append(F.normalize(one, dim=1, eps=1e-12) if self.unit else one)
        return torch.cat(parts, dim=1).permute(0, 2, 3, 1)


def exported(graph: Graph, height: int, width: int) -> torch.export.ExportedProgram:
    """The graph for pictures of one size, in batches of any."""
    example = torch.zeros(2, height, width, 3)
    batch = torch.export.Dim("batch", min=1, max=MOST)
    with torch.no_grad():
        return torch.export.export(graph.eval(), (example,), dynamic_shapes=({0: batch},))
