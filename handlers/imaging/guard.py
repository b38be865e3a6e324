"""How a process may use libvips, and what a failed decode tells the customer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pillow_heif
import pyvips

from handlers.contract import Config, RecordError

LOADERS = ("Jpeg", "Png", "Webp", "Nsgif", "Tiff", "Heif")
"""The libvips loader classes that may run, by the end of their names `VipsForeignLoad…`."""


def setup(config: Config) -> None:
    """Bound libvips for this process: allowed loaders, no operation cache, `config.threads` threads a picture."""
    _block_loaders()
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(config.threads)
    pillow_heif.options.DECODE_THREADS = config.threads
    # A damaged picture makes libvips warn once a tile; the customer's answer says it once.
    logging.getLogger("pyvips").setLevel(logging.ERROR)


@cache
def _block_loaders() -> None:
    """Once a process: doing it again would block every loader for a moment under running decodes."""
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for name in LOADERS:
        pyvips.operation_block_set(f"VipsForeignLoad{name}", False)


@contextmanager
def readable() -> Iterator[None]:
    """Turn what the decoders raise about bad bytes into an answer that never quotes them."""
    try:
        yield
    except pyvips.Error as error:
        if "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        raise _damaged() from error
    # What Pillow and pillow-heif raise for bad bytes; both read from memory, so an OSError is never the disk's.
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError) as error:
        raise _damaged() from error


def _damaged() -> RecordError:
    return RecordError(400, "the image is damaged or incomplete")
