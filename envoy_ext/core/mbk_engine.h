/*
 * The batching engine: TLS private-key operations, eight at a time.
 *
 * The engine knows nothing of Envoy or BoringSSL. Its callers hand it private
 * keys (as numbers) and operations; it returns either a result at once or an
 * operation to ask for later.
 *
 * Threads. One mbk_engine serves the process. Each thread that signs has its own
 * mbk_worker, which only that thread may touch; nothing on the path of an
 * operation takes a lock of ours. An mbk_key may be shared by all threads.
 *
 * Secrets. Private numbers, nonces and results live in memory that is locked,
 * left out of core dumps, and wiped on release. No function branches on them.
 */
#ifndef MBK_ENGINE_H
#define MBK_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbk_stats.h"

/* Operations that crypto_mb computes in one call. */
#define MBK_LANES 8

/* Largest RSA modulus handled, and so the largest result. */
#define MBK_MAX_BYTES 512

/* Why something was refused: (enumerator, text for people). */
#define MBK_STATUS_TABLE(X)                                                                        \
    X(MBK_OK, "ok")                                                                                \
    X(MBK_ERR_MEMORY, "out of memory")                                                             \
    X(MBK_ERR_LOCKED_MEMORY,                                                                       \
      "memory cannot be locked (raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK)")                      \
    X(MBK_ERR_LIBCRYPTO, "OpenSSL 3 (libcrypto.so.3) cannot be loaded")                            \
    X(MBK_ERR_LIBCRYPTO_SHARED,                                                                    \
      "libcrypto.so.3 is already in use in this process, its memory cannot be locked")             \
    X(MBK_ERR_LIBRARY, "libcrypto_mb cannot be loaded")                                            \
    X(MBK_ERR_LIBRARY_OTHER, "libcrypto_mb is already loaded from another path")                   \
    X(MBK_ERR_CPU, "crypto_mb cannot batch on this CPU (AVX-512 IFMA is missing)")                 \
    X(MBK_ERR_ALGORITHM_CPU, "crypto_mb cannot batch this algorithm on this CPU")                  \
    X(MBK_ERR_KEY_KIND, "key type, size or public exponent is not handled")                        \
    X(MBK_ERR_KEY_NUMBERS, "the numbers of the key do not agree with each other")                  \
    X(MBK_ERR_KEY_TEST, "a test operation with the key gave a wrong result")                       \
    X(MBK_ERR_SCHEME, "signature scheme does not fit the key")                                     \
    X(MBK_ERR_INPUT, "input or output length is wrong")                                            \
    X(MBK_ERR_RANDOM, "the operating system gave no random numbers")                               \
    X(MBK_ERR_OPERATION, "the private-key operation failed")

typedef enum mbk_status {
#define MBK_X(name, text) name,
    MBK_STATUS_TABLE(MBK_X)
#undef MBK_X
} mbk_status;

const char *mbk_status_text(mbk_status status);

typedef struct mbk_engine mbk_engine;
typedef struct mbk_key mbk_key;
typedef struct mbk_worker mbk_worker;
typedef struct mbk_op mbk_op;

typedef enum mbk_policy {
    MBK_POLICY_ADAPTIVE = 0, /* queue, then batch or single by the measured break-even */
    MBK_POLICY_OFF = 1,      /* one operation at a time with OpenSSL, at once */
} mbk_policy;

/* What computes full batches. */
typedef enum mbk_lanes_kind {
    MBK_LANES_CRYPTO_MB = 0, /* Intel crypto_mb, AVX-512 IFMA */
    MBK_LANES_PORTABLE = 1,  /* OpenSSL lane by lane: for tests on any CPU */
} mbk_lanes_kind;

typedef struct mbk_engine_options {
    /* Path of libcrypto_mb, or NULL to look beside the module and then on the loader's path. */
    const char *library;
    /* Folder of the module, for libraries shipped beside it; may be NULL. */
    const char *module_dir;
    mbk_lanes_kind lanes;
    /*
     * Accept a libcrypto whose allocator belongs to somebody else. OpenSSL's own
     * temporaries are then wiped but not locked. Only for a process that is not a
     * proxy: tests and benchmarks.
     */
    bool shared_libcrypto;
} mbk_engine_options;

/*
 * Creates the engine of the process, or returns the existing one when `options`
 * ask for the same library or the existing one could not use its own. Not for concurrent use: call it from the main thread.
 *
 * A CPU or crypto_mb that cannot batch is no error here, because the policy `off`
 * needs neither: see mbk_engine_lanes_status. The engine lives until the process ends.
 */
mbk_status mbk_engine_get(const mbk_engine_options *options, mbk_engine **out);

/* MBK_OK when batches can be computed, else why not. */
mbk_status mbk_engine_lanes_status(const mbk_engine *engine);

/* What is in use, for log lines: "crypto_mb 2.3.0", "OpenSSL 3.0.19". Never NULL. */
const char *mbk_engine_lanes_version(const mbk_engine *engine);
const char *mbk_engine_openssl_version(const mbk_engine *engine);
/* The loader's own words after a failure, "" when there are none. Static storage. */
const char *mbk_engine_load_error(void);

/* True when crypto_mb offers eight lanes for `algorithm` on this CPU. */
bool mbk_engine_can_batch(const mbk_engine *engine, mbk_algorithm algorithm);

/*
 * Lanes from which a partial batch beats single operations: 1..MBK_LANES, or
 * MBK_LANES + 1 where even a full batch is slower. 0 until a key of the algorithm is loaded.
 */
unsigned mbk_engine_break_even(const mbk_engine *engine, mbk_algorithm algorithm);

