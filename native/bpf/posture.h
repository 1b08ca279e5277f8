/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The node's level, and the window in which the last word gets out. */
#ifndef SHELLSTREAM_POSTURE_H
#define SHELLSTREAM_POSTURE_H

#include "maps.h"

#define CONTROL_WINDOW_NS 500000000ULL

static __always_inline __u32 level_of_slot(__u32 slot)
{
	volatile __u32 *raw = bpf_map_lookup_elem(&posture_level, &slot);
	__u32 level = raw ? *raw : 1;

	return level >= 1 && level <= 5 ? level : 1;
}

/* The lower of both slots. Every program that asks also starts the control window, so that it opens with the first
 * packet of any governed interface; leaving level 1 arms it again. */
static __always_inline __u32 node_level(__u64 now)
{
	__u32 external = level_of_slot(0), own = level_of_slot(1), zero = 0;
	__u32 level = external < own ? external : own;
	volatile __u64 *since = bpf_map_lookup_elem(&lockdown_since, &zero);

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
