#include "mbk_conn.h"

#include <pthread.h>
#include <stdlib.h>

#define CONNS_PER_CHUNK 128
#define FIRST_BUCKETS 256

typedef struct conn_chunk {
    struct conn_chunk *next;
    mbk_conn conns[CONNS_PER_CHUNK];
} conn_chunk;

struct mbk_thread {
    mbk_worker *worker;
    conn_chunk *chunks;
    mbk_conn *free_conns;
    /* Open addressing, linear probing, a power of two of buckets, at most half full. */
    mbk_conn **buckets;
    size_t bucket_count;
    size_t used;
    size_t fresh; /* connections that have not signed yet */
};

static _Thread_local mbk_thread *t_thread;
static pthread_key_t g_thread_end;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static int g_key_error;

static void thread_free(void *value) {
    mbk_thread *thread = value;
    t_thread = NULL;
    mbk_worker_free(thread->worker);
    while (thread->chunks != NULL) {
        conn_chunk *next = thread->chunks->next;
        free(thread->chunks);
        thread->chunks = next;
    }
    free(thread->buckets);
    free(thread);
}

static void make_key(void) { g_key_error = pthread_key_create(&g_thread_end, thread_free); }

mbk_thread *mbk_thread_current(void) { return t_thread; }

mbk_worker *mbk_thread_worker(mbk_thread *thread) { return thread->worker; }

mbk_thread *mbk_thread_get(mbk_engine *engine) {
    if (t_thread != NULL) {
        return t_thread;
    }
    pthread_once(&g_once, make_key);
    mbk_thread *thread = calloc(1, sizeof(*thread));
    if (thread == NULL) {
        return NULL;
    }
    thread->buckets = calloc(FIRST_BUCKETS, sizeof(*thread->buckets));
    thread->bucket_count = FIRST_BUCKETS;
    if (g_key_error != 0 || thread->buckets == NULL ||
        mbk_worker_new(engine, &thread->worker) != MBK_OK ||
        pthread_setspecific(g_thread_end, thread) != 0) {
        thread_free(thread);
        return NULL;
    }
    t_thread = thread;
    return thread;
}

static size_t bucket_of(const mbk_thread *thread, uintptr_t ssl) {
    /* Fibonacci hashing: heap addresses differ in their middle bits. */
    uint64_t mixed = (uint64_t)(ssl >> 3) * 0x9e3779b97f4a7c15u;
    return (size_t)(mixed >> 32) & (thread->bucket_count - 1);
}

/* The bucket of `ssl`, or the empty one where it would go. */
static size_t locate(const mbk_thread *thread, uintptr_t ssl) {
    size_t at = bucket_of(thread, ssl);
    while (thread->buckets[at] != NULL && thread->buckets[at]->ssl != ssl) {
        at = (at + 1) & (thread->bucket_count - 1);
    }
    return at;
}

static bool grow(mbk_thread *thread) {
    mbk_conn **old = thread->buckets;
    size_t old_count = thread->bucket_count;
    mbk_conn **buckets = calloc(old_count * 2, sizeof(*buckets));
    if (buckets == NULL) {
        return false;
    }
    thread->buckets = buckets;
    thread->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] != NULL) {
            buckets[locate(thread, old[i]->ssl)] = old[i];
        }
    }
    free(old);
    return true;
}

static mbk_conn *conn_take(mbk_thread *thread) {
    if (thread->free_conns == NULL) {
        conn_chunk *chunk = calloc(1, sizeof(*chunk));
        if (chunk == NULL) {
            return NULL;
        }
        chunk->next = thread->chunks;
        thread->chunks = chunk;
        for (size_t i = 0; i < CONNS_PER_CHUNK; i++) {
            chunk->conns[i].next_free = thread->free_conns;
            thread->free_conns = &chunk->conns[i];
        }
    }
    mbk_conn *conn = thread->free_conns;
    thread->free_conns = conn->next_free;
    *conn = (mbk_conn){.thread = thread};
    return conn;
}

mbk_conn *mbk_conn_add(mbk_thread *thread, uintptr_t ssl) {
    if ((thread->used + 1) * 2 > thread->bucket_count && !grow(thread)) {
        return NULL;
    }
    mbk_conn *stale = mbk_conn_find(thread, ssl);
    if (stale != NULL) {
        mbk_conn_remove(stale); /* its end was not told; a new SSL has its address now */
    }
    mbk_conn *conn = conn_take(thread);
    if (conn != NULL) {
        conn->ssl = ssl;
        conn->fresh = true;
        thread->fresh++;
        thread->buckets[locate(thread, ssl)] = conn;
        thread->used++;
    }
    return conn;
}

mbk_conn *mbk_conn_find(mbk_thread *thread, uintptr_t ssl) {
    return thread->buckets[locate(thread, ssl)];
}

/* Closes the gap that a removal leaves, so that no later entry becomes unreachable. */
static void remove_bucket(mbk_thread *thread, size_t gap) {
    size_t mask = thread->bucket_count - 1;
    thread->buckets[gap] = NULL;
    for (size_t at = (gap + 1) & mask; thread->buckets[at] != NULL; at = (at + 1) & mask) {
        size_t home = bucket_of(thread, thread->buckets[at]->ssl);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            thread->buckets[gap] = thread->buckets[at];
            thread->buckets[at] = NULL;
            gap = at;
        }
    }
}

void mbk_conn_signs(mbk_conn *conn) {
    mbk_thread *thread = conn->thread;
    if (conn->fresh) {
        conn->fresh = false;
        thread->fresh--;
    }
    mbk_worker_expect(thread->worker, thread->fresh);
}

void mbk_conn_remove(mbk_conn *conn) {
    mbk_thread *thread = conn->thread;
    if (conn->fresh) {
        thread->fresh--;
    }
    if (conn->op != NULL) {
        mbk_op_drop(thread->worker, conn->op);
        conn->op = NULL;
    }
    size_t at = locate(thread, conn->ssl);
    if (thread->buckets[at] == conn) {
        remove_bucket(thread, at);
        thread->used--;
    }
    conn->next_free = thread->free_conns;
    thread->free_conns = conn;
}
