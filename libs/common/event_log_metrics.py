"""What every engine of the event log counts, under the same names: whoever watches them need not know the engine."""

from libs.common.observability import REGISTRY, Counter, Histogram

appended = Counter("kizashi_log_appended_records_total", "Records made durable by this process", registry=REGISTRY)
append_seconds = Histogram(
    "kizashi_log_append_seconds", "Time of one transaction or batch of appends", registry=REGISTRY
)
