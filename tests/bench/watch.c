// SPDX-License-Identifier: GPL-2.0
/*
 * Whom a function keeps waiting.
 *
 * It runs in a thread of the lowest priority, beside two of real-time priority. One of these sleeps
 * for a short time over and over: by how much too late it wakes up is for how long nothing else could
 * run, because the kernel had interrupts or preemption off, held a spinning lock, or did not look
 * whether another thread waits. The other removes mounts, each of which waits for a grace period of
 * RCU, and so for all readers under RCU.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <time.h>

#define SECOND 1000000000ull /* in ns, as all times here */
#define NAP 50000	     /* between looks at the clock */
#define MOUNT_NAP 500000     /* between mounts */
#define CALM (SECOND / 10)   /* before and after: a grace period that did not end yet counts too */

struct thread {
	int policy, priority;
	void (*run)(void);
	pthread_t id;
};

/* The longest since it was last set to zero. */
static uint64_t stall, grace_period;
static bool stopping;

static void (*watched)(void);
static uint64_t took, ran;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static void sleep_until(uint64_t end)
{
	struct timespec time = { .tv_sec = end / SECOND, .tv_nsec = end % SECOND };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static bool go_on(void)
{
	return !__atomic_load_n(&stopping, __ATOMIC_RELAXED);
}

static void raise_to(uint64_t *longest, uint64_t time)
{
	if (time > __atomic_load_n(longest, __ATOMIC_RELAXED))
		__atomic_store_n(longest, time, __ATOMIC_RELAXED);
}

static void watch_stalls(void)
{
	while (go_on()) {
		uint64_t end = now() + NAP;

		sleep_until(end);
		raise_to(&stall, now() - end);
	}
}

static void watch_grace_periods(void)
{
	while (go_on()) {
		uint64_t start;

		check(mount("/dev", "/sys", NULL, MS_BIND, NULL), "mount");
		start = now();
		check(umount("/sys"), "umount");
		raise_to(&grace_period, now() - start);
		sleep_until(now() + MOUNT_NAP);
	}
}

static uint64_t of_timeval(struct timeval time)
{
	return time.tv_sec * SECOND + time.tv_usec * 1000;
}

static void run_watched(void)
{
	struct rusage usage;
	uint64_t start = now();

	watched();
	took = now() - start;
	getrusage(RUSAGE_THREAD, &usage);
	ran = of_timeval(usage.ru_utime) + of_timeval(usage.ru_stime);
}

static void *thread(void *argument)
{
	struct thread *this = argument;
	struct sched_param param = { .sched_priority = this->priority };

	check(sched_setscheduler(0, this->policy, &param), "sched_setscheduler");
	this->run();
	return NULL;
}

static void start(struct thread *this)
{
	errno = pthread_create(&this->id, NULL, thread, this);
	if (errno)
		die("pthread_create");
}

void watch(const char *what, void (*function)(void))
{
	struct thread stalls = { SCHED_FIFO, 99, watch_stalls, 0 };
	struct thread grace_periods = { SCHED_FIFO, 98, watch_grace_periods, 0 };
	struct thread main = { SCHED_IDLE, 0, run_watched, 0 };

	watched = function;
	stopping = false;
	start(&stalls);
	start(&grace_periods);
	sleep_until(now() + CALM);
	stall = grace_period = 0;

	start(&main);
	pthread_join(main.id, NULL);
	sleep_until(now() + CALM);
	stopping = true;
	pthread_join(stalls.id, NULL);
	pthread_join(grace_periods.id, NULL);
	say("watch %s %llu %llu %llu %llu\n", what, (unsigned long long)took,
	    (unsigned long long)ran, (unsigned long long)stall, (unsigned long long)grace_period);
}
