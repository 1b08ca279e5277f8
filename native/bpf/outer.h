/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * An outer interface: above level 1 everything passes. At level 1 only static monitoring entries with their answers, and
 * for 500 ms the exact control flows; address resolution passes where and while one of them may.
 */
#ifndef SHELLSTREAM_OUTER_H
#define SHELLSTREAM_OUTER_H

#include "clock.h"
#include "flow.h"
#include "posture.h"
#include "report.h"

#define IDLE_STATIC (180 * SECOND)
#define STATIC_KEY_BITS (64 + 128)

static __always_inline int is_control(const struct flow_key *key)
{
	struct control_key control = {
		.remote = key->remote,
		.local = key->local,
		.remote_port = key->remote_port,
		.local_port = key->local_port,
		.protocol = key->protocol,
	};

	return bpf_map_lookup_elem(&control_flows, &control) != 0;
}

static __always_inline int is_static(const struct flow_key *key, const struct packet *p, __u8 direction)
{
	struct static_key entry = {
		.prefixlen = STATIC_KEY_BITS,
		.ifindex = key->ifindex,
		.direction = direction,
		.protocol = key->protocol,
		.remote = key->remote,
	};

	if (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6)
		return p->is_echo_request && bpf_map_lookup_elem(&static_flows, &entry);
	entry.port = direction == DIRECTION_IN ? key->local_port : key->remote_port;
	if (bpf_map_lookup_elem(&static_flows, &entry))
		return 1;
	entry.port = 0;
	return bpf_map_lookup_elem(&static_flows, &entry) != 0;
}

/* An answer passes by what the entry opened, not by its port: a source port is the sender's to choose. */
static __noinline int static_passes(const struct flow_key *key, const struct packet *p, __u64 now, __u32 direction)
{
	__u64 *seen = bpf_map_lookup_elem(&static_state, key);

	if (seen && (*seen >= now || now - *seen < IDLE_STATIC)) {
		*seen = now;
		return 1;
	}
	if (!is_static(key, p, direction))
		return 0;
	bpf_map_update_elem(&static_state, key, &now, BPF_ANY);
	return 1;
}

static __always_inline int outer(struct __sk_buff *skb, __u8 direction)
{
	__u64 now = boot_now();
	__u32 ifindex = skb->ifindex;
	struct iface *settings;
	struct packet p = {};
	struct flow_key key;

	if (node_level(skb, now) > 1)
		return TC_ACT_UNSPEC;
	settings = bpf_map_lookup_elem(&iface, &ifindex);
	if (settings && (settings->kind == IFACE_OUTER || settings->kind == IFACE_MONITORED)) {
		switch (parse(skb, settings->ethernet, &p)) {
		case PACKET_FLOW:
			flow_key_of(&p, ifindex, direction, &key);
			if (control_window_is_open(now) && is_control(&key))
				return TC_ACT_UNSPEC;
			if (static_passes(&key, &p, now, direction))
				return TC_ACT_UNSPEC;
			break;
		case PACKET_ARP:
		case PACKET_NEIGHBOUR:
		case PACKET_ROUTER:
			/* Where nothing may pass, an answer would only tell that somebody is there. */
			if (settings->kind == IFACE_MONITORED || control_window_is_open(now))
				return TC_ACT_UNSPEC;
			break;
		case PACKET_ICMP_ERROR:
		case PACKET_OTHER:
		case PACKET_BAD:
			break;
		}
	}
	report_denial(skb, &p, ISOLATED, direction, NO_SESSION);
	return TC_ACT_SHOT;
}

#endif
