"""A page of HTML, read as its tags and words."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from fedpatchcore.report.page import build_report

__all__ = ["Page", "page_of"]


class Page(HTMLParser):
    """Tags, attributes and text of a page; checks that elements are closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run: Path) -> Page:
    target = build_report(run)
    assert target == run / "report.html"
    return Page(target.read_text(encoding="utf-8"))
