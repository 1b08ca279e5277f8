// SPDX-License-Identifier: Apache-2.0
/*
 * Stands in for a data plane in user space: maps the governance page, polls it, and prints a line each time the level
 * that it would act on changes:
 *
 *     level 3 epoch 17 latency_us 412
 *
 * The latency runs from the writer's clock (written_ns) to the moment this reader knew; -1 where the page was not whole.
 *
 *     governance-reader PATH [POLL_US]
 *
 * It ends when its standard input does.
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
	uint32_t last = 0, polls = 0;
	uint64_t last_epoch = 0;
	long poll_us = argc > 2 ? atol(argv[2]) : 500;
	int file;

	if (argc < 2 || poll_us < 1 || poll_us > 999999) {
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
		uint64_t now = boot_ns();
		uint32_t level = governance_state_level(page, now, &state);

		if (level != last || state.epoch != last_epoch) {
			int64_t latency = state.magic ? (int64_t)(boot_ns() - state.written_ns) / 1000 : -1;

			printf("level %u epoch %" PRIu64 " latency_us %" PRId64 "\n", level, state.epoch, latency);
			last = level;
			last_epoch = state.epoch;
		}
		/* Every poll would double its cost. */
		if (++polls % 64 == 0 && input_ended())
			return 0;
		nanosleep(&pause, NULL);
	}
}
