"""Bytes: fetching inputs, storing blobs, linking to outputs."""
