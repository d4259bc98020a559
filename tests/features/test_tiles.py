"""Large pictures tile by tile: every patch once, without a seam, cached piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.features.tally import Tally
from fedpatchcore.features.tiles import pieces_of
from fedpatchcore.features.tiling import Tiling


def texture(width: int, height: int, seed: int = 0) -> Image.Image:
    """The same everywhere, but for chance."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    waves = sum(gaussian_filter(noise, (s, s, 0)) * s for s in (1, 3))
    return Image.fromarray((128 + 40 * waves).clip(0, 255).astype(np.uint8))


def features(backbone: Backbone, image: Image.Image) -> np.ndarray:
    whole = None
    for piece in pieces_of(backbone, backbone.square(image), batch_size=3):
        if whole is None:
            whole = np.full((*piece.grid, backbone.dimension), np.nan, np.float32)
        assert np.isnan(whole[piece.place]).all()  # nobody else's
        whole[piece.place] = piece.features
    assert not np.isnan(whole).any() and piece.last
    return whole


@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.sampled_from([0, 32, 64]),
    st.sampled_from([15, 16]),
)
def test_the_tiles_patches_make_one_grid(width, height, overlap, cells) -> None:
    geometry = Geometry("tiles", 128, 16, overlap)
    tiling = Tiling(geometry, cells)
    field = geometry.field(width, height)
    assert tiling.step == 8 and tiling.grid(field) == (field[1] // 8, field[0] // 8)
    seen = np.zeros(tiling.grid(field), int)
    picture = np.arange(field[0] * field[1], dtype=np.uint32).reshape(field[1], field[0])
    pixels = np.stack([picture % 251, picture // 251 % 251, picture // 251**2], 2).astype(np.uint8)
    for cut in tiling.cuts(field):
        assert cut.y % 16 == cut.x % 16 == 0
        tile = tiling.tile(pixels, cut)
        assert tile.shape == (128, 128, 3)
        # a tile's patch is that of the picture at the same place: told by its first pixel
        grid = tile[:: tiling.step, :: tiling.step][:cells, :cells]
        piece = tiling.piece(0, cut, seen.shape, grid.astype(np.float32))
        seen[piece.place] += 1
        rows, columns = (np.arange(s.start, s.stop) for s in piece.place)
        rows, columns = (
            np.minimum(rows, cut.y // 8 + cells - 1),
            np.minimum(columns, cut.x // 8 + cells - 1),
        )
        assert np.array_equal(piece.features, pixels[np.ix_(8 * rows, 8 * columns)])
        for first, size, end in ((piece.top, rows, field[1]), (piece.left, columns, field[0])):
            margin = overlap // 16
            start = (cut.y if size is rows else cut.x) // 8
            assert first == 0 or first >= start + margin
            assert 8 * (first + len(size)) == end or first + len(size) <= start + 16 - margin
    assert (seen == 1).all()


@pytest.mark.parametrize("name", ["filterbank", "squeezenet1_1"])
def test_a_patch_is_the_same_whichever_tile_it_comes_from(settings, name: str) -> None:
    """Against one tile as large as the picture; without overlap tiles' rims show."""
    own = (
        {"layers": "", "weights": ""}
        if name == "filterbank"
        else {"layers": "features.4,features.7"}
    )
    picture, found = texture(300, 200), {}
    for size, overlap in ((320, 0), (128, 0), (128, 64)):
        config = settings(
            backbone=name, geometry="tiles", image_size=size, tile_overlap=overlap, **own
        )
        found[size, overlap] = features(build_backbone(config), picture)
    once = found[320, 0]
    inner = slice(0, -(48 * len(once) // 208))  # beyond the last pixels the large tile goes on
    found = {k: one[inner, inner] for k, one in found.items()}
    once = found[320, 0]
    usual = np.linalg.norm(once[1:] - once[:-1], axis=-1).mean()  # from one patch to the next
    off = {k: np.linalg.norm(found[128, k] - once, axis=-1) / usual for k in (0, 64)}
    assert off[64].mean() < 0.04 and np.quantile(off[64], 0.99) < 0.3
    assert off[0].mean() > 5 * off[64].mean()


def test_uneven_tiles_are_refused_by_name(settings) -> None:
    for wrong, told in (
        ({"image_size": 100}, "multiple of 16"),
        ({"image_size": 64, "tile_overlap": 64}, "more than half a tile"),
    ):
        with pytest.raises(ConfigError, match=told):
            build_backbone(settings(geometry="tiles", **wrong))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for at, size in enumerate([(150, 90), (70, 40), (96, 128)]):
        texture(*size, seed=at).save(tmp_path / f"{at}.png")
    (tmp_path / "1b.png").write_bytes(b"no picture")
    return sorted(tmp_path.glob("*.png"))


def test_pieces_come_in_order_and_out_of_the_cache(settings, files, tmp_path) -> None:
    backbone = build_backbone(settings(geometry="tiles", tile_overlap=32))
    cache = SiteCache(tmp_path / "cache", 1.0)

    def run() -> tuple[list, Tally, list]:
        tally, steps = Tally(), []
        tool = Extractor(backbone, cache=cache, max_bad_images=0.5)
        pieces = list(tool.pieces(files, tally, lambda *at: steps.append(at)))
        return pieces, tally, steps

    first, fresh, steps = run()
    assert [p.index for p in first] == sorted(p.index for p in first)
    assert {p.index for p in first} == {0, 1, 3} and steps[-1] == (4, 4)
    assert (fresh.extracted, fresh.cached, len(fresh.bad)) == (3, 0, 1)
    assert max(p.features.nbytes for p in first) <= 4 * 15**2 * backbone.dimension
    again, known, _ = run()
    assert (known.extracted, known.cached) == (0, 3)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.features, other.features)
        assert (one.index, one.place, one.grid) == (other.index, other.place, other.grid)
    whole = dict(Extractor(backbone, max_bad_images=0.5).stream(files, Tally()))
    for piece in first:
        np.testing.assert_allclose(whole[piece.index][piece.place], piece.features, atol=1e-6)


def test_a_piece_that_gave_way_is_made_again(settings, files, tmp_path, monkeypatch) -> None:
    backbone = build_backbone(settings(geometry="tiles", tile_overlap=32))
    tool = Extractor(backbone, cache=SiteCache(tmp_path / "cache", 1.0))
    first = list(tool.pieces(files[:1], Tally()))
    gets, real = [], tool.cache.get

    def forgetful(key: str):
        gets.append(key)
        return None if len(gets) == 4 else real(key)

    monkeypatch.setattr(tool.cache, "get", forgetful)
    again = list(tool.pieces(files[:1], Tally()))
    assert len(gets) == 4 < len(first)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one.features, other.features, atol=1e-6)
        assert one.place == other.place


def test_what_would_only_pass_the_cache_is_not_kept(settings, files, tmp_path, caplog) -> None:
    caplog.set_level("INFO", "fedpatchcore")
    backbone = build_backbone(settings(geometry="tiles", tile_overlap=32))
    tool = Extractor(backbone, cache=SiteCache(tmp_path / "cache", 1e-4))
    list(tool.pieces(files[:1], Tally()))
    assert "made anew each time" in caplog.text
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
