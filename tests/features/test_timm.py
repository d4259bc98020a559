"""Networks of timm: maps of the stages against the whole network's own blocks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fedpatchcore.errors import ConfigError, WeightsError
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.backbones.weights import find_weights, import_weights
from tests.support.products import picture

timm = pytest.importorskip("timm", reason="pip install -e '.[test]'")


def network(name: str) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return timm.create_model(name, num_classes=7).eval()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(network("resnet10t").state_dict(), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_features_equal_hooks_on_the_whole_network(file: Path, settings) -> None:
    told = {"weights": str(file), "neighbourhood": 1, "layer_norm": "none"}
    backbone = build_backbone(settings(backbone="timm:resnet10t", layers="", **told))
    assert backbone.fingerprint.layers == ("layer2", "layer3")
    whole, seen = network("resnet10t"), {}
    for name in ("layer2", "layer3"):
        whole.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: out})
        )
    pixels = (np.asarray(picture(1), np.float32) / 255 - (0.485, 0.456, 0.406)) / (
        0.229,
        0.224,
        0.225,
    )
    with torch.no_grad():
        whole(torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32)))
    found = backbone.extract([picture(1)])[0]
    np.testing.assert_allclose(found[..., :128], seen["layer2"][0].permute(1, 2, 0), atol=1e-4)
    middle = seen["layer3"][0].permute(1, 2, 0)[0, 0]  # the corner is what it is drawn from
    np.testing.assert_allclose(found[0, 0, 128:], middle, atol=1e-4)


def test_tokens_of_a_transformer_at_another_size(tmp_path: Path, settings) -> None:
    save_file(network("test_vit").state_dict(), tmp_path / "vit.safetensors")
    told = {"backbone": "timm:test_vit", "weights": str(tmp_path / "vit.safetensors")}
    with pytest.raises(ConfigError, match=r"no customary layers: name some of blocks\.0"):
        build_backbone(settings(**told, layers=""))
    backbone = build_backbone(settings(**told, layers="blocks.5,blocks.2", image_size=96))
    assert backbone.extract([picture(0)]).shape == (1, 6, 6, 128)
    assert backbone.fingerprint.layers == ("blocks.5", "blocks.2")
    assert backbone.fingerprint.mean == (0.5, 0.5, 0.5)


def test_weights_from_the_folder_and_never_from_a_hub(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(WeightsError, match=r"no weights for 'timm:resnet10t'.*download-weights"):
        find_weights("timm:resnet10t")
    with pytest.raises(WeightsError, match="download of timm:resnet10t failed: no route"):
        find_weights("timm:resnet10t", download=True)
    imported = import_weights(file, "timm:resnet10t")
    assert imported.name == "timm-resnet10t.safetensors"
    assert find_weights("timm:resnet10t").path == imported


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"backbone": "timm:resnet10"}, r"'timm:resnet10' \(did you mean"),
        ({"backbone": "timm:hf-hub:some/thing"}, "timm has no network of this name"),
        ({"backbone": "timm:local-dir:/tmp"}, "timm has no network of this name"),
        ({"backbone": "timm:test_vit", "layers": "blocks.2", "geometry": "whole"}, "one size"),
        ({"layers": "features.4"}, "no layer 'features.4'; it has act1, layer1, layer2"),
    ],
)
def test_what_cannot_be_is_named(told: dict, words: str, file: Path, settings) -> None:
    base = {"backbone": "timm:resnet10t", "layers": "", "weights": str(file)}
    with pytest.raises(ConfigError, match=words):
        build_backbone(settings(**{**base, **told}))


def test_another_networks_file_is_refused(file: Path, settings, weights_file: Path) -> None:
    told = {"backbone": "timm:resnet10t", "layers": ""}
    with pytest.raises(WeightsError, match="does not fit timm:resnet10t: 'bn1.bias' is missing"):
        build_backbone(settings(**told, weights=str(weights_file)))


def test_without_the_package_the_way_out_is_said(
    file: Path, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"needs timm; what helps: pip install 'fedpatchcore\[t"):
        build_backbone(settings(backbone="timm:resnet10t", layers="", weights=str(file)))
