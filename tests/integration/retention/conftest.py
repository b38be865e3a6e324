"""Blob stores of each kind."""

from __future__ import annotations

from tests.integration.stores import blobs, s3

__all__ = ["blobs", "s3"]
