"""Features against an independent computation; fingerprints; weights and their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from fedpatchcore.errors import ConfigError, FingerprintError, WeightsError
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.backbones.torchvision_cnn import cut
from fedpatchcore.features.backbones.weights import (
    find_weights,
    import_weights,
    read_state,
    state_sha256,
)
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.features.patches import embed
from tests.support.networks import random_squeezenet
from tests.support.products import picture


@pytest.mark.parametrize("norm", ["unit", "none"])
def test_features_equal_a_plain_forward_pass(norm: str, settings, weights_file: Path) -> None:
    """Hooks on the whole network, numpy for the rest: no code shared with the product."""
    config = settings(layers="features.4,features.7", layer_norm=norm, image_size=96)
    image = picture(1, size=96)
    found = build_backbone(config).extract([image])[0]

    network = squeezenet1_1(weights=None).eval()
    network.load_state_dict(torch.load(weights_file, weights_only=True))
    seen = {}
    for name in ("4", "7"):
        network.features.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: out.detach().clone()})
        )
    pixels = (np.asarray(image, np.float32) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    with torch.no_grad():
        network(torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32)))
    maps = [seen[name][0].numpy() for name in ("4", "7")]
    parts = []
    for one in maps:
        height, width = one.shape[1:]
        mean = np.empty_like(one)
        for y in range(height):
            for x in range(width):
                window = one[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                mean[:, y, x] = window.sum((1, 2)) / 9 if norm == "none" else window.mean((1, 2))
        if (height, width) != maps[0].shape[1:]:
            mean = bilinear(mean, maps[0].shape[1:])
        parts.append(mean if norm == "none" else mean / np.linalg.norm(mean, axis=0))
    expected = np.concatenate(parts).transpose(1, 2, 0)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def bilinear(x: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Half-pixel-centred bilinear resize of ``[C, h, w]``."""
    out = x
    for axis, size in ((1, grid[0]), (2, grid[1])):
        n = out.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, n - 1)
        w = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        out = np.take(out, low, axis) * (1 - w) + np.take(out, high, axis) * w
    return out


def test_nothing_deeper_than_the_last_layer_is_computed(weights_file: Path) -> None:
    network = squeezenet1_1(weights=None)
    short = cut(network, "squeezenet1_1", ["features.4"])
    names = {name for name, _ in short.named_modules()}
    assert any(n.startswith("features.4") for n in names)
    assert not any(n.startswith(("features.5", "features.12", "classifier")) for n in names)


def test_a_batch_equals_its_images(backbone) -> None:
    images = [picture(s) for s in range(5)]
    together = backbone.extract(images)
    for image, one in zip(images, together, strict=True):
        np.testing.assert_allclose(backbone.extract([image])[0], one, atol=1e-5)


def test_unit_norm_layers_have_norm_one() -> None:
    maps = [torch.rand(2, 5, 8, 8) * 9, torch.rand(2, 3, 4, 4)]
    out = embed(maps, layer_norm="unit")
    assert out.shape == (2, 8, 8, 8)
    torch.testing.assert_close(out[..., :5].norm(dim=-1), torch.ones(2, 8, 8))
    torch.testing.assert_close(out[..., 5:].norm(dim=-1), torch.ones(2, 8, 8))


