/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * flow_state: what a granted direction opened, so that the answer may pass. A session holds at most its quota of
 * entries (its places in flow_places); idle ones are taken again, live ones never: LRU would let a flood of new flows
 * push out others'.
 */
#ifndef SHELLSTREAM_FLOW_H
#define SHELLSTREAM_FLOW_H

#include "maps.h"
#include "packet.h"

#define SECOND 1000000000ULL
/* RFC 5382 wants 2 h 4 min for established TCP, RFC 4787 at least 2 min for UDP. */
#define IDLE_TCP (7440 * SECOND)
#define IDLE_UDP (180 * SECOND)
#define IDLE_ECHO (30 * SECOND)
#define IDLE_UNANSWERED (30 * SECOND)
#define IDLE_CLOSING (10 * SECOND)

#define PLACES_TRIED 8

/* Set by the loader; flow_places holds this many entries a session. */
volatile const __u32 flow_quota = 128;

static __always_inline void flow_key_of(const struct packet *p, __u32 ifindex, __u8 direction, struct flow_key *key)
{
	int in = direction == DIRECTION_IN;

	__builtin_memset(key, 0, sizeof(*key));
	copy_address(&key->remote, in ? &p->source : &p->destination);
	copy_address(&key->local, in ? &p->destination : &p->source);
	key->remote_port = in ? p->source_port : p->destination_port;
	key->local_port = in ? p->destination_port : p->source_port;
	key->ifindex = ifindex;
	key->protocol = p->protocol;
}

static __always_inline __u64 idle_limit(const struct flow *flow, __u8 protocol)
{
	if (protocol == IPPROTO_TCP) {
		if ((flow->flags & FLOW_RESET) ||
		    (flow->flags & (FLOW_FIN_OPENER | FLOW_FIN_ANSWERER)) == (FLOW_FIN_OPENER | FLOW_FIN_ANSWERER))
			return IDLE_CLOSING;
		return flow->flags & FLOW_ANSWERED ? IDLE_TCP : IDLE_UNANSWERED;
	}
	if (protocol == IPPROTO_UDP)
		return flow->flags & FLOW_ANSWERED ? IDLE_UDP : IDLE_UNANSWERED;
	return IDLE_ECHO;
}

static __always_inline int flow_is_live(const struct flow *flow, __u8 protocol, __u64 now)
{
	__u64 seen = flow->last_seen_ns;

	return seen >= now || now - seen < idle_limit(flow, protocol);
}

static __always_inline void touch_flow(struct flow *flow, const struct packet *p, __u8 direction, __u64 now)
{
	__u8 by_opener = direction == flow->opened_by, flags = flow->flags;

	if (!by_opener)
		flags |= FLOW_ANSWERED;
	if (p->tcp_flags & TCP_FIN)
		flags |= by_opener ? FLOW_FIN_OPENER : FLOW_FIN_ANSWERER;
	if (p->tcp_flags & TCP_RST)
		flags |= FLOW_RESET;
	/* Written only when it changes: the entry is shared between processors. */
	if (flags != flow->flags)
		flow->flags = flags;
	if (now > flow->last_seen_ns + SECOND)
		flow->last_seen_ns = now;
}

/* Frees the place when the flow it names is gone, idle, or of an earlier generation. */
static __always_inline int place_is_free(struct place *place, __u32 slot, __u32 number, __u32 generation, __u64 now)
{
	struct flow_key key = place->key;
	struct flow *flow;

	if (key.protocol == 0)
		return 1;
	flow = bpf_map_lookup_elem(&flow_state, &key);
	if (!flow || flow->session_slot != slot || flow->place != number)
		return 1;
	if (flow->generation == generation && flow_is_live(flow, key.protocol, now))
		return 0;
	bpf_map_delete_elem(&flow_state, &key);
	return 1;
}

/* Remembers a flow that policy lets through; 0: the session's quota or the table is full. */
static __noinline int open_flow(struct flow_key *key, struct flow *flow)
{
	__u32 slot = flow->session_slot;
	__u32 *cursor = bpf_map_lookup_elem(&flow_cursor, &slot);
	__u32 quota = flow_quota;

	if (!cursor || !quota)
		return 0;
	for (int n = 0; n < PLACES_TRIED; n++) {
		__u32 number = __sync_fetch_and_add(cursor, 1) % quota;
		__u32 index = slot * quota + number;
		struct place *place = bpf_map_lookup_elem(&flow_places, &index);

		if (!place)
			return 0;
		if (!place_is_free(place, slot, number, flow->generation, flow->last_seen_ns))
			continue;
		flow->place = number;
		if (bpf_map_update_elem(&flow_state, key, flow, BPF_ANY))
			return 0;
		place->key = *key;
		return 1;
	}
	return 0;
}

#endif