/* Overrides the measured value (tests: reproducible plans). */
void mbk_engine_set_break_even(mbk_engine *engine, mbk_algorithm algorithm, unsigned lanes);

/* Counters of all workers, living and gone. */
void mbk_engine_stats(const mbk_engine *engine, mbk_stats *out);

/* The process's part of the counters; read its members with relaxed loads. Static storage. */
const mbk_stats_header *mbk_engine_stats_header(void);

/* Counters of one worker (0..header.workers - 1). Any thread. */
void mbk_engine_worker_stats(unsigned worker, mbk_stats *counters, mbk_gauges *gauges);

/*
 * Keeps the counters in the file `path` (created, 0600) from now on. One file a process: the
 * same path again is no error, another one is. Main thread.
 */
mbk_status mbk_engine_publish_stats(mbk_engine *engine, const char *path);

/* Counts a certificate that was hooked, or left to the proxy. */
void mbk_engine_count_key(mbk_engine *engine, bool hooked);

/* An unsigned number, little-endian limbs; borrowed. */
typedef struct mbk_number {
    const uint64_t *limbs;
    size_t width; /* in limbs */
} mbk_number;

typedef struct mbk_rsa_numbers {
    mbk_number n, e, d, p, q, dmp1, dmq1, iqmp;
} mbk_rsa_numbers;

/*
 * Copies an RSA key (2048, 3072 or 4096 bits, e = 65537) after checking that its
 * numbers agree: n = p*q, e*dmp1 = 1 mod (p-1), e*dmq1 = 1 mod (q-1),
 * e*d = 1 mod both, q*iqmp = 1 mod p. With MBK_POLICY_ADAPTIVE it is tried once in every
 * way in which it will be used, and the break-even of its size is measured when it is not
 * yet known (milliseconds). One reference, to be given back with mbk_key_release.
 */
mbk_status mbk_key_new_rsa(mbk_engine *engine, const mbk_rsa_numbers *numbers, mbk_policy policy,
                           mbk_key **out);

/* Likewise for a P-256 or P-384 key (`algorithm`); the public point is computed from d. */
mbk_status mbk_key_new_ec(mbk_engine *engine, mbk_algorithm algorithm, mbk_number d,
                          mbk_policy policy, mbk_key **out);

/*
 * True when (x : y : z), Jacobian coordinates in Montgomery form as many limbs wide as
 * the curve, is the public point of the EC key and z is one.
 */
bool mbk_key_is_public_point(const mbk_key *key, const uint64_t *x, const uint64_t *y,
                             const uint64_t *z);

/*
 * True when the bytes (a certificate's DER) contain the key's public number: the modulus, or the
 * point's coordinates, big-endian.
 */
bool mbk_key_is_in(const mbk_key *key, const uint8_t *bytes, size_t length);

mbk_algorithm mbk_key_algorithm(const mbk_key *key);
void mbk_key_retain(mbk_key *key);
/* Any thread. The last release wipes the key. NULL is allowed. */
void mbk_key_release(mbk_key *key);

/* The calling thread's worker; it must be freed by the same thread. */
mbk_status mbk_worker_new(mbk_engine *engine, mbk_worker **out);
/* Drops every operation that was not collected. NULL is allowed. */
void mbk_worker_free(mbk_worker *worker);

/* Operations queued and not yet computed. */
size_t mbk_worker_queued(const mbk_worker *worker);
/* Operations that were returned as pending and neither collected nor dropped. */
size_t mbk_worker_pending(const mbk_worker *worker);

/*
 * Tells how many more operations the caller may soon submit: connections that have begun and not
 * signed yet. Where those cannot fill a batch that pays, an operation is done at once
 * instead of waiting for a turn of the event loop. Without this call, more are always expected.
 */
void mbk_worker_expect(mbk_worker *worker, size_t operations);

typedef enum mbk_progress {
    MBK_DONE = 0,
    MBK_PENDING = 1,
    MBK_FAILED = 2,
} mbk_progress;

/*
 * Signs `in` (the unhashed message) with a TLS SignatureScheme (RFC 8446, 4.2.3).
 *
 * MBK_DONE: the signature is in `out`. MBK_PENDING: it is queued, `*op` names it; `in`,
 * `out` and the caller's reference to `key` are no longer needed. MBK_FAILED: `*why`.
 * Whatever is written to `out` has been verified against the public key.
 *
 * With `op` NULL the operation is done at once, alone, and never MBK_PENDING.
 */
mbk_progress mbk_sign(mbk_worker *worker, mbk_key *key, uint16_t scheme, const uint8_t *in,
                      size_t in_length, uint8_t *out, size_t *out_length, size_t out_max,
                      mbk_op **op, mbk_status *why);

/*
 * The raw RSA private operation on a ciphertext as long as the modulus (TLS 1.2 RSA
 * key exchange). Padding is left in place for the caller. Otherwise as mbk_sign.
 */
mbk_progress mbk_decrypt(mbk_worker *worker, mbk_key *key, const uint8_t *in, size_t in_length,
                         uint8_t *out, size_t *out_length, size_t out_max, mbk_op **op,
                         mbk_status *why);

/*
 * Collects a pending operation; never MBK_PENDING. If it is still queued, everything
 * that is queued is computed first. `op` is gone afterwards.
 */
mbk_progress mbk_op_complete(mbk_worker *worker, mbk_op *op, uint8_t *out, size_t *out_length,
                             size_t out_max, mbk_status *why);

/* Gives up a pending operation (the connection ended). `op` is gone afterwards. */
void mbk_op_drop(mbk_worker *worker, mbk_op *op);

/* Computes everything that is queued. */
void mbk_worker_flush(mbk_worker *worker);

#endif
