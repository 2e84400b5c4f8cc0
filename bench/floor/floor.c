/*
 * floor: the least cost of sending and receiving datagrams on this machine.
 *
 * floor is a bare loop of sendmmsg(2) and recvmmsg(2) in batches of 64, with the socket options of
 * the engine (kernel stamps, overflow counts, error queue). It has no peers, reads no clock but for
 * its tick, and does not look into datagrams. Once per tick it wakes, reads its socket until it is
 * empty (with -R), and sends what is due (with -d). After a warm-up it counts, and prints one line
 * of JSON at the end:
 *
 *   sent, received    datagrams
 *   failed            datagrams that the kernel refused to send
 *   dropped           datagrams dropped because the receive buffer was full
 *   calls             system calls: send, receive, sleep
 *   user_ns, system_ns  CPU time of this process (getrusage(2), RUSAGE_SELF). Their sum is
 *                     exact to the microsecond; the kernel estimates each part.
 *   wall_ns           duration of the counting
 *
 * Destinations are consecutive IPv4 addresses, in turn.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH = 64,
	SLOT = 1280,    /* room for one datagram, as in the engine */
	CONTROL = 128,  /* room for its control messages */
	BUFFER = 16 << 20,
	FREE_RUN = 16,  /* batches between two readings of the clock, without a rate */
};

/* The command line. */
struct options {
	const char *local, *first; /* addresses; first is the first destination */
	int port, destinations, size, cpu;
	long rate;                 /* datagrams per second; 0: as fast as possible */
	long tick_us;
	double seconds, warm_up;
	bool receive;
};

/* What the loop did. */
struct counts {
	uint64_t sent, received, failed, calls;
	uint32_t overflow;
};

/* The buffers of both directions, which wire_batches connects once. */
static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec in_vec[BATCH], out_vec[BATCH];
static struct sockaddr_in in_name[BATCH], out_name[BATCH];
static unsigned char in_data[BATCH][SLOT], out_data[BATCH][SLOT];
static _Alignas(struct cmsghdr) unsigned char in_control[BATCH][CONTROL];

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t cpu_ns(struct timeval t)
{
	return t.tv_sec * INT64_C(1000000000) + t.tv_usec * INT64_C(1000);
}

static void set(int fd, int level, int option, int value, const char *name)
{
	if (setsockopt(fd, level, option, &value, sizeof value) != 0)
		die(name);
}

/* open_socket opens a socket with the options of the engine's sockets. */
static int open_socket(const struct options *o)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
	if (fd < 0)
		die("socket");
	set(fd, SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE, "SO_TIMESTAMPING");
	set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1, "SO_RXQ_OVFL");
	set(fd, SOL_IP, IP_RECVERR, 1, "IP_RECVERR");
	set(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER, "SO_RCVBUFFORCE");
	set(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER, "SO_SNDBUFFORCE");
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(o->port)};
	if (inet_pton(AF_INET, o->local, &local.sin_addr) != 1 || bind(fd, (struct sockaddr *)&local, sizeof local) != 0)
		die("bind");
	return fd;
}

static void wire_batches(const struct options *o)
{
	for (int i = 0; i < BATCH; i++) {
		in_vec[i] = (struct iovec){in_data[i], SLOT};
		in[i].msg_hdr = (struct msghdr){.msg_name = &in_name[i], .msg_iov = &in_vec[i], .msg_iovlen = 1, .msg_control = in_control[i]};
		out_vec[i] = (struct iovec){out_data[i], o->size};
		out_name[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(o->port)};
		out[i].msg_hdr = (struct msghdr){.msg_name = &out_name[i], .msg_namelen = sizeof out_name[i], .msg_iov = &out_vec[i], .msg_iovlen = 1};
	}
}

/* note_overflow finds the socket's drop count in the last datagram of a batch. */
static void note_overflow(struct msghdr *h, struct counts *c)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(h); m; m = CMSG_NXTHDR(h, m))
		if (m->cmsg_level == SOL_SOCKET && m->cmsg_type == SO_RXQ_OVFL)
			memcpy(&c->overflow, CMSG_DATA(m), sizeof c->overflow);
}

/* drain reads batches until one is not full. */
static void drain(int fd, struct counts *c)
{
	int n = BATCH;
	while (n == BATCH) {
		for (int i = 0; i < BATCH; i++) {
			in[i].msg_hdr.msg_namelen = sizeof in_name[i];
			in[i].msg_hdr.msg_controllen = CONTROL;
		}
		n = recvmmsg(fd, in, BATCH, MSG_DONTWAIT, NULL);
		c->calls++;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("recvmmsg");
		c->received += n;
		note_overflow(&in[n - 1].msg_hdr, c);
	}
}

