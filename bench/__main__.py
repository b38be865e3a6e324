"""The whole table of what the broker aims at, measured here and now: `python -m bench`, `make bench`."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from time import monotonic

from bench import accept, crossings, drain, end_to_end, large, lists, memory, pickup, picture, scaling, sends, upscale
from bench.figures import Figure, rows

BENCHES: Sequence[Callable[[], Sequence[Figure]]] = (
    accept.figures,
    pickup.figures,
    end_to_end.figures,
    sends.figures,
    large.figures,
    crossings.figures,
    picture.figures,
    upscale.figures,
    memory.figures,
    drain.figures,
    scaling.figures,
    lists.figures,
)


def main() -> int:
    """Run every bench, print its rows as they come; 1 where one could not be run to its end."""
    begin, failed = monotonic(), 0
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for bench in BENCHES:
        try:
            print(*rows(bench()), sep="\n", flush=True)
        except Exception:
            failed += 1
            print(f"{bench.__module__} failed", flush=True)
            traceback.print_exc()
    print(f"{(monotonic() - begin) / 60:.1f} minutes", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
