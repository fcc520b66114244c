/*
 * The engine under load: threads with a worker each over shared keys, while the main thread
 * replaces keys, injects faults, changes the plan and reads the counters. At the end all
 * counters must add up and nothing may be left. The results go to files, to be verified by
 * another program.
 */
#include <stdlib.h>
#include <string.h>

#include "actor.h"
#include "testing/mbk_faults.h"

#define THREADS_MAX 16

typedef struct stage {
    arena arena;
    actor actors[THREADS_MAX];
    key_numbers numbers[KEYS_MAX];
    unsigned number_count;
    unsigned threads;
    dice dice;
    bool faulty;
    uint64_t rotations;
    uint64_t last_submitted;
    uint64_t generations;
} stage;

/* --- keys --- */

/* What loading must answer while a fault is injected or pages are refused. */
static mbk_status expected_status(const stage *s, mbk_policy policy, bool refuse) {
    if (refuse) {
        return MBK_ERR_LOCKED_MEMORY;
    }
    return s->faulty && policy == MBK_POLICY_ADAPTIVE ? MBK_ERR_KEY_TEST : MBK_OK;
}

static mbk_key *load_key(stage *s, unsigned number) {
    mbk_key *key = NULL;
    mbk_policy policy = dice_percent(&s->dice, 10) ? MBK_POLICY_OFF : MBK_POLICY_ADAPTIVE;
    bool refuse = dice_percent(&s->dice, 10);
    refuse_pages(refuse);
    mbk_status status = keyfile_load(s->arena.engine, &s->numbers[number], policy, &key);
    refuse_pages(false);
    CHECK(status == expected_status(s, policy, refuse));
    CHECK((key != NULL) == (status == MBK_OK));
    return key;
}

/* The numbers of a key with one bit flipped are not a key. */
static void load_damaged(stage *s) {
    key_numbers *damaged = malloc(sizeof(*damaged));
    mbk_key *key = NULL;
    CHECK(damaged != NULL);
    *damaged = s->numbers[dice_below(&s->dice, s->number_count)];
    if (damaged->rsa) {
        unsigned which = dice_below(&s->dice, KEY_NUMBERS);
        damaged->limbs[which][dice_below(&s->dice, (unsigned)damaged->width[which])] ^= 4;
    } else {
        memset(damaged->limbs[0], 0xff, sizeof(damaged->limbs[0]));
    }
    mbk_status status = keyfile_load(s->arena.engine, damaged, MBK_POLICY_OFF, &key);
    CHECK((status == MBK_ERR_KEY_NUMBERS || status == MBK_ERR_KEY_KIND) && key == NULL);
    free(damaged);
}

static void rotate(stage *s, unsigned place) {
    unsigned number = dice_below(&s->dice, s->number_count);
    mbk_key *fresh = load_key(s, number);
    shared_key *shared = &s->arena.keys[place];
    if (fresh != NULL) {
        pthread_mutex_lock(&shared->lock);
        mbk_key *old = shared->key;
        shared->key = fresh;
        shared->number = number;
        pthread_mutex_unlock(&shared->lock);
        mbk_key_release(old);
        s->rotations++;
    }
}

static void load_all(stage *s) {
    for (unsigned i = 0; i < SHARED_KEYS; i++) {
        CHECK(pthread_mutex_init(&s->arena.keys[i].lock, NULL) == 0);
        while (s->arena.keys[i].key == NULL) {
            rotate(s, i);
        }
    }
}

/* --- what the main thread does meanwhile --- */

static void change_fault(stage *s) {
    static const mbk_fault faults[] = {MBK_FAULT_NONE, MBK_FAULT_LANE_ERROR,
                                       MBK_FAULT_WRONG_RESULT, MBK_FAULT_CHECK_ERROR};
    mbk_fault fault = faults[dice_below(&s->dice, 4)];
    uint8_t mask = (uint8_t)(1 + dice_below(&s->dice, 255));
    mbk_fault_set(s->arena.engine, fault, mask);
    s->faulty = fault != MBK_FAULT_NONE;
}

static void change_plan(stage *s) {
    mbk_algorithm algorithm = (mbk_algorithm)dice_below(&s->dice, MBK_ALGORITHMS);
    unsigned most = 1 + dice_below(&s->dice, MBK_LANES + 1); /* small ones are likelier */
    mbk_engine_set_break_even(s->arena.engine, algorithm, 1 + dice_below(&s->dice, most));
}

static void read_counters(stage *s) {
    mbk_stats stats;
    mbk_engine_stats(s->arena.engine, &stats);
    CHECK(stats.submitted >= s->last_submitted);
    s->last_submitted = stats.submitted;
    mbk_engine_count_key(s->arena.engine, dice_percent(&s->dice, 50));
}

static void meddle(stage *s) {
    unsigned choice = dice_below(&s->dice, 100);
    if (choice < 25) {
        rotate(s, dice_below(&s->dice, SHARED_KEYS));
    } else if (choice < 45) {
        change_fault(s);
    } else if (choice < 60) {
        change_plan(s);
    } else if (choice < 65) {
        load_damaged(s);
    } else {
        read_counters(s);
    }
}

