"""OpenTelemetry spans over OTLP/HTTP: run → round → message to a site → phase at the site.

On when ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) is set; the
SDK's other variables hold as well. The server makes the first three; each message carries its
own span as a W3C ``traceparent``, and the site hangs its phases below that.

Processes end right after their work, so each sends what it has before it ends, and gives up
after `FLUSH_SECONDS`: an unreachable collector costs the spans and nothing else. A process that
stays, a site's worker, lets its answer go first. Spans hold names of sites, counts, bytes and what
kind of failure it was; never its text, which may name a file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from fedpatchcore.timing.phases import Facts

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

__all__ = ["RunTrace", "SiteTrace", "Spans", "wanted"]

FLUSH_SECONDS = 1.5
NAMESPACE = "fedpatchcore."
# What a span may tell of a reply or a phase.
COUNTS = ("bytes", "images", "patches", "rows", "products")


def wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names a collector."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environ.get(name) for name in names)


class Spans:
    """Makes spans and sends them, in the background and at `close`."""

    def __init__(self, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(timeout=FLUSH_SECONDS))
        )
        self._tracer = self._provider.get_tracer("fedpatchcore")

    def start(self, name: str, parent: Context, **attributes: Any) -> Span:
        """A span below ``parent``; attributes get this project's prefix, None is left out."""
        span = self._tracer.start_span(name, context=parent)
        describe(span, attributes)
        return span

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Send what is left; waits so long at most, for the SDK's own flush has no bound."""
        sender = threading.Thread(target=self._provider.shutdown, daemon=True)
        sender.start()
        sender.join(seconds)


def describe(span: Span, attributes: Mapping[str, Any]) -> None:
    """Set attributes under this project's prefix."""
    for key, value in attributes.items():
        if value is not None:
            span.set_attribute(NAMESPACE + key, value)


def spoil(span: Span, what: str) -> None:
    """Mark a span as failed; ``what`` is a kind of failure, never a message."""
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, what))


def below(span: Span) -> Context:
    """The context whose new spans are children of ``span``."""
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span, nowhere())


def nowhere() -> Context:
    """An empty context: a span started in it begins a trace."""
    from opentelemetry.context import Context

    return Context()


class RunTrace:
    """The server's spans of a run, as a context manager. Without a collector nothing happens."""

    def __init__(self, run: str = "", spans: Spans | None = None) -> None:
        self._spans = spans
        self._round: Span | None = None
        self._number = 0
        self._sent: dict[int, Span] = {}
        if spans:
            self._run = spans.start("run", nowhere(), run=run)

    @classmethod
    def open(cls, run: str) -> RunTrace:
        """As the environment asks for."""
        return cls(run, Spans("fedpatchcore-server") if wanted() else None)

    def __enter__(self) -> RunTrace:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._spans:
            if kind:
                spoil(self._run, kind.__name__)
            self._end_round(kind.__name__ if kind else "")
            self._run.end()
            self._spans.close()

    def begin_round(self, number: int) -> None:
        """From here on messages belong to this round."""
        if self._spans:
            self._end_round()
            self._number = number
            self._round = self._spans.start("round", below(self._run), round=number)

    def end_round(self, **facts: Any) -> None:
        """The round is complete."""
        if self._round:
            describe(self._round, facts)
            self._end_round()

    def _end_round(self, failure: str = "") -> None:
        for span in self._sent.values():
            spoil(span, failure or "no reply")
            span.end()
        self._sent.clear()
        if self._round:
            if failure:
                spoil(self._round, failure)
            self._round.end()
        self._round = None

    def sent(self, node: int, kind: str, site: str, nbytes: int = 0) -> str:
        """A message goes out; returns the ``traceparent`` to send along, "" without tracing."""
        if not self._spans or not self._round:
            return ""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        facts = {"site": site, "round": self._number, "bytes_sent": nbytes}
        parent = below(self._round)
        span = self._sent[node] = self._spans.start(f"site {kind}", parent, **facts)
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, below(span))
        return carrier.get("traceparent", "")

    def answered(self, node: int, site: str, facts: Mapping[str, Any]) -> None:
        """A good reply is in hand."""
        if span := self._sent.pop(node, None):
            describe(span, {"site": site, **{k: facts[k] for k in COUNTS if k in facts}})
            span.end()

    def failed(self, node: int, what: str) -> None:
        """A reply was refused, or none came."""
        if span := self._sent.pop(node, None):
            spoil(span, what)
            span.end()


class Told(Protocol):
    """What a site's spans need of the message being handled; its name may become known late."""

    site: str
    withheld: bool


class SiteTrace:
    """A site's phases as spans below the server's span of the message."""

    def __init__(
        self, about: Told, number: int = 0, spans: Spans | None = None, parent: Context = None
    ) -> None:
        self._about = about
        self._number = number
        self._spans = spans
        self._parent = parent

    @classmethod
    @contextmanager
    def open(
        cls, about: Told, number: int, traceparent: str, *, stays: bool = False
    ) -> Iterator[SiteTrace]:
        """As the environment and the message ask for; sends everything when the block ends.

        Args:
            stays: this process goes on: nobody waits for the sending.
        """
        if not (traceparent and wanted()):
            yield cls(about)
            return
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": traceparent}
        parent = TraceContextTextMapPropagator().extract(carrier, nowhere())
        spans = Spans("fedpatchcore-site")
        try:
            yield cls(about, number, spans, parent)
        finally:
            spans.close(0.0 if stays else FLUSH_SECONDS)

    @contextmanager
    def phase(self, name: str, facts: Facts) -> Iterator[None]:
        """A `fedpatchcore.timing.phases.Watcher`: one span a phase."""
        if not self._spans:
            yield
            return
        about = {"site": self._about.site, "round": self._number or None}
        span = self._spans.start(name, self._parent, **about)
        try:
            yield
        except BaseException as error:
            spoil(span, type(error).__name__)
            raise
        finally:
            if not self._about.withheld:
                describe(span, {k: facts[k] for k in COUNTS if k in facts})
            span.end()
