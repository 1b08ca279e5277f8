/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* A governed interface: what no grant covers is dropped, both ways, at every level. */
#ifndef SHELLSTREAM_TUNNEL_H
#define SHELLSTREAM_TUNNEL_H

#include "clock.h"
#include "inner.h"
#include "mss.h"
#include "policy.h"
#include "posture.h"
#include "report.h"
#include "translate.h"

/* The verdict on a packet of a flow that is already known. */
static __always_inline enum cause judge_known(struct decision *d, struct flow *flow, const struct moment *m)
{
	d->session_slot = flow->session_slot;
	d->generation = flow->generation;
	d->floor = flow->floor;
	return session_verdict(m, flow->session_slot, flow->generation, flow->floor);
}

static __always_inline enum cause judge_error(struct __sk_buff *skb, const struct packet *p, struct decision *d,
					      const struct moment *m, __u8 direction)
{
	struct flow_key key = {};
	struct flow *flow;

	if (!inner_flow_key(skb, p, direction, &key))
		return NO_FLOW;
	flow = bpf_map_lookup_elem(&flow_state, &key);
	return flow && flow_is_live(flow, key.protocol, m->now) ? judge_known(d, flow, m) : NO_FLOW;
}

static __always_inline enum cause judge_new(struct __sk_buff *skb, struct packet *p, struct flow_key *key,
					    struct decision *d, const struct moment *m, __u8 direction)
{
	struct flow opened = {};

	if ((p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6) && !p->is_echo_request)
		return NO_FLOW;
	if (!decide(d, key, m, direction))
		return d->cause;
	if (direction == DIRECTION_OUT && skb->ingress_ifindex == key->ifindex && !may_be_forwarded(key, d->session_slot))
		return NOT_FORWARDED;
	opened.last_seen_ns = m->now;
	opened.session_slot = d->session_slot;
	opened.generation = d->generation;
	opened.floor = d->floor;
	opened.opened_by = direction;
	opened.flags = p->tcp_flags & TCP_RST ? FLOW_RESET : p->tcp_flags & TCP_FIN ? FLOW_FIN_OPENER : 0;
	return open_flow(key, &opened) ? PASS : STATE_FULL;
}

static __always_inline enum cause judge_flow(struct __sk_buff *skb, struct packet *p, struct flow_key *key,
					     struct decision *d, const struct moment *m, __u8 direction)
{
	struct flow *flow = bpf_map_lookup_elem(&flow_state, key);
	enum cause known, fresh;

	if (!flow || !flow_is_live(flow, p->protocol, m->now))
		return judge_new(skb, p, key, d, m, direction);
	known = judge_known(d, flow, m);
	if (known == PASS) {
		touch_flow(flow, p, direction, m->now);
		return PASS;
	}
	/* Only who may open can move the flow to another grant, such as the session that took this one's place. */
	if (direction != flow->opened_by)
		return known;
	d->session_slot = NO_SESSION;
	d->cause = NO_FLOW;
	fresh = judge_new(skb, p, key, d, m, direction);
	return fresh == NO_FLOW ? known : fresh;
}

static __always_inline int tunnel(struct __sk_buff *skb, __u8 direction, int ethernet)
{
	__u64 now = boot_now();
	struct moment m = { .now = now, .level = node_level(skb, now), .lease_stands = lease_stands(now) };
	struct decision d = { .cause = NO_FLOW, .session_slot = NO_SESSION };
	__u32 ifindex = skb->ifindex;
	struct packet p = {};
	struct flow_key key;
	enum cause cause = NO_FLOW;
	enum packet_kind kind = parse(skb, ethernet, &p);
	int translates = site_translates() && (kind == PACKET_FLOW || kind == PACKET_ICMP_ERROR);

	if (translates && direction == DIRECTION_OUT && !translate(skb, &p, direction, kind == PACKET_ICMP_ERROR))
		kind = PACKET_BAD;
	switch (kind) {
	case PACKET_FLOW:
		flow_key_of(&p, ifindex, direction, &key);
		cause = judge_flow(skb, &p, &key, &d, &m, direction);
		break;
	case PACKET_ICMP_ERROR:
		cause = judge_error(skb, &p, &d, &m, direction);
		break;
	case PACKET_ARP:
		return TC_ACT_UNSPEC;
	case PACKET_NEIGHBOUR:
		if (ethernet)
			return TC_ACT_UNSPEC;
		break;
	case PACKET_ROUTER:
	case PACKET_OTHER:
		break;
	case PACKET_BAD:
		cause = MALFORMED;
		break;
	}
	if (cause == PASS && translates && direction == DIRECTION_IN && !translate(skb, &p, direction, kind == PACKET_ICMP_ERROR))
		cause = MALFORMED;
	if (cause == PASS) {
		count_passed(skb, d.session_slot);
		if (p.tcp_flags & TCP_SYN) {
			struct iface *settings = bpf_map_lookup_elem(&iface, &ifindex);

			clamp_mss(skb, &p, settings ? settings->mtu : 0);
		}
		return TC_ACT_UNSPEC;
	}
	report_denial(skb, &p, cause, direction, d.session_slot);
	return TC_ACT_SHOT;
}

#endif
