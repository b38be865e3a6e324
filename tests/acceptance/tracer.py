"""Runs a program and writes down its system calls, as `strace` does: `tracer.py OUT PROGRAM ARGUMENT…`.

Of its own, so that the tests need no package of the system and no root: a process may trace its children on Linux.
Only the calls in CALLS stop the program (a seccomp filter sees to that), so it runs at nearly its own speed. A line is
JSON: what, when (`begin` or `end` of the call), fd, the file behind it, the result, and the first bytes of the data.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import struct
import sys
from pathlib import Path
from typing import IO

# fmt: off
CALLS = {
    "x86_64": {
        "read": 0, "write": 1, "readv": 19, "writev": 20, "sendto": 44, "recvfrom": 45, "sendmsg": 46,
        "recvmsg": 47, "fsync": 74, "fdatasync": 75,
    },
    "aarch64": {
        "read": 63, "write": 64, "readv": 65, "writev": 66, "sendto": 206, "recvfrom": 207, "sendmsg": 211,
        "recvmsg": 212, "fsync": 82, "fdatasync": 83,
    },
}[platform.machine()]
# fmt: on
NAMES = {number: name for name, number in CALLS.items()}
TRACEME, CONT, SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 7, 24, 0x4200, 0x420E
EVENT_SECCOMP = 7
OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
"""Mark stops of system calls; follow fork, vfork, clone and exec; stop at the filter; kill the program with us."""
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN, RET_ALLOW, RET_TRACE = 0x20, 0x15, 0x06, 0x7FFF0000, 0x7FF00000
WALL = 0x40000000  # wait for threads, too
HEAD_BYTES = 24
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(what: int, pid: int, address: int | None = None, data: int | None = None) -> int:
    result = int(libc.ptrace(what, pid, address, data))
    if result == -1 and (number := ctypes.get_errno()):
        raise OSError(number, f"ptrace: {os.strerror(number)}")
    return result


def become_traced(program: list[str]) -> None:
    """In the child: ask for the parent's eyes, let the filter wake it at CALLS, and become the program."""
    ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    numbers = sorted(NAMES)
    jumps = [(JUMP_IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    lines = [(LOAD, 0, 0, 0), *jumps, (RETURN, 0, 0, RET_ALLOW), (RETURN, 0, 0, RET_TRACE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    installed = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(code)))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, installed, 0, 0):
        raise OSError(ctypes.get_errno(), "the seccomp filter was refused")
    os.execv(program[0], program)


class Tracer:
    """Watches all threads and processes of one program."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._known: set[int] = set()
        self._began: dict[int, tuple[int, tuple[int, ...]]] = {}

    def watch(self, child: int) -> int:
        """Follow until the program has ended; returns its exit status."""
        os.waitpid(child, 0)
        ptrace(SETOPTIONS, child, None, OPTIONS)
        self._known.add(child)
        ptrace(CONT, child)
        while True:
            thread, status = os.waitpid(-1, WALL)
            if os.WIFSTOPPED(status):
                self._go_on(thread, status)
            elif thread == child:
                return os.waitstatus_to_exitcode(status)

    def _go_on(self, thread: int, status: int) -> None:
        number, event = os.WSTOPSIG(status), status >> 16
        how, pass_on = CONT, 0
        if event == EVENT_SECCOMP:
            self._begin(thread)
            how = SYSCALL
        elif number == signal.SIGTRAP | 0x80:
            self._end(thread)
        elif not event and not (number == signal.SIGSTOP and thread not in self._known):
            pass_on = number
        self._known.add(thread)
        try:
            ptrace(how, thread, None, pass_on)
        except ProcessLookupError:
            self._known.discard(thread)

    def _begin(self, thread: int) -> None:
        info = self._info(thread)
        call = struct.unpack_from("=Q", info, 24)[0]
        arguments = struct.unpack_from("=6Q", info, 32)
        self._began[thread] = (call, arguments)
        name = NAMES[call]
        if not name.startswith(("read", "recv")):
            self._write("begin", thread, name, arguments, None)

    def _end(self, thread: int) -> None:
        call, arguments = self._began.pop(thread)
        name, result = NAMES[call], struct.unpack_from("=q", self._info(thread), 24)[0]
        if result >= 0 and name.startswith(("read", "recv", "fsync", "fdatasync")):
            self._write("end", thread, name, arguments, result)

    def _write(self, when: str, thread: int, name: str, arguments: tuple[int, ...], result: int | None) -> None:
        fd = arguments[0]
        head = "" if "sync" in name else self._head(thread, name, arguments)
        try:
            file = str(Path(f"/proc/{thread}/fd/{fd}").readlink())
        except OSError:
            file = ""
        line = {"call": name, "when": when, "fd": fd, "file": file, "result": result, "head": head}
        self._out.write(json.dumps(line) + "\n")

    def _head(self, thread: int, name: str, arguments: tuple[int, ...]) -> str:
        address, size = arguments[1], arguments[2]
        if name in ("sendmsg", "recvmsg"):
            address = struct.unpack("=Q", self._peek(thread, address + 16, 8))[0]
        if name in ("sendmsg", "recvmsg", "readv", "writev"):
            address, size = struct.unpack("=QQ", self._peek(thread, address, 16))
        return self._peek(thread, address, min(size, HEAD_BYTES)).decode("latin-1")

    def _info(self, thread: int) -> bytes:
        info = ctypes.create_string_buffer(88)
        ptrace(GET_SYSCALL_INFO, thread, len(info), ctypes.addressof(info))
        return info.raw

    def _peek(self, thread: int, address: int, size: int) -> bytes:
        with Path(f"/proc/{thread}/mem").open("rb", 0) as memory:
            memory.seek(address)
            return memory.read(size)


def main() -> None:
    out, program = sys.argv[1], sys.argv[2:]
    child = os.fork()
    if child == 0:
        become_traced(program)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda seen, _frame: os.kill(child, seen))
    with Path(out).open("w", buffering=1) as lines:
        code = Tracer(lines).watch(child)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
