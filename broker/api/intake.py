"""How many bytes of large bodies a web process holds at once: of all its tenants, and of one."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from broker.errors import Unavailable

SMALL = 256 * 1024
"""Bodies up to this are not counted: a POST of links costs nothing here, and large ones keep none out."""
LARGEST_AT_ONCE = 4
"""Bodies of the largest size for which there is room."""
BUSY = "The service is busy with other large requests. Try again shortly."


class Intake:
    """One a web process. A workspace has half of the room that others leave, so that however many send slowly, one more
    finds some; beside one other, even for the largest body.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.room = LARGEST_AT_ONCE * max_body_bytes
        self.held: Counter[str] = Counter()

    def share(self, workspace: str) -> Share:
        """What one request of this workspace holds; to be entered."""
        return Share(self, workspace)

    def take(self, workspace: str, size: int) -> None:
        """Raises Unavailable where there is no room for so many bytes more."""
        own = self.held[workspace]
        left_by_others = self.room - (self.held.total() - own)
        if own + size > left_by_others // 2:
            raise Unavailable(BUSY, retry_after=1)
        self.held[workspace] += size

    def give_back(self, workspace: str, size: int) -> None:
        self.held[workspace] -= size
        if not self.held[workspace]:
            del self.held[workspace]


class Share:
    """Bytes that one request holds; given back when it is left, whatever ends it."""

    __slots__ = ("_held", "_intake", "_workspace")

    def __init__(self, intake: Intake, workspace: str) -> None:
        self._intake = intake
        self._workspace = workspace
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            self._intake.give_back(self._workspace, self._held)

    def hold(self, size: int) -> None:
        """Hold so many bytes in all, at least, unless they are few. Raises Unavailable where there is no room."""
        if size > SMALL and size > self._held:
            self._intake.take(self._workspace, size - self._held)
            self._held = size
