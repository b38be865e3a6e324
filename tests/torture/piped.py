"""Becomes a program whose output goes through a pipe: a limit on the size of its files leaves its log alone.

Arguments: PROGRAM ARGUMENT…
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        while chunk := os.read(reader, 65536):
            os.write(2, chunk)
        return
    os.close(reader)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
