/*
 * The posture of one node, as src/posture has it: two sources that speak at any time and are set aside, the engine that follows
 * the strictest of them step by step, the disk behind it, steps that fail or hang, crash and restart.
 *
 * An `atomic` or `d_step` is one turn of the event loop; between two of them, wherever the code awaits, anything else may run.
 * When nothing can happen any more (`timeout`) everything must be at the level that the sources ask for.
 */

#define SHUT   0 /* level 1 */
#define NARROW 1 /* levels 3 and 2 */
#define OPEN   2 /* levels 5 and 4 */
#define MIN(a, b) (((a) < (b)) -> (a) : (b))

#define SOURCES 2

#ifndef WORDS
#define WORDS 2
#endif
#ifndef ASIDES
#define ASIDES 0
#endif
#ifndef FAILURES
#define FAILURES 0
#endif
#ifndef HANGS
#define HANGS 0
#endif

/* What was truly said, and whether it counts: by this the rest is judged. */
byte spoken[SOURCES] = OPEN;
bool aside[SOURCES];
#define COUNTS(i) ((aside[i]) -> OPEN : (spoken[i]))
#define ASKED MIN(COUNTS(0), COUNTS(1))
/* The loosest that was asked for since the running change began, and since the one that wrote the map did: what was lifted
 * meanwhile may be found lifted after a crash. */
byte since = OPEN;
byte loosest = OPEN;
inline note() {
	since = ((ASKED > since) -> ASKED : since);
	loosest = ((ASKED > loosest) -> ASKED : loosest)
}

/* The engine's memory. */
byte said[SOURCES] = OPEN;
bool counted[SOURCES] = true;
byte number[SOURCES]; /* epochs */
#define HELD(i) ((counted[i]) -> (said[i]) : OPEN)
#define EFFECTIVE MIN(HELD(0), HELD(1))
byte level = OPEN; /* as admission reads it */
bool following;
bool mapFailed;  /* the map's step is to be taken again */
bool restless;   /* steps are to be taken again: one failed or woke late, or a change was broken off */

/* The disk: posture.json, and the last intent of the journal. */
byte kept[SOURCES] = OPEN;
byte keptNumber[SOURCES];
bool keptCounted[SOURCES] = true;
bool promised;
byte promise[SOURCES];
byte promiseNumber[SOURCES];
bool promiseCounted[SOURCES];
byte stricter = OPEN; /* of the intent's two ends */
bool settled = true;  /* there is a settlement behind the intent */

/* The kernel, and what lives by the level. */
byte page = OPEN;
byte map = OPEN;
byte sessions = OPEN;

bool crashed;
byte failures;
byte hangs;
byte words;
byte asides;
byte saving;

/* ── sources ──────────────────────────────────────────────────────────────────────────────────────────────── */

inline wake() {
	if
	:: !following -> following = true; run Follow()
	:: else
	fi
}

/* PostureFile.save of what is said now; it may come late, and takes what there is then. */
proctype Save() provided (!crashed) {
	d_step {
		kept[0] = said[0]; keptNumber[0] = number[0]; keptCounted[0] = counted[0];
		kept[1] = said[1]; keptNumber[1] = number[1]; keptCounted[1] = counted[1];
		saving--
	}
}

active proctype Source() {
	byte i, next;
	do
	:: words < WORDS ->
		atomic {
			!crashed;
			words++;
			if
			:: i = 0
			:: i = 1
			fi;
			if
			:: next = SHUT
			:: next = NARROW
			:: next = OPEN
			fi;
			spoken[i] = next; aside[i] = false;
			note();
			said[i] = next; number[i]++; counted[i] = true;
			saving++;
			run Save();
			wake()
		}
	:: asides < ASIDES ->
		atomic {
			!crashed;
			asides++;
			aside[0] = true;
			note();
			counted[0] = false;
			saving++;
			run Save();
			wake()
		}
	:: break
	od
}

/* ── engine ───────────────────────────────────────────────────────────────────────────────────────────────── */

/* One step in the kernel: a turn of its own, which may fail. */
inline take(what, to) {
	atomic {
		if
		:: what = to
		:: failures < FAILURES -> failures++; restless = true
		fi
	}
}

