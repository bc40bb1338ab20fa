"""The archive: every fact as it was published, kept by what it is and never by where it lay."""

from alembic import op

revision = "0001"
down_revision = None

# What can be searched for is derived from the headers by the database itself, so that it cannot say anything else
# than they do. `recorded` is RFC 3339 in UTC with microseconds: text order is time order. Of an access fact,
# `patients` are those who were shown; a fork keeps both facts, so the hash belongs to the key.
ARCHIVE = """
    CREATE TABLE archive (
        source text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        sequence bigint NOT NULL CHECK (sequence > 0),
        hash bytea NOT NULL CHECK (length(hash) = 32),
        headers jsonb NOT NULL,
        value bytea NOT NULL,
        patients text[],
        archived_at timestamptz NOT NULL DEFAULT now(),
        type text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce(headers ->> 'ce_type', '')) STORED,
        actor text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce(headers ->> 'ce_actor', '')) STORED,
        recorded text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce(headers ->> 'ce_recordedtime', '')) STORED,
        CONSTRAINT archive_pkey PRIMARY KEY (source, key, sequence, hash))"""

# Each search ends in the order of a page: newest first.
SEARCHES = (
    "CREATE INDEX archive_recorded ON archive (recorded, source, key, sequence, hash)",
    "CREATE INDEX archive_key ON archive (key, recorded)",
    "CREATE INDEX archive_actor ON archive (actor, recorded)",
    "CREATE INDEX archive_type ON archive (type, recorded)",
    "CREATE INDEX archive_patients ON archive USING gin (patients) WHERE patients IS NOT NULL",
)

# A fact whose hash does not continue the fact before it, found when it arrived. It is kept in the archive all the same.
BROKEN_LINK = """
    CREATE TABLE broken_link (
        source text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        sequence bigint NOT NULL,
        hash bytea NOT NULL,
        found_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT broken_link_pkey PRIMARY KEY (source, key, sequence, hash))"""

# The chain's hash, once more and by other means than contracts/event.py.
FACT_HASH = """
    CREATE FUNCTION fact_hash(previous bytea, headers jsonb, body bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT sha256(previous || coalesce(string_agg(
            int4send(length(convert_to(h.key, 'UTF8'))) || convert_to(h.key, 'UTF8')
            || int4send(length(convert_to(h.value, 'UTF8'))) || convert_to(h.value, 'UTF8'),
            ''::bytea ORDER BY h.key COLLATE "C"), ''::bytea) || body)
        FROM jsonb_each_text(headers) AS h
        WHERE starts_with(h.key, 'ce_') AND h.key <> 'ce_hash'
    $$"""

APPEND_ONLY = (
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the archive is append-only' USING ERRCODE = 'insufficient_privilege';
    END $$""",
    "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON archive FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE TRIGGER never_emptied BEFORE TRUNCATE ON archive FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
)


def upgrade() -> None:
    for statement in (ARCHIVE, *SEARCHES, BROKEN_LINK, FACT_HASH, *APPEND_ONLY):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("an archive is not taken apart: restore a backup instead")
