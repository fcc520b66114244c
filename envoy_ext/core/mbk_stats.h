/*
 * Counters of the engine. Each worker writes only its own block, on its own cache
 * lines; readers may see a value that is one operation old, never a torn one.
 *
 * The published file is: mbk_stats_header, then MBK_STATS_WORKERS blocks. Python reads it
 * through envoy_ext.stats; MBK_STATS_VERSION changes with any change of these structures.
 */
#ifndef MBK_STATS_H
#define MBK_STATS_H

#include <stdint.h>

typedef enum mbk_algorithm {
    MBK_RSA2048 = 0,
    MBK_RSA3072,
    MBK_RSA4096,
    MBK_P256,
    MBK_P384,
    MBK_ALGORITHMS,
} mbk_algorithm;

typedef enum mbk_outcome {
    MBK_BATCHED = 0, /* computed in a batch, verified */
    MBK_SINGLE,      /* computed alone with OpenSSL, verified; includes lane retries */
    MBK_FAILURE,     /* no verified result; the handshake failed */
    MBK_DROPPED,     /* the connection ended before it was collected */
    MBK_OUTCOMES,
} mbk_outcome;

#define MBK_STATS_MAGIC 0x5354415453424bULL
#define MBK_STATS_VERSION 2
#define MBK_STATS_WORKERS 128
#define MBK_STATS_FILE_BYTES (49 * 4096) /* whole pages, room for all of it */

/*
 * Buckets of a duration: 0 is less than a microsecond, i is 2^(i-1) to 2^i microseconds, the last
 * one is everything longer.
 */
#define MBK_STATS_TIMES 20

typedef struct mbk_stats {
    /* Operations by outcome. Batched + single + failed = operations computed; an operation
     * whose connection went away before it was computed counts only as dropped. */
    uint64_t ops[MBK_ALGORITHMS][MBK_OUTCOMES];
    uint64_t fill[MBK_ALGORITHMS][8]; /* batches computed with 1..8 lanes in use */
    uint64_t submitted;               /* operations accepted */
    uint64_t verify_failures;         /* results that did not verify */
    uint64_t lane_errors;             /* lanes for which the library reported an error */
    uint64_t lane_retries;            /* lanes redone alone */
    uint64_t inline_ops;              /* done at once because no locked memory was left */
    uint64_t wait[MBK_STATS_TIMES];   /* operations computed, by time since they were submitted */
    /* Batches and single operations, by the time that computing and verifying took. */
    uint64_t compute[MBK_ALGORITHMS][MBK_STATS_TIMES];
} mbk_stats;

/* What is so now; written by the worker that it is about. */
typedef struct mbk_gauges {
    uint64_t queued;       /* operations in the queue */
    uint64_t queued_since; /* when the queue began to fill, mbk_now(); 0: it is empty */
} mbk_gauges;

typedef struct mbk_stats_block {
    _Alignas(64) mbk_stats counters;
    mbk_gauges gauges;
} mbk_stats_block;

typedef struct mbk_stats_header {
    uint64_t magic;
    uint32_t version;
    uint32_t workers; /* blocks in use so far */
    uint64_t keys_hooked;
    uint64_t keys_left;
    uint8_t break_even[8]; /* by algorithm; 0: no key of it was loaded */
    uint8_t reserved[24];
} mbk_stats_header;

#endif
