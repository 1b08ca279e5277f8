/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Prefix translation (one to one, no state; RFC 6296's terms): on a tunnel's wire our site has its external prefixes and no
 * others. What leaves is translated before it is judged, what comes after it, so that pinned sources, grants and floors all
 * hold on the addresses that the other site sees too. The host part stays, and checksums are brought up to date.
 */
#ifndef SHELLSTREAM_TRANSLATE_H
#define SHELLSTREAM_TRANSLATE_H

#include "maps.h"
#include "packet.h"

#define IPV4_CHECKSUM 10
#define ICMP_HEADER 8

/* The address on the other side; 0: it stays as it is. */
static __noinline int translated(const struct address *from, struct address *to, __u32 ifindex, __u32 direction)
{
	for (__u32 n = 0; n < MAX_TRANSLATIONS; n++) {
		__u32 index = n;
		struct translation *t = bpf_map_lookup_elem(&translations, &index);
		const struct address *inner, *outer;

		if (!t || !t->ifindex)
			return 0;
		if (t->ifindex != ifindex)
			continue;
		inner = direction == DIRECTION_OUT ? &t->internal : &t->external;
		outer = direction == DIRECTION_OUT ? &t->external : &t->internal;
		if (((from->word[0] ^ inner->word[0]) & t->mask.word[0]) | ((from->word[1] ^ inner->word[1]) & t->mask.word[1]) |
		    ((from->word[2] ^ inner->word[2]) & t->mask.word[2]) | ((from->word[3] ^ inner->word[3]) & t->mask.word[3]))
			continue;
		for (int word = 0; word < 4; word++)
			to->word[word] = outer->word[word] | (from->word[word] & ~t->mask.word[word]);
		return 1;
	}
	return 0;
}

/* Where the checksum stands that covers the addresses, with the flags to change it by; 0: there is none. */
static __always_inline __u32 transport_checksum(const struct packet *p, __u64 *flags)
{
	*flags = BPF_F_PSEUDO_HDR;
	switch (p->protocol) {
	case IPPROTO_TCP:
		return p->transport + 16;
	case IPPROTO_UDP:
		/* Zero says that there is none, and stays. */
		*flags |= BPF_F_MARK_MANGLED_0;
		return p->transport + 6;
	case IPPROTO_ICMPV6:
		return p->transport + 2;
	}
	return 0;
}

/* The IP header's source or destination. 0: it could not be written. */
static __noinline int rewrite(struct __sk_buff *skb, const struct packet *p, const struct address *to, __u32 is_source)
{
	const struct address *from = is_source ? &p->source : &p->destination;
	struct address before = *from, after = *to;
	__u32 at = p->network;
	__u64 flags;
	__u32 checksum = transport_checksum(p, &flags);

	if (p->family == 4) {
		at += is_source ? 12 : 16;
		if (checksum && bpf_l4_csum_replace(skb, checksum, before.word[3], after.word[3], flags | 4))
			return 0;
		return !bpf_l3_csum_replace(skb, p->network + IPV4_CHECKSUM, before.word[3], after.word[3], 4) &&
		       !bpf_skb_store_bytes(skb, at, &after.word[3], 4, 0);
	}
	at += is_source ? 8 : 24;
	if (checksum) {
		__s64 difference = bpf_csum_diff((__be32 *)&before, 16, (__be32 *)&after, 16, 0);

		if (difference < 0 || bpf_l4_csum_replace(skb, checksum, 0, difference, flags))
			return 0;
	}
	return !bpf_skb_store_bytes(skb, at, &after, 16, 0);
}

/*
 * Our address in the packet that an ICMP error carries: its source in an error that comes, its destination in one that leaves.
 * The error's own checksum covers it. In IPv4 the checksum of the inner header changes against it, so that their sum stays;
 * the transport checksum inside is left, for it may be cut off, and nobody looks at it.
 */
static __noinline int rewrite_inner(struct __sk_buff *skb, const struct packet *p, __u32 direction)
{
	__u32 inner = p->transport + ICMP_HEADER, at;
	struct address before = {}, after = {};
	__u32 ipv4;

	if (p->family == 4) {
		at = inner + (direction == DIRECTION_IN ? 12 : 16);
		if (bpf_skb_load_bytes(skb, at, &ipv4, 4))
			return 0;
		map_ipv4(&before, ipv4);
		if (!translated(&before, &after, skb->ifindex, direction))
			return 1;
		return !bpf_l3_csum_replace(skb, inner + IPV4_CHECKSUM, ipv4, after.word[3], 4) &&
		       !bpf_skb_store_bytes(skb, at, &after.word[3], 4, 0);
	}
	at = inner + (direction == DIRECTION_IN ? 8 : 24);
	if (bpf_skb_load_bytes(skb, at, &before, 16))
		return 0;
	if (!translated(&before, &after, skb->ifindex, direction))
		return 1;
	return !bpf_l4_csum_replace(skb, p->transport + 2, 0,
				    bpf_csum_diff((__be32 *)&before, 16, (__be32 *)&after, 16, 0), 0) &&
	       !bpf_skb_store_bytes(skb, at, &after, 16, 0);
}

static __always_inline int site_translates(void)
{
	__u32 first = 0;
	struct translation *t = bpf_map_lookup_elem(&translations, &first);

	return t && t->ifindex;
}

/* Our own address: the source of what leaves, the destination of what comes. 0: the packet cannot be translated, and must not pass. */
static __noinline int translate(struct __sk_buff *skb, struct packet *p, __u32 direction, __u32 is_error)
{
	__u32 is_source = direction == DIRECTION_OUT;
	struct address from, to = {};

	if (is_error && !rewrite_inner(skb, p, direction))
		return 0;
	from = is_source ? p->source : p->destination;
	if (!translated(&from, &to, skb->ifindex, direction))
		return 1;
	if (!rewrite(skb, p, &to, is_source))
		return 0;
	if (is_source)
		p->source = to;
	else
		p->destination = to;
	return 1;
}

#endif
