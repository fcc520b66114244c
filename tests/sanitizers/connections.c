/* The shim's connection table against an array, in several threads at once. */
#include <pthread.h>
#include <stdlib.h>

#include "driver.h"
#include "mbk_conn.h"

#define UNIVERSE 6000
#define THREADS 3

typedef struct model {
    mbk_thread *thread;
    dice dice;
    uint64_t operations;
    uintptr_t ssl[UNIVERSE];
    mbk_conn *known[UNIVERSE];
    size_t fresh;
} model;

static mbk_engine *g_engine;

/* Addresses as a heap gives them; a quarter lie far apart, with equal low bits. */
static void fill_addresses(model *m) {
    for (unsigned i = 0; i < UNIVERSE; i++) {
        m->ssl[i] = i % 4 == 0 ? ((uintptr_t)i << 35) + 16 : 0x7f0000000000u + (uintptr_t)i * 704;
    }
}

static void forget(model *m, unsigned i) {
    m->fresh -= m->known[i]->fresh ? 1 : 0;
    m->known[i] = NULL;
}

/* Also where it is known already: its end was not told. */
static void add_one(model *m, unsigned i) {
    if (m->known[i] != NULL) {
        forget(m, i);
    }
    m->known[i] = mbk_conn_add(m->thread, m->ssl[i]);
    CHECK(m->known[i] != NULL && m->known[i]->ssl == m->ssl[i] && m->known[i]->op == NULL);
    m->fresh++;
}

static void remove_one(model *m, unsigned i) {
    if (m->known[i] != NULL) {
        mbk_conn *conn = m->known[i];
        forget(m, i);
        mbk_conn_remove(conn);
        CHECK(mbk_conn_find(m->thread, m->ssl[i]) == NULL);
    }
}

static void sign_one(model *m, unsigned i) {
    if (m->known[i] != NULL) {
        m->fresh -= m->known[i]->fresh ? 1 : 0;
        mbk_conn_signs(m->known[i]);
        CHECK(last_expected() == m->fresh);
    }
}

static void compare_all(const model *m) {
    for (unsigned i = 0; i < UNIVERSE; i++) {
        CHECK(mbk_conn_find(m->thread, m->ssl[i]) == m->known[i]);
    }
}

static void step(model *m, unsigned add_percent) {
    unsigned i = dice_below(&m->dice, UNIVERSE);
    if (dice_percent(&m->dice, 20)) {
        sign_one(m, i);
    } else if (dice_percent(&m->dice, add_percent)) {
        add_one(m, i);
    } else {
        remove_one(m, i);
    }
    CHECK(mbk_conn_find(m->thread, m->ssl[i]) == m->known[i]);
}

static void *run_model(void *argument) {
    model *m = argument;
    CHECK(mbk_thread_current() == NULL);
    m->thread = mbk_thread_get(g_engine);
    CHECK(m->thread != NULL && mbk_thread_current() == m->thread);
    fill_addresses(m);
    for (uint64_t i = 0; i < m->operations; i++) {
        /* The table fills and empties in turns. */
        step(m, (i >> 14) % 2 == 0 ? 75 : 25);
        if (i % 5000 == 0) {
            compare_all(m);
        }
    }
    compare_all(m);
    return NULL; /* with connections known: the thread's end frees them */
}

static void refused_thread(void) {
    refuse_pages(true);
    CHECK(mbk_thread_get(g_engine) == NULL && mbk_thread_current() == NULL);
    refuse_pages(false);
}

void run_connections(mbk_engine *engine, uint64_t operations, uint64_t seed) {
    pthread_t threads[THREADS];
    model *models = calloc(THREADS, sizeof(*models));
    CHECK(models != NULL);
    g_engine = engine;
    refused_thread();
    for (unsigned i = 0; i < THREADS; i++) {
        models[i].dice.state = seed + i;
        models[i].operations = operations;
        CHECK(pthread_create(&threads[i], NULL, run_model, &models[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    free(models);
    CHECK(locked_blocks() == 0);
}
