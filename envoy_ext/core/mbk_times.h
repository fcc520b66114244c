/* The clock of the counters, and how a duration is counted. */
#ifndef MBK_TIMES_H
#define MBK_TIMES_H

#include <time.h>

#include "mbk_stats.h"

/* Nanoseconds of the monotonic clock: about 25 ns a call, read in user space. */
static inline uint64_t mbk_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The bucket of a duration in nanoseconds (see MBK_STATS_TIMES). */
static inline unsigned mbk_time_bucket(uint64_t duration) {
    uint64_t microseconds = duration / 1000;
    unsigned bucket = microseconds == 0 ? 0 : 64 - (unsigned)__builtin_clzll(microseconds);
    return bucket < MBK_STATS_TIMES ? bucket : MBK_STATS_TIMES - 1;
}

/* A value of the bucket in microseconds, the middle of its range. */
static inline uint64_t mbk_time_of_bucket(unsigned bucket) {
    return bucket < 2 ? bucket : 3ull << (bucket - 2);
}

#endif
