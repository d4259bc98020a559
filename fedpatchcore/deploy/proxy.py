"""The door that sites knock at: an nginx configuration that lets through the Fleet API alone.

Flower's SuperLink serves three APIs on one port. ``/v1/fleet/`` is what a SuperNode needs;
``/v1/control/`` lists runs, registers nodes and submits code that runs at every site;
``/v1/runtime/`` serves the ServerApp. Without an account system whoever reaches the port may call
all three. So the SuperLink listens on a private address, and sites reach this proxy, which
passes named Fleet calls and answers 404 to everything else. TLS ends here and is made anew to
the SuperLink, whose certificate is verified.
"""

from __future__ import annotations

from pathlib import Path
from string import Template

from fedpatchcore.errors import ConfigError

__all__ = ["FLEET_CALLS", "nginx_configuration"]

# What a SuperNode of Flower 1.41 calls. Registration over the Fleet API is left out: with node
# authentication nodes are registered at the server, by 'flwr supernode register'.
FLEET_CALLS = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    "push-object",
    "pull-object",
    "confirm-message-received",
)

# Flower moves large arrays in objects of at most 5 MB; a request is one object and its envelope.
MAX_BODY = "64m"

TEMPLATE = Template("""\
# Made by: fedpatchcore proxy
# Sites reach this; it lets through the Fleet API of the SuperLink and nothing else.
worker_processes auto;
daemon off;
pid $scratch/nginx.pid;
error_log stderr warn;

events { worker_connections 1024; }

http {
    server_tokens off;
    client_body_temp_path $scratch/body;
    proxy_temp_path $scratch/proxy;
    fastcgi_temp_path $scratch/fastcgi;
    uwsgi_temp_path $scratch/uwsgi;
    scgi_temp_path $scratch/scgi;

    # Only what was refused or failed is logged: who, what, why.
    map $$status $$told { ~^[23] 0; default 1; }
    log_format refused '$$time_iso8601 $$remote_addr $$status "$$request" $$upstream_status';
    access_log $access_log refused if=$$told;

    limit_conn_zone $$binary_remote_addr zone=address:1m;

    upstream superlink { server $superlink; keepalive 32; }

    server {
        listen $listen ssl;
        ssl_certificate $certificate;
        ssl_certificate_key $key;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:5m;
        keepalive_timeout 75s;
        client_max_body_size $max_body;
        client_header_timeout 30s;
        client_body_timeout 120s;
        send_timeout 120s;
        limit_conn address 64;

        location = /health { default_type text/plain; return 200 "ok\\n"; }

        location ~ ^/v1/fleet/(?:$calls)$$ {
            # The path must also stand so in the request line: no dots, no encoding.
            if ($$request_uri !~ "^/v1/fleet/[a-z-]+$$") { return 404; }
            limit_except POST { deny all; }
            proxy_pass https://superlink;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate $ca;
            proxy_ssl_name superlink;
            proxy_ssl_server_name on;
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
            proxy_request_buffering off;   # features never touch this disk
            proxy_buffering off;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host superlink;
            proxy_connect_timeout 10s;
            proxy_read_timeout 120s;
            proxy_send_timeout 120s;
        }

        location / { return 404; }
    }
}
""")


def nginx_configuration(
    certificates: Path,
    *,
    listen: str = "0.0.0.0:8443",
    superlink: str = "127.0.0.1:8000",
    scratch: Path,
    access_log: str = "/dev/stdout",
) -> str:
    """The configuration file's text.

    Args:
        certificates: folder with ``server.crt``, ``server.key`` and ``ca.crt`` on the server.
        listen: address:port that sites reach.
        superlink: private address:port of the SuperLink.
        scratch: folder that nginx may write to (pid, request bodies).
        access_log: where refused requests are noted.

    Raises:
        ConfigError: an address without a port, or a path nginx cannot take.
    """
    for address in (listen, superlink):
        host, colon, port = address.rpartition(":")
        if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(f"'{address}' is no address: write host:port, e.g. 0.0.0.0:8443")
    folder = certificates.expanduser().absolute()
    for text in (listen, superlink, str(folder), str(scratch), access_log):
        if any(c in text for c in " ;{}\"'$\n"):
            raise ConfigError(f"'{text}' cannot stand in an nginx configuration")
    return TEMPLATE.substitute(
        listen=listen,
        superlink=superlink,
        certificate=folder / "server.crt",
        key=folder / "server.key",
        ca=folder / "ca.crt",
        scratch=scratch,
        access_log=access_log,
        max_body=MAX_BODY,
        calls="|".join(FLEET_CALLS),
    )
