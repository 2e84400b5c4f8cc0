/* Records when a driver took a heartbeat of ours. */
#include "packet.h"

#define KERNEL_STRUCT __attribute__((preserve_access_index))

struct list_head {
	struct list_head *next;
} KERNEL_STRUCT;

struct net_device {
	struct {
		struct list_head lower;
	} adj_list;
} KERNEL_STRUCT;

struct sk_buff {
	unsigned int len;
	be16 protocol;
	u16 network_header;
	unsigned char *head;
} KERNEL_STRUCT;

/* is_lowest reports whether a device is built on no other, as a VLAN or a bond is: it has the queue. */
static inline bool is_lowest(const struct net_device *dev)
{
	return dev->adj_list.lower.next == &dev->adj_list.lower;
}

/* protocol_of returns the protocol at the network header, which tags of VLANs lie before. */
static inline be16 protocol_of(const struct sk_buff *skb, const void *network)
{
	be16 protocol = skb->protocol;
	u8 version = 0;

	if (protocol != ETH_VLAN && protocol != ETH_QINQ)
		return protocol;
	bpf_probe_read_kernel(&version, sizeof(version), network);
	return version >> 4 == 6 ? ETH_IPV6 : ETH_IP;
}

SEC("tp_btf/net_dev_start_xmit") int systole_handoff(u64 *args)
{
	const struct sk_buff *skb = (void *)args[0];
	const struct net_device *dev = (void *)args[1];
	struct packet p = { .access = BY_ADDRESS };
	struct room room;
	struct heartbeat h;
	struct hand_off *handed;
	struct counters *c;
	u64 sequence;

	if (skb->len < sizeof(struct ipv4) + sizeof(struct udp) + HEADER_SIZE ||
	    skb->len > 60 + sizeof(struct udp) + MAX_SIZE + 8 + 14)
		return 0;
	p.start = skb->head + skb->network_header;
	if (!find(&p, protocol_of(skb, p.start), OUT, &room, &h))
		return 0;
	sequence = number(h.header->sequence);
	handed = &h.peer->handed[sequence & (HAND_OFFS - 1)];
	/* A packet may be handed to several devices: those that are built on others, and on its way further
	 * ones, on this host if the peer is there. */
	if (!is_lowest(dev) || sequence <= handed->sequence || !(c = count()))
		return 0;
	publish(&handed->sequence, 0);
	handed->at = now();
	publish(&handed->sequence, sequence);
	c->handed_off++;
	return 0;
}
