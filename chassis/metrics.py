"""What Prometheus is told. Labels are names from closed lists (works, houses, routes, reasons), never an id.

The collectors live in the library's own registry: one process is one house, and `GET /metrics` shows them all.
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # A second series for each, which no alarm asks for.

# Reading: how far behind, and what could not be applied.
LAG_EVENTS = Gauge("projection_lag_events", "Records in Kafka that the work has not applied yet.", ["work"])
LAG_SECONDS = Gauge("projection_lag_seconds", "Age of the oldest fact that the work has not applied.", ["work"])
STALLED = Gauge("projection_stalled", "1 when records wait and nothing has moved for 30 s.", ["work"])
APPLIED = Counter("facts_applied", "Facts that the work has applied.", ["work"])
DUPLICATES = Counter("duplicate_dropped", "Facts dropped because they had been applied before.", ["work"])
GAPS = Counter("sequence_gap", "Facts that came before the one they follow.", ["work"])
FENCED = Counter("fenced", "Writes refused because a newer worker holds the partition.", ["work"])
UNKNOWN_TYPES = Counter("unknown_type", "Facts of a type that the work does not know.", ["work"])
PARKED = Counter("parked", "Facts set aside because they could not be applied.", ["work", "reason"])
BLOCKED = Gauge("blocked_patients", "Patients for whom facts are set aside.", ["work"])
REFUSED_REACTIONS = Counter("refused_reactions", "Commands of a reaction that were refused.", ["work", "reason"])

# Writing and publishing.
APPENDED = Counter("facts_appended", "Facts appended.", ["source"])
COLLISIONS = Counter("append_collisions", "Appends that lost a race and were decided again.", ["source"])
OUTBOX_AGE = Gauge("outbox_oldest_age_seconds", "Age of the oldest fact that is not published yet.", ["house"])
OUTBOX_REFUSED = Gauge("outbox_refused_streams", "Streams of which Kafka refused a fact for good.", ["house"])
OUTBOX_ROWS = Gauge("outbox_rows", "Facts that are not published yet.", ["house"])
PUBLISHED = Counter("facts_published", "Facts that Kafka acknowledged.", ["house"])
TIMERS_FIRED = Counter("timers_fired", "Timers that came due and were acted upon.", ["house"])

# Asking.
REQUESTS = Histogram(
    "http_request_seconds",
    "Time from a request's arrival to the last byte of its answer.",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10),
)
PROBLEMS = Counter("problems", "Requests answered with a problem document.", ["reason"])
UNAUTHENTICATED = Counter("unauthenticated_requests", "Requests without a token that holds.", ["why"])
ACCESS_AGE = Gauge("access_copy_age_seconds", "Age of this house's copy of who may see whom.", [])
