#include "actor.h"

#include <stdlib.h>
#include <string.h>

#include "mbk_conn.h"

#define PLACES 160 /* operations pending at most; more than fit into one slab of the engine */
#define MESSAGE_MAX 600
#define HELD 6
#define DECRYPT 0 /* no TLS SignatureScheme */

/* What was asked for; the line that is written when the result is there. */
typedef struct request {
    unsigned number; /* of the key */
    uint16_t scheme;
    size_t length;
    uint8_t message[MESSAGE_MAX];
} request;

/* Where one operation may be pending. */
typedef struct place {
    bool busy;
    mbk_op *op;
    mbk_conn *conn; /* then it is pending in there */
    request asked;
} place;

typedef struct held_key {
    mbk_key *key;
    unsigned number;
} held_key;

/* The thread's own state. */
typedef struct life {
    actor *self;
    dice *dice;
    mbk_worker *worker;
    mbk_thread *thread; /* NULL: without the shim's connection table */
    held_key held[HELD];
    place places[PLACES];
    unsigned limit; /* places in use */
    tally *total;
} life;

static const uint16_t g_rsa_schemes[] = {0x0401, 0x0501, 0x0601, 0x0201, 0xff01,
                                         0x0804, 0x0805, 0x0806};
static const uint16_t g_ec_schemes[] = {0x0403, 0x0503, 0x0603, 0x0203};

static bool is_rsa(const mbk_key *key) { return mbk_key_algorithm(key) <= MBK_RSA4096; }

static mbk_op **pending_of(place *at) { return at->conn != NULL ? &at->conn->op : &at->op; }

static void write_hex(FILE *file, const uint8_t *bytes, size_t length, char end) {
    static const char digits[] = "0123456789abcdef";
    char text[2 * MESSAGE_MAX + 1];
    for (size_t i = 0; i < length; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * length] = end;
    CHECK(fwrite(text, 1, 2 * length + 1, file) == 2 * length + 1);
}

/* "KEY SCHEME MESSAGE RESULT", the last two in hexadecimal. */
static void write_sample(life *l, const request *asked, const uint8_t *out, size_t length) {
    fprintf(l->self->samples, "%u %04x ", asked->number, asked->scheme);
    write_hex(l->self->samples, asked->message, asked->length, ' ');
    write_hex(l->self->samples, out, length, '\n');
    l->total->collected++;
}

static void count_failure(life *l, mbk_status why) {
    CHECK(why == MBK_ERR_OPERATION || why == MBK_ERR_INPUT);
    if (why == MBK_ERR_INPUT) {
        l->total->cut_short++;
    } else {
        l->total->failed++;
    }
}

static void settle(life *l, place *at, mbk_progress progress, mbk_status why, const uint8_t *out,
                   size_t length) {
    CHECK(progress != MBK_PENDING);
    if (progress == MBK_DONE) {
        write_sample(l, &at->asked, out, length);
    } else {
        count_failure(l, why);
    }
    at->busy = false;
}

/* --- keys --- */

static void take_key(life *l, held_key *held) {
    shared_key *shared = &l->self->arena->keys[dice_below(l->dice, SHARED_KEYS)];
    pthread_mutex_lock(&shared->lock);
    mbk_key_retain(shared->key);
    *held = (held_key){shared->key, shared->number};
    pthread_mutex_unlock(&shared->lock);
}

static void release_keys(life *l) {
    for (unsigned i = 0; i < HELD; i++) {
        mbk_key_release(l->held[i].key);
        l->held[i].key = NULL;
    }
}

static void renew_keys(life *l) {
    release_keys(l);
    for (unsigned i = 0; i < HELD; i++) {
        take_key(l, &l->held[i]);
    }
}

/* --- submitting --- */

static void ask_signature(life *l, request *asked, const mbk_key *key) {
    asked->scheme = is_rsa(key)
                        ? g_rsa_schemes[dice_below(l->dice, sizeof(g_rsa_schemes) / 2)]
                        : g_ec_schemes[dice_below(l->dice, sizeof(g_ec_schemes) / 2)];
    asked->length = dice_below(l->dice, 200);
    dice_bytes(l->dice, asked->message, asked->length);
}

