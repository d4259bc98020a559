"""Pictures: colours mean scores, and the cases chosen are the telling ones."""

from __future__ import annotations

import json
import math
from math import nan as NAN

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.data.products import TestImage
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.pictures import cases, figures
from fedpatchcore.pictures.cases import colour_scale, file_stem, pick, save_cases, save_prediction
from fedpatchcore.pictures.figures import colour, overlay, triple
from fedpatchcore.pictures.layout import MARGIN
from fedpatchcore.pictures.scale import Scale
from fedpatchcore.site.measuring import Scored

UNIT = Scale.around(0.0, 1.0)  # ends at 10

# -- colours ------------------------------------------------------------------------


def test_a_score_has_one_colour_whatever_map_it_is_in():
    quiet = np.array([[0.1, 0.2], [0.2, 0.5]])
    loud = np.array([[0.5, 0.9], [3.0, 0.2]])
    a, b = colour(quiet, UNIT), colour(loud, UNIT)
    assert a.dtype == np.uint8 and a.shape == (2, 2, 3)
    assert (a[1, 1] == b[0, 0]).all()
    assert (a[0, 1] == b[1, 1]).all()
    assert not (a[0, 0] == a[1, 1]).all()


def test_golden_colours_of_the_scale():
    painted = colour(np.array([[0.0, 1.0, 10.0, -3.0, 70.0, np.inf]]), UNIT)[0]
    assert painted[0].tolist() == [0, 0, 4]
    assert painted[2].tolist() == [252, 255, 164]
    assert (painted[3] == painted[0]).all()  # beyond the scale: the colour of its end
    assert (painted[4] == painted[2]).all() and (painted[5] == painted[2]).all()
    assert painted[1].tolist() == [147, 38, 103]


def test_brightness_rises_with_the_score():
    painted = colour(UNIT.at(np.linspace(0, 1, 64))[None], UNIT)[0].astype(float)
    luminance = painted @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()


def test_what_nobody_looked_at_is_hatched_grey():
    painted = colour(np.full((16, 16), NAN), UNIT)
    assert (painted[..., 0] == painted[..., 1]).all() and (painted[..., 1] == painted[..., 2]).all()
    assert len(np.unique(painted)) == 2


def test_overlay_leaves_normal_surface_visible():
    picture = Image.fromarray(np.tile(np.arange(0, 200, 2, dtype=np.uint8), (100, 1)))
    scores = np.zeros((100, 100))
    scores[:50] = 10.0
    mixed = overlay(picture, scores, UNIT).astype(int)
    assert np.ptp(mixed[60, :, 0]) > 150  # the picture shows through
    assert np.ptp(mixed[10, :, 0]) < 40  # the anomaly covers it
    with pytest.raises(ConfigError, match="map of"):
        overlay(picture, scores[:-1], UNIT)


# -- triples ------------------------------------------------------------------------


