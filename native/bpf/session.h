/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Whether a session's packet may pass now: asked for every packet, established or not. */
#ifndef SHELLSTREAM_SESSION_H
#define SHELLSTREAM_SESSION_H

#include "maps.h"

struct moment {
	__u64 now; /* BOOTTIME ns */
	__u32 level;
	__u32 lease_stands;
};

static __always_inline int lease_stands(__u64 now)
{
	__u32 zero = 0;
	volatile __u64 *lease = bpf_map_lookup_elem(&node_lease, &zero);

	return lease && now < *lease;
}

static __always_inline enum cause session_verdict(const struct moment *m, __u32 slot, __u32 generation, __u32 floor)
{
	struct session *session = bpf_map_lookup_elem(&session_state, &slot);
	__u32 *peer_level_raw, level;

	if (!m->lease_stands)
		return LEASE_EXPIRED;
	if (!session || session->active != 1 || session->generation != generation)
		return SESSION_INACTIVE;
	if (m->now >= session->expires_ns)
		return SESSION_EXPIRED;
	peer_level_raw = bpf_map_lookup_elem(&peer_level, &session->peer_slot);
	level = peer_level_raw ? *peer_level_raw : 0;
	if (m->level < level)
		level = m->level;
	/* A floor of 0 would let an unset peer through. */
	return floor >= 1 && level >= floor ? PASS : POSTURE;
}

#endif
