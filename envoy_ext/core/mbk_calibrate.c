#include <string.h>
#include <time.h>

#include "mbk_internal.h"
#include "mbk_locked.h"

/* The fastest of a few runs: the one that was disturbed least. */
#define RUNS 3

typedef struct key_trial {
    mbk_scratch *scratch;
    mbk_op *ops[MBK_LANES];
    mbk_op *storage; /* MBK_LANES of them, in locked pages */
    mbk_single *single;
    mbk_stats stats; /* kept apart from the counters of real work */
} key_trial;

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Any block below the modulus, or any digest. */
static bool random_input(mbk_op *op) {
    size_t bytes = mbk_algorithms[op->key->algorithm].bytes;
    bool ok = mbk_random(op->in, bytes);
    if (mbk_is_rsa(op->key->algorithm)) {
        op->in[0] = 0;
    }
    return ok;
}

static void prepare(key_trial *trial) {
    for (unsigned i = 0; i < MBK_LANES; i++) {
        trial->ops[i]->state = MBK_OP_QUEUED;
    }
}

static bool all_ready(const key_trial *trial, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (trial->ops[i]->state != MBK_OP_READY) {
            return false;
        }
    }
    return true;
}

/* Nanoseconds of one call with every lane in use, verification included; 0 on a wrong result. */
static uint64_t time_batch(key_trial *trial, mbk_key *key) {
    uint64_t best = UINT64_MAX;
    for (int run = 0; run < RUNS; run++) {
        prepare(trial);
        uint64_t start = now_ns();
        mbk_batch_compute(key->engine, trial->scratch, trial->ops, MBK_LANES, &trial->stats);
        uint64_t took = now_ns() - start;
        if (!all_ready(trial, MBK_LANES)) {
            return 0;
        }
        best = took < best ? took : best;
    }
    return best;
}

static uint64_t time_single(key_trial *trial) {
    uint64_t best = UINT64_MAX;
    for (int run = 0; run < RUNS; run++) {
        prepare(trial);
        uint64_t start = now_ns();
        mbk_single_compute(trial->ops[0], trial->single);
        uint64_t took = now_ns() - start;
        if (!all_ready(trial, 1)) {
            return 0;
        }
        best = took < best ? took : best;
    }
    return best;
}

/* A call costs the same whatever the fill: lanes from which it beats as many singles. */
static unsigned break_even(uint64_t batch, uint64_t single) {
    unsigned lanes = 1;
    while (lanes <= MBK_LANES && batch > single * lanes) {
        lanes++;
    }
    return lanes;
}

static mbk_status run_trial(key_trial *trial, mbk_key *key) {
    for (unsigned i = 0; i < MBK_LANES; i++) {
        trial->ops[i] = &trial->storage[i];
        trial->ops[i]->key = key;
        if (!random_input(trial->ops[i])) {
            return MBK_ERR_RANDOM;
        }
    }
    trial->single = mbk_single_get(key, 0);
    if (trial->single == NULL) {
        return MBK_ERR_LOCKED_MEMORY;
    }
    uint64_t single = time_single(trial);
    if (single == 0) {
        return MBK_ERR_KEY_TEST;
    }
    if (key->policy == MBK_POLICY_OFF) {
        return MBK_OK;
    }
    uint64_t batch = time_batch(trial, key);
    if (batch == 0) {
        return MBK_ERR_KEY_TEST;
    }
    if (mbk_engine_break_even(key->engine, key->algorithm) == 0) {
        mbk_engine_set_break_even(key->engine, key->algorithm, break_even(batch, single));
    }
    return MBK_OK;
}

mbk_status mbk_key_try(mbk_key *key) {
    key_trial trial = {0};
    size_t ops_bytes = MBK_LANES * sizeof(mbk_op);
    mbk_status status = MBK_ERR_LOCKED_MEMORY;
    trial.scratch = mbk_locked_alloc(sizeof(*trial.scratch));
    trial.storage = mbk_locked_alloc(ops_bytes);
    if (trial.scratch != NULL && trial.storage != NULL) {
        status = run_trial(&trial, key);
    }
    mbk_locked_free(trial.storage, ops_bytes);
    mbk_locked_free(trial.scratch, sizeof(*trial.scratch));
    return status;
}
