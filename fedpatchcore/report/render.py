"""Templates and the style sheet → one page that needs nothing else."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedpatchcore.report.words import amount, percent, seconds, size

__all__ = ["FOLDER", "environment", "render"]

FOLDER = "templates"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@cache
def environment() -> Environment:
    """Where templates are found: every value is escaped, a value that is missing is an error."""
    found = Environment(
        loader=PackageLoader("fedpatchcore.report", FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(amount=amount, percent=percent, seconds=seconds, size=size)
    found.globals.update(asset=_asset, policy=POLICY)
    return found


def _asset(name: str) -> Markup:
    """A file of ``assets`` as it is, to stand within the page."""
    loader, at = environment().loader, f"assets/{name}"
    assert loader is not None
    return Markup(loader.get_source(environment(), at)[0])


def render(template: str, **values: object) -> str:
    """A template with these values."""
    return environment().get_template(template).render(**values)
