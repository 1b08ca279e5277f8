/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * From bytes to a packet. What cannot be told apart safely is refused here: fragments, source routes, deep extension
 * headers, IPv6 that carries mapped IPv4 addresses.
 */
#ifndef SHELLSTREAM_PACKET_H
#define SHELLSTREAM_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "layout.h"

enum packet_kind {
	PACKET_BAD = 0,
	PACKET_FLOW,          /* TCP, UDP, ICMP echo */
	PACKET_ICMP_ERROR,    /* carries the packet it is about */
	PACKET_ARP,
	PACKET_NEIGHBOUR,     /* neighbour solicitation or advertisement */
	PACKET_ROUTER,        /* router solicitation or advertisement */
	PACKET_OTHER,         /* well-formed, and nothing we know */
};

struct packet {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	__u16 transport; /* offset of the transport header */
	__u16 network;   /* and of the IP header */
	__u8 protocol;
	__u8 family; /* 4, 6; 0: not IP */
	__u8 tcp_flags;
	__u8 is_echo_request;
} __attribute__((aligned(8)));

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04

/* The start of every ICMP header; linux/icmp.h would pull in the C library. */
struct icmp_head {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 id;
	__u16 sequence;
};

enum icmp4_type {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_ECHO_REQUEST = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER_PROBLEM = 12,
};

enum icmp6_type {
	ICMP6_UNREACHABLE = 1,
	ICMP6_PACKET_TOO_BIG = 2,
	ICMP6_TIME_EXCEEDED = 3,
	ICMP6_PARAMETER_PROBLEM = 4,
	ICMP6_ECHO_REQUEST = 128,
	ICMP6_ECHO_REPLY = 129,
	ICMP6_ROUTER_SOLICITATION = 133,
	ICMP6_ROUTER_ADVERTISEMENT = 134,
	ICMP6_NEIGHBOUR_SOLICITATION = 135,
	ICMP6_NEIGHBOUR_ADVERTISEMENT = 136,
};

#define IP_FRAGMENT bpf_htons(0x3fff) /* more fragments, or an offset */
#define MAX_EXTENSION_HEADERS 4
#define MAX_HEADER_OFFSET 0x3fff

static __always_inline void map_ipv4(struct address *to, __u32 from)
{
	to->word[0] = 0;
	to->word[1] = 0;
	to->word[2] = bpf_htonl(0xffff);
	to->word[3] = from;
}

