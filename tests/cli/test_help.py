"""What --help shows, with the very versions of its libraries that are installed."""

from __future__ import annotations

import typer

from fedpatchcore.cli.app import build
from tests.support.commands import parameters


def test_every_argument_and_option_is_explained() -> None:
    """Some versions of click take an argument's explanation away from typer."""
    found = dict(parameters(typer.main.get_command(build())))
    assert {"predict bank", "fit data", "certs site names"} <= set(found)
    assert not [name for name, one in found.items() if not getattr(one, "help", None)]


def test_an_argument_is_explained_on_the_page(cli) -> None:
    code, out, _ = cli("predict", "--help")
    assert code == 0
    assert "Images, or folders of images" in " ".join(out.split())


def test_a_mistyped_command_is_corrected_once(cli) -> None:
    for words in (("fitt",), ("bank", "isnpect")):
        code, _, err = cli(*words)
        assert code == 2
        assert err.count("Did you mean") == 1
