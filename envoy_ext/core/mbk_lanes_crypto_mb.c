#include <string.h>

#define BN_OPENSSL_DISABLE 1 /* the forms that take plain numbers, not BIGNUMs */
#include <crypto_mb/cpu_features.h>
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/ec_nistp384.h>
#include <crypto_mb/rsa.h>
#include <crypto_mb/version.h>

#include "mbk_internal.h"
#include "mbk_library.h"

#define FUNCTIONS(X)                                                                               \
    X(mbx_getversion)                                                                              \
    X(mbx_get_algo_info)                                                                           \
    X(mbx_RSA_Method_BufSize)                                                                      \
    X(mbx_RSA2K_private_crt_Method)                                                                \
    X(mbx_RSA3K_private_crt_Method)                                                                \
    X(mbx_RSA4K_private_crt_Method)                                                                \
    X(mbx_RSA2K_pub65537_Method)                                                                   \
    X(mbx_RSA3K_pub65537_Method)                                                                   \
    X(mbx_RSA4K_pub65537_Method)                                                                   \
    X(mbx_rsa_private_crt_mb8)                                                                     \
    X(mbx_rsa_public_mb8)                                                                          \
    X(mbx_nistp256_ecdsa_sign_mb8)                                                                 \
    X(mbx_nistp256_ecdsa_verify_mb8)                                                               \
    X(mbx_nistp384_ecdsa_sign_mb8)                                                                 \
    X(mbx_nistp384_ecdsa_verify_mb8)

static struct {
#define X(function) __typeof__(&function) function;
    FUNCTIONS(X)
#undef X
} mbx;

static struct {
    const mbx_RSA_Method *private_crt;
    const mbx_RSA_Method *public_65537;
} g_rsa[MBK_RSA4096 + 1];

/*
 * One lane's status has four bits. It is compared by equality: UNSUPPORTED_ISA is ten, which
 * contains the bits of two other codes.
 */
static uint8_t lanes_ok(mbx_status status) {
    uint8_t mask = 0;
    for (int lane = 0; lane < MBK_LANES; lane++) {
        if (MBX_GET_STS(status, lane) == MBX_STATUS_OK) {
            mask |= (uint8_t)(1u << lane);
        }
    }
    return mask;
}

static uint8_t rsa_private(mbk_lane_inputs *lanes, uint8_t *scratch) {
    const int64u *p[MBK_LANES] = {0}, *q[MBK_LANES] = {0}, *dp[MBK_LANES] = {0};
    const int64u *dq[MBK_LANES] = {0}, *iq[MBK_LANES] = {0};
    for (int lane = 0; lane < MBK_LANES; lane++) {
        if (lanes->key[lane] != NULL) {
            const mbk_rsa_key *rsa = &lanes->key[lane]->rsa;
            p[lane] = (const int64u *)rsa->p;
            q[lane] = (const int64u *)rsa->q;
            dp[lane] = (const int64u *)rsa->dmp1;
            dq[lane] = (const int64u *)rsa->dmq1;
            iq[lane] = (const int64u *)rsa->iqmp;
        }
    }
    return lanes_ok(mbx.mbx_rsa_private_crt_mb8(
        lanes->in, lanes->out, p, q, dp, dq, iq, (int)mbk_algorithms[lanes->algorithm].bits,
        g_rsa[lanes->algorithm].private_crt, scratch));
}

static uint8_t rsa_public(mbk_lane_inputs *lanes, uint8_t *scratch) {
    const int64u *n[MBK_LANES] = {0};
    for (int lane = 0; lane < MBK_LANES; lane++) {
        if (lanes->key[lane] != NULL) {
            n[lane] = (const int64u *)lanes->key[lane]->rsa.n;
        }
    }
    return lanes_ok(mbx.mbx_rsa_public_mb8(lanes->in, lanes->out, n,
                                           (int)mbk_algorithms[lanes->algorithm].bits,
                                           g_rsa[lanes->algorithm].public_65537, scratch));
}

static uint8_t ec_sign(mbk_lane_inputs *lanes, uint8_t *scratch) {
    const int64u *nonce[MBK_LANES] = {0}, *d[MBK_LANES] = {0};
    for (int lane = 0; lane < MBK_LANES; lane++) {
        if (lanes->key[lane] != NULL) {
            nonce[lane] = (const int64u *)lanes->nonce[lane];
            d[lane] = (const int64u *)lanes->key[lane]->ec.d;
        }
    }
    __typeof__(mbx.mbx_nistp256_ecdsa_sign_mb8) sign = lanes->algorithm == MBK_P256
                                                           ? mbx.mbx_nistp256_ecdsa_sign_mb8
                                                           : mbx.mbx_nistp384_ecdsa_sign_mb8;
    return lanes_ok(sign(lanes->out, lanes->out2, lanes->in, nonce, d, scratch));
}

static uint8_t private_op(mbk_lane_inputs *lanes, uint8_t *scratch) {
    return mbk_is_rsa(lanes->algorithm) ? rsa_private(lanes, scratch) : ec_sign(lanes, scratch);
}

