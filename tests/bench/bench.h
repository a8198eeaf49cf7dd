/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the program share. */
#ifndef _BENCH_H
#define _BENCH_H

#include <stdint.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof(*(array)))

#define MAX_LIVE 1000000

/* Reports a line, and waits until it is out: what is still on its way would interrupt what comes. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Reports what does not work, and ends the guest. */
__attribute__((noreturn)) void die(const char *what);

/* Ends the guest if a call has failed; returns its result. */
int check(int result, const char *what);

/* The time stamp counter, of which the emulator makes a tick an instruction. */
static inline uint64_t tsc(void)
{
#ifdef __aarch64__
	uint64_t ticks;

	asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	uint32_t low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
#endif
}

/* connections.c */

/* Instructions in the timed system calls of the operation that was done last. */
extern uint64_t cost;

/* What the kernel said who the other end is. */
enum answer { PEER, CLIENT, REFUSED, ANSWERS };
extern const char *const answers[];

/* Of which connections there are several kinds. */
struct kind;
struct kind *kind_named(const char *name);

/* Does one operation with a connection of that kind, and checks the answer. */
typedef enum answer operation(struct kind *kind, int index);
operation *operation_named(const char *name);

/* Makes the network device and the listeners. */
void start_network(void);

/* Has so many live connections of a kind. */
void open_live(struct kind *kind, int count);
void close_live(struct kind *kind);

/* watch.c */

/*
 * Runs a function, and reports how long it took, how much of that it ran, and for how long it kept
 * others from running, and RCU's grace periods from ending.
 */
void watch(const char *what, void (*function)(void));

#endif
