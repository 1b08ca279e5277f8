// SPDX-License-Identifier: (MIT OR GPL-2.0)
/*
 * The data plane's programs, attached first on each governed interface. A packet that passes goes on to the next
 * program of the chain (TC_ACT_UNSPEC): we add a refusal, never an acceptance.
 *
 *   packet.h   bytes → packet            session.h  may this session's packet pass now?
 *   posture.h  the node's level          policy.h   which grant covers a new flow?
 *   flow.h     what grants opened        inner.h    ICMP errors
 *   mss.h      TCP's segment size        report.h   counters, denials
 *   clock.h    BOOTTIME, cheaply         translate.h  one prefix for another
 *   tunnel.h, outer.h  the two kinds of interface        maps.h, layout.h  maps, their keys and values
 *   install.h  policies in bulk; its programs judge no packets
 */
#include "maps.h"
#include <linux/pkt_cls.h>
#include "install.h"
#include "outer.h"
#include "tunnel.h"

/* Devices without an Ethernet header: WireGuard, TUN. */
SEC("classifier")
int tunnel_in(struct __sk_buff *skb)
{
	return tunnel(skb, DIRECTION_IN, 0);
}

SEC("classifier")
int tunnel_out(struct __sk_buff *skb)
{
	return tunnel(skb, DIRECTION_OUT, 0);
}

SEC("classifier")
int tunnel_ether_in(struct __sk_buff *skb)
{
	return tunnel(skb, DIRECTION_IN, 1);
}

SEC("classifier")
int tunnel_ether_out(struct __sk_buff *skb)
{
	return tunnel(skb, DIRECTION_OUT, 1);
}

SEC("classifier")
int outer_in(struct __sk_buff *skb)
{
	return outer(skb, DIRECTION_IN);
}

SEC("classifier")
int outer_out(struct __sk_buff *skb)
{
	return outer(skb, DIRECTION_OUT);
}

SEC("classifier")
int install_policies(struct __sk_buff *skb)
{
	return install(skb);
}

SEC("classifier")
int uninstall_policies(struct __sk_buff *skb)
{
	return uninstall(skb);
}

/* What an attached program costs when it does nothing: the benchmark's zero. */
SEC("classifier")
int empty(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
