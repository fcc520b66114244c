#include <stdlib.h>
#include <string.h>

#include "mbk_internal.h"
#include "mbk_locked.h"
#include "mbk_times.h"

/* Operations are taken from locked slabs; about fifty fit into one. */
#define SLAB_BYTES ((size_t)64 * 1024)

typedef struct op_slab {
    struct op_slab *next;
    mbk_op ops[];
} op_slab;

#define SLAB_OPS ((SLAB_BYTES - sizeof(op_slab)) / sizeof(mbk_op))

/* First in, first out; dropped operations leave from the middle. */
typedef struct op_queue {
    mbk_op *first;
    mbk_op *last;
    size_t length;
} op_queue;

struct mbk_worker {
    mbk_engine *engine;
    uint64_t id; /* never used again in this process; 0 is no worker's */
    mbk_stats_block *block;
    mbk_stats *stats; /* the block's */
    mbk_scratch *scratch;
    op_queue queues[MBK_ALGORITHMS];
    size_t pending;
    size_t expected; /* operations that may come soon, besides those queued */
    op_slab *slabs;
    mbk_op *free_ops;
    EVP_MD_CTX *digests[MBK_DIGESTS];
};

static void queue_push(op_queue *queue, mbk_op *op) {
    op->next = NULL;
    op->previous = queue->last;
    if (queue->last != NULL) {
        queue->last->next = op;
    } else {
        queue->first = op;
    }
    queue->last = op;
    queue->length++;
}

static void queue_remove(op_queue *queue, mbk_op *op) {
    if (op->previous != NULL) {
        op->previous->next = op->next;
    } else {
        queue->first = op->next;
    }
    if (op->next != NULL) {
        op->next->previous = op->previous;
    } else {
        queue->last = op->previous;
    }
    op->next = op->previous = NULL;
    queue->length--;
}

static mbk_op *queue_pop(op_queue *queue) {
    mbk_op *op = queue->first;
    queue_remove(queue, op);
    return op;
}

static bool add_slab(mbk_worker *worker) {
    op_slab *slab = mbk_locked_alloc(SLAB_BYTES);
    if (slab == NULL) {
        return false;
    }
    slab->next = worker->slabs;
    worker->slabs = slab;
    for (size_t i = 0; i < SLAB_OPS; i++) {
        slab->ops[i].next = worker->free_ops;
        worker->free_ops = &slab->ops[i];
    }
    return true;
}

static mbk_op *op_take(mbk_worker *worker, mbk_key *key) {
    if (worker->free_ops == NULL && !add_slab(worker)) {
        return NULL;
    }
    mbk_op *op = worker->free_ops;
    worker->free_ops = op->next;
    op->next = NULL;
    op->key = key;
    mbk_key_retain(key);
    return op;
}

static void op_give(mbk_worker *worker, mbk_op *op) {
    mbk_wipe(op->out, mbk_algorithms[op->key->algorithm].bytes);
    mbk_key_release(op->key);
    op->key = NULL;
    op->state = MBK_OP_FREE;
    op->next = worker->free_ops;
    worker->free_ops = op;
}

mbk_status mbk_worker_new(mbk_engine *engine, mbk_worker **out) {
    static atomic_uint_fast64_t last_id;
    mbk_worker *worker = calloc(1, sizeof(*worker));
    *out = NULL;
    if (worker == NULL) {
        return MBK_ERR_MEMORY;
    }
    worker->engine = engine;
    worker->expected = MBK_LANES;
    worker->id = atomic_fetch_add(&last_id, 1) + 1;
    worker->block = mbk_stats_take();
    worker->scratch = mbk_locked_alloc(sizeof(*worker->scratch));
    if (worker->block == NULL || worker->scratch == NULL) {
        mbk_status status = worker->block == NULL ? MBK_ERR_MEMORY : MBK_ERR_LOCKED_MEMORY;
        mbk_worker_free(worker);
        return status;
    }
    worker->stats = &worker->block->counters;
    *out = worker;
    return MBK_OK;
}

/* Operations that nobody collected, computed or not. */
static void drop_all(mbk_worker *worker, op_slab *slab) {
    for (size_t i = 0; i < SLAB_OPS; i++) {
        if (slab->ops[i].state != MBK_OP_FREE) {
            mbk_op_drop(worker, &slab->ops[i]);
        }
    }
}

void mbk_worker_free(mbk_worker *worker) {
    if (worker == NULL) {
        return;
    }
    while (worker->slabs != NULL) {
        op_slab *next = worker->slabs->next;
        drop_all(worker, worker->slabs);
        mbk_locked_free(worker->slabs, SLAB_BYTES);
        worker->slabs = next;
    }
    for (unsigned i = 0; i < MBK_DIGESTS; i++) {
        mbk_ossl.EVP_MD_CTX_free(worker->digests[i]);
    }
    mbk_locked_free(worker->scratch, sizeof(*worker->scratch));
    if (worker->block != NULL) {
        mbk_stats_give(worker->block);
    }
    free(worker);
}