def _map(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.hypot(x - width / 2, y - height / 2).astype(np.float32) / max(width, height)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (40, 400), (900, 120), (3, 3)])
def test_triple_has_three_panels_only_if_the_truth_is_known(width, height):
    image = Image.new("RGB", (width, height), (90, 120, 90))
    scores, mask = _map(width, height), np.zeros((height, width), bool)
    mask[: height // 2 + 1, : width // 2 + 1] = True
    look = {"score": 0.6, "threshold": 0.4, "scale": Scale.of(0.4)}
    three = triple(image, scores, mask, label="crack", title="tile  ·  plant-a", **look)
    two = triple(image, scores, None, label="good", **look)
    assert three.mode == "RGB"
    if width > 4 * height:  # one panel below the other
        assert three.height > two.height and three.width == two.width
    else:
        assert three.height == two.height
        assert three.width > two.width or three.width == 560


def test_triple_shows_the_verdict_and_survives_odd_input():
    image = Image.new("RGB", (50, 40), "white")
    look = {"scale": UNIT}
    alarm = triple(image, _map(50, 40), score=0.9, threshold=0.5, **look)
    fine = triple(image, _map(50, 40), score=0.4, threshold=0.5, **look)
    spot = (MARGIN + 4, 28)
    assert alarm.getpixel(spot) == (0xB4, 0x23, 0x18)
    assert fine.getpixel(spot) == (0x1A, 0x7F, 0x4B)
    # No score, no threshold, nothing seen, glyphs the font lacks, and mathematics in a name.
    triple(
        image,
        np.full((40, 50), NAN),
        np.zeros((40, 50), bool),
        score=NAN,
        threshold=NAN,
        label="磁 $x_",
        title="a\n$b$ \\frac{1}{0} 𝕏",
        **look,
    )


def test_mask_and_map_must_fit_the_picture():
    image = Image.new("RGB", (50, 40))
    look = {"score": 1.0, "threshold": 0.5, "scale": UNIT}
    with pytest.raises(ConfigError, match="mask of"):
        triple(image, _map(50, 40), np.zeros((50, 40), bool), **look)
    with pytest.raises(ConfigError, match="map of"):
        triple(image, _map(40, 50), **look)
    with pytest.raises(ConfigError, match="region of"):
        triple(image, _map(50, 40), region=np.zeros((50, 40), bool), **look)


def test_the_smallest_defect_survives_shrinking():
    mask = np.zeros((4000, 3000), bool)
    mask[1234, 567] = True
    assert figures._resize_mask(mask, 285, 380).max() > 0.5


def test_a_part_not_seen_does_not_bleed_into_the_rest():
    scores = np.full((300, 300), 5.0, dtype=np.float32)
    scores[:, :100] = NAN
    small = figures._resize_map(scores, 30, 30)
    assert np.isnan(small[:, :9]).all()
    assert small[:, 12:] == pytest.approx(5.0)


# -- choosing -----------------------------------------------------------------------


def _scored(entries: list[tuple[str, float]], tmp_path=None) -> Scored:
    rng = np.random.default_rng(0)
    images = []
    for at, (label, _) in enumerate(entries):
        masks = ()
        path = f"{at:02d}.png"
        if tmp_path is not None:
            path = tmp_path / path
            Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(path)
            if label != "good":
                spot = np.zeros((60, 90), np.uint8)
                spot[10:30, 20:50] = 255
                masks = (tmp_path / f"{at:02d}_mask.png",)
                Image.fromarray(spot).save(masks[0])
        images.append(TestImage(path, label, masks))
    scores = np.array([s for _, s in entries], dtype=np.float64)
    patches = np.stack([np.linspace(0.1, s, 16).reshape(4, 4) for s in scores]) if entries else None
    return Scored(tuple(images), scores, patches.astype(np.float32), np.zeros((len(entries), 4, 4)))


HAND = [
    ("good", 0.10),  # 0
    ("good", 0.20),  # 1 the typical good one
    ("good", 0.30),  # 2
    ("good", 0.85),  # 3 false alarm by 0.35
    ("crack", 0.95),  # 4 clearest
    ("crack", 0.90),  # 5
    ("crack", 0.70),  # 6 the typical defect
    ("crack", 0.60),  # 7
    ("crack", 0.05),  # 8 missed by 0.45
]


def test_pick_by_hand():
    assert pick(_scored(HAND), 0.5, 1) == [(4, "best"), (8, "worst"), (6, "median")]
    assert pick(_scored(HAND), 0.5, 2) == [
        (4, "best"),
        (5, "best"),
        (8, "worst"),
        (3, "worst"),
        (6, "median"),
        (1, "median"),
    ]


def test_pick_is_distinct_whatever_the_count():
    for count in (0, 1, 3, 50):
        chosen = pick(_scored(HAND), 0.5, count)
        assert len({index for index, _ in chosen}) == len(chosen) <= len(HAND)
    assert pick(_scored(HAND), 0.5, 0) == []


def test_pick_never_calls_a_missed_defect_a_detection():
    chosen = pick(_scored(HAND), 0.92, 3)
    assert [i for i, kind in chosen if kind == "best"] == [4]


def test_pick_without_threshold_or_without_a_class():
    assert ("best" in {k for _, k in pick(_scored(HAND), NAN, 1)}) is True
    goods = [e for e in HAND if e[0] == "good"]
    assert pick(_scored(goods), 0.5, 1) == [(3, "worst"), (1, "median")]
    defects = [e for e in HAND if e[0] != "good"]
    assert [k for _, k in pick(_scored(defects), NAN, 1)] == ["best", "worst", "median"]


def test_the_scale_of_a_product_bends_at_its_threshold():
    scored = _scored(HAND)
    scale = colour_scale(scored, 0.5)
    assert scale.low == pytest.approx(np.median(scored.patches[:4]))
    assert scale.bend == pytest.approx(0.5) and scale.high == pytest.approx(5.0)
    for threshold in (NAN, -1.0):
        assert math.isfinite(colour_scale(scored, threshold).high)


def test_the_scale_of_flat_scores_still_has_extent():
    flat = Scored((TestImage("a", "good"),), np.zeros(1), np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))
    scale = colour_scale(flat, 0.0)
    assert scale.low < scale.bend < scale.high