/* send_batch sends n datagrams to the next n destinations. */
static void send_batch(int fd, const struct options *o, uint32_t first, uint64_t *next, int n, struct counts *c)
{
	for (int i = 0; i < n; i++)
		out_name[i].sin_addr.s_addr = htonl(first + (*next)++ % o->destinations);
	for (int at = 0; at < n;) {
		int k = sendmmsg(fd, out + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		c->calls++;
		if (k < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
			die("sendmmsg");
		c->sent += k < 0 ? 0 : k;
		c->failed += k < 0;
		at += k < 0 ? 1 : k;
	}
}

/* loop runs until the instant end. The schedule starts at begin, so a late tick sends what it missed. */
static void loop(int fd, const struct options *o, int64_t begin, int64_t end, uint64_t *next, struct counts *c)
{
	struct in_addr a = {0};
	if (o->first && inet_pton(AF_INET, o->first, &a) != 1)
		die("the first destination");
	const uint32_t first = ntohl(a.s_addr);
	const bool paced = !o->first || o->rate > 0;
	int64_t due = begin;
	for (int64_t now = now_ns(); now < end; now = now_ns()) {
		if (o->receive)
			drain(fd, c);
		if (o->first && o->rate == 0)
			for (int i = 0; i < FREE_RUN; i++)
				send_batch(fd, o, first, next, BATCH, c);
		else if (o->first)
			for (uint64_t want = (double)(due - begin) * 1e-9 * o->rate; *next < want;)
				send_batch(fd, o, first, next, want - *next < BATCH ? want - *next : BATCH, c);
		if (!paced)
			continue;
		due += o->tick_us * 1000;
		struct timespec t = {due / 1000000000, due % 1000000000};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		c->calls++;
	}
}

static struct options parse(int argc, char **argv)
{
	struct options o = {.local = "0.0.0.0", .port = 7853, .destinations = 1, .size = 136, .cpu = -1, .tick_us = 1000, .seconds = 1, .warm_up = 0.3};
	for (int c; (c = getopt(argc, argv, "l:p:d:n:s:c:r:t:T:w:R")) != -1;)
		switch (c) {
		case 'l': o.local = optarg; break;
		case 'p': o.port = atoi(optarg); break;
		case 'd': o.first = optarg; break;
		case 'n': o.destinations = atoi(optarg); break;
		case 's': o.size = atoi(optarg); break;
		case 'c': o.cpu = atoi(optarg); break;
		case 'r': o.rate = atol(optarg); break;
		case 't': o.tick_us = atol(optarg); break;
		case 'T': o.seconds = atof(optarg); break;
		case 'w': o.warm_up = atof(optarg); break;
		case 'R': o.receive = true; break;
		default: exit(2);
		}
	if (o.size < 1 || o.size > SLOT || o.destinations < 1 || o.tick_us < 1 || o.rate < 0 || optind != argc) {
		fprintf(stderr, "floor: a size, number of destinations, tick or rate is out of range\n");
		exit(2);
	}
	return o;
}

int main(int argc, char **argv)
{
	const struct options o = parse(argc, argv);
	if (o.cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET(o.cpu, &set);
		if (sched_setaffinity(0, sizeof set, &set) != 0)
			die("pin to a CPU");
	}
	const int fd = open_socket(&o);
	wire_batches(&o);
	struct counts warm = {0}, c = {0};
	uint64_t next = 0;
	struct rusage before, after;
	const int64_t begin = now_ns();
	loop(fd, &o, begin, begin + o.warm_up * 1e9, &next, &warm);
	c.overflow = warm.overflow;
	next = 0;
	const int64_t start = now_ns();
	getrusage(RUSAGE_SELF, &before);
	loop(fd, &o, start, start + o.seconds * 1e9, &next, &c);
	getrusage(RUSAGE_SELF, &after);
	printf("{\"sent\":%lu,\"received\":%lu,\"failed\":%lu,\"dropped\":%u,\"calls\":%lu,\"user_ns\":%ld,\"system_ns\":%ld,\"wall_ns\":%ld}\n",
	       c.sent, c.received, c.failed, c.overflow - warm.overflow, c.calls,
	       cpu_ns(after.ru_utime) - cpu_ns(before.ru_utime), cpu_ns(after.ru_stime) - cpu_ns(before.ru_stime), now_ns() - start);
	return 0;
}