static __always_inline int is_mapped_ipv4(const struct address *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline int same_address(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

/* Both are on the stack, and there aligned to 8 bytes. */
static __always_inline void copy_address(struct address *to, const struct address *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

/* By words, which the processors of our kernels load at any address; the compiler would copy byte by byte. */
static __always_inline void copy_words(void *to, const void *from, __u32 size)
{
	__u32 at = 0;

#pragma unroll
	for (; at + 8 <= size; at += 8)
		*(__u64 *)(to + at) = *(const __u64 *)(from + at);
	if (size & 4) {
		*(__u32 *)(to + at) = *(const __u32 *)(from + at);
		at += 4;
	}
	if (size & 2)
		*(__u16 *)(to + at) = *(const __u16 *)(from + at);
}

/*
 * Copies header bytes to an aligned place; non-zero: the packet is too short. Reading the linear part of the packet in place costs a third
 * of the helper's call, which stays for what lies in fragments of the buffer.
 */
static __always_inline int load(struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	void *end = (void *)(long)skb->data_end;
	void *from = (void *)(long)skb->data + (offset & MAX_HEADER_OFFSET);

	/* One register for the check and the copy, or the verifier loses the connection. */
	barrier_var(from);
	if (offset <= MAX_HEADER_OFFSET && from + size <= end) {
		copy_words(to, from, size);
		return 0;
	}
	return bpf_skb_load_bytes(skb, offset, to, size);
}

/*
 * Tells the verifier the bounds of a length. The compiler must not see what it knows already, or it leaves the check out, nor
 * both bounds at once, or it compares the difference. Linux 6.1 learns nothing from that, nor from a comparison with zero,
 * which `length < 1` becomes: `least` is 2 at least.
 */
static __always_inline int is_length(__u32 *length, __u32 least, __u32 most)
{
	barrier_var(*length);
	if (*length < least)
		return 0;
	barrier_var(*length);
	return *length <= most;
}

/*
 * A source-routed packet chooses its path past our rules: options 131 and 137 are refused. Any byte of that value counts,
 * an option's content as well: IP options are rare, and walking them costs the verifier a million steps.
 */
static __noinline int has_source_route(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	__u8 options[40] = {};

	if (!is_length(&length, 4, sizeof(options)))
		return 1;
	if (bpf_skb_load_bytes(skb, offset, options, length))
		return 1;
	for (int n = 0; n < 40; n++)
		if (options[n] == 131 || options[n] == 137)
			return 1;
	return 0;
}

static __always_inline enum packet_kind parse_icmp4(const struct icmp_head *icmp, struct packet *p)
{
	switch (icmp->type) {
	case ICMP4_ECHO_REQUEST:
	case ICMP4_ECHO_REPLY:
		p->source_port = p->destination_port = icmp->id;
		p->is_echo_request = icmp->type == ICMP4_ECHO_REQUEST;
		return PACKET_FLOW;
	case ICMP4_UNREACHABLE:
	case ICMP4_TIME_EXCEEDED:
	case ICMP4_PARAMETER_PROBLEM:
		return PACKET_ICMP_ERROR;
	}
	return PACKET_OTHER;
}

static __always_inline enum packet_kind parse_icmp6(const struct icmp_head *icmp, struct packet *p, __u8 hop_limit)
{
	switch (icmp->type) {
	case ICMP6_ECHO_REQUEST:
	case ICMP6_ECHO_REPLY:
		p->source_port = p->destination_port = icmp->id;
		p->is_echo_request = icmp->type == ICMP6_ECHO_REQUEST;
		return PACKET_FLOW;
	case ICMP6_UNREACHABLE:
	case ICMP6_PACKET_TOO_BIG:
	case ICMP6_TIME_EXCEEDED:
	case ICMP6_PARAMETER_PROBLEM:
		return PACKET_ICMP_ERROR;
	/* Hop limit 255 proves that no router forwarded it (RFC 4861 §7.1). */
	case ICMP6_ROUTER_SOLICITATION:
	case ICMP6_ROUTER_ADVERTISEMENT:
		return hop_limit == 255 && icmp->code == 0 ? PACKET_ROUTER : PACKET_BAD;
	case ICMP6_NEIGHBOUR_SOLICITATION:
	case ICMP6_NEIGHBOUR_ADVERTISEMENT:
		return hop_limit == 255 && icmp->code == 0 ? PACKET_NEIGHBOUR : PACKET_BAD;
	}
	return PACKET_OTHER;
}

/* The first 16 bytes of TCP hold its ports and flags; UDP and ICMP have 8. */
static __always_inline enum packet_kind parse_transport(struct __sk_buff *skb, struct packet *p, __u8 hop_limit)
{
	union {
		__u8 bytes[16];
		__u16 ports[2];
		struct icmp_head icmp;
	} __attribute__((aligned(8))) h;

	switch (p->protocol) {
	case IPPROTO_TCP:
		if (load(skb, p->transport, &h, 16))
			return PACKET_BAD;
		p->tcp_flags = h.bytes[13];
		break;
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (load(skb, p->transport, &h, 8))
			return PACKET_BAD;
		break;
	default:
		return PACKET_OTHER;
	}
	if (p->protocol == IPPROTO_ICMP)
		return p->family == 4 ? parse_icmp4(&h.icmp, p) : PACKET_BAD;
	if (p->protocol == IPPROTO_ICMPV6)
		return p->family == 6 ? parse_icmp6(&h.icmp, p, hop_limit) : PACKET_BAD;
	p->source_port = h.ports[0];
	p->destination_port = h.ports[1];
	return PACKET_FLOW;
}

/* Walks to the transport header; 0: too deep, a routing header, or a fragment. */
static __always_inline int skip_extension_headers(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__u8 next;
		__u8 length;
	} header;

	for (int n = 0; n < MAX_EXTENSION_HEADERS; n++) {
		switch (p->protocol) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_DSTOPTS:
			if (load(skb, p->transport, &header, sizeof(header)))
				return 0;
			p->protocol = header.next;
			p->transport += (header.length + 1) * 8;
			break;
		case IPPROTO_ROUTING:
		case IPPROTO_FRAGMENT:
			return 0;
		default:
			return 1;
		}
	}
	return 0;
}

/* `p` is zeroed by the caller; on PACKET_BAD what was read so far stays for the denial. */
static __always_inline enum packet_kind parse(struct __sk_buff *skb, int ethernet, struct packet *p)
{
	union {
		__u8 version;
		struct iphdr v4;
		struct ipv6hdr v6;
	} __attribute__((aligned(8))) h;
	__u32 start = ethernet ? ETH_HLEN : 0;

	if (ethernet && skb->protocol == bpf_htons(ETH_P_ARP))
		return PACKET_ARP;
	p->network = start;
	if (load(skb, start, &h, sizeof(h.v4)))
		return PACKET_BAD;
	if (h.version >> 4 == 4) {
		if (ethernet && skb->protocol != bpf_htons(ETH_P_IP))
			return PACKET_BAD;
		p->family = 4;
		p->protocol = h.v4.protocol;
		map_ipv4(&p->source, h.v4.saddr);
		map_ipv4(&p->destination, h.v4.daddr);
		if (h.v4.ihl < 5 || (h.v4.frag_off & IP_FRAGMENT))
			return PACKET_BAD;
		p->transport = start + h.v4.ihl * 4;
		if (h.v4.ihl > 5 && has_source_route(skb, start + 20, h.v4.ihl * 4 - 20))
			return PACKET_BAD;
		return parse_transport(skb, p, h.v4.ttl);
	}
	if (h.version >> 4 != 6 || (ethernet && skb->protocol != bpf_htons(ETH_P_IPV6)))
		return PACKET_BAD;
	if (load(skb, start, &h, sizeof(h.v6)))
		return PACKET_BAD;
	p->family = 6;
	p->protocol = h.v6.nexthdr;
	copy_address(&p->source, (struct address *)&h.v6.saddr);
	copy_address(&p->destination, (struct address *)&h.v6.daddr);
	p->transport = start + sizeof(h.v6);
	if (is_mapped_ipv4(&p->source) || is_mapped_ipv4(&p->destination))
		return PACKET_BAD;
	if (!skip_extension_headers(skb, p))
		return PACKET_BAD;
	return parse_transport(skb, p, h.v6.hop_limit);
}

#endif
