#include <errno.h>
#include <sys/random.h>

#include "mbk_internal.h"
#include "mbk_locked.h"

/* Group orders, little-endian limbs (SEC 2, sections 2.4.2 and 2.5.1). */
static const uint64_t g_order_p256[4] = {0xf3b9cac2fc632551, 0xbce6faada7179e84,
                                         0xffffffffffffffff, 0xffffffff00000000};
static const uint64_t g_order_p384[6] = {0xecec196accc52973, 0x581a0db248b0a77a,
                                         0xc7634d81f4372ddf, 0xffffffffffffffff,
                                         0xffffffffffffffff, 0xffffffffffffffff};

bool mbk_random(void *out, size_t size) {
    uint8_t *at = out;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        at += got;
        size -= (size_t)got;
    }
    return true;
}

/* 1 when 0 < value < order, in constant time. */
static uint64_t in_range(const uint64_t *value, const uint64_t *order, unsigned limbs) {
    uint64_t borrow = 0, any = 0;
    for (unsigned i = 0; i < limbs; i++) {
        unsigned __int128 difference = (unsigned __int128)value[i] - order[i] - borrow;
        borrow = (uint64_t)(difference >> 64) & 1;
        any |= value[i];
    }
    return borrow & ((any | (0 - any)) >> 63);
}

bool mbk_random_scalar(mbk_algorithm algorithm, uint64_t *out) {
    const uint64_t *order = algorithm == MBK_P256 ? g_order_p256 : g_order_p384;
    unsigned limbs = mbk_algorithms[algorithm].bytes / 8;
    /*
     * Both orders fill their top limb, so nearly every candidate fits (P-256: all but 2^-32).
     * The branch tells only that a candidate was thrown away. Eight in a row mean a broken
     * generator.
     */
    for (int attempt = 0; attempt < 8; attempt++) {
        if (!mbk_random(out, (size_t)limbs * 8)) {
            break;
        }
        if (in_range(out, order, limbs)) {
            return true;
        }
    }
    mbk_wipe(out, (size_t)limbs * 8);
    return false;
}
