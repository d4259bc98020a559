"""All texts stand in one catalogue, and every language has them all."""

from __future__ import annotations

import re

import pytest

from fedpatchcore.station.speech import LANGUAGES
from tests.support.speech import FOLDERS, LOCALE, compiled, po, read_catalogue, texts

OTHERS = sorted(set(LANGUAGES) - {"en"})


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_every_text_and_no_other(language: str) -> None:
    told = {one.id: one.string for one in read_catalogue(language) if one.id}
    assert set(told) == texts() and len(told) > 60, "make texts takes new ones up"
    assert [text for text, other in told.items() if not other] == []


@pytest.mark.parametrize("language", OTHERS)
def test_what_gettext_reads_is_what_people_wrote(language: str) -> None:
    file = po(language).with_suffix(".mo")
    assert file.read_bytes() == compiled(read_catalogue(language)), "make texts"


def test_languages_are_those_that_there_are() -> None:
    assert sorted(one.name for one in LOCALE.iterdir()) == OTHERS


def test_no_text_of_a_template_stands_outside_the_catalogue() -> None:
    for folder in FOLDERS:
        for file in folder.glob("*.j2"):
            bare = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", file.read_text(), flags=re.S)
            bare = re.sub(r"<[^>]+>", " ", bare)
            words = set(re.findall(r"[A-Za-z]{3,}", bare)) - {
                "FedPatchCore",
                "CSV",
                "failed",
            }  # a name and a class
            assert not words, (file.name, words)
