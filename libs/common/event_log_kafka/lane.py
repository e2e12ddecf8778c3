"""What waits for one partition, in its order, and how it becomes batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from libs.common.deadline import Outcome, tell
from libs.common.errors import RetryLater
from libs.common.event_log import Record
from libs.common.event_log_kafka.batch import Batch
from libs.common.event_log_kafka.produce import Place


class Road(NamedTuple):
    """A connection to a broker, which answers what comes by it one after the other."""

    broker: int
    number: int


class Waiting:
    """What all lanes of all topics hold together that is in no batch yet."""

    def __init__(self) -> None:
        self.bytes = 0


class Call:
    """One append. It is durable when all of its pieces are; after a failure nothing more of it is sent."""

    def __init__(self, outcome: Outcome, waiting: Waiting) -> None:
        self.outcome = outcome
        self.waiting = waiting
        self.pieces: dict[int, Piece] = {}
        """By partition, those that are not durable yet."""

    @property
    def is_over(self) -> bool:
        """Durable, failed, or nobody waits for it any more."""
        return self.outcome.done()

    def let_go(self) -> None:
        """Nobody waits for it any more. What is not durable is kept no longer, however long a wave before it hangs."""
        self.outcome.cancel()  # no effect when there is one
        for piece in self.pieces.values():
            piece.records.clear()
            piece.waits_no_longer()


@dataclass(slots=True, eq=False)
class Piece:
    """What a call has for one partition, in its order; the first ``packed`` of its records are in batches by now.
    ``size`` is what it counts for among what waits."""

    call: Call
    partition: int
    records: list[Record] = field(default_factory=list)
    size: int = 0
    packed: int = 0

    def waits_no_longer(self) -> None:
        """All of it is in batches, or nobody wants it stored any more."""
        self.call.waiting.bytes -= self.size
        self.size = 0


@dataclass(frozen=True, slots=True)
class Parcel:
    """A batch as it travels, and what it was made of."""

    data: bytes
    records: int
    pieces: Sequence[Piece]
    packed_at: float = field(default_factory=monotonic)

    def is_durable(self) -> None:
        for piece in self.pieces:
            if piece.packed == len(piece.records):  # else the rest is for the next batch
                call = piece.call
                del call.pieces[piece.partition]
                if not call.pieces:
                    tell(call.outcome)

    def fail(self, why: RetryLater) -> None:
        for piece in self.pieces:
            tell(piece.call.outcome, why)


class Lane:
    """To one partition. One parcel is on its way at a time, so the order stays."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.road: Road | None = None
        """To the broker that leads this partition, as far as is known."""
        self.rests = False
        """After a refusal, for a moment: nothing is sent, and nobody asked who leads."""
        self._pieces: deque[Piece] = deque()
        self._again: Parcel | None = None
        self._under_way: Parcel | None = None

    @property
    def is_ready(self) -> bool:
        return self._under_way is None and not self.rests and bool(self._pieces or self._again)

    def add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        piece.call.waiting.bytes += piece.size

    def next_parcel(self) -> Parcel | None:
        """On its way from now on; None when nobody waits for it any more. What came back goes first.

        Raises what packing raised; then the calls with something in that parcel have failed, and the others still wait.
        """
        self._under_way, self._again = self._again or self._pack(), None
        return self._under_way

    def arrived(self) -> None:
        """What was on its way has met its end, good or bad."""
        self._under_way = None

    def came_back(self, parcel: Parcel) -> None:
        """To be sent again, before anything else of this partition."""
        self._again = parcel
        self._under_way = None

    def give_up(self, why: RetryLater) -> None:
        """All that waits, and what is on its way."""
        for parcel in (self._under_way, self._again):
            if parcel is not None:
                parcel.fail(why)
        for piece in self._pieces:
            tell(piece.call.outcome, why)
            piece.waits_no_longer()
        self._under_way = self._again = None
        self._pieces.clear()

    def _pack(self) -> Parcel | None:
        """As many of the oldest as fit into one batch, without those that nobody waits for."""
        batch = Batch()
        packed: list[Piece] = []
        try:
            while self._pieces:
                piece = self._pieces[0]
                if not piece.call.is_over:
                    packed.append(piece)
                    if not _pack_rest(piece, batch):
                        break
                self._pieces.popleft()
                piece.waits_no_longer()
            return Parcel(batch.packed(), batch.count, packed) if packed else None
        except Exception as exc:
            for piece in packed:
                tell(piece.call.outcome, RetryLater(f"records for {self.place} cannot be packed: {exc!r}"))
            raise


def _pack_rest(piece: Piece, batch: Batch) -> bool:
    """Whether all of it has found room now."""
    while piece.packed < len(piece.records):
        if not batch.add(piece.records[piece.packed]):
            return False
        piece.packed += 1
    return True
