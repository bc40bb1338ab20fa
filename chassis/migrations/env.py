"""Alembic's environment for the chassis and for every house: it runs on the session that `migrate` gives it."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    transaction_per_migration=True,  # One that ends its transaction (CREATE INDEX CONCURRENTLY) undoes no other.
)
with context.begin_transaction():
    context.run_migrations()
