/* The part of the datagram that programs read. Package wire defines it, and a test compares the two. */
#pragma once

#include "kernel.h"

enum wire {
	MAGIC = 0x53595354,
	VERSION = 1,
	KIND_HEARTBEAT = 1,
	FLAG_FOLLOW_UP = 8,
	SLOT_BITS = 20,
	HEADER_SIZE = 136,
	MAX_SIZE = 1232,
};

struct header {
	be32 magic;
	u8 version, kind;
	be16 flags;
	be16 length, message_bytes;
	be32 key_id;
	be32 yours[2], mine[2]; /* discriminators */
	be32 sender[2], incarnation[2], sequence[2];
	be32 rest[20];
};

_Static_assert(sizeof(struct header) == HEADER_SIZE, "the header's size");

/* number returns an integer of eight bytes. */
static inline u64 number(const be32 *p)
{
	return (u64)swap32(p[0]) << 32 | swap32(p[1]);
}
