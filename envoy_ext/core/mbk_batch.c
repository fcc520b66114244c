#include <string.h>

#include "mbk_internal.h"
#include "mbk_locked.h"

static void fill_lanes(mbk_lane_inputs *lanes, mbk_op *const ops[], unsigned count) {
    memset(lanes, 0, sizeof(*lanes));
    lanes->algorithm = ops[0]->key->algorithm;
    for (unsigned i = 0; i < count; i++) {
        lanes->in[i] = ops[i]->in;
        lanes->out[i] = ops[i]->out;
        lanes->key[i] = ops[i]->key;
    }
}

static uint8_t rsa_batch(const mbk_lanes *backend, mbk_scratch *scratch, mbk_op *const ops[],
                         unsigned count, uint8_t *computed) {
    mbk_lane_inputs lanes;
    fill_lanes(&lanes, ops, count);
    *computed = backend->private_op(&lanes, scratch->lanes);
    for (unsigned i = 0; i < count; i++) {
        lanes.in[i] = ops[i]->out;
        lanes.out[i] = scratch->check[i];
    }
    uint8_t checked = backend->rsa_public(&lanes, scratch->lanes);
    size_t bytes = mbk_algorithms[lanes.algorithm].bytes;
    uint8_t verified = 0;
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(scratch->check[i], ops[i]->in, bytes) == 0) {
            verified |= (uint8_t)(1u << i);
        }
    }
    return verified & checked;
}

static uint8_t ec_batch(const mbk_lanes *backend, mbk_scratch *scratch, mbk_op *const ops[],
                        unsigned count, uint8_t *computed) {
    mbk_lane_inputs lanes;
    fill_lanes(&lanes, ops, count);
    size_t bytes = mbk_algorithms[lanes.algorithm].bytes;
    uint8_t random = 0;
    for (unsigned i = 0; i < count; i++) {
        lanes.out2[i] = ops[i]->out + bytes;
        lanes.nonce[i] = scratch->nonce[i];
        if (mbk_random_scalar(lanes.algorithm, scratch->nonce[i])) {
            random |= (uint8_t)(1u << i);
        } else {
            lanes.key[i] = NULL; /* unused lane: it gets no nonce and so reports an error */
            lanes.in[i] = NULL;
            lanes.out[i] = lanes.out2[i] = NULL;
            lanes.nonce[i] = NULL;
        }
    }
    *computed = backend->private_op(&lanes, scratch->lanes) & random;
    mbk_wipe(scratch->nonce, sizeof(scratch->nonce)); /* each is used once */
    return backend->ec_verify(&lanes, scratch->lanes) & random;
}

void mbk_batch_compute(mbk_engine *engine, mbk_scratch *scratch, mbk_op *const ops[],
                       unsigned count, mbk_stats *stats) {
    mbk_algorithm algorithm = ops[0]->key->algorithm;
    uint8_t computed = 0;
    uint8_t verified = mbk_is_rsa(algorithm)
                           ? rsa_batch(&engine->lanes, scratch, ops, count, &computed)
                           : ec_batch(&engine->lanes, scratch, ops, count, &computed);
    mbk_wipe(scratch->lanes, engine->lanes.scratch_bytes[algorithm]);
    mbk_count(&stats->fill[algorithm][count - 1], 1);
    for (unsigned i = 0; i < count; i++) {
        bool lane_computed = ((computed >> i) & 1) != 0;
        bool lane_verified = ((verified >> i) & 1) != 0;
        if (!lane_computed) {
            mbk_count(&stats->lane_errors, 1);
        } else if (!lane_verified) {
            mbk_count(&stats->verify_failures, 1);
        }
        if (lane_computed && lane_verified) {
            ops[i]->state = MBK_OP_READY;
            mbk_count(&stats->ops[algorithm][MBK_BATCHED], 1);
        } else {
            mbk_wipe(ops[i]->out, sizeof(ops[i]->out));
        }
    }
}
