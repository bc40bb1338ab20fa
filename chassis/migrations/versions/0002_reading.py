"""What a house that reads keeps: how far it has read, and which facts it could not apply.

All of it is per work (a projection or a reaction: name and version), and written in the transaction of the work.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# Offsets mean something in one Kafka cluster only: its id stands beside them.
CHECKPOINT = """
    CREATE TABLE checkpoint (
        work text COLLATE "C" NOT NULL,
        version int NOT NULL,
        topic text COLLATE "C" NOT NULL,
        part int NOT NULL,
        next_offset bigint NOT NULL CHECK (next_offset >= 0),
        epoch bigint NOT NULL,
        cluster text NOT NULL,
        applied_at timestamptz,
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT checkpoint_pkey PRIMARY KEY (work, version, topic, part))"""

# `seen` is {source: [sequence, hash in hex]}: the last fact applied of every source. A projection keeps it in its
# document's row instead. Whichever row it is, its lock is taken before anything of that key is judged.
SEEN = """
    CREATE TABLE seen (
        work text COLLATE "C" NOT NULL,
        version int NOT NULL,
        key text COLLATE "C" NOT NULL,
        seen jsonb NOT NULL DEFAULT '{}',
        stale_since timestamptz,
        CONSTRAINT seen_pkey PRIMARY KEY (work, version, key)) WITH (fillfactor = 70)"""

BLOCKED = """
    CREATE TABLE blocked (
        work text COLLATE "C" NOT NULL,
        version int NOT NULL,
        key text COLLATE "C" NOT NULL,
        source text COLLATE "C" NOT NULL,
        reason text NOT NULL,
        since timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT blocked_pkey PRIMARY KEY (work, version, key, source))"""

# A record as it came. Kafka's key, the names and the values of headers may hold what text in PostgreSQL may not:
# they are bytes here. What could not even be placed has no sequence, and is told apart by where it lay and by the hash
# of its bytes.
PARKED = """
    CREATE TABLE parked (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT parked_pkey PRIMARY KEY,
        work text COLLATE "C" NOT NULL,
        version int NOT NULL,
        key text COLLATE "C",
        source text COLLATE "C",
        sequence bigint,
        hash bytea NOT NULL,
        topic text NOT NULL,
        part int NOT NULL,
        record_offset bigint NOT NULL,
        timestamp_ms bigint NOT NULL,
        record_key bytea,
        headers bytea NOT NULL,
        value bytea,
        reason text NOT NULL,
        attempts int NOT NULL DEFAULT 1,
        parked_at timestamptz NOT NULL DEFAULT now())"""
# Sequence *and* hash: sequence alone would drop a fork of a parked number.
PARKED_FACT = """
    CREATE UNIQUE INDEX parked_fact ON parked (work, version, key, source, sequence, hash)
    WHERE sequence IS NOT NULL"""
PARKED_PLACE = """
    CREATE UNIQUE INDEX parked_place ON parked (work, version, topic, part, record_offset, hash)
    WHERE sequence IS NULL"""

# Which version of a projection its readers name.
PROJECTION = """
    CREATE TABLE projection (
        name text COLLATE "C" CONSTRAINT projection_pkey PRIMARY KEY,
        live_version int NOT NULL,
        live_since timestamptz NOT NULL DEFAULT now())"""

# Facts that a projection went past because it did not know their type: once it does, a rebuild is due.
SKIPPED_TYPE = """
    CREATE TABLE skipped_type (
        work text COLLATE "C" NOT NULL,
        version int NOT NULL,
        type text COLLATE "C" NOT NULL,
        first_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT skipped_type_pkey PRIMARY KEY (work, version, type))"""

# A reaction's command that was refused: nobody asked, so nobody was told.
REFUSED_REACTION = """
    CREATE TABLE refused_reaction (
        ask_id uuid CONSTRAINT refused_reaction_pkey PRIMARY KEY,
        work text NOT NULL,
        key text NOT NULL,
        cause uuid NOT NULL,
        reason text NOT NULL,
        at timestamptz NOT NULL DEFAULT now())"""


def upgrade() -> None:
    for statement in (
        CHECKPOINT,
        SEEN,
        BLOCKED,
        PARKED,
        PARKED_FACT,
        PARKED_PLACE,
        PROJECTION,
        SKIPPED_TYPE,
        REFUSED_REACTION,
    ):
        op.execute(statement)
