/* The memory that the programs share with the process, which maps it. bpf/doc.go says who writes what,
 * bpf/table.go has the same structures, and a test compares the two. */
#pragma once

#include "wire.h"

enum { PORTS = 8, HAND_OFFS = 8, ROOM = 4, CPUS = 64 };

struct control {
	u16 ports[PORTS]; /* local ports, 0: unused */
	u64 xdp;          /* an XDP program stamps */
};

struct hand_off {
	u64 at, sequence;
};

struct peer {
	u64 ours, theirs;
	u64 arrived_at, arrived;
	u64 spare[4];
	struct hand_off handed[HAND_OFFS]; /* by sequence */
};

struct taken {
	u64 arrival;
	be32 from[4]; /* IPv4 as ::ffff:0:0/96 */
	be16 port;
	u16 spare[3];
	struct header header;
	u64 spare2;
};

struct ring {
	u64 head, tail, claim, theirs, last;
	u64 spare[3];
	struct taken entry[ROOM];
};

struct counters {
	u64 seen, stamped, taken, full, stale, doubtful, handed_off;
	u64 spare;
};

#define ARRAY(name, value_type, entries)            \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_ARRAY);   \
		__uint(map_flags, BPF_F_MMAPABLE);  \
		__uint(max_entries, entries);       \
		__type(key, u32);                   \
		__type(value, value_type);          \
	} name SEC(".maps")

ARRAY(control, struct control, 1);
ARRAY(peers, struct peer, 1);   /* the loader sets how many */
ARRAY(rings, struct ring, 1);   /* as many, if heartbeats are taken */
ARRAY(counters, struct counters, CPUS);

/* What is added to the clock of BPF: a process may be in a time namespace. */
volatile const s64 clock_offset;

/* So that BTF has these constants. */
volatile const enum wire wire_constants;

static inline u64 now(void)
{
	return bpf_ktime_get_ns() + clock_offset;
}

/* publish stores v where the process reads it, and all that was stored before is seen before it. */
static inline void publish(u64 *to, u64 v)
{
	__sync_lock_test_and_set(to, v);
}

static inline struct counters *count(void)
{
	u32 cpu = bpf_get_smp_processor_id() & (CPUS - 1);
	return bpf_map_lookup_elem(&counters, &cpu);
}
