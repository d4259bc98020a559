"""What an inspector reads of an image that was not judged stands in the page's language."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fedpatchcore
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.data.images import load_image
from fedpatchcore.errors import BankError, ImageError
from fedpatchcore.station.causes import CAUSES, cause
from tests.support.speech import read_catalogue
from tests.support.stations import fitted


def damaged(folder: Path) -> dict[str, Path]:
    """A file of each kind that no decoder takes."""
    whole = folder / "whole.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(whole)
    found = {name: folder / f"plate: {name}.png" for name in ("empty", "cut", "text", "gone")}
    found["empty"].touch()
    found["cut"].write_bytes(whole.read_bytes()[:60])
    found["text"].write_text("no image")
    found["folder"] = folder
    for name, values in {
        "float": np.ones((8, 8), np.float32),
        "wide": np.ones((8, 8), np.int32),
    }.items():
        found[name] = folder / f"{name}.tiff"
        Image.fromarray(values).save(found[name])
    return found


def test_what_decoders_say_of_damaged_files_is_said_in_german(tmp_path: Path) -> None:
    told = {}
    for name, path in damaged(tmp_path).items():
        with pytest.raises(ImageError) as refused:
            load_image(path)
        told[name] = str(refused.value)
    for name, text in told.items():
        german = cause("de", text)
        assert german != text, (name, text)
        assert cause("en", text) == text
    assert cause("de", told["empty"]).endswith(
        "empty.png: Die Datei ist leer (0 Bytes); neu ablegen oder entfernen"
    )


def test_a_product_that_the_bank_does_not_know() -> None:
    bank = MemoryBank.load(fitted()[1])
    with pytest.raises(BankError) as refused:
        bank.section("bolt")
    assert cause("de", str(refused.value)).startswith("Die Bank kennt das Produkt 'bolt' nicht")


def said_by_the_library() -> set[str]:
    """Texts of the rooms that read images and judge, details as ``{}``, also from each ": " on."""
    found, library = set(), Path(fedpatchcore.__file__).parent
    for file in (
        one for room in ("bank", "data", "station") for one in library.rglob(f"{room}/**/*.py")
    ):
        if file.name == "causes.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            values = [one.value if isinstance(one, ast.Constant) else "{}" for one in parts]
            if values != ["{}"] and all(isinstance(one, str) for one in values):
                text = "".join(values)
                found.update(text[at:] for at in [0, *(m.end() for m in re.finditer(": ", text))])
    return found


def test_every_cause_is_a_sentence_of_the_library() -> None:
    texts = [(one, len(one.replace("{}", ""))) for one in said_by_the_library()]
    for known in CAUSES:
        filled = re.sub(r"\{\w+\}", "7x7", known)
        said = [
            one
            for one, letters in texts
            if 0.7 * len(filled) < letters <= len(filled)  # not "{}: {}", which says all
            and re.fullmatch(re.escape(one).replace(r"\{\}", ".*"), filled)
        ]
        assert said, known


def test_any_other_sentence_stays_as_it_is() -> None:
    for text in ("", "a", "a: b", "camera: no answer: {why}", "{0}", "50% of {size}"):
        assert cause("de", text) == text


def test_translations_keep_every_detail() -> None:
    told = {one.id: str(one.string) for one in read_catalogue("de") if one.id}
    for text in CAUSES:
        fields = sorted(re.findall(r"\{(\w+)\}", text))
        assert sorted(re.findall(r"\{(\w+)\}", told[text])) == fields
        filled = text.format(**{field: f"<{field}>" for field in fields})
        assert cause("de", filled) == told[text].format(**{f: f"<{f}>" for f in fields})
        assert cause("de", f"a.png: {filled}") == "a.png: " + cause("de", filled)
