#include "mbk_faults.h"

#include <string.h>

#include "../mbk_internal.h"
#include "../mbk_locked.h"

static mbk_lanes g_real;
static mbk_libcrypto g_real_ossl;
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

static int faulty_rsa_private(int length, const unsigned char *in, unsigned char *out, RSA *rsa,
                              int padding) {
    int done = g_real_ossl.RSA_private_decrypt(length, in, out, rsa, padding);
    if (g_fault == MBK_FAULT_SINGLE_WRONG) {
        out[7] ^= 0x10;
    }
    return done;
}

static ECDSA_SIG *faulty_ec_sign(const unsigned char *digest, int length, EC_KEY *ec) {
    unsigned char other[MBK_EC_BYTES] = {0};
    memcpy(other, digest, (size_t)length);
    if (g_fault == MBK_FAULT_SINGLE_WRONG) {
        other[7] ^= 0x10;
    }
    return g_real_ossl.ECDSA_do_sign(other, length, ec);
}

void mbk_fault_set(mbk_engine *engine, mbk_fault fault, uint8_t mask) {
    if (g_real.private_op == NULL) {
        g_real = engine->lanes;
        engine->lanes.private_op = faulty_private;
        engine->lanes.rsa_public = faulty_public;
        engine->lanes.ec_verify = faulty_verify;
        g_real_ossl = mbk_ossl;
        mbk_ossl.RSA_private_decrypt = faulty_rsa_private;
        mbk_ossl.ECDSA_do_sign = faulty_ec_sign;
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

void *mbk_testing_heap_resize(void *block, size_t size) {
    mbk_secret_begin();
    void *resized = mbk_heap_realloc(block, size, __FILE__, __LINE__);
    mbk_secret_end();
    return resized;
}

bool mbk_testing_nonces(mbk_algorithm algorithm, uint64_t *out, size_t count) {
    size_t limbs = mbk_algorithms[algorithm].bytes / 8;
    for (size_t i = 0; i < count; i++) {
        if (!mbk_random_scalar(algorithm, out + i * limbs)) {
            return false;
        }
    }
    return true;
}

bool mbk_testing_ec_sign(mbk_engine *engine, mbk_key *key, unsigned lane, const uint8_t *digest,
                         const uint64_t *nonce, uint8_t *r, uint8_t *s) {
    uint8_t *scratch = lane < MBK_LANES ? mbk_locked_alloc(MBK_LANES_SCRATCH) : NULL;
    if (scratch == NULL) {
        return false;
    }
    mbk_lane_inputs lanes = {.algorithm = key->algorithm};
    lanes.in[lane] = digest;
    lanes.out[lane] = r;
    lanes.out2[lane] = s;
    lanes.nonce[lane] = nonce;
    lanes.key[lane] = key;
    uint8_t done = engine->lanes.private_op(&lanes, scratch);
    mbk_locked_free(scratch, MBK_LANES_SCRATCH);
    return done == 1u << lane;
}
