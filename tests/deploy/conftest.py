"""Certificates and keys of a server and a site, as ``fedpatchcore certs`` makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.deploy.certs import make_authority, make_server, make_site


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds them: the authority, 127.0.0.1 and plant-a."""
    folder = tmp_path_factory.mktemp("pki")
    make_authority(folder)
    make_server(folder, ["127.0.0.1"])
    make_site(folder, "plant-a")
    return folder
