"""A small OTLP/HTTP receiver, run as a process: writes each span it gets as a line of JSON.

    python otlp_receiver.py SPANS.jsonl

It takes a free port of the loopback interface and prints it.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

__all__ = ["Receiver"]


def table(attributes) -> dict[str, object]:
    """Attributes of the protocol as a plain mapping."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


class Receiver(BaseHTTPRequestHandler):
    """Answers ``POST /v1/traces``."""

    protocol_version = "HTTP/1.1"
    file: Path
    one_at_a_time = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path != "/v1/traces":
            self.send_error(404)
            return
        request = ExportTraceServiceRequest.FromString(body)
        with self.one_at_a_time, self.file.open("a") as file:
            for sent in request.resource_spans:
                service = table(sent.resource.attributes)["service.name"]
                for span in (span for scope in sent.scope_spans for span in scope.spans):
                    file.write(json.dumps(self.line(service, span)) + "\n")
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    @staticmethod
    def line(service: str, span) -> dict[str, object]:
        return {
            "service": service,
            "trace": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "name": span.name,
            "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            "failed": span.status.code == span.status.STATUS_CODE_ERROR,
            "status": span.status.message,
            "attributes": table(span.attributes),
            "events": [event.name for event in span.events],
        }

    def log_message(self, format: str, *args) -> None: ...


if __name__ == "__main__":
    Receiver.file = Path(sys.argv[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