void mbk_worker_expect(mbk_worker *worker, size_t operations) { worker->expected = operations; }

size_t mbk_worker_pending(const mbk_worker *worker) { return worker->pending; }

size_t mbk_worker_queued(const mbk_worker *worker) {
    size_t queued = 0;
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        queued += worker->queues[algorithm].length;
    }
    return queued;
}

/* Tells readers how much is queued. `now` is used when the queue was empty. */
static void note_queue(mbk_worker *worker, uint64_t now) {
    mbk_gauges *gauges = &worker->block->gauges;
    size_t queued = mbk_worker_queued(worker);
    if (queued == 0 || gauges->queued == 0) {
        __atomic_store_n(&gauges->queued_since, queued == 0 ? 0 : now, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&gauges->queued, queued, __ATOMIC_RELAXED);
}

static void count_wait(mbk_worker *worker, const mbk_op *op, uint64_t now) {
    mbk_count(&worker->stats->wait[mbk_time_bucket(now - op->submitted_at)], 1);
}

static void count_compute(mbk_worker *worker, mbk_algorithm algorithm, uint64_t start) {
    unsigned bucket = mbk_time_bucket(mbk_now() - start);
    mbk_count(&worker->stats->compute[algorithm][bucket], 1);
}

/* One operation with OpenSSL; sets its state and counts it. */
static void compute_single(mbk_worker *worker, mbk_op *op) {
    uint64_t start = mbk_now();
    mbk_single *single = mbk_single_get(op->key, worker->id);
    if (single == NULL) {
        op->state = MBK_OP_BAD;
    } else {
        mbk_single_compute(op, single);
    }
    mbk_outcome outcome = op->state == MBK_OP_READY ? MBK_SINGLE : MBK_FAILURE;
    mbk_count(&worker->stats->ops[op->key->algorithm][outcome], 1);
    count_compute(worker, op->key->algorithm, start);
}

static void compute_batch(mbk_worker *worker, op_queue *queue, unsigned count) {
    mbk_op *ops[MBK_LANES];
    uint64_t start = mbk_now();
    for (unsigned i = 0; i < count; i++) {
        ops[i] = queue_pop(queue);
        count_wait(worker, ops[i], start);
    }
    mbk_batch_compute(worker->engine, worker->scratch, ops, count, worker->stats);
    count_compute(worker, ops[0]->key->algorithm, start);
    for (unsigned i = 0; i < count; i++) {
        if (ops[i]->state != MBK_OP_READY) {
            mbk_count(&worker->stats->lane_retries, 1);
            compute_single(worker, ops[i]);
        }
    }
}

/* Full batches, then whatever is cheaper for the rest on this CPU. */
static void flush_queue(mbk_worker *worker, mbk_algorithm algorithm) {
    op_queue *queue = &worker->queues[algorithm];
    unsigned break_even = mbk_engine_break_even(worker->engine, algorithm);
    while (queue->length > 0) {
        unsigned count = queue->length < MBK_LANES ? (unsigned)queue->length : MBK_LANES;
        if (count >= break_even) {
            compute_batch(worker, queue, count);
        } else {
            mbk_op *op = queue_pop(queue);
            count_wait(worker, op, mbk_now());
            compute_single(worker, op);
        }
    }
    note_queue(worker, 0);
}

void mbk_worker_flush(mbk_worker *worker) {
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        flush_queue(worker, (mbk_algorithm)algorithm);
    }
}

/* Hands out a computed operation's result. */
static mbk_progress deliver(const mbk_op *op, uint8_t *out, size_t *out_length, size_t out_max,
                            mbk_status *why) {
    *why = op->state == MBK_OP_READY ? mbk_write_result(op, out, out_length, out_max)
                                     : MBK_ERR_OPERATION;
    return *why == MBK_OK ? MBK_DONE : MBK_FAILED;
}

/* Puts what is to be computed into op->in. */
typedef mbk_status (*fill_function)(mbk_worker *worker, mbk_op *op, const void *request);

/* Where an operation's result goes. */
typedef struct op_output {
    uint8_t *bytes;
    size_t *length;
    size_t max;
} op_output;

/* Alone, without a place in the queue. */
static mbk_progress run_alone(mbk_worker *worker, mbk_key *key, fill_function fill,
                              const void *request, const op_output *out, mbk_status *why) {
    mbk_op *op = &worker->scratch->spare;
    op->key = key;
    mbk_progress progress = MBK_FAILED;
    *why = fill(worker, op, request);
    if (*why == MBK_OK) {
        mbk_count(&worker->stats->submitted, 1);
        mbk_count(&worker->stats->wait[0], 1);
        compute_single(worker, op);
        progress = deliver(op, out->bytes, out->length, out->max, why);
    }
    mbk_wipe(op, sizeof(*op));
    return progress;
}

