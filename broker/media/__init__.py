"""Image files on their way in and out: downloads, blobs, links."""
