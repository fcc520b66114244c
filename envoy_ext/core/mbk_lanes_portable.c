#include <string.h>

#include "mbk_internal.h"

/* Not a worker's id. One OpenSSL form of a key serves all threads: it locks where it must. */
#define PORTABLE_WORKER 0

typedef bool (*lane_op)(mbk_lane_inputs *lanes, int lane, mbk_single *single);

static bool lane_private(mbk_lane_inputs *lanes, int lane, mbk_single *single) {
    if (mbk_is_rsa(lanes->algorithm)) {
        return mbk_single_rsa_private(single, lanes->in[lane], lanes->out[lane]);
    }
    return mbk_single_ec_sign(single, mbk_algorithms[lanes->algorithm].bytes, lanes->in[lane],
                              lanes->out[lane], lanes->out2[lane]);
}

static bool lane_public(mbk_lane_inputs *lanes, int lane, mbk_single *single) {
    return mbk_single_rsa_public(single, lanes->in[lane], lanes->out[lane]);
}

static bool lane_verify(mbk_lane_inputs *lanes, int lane, mbk_single *single) {
    return mbk_single_ec_verify(single, mbk_algorithms[lanes->algorithm].bytes, lanes->in[lane],
                                lanes->out[lane], lanes->out2[lane]);
}

static uint8_t each_lane(mbk_lane_inputs *lanes, lane_op op) {
    uint8_t mask = 0;
    for (int lane = 0; lane < MBK_LANES; lane++) {
        mbk_key *key = lanes->key[lane];
        mbk_single *single = key == NULL ? NULL : mbk_single_get(key, PORTABLE_WORKER);
        if (single != NULL && op(lanes, lane, single)) {
            mask |= (uint8_t)(1u << lane);
        }
    }
    return mask;
}

static uint8_t private_op(mbk_lane_inputs *lanes, uint8_t *scratch) {
    (void)scratch;
    return each_lane(lanes, lane_private);
}

static uint8_t rsa_public(mbk_lane_inputs *lanes, uint8_t *scratch) {
    (void)scratch;
    return each_lane(lanes, lane_public);
}

static uint8_t ec_verify(mbk_lane_inputs *lanes, uint8_t *scratch) {
    (void)scratch;
    return each_lane(lanes, lane_verify);
}

void mbk_lanes_portable(mbk_lanes *lanes) {
    memset(lanes, 0, sizeof(*lanes));
    lanes->version = "portable lanes (OpenSSL)";
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        lanes->supports[algorithm] = true;
    }
    lanes->private_op = private_op;
    lanes->rsa_public = rsa_public;
    lanes->ec_verify = ec_verify;
}
