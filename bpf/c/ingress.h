/* What the hooks of ingress have in common. */
#pragma once

#include "packet.h"

/* Values of skb->tstamp below are of CLOCK_MONOTONIC, others of CLOCK_REALTIME. */
#define FIRST_WALL (1ULL << 60)

/* find_skb finds a heartbeat in a packet of the network stack, with an Ethernet header or without. */
static inline bool find_skb(struct __sk_buff *skb, struct room *room, struct heartbeat *h)
{
	struct packet p = { .access = BY_SKB, .skb = skb };
	be16 protocol = skb->protocol;

	/* The shortest and the longest, the latter with options, tags and Ethernet's header. */
	if (skb->len < sizeof(struct ipv4) + sizeof(struct udp) + HEADER_SIZE ||
	    skb->len > 60 + sizeof(struct udp) + MAX_SIZE + 8 + 14)
		return false;
	return find(&p, skip_tags(&p, protocol, room), IN, room, h);
}

/* find_xdp finds a heartbeat in an Ethernet frame. Without Ethernet, no driver has native XDP. */
static inline bool find_xdp(struct xdp_md *frame, struct room *room, struct heartbeat *h)
{
	const void *start = (void *)(long)frame->data, *end = (void *)(long)frame->data_end;
	const struct ethernet *ethernet = start;
	struct packet p = { .access = BY_XDP, .start = start, .end = end, .network = sizeof(*ethernet) };

	if (start + sizeof(*ethernet) > end)
		return false;
	return find(&p, skip_tags(&p, ethernet->protocol, room), IN, room, h);
}

/* needs_stamp reports whether no device further down, of which this one is built, has stamped skb. */
static inline bool needs_stamp(struct __sk_buff *skb)
{
	return !skb->tstamp || skb->tstamp >= FIRST_WALL;
}

/* stamp_skb stamps skb. The socket returns the stamp in place of the network stack's. */
static inline void stamp_skb(struct __sk_buff *skb, u64 at, struct counters *c)
{
	skb->tstamp = at;
	c->stamped++;
}

/* stamp_peer leaves the stamp in memory: XDP has no skb. */
static inline void stamp_peer(struct heartbeat *h, u64 at, struct counters *c)
{
	publish(&h->peer->arrived, 0);
	h->peer->arrived_at = at;
	publish(&h->peer->arrived, number(h->header->sequence));
	c->stamped++;
}
