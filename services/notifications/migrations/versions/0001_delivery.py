"""What is still to leave, and what became of it: one row a message, written with the fact that queued it."""

from alembic import op

revision = "0001"
down_revision = None

# pending → claimed → attempting → sent | failed | unknown; or suppressed before the provider is called.
#   claimed     a sender looks at it; if the sender dies, another one may take it: nothing has left yet.
#   attempting  the provider is being called; if the sender dies now, nobody can tell: it becomes unknown.
# `due_at` is by the deployment's clock (tandem_now()); `retry_at`, `claimed_at` are by the database's own: how long a
# sender may hold a message, and how soon a mail server is asked again, has nothing to do with a simulated year.
DELIVERY = """
    CREATE TABLE delivery (
        id uuid NOT NULL CONSTRAINT delivery_pkey PRIMARY KEY,
        key text COLLATE "C" NOT NULL,
        purpose text NOT NULL,
        channel text NOT NULL,
        template text NOT NULL,
        template_version text NOT NULL,
        wall_time text,
        not_after timestamptz NOT NULL,
        reason text NOT NULL,
        correlation_id uuid NOT NULL,
        causation_id uuid NOT NULL,
        state text NOT NULL DEFAULT 'pending'
            CHECK (state IN ('pending', 'claimed', 'attempting', 'sent', 'failed', 'unknown', 'suppressed')),
        due_at timestamptz NOT NULL,
        retry_at timestamptz NOT NULL DEFAULT '-infinity',
        attempt uuid,
        claimed_at timestamptz,
        holds integer NOT NULL DEFAULT 0,
        failures integer NOT NULL DEFAULT 0,
        CONSTRAINT delivery_attempt CHECK ((state IN ('claimed', 'attempting')) = (attempt IS NOT NULL)))"""


def upgrade() -> None:
    op.execute(DELIVERY)
    op.execute("CREATE INDEX delivery_pending ON delivery (due_at) WHERE state = 'pending'")
    op.execute("CREATE INDEX delivery_held ON delivery (claimed_at) WHERE state IN ('claimed', 'attempting')")
    op.execute("CREATE INDEX delivery_unknown ON delivery (claimed_at) WHERE state = 'unknown'")
