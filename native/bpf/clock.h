/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * BOOTTIME for the price of a look-up. Reading the clock costs half of what an established packet may cost, so each
 * processor keeps the last reading for as long as the tick counter stands still: it is late by one tick (1 to 10 ms) at
 * most, after a suspend as well, because waking up ticks.
 */
#ifndef SHELLSTREAM_CLOCK_H
#define SHELLSTREAM_CLOCK_H

#include "maps.h"

static __always_inline __u64 boot_now(void)
{
	__u32 zero = 0;
	struct reading *last = bpf_map_lookup_elem(&clock_readings, &zero);
	__u64 tick = bpf_jiffies64();

	if (!last)
		return bpf_ktime_get_boot_ns();
	if (last->tick != tick) {
		last->now_ns = bpf_ktime_get_boot_ns();
		last->tick = tick;
	}
	return last->now_ns;
}

#endif
