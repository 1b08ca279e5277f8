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
 *   - the level or the rules are outside 1 to 5.
 *
 * The writer makes the sequence odd, writes, and makes it even again; a reader that sees the same even number before
 * and after has a whole state. The heartbeat stands outside: it is one word and may move alone.
 *
 * What a level asks of a data plane is in `rules`; a site's accord may ask for more than the level does. A reader knows
 * by its own configuration of which class a flow is, and governance_state_action() says what becomes of it:
 *
 *                                  allowlisted   critical    ordinary    between zones
 *     1 standard                   forward       forward     forward     forward
 *     2 deep classification        forward       + classify  + classify  + classify
 *     3 inter-zone deprioritised   forward       + classify  + classify  + classify, background
 *     4 critical only              forward       + classify  drop        drop
 *     5 allowlist only             forward       drop        drop        drop
 */
#ifndef SHELLSTREAM_GOVERNANCE_STATE_H
#define SHELLSTREAM_GOVERNANCE_STATE_H

#include <stdint.h>

#define GOVERNANCE_STATE_MAGIC 0x53485350u /* "SHSP" */
#define GOVERNANCE_STATE_VERSION 2u
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
	uint64_t written_ns;   /* CLOCK_BOOTTIME of the last change of level, epoch or rules */
	uint32_t rules;        /* enum governance_rules */
};

enum governance_rules {
	GOVERNANCE_RULES_STANDARD = 1,
	GOVERNANCE_RULES_DEEP_CLASSIFICATION = 2,
	GOVERNANCE_RULES_INTER_ZONE_DEPRIORITISED = 3,
	GOVERNANCE_RULES_CRITICAL_ONLY = 4,
	GOVERNANCE_RULES_ALLOWLIST_ONLY = 5,
};

/* Of a flow. What fits nowhere else is between zones: a reader that does not know gives least. */
enum governance_class {
	GOVERNANCE_CLASS_BETWEEN_ZONES = 0, /* from one zone to another, and not essential */
	GOVERNANCE_CLASS_ORDINARY = 1,      /* within a zone, or essential between two */
	GOVERNANCE_CLASS_CRITICAL = 2,      /* management, incident response, health */
	GOVERNANCE_CLASS_ALLOWLISTED = 3,   /* a static entry for exactly this flow: monitoring */
};

/* Bits; none of them: drop. */
#define GOVERNANCE_ACTION_DROP 0u
#define GOVERNANCE_ACTION_FORWARD 1u
#define GOVERNANCE_ACTION_CLASSIFY 2u   /* by content, not by header alone */
#define GOVERNANCE_ACTION_BACKGROUND 4u /* behind everything that is not */

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
		read.rules = __atomic_load_n(&page->rules, __ATOMIC_RELAXED);
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
	if (read.rules < GOVERNANCE_RULES_STANDARD || read.rules > GOVERNANCE_RULES_ALLOWLIST_ONLY)
		return GOVERNANCE_STATE_LOCKDOWN;
	if (whole)
		*whole = read;
	return read.level;
}

/* The rules to act on with what governance_state_level() answered: at lockdown, and where the page was not whole, the
 * allowlist. */
static inline uint32_t governance_state_rules(uint32_t level, const struct governance_state *whole)
{
	return level == GOVERNANCE_STATE_LOCKDOWN ? GOVERNANCE_RULES_ALLOWLIST_ONLY : whole->rules;
}

/* What becomes of a flow of this class. Rules and classes of a later version count as the strictest and the least. */
static inline uint32_t governance_state_action(uint32_t rules, uint32_t flow_class)
{
	uint32_t is_critical = flow_class == GOVERNANCE_CLASS_CRITICAL;
	uint32_t stays_in = is_critical || flow_class == GOVERNANCE_CLASS_ORDINARY;

	if (flow_class == GOVERNANCE_CLASS_ALLOWLISTED)
		return GOVERNANCE_ACTION_FORWARD;
	switch (rules) {
	case GOVERNANCE_RULES_STANDARD:
		return GOVERNANCE_ACTION_FORWARD;
	case GOVERNANCE_RULES_DEEP_CLASSIFICATION:
		return GOVERNANCE_ACTION_FORWARD | GOVERNANCE_ACTION_CLASSIFY;
	case GOVERNANCE_RULES_INTER_ZONE_DEPRIORITISED:
		return GOVERNANCE_ACTION_FORWARD | GOVERNANCE_ACTION_CLASSIFY |
		       (stays_in ? 0 : GOVERNANCE_ACTION_BACKGROUND);
	case GOVERNANCE_RULES_CRITICAL_ONLY:
		return is_critical ? GOVERNANCE_ACTION_FORWARD | GOVERNANCE_ACTION_CLASSIFY : GOVERNANCE_ACTION_DROP;
	default:
		return GOVERNANCE_ACTION_DROP;
	}
}

#endif
