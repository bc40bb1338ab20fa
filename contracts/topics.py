"""The one list of topics: name, partitions, key, retention, who writes, who reads.

All have the same number of partitions, so that range assignment gives one worker a patient's partition of every
topic. Nothing is ever deleted from them (`retention_ms` of -1); in a cluster old segments move to tiered storage.
"""

from dataclasses import dataclass

DECIDING = ("patients", "prescribing", "therapy", "scheduling", "notifications")
READING = ("care_view", "audit")
HOUSES = (*DECIDING, *READING)

PARTITIONS_IN_A_CLUSTER = 12
PARTITIONS_LOCAL = 4


@dataclass(frozen=True)
class Topic:
    """`writers` are sources as they stand in `ce_source`; `readers` are the houses that subscribe."""

    name: str
    key: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    retention_ms: int = -1


PATIENTS = Topic("patients.events", "the patient's id", ("/patients",), HOUSES)
PRESCRIBING = Topic(
    "prescribing.events",
    "the patient's id",
    ("/prescribing",),
    ("scheduling", "care_view", "audit"),
)
THERAPY = Topic(
    "therapy.events",
    "the patient's id",
    ("/therapy",),
    ("prescribing", "scheduling", "care_view", "audit"),
)
SCHEDULING = Topic(
    "scheduling.events",
    "the patient's id; of cover and working hours the clinician's",
    ("/scheduling",),
    ("scheduling", "notifications", "care_view", "audit"),
)
NOTIFICATIONS = Topic("notifications.events", "the patient's id", ("/notifications",), ("care_view", "audit"))
ACCESS = Topic(
    "access.events",
    "the id of the person who acted",
    tuple(f"/{house}/access" for house in HOUSES),
    ("audit",),
)
ANCHORS = Topic("audit.anchors", "the anchor's number", ("/audit",), ())

TOPICS = (PATIENTS, PRESCRIBING, THERAPY, SCHEDULING, NOTIFICATIONS, ACCESS, ANCHORS)