static void ask_decryption(life *l, request *asked, const held_key *held) {
    asked->scheme = DECRYPT;
    asked->length = l->self->arena->numbers[held->number].width[0] * 8;
    dice_bytes(l->dice, asked->message, asked->length);
    asked->message[0] = 0; /* below the modulus */
}

static mbk_progress submit(life *l, mbk_key *key, const request *asked, uint8_t *out,
                           size_t *length, mbk_op **op, mbk_status *why) {
    if (asked->scheme == DECRYPT) {
        return mbk_decrypt(l->worker, key, asked->message, asked->length, out, length,
                           MBK_MAX_BYTES, op, why);
    }
    return mbk_sign(l->worker, key, asked->scheme, asked->message, asked->length, out, length,
                    MBK_MAX_BYTES, op, why);
}

static void open_connection(life *l, place *at) {
    at->conn = mbk_conn_add(l->thread, (uintptr_t)at);
    CHECK(at->conn != NULL);
}

static void tell_what_to_expect(life *l, place *at) {
    if (at->conn != NULL) {
        CHECK(mbk_conn_find(l->thread, (uintptr_t)at) == at->conn);
        mbk_conn_signs(at->conn);
    } else if (dice_percent(l->dice, 20)) {
        mbk_worker_expect(l->worker, dice_below(l->dice, 30));
    }
}

static void start(life *l, place *at) {
    held_key *held = &l->held[dice_below(l->dice, HELD)];
    uint8_t out[MBK_MAX_BYTES];
    size_t length = 0;
    mbk_status why = MBK_OK;
    at->asked.number = held->number;
    if (is_rsa(held->key) && dice_percent(l->dice, 25)) {
        ask_decryption(l, &at->asked, held);
    } else {
        ask_signature(l, &at->asked, held->key);
    }
    tell_what_to_expect(l, at);
    mbk_op **op = dice_percent(l->dice, 5) ? NULL : pending_of(at);
    mbk_progress progress = submit(l, held->key, &at->asked, out, &length, op, &why);
    l->total->submitted++;
    at->busy = progress == MBK_PENDING;
    if (!at->busy) {
        settle(l, at, progress, why, out, length);
    }
}

/* What the engine must refuse: a scheme of the other kind, lengths and numbers that do not fit. */
static void start_wrong(life *l) {
    held_key *held = &l->held[dice_below(l->dice, HELD)];
    uint8_t out[MBK_MAX_BYTES];
    size_t length = 0;
    mbk_op *op = NULL;
    mbk_status why = MBK_OK;
    request asked = {.number = held->number, .length = dice_below(l->dice, 255)};
    bool rsa = is_rsa(held->key);
    if (dice_percent(l->dice, 50)) {
        asked.scheme = rsa ? 0x0403 : dice_percent(l->dice, 50) ? 0x0804 : 0x0807;
    } else if (rsa && dice_percent(l->dice, 50)) {
        asked.length = l->self->arena->numbers[held->number].width[0] * 8;
        memset(asked.message, 0xff, asked.length);
    }
    mbk_op **pending = dice_percent(l->dice, 50) ? &op : NULL;
    CHECK(submit(l, held->key, &asked, out, &length, pending, &why) == MBK_FAILED);
    CHECK(op == NULL && (why == MBK_ERR_SCHEME || why == MBK_ERR_INPUT));
    l->total->refused++;
}

/* --- ending operations --- */

static void complete(life *l, place *at) {
    uint8_t out[MBK_MAX_BYTES];
    size_t length = 0;
    mbk_status why = MBK_OK;
    mbk_op *op = *pending_of(at);
    *pending_of(at) = NULL;
    size_t room = dice_percent(l->dice, 2) ? dice_below(l->dice, 32) : sizeof(out);
    mbk_progress progress = mbk_op_complete(l->worker, op, out, &length, room, &why);
    settle(l, at, progress, why, out, length);
}

static void close_connection(place *at) {
    if (at->conn != NULL) {
        mbk_conn_remove(at->conn);
        at->conn = NULL;
    }
}

