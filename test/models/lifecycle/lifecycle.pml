/*
 * The life of one node's mesh sessions with one peer identity, as src/session, src/enforcer and src/posture have it: grants,
 * renewals, ends of any cause, posture here and there, a newer session in the place of the former, shutdown, crash and restart.
 *
 * An `atomic` or `d_step` is one turn of the event loop; between two of them, wherever the code awaits, anything else may run. Every
 * step in the kernel is a turn of its own and may fail. When nothing can happen any more (`timeout`) the books must be even.
 */

#define SHUT   0 /* level 1: nothing remote */
#define NARROW 1 /* levels 3 and 2: narrower grants */
#define OPEN   2 /* levels 5 and 4 */
#define MIN(a, b) (((a) < (b)) -> (a) : (b))

#define SESSIONS 2

#ifndef POSTURE
#define POSTURE 0
#endif
#ifndef PEER
#define PEER 0
#endif

mtype = { absent, admitting, live, over };

/* The session layer. */
mtype session[SESSIONS] = absent;
byte grant[SESSIONS];     /* the level whose capabilities the session holds */
byte effective[SESSIONS]; /* Session.#effective */
byte told[SESSIONS];      /* the peer's level as it said last, and how manieth word that was */
byte toldEpoch[SESSIONS];
bool stopping;            /* SessionRegistry.drainAll was called */
bool displaced[SESSIONS]; /* a newer session took the place of one that may not have been opened yet */

/* The enforcer and its overlay. */
bool standing[SESSIONS];
bool member[SESSIONS];
bool queued; /* Overlay.#exclusively */

/* The kernel. */
bool flow[SESSIONS];
bool tunnel[SESSIONS];
bool route[SESSIONS];
byte peerSlot[SESSIONS]; /* peer_level */
byte ownSlot = OPEN;     /* posture_level, our slot */
bool lease = true;

/* The posture engine, as admission reads it, and the peer's own. */
byte level = OPEN;
byte peerLevel = OPEN;
byte peerEpoch;

bool crashed;
bool stopped;  /* the shutdown is through */

/* For the books: ends under way, and what works on a session. */
byte releasing;
byte busy[SESSIONS];

/* A packet that only a wide grant lets through. */
#define PASSES_WIDE(s) (flow[s] && tunnel[s] && lease && ownSlot == OPEN && peerSlot[s] == OPEN)
#define HOLDS(s) (flow[s] || tunnel[s] || route[s])

/* ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────── */

/* Overlay.leave: whatever of the membership stands, flows first. */
inline leave(which) {
	atomic { !queued; queued = true };
	if
	:: member[which] ->
		d_step { member[which] = false; flow[which] = false };
		tunnel[which] = false;
		route[which] = false
	:: else
	fi;
	queued = false
}

/* LocalEnforcer.release by the session that ended. */
proctype Release(byte s) provided (!crashed) {
	leave(s);
	atomic { busy[s]--; releasing-- }
}

/* Session.#ended and LocalEnforcer.release up to its first await. Within a turn. */
inline end(which) {
	if
	:: session[which] == live ->
		session[which] = over;
		if
		:: standing[which] -> standing[which] = false; busy[which]++; releasing++; run Release(which)
		:: else
		fi
	:: else
	fi
}

/* Session.#judge and #obey: a mesh session narrows in place, and ends at level 1. Within a turn. */
inline judge(which, after, before) {
	if
	:: session[which] == live ->
		after = MIN(level, told[which]);
		before = effective[which];
		effective[which] = after;
		if
		:: after < before && after == SHUT -> end(which)
		:: after < before && after != SHUT -> grant[which] = MIN(grant[which], after)
		:: else
		fi
	:: else
	fi
}

/* ── grants ───────────────────────────────────────────────────────────────────────────────────────────────── */

/* LocalEnforcer.release, awaited. */
inline release(which) {
	if
	:: atomic { standing[which] -> standing[which] = false }; leave(which)
	:: else
	fi
}

/*
 * acceptLink: judge, stand (superseding, join), posture again, open. The other session of the identity is 1 - s.
 */
