/* Finds the heartbeat of a watched peer in a packet. Whatever is in doubt is none. */
#pragma once

#include "table.h"

/* How the bytes of a packet are read. */
enum access { BY_SKB, BY_XDP, BY_ADDRESS };

struct packet {
	enum access access;
	void *skb;         /* BY_SKB */
	const void *start; /* else */
	const void *end;   /* BY_XDP */
	u32 network;       /* the header of IP, from start or from where the skb has its network header */
};

enum direction { IN, OUT };

struct heartbeat {
	u32 slot;
	struct peer *peer;
	bool is6;
	be32 from[4];  /* IPv4 as ::ffff:0:0/96 */
	u64 addresses; /* the sum of both */
	const struct udp *udp;
	const struct header *header;
};

struct ipv4_udp {
	struct ipv4 ip;
	struct udp udp;
};

struct ipv6_udp {
	struct ipv6 ip;
	struct udp udp;
};

/* Memory for headers that cannot be read in place. */
struct room {
	union {
		struct vlan vlan;
		struct ipv4_udp v4;
		struct ipv6_udp v6;
	};
	struct udp udp;
	struct header header;
};

/* read points *to at n bytes at an offset from the header of IP. Where they cannot be read in place it
 * copies them into room. Pointers are not compared with NULL: that needs CAP_PERFMON. */
static inline bool read(const struct packet *p, u32 offset, u32 n, void *room, const void **to)
{
	*to = room;
	offset += p->network;
	switch (p->access) {
	case BY_SKB:
		return !bpf_skb_load_bytes_relative(p->skb, offset, room, n, BPF_HDR_START_NET);
	case BY_ADDRESS:
		return !bpf_probe_read_kernel(room, n, p->start + offset);
	default:
		*to = p->start + offset;
		return *to + n <= p->end;
	}
}

#define READ(p, offset, room, to) read(p, offset, sizeof(*to), room, (const void **)&to)

/* skip_tags skips up to two tags of VLANs, and returns the protocol after them. */
static inline be16 skip_tags(struct packet *p, be16 protocol, struct room *room)
{
#pragma unroll
	for (int i = 0; i < 2; i++) {
		const struct vlan *tag;

		if (protocol != ETH_VLAN && protocol != ETH_QINQ)
			break;
		if (!READ(p, 0, &room->vlan, tag))
			return 0;
		protocol = tag->protocol;
		p->network += sizeof(*tag);
	}
	return protocol;
}

static inline u64 add(const be32 *words, u32 n)
{
	u64 sum = 0;

#pragma unroll
	for (int i = 0; i < n; i++)
		sum += words[i];
	return sum;
}

/* find_ipv6 finds the headers of IPv6 and UDP, and returns the offset after them, or 0. *length is what
 * IPv6 says of UDP's. */
static inline u32 find_ipv6(const struct packet *p, struct room *room, struct heartbeat *h, u32 *length)
{
	const struct ipv6_udp *at;

	if (!READ(p, 0, &room->v6, at) || at->ip.version_class[0] >> 4 != 6 || at->ip.protocol != IPPROTO_UDP)
		return 0;
	h->is6 = true;
	__builtin_memcpy(h->from, at->ip.from, sizeof(h->from));
	h->addresses = add(at->ip.from, 8);
	h->udp = &at->udp;
	*length = swap16(at->ip.length);
	return sizeof(*at);
}

/* find_ipv4 does so for IPv4. A fragment is none. */
static inline u32 find_ipv4(const struct packet *p, struct room *room, struct heartbeat *h, u32 *length)
{
	const struct ipv4_udp *at;
	u32 size;

	if (!READ(p, 0, &room->v4, at) || at->ip.version_length >> 4 != 4 || at->ip.protocol != IPPROTO_UDP)
		return 0;
	if (at->ip.fragment & CONSTANT16(0x3fff)) /* the offset, and whether more follow */
		return 0;
	h->is6 = false;
	h->from[0] = h->from[1] = 0;
	h->from[2] = swap32(0xffff);
	h->from[3] = at->ip.from;
	h->addresses = (u64)at->ip.from + at->ip.to;
	h->udp = &at->udp;
	size = (at->ip.version_length & 15) * 4;
	*length = swap16(at->ip.length) - size;
	if (size < sizeof(at->ip))
		return 0;
	if (size > sizeof(at->ip) && !READ(p, size, &room->udp, h->udp)) /* options */
		return 0;
	return size + sizeof(struct udp);
}

/* is_local reports whether the process has a port. */
static inline bool is_local(u16 port)
{
	u32 zero = 0;
	const struct control *c = bpf_map_lookup_elem(&control, &zero);

	if (!c || !port)
		return false;
#pragma unroll
	for (int i = 0; i < PORTS; i++)
		if (c->ports[i] == port)
			return true;
	return false;
}

/* find_peer finds the peer of h by its discriminators. */
static inline bool find_peer(struct heartbeat *h, enum direction d)
{
	u64 ours = number(d == IN ? h->header->yours : h->header->mine);
	u64 theirs = number(d == IN ? h->header->mine : h->header->yours);

	h->slot = ours & ((1 << SLOT_BITS) - 1);
	h->peer = bpf_map_lookup_elem(&peers, &h->slot);
	return h->peer && ours && h->peer->ours == ours && h->peer->theirs == theirs;
}

/* find finds a heartbeat. */
static inline bool find(const struct packet *p, be16 protocol, enum direction d, struct room *room, struct heartbeat *h)
{
	u32 length, offset = 0;

	if (protocol == ETH_IP)
		offset = find_ipv4(p, room, h, &length);
	else if (protocol == ETH_IPV6)
		offset = find_ipv6(p, room, h, &length);
	if (!offset || length < sizeof(struct udp) + HEADER_SIZE || length > sizeof(struct udp) + MAX_SIZE)
		return false;
	if (swap16(h->udp->length) != length || !is_local(swap16(d == IN ? h->udp->to : h->udp->from)))
		return false;
	if (!READ(p, offset, &room->header, h->header) || swap32(h->header->magic) != MAGIC)
		return false;
	if (h->header->version != VERSION || h->header->kind != KIND_HEARTBEAT)
		return false;
	return swap16(h->header->length) == length - sizeof(struct udp) && find_peer(h, d);
}
