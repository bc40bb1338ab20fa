"""What a house that decides keeps: its events, the commands it accepted, what waits for Kafka, its timers."""

from alembic import op

revision = "0001"
down_revision = None

EVENT = """
    CREATE TABLE event (
        stream text COLLATE "C" NOT NULL,
        sequence bigint NOT NULL CHECK (sequence > 0),
        id uuid NOT NULL,
        headers jsonb NOT NULL,
        value bytea NOT NULL,
        hash bytea NOT NULL CHECK (length(hash) = 32),
        CONSTRAINT event_pkey PRIMARY KEY (stream, sequence))"""

# The reply is kept as sent. BRIN: its age is asked for once an hour, and an append should not pay for that.
COMMAND = """
    CREATE TABLE command (
        issuer text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        route text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        body_hash bytea NOT NULL,
        reply bytea NOT NULL,
        accepted_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT command_pkey PRIMARY KEY (issuer, subject, route, key))"""
COMMAND_AGE = "CREATE INDEX command_accepted_at ON command USING brin (accepted_at) WITH (autosummarize = on)"

# An identity with CACHE 1: a session's own supply of numbers would invert a stream. The row names the event and does
# not repeat it, so that what is written and deleted with every fact stays small.
OUTBOX = """
    CREATE TABLE outbox (
        position bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) CONSTRAINT outbox_pkey PRIMARY KEY,
        stream text COLLATE "C" NOT NULL,
        sequence bigint NOT NULL,
        topic text NOT NULL,
        queued_at timestamptz NOT NULL DEFAULT now())"""
# A queue is all dead rows: at the default of a fifth, readers would wade through them.
OUTBOX_VACUUM = """
    ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
                            autovacuum_vacuum_cost_delay = 0)"""

RELAY_LEASE = """
    CREATE TABLE relay_lease (
        house text PRIMARY KEY,
        token text NOT NULL,
        expires timestamptz NOT NULL)"""
# A stream whose next event Kafka does not take. An operator mends the cause and deletes the row.
REFUSED = """
    CREATE TABLE refused (
        stream text COLLATE "C" PRIMARY KEY,
        position bigint NOT NULL,
        reason text NOT NULL,
        at timestamptz NOT NULL DEFAULT now())"""

TIMER = """
    CREATE TABLE timer (
        id uuid PRIMARY KEY,
        key text COLLATE "C" NOT NULL,
        kind text NOT NULL,
        due_at timestamptz NOT NULL,
        correlation_id uuid NOT NULL,
        causation_id uuid NOT NULL,
        fired_at timestamptz)"""
TIMER_DUE = "CREATE INDEX timer_due ON timer (due_at, id) WHERE fired_at IS NULL"

TANDEM_NOW = """
    CREATE FUNCTION tandem_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS
    $$ SELECT coalesce((SELECT simulated_now FROM deployment), now()) $$"""


def upgrade() -> None:
    for statement in (
        EVENT,
        COMMAND,
        COMMAND_AGE,
        OUTBOX,
        OUTBOX_VACUUM,
        RELAY_LEASE,
        REFUSED,
        TIMER,
        TIMER_DUE,
        TANDEM_NOW,
    ):
        op.execute(statement)
