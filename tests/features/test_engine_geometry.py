"""The graph that engines take, beside the embedding that torch computes, for every geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.engines.graph import Graph


@pytest.mark.parametrize("geometry", ["whole", "tiles", "full"])
@pytest.mark.parametrize("norm", ["unit", "none"])
def test_the_graph_is_the_embedding_whatever_the_geometry(geometry: str, norm: str, settings):
    told = {"geometry": geometry, "layer_norm": norm, "layers": "features.4,features.7"}
    told |= {"image_size": 64, "tile_overlap": 32}
    runner = build_backbone(settings(**told))._runners[0]
    images = np.random.default_rng(0).standard_normal((2, 64, 96, 3), np.float32)
    with torch.inference_mode():
        found = Graph(runner.network, runner._fingerprint)(torch.from_numpy(images)).numpy()
    expected = runner._in_float32(images)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))
