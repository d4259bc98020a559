"""Replies of sites that send sums, settings they refuse, and the metric of a private bank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.releases import Release
from fedpatchcore.privacy.round_noise import round_sigma
from fedpatchcore.wire.messages import SectionStats, TrainReply
from tests.support.fingerprints import FINGERPRINT

__all__ = ["METRIC", "WIDE", "refuses", "reply_of"]

WIDE = FINGERPRINT.dimension
METRIC = np.random.default_rng(2).normal(size=(WIDE, 4)).astype(np.float32)


def reply_of(
    config: RunConfig, book: Codebook, site: str, values: np.ndarray, **changed
) -> TrainReply:
    """A site's reply: sums over a codebook, with the noise that the settings ask for."""
    release = replace(
        Release(values, round_sigma(config, config.num_rounds), book.digest), **changed
    )
    return TrainReply(site, "sums", None, (SectionStats("plate"),), releases={"plate": release})


def refuses(config: RunConfig, overrides: dict, words: str) -> None:
    table = {k.replace("_", "-"): v for k, v in overrides.items()}
    with pytest.raises(ConfigError, match=words):
        RunConfig.parse(config.table() | table, where="test")
