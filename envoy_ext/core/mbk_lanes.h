/*
 * The back end that computes up to eight private-key operations in one call.
 *
 * A lane is one of eight slots. Pointers of unused lanes are NULL. Byte strings are
 * big-endian and as long as the modulus or the order; limbs are little-endian. Each
 * function returns a mask with bit i set when lane i gave a result.
 */
#ifndef MBK_LANES_H
#define MBK_LANES_H

#include "mbk_engine.h"

/* Bytes of working memory that any call needs at most (crypto_mb 2.3: RSA-4096, 109,256). */
#define MBK_LANES_SCRATCH 112640

typedef struct mbk_lane_inputs {
    mbk_algorithm algorithm;
    const uint8_t *in[MBK_LANES];     /* RSA: block; EC: digest */
    uint8_t *out[MBK_LANES];          /* RSA: result; EC: r */
    uint8_t *out2[MBK_LANES];         /* EC: s */
    const uint64_t *nonce[MBK_LANES]; /* EC */
    mbk_key *key[MBK_LANES];
} mbk_lane_inputs;

typedef struct mbk_lanes {
    const char *version;
    bool supports[MBK_ALGORITHMS];
    size_t scratch_bytes[MBK_ALGORITHMS]; /* used, and so to be wiped, by private_op */
    /* The private operation: in -> out (RSA), in and nonce -> out, out2 (EC). */
    uint8_t (*private_op)(mbk_lane_inputs *lanes, uint8_t *scratch);
    /* RSA: out = in^e mod n. */
    uint8_t (*rsa_public)(mbk_lane_inputs *lanes, uint8_t *scratch);
    /* EC: bit set where (out, out2) is a signature of `in`. */
    uint8_t (*ec_verify)(mbk_lane_inputs *lanes, uint8_t *scratch);
} mbk_lanes;

/* Loads libcrypto_mb. The status says why it cannot be used, *lanes is then empty. */
mbk_status mbk_lanes_crypto_mb(const char *library, const char *module_dir, mbk_lanes *lanes);

/* OpenSSL lane by lane; no gain, but every path of the engine runs on any CPU. */
void mbk_lanes_portable(mbk_lanes *lanes);

#endif
