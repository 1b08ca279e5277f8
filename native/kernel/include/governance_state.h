/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The governance page: how a data plane in user space (VPP's plugin, a vhost switch) learns the posture level.
 *
 * One file, one page, written by the daemon (mode 0644), mapped read-only by readers, native byte order. A reader polls
 * governance_state_level() at least once a millisecond, and treats the level as lockdown when the page is not whole:
 *
 *   - the magic or version is not this one,
 *   - the sequence stays odd (a writer died in the middle) or keeps changing,
 *   - the heartbeat is older than GOVERNANCE_STATE_STALE_NS, or in the future (a page of an earlier boot),
 *   - the level is outside 1 to 5.
 *
 * The writer makes the sequence odd, writes, and makes it even again; a reader that sees the same even number before
 * and after has a whole state. The heartbeat stands outside: it is one word and may move alone.
 */
#ifndef SHELLSTREAM_GOVERNANCE_STATE_H
#define SHELLSTREAM_GOVERNANCE_STATE_H

#include <stdint.h>

#define GOVERNANCE_STATE_MAGIC 0x53485350u /* "SHSP" */
#define GOVERNANCE_STATE_VERSION 1u
#define GOVERNANCE_STATE_SIZE 4096u
#define GOVERNANCE_STATE_STALE_NS 3000000000ull
#define GOVERNANCE_STATE_LOCKDOWN 1u
#define GOVERNANCE_STATE_TRIES 64

struct governance_state {
	uint32_t magic;
	uint32_t version;
	uint32_t sequence;
	uint32_t level;        /* 5 normal … 1 lockdown */
	uint64_t epoch;        /* of the transition that set the level; never goes back */
	uint64_t heartbeat_ns; /* CLOCK_BOOTTIME */
	uint64_t written_ns;   /* CLOCK_BOOTTIME of the last change of level or epoch */
};

/* The level to act on at `now_ns` (CLOCK_BOOTTIME). `whole`, when not null, receives the state that was read, or
 * zeroes when there was none to trust. */
static inline uint32_t governance_state_level(const struct governance_state *page, uint64_t now_ns,
					      struct governance_state *whole)
{
	struct governance_state read = { 0 };
	uint32_t before, after, tries = 0;

	if (whole)
		*whole = read;
	do {
		if (tries++ == GOVERNANCE_STATE_TRIES)
			return GOVERNANCE_STATE_LOCKDOWN;
		before = __atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE);
		read.magic = __atomic_load_n(&page->magic, __ATOMIC_RELAXED);
		read.version = __atomic_load_n(&page->version, __ATOMIC_RELAXED);
		read.level = __atomic_load_n(&page->level, __ATOMIC_RELAXED);
		read.epoch = __atomic_load_n(&page->epoch, __ATOMIC_RELAXED);
		read.heartbeat_ns = __atomic_load_n(&page->heartbeat_ns, __ATOMIC_RELAXED);
		read.written_ns = __atomic_load_n(&page->written_ns, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		after = __atomic_load_n(&page->sequence, __ATOMIC_RELAXED);
	} while (before != after || (before & 1));
	read.sequence = before;
	if (read.magic != GOVERNANCE_STATE_MAGIC || read.version != GOVERNANCE_STATE_VERSION)
		return GOVERNANCE_STATE_LOCKDOWN;
	if (read.heartbeat_ns > now_ns || now_ns - read.heartbeat_ns > GOVERNANCE_STATE_STALE_NS)
		return GOVERNANCE_STATE_LOCKDOWN;
	if (read.level < 1 || read.level > 5)
		return GOVERNANCE_STATE_LOCKDOWN;
	if (whole)
		*whole = read;
	return read.level;
}

#endif
