// SPDX-License-Identifier: GPL-2.0
/*
 * What one operation costs, in instructions. Runs as init of a guest in which the time stamp
 * counter counts instructions (QEMU's -icount shift=0), does what the lines of /script say, and
 * reports on the second serial port. bench.py writes the script, and reads the reports.
 *
 *	idle SECONDS		let the guest come to rest
 *	load [PARAMETERS]	load /toa.ko
 *	unload			unload it
 *	watch unload		unload it, and see whom that keeps waiting
 *	watch nothing		see the same while nothing but a program runs
 *	open KIND COUNT		have so many live connections of that kind
 *	close KIND		close them
 *	row OPERATION KIND COUNT
 *				measure so many operations
 *	trace OPERATION KIND	do a few operations while the emulator logs, which the reader of the
 *				reports starts and stops, and confirms with a byte
 *	symbols			print the kernel's functions
 *	memory			print what memory the module and the kernel use
 *
 * All answers within a row have to be the same. Which one it was is part of the report.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_SAMPLES 100000
#define INTERRUPTED 20 /* one in so many operations, or fewer, is interrupted */
#define TRACED 7 /* operations, of which the reader takes the one that nothing interrupted */

static int report;

void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vdprintf(report, format, arguments);
	va_end(arguments);
	tcdrain(report);
}

void die(const char *what)
{
	say("fail %s: %s\n", what, strerror(errno));
	reboot(RB_AUTOBOOT);
	exit(1);
}

int check(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

static int compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

/*
 * Reports the median of single operations, the mean of all but the dearest, which were interrupted, and
 * the mean of all that happened from the first to the last. The median is what an operation costs by
 * itself. The last mean has, in addition, its share of what the kernel does beside it, and what this
 * program does to make segments and check answers.
 */
static void do_row(char *arguments)
{
	static uint32_t samples[MAX_SAMPLES];
	char verb[32], name[32];
	enum answer answer = ANSWERS;
	operation *function;
	struct kind *kind;
	uint64_t start, sum = 0;
	int count, used;

	errno = EINVAL;
	if (sscanf(arguments, "%31s %31s %d", verb, name, &count) != 3 || count < 1 ||
	    count > MAX_SAMPLES)
		die("row");
	function = operation_named(verb);
	kind = kind_named(name);

	/* First some that do not count, so that nothing is measured that happens only once. */
	for (int i = 0; i < 100; i++)
		function(kind, i);
	start = tsc();
	for (int i = 0; i < count; i++) {
		enum answer this = function(kind, i);

		errno = EBADMSG;
		if (answer != ANSWERS && answer != this)
			die("answers differ within a row");
		answer = this;
		samples[i] = cost;
	}
	start = tsc() - start;
	qsort(samples, count, sizeof(*samples), compare);
	used = count - count / INTERRUPTED;
	for (int i = 0; i < used; i++)
		sum += samples[i];
	say("row %s %s %s %u %.1f %.1f\n", verb, name, answers[answer], samples[count / 2],
	    (double)sum / used, (double)start / count);
}

static void do_open(char *arguments)
{
	uint64_t start = tsc();
	char name[32];
	int count;

	errno = EINVAL;
	if (sscanf(arguments, "%31s %d", name, &count) != 2 || count > MAX_LIVE)
		die("open");
	open_live(kind_named(name), count);
	say("open %s %d %llu\n", name, count, (unsigned long long)(tsc() - start));
}

static void do_close(char *arguments)
{
	close_live(kind_named(arguments));
}

/* Waits for the reader of the reports. */
static void rendezvous(const char *what)
{
	char byte;

	say("%s\n", what);
	if (read(report, &byte, 1) != 1)
		die(what);
}

static void do_trace(char *arguments)
{
	operation *function;
	char verb[32], name[32];
	struct kind *kind;

	errno = EINVAL;
	if (sscanf(arguments, "%31s %31s", verb, name) != 2)
		die("trace");
	function = operation_named(verb);
	kind = kind_named(name);
	for (int i = 0; i < 100; i++)
		function(kind, i);
	rendezvous("trace");
	for (int i = 0; i < TRACED; i++)
		function(kind, i);
	rendezvous("traced");
}

static void do_symbols(char *arguments)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	FILE *out = fdopen(dup(report), "w");
	char line[512], type;

	(void)arguments;
	if (!file || !out)
		die("/proc/kallsyms");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %c", &type) == 1 && strchr("tTwW", type))
			fprintf(out, "symbol %s", line);
	fclose(out);
	fclose(file);
	say("symbols\n");
}

