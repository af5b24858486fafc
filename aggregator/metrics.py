"""What Prometheus may know: how the server works, and never how many people passed (R13)."""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter("dizaine_records", "Records taken in, by what became of them.", ["outcome"])
REFUSED = Counter("dizaine_refused_messages", "Messages refused, by reason.", ["reason"])
COMMIT_S = Histogram(
    "dizaine_commit_seconds", "Judging and committing one batch of messages.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)  # fmt: skip
BROKER_UP = Gauge("dizaine_broker_up", "Whether the broker is connected.")
DATABASE_UP = Gauge("dizaine_database_up", "Whether the database took the last batch.")
LEADER = Gauge("dizaine_leader", "Whether this worker evaluates alerts.")
OPEN_ALERTS = Gauge("dizaine_open_alerts", "Alerts that are open.")
DELIVERIES = Gauge("dizaine_deliveries", "Messages to staff, by state.", ["state"])
DEVICES = Gauge("dizaine_devices", "Registered devices, by state.", ["state"])
NEWEST_S = Gauge("dizaine_newest_window_seconds", "End of the newest window stored, since 1970.")
PAGE_S = Histogram(
    "dizaine_page_seconds", "Answering a request.", ["route"],
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5),
)  # fmt: skip
