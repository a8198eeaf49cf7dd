/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the Rust side needs of the kernel's headers. bindgen reads this file, and helpers.c
 * compiles it: Rust owns all logic, C owns what only the preprocessor or an inline can tell.
 */
#ifndef _TOA_H
#define _TOA_H

#include <linux/build_bug.h>
#include <linux/cpumask.h>
#include <linux/ftrace.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/irqflags.h>
#include <linux/jump_label.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/printk.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/seq_file_net.h>
#include <linux/skbuff.h>
#include <linux/siphash.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/tcp.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/tcp_states.h>
#include <uapi/linux/toa.h>

#if defined(CONFIG_X86_64) && !defined(CONFIG_SMP)
#error "toa needs a kernel with CONFIG_SMP"
#endif
#ifdef CONFIG_CPU_BIG_ENDIAN
#error "toa needs a little-endian kernel"
#endif

/*
 * Where the fields we read lie. The offset and the size come from the C compiler, so that no
 * structure with unions, bit fields or config-dependent parts has to be described to Rust; Rust
 * checks the size against the type it reads.
 */
#define TOA_FIELD(name, structure, member)				\
	name##_OFFSET = offsetof(structure, member),			\
	name##_SIZE = sizeof(((structure *)0)->member)

/* Newer kernels have a tracepoint's static key in a structure that tells what kind it is. */
#ifndef TOA_KEY
#define TOA_KEY key
#endif

enum toa_field {
	TOA_FIELD(SOCKET_SK, struct socket, sk),
	TOA_FIELD(SK_NET, struct sock, __sk_common.skc_net),
	TOA_FIELD(SK_FAMILY, struct sock, __sk_common.skc_family),
	TOA_FIELD(SK_STATE, struct sock, __sk_common.skc_state),
	TOA_FIELD(SK_DADDR, struct sock, __sk_common.skc_daddr),
	TOA_FIELD(SK_DPORT, struct sock, __sk_common.skc_dport),
	TOA_FIELD(SK_V6_DADDR, struct sock, __sk_common.skc_v6_daddr),
	TOA_FIELD(SK_RCV_SADDR, struct sock, __sk_common.skc_rcv_saddr),
	TOA_FIELD(SK_NUM, struct sock, __sk_common.skc_num),
	TOA_FIELD(SK_BOUND_DEV_IF, struct sock, __sk_common.skc_bound_dev_if),
	TOA_FIELD(TCP_COPIED_SEQ, struct tcp_sock, copied_seq),
	TOA_FIELD(TCP_REQUEST_RCV_ISN, struct tcp_request_sock, rcv_isn),
#ifdef TOA_WAIT_PENDING
	TOA_FIELD(SK_WAIT_PENDING, struct sock, sk_wait_pending),
#else
	SK_WAIT_PENDING_OFFSET = 0,
	SK_WAIT_PENDING_SIZE = sizeof(int),
#define TOA_WAIT_PENDING 0
#endif
	TOA_FIELD(SK_V6_RCV_SADDR, struct sock, __sk_common.skc_v6_rcv_saddr),
#ifdef CONFIG_MPTCP
	TOA_FIELD(TCP_IS_MPTCP, struct tcp_sock, is_mptcp),
#else
	TCP_IS_MPTCP_OFFSET = 0,
	TCP_IS_MPTCP_SIZE = sizeof(bool),
#endif
	TOA_FIELD(SKB_HEAD, struct sk_buff, head),
	TOA_FIELD(SKB_LEN, struct sk_buff, len),
	TOA_FIELD(SKB_TRANSPORT_HEADER, struct sk_buff, transport_header),
	TOA_FIELD(NET_GEN, struct net, gen),
	TOA_FIELD(FTRACE_OPS_FUNC_HASH, struct ftrace_ops, func_hash),
	TOA_FIELD(FTRACE_OPS_HASH_FILTER, struct ftrace_ops_hash, filter_hash),
	TOA_FIELD(TRACEPOINT_NAME, struct tracepoint, name),
	TOA_FIELD(TRACEPOINT_KEY_ENABLED, struct tracepoint, TOA_KEY.enabled),
};

