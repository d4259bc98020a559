"""Ask a SuperLink whether it knows a node key, without becoming online: one line of JSON.

    python -m client_app.knock --superlink HOST:PORT --root-certificates ca.crt --key node.key

An ``activate-node`` request with a heartbeat interval of 0 is signed and sent. Flower 1.41 looks
the key up first (unknown: code 2004) and validates the interval next (code 2003), both before
it changes any state. So a SuperNode that runs with this key is not disturbed.

Whether the SuperLink authenticates nodes at all is asked with ``register-node`` for a key that
is registered already: with authentication the call is refused as such (code 2001), without it
the key is found to be in use (code 23); neither changes anything. Behind the proxy that call
does not exist and the answer is ``unknown``.

Answers: ``registered``, ``unknown-key``, ``refused`` (signature or clock), ``closed`` (the address
does not pass the call on), ``unreachable``, ``bad-key``, ``unexpected``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest, RegisterNodeFleetRequest
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

__all__ = ["knock", "main"]

INVALID_INTERVAL = 0.0
REGISTRATION = {
    ApiErrorCode.FLEET_SUPERNODE_REGISTRATION_DISABLED: "on",
    ApiErrorCode.PUBLIC_KEY_ALREADY_IN_USE: "off",
}


def knock(superlink: str, root_certificates: Path | None, key: Path) -> dict[str, str]:
    """Answer, detail and, for a registered key, whether node authentication is ``on``."""
    try:
        private = load_ssh_private_key(key.expanduser().read_bytes(), None)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        return {"answer": "bad-key", "detail": f"{key}: {error}"}
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        return {"answer": "bad-key", "detail": f"{key} is no ECDSA key"}
    public = public_key_to_bytes(private.public_key())
    try:
        with FleetHttpClient.from_server_address(
            superlink,
            insecure=False,
            root_certificates=root_certificates and root_certificates.expanduser().read_bytes(),
            interceptors=[NodeAuthHttpInterceptor(private, private.public_key())],
        ) as client:
            found = _activate(client, public)
            if found["answer"] == "registered":
                found["node-authentication"] = _authentication(client, public)
            return found
    except (httpx.HTTPError, OSError, ValueError) as error:
        return {"answer": "unreachable", "detail": f"{type(error).__name__}: {error}"}


def _activate(client: FleetHttpClient, public: bytes) -> dict[str, str]:
    try:
        client.ActivateNode(
            ActivateNodeRequest(public_key=public, heartbeat_interval=INVALID_INTERVAL)
        )
    except httpx.HTTPStatusError as error:
        status, code, told = _reason(error.response)
        detail = f"{status} {told}".strip()
        if code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
            return {"answer": "registered", "detail": "the SuperLink knows this key"}
        if code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
            return {"answer": "unknown-key", "detail": detail}
        answers = {401: "refused", 403: "closed", 404: "closed", 502: "unreachable"}
        answers |= {503: "unreachable", 504: "unreachable"}
        return {"answer": answers.get(status, "unexpected"), "detail": detail}
    return {"answer": "unexpected", "detail": "a heartbeat interval of 0 was accepted"}


def _authentication(client: FleetHttpClient, public: bytes) -> str:
    try:
        client.RegisterNode(RegisterNodeFleetRequest(public_key=public))
    except httpx.HTTPStatusError as error:
        return REGISTRATION.get(_reason(error.response)[1], "unknown")
    except (httpx.HTTPError, ValueError):
        return "unknown"
    return "off"


def _reason(response: httpx.Response) -> tuple[int, int, str]:
    """Status, Flower's error code (0: none) and the text of an answer."""
    if found := FlowerError.from_json(response.text):
        return response.status_code, found.code, f"[code: {found.code}] {found.message}"
    try:
        return response.status_code, 0, str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.status_code, 0, response.reason_phrase


def main(words: Sequence[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m client_app.knock", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--superlink", required=True, metavar="HOST:PORT")
    parser.add_argument("--root-certificates", type=Path)
    parser.add_argument("--key", type=Path, required=True)
    told = parser.parse_args(words)
    print(json.dumps(knock(told.superlink, told.root_certificates, told.key)))


if __name__ == "__main__":
    main()
