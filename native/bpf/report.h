/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Counters, and denials to the ring buffer: bounded a processor, so that a flood cannot keep the daemon busy. */
#ifndef SHELLSTREAM_REPORT_H
#define SHELLSTREAM_REPORT_H

#include "maps.h"
#include "packet.h"

#define EVENT_WINDOW_NS 10000000ULL
#define EVENTS_A_WINDOW 64

static __always_inline void count_passed(struct __sk_buff *skb, __u32 session_slot)
{
	struct stats *stats = bpf_map_lookup_elem(&flow_stats, &session_slot);

	if (stats) {
		stats->packets++;
		stats->bytes += skb->len;
	}
}

static __always_inline int event_is_affordable(__u64 now)
{
	__u32 zero = 0;
	struct event_budget *budget = bpf_map_lookup_elem(&event_budgets, &zero);

	if (!budget)
		return 0;
	if (now - budget->window_ns >= EVENT_WINDOW_NS) {
		budget->window_ns = now;
		budget->spent = 0;
	}
	return budget->spent++ < EVENTS_A_WINDOW;
}

static __noinline int report_denial(struct __sk_buff *skb, const struct packet *p, __u32 cause, __u32 direction,
				    __u32 session_slot)
{
	struct stats *stats = bpf_map_lookup_elem(&flow_stats, &session_slot);
	__u64 *total = bpf_map_lookup_elem(&denial_stats, &cause);
	__u64 now = bpf_ktime_get_boot_ns();
	struct denial *denial;

	if (stats)
		stats->denied++;
	if (total)
		(*total)++;
	if (!event_is_affordable(now))
		return 0;
	denial = bpf_ringbuf_reserve(&shell_events, sizeof(*denial), 0);
	if (!denial)
		return 0;
	denial->at_ns = now;
	denial->ifindex = skb->ifindex;
	denial->cause = cause;
	denial->direction = direction;
	denial->protocol = p->protocol;
	denial->family = p->family;
	denial->source = p->source;
	denial->destination = p->destination;
	denial->source_port = p->source_port;
	denial->destination_port = p->destination_port;
	denial->session_slot = session_slot;
	bpf_ringbuf_submit(denial, 0);
	return 0;
}

#endif
