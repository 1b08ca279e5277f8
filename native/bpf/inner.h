/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * ICMP errors carry the head of the packet they are about. One passes only when that packet belongs to a live flow and
 * the error goes to the packet's sender; else anyone could tear connections down or shrink their MTU.
 */
#ifndef SHELLSTREAM_INNER_H
#define SHELLSTREAM_INNER_H

#include "flow.h"

/* The flow of the packet inside; 0: there is none that could be ours. */
static __noinline int inner_flow_key(struct __sk_buff *skb, const struct packet *p, __u32 direction,
				     struct flow_key *key)
{
	union {
		struct iphdr v4;
		struct ipv6hdr v6;
	} h;
	struct packet inner = {};
	__u16 head[4];
	__u32 at = p->transport + 8;

	if (p->family == 4) {
		if (bpf_skb_load_bytes(skb, at, &h, sizeof(h.v4)) || h.v4.version != 4 || h.v4.ihl < 5)
			return 0;
		if (h.v4.frag_off & bpf_htons(0x1fff))
			return 0;
		map_ipv4(&inner.source, h.v4.saddr);
		map_ipv4(&inner.destination, h.v4.daddr);
		inner.protocol = h.v4.protocol;
		at += h.v4.ihl * 4;
	} else {
		if (bpf_skb_load_bytes(skb, at, &h, sizeof(h.v6)) || h.v6.version != 6)
			return 0;
		__builtin_memcpy(&inner.source, &h.v6.saddr, 16);
		__builtin_memcpy(&inner.destination, &h.v6.daddr, 16);
		inner.protocol = h.v6.nexthdr;
		at += sizeof(h.v6);
	}
	if (!same_address(&inner.source, &p->destination))
		return 0;
	if (bpf_skb_load_bytes(skb, at, head, sizeof(head)))
		return 0;
	switch (inner.protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		inner.source_port = head[0];
		inner.destination_port = head[1];
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		inner.source_port = inner.destination_port = head[2];
		break;
	default:
		return 0;
	}
	/* The packet inside went the other way. */
	flow_key_of(&inner, skb->ifindex, direction == DIRECTION_IN ? DIRECTION_OUT : DIRECTION_IN, key);
	return 1;
}

#endif
