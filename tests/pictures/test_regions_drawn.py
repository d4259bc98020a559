"""A picture and its verdict agree: what is called defective has a line around it, else nothing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from fedpatchcore.data.products import TestImage
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.detection.regions import find_regions
from fedpatchcore.detection.smoothing import anomaly_map, map_of
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.pictures.canvas import text_width
from fedpatchcore.pictures.cases import save_cases, save_prediction
from fedpatchcore.pictures.figures import OUTLINE, triple
from fedpatchcore.pictures.layout import CAPTION, arrange
from fedpatchcore.pictures.scale import Scale
from fedpatchcore.site.measuring import Scored
from tests.support.products import picture, write_product

CELLS = 28
FULL = Geometry("full", 224)
LINE = np.array(ImageColor.getrgb(OUTLINE))


def outlined(sheet: Image.Image | Path) -> int:
    """Pixels in the colour of the line."""
    pixels = np.asarray(Image.open(sheet) if isinstance(sheet, Path) else sheet)
    return int((pixels == LINE).all(-1).sum())


def spot(peak: float) -> np.ndarray:
    """Patches float32 ``[28, 28]`` of which one stands out."""
    patches = np.full((CELLS, CELLS), 0.2, np.float32)
    patches[9, 20] = peak
    return patches


def drawn(patches: np.ndarray, threshold: float, geometry: Geometry, size) -> Image.Image:
    score = float(patches.max())
    smoothed = geometry.restore(map_of(patches, geometry), *size)
    region = find_regions(patches, score, threshold, geometry, size)[1]
    look = {"score": score, "threshold": threshold, "scale": Scale.of(threshold)}
    return triple(Image.new("RGB", size, "grey"), smoothed, region=region, **look)


def test_a_patch_that_smoothing_hides_is_outlined_all_the_same() -> None:
    patches = spot(0.55)
    assert anomaly_map(patches[None], (224, 224)).max() < 0.5 < patches.max()
    assert outlined(drawn(patches, 0.5, FULL, (300, 200))) > 20
    assert outlined(drawn(patches, 0.56, FULL, (300, 200))) == 0


@given(
    peak=st.floats(0.3, 2.0),
    threshold=st.floats(0.25, 2.0),
    kind=st.sampled_from(["full", "crop"]),
    size=st.sampled_from([(8, 8), (300, 200), (1200, 40), (40, 1200), (3, 500), (2400, 1800)]),
)
@settings(max_examples=25, deadline=None)
def test_whatever_the_shape_of_a_picture(peak, threshold, kind, size) -> None:
    patches = spot(peak)
    sheet = drawn(patches, threshold, Geometry(kind, 224), size)
    assert bool(outlined(sheet)) == (float(patches.max()) > threshold)


def test_a_site_outlines_what_it_calls_defective(tmp_path: Path) -> None:
    """Good parts, so that no annotation is outlined beside."""
    peaks = (0.55, 0.45)
    images = []
    for at in range(len(peaks)):
        path = tmp_path / f"{at}.png"
        Image.new("RGB", (90, 60), "grey").save(path)
        images.append(TestImage(path, "good"))
    patches = np.stack([spot(peak) for peak in peaks])
    scored = Scored(tuple(images), patches.max((1, 2)).astype(float), patches, patches)
    look = {"threshold": 0.5, "geometry": FULL, "count": 2}
    save_cases(tmp_path / "out", "plant-a", "tile", scored, **look)
    alarm, fine = (tmp_path / "out" / f"tile-worst-{n}-good.png" for n in (1, 2))
    assert outlined(alarm) > 20
    assert outlined(fine) == 0


def test_every_verdict_and_its_picture_say_the_same(settings, backbone, tmp_path: Path) -> None:
    """Images around the threshold, and re-weighted scores, which are less than any patch's."""
    product = write_product(tmp_path / "plate", train=16)
    for reweight in (0, 3):
        config = settings(coreset_size=60, reweight=reweight)
        detector = PatchCore(config, backbone=backbone)
        detector.fit({"plate": product / "train" / "good"})
        images = [picture(seed, defect=seed % 3 == 0) for seed in range(900, 909)]
        limit = float(np.median([detector.predict(image).score for image in images]))
        verdicts = set()
        for at, image in enumerate(images):
            found = detector.predict(image, threshold=limit)
            assert found.defective == bool(found.regions) == found.mask.any()
            sheet = tmp_path / f"{at}.png"
            save_prediction(
                sheet,
                found.image,
                found.anomaly_map,
                found.score,
                limit,
                Scale.of(limit),
                region=found.mask,
            )
            assert bool(outlined(sheet)) == found.defective
            verdicts.add(found.defective)
            if at % 3 == 0:  # the bright square is at 24 to 40, 20 to 36
                worst = found.regions[0]
                assert 12 <= worst.x < 52 and 8 <= worst.y < 48
            none = detector.predict(image, threshold=float("nan"))
            assert none.defective is None and none.regions == () and not none.mask.any()
        assert verdicts == {True, False}


def test_words_are_whole_however_narrow_the_picture() -> None:
    """The words below the panels reach no further than the sheet, nor into one another."""
    captions = [
        ("picture",),
        ("anomaly score", "line: region above threshold", "hatched: not seen"),
        ("ground truth: nothing marked",),
    ]
    for size in [(40, 1200), (1200, 40), (300, 300), (3000, 1000), (3, 500), (8, 8), (1, 9000)]:
        layout = arrange(size, captions, lambda words: text_width(words, CAPTION))
        ends = []
        for (left, top), parts, told in zip(layout.corners, captions, layout.captions, strict=True):
            assert "  ·  ".join(told) == "  ·  ".join(parts)
            right = left + max(layout.panel[0], *(text_width(line, CAPTION) for line in told))
            ends.append((left, right, top))
            assert right <= layout.bar[0] and top + layout.panel[1] + 17 * len(told) < layout.height
        for (_, right, top), (left, _, below) in pairwise(ends):
            assert right <= left or below >= top + layout.panel[1] + 17
        assert layout.bar[0] + 18 < layout.width and min(layout.panel) >= 1


@pytest.mark.parametrize("size", [(300, 300), (40, 1200)])
def test_a_long_title_takes_a_line_of_its_own(size: tuple[int, int]) -> None:
    look = {"score": 0.6, "threshold": 0.4, "scale": Scale.of(0.4), "label": "crack " * 20}
    image, scores = Image.new("RGB", size), np.zeros(size[::-1], np.float32)
    short = triple(image, scores, **look)
    long = triple(image, scores, title="a plant with a long name " * 20, **look)
    assert long.height > short.height and long.width == short.width
    margin = np.asarray(long)[56:76, -16:]
    assert (margin == 255).all()  # nothing is written beyond the margin
