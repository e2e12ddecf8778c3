"""Alembic's entry: runs one schema's migrations on the connection that ``libs.common.migrate`` hands over."""

from alembic import context

settings = context.config.attributes
context.configure(
    connection=settings["connection"],
    version_table="schema_version",
    version_table_schema=settings["schema"],
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
