/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Keys and values of the maps. The daemon packs the same bytes in src/dataplane/linux/flows-packing.ts.
 *
 * Numbers are in host order, ports and addresses in network order. Addresses are 16 bytes; IPv4 is mapped
 * (::ffff:a.b.c.d), and a real IPv6 packet that carries such an address is refused, or it could ride on IPv4's flows.
 * Every byte of padding is zero: hash keys compare it.
 */
#ifndef SHELLSTREAM_LAYOUT_H
#define SHELLSTREAM_LAYOUT_H

#include <linux/types.h>

enum direction { DIRECTION_IN = 1, DIRECTION_OUT = 2 };

/* Monitored: an outer interface with static entries, which resolves addresses at level 1 too. */
enum iface_kind { IFACE_TUNNEL = 1, IFACE_OUTER = 2, IFACE_MONITORED = 3 };

/* Why a packet was dropped; the order is that of DenialCause in src/dataplane/ports.ts. */
enum cause {
	PASS = 0,
	NO_FLOW,
	SOURCE_NOT_PINNED,
	POSTURE,
	SESSION_INACTIVE,
	SESSION_EXPIRED,
	LEASE_EXPIRED,
	STATE_FULL,
	MALFORMED,
	ISOLATED,
	NOT_FORWARDED,
	CAUSES
};

#define NO_SESSION 0xffffffffU

struct address {
	__u32 word[4];
};

/* iface: by ifindex */
struct iface {
	__u8 kind;
	__u8 ethernet; /* 1: frames start with an Ethernet header; 0: with the IP header */
	__u16 mtu;     /* TCP's MSS is clamped to it on tunnels; 0: never */
};

/* session_state: array by session slot */
struct session {
	__u32 generation;
	__u32 peer_slot;
	__u64 expires_ns; /* BOOTTIME */
	__u32 active;     /* 1: packets pass */
	__u32 reserved;
};

/* source_slots: longest prefix; prefixlen counts the 32 bits of ifindex */
struct source_key {
	__u32 prefixlen;
	__u32 ifindex;
	struct address source;
};

/* flow_policy. `in`: peer_slot is the slot that the packet's source is pinned to. `out`: peer_slot is 0, because the
 * destination alone says which peer hosts it. */
struct policy_key {
	__u32 ifindex;
	__u32 peer_slot;
	__u8 direction;
	__u8 protocol;
	__u16 port; /* of the destination; 0: any */
	struct address destination;
};

/* flow_prefixes: longest prefix; prefixlen counts the 96 bits before the destination */
struct policy_prefix_key {
	__u32 prefixlen;
	struct policy_key policy;
};

struct policy {
	__u32 session_slot;
	__u32 generation;
	__u32 floor; /* lowest level at which it passes */
};

/* staged_policies: array; what install_policies puts into flow_policy, and uninstall_policies takes out of it */
struct staged {
	struct policy_key key;
	struct policy value;
};

/* translations: array; the first without an interface ends it. The mask has the bits that both prefixes have of an address. */
#define MAX_TRANSLATIONS 16

struct translation {
	__u32 ifindex;
	__u32 reserved;
	struct address internal; /* in our site */
	struct address external; /* in the tunnel */
	struct address mask;
};

/* forwards: which peer's packets may go on to which other peer; both are peer slots */
struct forward {
	__u32 from;
	__u32 to;
};

/* flow_state: one entry for both ways, seen from this host. ICMP echo has its identifier in both ports. */
struct flow_key {
	struct address remote;
	struct address local;
	__u16 remote_port;
	__u16 local_port;
	__u32 ifindex;
	__u8 protocol;
	__u8 reserved[7];
} __attribute__((aligned(8)));

enum flow_flag {
	FLOW_ANSWERED = 1,
	FLOW_FIN_OPENER = 2,
	FLOW_FIN_ANSWERER = 4,
	FLOW_RESET = 8,
};

struct flow {
	__u64 last_seen_ns; /* BOOTTIME, moved at most once a second */
	__u32 session_slot;
	__u32 generation;
	__u32 place; /* in the session's part of flow_places */
	__u8 floor;
	__u8 opened_by; /* direction of the first packet */
	__u8 flags;
	__u8 reserved;
};

/* flow_places: array, quota entries a session; what a session may hold in flow_state. Protocol 0: free. */
struct place {
	struct flow_key key;
};

/* control_flows */
struct control_key {
	struct address remote;
	struct address local;
	__u16 remote_port;
	__u16 local_port;
	__u8 protocol;
	__u8 reserved[3];
};

/* static_flows: longest prefix; prefixlen counts the 64 bits before the remote address */
struct static_key {
	__u32 prefixlen;
	__u32 ifindex;
	__u8 direction;
	__u8 protocol;
	__u16 port; /* ours for `in`, the remote side's for `out`; 0: any */
	struct address remote;
};

/* flow_stats: per-CPU array by session slot */
struct stats {
	__u64 packets;
	__u64 bytes;
	__u64 denied;
};

/* shell_events */
struct denial {
	__u64 at_ns; /* BOOTTIME */
	__u32 ifindex;
	__u8 cause;
	__u8 direction;
	__u8 protocol;
	__u8 family; /* 4, 6; 0: not IP */
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	__u32 session_slot;
};

/* In shell_events between denials, as long as one and told by its cause, which is none of theirs: a program saw another level
 * of the node than the one seen last. */
#define LEVEL_SEEN 255

struct level_seen {
	__u64 at_ns; /* BOOTTIME */
	__u32 ifindex;
	__u8 cause; /* LEVEL_SEEN */
	__u8 from;  /* 0: the first since the programs were loaded */
	__u8 external; /* of slot 0, and of slot 1: the lower one holds */
	__u8 own;
	__u64 number; /* of such events, from 1: a gap is what was lost on the way */
	__u8 reserved[sizeof(struct denial) - 24];
};

/* seen_level: the last one */
struct seen {
	__u32 level;
	__u32 reserved;
	__u64 number;
	__u64 at_ns;
};

#endif
