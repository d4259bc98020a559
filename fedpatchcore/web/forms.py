"""Bodies of requests, small and plain as forms are: nothing is taken in before it is counted."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from fedpatchcore.web.refusals import Refused

__all__ = ["Form", "check_text", "from_form", "from_json", "read_body"]

LARGEST = 256 * 1024  # bytes
FIELDS = 400


class Form(dict[str, str]):
    """Fields of a form; one that is missing is empty."""

    def text(self, name: str, most: int = 200) -> str:
        """A field as one text without blanks around it. Raises Refused if it is longer."""
        value = self.get(name, "").strip()
        if len(value) > most:
            raise Refused(400, f"{name}: at most {most} characters")
        return value

    def number(self, name: str) -> int:
        """A field as a whole number. Raises Refused."""
        value = self.text(name, 18)
        if not value.isascii() or not value.isdigit():
            raise Refused(400, f"{name}: a whole number is needed")
        return int(value)


async def read_body(request: Request) -> Form:
    """The fields of a POST: a form, or one flat JSON object. Raises Refused (400, 413, 415)."""
    told = request.headers.get("content-length", "0")
    if not told.isdigit() or int(told) > LARGEST:
        raise Refused(413, f"at most {LARGEST // 1024} kB are taken in")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > LARGEST:
            raise Refused(413, f"at most {LARGEST // 1024} kB are taken in")
    if not data:
        return Form()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return from_form(bytes(data))
    if kind == "application/json":
        return from_json(bytes(data))
    raise Refused(415, "a form, or a JSON object, is needed")


def check_text(text: str) -> None:
    """Raises Refused for what no data base keeps: NUL, and halves of letters beyond 16 bits."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= one <= "\udfff" for one in text)):
        raise Refused(400, "this is no text")


def from_form(data: bytes) -> Form:
    """The fields of a form as browsers send it; of a name that stands twice the last. Refused."""
    try:
        text = data.decode()
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except ValueError:
        raise Refused(400, "this is no form") from None
    return _checked(Form(pairs))


def from_json(data: bytes) -> Form:
    """The fields of one flat JSON object. Raises Refused."""
    return _checked(Form(_flat(data)))


def _checked(form: Form) -> Form:
    for name, value in form.items():
        check_text(name)
        check_text(value)
    return form


def _flat(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(400, "this is no JSON") from None
    plain = isinstance(told, dict) and len(told) <= FIELDS
    if not plain or not all(isinstance(v, str | int | float | bool) for v in told.values()):
        raise Refused(400, "one flat JSON object of texts and numbers is needed")
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in told.items()}
