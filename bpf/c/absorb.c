/* Takes heartbeats of watched peers out of the network's stack, if they can wait and there is room. What
 * is left to the sockets is stamped. There is no program for cgroups: a socket counts what those drop as
 * losses of its own. */
#include "ingress.h"

/* can_wait reports whether h changes nothing but the peer's silence: no messages, no tag, no flags. */
static inline bool can_wait(const struct heartbeat *h)
{
	const struct header *header = h->header;

	return header->length == CONSTANT16(HEADER_SIZE) && !header->message_bytes && !header->key_id &&
	       !(header->flags & ~CONSTANT16(FLAG_FOLLOW_UP));
}

/* is_link_local reports whether an address needs a scope: that of a bridge or bond is not known here. */
static inline bool is_link_local(const struct heartbeat *h)
{
	return h->is6 && (swap32(h->from[0]) & 0xffc00000) == 0xfe800000;
}

/* fold folds a sum of words to 16 bits, as RFC 1071 says. The order of bytes does not matter there. */
static inline u32 fold(u64 sum)
{
	sum = (u32)sum + (sum >> 32);
	sum = (u16)sum + (sum >> 16);
	sum = (u16)sum + (sum >> 16);
	return (u16)sum + (sum >> 16);
}

/* is_intact checks UDP's checksum, which XDP and tcx are ahead of. */
static inline bool is_intact(const struct heartbeat *h)
{
	const struct udp *udp = h->udp;
	u64 pseudo = h->addresses + CONSTANT16(IPPROTO_UDP) + udp->length;

	if (!udp->checksum)
		return !h->is6; /* the sender made none, which IPv6 forbids */
	if (udp->checksum == fold(pseudo))
		return true; /* from this host, which leaves the rest to a device */
	return fold(pseudo + udp->from + udp->to + udp->length + udp->checksum +
		    add((const be32 *)h->header, HEADER_SIZE / 4)) == 0xffff;
}

/* put adds h to a ring that this program has claimed, unless it is old or there is no room. */
static inline bool put(struct ring *ring, const struct heartbeat *h, u64 at, struct counters *c)
{
	u64 theirs = number(h->header->mine), sequence = number(h->header->sequence);
	u64 head = ring->head;
	struct taken *t = &ring->entry[head & (ROOM - 1)];

	if (ring->theirs != theirs) {
		ring->theirs = theirs;
		ring->last = 0;
	}
	if (sequence <= ring->last) {
		c->stale++;
		return false;
	}
	if (head - *(volatile u64 *)&ring->tail >= ROOM) {
		c->full++;
		return false;
	}
	t->arrival = at;
	__builtin_memcpy(t->from, h->from, sizeof(t->from));
	t->port = h->udp->from;
	t->header = *h->header;
	ring->last = sequence;
	publish(&ring->head, head + 1);
	return true;
}

/* take moves h into the ring of its peer, and reports whether it did. */
static inline bool take(const struct heartbeat *h, u64 at, struct counters *c)
{
	struct ring *ring;
	bool ok;

	if (!can_wait(h) || is_link_local(h))
		return false;
	if (!is_intact(h)) {
		c->doubtful++;
		return false;
	}
	ring = bpf_map_lookup_elem(&rings, &h->slot);
	if (!ring)
		return false;
	/* Two processors may have heartbeats of one peer. */
	if (__sync_val_compare_and_swap(&ring->claim, 0, 1)) {
		c->full++;
		return false;
	}
	ok = put(ring, h, at, c);
	publish(&ring->claim, 0);
	c->taken += ok;
	return ok;
}

SEC("tc") int systole_tcx(struct __sk_buff *skb)
{
	struct room room;
	struct heartbeat h;
	struct counters *c;
	u64 at;

	if (!find_skb(skb, &room, &h) || !(c = count()))
		return TCX_NEXT;
	c->seen++;
	at = now();
	if (take(&h, at, c))
		return TCX_DROP;
	if (needs_stamp(skb))
		stamp_skb(skb, at, c);
	return TCX_NEXT;
}

SEC("xdp") int systole_xdp(struct xdp_md *frame)
{
	struct room room;
	struct heartbeat h;
	struct counters *c;
	u64 at;

	if (!find_xdp(frame, &room, &h) || !(c = count()))
		return XDP_PASS;
	c->seen++;
	at = now();
	if (take(&h, at, c))
		return XDP_DROP;
	stamp_peer(&h, at, c);
	return XDP_PASS;
}
