"""A site takes what was released and nothing else; whatever goes wrong, its bank stays."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.control.signing import Signer
from fedpatchcore.control.tables import Site
from fedpatchcore.deploy.pulling import Pulled, pull, released, report_images
from fedpatchcore.deploy.signed import check
from fedpatchcore.errors import BankError, ConfigError, ControlError, FingerprintError
from tests.support.control import add_run, browser, run_events, small_bank

URL = "http://127.0.0.1"


@pytest.fixture
def two(room: Room) -> Room:
    for at, name in enumerate(("one", "two")):
        add_run(room, name, run_events(at=1000 * at), bank=small_bank(at))
        room.mirror.look()
    room.registry.release(CONSOLE, 1, "plate", "")
    return room


@pytest.fixture
def fetch(two: Room, tmp_path: Path):
    """`pull` by a site's key, over no network; ``spoilt`` changes what arrives."""
    key = two.people.make_token(CONSOLE, "k", "site", "north", 1)
    spoilt: list[Any] = []

    def client(**more: Any) -> httpx.Client:
        found = browser(two, **more["headers"])
        if spoilt:
            inner = found

            class Between(httpx.BaseTransport):
                def handle_request(self, request: httpx.Request) -> httpx.Response:
                    told = inner.request(request.method, request.url.raw_path.decode())
                    headers = {k: v for k, v in told.headers.items() if k[:2] in ("et", "x-")}
                    return httpx.Response(200, headers=headers, content=spoilt[0](told.content))

            return httpx.Client(transport=Between(), base_url=URL)
        return found

    def fetched(**more: Any):
        return pull(URL, more.pop("key", key), "plate", tmp_path / "banks", client=client, **more)

    fetched.spoilt = spoilt
    return fetched


def test_the_released_bank_is_fetched_once_and_the_one_before_is_kept(
    two: Room, fetch, tmp_path: Path
) -> None:
    told = fetch()
    assert told.new and told.version == "1"
    first = told.file.read_bytes()
    assert hashlib.sha256(first).hexdigest() == told.digest
    assert not fetch().new and [p.name for p in (tmp_path / "banks").iterdir()] == [told.file.name]
    two.registry.release(CONSOLE, 2, "plate", "")
    assert fetch().version == "2" and fetch().file.read_bytes() != first
    assert (tmp_path / "banks" / "plate.previous.safetensors").read_bytes() == first
    with two.database.read() as session:
        assert two.words.judged(session, "plate", "north", 2**50).by == 2
    two.registry.back(CONSOLE, "plate", "")
    assert fetch().version == "1" and fetch().file.read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [lambda d: d[:-7], lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: b"", lambda d: d * 2],
)
def test_what_was_changed_on_the_way_is_not_taken(two: Room, fetch, change) -> None:
    before = fetch().file.read_bytes()
    two.registry.release(CONSOLE, 2, "plate", "")
    fetch.spoilt.append(change)
    with pytest.raises(BankError, match="not the bank that was released"):
        fetch()
    fetch.spoilt.clear()
    file = two.root.parent / "banks" / "plate.safetensors"
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_bank_of_other_features_takes_a_word(two: Room, fetch) -> None:
    other = small_bank(7)
    changed = other.fingerprint.model_copy(update={"image_size": 320})
    add_run(
        two,
        "three",
        run_events(at=3000),
        bank=MemoryBank(changed, other.sections, other.sites, 1),
    )
    two.mirror.look()
    before = fetch().file.read_bytes()
    two.registry.release(CONSOLE, 3, "plate", "")
    with pytest.raises(FingerprintError):
        fetch()
    assert fetch(new_features=True).version == "3"
    assert before != fetch().file.read_bytes()


def test_refusals_are_the_control_rooms_own_words(two: Room, fetch, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="log in first"):
        fetch(key="guessed")
    with pytest.raises(ControlError, match="speaks for north alone"):
        fetch(site="south")
    with pytest.raises(
        ControlError, match=r"cannot pull from http://127.0.0.1:9: .*bank in use stays"
    ):
        pull("http://127.0.0.1:9", "k", "plate", tmp_path)