proctype Admission(byte s) provided (!crashed) {
	byte decided, from, to, bodyEpoch;
	bool superseding, refused;
	atomic {
		decided = MIN(level, peerLevel);
		told[s] = peerLevel;
		bodyEpoch = peerEpoch
	};
	/* The token is verified: others run. */
	atomic {
		if
		:: decided == SHUT || level < decided -> refused = true
		:: else
		fi
	};
	if
	:: !refused ->
		/* #stand: a peer that comes again has restarted; its former tunnel is in the way. */
		if
		:: atomic { standing[1 - s] -> standing[1 - s] = false; superseding = true; busy[1 - s]++ };
			leave(1 - s);
			busy[1 - s]--
		:: else
		fi;
		/* Overlay.join */
		atomic { !queued; queued = true };
		if
		:: member[1 - s] -> refused = true /* PREFIX_OVERLAP */
		:: else ->
			peerSlot[s] = told[s];
			if
			:: flow[s] = true;
				if
				:: atomic { !stopped -> tunnel[s] = true };
					if
					:: route[s] = true; member[s] = true
					:: refused = true; route[s] = false; tunnel[s] = false; flow[s] = false
					fi
				:: refused = true; tunnel[s] = false; flow[s] = false
				fi
			:: refused = true; flow[s] = false
			fi
		fi;
		/* #install notes it in the turn in which the overlay is through. */
		atomic {
			queued = false;
			if
			:: !refused -> standing[s] = true
			:: else
			fi
		};
		/* A grant commits only under the posture it was decided in. */
		if
		:: !refused && MIN(level, told[s]) < decided ->
			refused = true;
			release(s)
		:: else
		fi;
		/* makeRoomFor, or endSuperseded with the error */
		if
		:: superseding -> atomic { end(1 - s); displaced[1 - s] = true }
		:: else
		fi
	:: else
	fi;
	if
	:: !refused ->
		if
		:: release(s); refused = true /* its link has gone */
		:: skip
		fi
	:: else
	fi;
	atomic {
		if
		:: refused -> session[s] = over
		:: else ->
			/* SessionRegistry.open, and the constructor of Session */
			session[s] = live;
			grant[s] = decided;
			effective[s] = decided;
			toldEpoch[s] = bodyEpoch;
			judge(s, to, from);
			if
			:: stopping || displaced[s] -> end(s)
			:: else
			fi
		fi;
		busy[s]--
	}
}

/* Reattestation, at the responder: judge, stand (rejoin), posture again, adopt. */
proctype Renewal(byte s) provided (!crashed) {
	byte decided, from, to, bodyLevel, bodyEpoch;
	bool refused;
	atomic {
		session[s] == live;
		busy[s]++;
		decided = MIN(level, peerLevel);
		bodyLevel = peerLevel;
		bodyEpoch = peerEpoch
	};
	/* The token is verified: others run. */
	atomic {
		if
		:: decided == SHUT || level < decided || !standing[s] -> refused = true
		:: else
		fi
	};
	if
	:: !refused ->
		/* Overlay.rejoin */
		atomic { !queued; queued = true };
		if
		:: !member[s] -> refused = true
		:: else ->
			tunnel[s] = false;
			atomic {
				if
				:: bodyLevel < peerSlot[s] -> peerSlot[s] = bodyLevel
				:: else
				fi
			};
			if
			:: flow[s] = true; /* extended, or installed anew and activated */
				if
				:: tunnel[s] = true
				:: refused = true; tunnel[s] = false; flow[s] = false; route[s] = false
				fi
			:: refused = true; flow[s] = false; route[s] = false
			fi
		fi;
		/* It may have ended while it was being renewed; then nobody is left to release what was just made. */
		atomic {
			queued = false;
			if
			:: !refused && !standing[s] -> refused = true
			:: else -> standing[s] = standing[s] || !refused
			fi
		};
		if
		:: refused && member[s] -> leave(s)
		:: else
		fi;
		if
		:: !refused && MIN(level, bodyLevel) < decided ->
			refused = true;
			release(s)
		:: else
		fi
	:: else
	fi;
	/* Session.#adopt, or the end of the session */
	atomic {
		if
		:: refused -> end(s)
		:: !refused && session[s] == live ->
			grant[s] = decided;
			effective[s] = decided;
			if
			:: bodyEpoch >= toldEpoch[s] -> told[s] = bodyLevel; toldEpoch[s] = bodyEpoch
			:: else
			fi;
			if
			:: member[s] -> peerSlot[s] = told[s]
			:: else
			fi;
			judge(s, to, from)
		:: else
		fi;
		busy[s]--
	}
}

/* ── what happens to a node ───────────────────────────────────────────────────────────────────────────────── */

/* PostureEngine.#transition: on tightening the data plane has it first, on relaxing it is last to open. */
proctype Posture() provided (!crashed) {
	byte next, from, to, turn;
	do
	:: turn < POSTURE ->
		turn++;
		if
		:: next = SHUT
		:: next = NARROW
		:: next = OPEN
		fi;
		if
		:: next < level ->
			ownSlot = next;
			level = next;
			atomic { judge(0, to, from); judge(1, to, from) };
			/* registry.settled */
			releasing == 0;
			if
			:: level == SHUT -> d_step { tunnel[0] = false; tunnel[1] = false } /* Overlay.close */
			:: else
			fi
		:: next > level ->
			level = next;
			atomic { judge(0, to, from); judge(1, to, from) };
			/* Overlay.reopen */
			atomic { !queued; tunnel[0] = member[0]; tunnel[1] = member[1] };
			ownSlot = next
		:: else
		fi
	:: break
	od
}

