// SPDX-License-Identifier: GPL-2.0
/* What an operator's BPF tools attach to the functions that toa hooks; counts as it runs. */

#define SEC(name) __attribute__((section(name), used))

SEC("fentry/inet_getname") int toa_inet(void *context) { return 0; }
SEC("fentry/inet6_getname") int toa_inet6(void *context) { return 0; }
SEC("fentry/tcp_child_process") int toa_child(void *context) { return 0; }
SEC("fexit/tcp_disconnect") int toa_gone(void *context) { return 0; }

char _license[] SEC("license") = "GPL"; /* not the name of its section: clang refuses that */
