"""What host and board agree on: packets on a serial line, addresses, and the link's registers.

Packets are those of LiteX's UART bridge (``uartbone``; ``litex/tools/remote/comm_uart.py``): a
command, the number of words, a word's address in four bytes (the byte address over 4) and, in a
write, its words; addresses and words are big endian. A read is answered by its words and a write by
nothing. There is no checksum in it. The link's own registers make up for that: they have a CRC-32
of all bytes that came, one of all that went, and a count of the accesses that were refused.
"""

import enum

__all__ = [
    "CHECKED",
    "LINK_BASE",
    "LINK_IDENTIFIER",
    "LINK_VERSION",
    "MEMORY_BASE",
    "MOST_WORDS",
    "REGISTER_BASE",
    "SILENCE",
    "Command",
    "LinkRegister",
]

#: Byte addresses: of the memory, for machine and host alike; of the machine's registers; of the
#: link's.
MEMORY_BASE, REGISTER_BASE, LINK_BASE = 0x4000_0000, 0xF000_0000, 0xF000_1000

#: Words of a packet at most: their number is a byte.
MOST_WORDS = 255

#: Seconds without a byte after which a half packet is forgotten, as in LiteX.
SILENCE = 0.1

#: What the link's first register holds: ``DTQL``.
LINK_IDENTIFIER = 0x4C515444
LINK_VERSION = 1


class Command(enum.IntEnum):
    """First byte of a packet; others are skipped."""

    #: Words go to consecutive addresses.
    WRITE = 1
    READ = 2
    #: All words are of one address.
    WRITE_FIXED = 3
    READ_FIXED = 4


class LinkRegister(enum.IntEnum):
    """Words at :data:`LINK_BASE`, read only; the value is the place."""

    #: :data:`LINK_IDENTIFIER`
    ID = 0
    #: :data:`LINK_VERSION`
    VERSION = 1
    #: Bytes of memory from :data:`MEMORY_BASE` on.
    MEMORY_BYTES = 2
    #: Clock rate of the machine.
    CLOCK_HZ = 3
    #: CRC-32 (that of zlib) of all bytes that have come, this read's packet included.
    RECEIVED = 4
    #: CRC-32 of all bytes that went before this word.
    SENT = 5
    #: Accesses that were refused: no such address, or a register that is not written.
    REFUSED = 6


#: Registers by which a host checks what passed, in one packet.
CHECKED = (LinkRegister.RECEIVED, LinkRegister.SENT, LinkRegister.REFUSED)
