"""The doctor at a site: data, weights, keys and what stands between it and the server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.certs import make_key
from fedpatchcore.deploy.doctor.checks import Check, Checks
from fedpatchcore.deploy.doctor.site import SiteDoctor
from fedpatchcore.deploy.network import Address
from tests.support.products import write_product
from tests.support.webserver import web_server


@pytest.fixture
def site(settings: Callable, tmp_path: Path):
    """Names and results of all checks of a site."""

    def examine(**told: object) -> dict[str, Check]:
        data = told.pop("data", None) or str(write_product(tmp_path / "data" / "plate").parent)
        node = NodeConfig(site="plant-a", data=data, cache=str(tmp_path / "cache"))
        network_words = {
            k: told.pop(k) for k in ("superlink", "root_certificates", "key") if k in told
        }
        run = Checks()
        SiteDoctor(settings(**told), node, **network_words).run(run)
        return {check.name: check for check in run.results}

    return examine


def test_a_site_that_is_ready(site, pki: Path) -> None:
    told = site(key=pki / "sites" / "plant-a" / "node.key")
    assert "plate: 6 train, 6 test" in told["data folder"].told
    assert "fingerprint" in told["weights"].told
    assert "features of 12 images" in told["disk"].told
    assert {name for name, check in told.items() if check.state == "skipped"} == {
        "server port",
        "TLS",
        "clock",
        "registration",
        "control API",
        "roster",
    }
    assert not [check for check in told.values() if check.state == "fail"]
    assert "run as one user" in told["two users"].told  # of a node that names its images
    assert told["two users"].state == "warn"


def test_troubles_of_a_site_do_not_hide_each_other(site, tmp_path: Path) -> None:
    told = site(data=str(tmp_path / "none"), weights="none.pth", key=tmp_path / "none.key")
    failed = {name for name, check in told.items() if check.state == "fail"}
    assert failed == {"data folder", "weights", "node key"}
    assert all(told[name].fix for name in failed)
    assert told["images"].state == "skipped"
    assert len(told) == 16


def test_unreadable_images_and_products_without_good_ones(site, tmp_path: Path) -> None:
    root = tmp_path / "data"
    product = write_product(root / "plate")
    (root / "ring" / "test" / "good").mkdir(parents=True)
    shutil.copy(product / "test" / "good" / "000.png", root / "ring" / "test" / "good")
    told = site(data=str(root))
    assert told["data folder"].state == "warn"
    assert "no good training images of ring" in told["data folder"].told
    broken = product / "train" / "good" / "000.png"
    broken.write_bytes(broken.read_bytes()[:200])
    told = site(data=str(root))
    assert told["images"].state == "warn"
    assert str(broken) in told["images"].told
    assert site(data=str(root), max_bad_images=0.01)["images"].state == "fail"
    shutil.rmtree(root / "plate" / "train")
    assert site(data=str(root))["data folder"].state == "fail"


def test_weights_that_a_run_may_download(site) -> None:
    told = site(weights="", download_weights=True)["weights"]
    assert told.state == "warn"
    assert "needs internet" in told.told
    assert site(weights="")["weights"].state == "fail"


def test_node_keys(site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(tmp_path / "own", "plant-a") / "node.key"
    assert site(key=key)["node key"].state == "ok"
    key.chmod(0o644)
    told = site(key=key)["node key"]
    assert (told.state, told.fix) == ("fail", f"chmod 600 {key}")
    (tmp_path / "text").write_text("no key")
    assert "no OpenSSH private key" in site(key=tmp_path / "text")["node key"].told
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    (tmp_path / "p256").write_bytes(other)
    assert "secp256r1" in site(key=tmp_path / "p256")["node key"].told


def test_an_open_control_api_and_a_key_nobody_asks_for(site, pki: Path) -> None:
    ca, key = pki / "ca" / "ca.crt", pki / "sites" / "plant-a" / "node.key"
    with web_server(pki / "server") as port:
        told = site(superlink=Address("127.0.0.1", port), root_certificates=ca, key=key)
        assert told["control API"].state == "ok"
        assert told["registration"].state == "fail"
        assert "does not pass Flower's calls on" in told["registration"].told
    with web_server(pki / "server", statuses={"/v1/control/list-runs": 200}) as port:
        told = site(superlink=Address("127.0.0.1", port))
        assert told["control API"].state == "warn"
        assert told["control API"].fix == "put the proxy in front (fedpatchcore proxy)"
        assert "wrong CA" in told["TLS"].told


def test_a_system_proxy_is_pointed_out(site, pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "elsewhere")
    with web_server(pki / "server") as port:
        told = site(superlink=Address("127.0.0.1", port))["server port"]
        assert (told.state, "NO_PROXY=127.0.0.1" in told.fix) == ("warn", True)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert site(superlink=Address("127.0.0.1", port))["server port"].state == "ok"


def test_groups_of_a_site_are_looked_at_before_a_run(settings, tmp_path: Path) -> None:
    root = tmp_path / "data"
    product = write_product(root / "plate")

    def folder(**told: str) -> Check:
        node = NodeConfig(site="a", data=str(root), cache=str(tmp_path / "cache"), **told)
        run = Checks()
        SiteDoctor(settings(), node).local(run)
        return next(check for check in run.results if check.name == "data folder")

    table = tmp_path / "groups.csv"
    table.write_text("file,group\nplate/train/good/000.png,1\n")
    assert folder(groups=str(table)).state == "ok"
    table.write_text("file,group\nplate/train/good/gone.png,1\n")
    assert folder(groups=str(table)).state == "fail"
    assert "gone.png" in folder(groups=str(table)).told
    shutil.copytree(product / "train/good", product / "train/good/lot")
    assert folder().state == "warn" and "group-by='folder'" in folder().told
    assert folder(group_by="folder").state == "ok"
    assert "12 train" in folder(group_by="folder").told
