"""A site uses no bank that its run cannot have made, and no codebook that is none."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED, Section
from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.errors import BankError, PrivacyError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.site import Site
from fedpatchcore.site.vetting import MOST_SITES, vet
from fedpatchcore.wire.codebooks import pack_codebooks, unpack_codebooks
from fedpatchcore.wire.packet import Packet
from tests.support.fingerprints import UNBOUNDED
from tests.support.products import write_product

WIDTH = UNBOUNDED.dimension
CONFIG = RunConfig(min_sites=2, global_bank_size=50)


def section(rows: int = 5, **more) -> Section:
    return Section(
        np.ones((rows, WIDTH), np.float32), np.zeros(rows, np.int32), 0.1, 0.2, {"a": 3}, **more
    )


def bank(**more) -> MemoryBank:
    return MemoryBank(UNBOUNDED, {"plate": section()}, ("a", "b"), **more)


def metric(columns: int) -> np.ndarray:
    return np.ones((WIDTH, columns), np.float32)


MANY = tuple(f"s{at}" for at in range(MOST_SITES + 1))
FOREIGN = {
    "neighbours": (
        lambda: bank(scoring={"neighbours": 10**9}),
        "scored with neighbours=1000000000",
    ),
    "votes": (lambda: bank(scoring={"votes": -3}), "votes=-3, this run's is 1"),
    "home": (lambda: bank(scoring={"home": 1}), "home=1"),
    "sites": (lambda: replace(bank(), sites=MANY), "lists 10,001 sites"),
    "a site twice": (lambda: replace(bank(), sites=("a", "a")), "2 sites, 1 of them different"),
    "too large": (lambda: replace(bank(), sections={"plate": section(51)}), "holds 51 rows"),
    "shared": (lambda: replace(bank(), sections={SHARED: section()}), "none of sections="),
    "fewer than none": (
        lambda: replace(bank(), sections={"plate": replace(section(), images={"a": -1})}),
        "fewer images or rows than none",
    ),
    "metric": (
        lambda: replace(bank(), sections={"plate": section(metric=metric(2))}),
        "has a metric, which method='patchcore' with dp='off' does not make",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_bank_that_the_run_does_not_make_is_refused_in_one_line(name: str) -> None:
    make, words = FOREIGN[name]
    vet(bank(), CONFIG)
    with pytest.raises(BankError, match=words) as found:
        vet(make(), CONFIG)
    assert "\n" not in str(found.value)


def test_a_metric_is_no_wider_than_the_run_makes_it() -> None:
    private = CONFIG.model_copy(update={"dp": "moments"})
    vet(replace(bank(), sections={"plate": section(metric=metric(WIDTH))}), private)
    wide = replace(bank(), sections={"plate": section(metric=metric(WIDTH + 1))})
    with pytest.raises(BankError, match="columns, at most"):
        vet(wide, private)


def test_a_site_that_is_sent_such_a_bank_computes_nothing(settings, backbone, tmp_path) -> None:
    write_product(tmp_path / "a" / "plate", train=2)
    site = Site("a", discover(tmp_path / "a"), settings(), backbone)
    part = Section(
        np.ones((1, site.backbone.fingerprint.dimension), np.float32), np.zeros(1, np.int32), 0.1
    )
    sent = MemoryBank(
        site.backbone.fingerprint, {"plate": part}, ("a",), scoring={"neighbours": 77}
    )
    for work in (site.train, partial(evaluate_site, site)):
        with pytest.raises(BankError, match="scored with neighbours=77"):
            work(sent)
    assert site.represented.known == {}


# -- codebooks ------------------------------------------------------------------------


def book(cells: int = 3) -> Codebook:
    basis = np.eye(4, 2, dtype=np.float32)
    points = np.arange(2 * cells, dtype=np.float32).reshape(cells, 2)
    return Codebook(np.zeros(4, np.float32), basis, points, np.ones(2, np.float32), 1.0)


def test_codebooks_of_many_names_are_no_more_than_came() -> None:
    packet = pack_codebooks({"plate": book(), "ring": book()})
    assert set(unpack_codebooks(packet)) == {"plate", "ring"}
    told = json.loads(packet.texts["codebooks"])
    for sections in (["plate"], ["plate"] * 10**5, "plate", [["plate"]]):
        texts = {"codebooks": json.dumps(told | {"sections": sections})}
        with pytest.raises(PrivacyError, match="cannot be read"):
            unpack_codebooks(Packet(packet.arrays, texts=texts))


def test_a_basis_of_more_columns_than_features_is_refused_before_it_is_squared() -> None:
    """A row of a million columns is 4 MB; columns × columns of them would be 8 TB."""
    columns = 10**6
    with pytest.raises(PrivacyError, match="do not fit each other"):
        Codebook(
            np.zeros(1, np.float32),
            np.ones((1, columns), np.float32),
            np.zeros((1, columns), np.float32),
            np.ones(columns, np.float32),
            1.0,
        )
