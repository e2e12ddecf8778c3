"""Records of one partition as Kafka stores them: a batch of its format 2, packed by LZ4.

Made by aiokafka's builder, but packed here: aiokafka knows only the highest of LZ4's levels, which costs more than
everything else that is done to append an event.
"""

from __future__ import annotations

import struct
from time import time

from aiokafka.codec import lz4_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from libs.common.event_log import Record

BATCH_BYTES = 1_000_000
"""Of a batch before it is packed. A record that is larger travels alone."""
FORMAT = 2
NOBODY = -1
"""In place of what only idempotent producers have."""
PLAIN, LZ4 = 0, 3
"""What Kafka calls the ways of packing."""
FASTEST = 1
"""Of LZ4's levels."""

# A batch is a header and its records. The first two fields of the header are not counted in its length, and its
# checksum is of everything behind it, beginning with the attributes, which say how the records are packed.
_LENGTH, _LENGTH_AT, _COUNTED_FROM = struct.Struct(">i"), 8, 12
_CHECKSUM, _CHECKSUM_AT = struct.Struct(">I"), 17
_ATTRIBUTES, _ATTRIBUTES_AT = struct.Struct(">h"), 21
_RECORDS_AT = 61


class Batch:
    """Takes records until it is full."""

    def __init__(self) -> None:
        self._builder = DefaultRecordBatchBuilder(FORMAT, PLAIN, False, NOBODY, NOBODY, NOBODY, BATCH_BYTES)
        self._written_at = int(time() * 1000)
        self.count = 0

    def add(self, record: Record) -> bool:
        """False when it is full, and then the record is not in it. There is always room for one."""
        headers = list(record.headers.items()) if record.headers else []
        if self._builder.append(self.count, self._written_at, record.key, record.value, headers) is None:
            return False
        self.count += 1
        return True

    def packed(self) -> bytes:
        """What travels, the records plain when packing would make them larger. To be asked once."""
        batch: bytearray = self._builder.build()
        records = lz4_encode(bytes(batch[_RECORDS_AT:]), FASTEST)
        if len(records) < len(batch) - _RECORDS_AT:
            batch[_RECORDS_AT:] = records
            _LENGTH.pack_into(batch, _LENGTH_AT, len(batch) - _COUNTED_FROM)
            _ATTRIBUTES.pack_into(batch, _ATTRIBUTES_AT, LZ4)
            _CHECKSUM.pack_into(batch, _CHECKSUM_AT, calc_crc32c(batch[_ATTRIBUTES_AT:]))
        return bytes(batch)
