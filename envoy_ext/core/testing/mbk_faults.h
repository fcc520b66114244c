/* Fault injection for tests of the engine. Not part of the module. */
#ifndef MBK_FAULTS_H
#define MBK_FAULTS_H

#include "../mbk_engine.h"

typedef enum mbk_fault {
    MBK_FAULT_NONE = 0,
    MBK_FAULT_LANE_ERROR,     /* the private operation reports an error for the lanes */
    MBK_FAULT_WRONG_RESULT,   /* one bit of the lanes' results is flipped */
    MBK_FAULT_CHECK_ERROR,    /* the verifying call reports an error for the lanes */
    MBK_FAULT_SINGLE_WRONG,   /* OpenSSL's private operations give wrong results; no mask */
} mbk_fault;

/* Applies to every batch from now on, in all threads, for the lanes set in `mask`. */
void mbk_fault_set(mbk_engine *engine, mbk_fault fault, uint8_t mask);

/* Bytes of a structure, to compare with what the binding assumes; 0 for an unknown name. */
size_t mbk_testing_sizeof(const char *name);

/* True when `block` lies in the locked heap; allocations that it refused so far. */
bool mbk_heap_owns(const void *block);
size_t mbk_heap_refusals(void);

/* One block from the locked heap, as OpenSSL would get it, and its release. */
void *mbk_testing_heap_take(size_t size);
void mbk_testing_heap_give(void *block);
void *mbk_testing_heap_resize(void *block, size_t size);

/* `count` nonces of the algorithm into `out` (limbs); false when one was out of range. */
bool mbk_testing_nonces(mbk_algorithm algorithm, uint64_t *out, size_t count);

/*
 * One ECDSA signature with a nonce of the caller's, in one lane (0..7) of the batching back end;
 * the other lanes are unused. `digest`, `r` and `s` are as long as the order. False on failure.
 * Portable lanes choose their own nonce.
 */
bool mbk_testing_ec_sign(mbk_engine *engine, mbk_key *key, unsigned lane, const uint8_t *digest,
                         const uint64_t *nonce, uint8_t *r, uint8_t *s);

#endif
