/* Measures what is not built: a second tag that programs could check, and a deadline in the kernel. The
 * package's documentation has the decisions. */
#include "wire.h"

#define ARRAY(name, value_type)                     \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_ARRAY);   \
		__uint(max_entries, 1);             \
		__type(key, u32);                   \
		__type(value, value_type);          \
	} name SEC(".maps")

struct siphash {
	u64 key[2], tag;
};

ARRAY(siphashes, struct siphash);

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))

#define ROUND                                                             \
	do {                                                              \
		v0 += v1, v1 = ROTATE(v1, 13) ^ v0, v0 = ROTATE(v0, 32);  \
		v2 += v3, v3 = ROTATE(v3, 16) ^ v2;                       \
		v0 += v3, v3 = ROTATE(v3, 21) ^ v0;                       \
		v2 += v1, v1 = ROTATE(v1, 17) ^ v2, v2 = ROTATE(v2, 32);  \
	} while (0)

/* SipHash-2-4 over a header, in the order of words of this machine. */
SEC("xdp") int measure_siphash(struct xdp_md *frame)
{
	const u32 *words = (void *)(long)frame->data;
	u64 v0, v1, v2, v3, m;
	struct siphash *s;
	u32 zero = 0;

	s = bpf_map_lookup_elem(&siphashes, &zero);
	if (!s || (void *)words + HEADER_SIZE > (void *)(long)frame->data_end)
		return XDP_PASS;
	v0 = s->key[0] ^ 0x736f6d6570736575;
	v1 = s->key[1] ^ 0x646f72616e646f6d;
	v2 = s->key[0] ^ 0x6c7967656e657261;
	v3 = s->key[1] ^ 0x7465646279746573;
#pragma unroll
	for (int i = 0; i < HEADER_SIZE / 8; i++) {
		m = *(const u64 *)&words[2 * i];
		v3 ^= m;
		ROUND;
		ROUND;
		v0 ^= m;
	}
	m = (u64)(HEADER_SIZE & 255) << 56;
	v3 ^= m;
	ROUND;
	ROUND;
	v0 ^= m;
	v2 ^= 0xff;
	ROUND;
	ROUND;
	ROUND;
	ROUND;
	s->tag = v0 ^ v1 ^ v2 ^ v3;
	return XDP_PASS;
}

/* What all programs cost. */
SEC("xdp") int measure_nothing(struct xdp_md *frame)
{
	return XDP_PASS;
}

struct bpf_timer {
	u64 opaque[2];
};

struct deadline {
	u64 last, armed, timeout, expired;
	struct bpf_timer timer;
};

ARRAY(deadlines, struct deadline);

enum { CLOCK_MONOTONIC = 1 };

static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map, u64 clock) = (void *)169;
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback) = (void *)170;
static long (*const bpf_timer_start)(struct bpf_timer *timer, u64 after, u64 flags) = (void *)171;

/* expire arms the timer again for what is left, or records when the deadline expired. */
static int expire(void *map, u32 *key, struct deadline *d)
{
	u64 now = bpf_ktime_get_ns(), end = d->last + d->timeout;

	if (now < end) {
		bpf_timer_start(&d->timer, end - now, 0);
	} else {
		d->expired = now;
		d->armed = 0;
	}
	return 0;
}

static inline int arrive(bool each)
{
	u32 zero = 0;
	struct deadline *d = bpf_map_lookup_elem(&deadlines, &zero);

	if (!d)
		return XDP_PASS;
	d->last = bpf_ktime_get_ns();
	if (d->armed && !each)
		return XDP_PASS;
	if (!d->armed) {
		d->armed = 1;
		bpf_timer_init(&d->timer, &deadlines, CLOCK_MONOTONIC);
		bpf_timer_set_callback(&d->timer, expire);
	}
	bpf_timer_start(&d->timer, d->timeout, 0);
	return XDP_PASS;
}

SEC("xdp") int measure_lazy(struct xdp_md *frame)
{
	return arrive(false);
}

SEC("xdp") int measure_eager(struct xdp_md *frame)
{
	return arrive(true);
}
