"""Alembic's entry: run the steps on the connection that `broker.store.migrate` hands over."""

from alembic import context

from broker.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=False,
)
context.run_migrations()
