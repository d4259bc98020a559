"""Everything a site needs before it takes part, looked at without disturbing anything."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import getproxies_environment, proxy_bypass_environment

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.images import load_image
from fedpatchcore.data.layouts import discover
from fedpatchcore.data.products import Product
from fedpatchcore.deploy.checks import (
    INSTALL,
    Check,
    Checks,
    Skip,
    disk,
    fail,
    gpu,
    libraries,
    ok,
    python,
    warn,
    writable,
)
from fedpatchcore.deploy.network import HTTP_ERRORS, Address, Port
from fedpatchcore.errors import ImageError, WeightsError
from fedpatchcore.places import cache_home

if TYPE_CHECKING:  # a node that only watches the way to the server holds no torch in memory
    from fedpatchcore.features.extractor import Backbone

__all__ = ["SiteDoctor"]

# Flower 1.41 takes a node's signature not more than 5 s in the future nor more than 305 s old.
AHEAD, BEHIND, NOTICEABLE = 5.0, 305.0, 2.0
SAMPLED, MOST_SAMPLED = 6, 48
SHOWN_PRODUCTS = 6
KNOCK_SECONDS = 60.0


class SiteDoctor:
    """The checks of one site.

    Args:
        config: the run's settings, as far as they concern a site.
        node: what this site says of itself.
        superlink: where the SuperNode will connect to; None leaves the network out.
    """

    def __init__(
        self,
        config: RunConfig,
        node: NodeConfig,
        *,
        superlink: Address | None = None,
        root_certificates: Path | None = None,
        key: Path | None = None,
    ) -> None:
        device = node.device or config.device
        weights = node.weights or config.weights
        self.config = config.model_copy(update={"weights": weights, "device": device})
        self.node = node
        self.root_certificates = root_certificates
        self.key = key.expanduser() if key else None
        self.port = Port(superlink, root_certificates) if superlink else None
        name = node.site or Path(node.data or ".").name
        self.cache = Path(node.cache).expanduser() if node.cache else cache_home() / "sites" / name
        out = Path(node.out).expanduser() if node.out else self.cache / "results"
        ledger = Path(node.ledger).expanduser() if node.ledger else cache_home() / "ledgers" / name
        self.folders = {"cache": self.cache, "results": out, "ledger": ledger}
        self._products: Mapping[str, Product] = {}
        self._backbone: Backbone | None = None
        self._usable_key = False

    def run(self, checks: Checks) -> None:
        """Make all checks in order."""
        checks.run("Python", python, fix=INSTALL)
        checks.run("libraries", libraries, fix=INSTALL)
        checks.run("GPU", lambda: gpu(self.config.device), seconds=60)
        self.local(checks)
        checks.run(
            "weights",
            self._weights,
            fix=f"fedpatchcore weights import FILE --backbone {self.config.backbone}",
            seconds=120,
        )
        checks.run("disk", self._disk, seconds=60)
        self.network(checks)
        checks.run("control API", self._control)

    def local(self, checks: Checks) -> None:
        """What must be so on this machine, whatever a run will ask for."""
        checks.run(
            "data folder",
            self._data,
            fix="correct data='...' (and layout) in the node-config; the layouts are in README.md",
            seconds=120,
        )
        checks.run("images", self._images, seconds=120)
        checks.run("folders", lambda: writable(self.folders))

    def network(self, checks: Checks) -> None:
        """The way to the server, looked at anew: port, certificate, clock, key, registration."""
        if self.port:
            self.port = Port(self.port.address, self.root_certificates)
        checks.run("server port", self._reach)
        checks.run("TLS", lambda: self._network().tls())
        checks.run("clock", lambda: clock(self._network()))
        checks.run("node key", self._key)
        checks.run("registration", self._registration, seconds=KNOCK_SECONDS + 5)

    def _network(self) -> Port:
        if self.port is None:
            raise Skip("--superlink HOST:PORT was not given")
        return self.port

    def _reach(self) -> Check:
        port = self._network()
        found = port.tcp()
        host = port.address.host
        if found.state != "ok" or not getproxies_environment().get("https"):
            return found
        if proxy_bypass_environment(host):
            return found
        return warn(
            f"{found.told}; HTTPS_PROXY is set, and Flower goes that way, not the one checked here",
            f"if the server can be reached directly: export NO_PROXY={host}",
        )

    def _data(self) -> Check:
        if not (data := self.node.data):
            return fail(
                "no data folder is named",
                "--node-config \"site='plant-a' data='/path/to/images'\", or set FEDPATCHCORE_DATA",
            )
        found = discover(
            Path(data).expanduser(),
            self.node.layout or self.config.layout,
            self.config.product_names(),
        )
        self._products = found
        counts = [f"{n}: {len(p.train)} train, {len(p.test)} test" for n, p in found.items()]
        told = f"{data}: {'; '.join(counts[:SHOWN_PRODUCTS])}"
        if len(counts) > SHOWN_PRODUCTS:
            images = sum(len(p.train) + len(p.test) for p in found.values())
            told += f"; ... {len(counts)} products, {images} images in all"
        empty = [name for name, product in found.items() if not product.train]
        fix = "put pictures of good parts into <product>/train/good/"
        if len(empty) == len(found):
            return fail(f"{told}: no training images of good parts in any product", fix)
        if empty:
            return warn(f"{told}: no good training images of {', '.join(empty)}", fix)
        return ok(told)

    def _images(self) -> Check:
        if not self._products:
            raise Skip("no products were found")
        sample: list[Path] = []
        for product in self._products.values():
            for paths in (product.train, tuple(image.path for image in product.test)):
                step = max(1, len(paths) // SAMPLED)
                sample += paths[::step][:SAMPLED]
        sample = sample[:: max(1, -(-len(sample) // MOST_SAMPLED))]
        bad = []
        for path in sample:
            try:
                load_image(path)
            except ImageError as error:
                bad.append((path, str(error).removeprefix(f"{path}: ")))
        if not bad:
            return ok(f"{len(sample)} of them opened, all are readable")
        first, reason = bad[0]
        told = f"{len(bad)} of {len(sample)} opened cannot be read, first {first}: {reason}"
        fix = f"save it again as PNG or JPEG, or remove it ({first}); check its permissions"
        if len(bad) > self.config.max_bad_images * len(sample):
            limit = f"{100 * self.config.max_bad_images:g} %"
            return fail(f"{told}; a site with more than {limit} such images takes no part", fix)
        return warn(f"{told}; such images are skipped", fix)

    def _weights(self) -> Check:
        config = self.config.model_copy(update={"device": "cpu", "download_weights": False})
        from fedpatchcore.features.extractor import build_backbone

        try:
            self._backbone = build_backbone(config)
        except WeightsError as error:
            if self.config.download_weights and str(error).startswith("no weights for"):
                return warn(
                    f"no weights of {config.backbone} here; download-weights=true lets the run "
                    "fetch them, which needs internet access from this site",
                    f"fedpatchcore weights import FILE --backbone {config.backbone}",
                )
            raise
        digest = self._backbone.fingerprint.digest[:12]
        return ok(f"{config.backbone} from {self._backbone.source}, fingerprint {digest}")

    def _disk(self) -> Check:
        if self._backbone is None or not self._products or not self.config.cache_gb:
            return disk(self.cache)
        from PIL import Image

        side = self.config.image_size
        _, high, wide, long = self._backbone.extract([Image.new("RGB", (side, side))]).shape
        images = sum(len(p.train) + len(p.test) for p in self._products.values())
        needed = min(images * high * wide * long * 4, self.config.cache_gb * 1e9)
        return disk(self.cache, needed=needed, what=f"features of {images} images take about")

    def _key(self) -> Check:
        if self.key is None:
            raise Skip("--key node.key was not given (needed where the server knows its nodes)")
        how = f"fedpatchcore certs key {self.key.parent} SITE, and send node.pub to the server"
        try:
            mode = stat.S_IMODE(self.key.stat().st_mode)
            private = load_ssh_private_key(self.key.read_bytes(), None)
        except OSError as error:
            return fail(f"{self.key} cannot be read: {error.strerror}", f"name the file, or {how}")
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return fail(f"{self.key} is no OpenSSH private key without passphrase", how)
        curve = private.curve.name if isinstance(private, ec.EllipticCurvePrivateKey) else ""
        if curve != "secp384r1":
            return fail(f"{self.key} is no ECDSA P-384 key but {curve or 'of another kind'}", how)
        self._usable_key = True
        if mode & 0o077:
            return fail(
                f"{self.key} can be read by others (mode {mode:04o})", f"chmod 600 {self.key}"
            )
        return ok(f"{self.key}: ECDSA P-384, mode {mode:04o}")

    def _registration(self) -> Check:
        port = self._network()
        if not self._usable_key:
            raise Skip("no usable node key")
        if port.speaks != "tls":
            raise Skip("no trusted connection, so nothing is signed and sent")
        told = knock(port.address, self.root_certificates, self.key)
        answer, detail = told.get("answer", ""), told.get("detail", "")
        if answer == "registered":
            if told.get("node-authentication") == "off":
                return warn(
                    "the key is registered, but the SuperLink takes nodes without a key as well",
                    "at the server: start flower-superlink with --enable-supernode-auth",
                )
            return ok("the SuperLink knows this key")
        fixes = {
            "unknown-key": "at the server, with this site's node.pub: flwr supernode register "
            f"node.pub SUPERLINK --name {self.node.site or 'SITE'}",
            "refused": "set the clocks ('timedatectl set-ntp true'); is the key file damaged?",
            "closed": "use the address of the proxy (fedpatchcore proxy) or of the SuperLink",
            "unreachable": "start the SuperLink behind the proxy; look at its log",
        }
        words = {
            "unknown-key": "the SuperLink does not know this key",
            "refused": "the SuperLink refuses the signature",
            "closed": "this address does not pass Flower's calls on",
            "unreachable": "the SuperLink does not answer behind this address",
        }
        fix = fixes.get(answer, "compare the Flower versions here and at the server")
        return fail(f"{words.get(answer, 'an unexpected answer')} ({detail})", fix)

    def _control(self) -> Check:
        try:
            status = self._network().request("POST", "/v1/control/list-runs").status
        except HTTP_ERRORS as error:
            raise Skip(f"the request was not answered ({error})") from None
        if status in (403, 404):
            return ok(f"not reachable through this address (status {status})")
        return warn(
            f"the control API is open at this address (status {status}): whoever reaches it may "
            "run code at every site",
            "put the proxy in front (fedpatchcore proxy)",
        )


def clock(port: Port) -> Check:
    """This clock against the ``Date`` of ``GET /health``, within what Flower's signatures bear."""
    try:
        ahead = port.request("GET", "/health").ahead
    except HTTP_ERRORS as error:
        raise Skip(f"GET /health was not answered ({error})") from None
    if ahead is None:
        raise Skip("the answer to GET /health has no Date")
    told = f"this clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    told = told if abs(ahead) >= 1.5 else "agrees with the server's to about 1 s"
    told += "" if port.speaks == "tls" else " (read over a connection that is not trusted)"
    fix = "set this machine's clock, and the server's: 'timedatectl set-ntp true' (chrony, ntp)"
    if ahead >= AHEAD or ahead <= -BEHIND:
        limit = f"{AHEAD:g} s ahead" if ahead > 0 else f"{BEHIND:g} s behind"
        return fail(f"{told}; the server refuses signatures from {limit} on", fix)
    return warn(told, fix) if abs(ahead) > NOTICEABLE else ok(told)


def knock(address: Address, root_certificates: Path | None, key: Path) -> dict[str, str]:
    """What ``python -m client_app.knock`` found; this library itself never loads Flower."""
    command = [sys.executable, "-m", "client_app.knock", "--superlink", str(address)]
    command += ["--key", str(key)]
    command += ["--root-certificates", str(root_certificates)] if root_certificates else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=KNOCK_SECONDS, check=False
        )
        return json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"answer": "unreachable", "detail": f"nothing within {KNOCK_SECONDS:g} s"}
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"answer": "unexpected", "detail": last}