@pytest.mark.parametrize("norm", ["unit", "none"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_maps_stay_so_until_the_embedding(norm, dtype, monkeypatch) -> None:
    """What is averaged and resized; and the result is float32 within the rounding of two steps."""
    maps = [(torch.rand(2, 6, 9, 9) * 40).to(dtype), (torch.rand(2, 4, 5, 5) * 9).to(dtype)]
    maps[1][0] = 0  # a vector of length 0 stays one
    expected = embed([m.float() for m in maps], layer_norm=norm)
    seen = []
    functional = torch.nn.functional
    for name, whole in (
        ("avg_pool2d", functional.avg_pool2d),
        ("interpolate", functional.interpolate),
    ):

        def noted(x, *args, whole=whole, **how):
            seen.append(x.dtype)
            return whole(x, *args, **how)

        monkeypatch.setattr(functional, name, noted)
    found = embed(maps, layer_norm=norm)
    assert seen == [torch.float16 if dtype == torch.float16 else torch.float32] * 3
    assert found.dtype == torch.float32
    if dtype == torch.float16:
        torch.testing.assert_close(found, expected, rtol=2 * 2.0**-10, atol=1e-6)
    else:
        assert torch.equal(found, expected)
    assert (found[0, :, :, 6:] == 0).all()


def test_precisions_have_fingerprints_of_their_own(settings) -> None:
    prints = [
        build_backbone(settings(precision=p)).fingerprint
        for p in ("float32", "bfloat16", "float16")
    ]
    assert [p.recipe for p in prints] == [1, 1, 2]
    assert len({p.digest for p in prints}) == 3


def test_in_place_relu_does_not_overwrite_a_layer(tmp_path: Path, settings) -> None:
    """The convolution before an in-place ReLU must keep its negative values."""
    config = settings(layers="features.0", layer_norm="none", neighbourhood=1)
    assert build_backbone(config).extract([picture(0)]).min() < 0


@pytest.mark.parametrize("size", [(300, 300), (80, 200), (200, 80), (64, 64)])
def test_geometry_goes_there_and_back(size: tuple[int, int]) -> None:
    width, height = size
    gradient = np.tile(np.linspace(0, 250, width), (height, 1)).astype(np.uint8)
    image = Image.fromarray(gradient).convert("RGB")
    for kind in ("full", "crop"):
        geometry = Geometry(kind, 64)
        square = np.asarray(geometry.image(image), np.float32)[..., 0]
        assert square.shape == (64, 64)
        back = geometry.restore(square, width, height)
        assert back.shape == (height, width)
        seen = np.isfinite(back)
        assert seen.all() == (kind == "full")
        inner = seen.copy()
        inner[:, :8] = inner[:, -8:] = False
        assert np.abs(back - gradient)[inner].max() < 12


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 3), (8, 8), (300, 200), (77, 613)])
@pytest.mark.parametrize("kind", ["full", "crop"])
def test_what_the_square_shows_is_a_box_of_pixels_with_the_values_of_the_map(kind, size) -> None:
    geometry = Geometry(kind, 56)
    back = geometry.restore(np.full((56, 56), 3.0, np.float32), *size)
    left, top, right, bottom = geometry.seen(*size)
    assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    assert np.isfinite(back).sum() == (right - left) * (bottom - top)
    np.testing.assert_array_equal(back[top:bottom, left:right], 3.0)  # no blend with the unseen
    if kind == "full":
        assert (left, top, right, bottom) == (0, 0, *size)


def test_full_geometry_keeps_a_defect_at_the_rim_and_crop_does_not() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[:4, :4] = True
    assert Geometry("full", 224).mask(mask).any()
    assert not Geometry("crop", 224).mask(mask).any()
    assert Geometry("crop", 224).image(Image.new("RGB", (500, 300))).size == (224, 224)


def test_a_backbone_tells_where_its_layers_end(settings) -> None:
    config = settings(layer_norm="unit", neighbourhood=1)
    one = build_backbone(config)
    features = one.extract([picture(0)])[0]
    parts = np.split(features, np.cumsum(one.widths)[:-1], axis=-1)
    assert len(parts) == len(one.fingerprint.layers) and sum(one.widths) == one.dimension
    for part in parts:
        np.testing.assert_allclose(np.linalg.norm(part, axis=-1), 1, atol=1e-5)


def test_auto_layer_norm_is_unit_for_networks_and_none_for_the_filter_bank(settings) -> None:
    assert build_backbone(settings()).fingerprint.layer_norm == "unit"
    embedded = build_backbone(settings(backbone="filterbank", layers="", weights=""))
    assert embedded.fingerprint.layer_norm == "none"
    assert embedded.source == "embedded"


def test_the_filter_bank_answers_to_its_own_name_alone(settings) -> None:
    with pytest.raises(ConfigError, match="unknown backbone 'filterbank/x'"):
        build_backbone(settings(backbone="filterbank/x", layers="", weights=""))


# -- fingerprints ---------------------------------------------------------------------


def test_fingerprint_names_each_difference(settings, backbone) -> None:
    other = build_backbone(settings(neighbourhood=1, layer_norm="none"))
    with pytest.raises(FingerprintError, match=r"site 'a'.*neighbourhood: 3 ≠ 1; layer_norm"):
        backbone.fingerprint.require(other.fingerprint, ours="the bank", theirs="site 'a'")
    again = Fingerprint.from_json(backbone.fingerprint.to_json())
    assert again == backbone.fingerprint
    assert again.digest == backbone.fingerprint.digest
    with pytest.raises(FingerprintError, match="not a fingerprint"):
        Fingerprint.from_json("{}")


def test_other_weights_give_another_fingerprint(settings, backbone, tmp_path: Path) -> None:
    other = build_backbone(settings(weights=str(random_squeezenet(tmp_path / "other.pth", 8))))
    assert backbone.fingerprint.differences(other.fingerprint)[0].startswith("weights_sha256")


def test_same_tensors_in_another_format_give_the_same_fingerprint(
    settings, backbone, weights_file: Path, tmp_path: Path
) -> None:
    save_file(read_state(weights_file), tmp_path / "same.safetensors")
    other = build_backbone(settings(weights=str(tmp_path / "same.safetensors")))
    assert other.fingerprint == backbone.fingerprint
    np.testing.assert_array_equal(other.extract([picture(0)]), backbone.extract([picture(0)]))


