"""What this server counts, in Prometheus' terms.

Several processes on one port count together: each writes its numbers into a file that all of them can read (prometheus_client's own
multiprocess mode, which the environment variable SHARED switches on as it is imported), and whoever is asked answers with the sums.
"""

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"

registry = CollectorRegistry()

sockets = Gauge(
    "promptsync_sockets",
    "Devices in libraries: stock sockets, and channels of promptsync.v1.",
    registry=registry,
    multiprocess_mode="livesum",
)
rooms = Gauge("promptsync_rooms", "Libraries whose ranges this process holds.", registry=registry, multiprocess_mode="livesum")
deliveries = Counter("promptsync_deliveries", "Updates relayed to devices, senders included.", registry=registry)
stored = Counter("promptsync_updates_stored", "Updates stored.", registry=registry)
followed = Counter("promptsync_updates_followed", "Updates taken over from other processes.", registry=registry)
redundant = Counter("promptsync_updates_redundant", "Updates acknowledged without storing: they added nothing.", registry=registry)
refused = Counter("promptsync_updates_refused", "Updates refused.", ["reason"], registry=registry)
closes = Counter("promptsync_socket_closes", "Sockets this process closed.", ["code"], registry=registry)
refusals = Counter("promptsync_opening_refusals", "Openings refused.", ["code"], registry=registry)
documents = Gauge("promptsync_documents", "Libraries that are open as documents for REST.", registry=registry, multiprocess_mode="livesum")
document_bytes = Gauge("promptsync_document_bytes", "About what they take of memory.", registry=registry, multiprocess_mode="livesum")
documents_opened = Counter("promptsync_documents_opened", "Documents opened, by where they lie.", ["place"], registry=registry)
model_processes_ended = Counter(
    "promptsync_model_processes_ended", "Processes that call models that died or were stuck.", registry=registry
)
document_processes_ended = Counter(
    "promptsync_document_processes_ended", "Document processes that broke or took too long.", registry=registry
)
openings = Counter("promptsync_openings", "Opening answers, by how they were made.", ["kind"], registry=registry)
commits = Counter("promptsync_commits", "Write transactions, by outcome.", ["outcome"], registry=registry)
queue_bytes = Gauge("promptsync_writer_queue_bytes", "Updates waiting to be stored.", registry=registry, multiprocess_mode="livesum")
storing_failed_since = Gauge(
    "promptsync_storing_failed_since_seconds",
    "Unix time since which updates that were taken could not be stored, by lane; 0 while they are.",
    ["lane"],
    registry=registry,
    multiprocess_mode="livemax",
)
commit_seconds = Histogram(
    "promptsync_commit_seconds",
    "From the start of a write transaction to its commit.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
    registry=registry,
)
batch_rows = Histogram(
    "promptsync_batch_rows",
    "Updates stored by one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000),
    registry=registry,
)
compactions = Counter("promptsync_compactions", "Compactions of libraries, by outcome.", ["outcome"], registry=registry)
compaction_seconds = Histogram(
    "promptsync_compaction_seconds",
    "How long a library took to be compacted, or to be found in no need of it.",
    buckets=(0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
    registry=registry,
)
quarantined = Counter("promptsync_updates_quarantined", "Updates put into quarantine because Yrs breaks on them.", registry=registry)
bus_said = Counter("promptsync_bus_said", "Messages said to other processes.", registry=registry)
bus_heard = Counter("promptsync_bus_heard", "Messages of other processes.", registry=registry)
bus_dropped = Counter("promptsync_bus_dropped", "Messages to or of other processes that were dropped.", ["reason"], registry=registry)
limited = Counter("promptsync_limited", "Refusals and pauses, by the limit that was reached.", ["limit"], registry=registry)
counted_locally = Counter(
    "promptsync_limits_counted_locally", "Counts for limits that a process kept by itself since Redis did not answer.", registry=registry
)
jobs = Gauge(
    "promptsync_jobs",
    "Background jobs of this database that are not done, by state.",
    ["state"],
    registry=registry,
    multiprocess_mode="livemostrecent",  # each process counts all of them
)
handed_on = Counter("promptsync_connections_handed_on", "Connections given to the process of their library.", registry=registry)
model_calls = Counter("promptsync_model_calls", "Calls of models that have ended.", ["provider", "outcome"], registry=registry)
model_seconds = Histogram(
    "promptsync_model_call_seconds",
    "From the start of a call of a model to its end, however it ended.",
    ["provider"],
    buckets=(0.1, 0.3, 1, 2, 5, 10, 20, 40, 60, 120, 300),
    registry=registry,
)
model_calls_running = Gauge(
    "promptsync_model_calls_running", "Calls of models that are under way.", registry=registry, multiprocess_mode="livesum"
)
model_rows_lost = Counter(
    "promptsync_model_rows_lost", "Calls of models that could not be written down for `GET /api/usage`.", ["reason"], registry=registry
)
requests = Counter("promptsync_http_requests", "HTTP requests.", ["method", "route", "status"], registry=registry)


_shared: Path | None = None


def share(folder: Path) -> None:
    """From now on answer for all processes that count in this folder; SHARED named it when this one started."""
    global _shared
    _shared = folder


def exposition() -> bytes:
    """The text that `GET /metrics` answers (Prometheus text format 0.0.4)."""
    if _shared is None:
        return generate_latest(registry)
    together = CollectorRegistry()
    MultiProcessCollector(together, path=str(_shared))  # type: ignore[no-untyped-call]  # the library's own
    return generate_latest(together)
