// SPDX-License-Identifier: Apache-2.0
/*
 * Stands in for a data plane in user space: maps the governance page, polls it, and prints a line each time what it
 * would act on changes, with what becomes of a flow of each class, between zones first (bits of GOVERNANCE_ACTION):
 *
 *     level 3 epoch 17 rules 3 actions 7 3 3 1 latency_ns 41200
 *
 * The latency runs from the writer's clock (written_ns) to the moment this reader knew; -1 where the page was not whole.
 *
 *     governance-reader PATH [POLL_US]
 *
 * 0 polls without a pause. It ends when its standard input does.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "governance_state.h"

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int input_ended(void)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	char byte;

	return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

int main(int argc, char **argv)
{
	const struct governance_state *page;
	struct governance_state state;
	struct timespec pause = { 0 };
	uint32_t last = 0, last_rules = 0, polls = 0;
	uint64_t last_epoch = 0;
	long poll_us = argc > 2 ? atol(argv[2]) : 500;
	int file;

	if (argc < 2 || poll_us < 0 || poll_us > 999999) {
		fprintf(stderr, "usage: %s PATH [POLL_US]\n", argv[0]);
		return 2;
	}
	file = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (file < 0) {
		perror(argv[1]);
		return 1;
	}
	page = mmap(NULL, GOVERNANCE_STATE_SIZE, PROT_READ, MAP_SHARED, file, 0);
	if (page == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	pause.tv_nsec = poll_us * 1000;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (;;) {
		uint32_t level = governance_state_level(page, boot_ns(), &state);
		uint32_t rules = governance_state_rules(level, &state);

		if (level != last || rules != last_rules || state.epoch != last_epoch) {
			int64_t latency = state.magic ? (int64_t)(boot_ns() - state.written_ns) : -1;

			printf("level %u epoch %" PRIu64 " rules %u actions %u %u %u %u latency_ns %" PRId64 "\n", level,
			       state.epoch, rules, governance_state_action(rules, GOVERNANCE_CLASS_BETWEEN_ZONES),
			       governance_state_action(rules, GOVERNANCE_CLASS_ORDINARY),
			       governance_state_action(rules, GOVERNANCE_CLASS_CRITICAL),
			       governance_state_action(rules, GOVERNANCE_CLASS_ALLOWLISTED), latency);
			last = level;
			last_rules = rules;
			last_epoch = state.epoch;
		}
		/* Every poll would double its cost. */
		if (++polls % (poll_us ? 64 : 65536) == 0 && input_ended())
			return 0;
		if (poll_us)
			nanosleep(&pause, NULL);
	}
}
