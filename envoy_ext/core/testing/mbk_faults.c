#include "mbk_faults.h"

#include <string.h>

#include "../mbk_internal.h"
#include "../mbk_locked.h"

static mbk_lanes g_real;
static _Atomic mbk_fault g_fault;
static atomic_uchar g_mask;

static uint8_t faulty_private(mbk_lane_inputs *lanes, uint8_t *scratch) {
    uint8_t mask = atomic_load(&g_mask);
    uint8_t done = g_real.private_op(lanes, scratch);
    if (g_fault == MBK_FAULT_LANE_ERROR) {
        done &= (uint8_t)~mask;
    }
    for (int lane = 0; g_fault == MBK_FAULT_WRONG_RESULT && lane < MBK_LANES; lane++) {
        if (((mask >> lane) & 1) != 0 && lanes->out[lane] != NULL) {
            lanes->out[lane][7] ^= 0x10;
        }
    }
    return done;
}

static uint8_t faulty_check(uint8_t done) {
    return g_fault == MBK_FAULT_CHECK_ERROR ? done & (uint8_t)~atomic_load(&g_mask) : done;
}

static uint8_t faulty_public(mbk_lane_inputs *lanes, uint8_t *scratch) {
    return faulty_check(g_real.rsa_public(lanes, scratch));
}

static uint8_t faulty_verify(mbk_lane_inputs *lanes, uint8_t *scratch) {
    return faulty_check(g_real.ec_verify(lanes, scratch));
}

void mbk_fault_set(mbk_engine *engine, mbk_fault fault, uint8_t mask) {
    if (g_real.private_op == NULL) {
        g_real = engine->lanes;
        engine->lanes.private_op = faulty_private;
        engine->lanes.rsa_public = faulty_public;
        engine->lanes.ec_verify = faulty_verify;
    }
    atomic_store(&g_mask, mask);
    g_fault = fault;
}

size_t mbk_testing_sizeof(const char *name) {
    const struct {
        const char *name;
        size_t size;
    } sizes[] = {
        {"mbk_stats", sizeof(mbk_stats)},
        {"mbk_stats_block", sizeof(mbk_stats_block)},
        {"mbk_stats_header", sizeof(mbk_stats_header)},
        {"mbk_rsa_numbers", sizeof(mbk_rsa_numbers)},
        {"mbk_engine_options", sizeof(mbk_engine_options)},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (strcmp(sizes[i].name, name) == 0) {
            return sizes[i].size;
        }
    }
    return 0;
}

void *mbk_testing_heap_take(size_t size) {
    mbk_secret_begin();
    void *block = mbk_heap_malloc(size, __FILE__, __LINE__);
    mbk_secret_end();
    return block;
}

void mbk_testing_heap_give(void *block) { mbk_heap_free(block, __FILE__, __LINE__); }

bool mbk_testing_nonces(mbk_algorithm algorithm, uint64_t *out, size_t count) {
    size_t limbs = mbk_algorithms[algorithm].bytes / 8;
    for (size_t i = 0; i < count; i++) {
        if (!mbk_random_scalar(algorithm, out + i * limbs)) {
            return false;
        }
    }
    return true;
}
