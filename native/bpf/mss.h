/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* Lowers TCP's MSS on SYN to what fits the tunnel, because packet-too-big often does not come back. */
#ifndef SHELLSTREAM_MSS_H
#define SHELLSTREAM_MSS_H

#include "packet.h"

#define OPTION_MSS 2
#define MAX_OPTIONS 40
/* Every known stack sends MSS first; each option more doubles the verifier's work. */
#define OPTIONS_TRIED 4

static __noinline int clamp_mss(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	__u32 overhead = p->family == 4 ? 40 : 60, at = 0, length, options = p->transport + 20;
	__u8 bytes[MAX_OPTIONS] = {}, offset;
	__u16 found, limit;

	if (mtu <= overhead)
		return 0;
	if (bpf_skb_load_bytes(skb, p->transport + 12, &offset, 1))
		return 0;
	length = (offset >> 4) * 4;
	if (length < 24 || length > 60)
		return 0;
	length -= 20;
	if (!is_length(&length, 4, MAX_OPTIONS) || bpf_skb_load_bytes(skb, options, bytes, length))
		return 0;
	for (int n = 0; n < OPTIONS_TRIED; n++) {
		if (at + 4 > length || at > MAX_OPTIONS - 4)
			return 0;
		if (bytes[at] == OPTION_MSS && bytes[at + 1] == 4) {
			found = bytes[at + 2] << 8 | bytes[at + 3];
			limit = mtu - overhead;
			if (found <= limit)
				return 0;
			found = bpf_htons(found);
			limit = bpf_htons(limit);
			/* An option at an odd offset has its bytes swapped in the checksum's words. */
			if (at & 1)
				bpf_l4_csum_replace(skb, p->transport + 16, bpf_ntohs(found), bpf_ntohs(limit), 2);
			else
				bpf_l4_csum_replace(skb, p->transport + 16, found, limit, 2);
			return bpf_skb_store_bytes(skb, options + at + 2, &limit, 2, 0) == 0;
		}
		if (bytes[at] == 0)
			return 0;
		at += bytes[at] == 1 ? 1 : bytes[at + 1] < 2 ? MAX_OPTIONS : bytes[at + 1];
	}
	return 0;
}

#endif
