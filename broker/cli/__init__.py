"""The `broker` command, one file a group of commands."""
