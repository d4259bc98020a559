"""Vision transformers against torchvision's and timm's, and positions against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import VisionTransformer

from fedpatchcore.errors import ConfigError, WeightsError
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.backbones import vit
from fedpatchcore.features.backbones.positions import spread
from tests.support.products import picture

SIZES = {"width": 32, "depth": 3, "heads": 2}
KINDS = {
    "vit_test": vit.Shape(16, **SIZES),
    "dinov2_test": vit.Shape(14, **SIZES, scaled=True, customary=("2",)),
    "dinov2_test_reg": vit.Shape(14, **SIZES, scaled=True, registers=4, customary=("2",)),
}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code at sizes that take no time."""
    for name, shape in KINDS.items():
        monkeypatch.setitem(vit.NETWORKS, name, shape)


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """All parameters drawn anew: at the start many are zero or one, which hides what they do."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for one in network.parameters():
            one.copy_(torch.randn(one.shape, generator=generator) * 0.3)
    return network.eval()


def pictures(side: int) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def torchvisions() -> VisionTransformer:
    return shaken(VisionTransformer(64, 16, 3, 2, 32, 128, num_classes=5))


def timms(registers: int = 0) -> torch.nn.Module:
    timm = pytest.importorskip("timm", reason="pip install -e '.[test]'")
    return shaken(
        timm.models.vision_transformer.VisionTransformer(
            img_size=70,
            patch_size=14,
            embed_dim=32,
            depth=3,
            num_heads=2,
            init_values=1e-5,
            num_classes=0,
            reg_tokens=registers,
            no_embed_class=registers > 0,
        )
    )


def officially(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv2's own files with registers have a position for the class token, timm's do not."""
    state = dict(state)
    state["register_tokens"] = state.pop("reg_token")
    first = torch.full((1, 1, 32), 0.25)
    state["cls_token"] = state["cls_token"] - first
    state["pos_embed"] = torch.cat([first, state["pos_embed"]], dim=1)
    return state


@torch.no_grad()
def test_every_block_equals_torchvisions() -> None:
    network, images = torchvisions(), pictures(64)
    seen = []
    for block in network.encoder.layers:
        block.register_forward_hook(lambda _, __, out: seen.append(out))
    network(images)
    ours = vit.build("vit_test", network.state_dict(), ("0", "2"), where="here")
    found = ours(images)
    assert tuple(found) == ("0", "2")
    for layer, one in found.items():
        tokens = network.encoder.ln(seen[int(layer)])[:, 1:]
        torch.testing.assert_close(one, tokens.transpose(1, 2).reshape(2, 32, 4, 4))


@torch.no_grad()
@pytest.mark.parametrize("registers", [0, 4])
def test_every_block_equals_timms_dinov2(registers: int) -> None:
    network, images = timms(registers), pictures(70)
    state = network.state_dict()
    name = "dinov2_test" + ("_reg" if registers else "")
    ours = vit.build(name, officially(state) if registers else state, ("2", "1"), where="here")
    found = ours(images)
    expected = network.get_intermediate_layers(images, n=[1, 2], reshape=True, norm=True)
    torch.testing.assert_close(found["1"], expected[0])
    torch.testing.assert_close(found["2"], expected[1])


def cubic(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -0.75 along the first axis, edges repeated."""
    a, low, out = -0.75, np.floor(at).astype(int), 0.0
    for step in range(-1, 3):
        x = np.abs(at - (low + step))
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * (x**3 - 5 * x**2 + 8 * x - 4)
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        out = out + weight[:, None, None] * values[np.clip(low + step, 0, len(values) - 1)]
    return out


@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("grid", [(7, 4), (3, 3), (5, 9)])
def test_positions_between_the_learnt_ones(grid: tuple[int, int], offset: float) -> None:
    side, learnt = 5, torch.randn(1, 26, 6, generator=torch.Generator().manual_seed(2))
    first, found = spread(learnt, grid, offset=offset)
    assert torch.equal(first, learnt[:, :1])
    expected = learnt[0, 1:].reshape(side, side, 6).double().numpy()
    for axis, size in enumerate(grid):
        at = (np.arange(size) + 0.5) * side / (size + offset) - 0.5
        expected = np.moveaxis(cubic(np.moveaxis(expected, axis, 0), at), 0, axis)
    np.testing.assert_allclose(found[0].numpy(), expected.reshape(-1, 6), atol=2e-5)
    same = spread(learnt, (5, 5), offset=offset)[1]
    assert torch.equal(same, learnt[:, 1:])


def test_from_a_file_to_features(tmp_path: Path, settings) -> None:
    """Another grid than the learnt one, unit vectors, the customary last block."""
    state = timms().state_dict()
    save_file(state, tmp_path / "small.safetensors")
    told = {"backbone": "dinov2_test", "weights": str(tmp_path / "small.safetensors")}
    backbone = build_backbone(settings(**told, layers="", image_size=98, neighbourhood=1))
    assert backbone.fingerprint.layers == ("2",) and backbone.widths == (32,)
    features = backbone.extract([picture(0)])
    assert features.shape == (1, 7, 7, 32)
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, atol=1e-5)
    torch.save({"model": 1}, tmp_path / "other.pth")
    chunks = {k.replace("blocks.", "blocks.0."): v for k, v in state.items()}
    torch.save(chunks, tmp_path / "chunks.pth")
    again = build_backbone(
        settings(**told | {"weights": str(tmp_path / "chunks.pth")}, layers="", image_size=98)
    )
    assert again.fingerprint.weights_sha256 == backbone.fingerprint.weights_sha256


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"image_size": 100}, r"14 pixels.*image-size 100; what helps: image-size=98 or .*=112"),
        ({"layers": "3"}, "no layer '3'; its blocks are 0 to 2"),
        ({"layers": "blocks.1"}, "no layer 'blocks.1'"),
        ({"backbone": "vit_test", "image_size": 64}, "no customary layers.*layers='1,2'"),
        ({"backbone": "dinov2_vits15"}, r"did you mean 'dinov2_vits14'\?"),
    ],
)
def test_what_cannot_be_is_named(told: dict, words: str, tmp_path: Path, settings) -> None:
    save_file(timms().state_dict(), tmp_path / "small.safetensors")
    base = {"backbone": "dinov2_test", "layers": "", "image_size": 98}
    base["weights"] = str(tmp_path / "small.safetensors")
    with pytest.raises(ConfigError, match=words):
        build_backbone(settings(**{**base, **told}))


def test_another_networks_file_is_refused() -> None:
    state = torchvisions().state_dict()
    with pytest.raises(WeightsError, match=r"'patch_embed.proj.weight' has shape|is missing"):
        vit.build("dinov2_test", state, ("2",), where="here")
    with pytest.raises(WeightsError, match="'pos_embed' is missing"):
        vit.build("vit_test", {"x": torch.zeros(2)}, ("2",), where="here")
    state["encoder.pos_embedding"] = state["encoder.pos_embedding"][:, :-3]
    with pytest.raises(WeightsError, match="'pos_embed' has shape"):
        vit.build("vit_test", state, ("2",), where="here")


def test_no_block_behind_the_last_layer_is_there() -> None:
    ours = vit.build("vit_test", torchvisions().state_dict(), ("0",), where="here")
    assert len(ours.blocks) == 1