# -- files --------------------------------------------------------------------------


def test_save_cases_writes_pictures_and_lists_them(tmp_path):
    scored = _scored(HAND, tmp_path)
    out = tmp_path / "out"
    look = {"geometry": Geometry("crop", 56), "count": 1}
    save_cases(out, "plant-a", "tile", scored, threshold=0.5, **look)
    save_cases(out, "plant-a", "a/b:*?", scored, threshold=NAN, **look)
    entries = json.loads((out / "cases.json").read_text())
    assert [e["file"] for e in entries[:3]] == [
        "tile-best-1-crack.png",
        "tile-worst-1-crack.png",
        "tile-median-1-crack.png",
    ]
    assert entries[0] == {
        "site": "plant-a",
        "product": "tile",
        "kind": "best",
        "label": "crack",
        "score": 0.95,
        "threshold": 0.5,
        "file": "tile-best-1-crack.png",
        "image": "04.png",
    }
    assert entries[3]["threshold"] is None
    for entry in entries:
        with Image.open(out / entry["file"]) as picture:
            assert picture.format == "PNG" and picture.width > 500


def test_a_later_round_replaces_its_own_pictures_only(tmp_path):
    scored = _scored(HAND, tmp_path)
    out = tmp_path / "out"
    geometry = Geometry("full", 56)
    save_cases(out, "p", "tile", scored, threshold=0.5, geometry=geometry, count=1)
    save_cases(out, "p", "nut", scored, threshold=0.5, geometry=geometry, count=1)
    save_cases(out, "p", "tile", scored, threshold=2.0, geometry=geometry, count=1)
    entries = json.loads((out / "cases.json").read_text())
    kinds = [(e["product"], e["kind"]) for e in entries]
    assert kinds == [("nut", k) for k in cases.KINDS] + [("tile", "worst"), ("tile", "median")]
    assert {p.name for p in out.glob("*.png")} == {e["file"] for e in entries}


def test_an_image_that_is_gone_is_left_out_and_a_damaged_listing_replaced(tmp_path):
    scored = _scored(HAND, tmp_path)
    (tmp_path / "04.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    out.mkdir()
    (out / "cases.json").write_text("{ damaged")
    save_cases(out, "p", "t", scored, threshold=0.5, geometry=Geometry("full", 56), count=1)
    entries = json.loads((out / "cases.json").read_text())
    assert [e["kind"] for e in entries] == ["worst", "median"]


def test_a_listing_never_names_a_file_elsewhere(tmp_path):
    listing = tmp_path / "cases.json"
    names = ["../secret.png", "/etc/passwd", "", "..", 7, "a/b.png", "fine.png"]
    listing.write_text(json.dumps([{"file": name} for name in names] + ["text"]))
    assert [e["file"] for e in cases.read_cases(listing)] == ["fine.png"]


def test_file_stems_are_harmless_and_distinct():
    assert file_stem("magnetic_tile") == "magnetic_tile"
    names = ["a/b", "a b", "a:b", "../a", "..", "", "磁", "x" * 300, "x" * 301, "CON?", ".hidden"]
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    for stem in stems:
        assert stem and not set(stem) & set('/\\:*?"<>|\0 ') and not stem.startswith(".")
        assert len(stem) < 60


def test_save_prediction(tmp_path):
    path = tmp_path / "new" / "one.png"
    save_prediction(
        path, Image.new("RGB", (80, 50)), _map(80, 50), 0.7, 0.5, Scale.of(0.5), title="one.png"
    )
    with Image.open(path) as picture:
        assert picture.format == "PNG"
