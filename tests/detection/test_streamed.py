"""Fitting within a memory budget: banks and scores by hand, and maps without a seam."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.coreset.memory import exact_memory, least_memory
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.detection.fitting import fit_bank
from fedpatchcore.detection.folds import fold_numbers
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.streamed import by_pieces, fold_rows
from fedpatchcore.detection.teaching import Teaching
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.tiles import pieces_of

ROWS = 20


def texture(width: int, height: int, seed: int) -> Image.Image:
    """The same everywhere, but for chance."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    waves = sum(gaussian_filter(noise, (s, s, 0)) * s for s in (1, 3))
    return Image.fromarray((128 + 40 * waves).clip(0, 255).astype(np.uint8))


@pytest.fixture
def tiled(settings: Callable[..., RunConfig]) -> RunConfig:
    return settings(
        geometry="tiles", tile_overlap=32, coreset_size=ROWS, global_bank_size=ROWS, folds=3
    )


def nearest(patches: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distances ``[n]`` in float64, all of them."""
    return cdist(patches.astype(float), rows.astype(float)).min(axis=1)


def test_rows_and_scores_are_those_that_a_hand_would_find(tiled: RunConfig) -> None:
    """Three folds of two pictures; a budget in which everything fits, then one in which not."""
    backbone = build_backbone(tiled)
    pictures = [texture(150 + 16 * (at % 2), 110, at) for at in range(6)]
    squares = [backbone.square(one) for one in pictures]

    def pieces():
        for at, one in enumerate(squares):
            yield from pieces_of(backbone, one, index=at)

    whole: dict[int, np.ndarray] = {}
    come: dict[int, list[np.ndarray]] = {}  # by fold, in the order in which they come
    for piece in pieces():
        come.setdefault(piece.index % 3, []).extend(piece.features.reshape(-1, backbone.dimension))
        grid = (*piece.grid, backbone.dimension)
        whole.setdefault(piece.index, np.empty(grid, np.float32))[piece.place] = piece.features
    flat = {at: one.reshape(-1, backbone.dimension) for at, one in whole.items()}
    count = sum(map(len, flat.values()))
    roomy = 3 * exact_memory(count, ROWS, backbone.dimension)
    tight = 3 * (least_memory(ROWS, backbone.dimension) + 30 * 4 * backbone.dimension)
    for budget in (roomy, tight):
        few = fold_rows(pieces(), lambda at: at % 3, 3, ROWS, budget, tiled, "cpu")
        assert all(rows.shape == (ROWS, backbone.dimension) for rows in few.rows.values())
        for fold, rows in few.rows.items():
            mine = np.stack(come[fold])
            assert nearest(mine, rows).max() <= few.radius * (1 + 1e-5)
            if budget == roomy:  # as many at once as there are: the greedy choice itself
                exact = {tuple(one) for one in mine[greedy_k_center(mine, ROWS).indices].tolist()}
                assert {tuple(one) for one in rows.tolist()} == exact
        bank, radius = few.bank()
        assert nearest(np.concatenate(list(flat.values())), bank).max() <= radius * (1 + 1e-5)
        banks = {fold: few.bank(fold)[0] for fold in few.rows}
        others = {tuple(one) for f in (1, 2) for one in few.rows[f].tolist()}
        assert {tuple(one) for one in banks[0].tolist()} <= others
        scorers = {fold: Scorer(rows) for fold, rows in banks.items()}
        found = dict(by_pieces(pieces(), lambda at, of=scorers: of[at % 3]))
        for at, scored in found.items():
            by_hand = nearest(flat[at], banks[at % 3])
            np.testing.assert_allclose(scored.patches[0].ravel(), by_hand, rtol=1e-4)
            assert scored.images[0] == pytest.approx(by_hand.max(), rel=1e-4)


def test_a_fit_goes_through_pictures_twice_and_keeps_to_its_folds(
    tiled: RunConfig, monkeypatch
) -> None:
    """The threshold's scores are out of fold: by rows of the other folds alone."""
    pictures = [np.asarray(texture(150, 110, at)) for at in range(6)]
    backbone = build_backbone(tiled)
    numbers = fold_numbers([f"{at:08d}" for at in range(6)], 3, seed=tiled.seed)
    folds = len(set(numbers.tolist()))
    budget = folds * (least_memory(ROWS, backbone.dimension) + 30 * 4 * backbone.dimension) / 1e9
    config = tiled.model_copy(update={"memory_budget": budget})
    steps: list[tuple[int, int]] = []
    how = {"progress": lambda *at: steps.append(at)}
    made = fit_bank(backbone, {"plate": pictures}, config, **how)
    assert steps[-1] == (12, 12) and len(steps) == 12
    learned, section = made.learned["plate"], made.bank.sections["plate"]
    assert learned.folds == folds and learned.threshold.images == 6
    flat = []
    for one in pictures:
        parts = pieces_of(backbone, backbone.square(Image.fromarray(one)))
        flat.append(np.concatenate([p.features.reshape(-1, backbone.dimension) for p in parts]))
    assert nearest(np.concatenate(flat), section.features).max() <= section.radius * (1 + 1e-5)
    scores = learned.scores.images
    for at, own in enumerate(flat):
        rest = np.concatenate([one for i, one in enumerate(flat) if numbers[i] != numbers[at]])
        # a row of another fold is a patch of another picture: none is nearer than those all are
        assert scores[at] >= nearest(own, rest).max() * (1 - 1e-5)
    again = fit_bank(backbone, {"plate": pictures}, config)
    assert again.bank.to_bytes() == made.bank.to_bytes()
    with pytest.raises(ConfigError, match="coreset='random' needs all patches at once"):
        fit_bank(backbone, {"p": pictures}, config.model_copy(update={"coreset": "random"}))


def test_a_map_shows_no_seam_and_a_mark_where_it_is(
    settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Across the places where tiles meet scores differ no more than elsewhere."""
    config = settings(
        backbone="filterbank",
        layers="",
        weights="",
        geometry="tiles",
        image_size=128,
        tile_overlap=64,
        coreset_size=200,
        global_bank_size=200,
        folds=2,
    )
    detector = PatchCore(config)
    detector.fit({"plate": [np.asarray(texture(400, 260, at)) for at in range(6)]})
    picture = np.array(texture(400, 260, 99))
    plain = detector.predict(Image.fromarray(picture))
    tiling = detector.backbone.tiling
    cuts = tiling.cuts(detector.backbone.geometry.field(400, 260))
    grid = tiling.grid(detector.backbone.geometry.field(400, 260))
    scores = np.asarray(plain.patches).reshape(grid)
    seams = sorted({cut.left for cut in cuts} - {0})
    assert len(seams) >= 3
    steps = np.abs(np.diff(scores, axis=1)).mean(0)  # between column c and c + 1
    at = np.zeros(len(steps), bool)
    at[[seam - 1 for seam in seams]] = True
    assert steps[at].mean() < 1.5 * steps[~at].mean()
    x = seams[0] * tiling.step
    picture[120:140, x - 10 : x + 10] = 255
    found = detector.predict(Image.fromarray(picture))
    assert found.score > plain.score
    best = max(found.regions, key=lambda region: region.peak)
    assert best.left <= x < best.right and best.top <= 130 < best.bottom


@pytest.mark.parametrize(("calibration", "streamed"), [("folds", True), ("holdout", False)])
def test_a_budget_counts_the_copy_that_folds_take(
    tiled: RunConfig, calibration: str, streamed: bool
) -> None:
    """Patches fit into it once, and out-of-fold they would stand there nearly twice."""
    pictures = [np.asarray(texture(150, 110, at)) for at in range(6)]
    backbone = build_backbone(tiled)
    parts = pieces_of(backbone, backbone.square(Image.fromarray(pictures[0])))
    patches = 6 * sum(p.features.reshape(-1, backbone.dimension).shape[0] for p in parts)
    budget = 1.1 * exact_memory(patches, ROWS, backbone.dimension) / 1e9
    config = tiled.model_copy(update={"memory_budget": budget, "calibration": calibration})
    made = []
    real = Teaching._learn_streamed

    def counted(self: Teaching, *args: object) -> None:
        made.append(args)
        real(self, *args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Teaching, "_learn_streamed", counted)
        fit_bank(backbone, {"plate": pictures}, config)
    assert bool(made) == streamed