static void insert(const char *path, const char *parameters)
{
	int file = check(open(path, O_RDONLY), path);

	check(syscall(SYS_finit_module, file, parameters, 0), path);
	close(file);
}

static void do_load(char *parameters)
{
	insert("/toa.ko", parameters);
	say("load\n");
}

static void unload(void)
{
	check(syscall(SYS_delete_module, "toa", O_NONBLOCK), "unload");
}

static void do_unload(char *arguments)
{
	(void)arguments;
	unload();
	say("unload\n");
}

static void compute(void)
{
	for (uint64_t start = tsc(); tsc() - start < 1000000000;)
		;
}

static void do_watch(char *arguments)
{
	if (!strcmp(arguments, "unload"))
		watch(arguments, unload);
	else
		watch("nothing", compute);
}

static void do_idle(char *arguments)
{
	struct timespec time = { .tv_sec = atoi(arguments) };

	nanosleep(&time, NULL);
}

static void write_file(const char *path, const char *text)
{
	int file = check(open(path, O_WRONLY), path);

	check(write(file, text, strlen(text)), path);
	close(file);
}

/* Prints those lines of a file that have a word in them. */
static void print_lines(const char *path, const char *word)
{
	FILE *file = fopen(path, "r");
	char line[512];

	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file))
		if (strstr(line, word))
			say("%s %s", path, line);
	fclose(file);
}

static void do_memory(char *arguments)
{
	(void)arguments;
	/* So that what is free is counted as free, and exactly. */
	write_file("/proc/sys/vm/drop_caches", "3");
	write_file("/proc/sys/vm/stat_refresh", "1");
	print_lines("/proc/slabinfo", "toa_record");
	print_lines("/proc/meminfo", "MemFree");
	say("memory\n");
}

static const struct {
	const char *name;
	void (*function)(char *arguments);
} commands[] = {
	{ "idle", do_idle },	   { "load", do_load },	    { "unload", do_unload },
	{ "open", do_open },	   { "close", do_close },   { "row", do_row },
	{ "trace", do_trace },	   { "watch", do_watch },   { "memory", do_memory },
	{ "symbols", do_symbols },
};

static void run(char *line)
{
	char *arguments = line + strcspn(line, " ");

	if (*arguments)
		*arguments++ = 0;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, line)) {
			commands[i].function(arguments);
			return;
		}
	errno = EINVAL;
	die(line);
}

/* Calls a function with each line of a file. */
static void each_line(const char *path, void (*function)(char *line))
{
	FILE *file = fopen(path, "r");
	static char line[1 << 20];

	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		function(line);
	}
	fclose(file);
}

static void insert_plain(char *path)
{
	insert(path, "");
}

static void start(void)
{
	struct rlimit files = { MAX_LIVE + 1000, MAX_LIVE + 1000 };
	struct termios raw;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);

#ifdef __aarch64__
	report = open("/dev/ttyAMA1", O_RDWR | O_NOCTTY);
#else
	report = open("/dev/ttyS1", O_RDWR | O_NOCTTY);
#endif
	tcgetattr(report, &raw);
	cfmakeraw(&raw);
	tcsetattr(report, TCSANOW, &raw);
	dup2(report, STDERR_FILENO);

	write_file("/proc/sys/fs/nr_open", "2000000");
	write_file("/proc/sys/fs/file-max", "2000000");
	check(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	each_line("/modules", insert_plain);
	start_network();
}

int main(void)
{
	start();
	each_line("/script", run);
	say("done\n");
	reboot(RB_AUTOBOOT);
	return 1;
}
