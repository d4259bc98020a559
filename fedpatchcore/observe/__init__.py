"""What can be watched from outside: logs, metrics and traces, each off unless it is asked for.

    logs.py      one JSON object a line          FEDPATCHCORE_LOG=json
    metrics.py   Prometheus, files that outlive  PROMETHEUS_MULTIPROC_DIR
    exporter.py  serves those files              fedpatchcore exporter
    traces.py    OpenTelemetry over OTLP/HTTP    OTEL_EXPORTER_OTLP_ENDPOINT
    phases.py    the seam: where work names its phases
    run.py, message.py   what the server and a site switch on

None of them may cost a round: what cannot be written or sent is said once and left out.
"""
