"""Small pictures of large ones: an example of a type that another party adds to the broker."""