/* Whether waiting for the next turn can make the operation cheaper. */
static bool worth_waiting(const mbk_worker *worker, mbk_algorithm algorithm) {
    size_t others = worker->queues[algorithm].length + worker->expected;
    size_t needed = mbk_engine_break_even(worker->engine, algorithm);
    /* Where a batch of one pays already, a second lane is free. */
    return others > 0 && others + 1 >= needed && needed <= MBK_LANES;
}

static mbk_progress submit(mbk_worker *worker, mbk_key *key, fill_function fill,
                           const void *request, const op_output *out, mbk_op **pending,
                           mbk_status *why) {
    if (pending == NULL || key->policy == MBK_POLICY_OFF) {
        return run_alone(worker, key, fill, request, out, why);
    }
    mbk_op *op = op_take(worker, key);
    if (op == NULL) {
        mbk_count(&worker->stats->inline_ops, 1);
        return run_alone(worker, key, fill, request, out, why);
    }
    *why = fill(worker, op, request);
    if (*why != MBK_OK) {
        op_give(worker, op);
        return MBK_FAILED;
    }
    bool wait = worth_waiting(worker, key->algorithm);
    op->state = MBK_OP_QUEUED;
    queue_push(&worker->queues[key->algorithm], op);
    worker->pending++;
    mbk_count(&worker->stats->submitted, 1);
    op->submitted_at = mbk_now();
    note_queue(worker, op->submitted_at);
    if (!wait) {
        flush_queue(worker, key->algorithm); /* other algorithms may still wait for lanes */
        return mbk_op_complete(worker, op, out->bytes, out->length, out->max, why);
    }
    *pending = op;
    return MBK_PENDING;
}

typedef struct sign_request {
    uint16_t scheme;
    const uint8_t *in;
    size_t in_length;
} sign_request;

static mbk_status fill_sign(mbk_worker *worker, mbk_op *op, const void *request) {
    const sign_request *sign = request;
    mbk_single *single = mbk_single_get(op->key, worker->id);
    if (single == NULL) {
        return MBK_ERR_LOCKED_MEMORY;
    }
    return mbk_prepare_signature(op, worker->digests, single, sign->scheme, sign->in,
                                 sign->in_length);
}

mbk_progress mbk_sign(mbk_worker *worker, mbk_key *key, uint16_t scheme, const uint8_t *in,
                      size_t in_length, uint8_t *out, size_t *out_length, size_t out_max,
                      mbk_op **op, mbk_status *why) {
    sign_request request = {scheme, in, in_length};
    op_output output = {out, out_length, out_max};
    return submit(worker, key, fill_sign, &request, &output, op, why);
}

static mbk_status fill_decrypt(mbk_worker *worker, mbk_op *op, const void *request) {
    const sign_request *decrypt = request;
    const mbk_algorithm_info *info = &mbk_algorithms[op->key->algorithm];
    (void)worker;
    if (!mbk_is_rsa(op->key->algorithm)) {
        return MBK_ERR_SCHEME;
    }
    /* The library wants a number below the modulus; whether it is one is no secret. */
    if (decrypt->in_length != info->bytes ||
        !mbk_below_modulus(op->key, decrypt->in)) {
        return MBK_ERR_INPUT;
    }
    memcpy(op->in, decrypt->in, decrypt->in_length);
    return MBK_OK;
}

mbk_progress mbk_decrypt(mbk_worker *worker, mbk_key *key, const uint8_t *in, size_t in_length,
                         uint8_t *out, size_t *out_length, size_t out_max, mbk_op **op,
                         mbk_status *why) {
    sign_request request = {0, in, in_length};
    op_output output = {out, out_length, out_max};
    return submit(worker, key, fill_decrypt, &request, &output, op, why);
}

mbk_progress mbk_op_complete(mbk_worker *worker, mbk_op *op, uint8_t *out, size_t *out_length,
                             size_t out_max, mbk_status *why) {
    if (op->state == MBK_OP_QUEUED) {
        mbk_worker_flush(worker);
    }
    mbk_progress progress = deliver(op, out, out_length, out_max, why);
    op_give(worker, op);
    worker->pending--;
    return progress;
}

void mbk_op_drop(mbk_worker *worker, mbk_op *op) {
    mbk_count(&worker->stats->ops[op->key->algorithm][MBK_DROPPED], 1);
    if (op->state == MBK_OP_QUEUED) {
        queue_remove(&worker->queues[op->key->algorithm], op);
        note_queue(worker, 0);
    }
    op_give(worker, op);
    worker->pending--;
}
