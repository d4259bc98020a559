"""Whose code runs at a site: what was submitted is what is installed, or the site says no."""

from __future__ import annotations

import io
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.cli.build import build_fab_from_disk

from client_app.bundle import difference
from client_app.executor import answered
from client_app.records import from_records, to_records
from fedpatchcore.errors import ConfigError
from fedpatchcore.runs.programs import app_folder, new_secret
from fedpatchcore.version import VERSION
from fedpatchcore.wire.packet import Packet
from tests.support import superlink  # noqa: F401  who we are, for messages


@pytest.fixture(scope="module")
def bundle() -> bytes:
    """What ``fedpatchcore run`` submits, made by Flower."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's own libraries
        return build_fab_from_disk(app_folder())


def changed(bundle: bytes, *, deflated: bool = False, **files: str | None) -> bytes:
    """The bundle with files of other content, without some (None), or with more."""
    made = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(bundle)) as old, zipfile.ZipFile(made, "w", how) as new:
        for name in old.namelist():
            if name not in files:
                new.writestr(name, old.read(name))
        for name, text in files.items():
            if text is not None:
                new.writestr(name, text)
    return made.getvalue()


def test_the_bundle_that_our_own_command_submits_is_the_installed_one(bundle: bytes) -> None:
    assert difference(bundle) == ""


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"client_app/work.py": "import os"}, "client_app/work.py differ"),
        ({"server_app/run.py": None}, "server_app/run.py differ"),
        ({"client_app/more.py": ""}, "client_app/more.py differ"),
        ({"numpy.py": "x = 1"}, "numpy.py differ"),
        ({"client_app/data.json": "{}"}, "client_app/data.json differ"),
        ({f"m{n}.py": "" for n in range(9)}, "m0.py, m1.py, m2.py and 6 more differ"),
        ({"a\n\x1b[31m.py": ""}, "differ"),
    ],
)
def test_what_differs_is_named_in_one_line_with_what_mends_it(bundle, files, words) -> None:
    told = difference(changed(bundle, **files))
    assert words in told
    assert f"FedPatchCore {VERSION}" in told and f"({VERSION})" in told
    assert f"pip install --force-reinstall --no-deps 'fedpatchcore=={VERSION}'" in told
    assert "--app any" in told
    assert told.isprintable()


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.3.1", "at this site: pip install 'fedpatchcore==0.3.1'"),
        ("1'; rm -rf ~; '", "(FedPatchCore of no version)"),
    ],
)
def test_another_version_is_named_with_the_command_that_installs_it(bundle, version, words) -> None:
    told = difference(
        changed(
            bundle,
            **{
                "client_app/work.py": "",
                "pyproject.toml": f'[project]\nname = "fedpatchcore"\nversion = "{version}"\n',
            },
        )
    )
    assert words in told
    assert "rm -rf" not in told


@pytest.mark.parametrize("damage", [b"", b"PK", b"x" * 5000])
def test_a_bundle_that_is_no_archive_is_refused(damage: bytes, bundle: bytes) -> None:
    assert "cannot be read" in difference(damage)
    assert "cannot be read" in difference(bundle[: len(bundle) // 2] + damage)


def test_two_files_of_one_name_are_refused(bundle: bytes) -> None:
    """The first is ours and the second is not: whoever unpacks takes the second."""
    made = io.BytesIO(bundle)
    with pytest.warns(UserWarning), zipfile.ZipFile(made, "a") as archive:
        archive.writestr("client_app/work.py", "import os")
    assert "client_app/work.py" in difference(made.getvalue()) or "of one name" in difference(
        made.getvalue()
    )


def test_a_file_that_unpacks_to_much_fills_no_memory(bundle: bytes) -> None:
    told = changed(bundle, **{"client_app/work.py": "\0" * 10**8}, deflated=True)
    tracemalloc.start()
    assert "client_app/work.py differ" in difference(told)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**7


def ask(bundle: bytes, kind: str = "query") -> Packet:
    message = Message(content=to_records(Packet()), dst_node_id=7, message_type=kind)
    context = Context(1, 7, {"site": "north"}, RecordDict(), {})
    return from_records(answered(message, context, bundle).content)


def test_a_site_answers_a_changed_app_with_its_name_and_never_loads_it(bundle, monkeypatch) -> None:
    def no(*words: object) -> None:
        raise AssertionError("it was run")

    monkeypatch.setattr("client_app.work.answer", no)
    told = ask(changed(bundle, **{"client_app/work.py": "raise SystemExit"})).texts
    assert told["site"] == "north"
    assert "client_app/work.py differ" in told["failure"]
    with pytest.raises(AssertionError, match="it was run"):
        ask(bundle)
    monkeypatch.undo()
    assert "of a kind that no site answers" in ask(bundle, "query.other").texts["failure"]


def test_the_secret_of_a_node_is_its_owners_alone_and_new_each_time(tmp_path: Path) -> None:
    first = new_secret(tmp_path / "node").read_bytes()
    file = new_secret(tmp_path / "node")
    assert len(first) == 32 and file.read_bytes() != first
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_word_that_is_no_way_to_run_an_app_is_refused() -> None:
    from fedpatchcore.deploy import node_programs

    with pytest.raises(ConfigError, match="--app everything: it is one of installed, any"):
        node_programs(
            *(None, None, None),
            root_certificates=Path(),
            key=Path(),
            state=Path(),
            port=0,
            app="everything",
            say=print,
        )