/* Under one name for Rust: what the fourth parameter of an ftrace callback points to. */
#ifdef CONFIG_DYNAMIC_FTRACE_WITH_ARGS
typedef struct ftrace_regs toa_ftrace_regs;
#else
typedef struct pt_regs toa_ftrace_regs;
#endif

/*
 * The registers in it: what the traced function was called with. Kernels have wrapped them in ever
 * more opaque types.
 */
#ifdef arch_ftrace_regs
#define TOA_REGS struct __arch_ftrace_regs
#else
#define TOA_REGS toa_ftrace_regs
#endif

#ifdef CONFIG_X86_64
/* At the bottom is a struct pt_regs. */
#ifdef CONFIG_DYNAMIC_FTRACE_WITH_ARGS
#define TOA_REGISTER(name, register) TOA_FIELD(name, TOA_REGS, regs.register)
#else
#define TOA_REGISTER(name, register) TOA_FIELD(name, TOA_REGS, register)
#endif

enum toa_register {
	TOA_REGISTER(REGS_ARG0, di),
	TOA_REGISTER(REGS_ARG1, si),
	TOA_REGISTER(REGS_ARG2, dx),
	TOA_REGISTER(REGS_ARG3, cx),
	TOA_REGISTER(REGS_ARG4, r8),
	TOA_REGISTER(REGS_ARG5, r9),
	TOA_REGISTER(REGS_SP, sp),
	TOA_REGISTER(REGS_IP, ip),
};
#endif

#ifdef CONFIG_ARM64
enum toa_register {
	/* x0 to x7 of the array, which has x8 too. */
	REGS_ARGS_OFFSET = offsetof(TOA_REGS, regs),
	REGS_ARGS_SIZE = 8 * sizeof(((TOA_REGS *)0)->regs[0]),
	TOA_FIELD(REGS_PC, TOA_REGS, pc),
	TOA_FIELD(THREAD_PREEMPT_COUNT, struct thread_info, preempt_count),
	TOA_FIELD(THREAD_CPU, struct thread_info, cpu),
};
#endif

/*
 * Before it had registers for all callbacks, ftrace saved them on request alone, and a callback
 * that cannot recurse had to say so to be called directly.
 */
#ifdef CONFIG_DYNAMIC_FTRACE_WITH_ARGS
#define TOA_FTRACE_FLAGS 0
#else
#define TOA_FTRACE_FLAGS (FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_RECURSION_SAFE)
#endif

enum toa_constant {
	TOA_AF_INET = AF_INET,
	TOA_AF_INET6 = AF_INET6,
	TOA_PF_INET = PF_INET,
	TOA_PAGE_SIZE = PAGE_SIZE,
	TOA_ENOTCONN = ENOTCONN,
	TOA_ENOPROTOOPT = ENOPROTOOPT,
	TOA_TCP_ESTABLISHED = TCP_ESTABLISHED,
	TOA_TCP_SYN_SENT = TCP_SYN_SENT,
	TOA_TCP_CLOSE = TCP_CLOSE,
	TOA_TCP_SYNACK_FASTOPEN = TCP_SYNACK_FASTOPEN,
	TOA_TCP_SYNACK_COOKIE = TCP_SYNACK_COOKIE,
	TOA_HAS_WAIT_PENDING = TOA_WAIT_PENDING,
	TOA_MPTCP = IS_ENABLED(CONFIG_MPTCP),
	/* PERMANENT: switching ftrace off is refused, rather than switching us off silently. */
	TOA_FTRACE_OBSERVE = FTRACE_OPS_FL_PERMANENT | TOA_FTRACE_FLAGS,
	TOA_FTRACE_REPLACE = TOA_FTRACE_OBSERVE | FTRACE_OPS_FL_IPMODIFY,
	TOA_SEQ_NET_PRIVATE = sizeof(struct seq_net_private),
	TOA_NET_GENERIC_FIRST = offsetof(struct net_generic, ptr),
	TOA_INTERRUPT_MASK = SOFTIRQ_MASK | HARDIRQ_MASK | NMI_MASK,
	TOA_PREEMPTION = IS_ENABLED(CONFIG_PREEMPTION),
	TOA_PREEMPT_WIDE = IS_ENABLED(CONFIG_HAS_SEPARATE_PREEMPT_RESCHED_BITS),
	TOA_PREEMPT_RT = IS_ENABLED(CONFIG_PREEMPT_RT),
	TOA_KASAN = IS_ENABLED(CONFIG_KASAN),
};

