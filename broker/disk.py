"""Making a folder's entries durable: a new or renamed file is safe only after its folder is flushed too (fsync(2))."""

from __future__ import annotations

import os
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Returns when the entries of `folder`, though not its files' bytes, are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
