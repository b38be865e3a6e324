"""Processes that die with the one that started them.

As a program, `tether.py PARENT_PID PROGRAM ARGUMENT…` becomes another program that does; a small program of its own,
because a `preexec_fn` may deadlock in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tethered(*command: str) -> list[str]:
    """The command line that runs `command` as a process that dies with this one."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends. The kernel does that on Linux alone; nothing happens elsewhere.

    To the kernel the parent is the thread that started the process: that thread must live as long as the parent.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        raise SystemExit(1)


def main() -> None:
    die_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
