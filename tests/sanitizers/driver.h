/* What the parts of the sanitizer driver share. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "mbk_engine.h"

/* Says what does not hold, and ends the process with an exit code that the test knows. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            fflush(NULL);                                                                          \
            _exit(3);                                                                              \
        }                                                                                          \
    } while (0)

/* Exit code for "cannot run here"; the reason is on standard output. */
#define EXIT_SKIPPED 77

/* A small generator (splitmix64), so that a run can be repeated by its seed. */
typedef struct dice {
    uint64_t state;
} dice;

uint64_t dice_roll(dice *d);
/* 0 .. sides-1 */
unsigned dice_below(dice *d, unsigned sides);
bool dice_percent(dice *d, unsigned percent);
void dice_bytes(dice *d, uint8_t *out, size_t length);

/* --- wraps.c: engine functions that the linker lets the driver stand before --- */

/* While true, the calling thread gets no locked pages. */
void refuse_pages(bool refuse);
/* Locked pages in use, in allocations; all threads. */
size_t locked_blocks(void);
/* What the calling thread last told mbk_worker_expect. */
size_t last_expected(void);

/* --- the three runs --- */

typedef struct stress_options {
    const char *keys;    /* text file of key numbers */
    const char *samples; /* folder for results */
    unsigned threads;
    uint64_t operations;
    uint64_t seed;
} stress_options;

void run_stress(mbk_engine *engine, const stress_options *options);
void run_connections(mbk_engine *engine, uint64_t operations, uint64_t seed);
void run_configurations(uint64_t rounds, uint64_t seed);

#endif
