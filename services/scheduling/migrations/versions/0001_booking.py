"""When each clinician is taken: what keeps two patients from being given the same hour."""

from alembic import op

revision = "0001"
down_revision = None

# A clinician's visits exclude each other in time, whichever patients' streams they are in. The end is not included:
# one visit may begin as another ends.
BOOKING = """
    CREATE TABLE booking (
        appointment_id uuid NOT NULL CONSTRAINT booking_pkey PRIMARY KEY,
        clinician text COLLATE "C" NOT NULL,
        during tstzrange NOT NULL CHECK (NOT isempty(during)),
        CONSTRAINT booking_clinician_free EXCLUDE USING gist (clinician WITH =, during WITH &&))"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")  # Part of PostgreSQL; a database's owner may create it.
    op.execute(BOOKING)
