"""Hosts on one machine: network namespaces, a point-to-point link from each site to the server.

Needs root and iproute2. The server has one address a link (10.77.N.1), site N has 10.77.N.2.
Sites have no route to one another. Links can be cut, made slow, made to lose packets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.field import Host

RELAY = Path(__file__).with_name("relay.py")


PACKAGES = {
    **{"ip": "iproute2", "tc": "iproute2", "iptables": "iptables"},
    **{"nginx": "nginx-light", "tcpdump": "tcpdump"},
}


def missing(*more: str) -> str:
    """Why namespaces cannot be made here, or nothing; all that is missing at once.

    Args:
        more: further programs that a test needs.
    """
    lacking = [
        tool
        for tool in ("ip", "tc", "iptables", *more)
        if not (shutil.which(tool) or Path(f"/usr/sbin/{tool}").exists())
    ]
    told = ["network namespaces need root"] if os.geteuid() != 0 else []
    if lacking:
        packages = " ".join(dict.fromkeys(PACKAGES[tool] for tool in lacking))
        told.append(f"not installed: {', '.join(lacking)} (Debian: apt-get install {packages})")
    return "; ".join(told)


def run(*words: object, check: bool = True) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


class Network:
    """A server and sites as namespaces; use as a context manager.

    Args:
        tag: start of every namespace's name, so that two can exist at once.
    """

    def __init__(self, sites: Sequence[str], tag: str = "fpc") -> None:
        self.tag = f"{tag}{os.getpid()}"
        self.number = {site: at for at, site in enumerate(sites, 1)}
        self.server = Host("server", "127.0.0.1", self._inside("server"))
        self.hosts = {s: Host(s, self.address(s), self._inside(s)) for s in sites}

    def _name(self, host: str) -> str:
        return f"{self.tag}-{host}"

    def _inside(self, host: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self._name(host))

    def address(self, site: str) -> str:
        """The site's own address."""
        return f"10.77.{self.number[site]}.2"

    def gate(self, site: str) -> str:
        """The server's address on this site's link."""
        return f"10.77.{self.number[site]}.1"

    def __enter__(self) -> Network:
        self._remove()
        for host in ("server", *self.number):
            run("ip", "netns", "add", self._name(host))
            run(*self._inside(host), "ip", "link", "set", "lo", "up")
        for site, at in self.number.items():
            ends = [("netns", self._name("server")), ("netns", self._name(site))]
            run("ip", "link", "add", f"e{at}", *ends[0], "type", "veth", "peer", "e0", *ends[1])
            for host, device, address in (
                ("server", f"e{at}", self.gate(site)),
                (site, "e0", self.address(site)),
            ):
                run(*self._inside(host), "ip", "addr", "add", f"{address}/24", "dev", device)
                run(*self._inside(host), "ip", "link", "set", device, "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        for host in ("server", *self.number):
            run("ip", "netns", "del", self._name(host), check=False)

    # -- what happens to a link -------------------------------------------------------

    def cut(self, site: str) -> None:
        """The link is down, as when a cable is pulled."""
        run(*self._inside("server"), "ip", "link", "set", f"e{self.number[site]}", "down")

    def heal(self, site: str) -> None:
        run(*self._inside("server"), "ip", "link", "set", f"e{self.number[site]}", "up")

    def slow(self, site: str, rate: str) -> None:
        """Limit both directions, e.g. ``2mbit`` (token bucket)."""
        limit = ("root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms")
        at = f"e{self.number[site]}"
        run(*self._inside("server"), "tc", "qdisc", "replace", "dev", at, *limit)
        run(*self._inside(site), "tc", "qdisc", "replace", "dev", "e0", *limit)

    def lose(self, site: str, share: float) -> None:
        """Drop this share of the packets that arrive, at both ends."""
        drop = ("-m", "statistic", "--mode", "random", "--probability", share, "-j", "DROP")
        at = f"e{self.number[site]}"
        run(*self._inside("server"), "iptables", "-A", "INPUT", "-i", at, *drop)
        run(*self._inside(site), "iptables", "-A", "INPUT", "-i", "e0", *drop)

    def relay(self, site: str, port: int, delay: float) -> tuple[str, list[str]]:
        """A relay in the site's namespace that delays each way; its address and command."""
        address = "127.0.0.1:9443"
        to = f"{self.gate(site)}:{port}"
        return address, [sys.executable, str(RELAY), address, to, str(delay)]