# -- weights --------------------------------------------------------------------------


def test_places_are_searched_in_order(
    weights_file: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match=r"no weights for 'squeezenet1_1'.*filterbank"):
        find_weights("squeezenet1_1")
    hub = private_home / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    hub.parent.mkdir(parents=True)
    hub.write_bytes(weights_file.read_bytes())
    assert find_weights("squeezenet1_1").path == hub
    imported = import_weights(weights_file, "squeezenet1_1")
    assert find_weights("squeezenet1_1").path == imported
    monkeypatch.setenv("FEDPATCHCORE_WEIGHTS", str(weights_file))
    assert find_weights("squeezenet1_1").source == "environment FEDPATCHCORE_WEIGHTS"
    assert find_weights("squeezenet1_1", str(hub)).source == "explicit path"


def test_an_explicit_path_is_never_replaced(private_home: Path, weights_file: Path) -> None:
    import_weights(weights_file, "squeezenet1_1")
    with pytest.raises(WeightsError, match="nowhere.pth does not exist"):
        find_weights("squeezenet1_1", "nowhere.pth")


def test_download_is_opt_in_and_its_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import WeightsEnum

    def unreachable(self, *args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)
    with pytest.raises(WeightsError, match="no weights for"):
        find_weights("squeezenet1_1")
    with pytest.raises(WeightsError, match="download of squeezenet1_1 IMAGENET1K_V1 failed: no r"):
        find_weights("squeezenet1_1", download=True)


@pytest.mark.parametrize("name", ["IMAGENET1K_V9", "typo"])
def test_an_unknown_entry_is_named(name: str) -> None:
    with pytest.raises(WeightsError, match=rf"'{name}'.*IMAGENET1K_V1"):
        find_weights("squeezenet1_1", name)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: s.pop("features.3.squeeze.weight"), "'features.3.squeeze.weight' is missing"),
        (lambda s: s.update({"conv9.weight": torch.zeros(1)}), "'conv9.weight' is not part of it"),
        (lambda s: s.update({"features.0.bias": torch.zeros(3)}), r"features.0.bias' has shape"),
        (lambda s: s["features.0.bias"].fill_(torch.nan), "non-finite"),
    ],
)
def test_weights_of_another_network_are_refused(
    spoil, words: str, weights_file: Path, settings, tmp_path: Path
) -> None:
    state = read_state(weights_file)
    spoil(state)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=words):
        build_backbone(settings(weights=str(tmp_path / "bad.pth")))


def test_code_in_a_weights_file_does_not_run(tmp_path: Path, settings) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"w": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="plain state dict|damaged"):
        build_backbone(settings(weights=str(tmp_path / "evil.pth")))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_weights_file_cut_short_is_named(suffix: str, weights_file: Path, tmp_path: Path) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pth":
        whole = weights_file
    else:
        save_file(read_state(weights_file), whole)
    short = tmp_path / f"short{suffix}"
    short.write_bytes(whole.read_bytes()[:10_000])
    with pytest.raises(WeightsError, match=f"short{suffix} is"):
        read_state(short)


def test_sha_ignores_order_and_half_precision_container() -> None:
    state = {"a": torch.rand(3).half(), "b": torch.rand(2, 2)}
    assert state_sha256(state) == state_sha256({"b": state["b"], "a": state["a"].float()})
    assert state_sha256(state) != state_sha256({"a": state["a"], "b": state["b"] + 1})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"backbone": "resnet999"}, "unknown backbone 'resnet999'"),
        ({"layers": "features.99"}, "no layer 'features.99'; it has features"),
        ({"backbone": "alexnet", "layers": ""}, "no customary layers.*layers='LAYER,LAYER'"),
        ({"device": "cuda"}, "sees no GPU"),
    ],
)
def test_bad_settings_are_named(overrides: dict, words: str, settings) -> None:
    if overrides.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises((ConfigError, WeightsError), match=words):
        build_backbone(settings(**overrides))


def test_weights_of_a_backbone_that_needs_none_are_told(
    settings, weights_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = build_backbone(settings(backbone="filterbank", layers="", weights=""))
    assert not caplog.messages
    given = build_backbone(settings(backbone="filterbank", layers="", weights=str(weights_file)))
    assert given.fingerprint == plain.fingerprint
    assert caplog.messages == [f"filterbank needs no weights: {weights_file} is not used"]
    with pytest.raises(WeightsError, match=r"nowhere\.pth does not exist, and filterbank needs"):
        build_backbone(settings(backbone="filterbank", layers="", weights="nowhere.pth"))
