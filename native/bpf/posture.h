/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The node's level, and the window in which the last word gets out. */
#ifndef SHELLSTREAM_POSTURE_H
#define SHELLSTREAM_POSTURE_H

#include "maps.h"

#define CONTROL_WINDOW_NS 500000000ULL
/* Whoever writes the slots as fast as he can has this many events a second made; what he wrote last is always told. */
#define LEVELS_APART_NS 1000000ULL

static __always_inline __u32 level_of_slot(__u32 slot)
{
	volatile __u32 *raw = bpf_map_lookup_elem(&posture_level, &slot);
	__u32 level = raw ? *raw : 1;

	return level >= 1 && level <= 5 ? level : 1;
}

/* Once a change, not once a packet, whichever processor is first. */
static __noinline int report_level(struct __sk_buff *skb, __u32 external, __u32 own)
{
	__u32 zero = 0, level = external < own ? external : own;
	struct seen *seen = bpf_map_lookup_elem(&seen_level, &zero);
	__u64 now = bpf_ktime_get_boot_ns();
	struct level_seen *event;
	__u32 from;

	if (!seen)
		return 0;
	from = *(volatile __u32 *)&seen->level;
	if (now - *(volatile __u64 *)&seen->at_ns < LEVELS_APART_NS)
		return 0;
	if (from == level || __sync_val_compare_and_swap(&seen->level, from, level) != from)
		return 0;
	seen->at_ns = now;
	seen->number++;
	event = bpf_ringbuf_reserve(&shell_events, sizeof(*event), 0);
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->at_ns = now;
	event->ifindex = skb->ifindex;
	event->cause = LEVEL_SEEN;
	event->from = from;
	event->external = external;
	event->own = own;
	event->number = seen->number;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The lower of both slots. Every program that asks also starts the control window, so that it opens with the first
 * packet of any governed interface; leaving level 1 arms it again. */
static __always_inline __u32 node_level(struct __sk_buff *skb, __u64 now)
{
	__u32 external = level_of_slot(0), own = level_of_slot(1), zero = 0;
	__u32 level = external < own ? external : own;
	volatile __u64 *since = bpf_map_lookup_elem(&lockdown_since, &zero);
	volatile struct seen *seen = bpf_map_lookup_elem(&seen_level, &zero);

	if (seen && seen->level != level)
		report_level(skb, external, own);
	if (!since)
		return 1;
	if (level > 1) {
		if (*since)
			*since = 0;
	} else if (!*since) {
		__sync_val_compare_and_swap(since, 0, now);
	}
	return level;
}

static __always_inline int control_window_is_open(__u64 now)
{
	__u32 zero = 0;
	volatile __u64 *since = bpf_map_lookup_elem(&lockdown_since, &zero);
	__u64 began = since ? *since : 0;

	/* Another processor may have read its clock a moment later than we did. */
	return began && (began >= now || now - began < CONTROL_WINDOW_NS);
}

#endif
