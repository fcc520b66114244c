#include "mbk_key_check.h"

#include <string.h>

#include "mbk_locked.h"

const mbk_algorithm_info mbk_algorithms[MBK_ALGORITHMS] = {
    [MBK_RSA2048] = {"rsa2048", 2048, 256, 0},
    [MBK_RSA3072] = {"rsa3072", 3072, 384, 0},
    [MBK_RSA4096] = {"rsa4096", 4096, 512, 0},
    [MBK_P256] = {"p256", 256, 32, NID_X9_62_prime256v1},
    [MBK_P384] = {"p384", 384, 48, NID_secp384r1},
};

/* Copies without the leading zero limbs that BoringSSL may keep; false when it does not fit. */
static bool copy_number(uint64_t *out, size_t limbs, mbk_number number) {
    size_t width = number.width;
    while (width > limbs && number.limbs[width - 1] == 0) {
        width--;
    }
    if (width > limbs) {
        return false;
    }
    memset(out, 0, limbs * sizeof(*out));
    memcpy(out, number.limbs, width * sizeof(*out));
    return true;
}

static size_t bit_length(mbk_number number) {
    size_t width = number.width;
    while (width > 0 && number.limbs[width - 1] == 0) {
        width--;
    }
    return width == 0 ? 0 : width * 64 - (size_t)__builtin_clzll(number.limbs[width - 1]);
}

static mbk_key *key_alloc(mbk_engine *engine, mbk_algorithm algorithm, mbk_policy policy) {
    mbk_key *key = mbk_locked_alloc(sizeof(*key));
    if (key != NULL) {
        atomic_init(&key->references, 1);
        key->engine = engine;
        key->algorithm = algorithm;
        key->policy = policy;
    }
    return key;
}

/* The last steps for any key: its numbers, a trial, and what the policy needs. */
static mbk_status key_finish(mbk_key *key, bool numbers_ok, mbk_key **out) {
    mbk_status status = numbers_ok ? MBK_OK : MBK_ERR_KEY_NUMBERS;
    if (status == MBK_OK) {
        status = mbk_key_check(key);
    }
    if (status == MBK_OK) {
        status = mbk_key_try(key);
    }
    if (status != MBK_OK) {
        mbk_key_release(key);
        key = NULL;
    }
    *out = key;
    return status;
}

static mbk_status may_use(const mbk_engine *engine, mbk_algorithm algorithm, mbk_policy policy) {
    if (policy == MBK_POLICY_OFF) {
        return MBK_OK;
    }
    if (engine->lanes_status != MBK_OK) {
        return engine->lanes_status;
    }
    return engine->lanes.supports[algorithm] ? MBK_OK : MBK_ERR_ALGORITHM_CPU;
}

static bool rsa_algorithm(const mbk_rsa_numbers *numbers, mbk_algorithm *out) {
    size_t bits = bit_length(numbers->n);
    bool f4 = bit_length(numbers->e) == 17 && numbers->e.limbs[0] == RSA_F4;
    for (int algorithm = MBK_RSA2048; f4 && algorithm <= MBK_RSA4096; algorithm++) {
        /* crypto_mb takes primes of half the size only. */
        if (bits == mbk_algorithms[algorithm].bits && bit_length(numbers->p) == bits / 2 &&
            bit_length(numbers->q) == bits / 2) {
            *out = (mbk_algorithm)algorithm;
            return true;
        }
    }
    return false;
}

static bool copy_rsa(mbk_rsa_key *key, const mbk_rsa_numbers *numbers, size_t limbs) {
    size_t half = limbs / 2;
    return copy_number(key->n, limbs, numbers->n) && copy_number(key->d, limbs, numbers->d) &&
           copy_number(key->p, half, numbers->p) && copy_number(key->q, half, numbers->q) &&
           copy_number(key->dmp1, half, numbers->dmp1) &&
           copy_number(key->dmq1, half, numbers->dmq1) &&
           copy_number(key->iqmp, half, numbers->iqmp);
}

mbk_status mbk_key_new_rsa(mbk_engine *engine, const mbk_rsa_numbers *numbers, mbk_policy policy,
                           mbk_key **out) {
    mbk_algorithm algorithm;
    *out = NULL;
    if (!rsa_algorithm(numbers, &algorithm)) {
        return MBK_ERR_KEY_KIND;
    }
    mbk_status status = may_use(engine, algorithm, policy);
    if (status != MBK_OK) {
        return status;
    }
    mbk_key *key = key_alloc(engine, algorithm, policy);
    if (key == NULL) {
        return MBK_ERR_LOCKED_MEMORY;
    }
    bool copied = copy_rsa(&key->rsa, numbers, mbk_algorithms[algorithm].bits / 64);
    return key_finish(key, copied, out);
}

mbk_status mbk_key_new_ec(mbk_engine *engine, mbk_algorithm algorithm, mbk_number d,
                          mbk_policy policy, mbk_key **out) {
    *out = NULL;
    if (algorithm != MBK_P256 && algorithm != MBK_P384) {
        return MBK_ERR_KEY_KIND;
    }
    mbk_status status = may_use(engine, algorithm, policy);
    if (status != MBK_OK) {
        return status;
    }
    mbk_key *key = key_alloc(engine, algorithm, policy);
    if (key == NULL) {
        return MBK_ERR_LOCKED_MEMORY;
    }
    return key_finish(key, copy_number(key->ec.d, mbk_algorithms[algorithm].bytes / 8, d), out);
}

/* Big-endian bytes of little-endian limbs. */
static void to_bytes(uint8_t *out, const uint64_t *limbs, size_t bytes) {
    const uint8_t *little = (const uint8_t *)limbs;
    for (size_t i = 0; i < bytes; i++) {
        out[i] = little[bytes - 1 - i];
    }
}

bool mbk_key_is_in(const mbk_key *key, const uint8_t *bytes, size_t length) {
    uint8_t number[MBK_MAX_BYTES];
    size_t size = mbk_algorithms[key->algorithm].bytes;
    if (mbk_is_rsa(key->algorithm)) {
        to_bytes(number, key->rsa.n, size);
    } else {
        to_bytes(number, key->ec.x, size);
        to_bytes(number + size, key->ec.y, size);
        size *= 2; /* an uncompressed point: X, then Y */
    }
    return memmem(bytes, length, number, size) != NULL;
}

mbk_algorithm mbk_key_algorithm(const mbk_key *key) { return key->algorithm; }

void mbk_key_retain(mbk_key *key) {
    atomic_fetch_add_explicit(&key->references, 1, memory_order_relaxed);
}

void mbk_key_release(mbk_key *key) {
    if (key != NULL &&
        atomic_fetch_sub_explicit(&key->references, 1, memory_order_acq_rel) == 1) {
        mbk_single_free_all(key);
        mbk_locked_free(key, sizeof(*key));
    }
}
