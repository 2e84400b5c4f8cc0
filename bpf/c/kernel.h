/* What the programs need of the kernel's interface. The kernel's own headers differ from one machine to
 * the next, and the objects must not. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed long long s64;
typedef u16 be16;
typedef u32 be32;

#define NULL ((void *)0)
#define bool _Bool
#define true 1
#define false 0

#define SEC(name) __attribute__((section(name), used))
#define inline inline __attribute__((always_inline))

/* The members of a map definition, as loaders read them from BTF. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

enum { BPF_MAP_TYPE_ARRAY = 2, BPF_F_MMAPABLE = 1 << 10, BPF_HDR_START_NET = 1 };
enum { TCX_NEXT = -1, TCX_DROP = 2, XDP_DROP = 1, XDP_PASS = 2, CGROUP_PASS = 1 };

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_skb_load_bytes_relative)(const void *skb, u32 offset, void *to, u32 len, u32 start) = (void *)68;
static long (*const bpf_probe_read_kernel)(void *to, u32 len, const void *from) = (void *)113;

/* The context of tcx and cgroup_skb. Fields that no program reads are filler. */
struct __sk_buff {
	u32 len;
	u32 filler[3];
	u32 protocol; /* be16 */
	u32 vlan_present;
	u32 filler2[32];
	u64 tstamp;
};

/* The context of XDP. */
struct xdp_md {
	u32 data;
	u32 data_end;
};

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define swap16(x) ((u16)__builtin_bswap16(x))
#define swap32(x) ((u32)__builtin_bswap32(x))
#define CONSTANT16(x) ((be16)((x) >> 8 | ((x) & 0xff) << 8))
#else
#define swap16(x) ((u16)(x))
#define swap32(x) ((u32)(x))
#define CONSTANT16(x) ((be16)(x))
#endif

enum {
	ETH_IP = CONSTANT16(0x0800),
	ETH_IPV6 = CONSTANT16(0x86dd),
	ETH_VLAN = CONSTANT16(0x8100),
	ETH_QINQ = CONSTANT16(0x88a8),
	IPPROTO_UDP = 17,
};

struct ethernet {
	u8 to[6], from[6];
	be16 protocol;
};

struct vlan {
	be16 tag;
	be16 protocol;
};

/* Integers of eight bytes are at addresses of which only the last two bits are known to be 0. */
struct ipv4 {
	u8 version_length, service;
	be16 length, id, fragment;
	u8 ttl, protocol;
	be16 checksum;
	be32 from, to;
};

struct ipv6 {
	u8 version_class[4]; /* and the flow label */
	be16 length;
	u8 protocol, hops;
	be32 from[4], to[4];
};

struct udp {
	be16 from, to, length, checksum;
};

/* The kernel asks for it: some helpers are for the GPL alone. */
SEC("license") const char licence[] = "Dual BSD/GPL";
