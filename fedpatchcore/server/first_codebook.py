"""The first codebook of a run, from images that are public by the operator's word."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedpatchcore.config import RunConfig
from fedpatchcore.data.content import content_hash
from fedpatchcore.data.images import list_images
from fedpatchcore.data.sample import write_sample
from fedpatchcore.errors import PrivacyError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.places import cache_home
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.spelling import mended, typed

__all__ = ["SAMPLE", "first_codebook", "sample_images"]

SAMPLE = "sample"
SAMPLE_SEED = 20_000_003  # other pictures than the demo's, which play the private ones there
SAMPLE_TRAIN = 8  # images a site and product


def first_codebook(
    config: RunConfig, *, say: Callable[[str], None] = lambda line: None
) -> tuple[Codebook, Fingerprint]:
    """The codebook that ``dp-codebook`` names, and whose features it cuts.

    ``sample`` is the built-in synthetic sample, a folder holds public images, and a
    ``.safetensors`` file is a codebook made earlier (`Codebook.save`). Making one takes the
    backbone and its weights; the result is kept in this machine's cache. The run's mechanism
    then makes of it what it needs.

    Raises:
        PrivacyError: no such folder or file, or too few patches.
        WeightsError: the backbone has no weights here.
    """
    book, fingerprint = _cells(config, say)
    if config.mechanism and config.sums:
        book = config.mechanism.load().prepared(book, config, seed=config.seed)
    return book, fingerprint


def _cells(config: RunConfig, say: Callable[[str], None]) -> tuple[Codebook, Fingerprint]:
    if config.dp_codebook.endswith(".safetensors"):
        return Codebook.load(Path(config.dp_codebook).expanduser())
    backbone = build_backbone(config)
    images = _public_images(config.dp_codebook)
    recipe = (
        backbone.fingerprint.digest,
        config.dp_cells,
        config.dp_projection,
        config.seed,
        [content_hash(p) for p in images],
        config.dp_codebook,
    )
    key = hashlib.sha256(repr(recipe).encode()).hexdigest()
    kept = cache_home() / "codebooks" / f"{key}.safetensors"
    if kept.is_file():
        return Codebook.load(kept)
    say(f"codebook: {config.dp_cells} cells from {len(images)} public images")
    book = public_codebook(
        _patches(images, backbone, config.batch_size),
        config.dp_cells,
        config.dp_projection,
        seed=config.seed,
        source=config.dp_codebook,
    )
    book.save(kept, backbone.fingerprint)
    return book, backbone.fingerprint


def sample_images() -> list[Path]:
    """Training images of a synthetic sample of its own, written on first use."""
    root = cache_home() / "public-sample"
    write_sample(root, seed=SAMPLE_SEED, train=SAMPLE_TRAIN, test_good=0, test_defective=0)
    return sorted(root.glob("*/*/train/good/*.png"))


def _public_images(source: str) -> list[Path]:
    if source == SAMPLE:
        return sample_images()
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise PrivacyError(
            mended(
                f"dp-codebook '{source}' is no folder of public images, nor a codebook file",
                typed("dp-codebook", "FOLDER"),
                typed("dp-codebook", "FILE"),
                typed("dp-codebook", SAMPLE),
            )
        )
    images = sorted(p for p in list_images(folder))
    if not images:
        raise PrivacyError(f"dp-codebook='{source}' holds no images")
    return images


def _patches(images: list[Path], backbone: Backbone, batch_size: int) -> np.ndarray:
    features, _, _ = Extractor(backbone, batch_size=batch_size).all(images)
    return features.rows
