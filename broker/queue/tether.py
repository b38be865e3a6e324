"""Becomes another program that dies with the process that started it: `tether.py PARENT_PID PROGRAM ARGUMENT…`.

The kernel does that on Linux alone; elsewhere the program is started all the same. A small program of its own, because
a `preexec_fn` may deadlock in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            raise SystemExit(1)
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