static uint8_t ec_verify(mbk_lane_inputs *lanes, uint8_t *scratch) {
    const int64u *x[MBK_LANES] = {0}, *y[MBK_LANES] = {0};
    for (int lane = 0; lane < MBK_LANES; lane++) {
        if (lanes->key[lane] != NULL) {
            x[lane] = (const int64u *)lanes->key[lane]->ec.x;
            y[lane] = (const int64u *)lanes->key[lane]->ec.y;
        }
    }
    __typeof__(mbx.mbx_nistp256_ecdsa_verify_mb8) verify = lanes->algorithm == MBK_P256
                                                               ? mbx.mbx_nistp256_ecdsa_verify_mb8
                                                               : mbx.mbx_nistp384_ecdsa_verify_mb8;
    /* No z array: the points are affine. */
    return lanes_ok(verify((const int8u *const *)lanes->out, (const int8u *const *)lanes->out2,
                           lanes->in, x, y, NULL, scratch));
}

/*
 * libcrypto_mb names Intel compiler libraries (svml, irng, imf, intlc) of which it uses no
 * symbol; empty ones beside the module satisfy the loader where the real ones are missing.
 */
static void preload_stand_ins(const char *module_dir) {
    static const char *const names[] = {"libsvml.so", "libirng.so", "libimf.so", "libintlc.so.5"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        mbk_library_open(module_dir, names[i]);
    }
}

static void *open_library(const char *library, const char *module_dir) {
    void *handle = NULL;
    preload_stand_ins(module_dir);
    if (library != NULL) {
        handle = mbk_library_open_path(library);
    } else {
        handle = mbk_library_open(module_dir, "libcrypto_mb.so.13");
    }
    return handle;
}

static bool resolve_all(void *handle) {
    bool complete = true;
#define X(function)                                                                                \
    *(void **)(&mbx.function) = mbk_library_symbol(handle, #function);                             \
    complete = complete && mbx.function != NULL;
    FUNCTIONS(X)
#undef X
    return complete;
}

/* Bytes that a method needs, or more than there are. */
static size_t scratch_bytes(const mbx_RSA_Method *method) {
    int size = method == NULL ? -1 : mbx.mbx_RSA_Method_BufSize(method);
    return size < 0 ? SIZE_MAX : (size_t)size;
}

static void find_methods(void) {
    g_rsa[MBK_RSA2048].private_crt = mbx.mbx_RSA2K_private_crt_Method();
    g_rsa[MBK_RSA3072].private_crt = mbx.mbx_RSA3K_private_crt_Method();
    g_rsa[MBK_RSA4096].private_crt = mbx.mbx_RSA4K_private_crt_Method();
    g_rsa[MBK_RSA2048].public_65537 = mbx.mbx_RSA2K_pub65537_Method();
    g_rsa[MBK_RSA3072].public_65537 = mbx.mbx_RSA3K_pub65537_Method();
    g_rsa[MBK_RSA4096].public_65537 = mbx.mbx_RSA4K_pub65537_Method();
}

/* The library may be usable for one algorithm and not for another (AVX-IFMA without AVX-512). */
static bool find_algorithms(mbk_lanes *lanes) {
    static const enum MBX_ALGO names[MBK_ALGORITHMS] = {
        [MBK_RSA2048] = MBX_ALGO_RSA_2K,       [MBK_RSA3072] = MBX_ALGO_RSA_3K,
        [MBK_RSA4096] = MBX_ALGO_RSA_4K,       [MBK_P256] = MBX_ALGO_ECDSA_NIST_P256,
        [MBK_P384] = MBX_ALGO_ECDSA_NIST_P384,
    };
    bool any = false;
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        bool offered = (mbx.mbx_get_algo_info(names[algorithm]) & MBX_WIDTH_MB8) != 0;
        if (offered && algorithm <= MBK_RSA4096) {
            lanes->scratch_bytes[algorithm] = scratch_bytes(g_rsa[algorithm].private_crt);
            offered = lanes->scratch_bytes[algorithm] <= MBK_LANES_SCRATCH &&
                      scratch_bytes(g_rsa[algorithm].public_65537) <= MBK_LANES_SCRATCH;
        }
        lanes->supports[algorithm] = offered;
        any = any || offered;
    }
    return any;
}

mbk_status mbk_lanes_crypto_mb(const char *library, const char *module_dir, mbk_lanes *lanes) {
    memset(lanes, 0, sizeof(*lanes));
    lanes->version = "crypto_mb not loaded";
    void *handle = open_library(library, module_dir);
    if (handle == NULL || !resolve_all(handle)) {
        return MBK_ERR_LIBRARY;
    }
    lanes->version = mbx.mbx_getversion()->strVersion;
    find_methods();
    if (!find_algorithms(lanes)) {
        return MBK_ERR_CPU;
    }
    lanes->private_op = private_op;
    lanes->rsa_public = rsa_public;
    lanes->ec_verify = ec_verify;
    return MBK_OK;
}
