"""Rosters of secure sums: signed by the CA, pinned at a site, looked at by the doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.certs import make_authority, make_site
from fedpatchcore.deploy.doctor.checks import Skip
from fedpatchcore.deploy.doctor.membership import membership
from fedpatchcore.deploy.rosters import make_roster, make_sums_key
from fedpatchcore.errors import CertificateError, SecureSumError
from fedpatchcore.securesums.roster_file import read_identity, read_roster
from fedpatchcore.site.membership import by_files, nobody


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    make_authority(tmp_path / "pki")
    for name in ("north", "south"):
        make_site(tmp_path / "pki", name)
    return tmp_path / "pki"


def own(pki: Path, site: str = "north") -> Path:
    return pki / "sites" / site


def test_a_roster_holds_each_sites_own_key(pki: Path) -> None:
    made = make_roster(pki)
    assert made.number == 1 and set(made.roster.keys) == {"north", "south"}
    for site in ("north", "south"):
        read = read_roster(own(pki, site) / "roster.json")
        assert read.roster.keys == made.roster.keys
        assert read_identity(own(pki, site) / "sums.key").public == read.roster.keys[site]
        assert (own(pki, site) / "sums.key").stat().st_mode & 0o777 == 0o600


def test_a_site_that_comes_and_one_that_goes(pki: Path) -> None:
    first = make_roster(pki)
    make_site(pki, "west")
    own_key = pki.parent / "at-west"  # the site makes its key itself, and sends the public half
    make_sums_key(own_key, "west")
    (own(pki, "west") / "sums.pub").write_text((own_key / "sums.pub").read_text())
    second = make_roster(pki)
    assert second.number == 2 and set(second.roster.keys) == {"north", "south", "west"}
    assert second.roster.keys["north"] == first.roster.keys["north"]
    assert second.roster.keys["west"] == read_identity(own_key / "sums.key").public
    assert not (own(pki, "west") / "sums.key").exists()
    third = make_roster(pki, without=["south"])
    assert third.number == 3 and set(third.roster.keys) == {"north", "west"}
    with pytest.raises(CertificateError, match="no site nobody"):
        make_roster(pki, without=["nobody"])


def test_nothing_to_sign(tmp_path: Path, pki: Path) -> None:
    with pytest.raises(CertificateError):
        make_roster(tmp_path / "none")
    make_authority(tmp_path / "empty")
    with pytest.raises(CertificateError, match="no site below"):
        make_roster(tmp_path / "empty")
    (own(pki) / "sums.pub").write_text("no key")
    with pytest.raises(CertificateError, match="holds no public key"):
        make_roster(pki)
    (own(pki) / "sums.pub").write_text("ab" * 31)
    with pytest.raises(CertificateError, match="key of site 'north' is none"):
        make_roster(pki)


def changed(path: Path, **words) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **words}))


def test_whatever_is_changed_in_a_roster_is_found(pki: Path, tmp_path: Path) -> None:
    make_roster(pki)
    path = own(pki) / "roster.json"
    whole = path.read_text()
    keys = json.loads(whole)["sites"]
    for words in ({"number": 9}, {"made": "x"}, {"sites": {"north": keys["north"]}}):
        changed(path, **words)
        with pytest.raises(SecureSumError, match="was not signed by"):
            read_roster(path)
        path.write_text(whole)
    for words in ({"sites": 5}, {"number": "1"}, {"signature": "zz"}, {"sites": {"a": 5}}):
        changed(path, **words)
        with pytest.raises(SecureSumError, match="cannot be read"):
            read_roster(path)
    for text in ("", "[]", "{}", "[" * 10_000):
        path.write_text(text)
        with pytest.raises(SecureSumError):
            read_roster(path)
    path.write_text(whole)
    make_authority(tmp_path / "other")
    with pytest.raises(SecureSumError, match="was not signed by"):
        read_roster(path, tmp_path / "other" / "ca" / "ca.crt")
    with pytest.raises(SecureSumError, match="is no certificate"):
        read_roster(path, path)
    with pytest.raises(SecureSumError, match="cannot read"):
        read_roster(path, tmp_path / "nothing")


def test_a_key_that_is_none(pki: Path) -> None:
    with pytest.raises(SecureSumError, match="cannot read"):
        read_identity(pki / "nothing")
    with pytest.raises(SecureSumError, match="no private key"):
        read_identity(own(pki) / "ca.crt")
    with pytest.raises(SecureSumError, match="no Ed25519 key"):
        read_identity(pki / "ca" / "ca.key")


def test_an_older_roster_and_another_authority_are_refused(pki: Path, tmp_path: Path) -> None:
    make_roster(pki)
    old = (own(pki) / "roster.json").read_text()
    make_roster(pki)
    member = by_files(own(pki) / "roster.json", own(pki) / "sums.key", tmp_path / "pin")
    member("run")
    (own(pki) / "roster.json").write_text(old)
    with pytest.raises(SecureSumError, match="is number 1, this site has seen number 2"):
        member("run")
    other = tmp_path / "other"
    make_authority(other)
    make_site(other, "north")
    for _ in range(3):
        make_roster(other)
    foreign = by_files(own(other) / "roster.json", own(pki) / "sums.key", tmp_path / "pin")
    with pytest.raises(SecureSumError, match="another authority"):
        foreign("run")
    (tmp_path / "pin" / "roster.json").write_text("?")
    with pytest.raises(SecureSumError, match="cannot be read"):
        member("run")


def test_without_a_roster_there_is_no_secure_sum() -> None:
    with pytest.raises(SecureSumError, match="site 'north' has no roster"):
        nobody("north")("run")


def test_the_doctor_looks_at_the_roster(pki: Path, tmp_path: Path) -> None:
    make_roster(pki)
    words = {"site": "north", "data": str(tmp_path)}
    with pytest.raises(Skip):
        membership(NodeConfig(**words), tmp_path / "ledger")
    for half in ("roster", "sums_key"):
        with pytest.raises(ValueError, match="roster and sums-key go together"):
            NodeConfig(**words, **{half: "file"})
    files = {"roster": str(own(pki) / "roster.json"), "sums_key": str(own(pki) / "sums.key")}
    good = membership(NodeConfig(**words, **files), tmp_path / "ledger")
    assert good.state == "ok" and "number 1" in good.told and "2 sites" in good.told
    foreign = NodeConfig(**{**words, "site": "south"}, **files)
    assert "another key" in membership(foreign, tmp_path).told
    pin = tmp_path / "ledger" / "sums" / "roster.json"
    pin.parent.mkdir(parents=True)
    pin.write_text('{"number": 5}')
    assert "older than 5" in membership(NodeConfig(**words, **files), tmp_path / "ledger").told
    pin.write_text('{"number": 1, "authority": "0123456789abcdef0123"}')
    told = membership(NodeConfig(**words, **files), tmp_path / "ledger")
    assert told.state == "fail" and "another authority than was seen here" in told.told
    (own(pki) / "roster.json").write_text("{}")
    assert membership(NodeConfig(**words, **files), tmp_path / "ledger").state == "fail"


def test_the_command_signs_and_says_what_goes_where(cli, pki: Path, tmp_path: Path) -> None:
    code, out, _ = cli("certs", "roster", pki, "--without", "south")
    assert code == 0 and "number 1, 1 sites (north)" in out
    code, out, _ = cli("certs", "sums-key", tmp_path / "mine", "west")
    assert code == 0 and "sums.pub" in out
    code, _, err = cli("certs", "sums-key", tmp_path / "mine", "west")
    assert code and "cannot write" in err
