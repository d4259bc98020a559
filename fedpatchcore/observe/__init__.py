"""What can be watched from outside: logs of JSON, Prometheus metrics, OpenTelemetry traces.

Each is off unless it is asked for, and none may cost a round: what cannot be written or sent is
said once and left out (docs/observability.md).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "exporter": ["serve"],
        "logs": ["guard", "use_json"],
        "message": ["Handling", "handling"],
        "metrics": ["Metric", "PREFIX", "SWITCH", "metrics_folder"],
        "run": ["listeners"],
        "traces": ["RunTrace"],
    },
)
