/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/*
 * Entries of flow_policy in bulk. The daemon stores them in staged_policies, which is memory that both see, and runs a
 * program once (BPF_PROG_TEST_RUN): half of what a batch of bpf(2) costs is the kernel's care in copying each key and each
 * value. And no other session's entry is ever overwritten or deleted, which a batch cannot promise.
 */
#ifndef SHELLSTREAM_INSTALL_H
#define SHELLSTREAM_INSTALL_H

#include "maps.h"

static long install_one(__u32 index, __u32 *installed)
{
	struct staged *entry = bpf_map_lookup_elem(&staged_policies, &index);

	if (!entry || bpf_map_update_elem(&flow_policy, &entry->key, &entry->value, BPF_NOEXIST))
		return 1;
	*installed = index + 1;
	return 0;
}

static long uninstall_one(__u32 index, __u32 *uninstalled)
{
	struct staged *entry = bpf_map_lookup_elem(&staged_policies, &index);
	struct policy *found;

	if (!entry)
		return 1;
	found = bpf_map_lookup_elem(&flow_policy, &entry->key);
	if (found && found->session_slot == entry->value.session_slot && found->generation == entry->value.generation &&
	    !bpf_map_delete_elem(&flow_policy, &entry->key))
		*uninstalled += 1;
	return 0;
}

/* How many of the first skb->mark entries are installed now; it stops at the first that cannot be. */
static __always_inline __u32 install(struct __sk_buff *skb)
{
	__u32 installed = 0;

	bpf_loop(skb->mark, install_one, &installed, 0);
	return installed;
}

/* Deletes what of the first skb->mark entries is still their session's; answers how many were. */
static __always_inline __u32 uninstall(struct __sk_buff *skb)
{
	__u32 uninstalled = 0;

	bpf_loop(skb->mark, uninstall_one, &uninstalled, 0);
	return uninstalled;
}

#endif
