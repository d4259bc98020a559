"""What to do about a bank that holds no threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedpatchcore.bank.memory_bank import MemoryBank

__all__ = ["sites_with_threshold", "without_threshold"]


def sites_with_threshold(bank: MemoryBank, product: str) -> list[str]:
    """Sites whose threshold for a product the bank holds."""
    return list(bank.thresholds_of(product))


def without_threshold(bank: MemoryBank, product: str, *, local: bool = True) -> str:
    """What is wrong and what mends it, where there is no threshold to judge a product by.

    Args:
        local: whether the command at hand takes the site's own bank.
    """
    missing = f"the bank holds no threshold for '{product}'"
    if sites := sites_with_threshold(bank, product):
        return f"{missing} of all sites together; judge as one does (--site {' or '.join(sites)})"
    if others := [one for one in bank.thresholds if sites_with_threshold(bank, one)]:
        return f"{missing}; name the product (--product {' or '.join(others)})"
    mechanism = bank.privacy.get("mechanism", "off")
    ways = ["a score that parts known to be good stay below (predict shows theirs)"]
    if mechanism != "off" or bank.privacy.get("secure_figures"):
        run = f"a private run (dp={mechanism})" if mechanism != "off" else "a secure-figures run"
        missing += f", since in {run} each site keeps its own"
        ways.insert(0, "at a site of that run the one in its private.json")
    if local and mechanism != "off":
        ways.append("--local with the own.safetensors beside it, which brings its own")
    return f"{missing}; give --threshold: {', or '.join(ways)}"