/* Parameters, by the number that Rust knows them by. */
enum toa_parameter {
	TOA_PARAM_KINDS,
	TOA_PARAM_TRUSTED,
	TOA_PARAM_PORTS,
	TOA_PARAM_SYN_MAX,
	TOA_PARAM_SYN_SECONDS,
};

/* Warnings that are each logged once a minute at most. */
#define TOA_WARNINGS 8

/* What Rust has for src/linux/param.c. */
int toa_param_set(unsigned int parameter, const char *text);
int toa_param_get(unsigned int parameter, char *page);
void toa_param_free(unsigned int parameter);

/* src/linux/helpers.c, each with the meaning of the kernel's function or macro of that name. */
void *rust_helper_alloc_percpu(size_t size, size_t align);
void rust_helper_cond_resched(void);
unsigned long rust_helper_copy_to_user(void *to, const void *from, unsigned long length);
unsigned int rust_helper_cpumask_next_online(int cpu);
unsigned int rust_helper_cpumask_next_possible(int cpu);
void rust_helper_get_random_bytes(void *to, size_t length);
void rust_helper_init_work(struct work_struct *work, work_func_t func);
bool rust_helper_is_live(void);
void *rust_helper_kmem_cache_alloc(struct kmem_cache *cache);
void *rust_helper_kmem_cache_alloc_atomic(struct kmem_cache *cache);
struct kmem_cache *rust_helper_kmem_cache_create(const char *name, size_t size, size_t align);
void *rust_helper_kvzalloc(size_t size);
unsigned long rust_helper_local_irq_save(void);
void rust_helper_local_irq_restore(unsigned long flags);
bool rust_helper_limited(unsigned int warning);
unsigned int rust_helper_nr_cpu_ids(void);
void *rust_helper_per_cpu_ptr(void *ptr, unsigned int cpu);
void rust_helper_preempt_schedule_notrace(void);
void rust_helper_printk(const char *level, int length, const char *text);
struct proc_dir_entry *rust_helper_proc_net(struct net *net);
void rust_helper_queue_unbound_work(struct work_struct *work);
void rust_helper_raw_spin_lock(raw_spinlock_t *lock);
void rust_helper_raw_spin_lock_init(raw_spinlock_t *lock);
void rust_helper_raw_spin_unlock(raw_spinlock_t *lock);
struct net *rust_helper_seq_file_net(struct seq_file *seq);
struct net *rust_helper_seq_file_single_net(struct seq_file *seq);
__u64 rust_helper_siphash(const void *data, size_t length, const __u64 key[2]);
void *rust_helper_this_cpu_ptr(void *ptr);
unsigned long rust_helper_totalram_pages(void);
void rust_helper_trace_toa_client(const void *client, __u16 client_port, const void *balancer,
				  __u16 balancer_port, __u8 kind, __u8 from);
void rust_helper_tracepoint_synchronize_unregister(void);

#ifdef TOA_OWN_CRATE
void *rust_helper_kmalloc(size_t size);
#endif

#endif /* _TOA_H */
