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
	const struct ipv4 *ip; /* or NULL */
	const struct ipv6 *ip6; /* or NULL */
	const struct udp *udp;
	const struct header *header;
};

/* Memory for headers that cannot be read in place. */
struct room {
	union {
		struct vlan vlan;
		struct ipv4 ip;
		struct ipv6 ip6;
	};
	struct udp udp;
	struct header header;
};

/* bytes returns n bytes at an offset from the header of IP, or NULL. */
static inline const void *bytes(const struct packet *p, u32 offset, void *room, u32 n)
{
	const void *at;

	offset += p->network;
	at = p->start + offset;
	switch (p->access) {
	case BY_SKB:
		return bpf_skb_load_bytes_relative(p->skb, offset, room, n, BPF_HDR_START_NET) ? NULL : room;
	case BY_ADDRESS:
		return bpf_probe_read_kernel(room, n, at) ? NULL : room;
	default:
		return at + n > p->end ? NULL : at;
	}
}

/* skip_tags skips up to two tags of VLANs, and returns the protocol after them. */
static inline be16 skip_tags(struct packet *p, be16 protocol, struct room *room)
{
#pragma unroll
	for (int i = 0; i < 2; i++) {
		const struct vlan *tag;

		if (protocol != ETH_VLAN && protocol != ETH_QINQ)
			break;
		tag = bytes(p, 0, &room->vlan, sizeof(*tag));
		if (!tag)
			return 0;
		protocol = tag->protocol;
		p->network += sizeof(*tag);
	}
	return protocol;
}

/* find_ip finds the header of IP, and returns its length, or 0. *length is that of what follows. */
static inline u32 find_ip(const struct packet *p, be16 protocol, struct room *room, struct heartbeat *h, u32 *length)
{
	u32 size;

	h->ip = NULL;
	h->ip6 = NULL;
	if (protocol == ETH_IPV6) {
		h->ip6 = bytes(p, 0, &room->ip6, sizeof(room->ip6));
		if (!h->ip6 || h->ip6->version_class[0] >> 4 != 6 || h->ip6->protocol != IPPROTO_UDP)
			return 0;
		*length = swap16(h->ip6->length);
		return sizeof(struct ipv6);
	}
	if (protocol != ETH_IP)
		return 0;
	h->ip = bytes(p, 0, &room->ip, sizeof(room->ip));
	if (!h->ip || h->ip->version_length >> 4 != 4 || h->ip->protocol != IPPROTO_UDP)
		return 0;
	if (h->ip->fragment & CONSTANT16(0x3fff)) /* the offset, and whether more follow */
		return 0;
	size = (h->ip->version_length & 15) * 4;
	*length = swap16(h->ip->length) - size;
	return size < sizeof(struct ipv4) ? 0 : size;
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
	u32 length, size = find_ip(p, protocol, room, h, &length);

	if (!size || length < sizeof(struct udp) + HEADER_SIZE || length > sizeof(struct udp) + MAX_SIZE)
		return false;
	h->udp = bytes(p, size, &room->udp, sizeof(room->udp));
	if (!h->udp || swap16(h->udp->length) != length || !is_local(swap16(d == IN ? h->udp->to : h->udp->from)))
		return false;
	h->header = bytes(p, size + sizeof(struct udp), &room->header, sizeof(room->header));
	if (!h->header || swap32(h->header->magic) != MAGIC || h->header->version != VERSION)
		return false;
	if (h->header->kind != KIND_HEARTBEAT || swap16(h->header->length) != length - sizeof(struct udp))
		return false;
	return find_peer(h, d);
}
