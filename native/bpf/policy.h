/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Which session's grant covers the first packet of a flow. Four candidates, most specific first: host with port, host
 * with any port, longest prefix with port, longest prefix with any port. The first whose session lets the packet pass
 * decides; if none does, the first that was found says why.
 */
#ifndef SHELLSTREAM_POLICY_H
#define SHELLSTREAM_POLICY_H

#include "flow.h"
#include "session.h"

struct decision {
	__u32 cause;
	__u32 session_slot;
	__u32 generation;
	__u32 floor;
};

#define PREFIX_KEY_BITS (96 + 128)

static __always_inline int consider(struct decision *d, const struct policy *policy, const struct moment *m)
{
	enum cause cause;

	if (!policy)
		return 0;
	cause = session_verdict(m, policy->session_slot, policy->generation, policy->floor);
	if (cause != PASS && d->session_slot != NO_SESSION)
		return 0;
	d->cause = cause;
	d->session_slot = policy->session_slot;
	d->generation = policy->generation;
	d->floor = policy->floor;
	return cause == PASS;
}

/*
 * Whether a packet that one peer sent may go on to another, once the grants of both hops cover it: neither of them says that they
 * may be joined. Its source is pinned, for it came in here; one that was rewritten on the way is nobody's, and stays.
 */
static __noinline int may_be_forwarded(const struct flow_key *key, __u32 session_slot)
{
	struct source_key source = { .prefixlen = 32 + 128, .ifindex = key->ifindex, .source = key->local };
	struct session *session = bpf_map_lookup_elem(&session_state, &session_slot);
	__u32 *from = bpf_map_lookup_elem(&source_slots, &source);
	struct forward forward = {};

	if (!session || !from)
		return 0;
	forward.from = *from;
	forward.to = session->peer_slot;
	return bpf_map_lookup_elem(&forwards, &forward) != 0;
}

/* `d` comes in as NO_FLOW of NO_SESSION. */
static __noinline int decide(struct decision *d, const struct flow_key *key, const struct moment *m, __u32 direction)
{
	struct policy_prefix_key by_prefix = {};
	struct policy_key *by_host = &by_prefix.policy;
	int in = direction == DIRECTION_IN;
	__u16 port;

	/* An echo's identifier is no port, and only a request opens: the caller sees to that. */
	port = key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6 ? 0
	       : in ? key->local_port : key->remote_port;
	by_prefix.prefixlen = PREFIX_KEY_BITS;
	by_host->ifindex = key->ifindex;
	by_host->direction = direction;
	by_host->protocol = key->protocol;
	by_host->destination = in ? key->local : key->remote;
	if (in) {
		struct source_key source = { .prefixlen = 32 + 128, .ifindex = key->ifindex, .source = key->remote };
		__u32 *slot = bpf_map_lookup_elem(&source_slots, &source);

		if (!slot) {
			d->cause = SOURCE_NOT_PINNED;
			return 0;
		}
		by_host->peer_slot = *slot;
	}
	by_host->port = port;
	if (consider(d, bpf_map_lookup_elem(&flow_policy, by_host), m))
		return 1;
	by_host->port = 0;
	if (port && consider(d, bpf_map_lookup_elem(&flow_policy, by_host), m))
		return 1;
	by_host->port = port;
	if (consider(d, bpf_map_lookup_elem(&flow_prefixes, &by_prefix), m))
		return 1;
	by_host->port = 0;
	return port && consider(d, bpf_map_lookup_elem(&flow_prefixes, &by_prefix), m);
}

#endif
