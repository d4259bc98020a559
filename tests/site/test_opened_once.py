"""Faults, groups, contents and features of an image come from opening its file once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig
from fedpatchcore.data.check.looks import Looks
from fedpatchcore.data.check.running import check_products
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.inprocess import federate
from fedpatchcore.site.setup import open_site
from tests.support.opened import count_opens
from tests.support.products import write_product


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "images" / "plate", train=9)


def images(product: Path, *folders: str) -> set[Path]:
    return {path for folder in folders for path in (product / folder).rglob("*.png")}


def test_a_sites_first_round_opens_each_image_once(
    settings, product: Path, tmp_path: Path, monkeypatch
) -> None:
    own = NodeConfig(site="a", data=str(product.parent), cache=str(tmp_path / "cache"))
    config = settings(min_sites=1, compare_local=True)
    opened = count_opens(monkeypatch)
    said: list[str] = []
    reply = open_site(config, own, say=said.append).train()
    train, test = images(product, "train"), images(product, "test")
    assert train and test and dict(opened) == dict.fromkeys(train | test, 1)
    assert reply.stats[0].extracted == len(train)
    opened.clear()
    again = open_site(config, own, say=said.append).train()  # as another process would
    assert again.stats[0].cached == len(train)
    assert set(opened.values()) <= {1} and set(opened) <= train  # for the hash of its content
    opened.clear()
    site = open_site(config, own, say=said.append)
    federation = federate([site])
    assert federation.bank.thresholds["plate"]["a"] > 0
    assert not set(opened) & {p for p in test if "good" in p.parts}  # squares were in the cache


def test_a_check_opens_each_image_once(product: Path, monkeypatch) -> None:
    opened = count_opens(monkeypatch)
    check_products(discover(product.parent), Looks())
    assert set(opened.values()) == {1}