@pytest.mark.parametrize("url", ["http://fed.example.com", "ftp://x", "fed.example.com", ""])
def test_a_key_goes_over_tls_alone(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="https://"):
        pull(url, "key", "plate", tmp_path)


@pytest.mark.parametrize("product", ["", "../x", ".x", "a/b", "a\nb"])
def test_a_products_name_is_a_files_name(product: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no product's name"):
        pull(URL, "key", product, tmp_path)


def test_a_site_that_knows_the_key_takes_what_it_signed(two: Room, fetch, tmp_path: Path) -> None:
    public = two.signer.public
    assert fetch(signed_by=public).new and not fetch(signed_by=public).new
    again = Signer(two.database.path.with_name("signing.key"))
    assert again.public == public  # kept, and its owner's alone
    assert two.database.path.with_name("signing.key").stat().st_mode & 0o077 == 0
    other = Signer(tmp_path / "other.key").public
    with pytest.raises(BankError, match="not signed by the key"):
        fetch(signed_by=other)
    two.registry.release(CONSOLE, 2, "plate", "")
    before = (tmp_path / "banks" / "plate.safetensors").read_bytes()
    with pytest.raises(BankError, match="not signed by the key"):
        fetch(signed_by=other)
    assert (tmp_path / "banks" / "plate.safetensors").read_bytes() == before
    with pytest.raises(ConfigError, match="no public key"):
        fetch(signed_by="x")


def test_a_signature_is_of_one_product_and_one_bank(tmp_path: Path) -> None:
    signer = Signer(tmp_path / "key")
    told = signer.sign("plate", "a" * 64)
    check(signer.public, told, "plate", "a" * 64)
    for signature, product, digest in (
        (told, "cookie", "a" * 64),
        (told, "plate", "b" * 64),
        ("", "plate", "a" * 64),
        (told[:-4], "plate", "a" * 64),
    ):
        with pytest.raises(BankError):
            check(signer.public, signature, product, digest)
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(ControlError, match="no signing key"):
        Signer(tmp_path / "short")


def test_a_site_asks_for_all_its_products_and_tells_its_images(two: Room, tmp_path: Path) -> None:
    key = two.people.make_token(CONSOLE, "k2", "site", "north", 1)

    def client(**more: Any) -> httpx.Client:
        return browser(two, **more["headers"])

    assert released(URL, key, client=client) == ["plate"]
    report_images(URL, key, 77, client=client)
    with two.database.read() as session:
        assert session.get(Site, "north").images == 77
    with pytest.raises(ConfigError, match="https://"):
        released("http://fed.example.com", key, client=client)
    with pytest.raises(ControlError, match="log in first"):
        released(URL, "none", client=client)


def test_the_command_goes_on_looking_whatever_goes_wrong(
    cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedpatchcore.cli import pulling as command
    from fedpatchcore.deploy import pulling

    answers: list[Any] = [
        ControlError("the control room: away"),
        Pulled(tmp_path / "plate", "d", "1", True),
        Pulled(tmp_path / "plate", "d", "1", False),
        Pulled(tmp_path / "plate", "d", "2", True),
    ]
    slept = []

    def pulled(*_: Any, **__: Any) -> Pulled:
        told = answers.pop(0)
        if isinstance(told, Exception):
            raise told
        return told

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if not answers:
            raise KeyboardInterrupt

    monkeypatch.setattr(pulling, "pull", pulled)
    monkeypatch.setattr(pulling, "released", lambda *_, **__: ["plate"])
    monkeypatch.setattr(command.time, "sleep", sleep)
    monkeypatch.setenv("FEDPATCHCORE_CONTROL_KEY", "k")
    _, told, _ = cli("bank", "pull", URL, "--every", "5")
    assert slept == [300.0] * 4
    assert told.count("plate:") == 3  # away, new, (as before is not told again), new
    assert "! plate: the control room: away" in told and "bank 2, new" in told
