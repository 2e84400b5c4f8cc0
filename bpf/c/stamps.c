/* Stamps the heartbeats of watched peers, and leaves them to the sockets. */
#include "ingress.h"

static inline void stamp(struct __sk_buff *skb)
{
	struct room room;
	struct heartbeat h;
	struct counters *c;

	if (!find_skb(skb, &room, &h) || !(c = count()))
		return;
	c->seen++;
	if (needs_stamp(skb))
		stamp_skb(skb, now(), c);
}

SEC("tc") int systole_tcx(struct __sk_buff *skb)
{
	stamp(skb);
	return TCX_NEXT;
}

SEC("cgroup_skb/ingress") int systole_cgroup(struct __sk_buff *skb)
{
	stamp(skb);
	return CGROUP_PASS;
}

SEC("xdp") int systole_xdp(struct xdp_md *frame)
{
	struct room room;
	struct heartbeat h;
	struct counters *c;

	if (!find_xdp(frame, &room, &h) || !(c = count()))
		return XDP_PASS;
	c->seen++;
	stamp_peer(&h, now(), c);
	return XDP_PASS;
}