/* A step that was given up at its deadline, and does what it was told after all: maybe of a level long gone. */
proctype Late(byte to) provided (!crashed) {
	atomic {
		map = to;
		mapFailed = true;
		restless = true;
		wake()
	}
}

inline takeMap(to) {
	atomic {
		if
		:: map = to; mapFailed = false; loosest = since
		:: failures < FAILURES -> failures++; mapFailed = true; restless = true
		:: hangs < HANGS -> hangs++; mapFailed = true; restless = true; run Late(to)
		fi;
		assert(map <= level || mapFailed)
	}
}

inline intent(from, to) {
	d_step {
		promised = true;
		settled = false;
		stricter = MIN(from, to);
		promise[0] = said[0]; promiseNumber[0] = number[0]; promiseCounted[0] = counted[0];
		promise[1] = said[1]; promiseNumber[1] = number[1]; promiseCounted[1] = counted[1]
	}
}

inline publish(to) {
	atomic { level = to; assert(map <= level || mapFailed) }
}

/* Engine.#transitions. */
proctype Follow() provided (!crashed) {
	byte to;
	bool broken;
again:
	atomic {
		to = EFFECTIVE;
		since = ASKED;
		broken = false;
		if
		:: to == level && !restless -> following = false; goto end_rest
		:: else -> restless = false
		fi
	};
	if
	:: to <= level ->
		intent(level, to);
		take(page, to);
		if :: EFFECTIVE < to -> broken = true :: else fi;
		if :: !broken -> takeMap(to) :: else fi;
		if :: EFFECTIVE < to -> broken = true :: else fi;
		if :: !broken -> publish(to); take(sessions, to) :: else fi
	:: else ->
		intent(level, to);
		publish(to);
		take(sessions, to);
		if :: EFFECTIVE < to -> broken = true :: else fi;
		if :: !broken -> takeMap(to) :: else fi;
		if :: EFFECTIVE < to -> broken = true :: else fi;
		if :: !broken -> take(page, to) :: else fi
	fi;
	if
	:: !broken ->
		settled = true
	:: else -> restless = true
	fi;
	goto again;
end_rest:
	skip
}

/* ── crash ────────────────────────────────────────────────────────────────────────────────────────────────── */

#ifdef CRASH
inline recover(i) {
	said[i] = kept[i]; number[i] = keptNumber[i]; counted[i] = keptCounted[i];
	if
	:: promised && promiseNumber[i] > keptNumber[i] ->
		said[i] = promise[i]; number[i] = promiseNumber[i]; counted[i] = promiseCounted[i]
	:: else
	fi
}

/* SIGKILL and the next run: the kernel stays as it was, memory is what the disk says. */
active proctype Crash() {
	atomic {
		crashed = true;
		recover(0);
		recover(1);
		/* What the kernel was told to forbid, the next run forbids too, unless it was lifted meanwhile. */
		assert(EFFECTIVE <= map || EFFECTIVE <= loosest);
		/* What was not kept was not acted on either: it counts as never said. */
		spoken[0] = said[0]; aside[0] = !counted[0];
		spoken[1] = said[1]; aside[1] = !counted[1];
		kept[0] = said[0]; keptNumber[0] = number[0]; keptCounted[0] = counted[0];
		kept[1] = said[1]; keptNumber[1] = number[1]; keptCounted[1] = counted[1];
		following = true;
		restless = true;
		saving = 0;
		level = MIN(EFFECTIVE, (settled -> OPEN : stricter));
		run Restarted()
	}
}

/* `start` of the next run, with nobody speaking any more: all steps at its level, and from there as in any change. */
proctype Restarted() {
	intent(level, level);
	page = level;
	map = level;
	sessions = level;
	atomic { mapFailed = false; restless = false; settled = true };
	if
	:: EFFECTIVE > level ->
		level = EFFECTIVE;
		sessions = level;
		map = level;
		page = level
	:: else
	fi;
	following = false
}
#endif

/* ── at rest ──────────────────────────────────────────────────────────────────────────────────────────────── */

active proctype AtRest() {
	timeout;
	assert(!following);
	assert(level == ASKED);
	assert(page == level && map == level && sessions == level);
	assert(settled);
	assert(crashed || (kept[0] == said[0] && kept[1] == said[1]))
}
