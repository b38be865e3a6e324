"""The documents that a batch has pinned, read once a run."""

from __future__ import annotations

import structlog
from pydantic import BaseModel, ValidationError

from broker.batches import Batch
from broker.store.database import Database
from broker.store.documents import document_body
from broker.work.references import Documents
from handlers.contract import Spec

log = structlog.get_logger()


async def load_documents(database: Database, spec: Spec, batch: Batch) -> Documents:
    """Raises Unavailable when the database is away. A document that is gone, or that this
    version of the type cannot read, is missing in the answer.
    """
    found: dict[tuple[str, str], BaseModel] = {}
    for pin in batch.pinned:
        async with database.reading() as connection:
            body = await document_body(connection, batch.workspace, pin)
        if body is None:
            continue
        try:
            found[pin.kind, pin.id] = spec.documents[pin.kind].model_validate_json(body)
        except (KeyError, ValidationError):
            log.exception("document.unreadable", batch=batch.id, kind=pin.kind, id=pin.id, version=pin.version)
    return found
