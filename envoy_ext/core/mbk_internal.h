/* Structures shared by the engine's own files. Not for its callers. */
#ifndef MBK_INTERNAL_H
#define MBK_INTERNAL_H

#include <stdatomic.h>

#include "mbk_engine.h"
#include "mbk_lanes.h"
#include "mbk_libcrypto.h"

#define MBK_RSA_LIMBS (MBK_MAX_BYTES / 8)
#define MBK_PRIME_LIMBS (MBK_RSA_LIMBS / 2)
#define MBK_EC_LIMBS 6
#define MBK_EC_BYTES 48

typedef struct mbk_algorithm_info {
    const char *name; /* as in the configuration */
    unsigned bits;    /* of the modulus, or of the curve's order */
    unsigned bytes;
    int curve; /* OpenSSL's NID, 0 for RSA */
} mbk_algorithm_info;

extern const mbk_algorithm_info mbk_algorithms[MBK_ALGORITHMS];

static inline bool mbk_is_rsa(mbk_algorithm algorithm) { return algorithm <= MBK_RSA4096; }

struct mbk_engine {
    mbk_lanes lanes;
    mbk_status lanes_status;
    mbk_lanes_kind lanes_kind;
    char *library; /* as asked for; NULL for the default */
    atomic_uint break_even[MBK_ALGORITHMS];
};

/* OpenSSL's form of a key, one for each worker that needs it. In the locked heap. */
typedef struct mbk_single {
    struct mbk_single *next;
    uint64_t worker; /* id of the only worker that uses it */
    RSA *rsa;
    EC_KEY *ec;
} mbk_single;

typedef struct mbk_rsa_key {
    /* Little-endian limbs, zero-extended to the size of the modulus (n, d) or half of it. */
    uint64_t n[MBK_RSA_LIMBS];
    uint64_t d[MBK_RSA_LIMBS];
    uint64_t p[MBK_PRIME_LIMBS];
    uint64_t q[MBK_PRIME_LIMBS];
    uint64_t dmp1[MBK_PRIME_LIMBS];
    uint64_t dmq1[MBK_PRIME_LIMBS];
    uint64_t iqmp[MBK_PRIME_LIMBS];
} mbk_rsa_key;

typedef struct mbk_ec_key {
    uint64_t d[MBK_EC_LIMBS];
    uint64_t x[MBK_EC_LIMBS]; /* public point, affine */
    uint64_t y[MBK_EC_LIMBS];
} mbk_ec_key;

/* In locked pages. */
struct mbk_key {
    atomic_uint references;
    mbk_engine *engine;
    mbk_algorithm algorithm;
    mbk_policy policy;
    _Atomic(mbk_single *) singles;
    union {
        mbk_rsa_key rsa;
        mbk_ec_key ec;
    };
};

typedef enum mbk_op_state {
    MBK_OP_FREE = 0,
    MBK_OP_QUEUED,
    MBK_OP_READY, /* `out` holds a verified result */
    MBK_OP_BAD,   /* no verified result could be had */
} mbk_op_state;

/* In locked pages: `out` of a decrypt is a secret. */
struct mbk_op {
    mbk_op *next;
    mbk_op *previous;
    mbk_key *key;
    mbk_op_state state;
    uint64_t submitted_at;      /* mbk_now() */
    uint8_t in[MBK_MAX_BYTES];  /* RSA: the block to exponentiate; EC: the digest */
    uint8_t out[MBK_MAX_BYTES]; /* RSA: the result; EC: r, then s */
};

/* What one worker computes with; in locked pages. */
typedef struct mbk_scratch {
    _Alignas(64) uint8_t lanes[MBK_LANES_SCRATCH];
    uint8_t check[MBK_LANES][MBK_MAX_BYTES];
    uint64_t nonce[MBK_LANES][MBK_EC_LIMBS];
    mbk_op spare; /* for operations done at once */
} mbk_scratch;

enum { MBK_MD5_SHA1, MBK_SHA1, MBK_SHA256, MBK_SHA384, MBK_SHA512, MBK_DIGESTS };

/* Fetched once; OpenSSL's implicit fetch costs about a microsecond each time. */
mbk_status mbk_digests_load(void);
EVP_MD *mbk_digest(unsigned digest);

/* --- mbk_single.c: one operation with OpenSSL ------------------------------------------- */

/* The key's OpenSSL form for a worker, made when first asked for; NULL when out of memory. */
mbk_single *mbk_single_get(mbk_key *key, uint64_t worker);
/* Frees all of a key's OpenSSL forms. */
void mbk_single_free_all(mbk_key *key);
/* Computes and verifies; sets op->state. */
void mbk_single_compute(mbk_op *op, mbk_single *single);
/* The raw private operations, unverified. False on failure. */
bool mbk_single_rsa_private(mbk_single *single, const uint8_t *in, uint8_t *out);
bool mbk_single_ec_sign(mbk_single *single, unsigned bytes, const uint8_t *digest, uint8_t *r,
                        uint8_t *s);
bool mbk_single_rsa_public(mbk_single *single, const uint8_t *in, uint8_t *out);
bool mbk_single_ec_verify(mbk_single *single, unsigned bytes, const uint8_t *digest,
                          const uint8_t *r, const uint8_t *s);

/* --- mbk_batch.c: up to eight operations of one algorithm ------------------------------- */

/*
 * Computes ops[0..count-1] in one call of the lanes and verifies every result. Lanes that gave
 * a verified result become MBK_OP_READY, the others stay MBK_OP_QUEUED. Counts into `stats`.
 */
void mbk_batch_compute(mbk_engine *engine, mbk_scratch *scratch, mbk_op *const ops[],
                       unsigned count, mbk_stats *stats);

/* --- mbk_pad.c: what is signed ------------------------------------------------------------ */

/*
 * Hashes `in` by the TLS SignatureScheme and fills op->in: the padded block for RSA, the
 * digest for ECDSA. `contexts` has MBK_DIGESTS entries, made on demand.
 */
mbk_status mbk_prepare_signature(mbk_op *op, EVP_MD_CTX **contexts, mbk_single *single,
                                 uint16_t scheme, const uint8_t *in, size_t in_length);
/* True when a big-endian number as long as the key's modulus is smaller than it. */
bool mbk_below_modulus(const mbk_key *key, const uint8_t *number);
/* Writes the result of a finished signature or decryption. */
mbk_status mbk_write_result(const mbk_op *op, uint8_t *out, size_t *out_length, size_t out_max);

/* --- mbk_calibrate.c ------------------------------------------------------------------------ */

/* Tries the key in every way in which it will be used, and measures its break-even. */
mbk_status mbk_key_try(mbk_key *key);

/* --- mbk_random.c ----------------------------------------------------------------------------- */

/* Fills `out` from the operating system's generator. False when it fails. */
bool mbk_random(void *out, size_t size);
/* A number in 1..order-1, little-endian limbs, uniform. */
bool mbk_random_scalar(mbk_algorithm algorithm, uint64_t *out);

/* --- mbk_counters.c ------------------------------------------------------------------------ */

/* A block for one worker, zeroed or taken over from a worker that ended. NULL: out of memory. */
mbk_stats_block *mbk_stats_take(void);
void mbk_stats_give(mbk_stats_block *block);
void mbk_stats_break_even(mbk_algorithm algorithm, unsigned lanes);

/* Only the owner writes, so this needs no atomic read-modify-write. */
static inline void mbk_count(uint64_t *counter, uint64_t by) {
    __atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

#endif
