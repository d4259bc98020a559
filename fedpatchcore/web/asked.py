"""What pages need of a request: who asks, the form."""

from __future__ import annotations

from starlette.requests import Request

from fedpatchcore.web.audit import Actor
from fedpatchcore.web.forms import Form
from fedpatchcore.web.guard import address_of
from fedpatchcore.web.people import Caller
from fedpatchcore.web.refusals import Refused

__all__ = ["actor_of", "caller_of", "form_of", "numbers", "within"]


def caller_of(request: Request) -> Caller:
    """Who asks; on public pages possibly nobody, and then this is an error of ours."""
    caller = request.state.caller
    assert caller is not None
    return caller


def actor_of(request: Request) -> Actor:
    """Who asks, as the trail names them."""
    return Actor(caller_of(request).name, address_of(request))


def form_of(request: Request) -> Form:
    """The fields of a POST."""
    form = request.state.form
    assert form is not None
    return form


def numbers(values: list[str], most: int) -> list[int]:
    """Whole numbers in a query. Raises Refused for what is none, and for too many."""
    if len(values) > most:
        raise Refused(400, f"at most {most} at a time")
    if not all(one.isascii() and one.isdigit() and len(one) < 16 for one in values):
        raise Refused(400, "whole numbers are needed")
    return [int(one) for one in values]


def within(number: int) -> int:
    """A number that a data base can hold. Raises Refused (404): nothing has another one."""
    if abs(number) >= 2**62:
        raise Refused(404, f"there is nothing with the number {number}")
    return number