/* A thread that ended is followed by another one until there is nothing left to start. */
static unsigned replace_ended(stage *s) {
    unsigned living = 0;
    for (unsigned i = 0; i < s->threads; i++) {
        actor *one = &s->actors[i];
        if (one->arena != NULL && atomic_load_explicit(&one->ended, memory_order_acquire)) {
            CHECK(pthread_join(one->thread, NULL) == 0);
            one->arena = NULL;
            if (atomic_load(&s->arena.started) < s->arena.operations) {
                one->arena = &s->arena;
                actor_start(one);
                s->generations++;
            }
        }
        living += one->arena != NULL ? 1 : 0;
    }
    return living;
}

static void start_all(stage *s, const char *folder, uint64_t seed) {
    for (unsigned i = 0; i < s->threads; i++) {
        actor *one = &s->actors[i];
        char path[4096];
        snprintf(path, sizeof(path), "%s/samples.%u", folder, i);
        one->samples = fopen(path, "w");
        CHECK(one->samples != NULL);
        one->arena = &s->arena;
        one->dice.state = seed + 1 + i;
        actor_start(one);
        s->generations++;
    }
}

/* --- afterwards --- */

static tally add_up(stage *s) {
    tally sum = {0};
    for (unsigned i = 0; i < s->threads; i++) {
        const tally *one = &s->actors[i].total;
        sum.submitted += one->submitted;
        sum.collected += one->collected;
        sum.cut_short += one->cut_short;
        sum.failed += one->failed;
        sum.refused += one->refused;
        sum.dropped += one->dropped;
        sum.dropped_queued += one->dropped_queued;
        sum.abandoned += one->abandoned;
        CHECK(fclose(s->actors[i].samples) == 0);
    }
    return sum;
}

static uint64_t of_outcome(const mbk_stats *stats, mbk_outcome outcome) {
    uint64_t sum = 0;
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        sum += stats->ops[algorithm][outcome];
    }
    return sum;
}

static uint64_t lanes_used(const mbk_stats *stats) {
    uint64_t sum = 0;
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        for (unsigned lanes = 1; lanes <= MBK_LANES; lanes++) {
            sum += lanes * stats->fill[algorithm][lanes - 1];
        }
    }
    return sum;
}

static void check_counters(const stage *s, const tally *sum) {
    mbk_stats stats;
    mbk_engine_stats(s->arena.engine, &stats);
    uint64_t batched = of_outcome(&stats, MBK_BATCHED), single = of_outcome(&stats, MBK_SINGLE);
    printf("submitted %llu batched %llu single %llu dropped %llu abandoned %llu retries %llu "
           "inline %llu rotations %llu threads %llu\n",
           (unsigned long long)stats.submitted, (unsigned long long)batched,
           (unsigned long long)single, (unsigned long long)sum->dropped,
           (unsigned long long)sum->abandoned, (unsigned long long)stats.lane_retries,
           (unsigned long long)stats.inline_ops, (unsigned long long)s->rotations,
           (unsigned long long)s->generations);
    CHECK(stats.submitted == sum->submitted);
    CHECK(of_outcome(&stats, MBK_FAILURE) == 0 && sum->failed == 0);
    CHECK(of_outcome(&stats, MBK_DROPPED) == sum->dropped + sum->abandoned);
    CHECK(batched + single + sum->dropped_queued == stats.submitted);
    CHECK(lanes_used(&stats) == batched + stats.lane_retries);
    CHECK(stats.lane_retries == stats.lane_errors + stats.verify_failures);
    CHECK(batched > 0 && single > 0 && stats.lane_retries > 0 && stats.inline_ops > 0);
    CHECK(sum->abandoned > 0 && sum->dropped + sum->abandoned > sum->dropped_queued);
    printf("collected %llu\n", (unsigned long long)sum->collected);
}

static void check_nothing_left(stage *s) {
    for (unsigned i = 0; i < SHARED_KEYS; i++) {
        mbk_key_release(s->arena.keys[i].key);
        pthread_mutex_destroy(&s->arena.keys[i].lock);
    }
    CHECK(locked_blocks() == 0);
    CHECK(mbk_heap_refusals() == 0);
}

void run_stress(mbk_engine *engine, const stress_options *options) {
    stage *s = calloc(1, sizeof(*s));
    CHECK(s != NULL && options->threads <= THREADS_MAX);
    s->arena.engine = engine;
    s->arena.numbers = s->numbers;
    s->arena.operations = options->operations;
    s->number_count = keyfile_read(options->keys, s->numbers);
    s->threads = options->threads;
    s->dice.state = options->seed;
    mbk_fault_set(engine, MBK_FAULT_NONE, 0); /* installs the hooks, before any thread */
    load_all(s);
    start_all(s, options->samples, options->seed);
    while (replace_ended(s) > 0) {
        meddle(s);
        usleep(dice_below(&s->dice, 4000));
    }
    mbk_fault_set(engine, MBK_FAULT_NONE, 0);
    tally sum = add_up(s);
    check_counters(s, &sum);
    check_nothing_left(s);
    free(s);
}
