/* One signing thread of the stress run: a random sequence of calls on its own worker. */
#ifndef ACTOR_H
#define ACTOR_H

#include <pthread.h>
#include <stdatomic.h>

#include "driver.h"
#include "keyfile.h"

#define SHARED_KEYS 10

/* A key that all threads may take a reference to, and that the main thread replaces. */
typedef struct shared_key {
    pthread_mutex_t lock;
    mbk_key *key;
    unsigned number; /* of its line in the file */
} shared_key;

/* What the actors did, to compare with the engine's counters. */
typedef struct tally {
    uint64_t submitted;
    uint64_t collected;    /* results handed out, and written down */
    uint64_t cut_short;    /* results that did not fit the room given */
    uint64_t failed;       /* MBK_ERR_OPERATION */
    uint64_t refused;      /* never accepted */
    uint64_t dropped;
    uint64_t dropped_queued; /* of those and the abandoned, not computed yet */
    uint64_t abandoned;      /* not collected when their thread ended */
} tally;

typedef struct arena {
    mbk_engine *engine;
    shared_key keys[SHARED_KEYS];
    const key_numbers *numbers;
    atomic_uint_fast64_t started; /* operations, all threads */
    uint64_t operations;          /* to be started altogether */
} arena;

/* Alive for one thread; the next one takes over `samples` and `total`. */
typedef struct actor {
    arena *arena;
    pthread_t thread;
    dice dice;
    FILE *samples;
    tally total;
    atomic_bool ended;
} actor;

void actor_start(actor *self);

#endif