/* The peer's posture, told in POSTURE frames in the order in which it changed. */
proctype Peer() provided (!crashed) {
	byte next, from, to, s;
	do
	:: peerEpoch < PEER ->
		atomic {
			if
			:: next = SHUT
			:: next = NARROW
			:: next = OPEN
			fi;
			peerLevel = next;
			peerEpoch++
		};
		s = 0;
		do
		:: s < SESSIONS ->
			/* Session.#noteLevel and #peerPostureChanged; before a session is open its frames wait in the link. */
			atomic {
				session[s] == live || session[s] == over || session[s] == absent;
				if
				:: session[s] == live && peerEpoch > toldEpoch[s] ->
					told[s] = next;
					toldEpoch[s] = peerEpoch;
					if
					:: member[s] -> peerSlot[s] = next
					:: else
					fi;
					judge(s, to, from)
				:: else
				fi;
				s++
			}
		:: else -> break
		od
	:: break
	od
}

/* Expiry, a revocation, an operator, the peer's CLOSE, a lost connection: to the session all are one call of end. */
proctype Ends() provided (!crashed) {
	if
	:: atomic { session[0] == live -> end(0) }
	:: atomic { session[1] == live -> end(1) }
	:: skip
	fi
}

/* The owner of the gateway: drainAll, then the overlay is disposed of. */
proctype Shutdown() provided (!crashed) {
	atomic { stopping = true; end(0); end(1) };
	session[0] != live && session[1] != live;
	releasing == 0;
	atomic { busy[0]++; busy[1]++ };
	leave(0);
	leave(1);
	atomic { busy[0]--; busy[1]--; stopped = true }
}

/* SIGKILL: the processes are gone, the kernel keeps what it has, and nobody renews the lease. Then a start. */
proctype Crash() {
	atomic { crashed = true; lease = false; queued = false };
	/* flows.reset, removeLeftovers, removeStaleRoutes: before anybody is let in, and before the lease is taken up again */
	d_step {
		session[0] = absent; session[1] = absent;
		standing[0] = false; standing[1] = false;
		member[0] = false; member[1] = false;
		busy[0] = 0; busy[1] = 0; releasing = 0;
		level = ownSlot
	};
	d_step { flow[0] = false; flow[1] = false };
	d_step { tunnel[0] = false; tunnel[1] = false };
	d_step { route[0] = false; route[1] = false };
	lease = true
}

/* Which of it takes part is said from outside: everything at once is more than can be searched. */
init {
	atomic {
		session[0] = admitting;
		busy[0]++;
		run Admission(0);
#ifdef NEWER
		session[1] = admitting;
		busy[1]++;
		run Admission(1);
#endif
#ifdef RENEWAL
		run Renewal(0);
#endif
#if POSTURE
		run Posture();
#endif
#if PEER
		run Peer();
#endif
#ifdef ENDS
		run Ends();
#endif
#ifdef SHUTDOWN
		run Shutdown();
#endif
#ifdef CRASH
		run Crash();
#endif
	}
}

/* ── what must hold ───────────────────────────────────────────────────────────────────────────────────────── */

/* At every moment. Blocked as long as all of it does. */
active proctype Always() {
	do
	/* Nobody's objects. */
	:: atomic { busy[0] == 0 && session[0] != live && HOLDS(0) && !crashed -> assert(!HOLDS(0)) }
	:: atomic { busy[1] == 0 && session[1] != live && HOLDS(1) && !crashed -> assert(!HOLDS(1)) }
	/* A packet that the level of this site or of the peer forbids. */
	:: atomic { session[0] == live && PASSES_WIDE(0) && MIN(level, told[0]) < OPEN -> assert(MIN(level, told[0]) == OPEN) }
	:: atomic { session[1] == live && PASSES_WIDE(1) && MIN(level, told[1]) < OPEN -> assert(MIN(level, told[1]) == OPEN) }
	/* What a dead daemon left carries packets again. */
	:: atomic { crashed && lease && (HOLDS(0) || HOLDS(1)) -> assert(!lease) }
	od
}

/* When nothing can happen any more: the books are even. */
active proctype AtRest() {
	byte s;
	timeout;
	d_step {
		do
		:: s < SESSIONS ->
			assert(session[s] == live || (!standing[s] && !member[s] && !HOLDS(s)));
			assert(session[s] != live || (standing[s] && member[s] && flow[s] && tunnel[s] && route[s]));
			assert(session[s] != live || (level != SHUT && told[s] != SHUT));
			assert(session[s] != live || grant[s] <= MIN(level, told[s]));
			assert(session[s] != live || !stopping);
			s++
		:: else -> break
		od;
		assert(session[0] != live || session[1] != live);
		assert(!stopping || stopped || crashed)
	}
}