static void drop(life *l, place *at) {
    size_t queued = mbk_worker_queued(l->worker);
    if (at->conn != NULL) {
        close_connection(at);
    } else {
        mbk_op_drop(l->worker, at->op);
        at->op = NULL;
    }
    at->busy = false;
    l->total->dropped++;
    l->total->dropped_queued += queued - mbk_worker_queued(l->worker);
}

/* --- a life --- */

static void use_place(life *l) {
    place *at = &l->places[dice_below(l->dice, l->limit)];
    if (l->thread != NULL && at->conn == NULL) {
        open_connection(l, at); /* its handshake asks for the key later */
    } else if (!at->busy) {
        start(l, at);
    } else if (dice_percent(l->dice, 75)) {
        complete(l, at);
    } else {
        drop(l, at);
    }
    if (!at->busy && dice_percent(l->dice, 10)) {
        close_connection(at);
    }
}

static void step(life *l) {
    unsigned choice = dice_below(l->dice, 100);
    if (choice < 90) {
        use_place(l);
    } else if (choice < 93) {
        mbk_worker_flush(l->worker);
        CHECK(mbk_worker_queued(l->worker) == 0);
    } else if (choice < 96) {
        start_wrong(l);
    } else if (choice < 98) {
        renew_keys(l);
    } else {
        refuse_pages(dice_percent(l->dice, 30));
    }
}

static size_t count_busy(const life *l) {
    size_t busy = 0;
    for (unsigned i = 0; i < PLACES; i++) {
        busy += l->places[i].busy ? 1 : 0;
    }
    return busy;
}

static void live(life *l) {
    atomic_uint_fast64_t *started = &l->self->arena->started;
    unsigned steps = 100 + dice_below(l->dice, 500);
    l->limit = dice_percent(l->dice, 50) ? PLACES : 12;
    for (unsigned i = 0; i < steps; i++) {
        step(l);
        atomic_fetch_add_explicit(started, 1, memory_order_relaxed);
        CHECK(mbk_worker_pending(l->worker) == count_busy(l));
        CHECK(mbk_worker_queued(l->worker) <= count_busy(l));
    }
    refuse_pages(false);
}

static void begin(life *l) {
    mbk_worker *none = NULL;
    refuse_pages(true);
    CHECK(mbk_worker_new(l->self->arena->engine, &none) == MBK_ERR_LOCKED_MEMORY && none == NULL);
    refuse_pages(false);
    if (dice_percent(l->dice, 50)) {
        l->thread = mbk_thread_get(l->self->arena->engine);
        CHECK(l->thread != NULL);
        l->worker = mbk_thread_worker(l->thread);
    } else {
        CHECK(mbk_worker_new(l->self->arena->engine, &l->worker) == MBK_OK);
    }
}

/*
 * Half of the lives end in order, the others with operations queued and with results that
 * nobody collected, as when a proxy takes a thread away.
 */
static void end(life *l) {
    if (dice_percent(l->dice, 50)) {
        for (unsigned i = 0; i < PLACES; i++) {
            if (l->places[i].busy) {
                complete(l, &l->places[i]);
            }
        }
        CHECK(mbk_worker_pending(l->worker) == 0 && mbk_worker_queued(l->worker) == 0);
    }
    l->total->abandoned += mbk_worker_pending(l->worker);
    l->total->dropped_queued += mbk_worker_queued(l->worker);
    if (l->thread == NULL) {
        mbk_worker_free(l->worker);
    } /* else the thread's end does it */
}

static void *run(void *argument) {
    actor *self = argument;
    life *l = calloc(1, sizeof(*l));
    CHECK(l != NULL);
    l->self = self;
    l->dice = &self->dice;
    l->total = &self->total;
    begin(l);
    renew_keys(l);
    live(l);
    bool early = dice_percent(l->dice, 50);
    if (early) {
        release_keys(l); /* what is pending has references of its own */
    }
    end(l);
    release_keys(l);
    free(l);
    atomic_store_explicit(&self->ended, true, memory_order_release);
    return NULL;
}

void actor_start(actor *self) {
    atomic_store_explicit(&self->ended, false, memory_order_relaxed);
    CHECK(pthread_create(&self->thread, NULL, run, self) == 0);
}
