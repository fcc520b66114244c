/*
 * Private-key operations per second of one thread: OpenSSL, raw crypto_mb, and the engine of the
 * module. In C because a call from Python costs a good part of a P-256 signature.
 *
 *     crypto_driver LIBRARY MODULE_DIR ALGORITHM SECONDS
 *
 * Prints "version TEXT" lines, then one line per measurement: subject, operations that were
 * given together, operations done, CPU seconds. Exit status 1: a message on stderr says why.
 *
 * What an operation is: openssl and engine hash, pad, sign and encode a message as TLS 1.3 does, and
 * the engine also verifies; crypto_mb is its private-key function alone.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#define BN_OPENSSL_DISABLE 1 /* the forms that take plain numbers, not BIGNUMs */
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/ec_nistp384.h>
#include <crypto_mb/rsa.h>

#include "mbk_engine.h"

#define MAX_LIMBS (MBK_MAX_BYTES / 8)
#define MESSAGE_BYTES 130 /* what TLS 1.3 signs with SHA-256 */

static const struct algorithm {
    const char *name;
    mbk_algorithm id;
    unsigned bits;
    const char *curve; /* NULL: RSA */
    uint16_t scheme;   /* RFC 8446, 4.2.3 */
} g_algorithms[] = {
    {"rsa2048", MBK_RSA2048, 2048, NULL, 0x0804}, {"rsa3072", MBK_RSA3072, 3072, NULL, 0x0804},
    {"rsa4096", MBK_RSA4096, 4096, NULL, 0x0804}, {"p256", MBK_P256, 256, "P-256", 0x0403},
    {"p384", MBK_P384, 384, "P-384", 0x0503},
};

static const struct algorithm *g_algorithm;
static EVP_PKEY *g_pkey;
static uint8_t g_message[MESSAGE_BYTES];

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* CPU time: other work on the same CPU does not count. */
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Little-endian limbs of a number of the key. */
static mbk_number number_of(const char *parameter, uint64_t limbs[MAX_LIMBS], unsigned bits) {
    BIGNUM *value = NULL;
    const size_t bytes = bits / 8;
    memset(limbs, 0, MBK_MAX_BYTES);
    if (!EVP_PKEY_get_bn_param(g_pkey, parameter, &value) ||
        BN_bn2lebinpad(value, (unsigned char *)limbs, (int)bytes) < 0) {
        fail("a number of the key cannot be read");
    }
    BN_clear_free(value);
    return (mbk_number){limbs, bytes / 8};
}

static uint64_t g_limbs[8][MAX_LIMBS];

static mbk_rsa_numbers rsa_numbers(void) {
    const unsigned bits = g_algorithm->bits;
    return (mbk_rsa_numbers){
        .n = number_of(OSSL_PKEY_PARAM_RSA_N, g_limbs[0], bits),
        .e = number_of(OSSL_PKEY_PARAM_RSA_E, g_limbs[1], 64),
        .d = number_of(OSSL_PKEY_PARAM_RSA_D, g_limbs[2], bits),
        .p = number_of(OSSL_PKEY_PARAM_RSA_FACTOR1, g_limbs[3], bits / 2),
        .q = number_of(OSSL_PKEY_PARAM_RSA_FACTOR2, g_limbs[4], bits / 2),
        .dmp1 = number_of(OSSL_PKEY_PARAM_RSA_EXPONENT1, g_limbs[5], bits / 2),
        .dmq1 = number_of(OSSL_PKEY_PARAM_RSA_EXPONENT2, g_limbs[6], bits / 2),
        .iqmp = number_of(OSSL_PKEY_PARAM_RSA_COEFFICIENT1, g_limbs[7], bits / 2),
    };
}

/* ------------------------------------------------------------------ OpenSSL */

static void openssl_sign(unsigned fill) {
    for (unsigned i = 0; i < fill; i++) {
        uint8_t signature[MBK_MAX_BYTES];
        size_t length = sizeof(signature);
        EVP_PKEY_CTX *details = NULL;
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        const EVP_MD *digest = g_algorithm->id == MBK_P384 ? EVP_sha384() : EVP_sha256();
        if (context == NULL || EVP_DigestSignInit(context, &details, digest, NULL, g_pkey) <= 0 ||
            (g_algorithm->curve == NULL &&
             (EVP_PKEY_CTX_set_rsa_padding(details, RSA_PKCS1_PSS_PADDING) <= 0 ||
              EVP_PKEY_CTX_set_rsa_pss_saltlen(details, RSA_PSS_SALTLEN_DIGEST) <= 0)) ||
            EVP_DigestSign(context, signature, &length, g_message, sizeof(g_message)) <= 0) {
            fail("OpenSSL cannot sign");
        }
        EVP_MD_CTX_free(context);
    }
}

/* ---------------------------------------------------------------- crypto_mb */

static struct {
    __typeof__(&mbx_rsa_private_crt_mb8) rsa;
    __typeof__(&mbx_nistp256_ecdsa_sign_mb8) ec;
    const mbx_RSA_Method *method;
    uint8_t in[MBK_LANES][MBK_MAX_BYTES], out[MBK_LANES][MBK_MAX_BYTES], out2[MBK_LANES][64];
    uint64_t nonce[MAX_LIMBS];
    uint8_t *scratch;
} g_mb;

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (found == NULL) {
        fail("%s", dlerror());
    }
    return found;
}

static void crypto_mb_open(const char *path) {
    static const char *const methods[] = {"mbx_RSA2K_private_crt_Method",
                                          "mbx_RSA3K_private_crt_Method",
                                          "mbx_RSA4K_private_crt_Method"};
    void *library = dlopen(path, RTLD_NOW); /* the engine has loaded what it needs */
    if (library == NULL) {
        fail("%s", dlerror());
    }
    memset(g_mb.in, 0x5a, sizeof(g_mb.in)); /* below any modulus, whose top bit is set */
    memset(g_mb.nonce, 0x33, g_algorithm->bits / 8);
    if (g_algorithm->curve != NULL) {
        *(void **)&g_mb.ec =
            symbol(library, g_algorithm->id == MBK_P256 ? "mbx_nistp256_ecdsa_sign_mb8"
                                                        : "mbx_nistp384_ecdsa_sign_mb8");
        return;
    }
    const mbx_RSA_Method *(*method)(void);
    int (*size)(const mbx_RSA_Method *);
    *(void **)&method = symbol(library, methods[g_algorithm->id - MBK_RSA2048]);
    *(void **)&size = symbol(library, "mbx_RSA_Method_BufSize");
    *(void **)&g_mb.rsa = symbol(library, "mbx_rsa_private_crt_mb8");
    g_mb.method = method();
    g_mb.scratch = aligned_alloc(64, ((size_t)size(g_mb.method) + 63) / 64 * 64);
    if (g_mb.scratch == NULL) {
        fail("out of memory");
    }
}

static void crypto_mb_sign(unsigned fill) {
    const int8u *in[MBK_LANES] = {0};
    int8u *out[MBK_LANES] = {0}, *out2[MBK_LANES] = {0};
    const int64u *a[MBK_LANES] = {0}, *b[MBK_LANES] = {0}, *c[MBK_LANES] = {0};
    const int64u *d[MBK_LANES] = {0}, *e[MBK_LANES] = {0};
    const bool rsa = g_algorithm->curve == NULL;
    for (unsigned lane = 0; lane < fill; lane++) {
        in[lane] = g_mb.in[lane];
        out[lane] = g_mb.out[lane];
        out2[lane] = g_mb.out2[lane];
        a[lane] = (const int64u *)(rsa ? g_limbs[3] : g_mb.nonce);
        b[lane] = (const int64u *)(rsa ? g_limbs[4] : g_limbs[2]);
        c[lane] = (const int64u *)g_limbs[5];
        d[lane] = (const int64u *)g_limbs[6];
        e[lane] = (const int64u *)g_limbs[7];
    }
    const mbx_status status = rsa ? g_mb.rsa(in, out, a, b, c, d, e, (int)g_algorithm->bits,
                                             g_mb.method, g_mb.scratch)
                                  : g_mb.ec(out, out2, in, a, b, NULL);
    for (unsigned lane = 0; lane < fill; lane++) {
        if (MBX_GET_STS(status, lane) != MBX_STATUS_OK) {
            fail("crypto_mb: lane %u has status %d", lane, (int)MBX_GET_STS(status, lane));
        }
    }
}

/* ------------------------------------------------------------------- engine */

static mbk_worker *g_worker;
static mbk_key *g_key;

static void engine_open(mbk_engine *engine, mbk_policy policy) {
    mbk_status status;
    if (g_algorithm->curve == NULL) {
        const mbk_rsa_numbers numbers = rsa_numbers();
        status = mbk_key_new_rsa(engine, &numbers, policy, &g_key);
    } else {
        const mbk_number d = number_of(OSSL_PKEY_PARAM_PRIV_KEY, g_limbs[2], g_algorithm->bits);
        status = mbk_key_new_ec(engine, g_algorithm->id, d, policy, &g_key);
    }
    if (status == MBK_OK) {
        status = mbk_worker_new(engine, &g_worker);
    }
    if (status != MBK_OK) {
        fail("the engine: %s", mbk_status_text(status));
    }
}

static void engine_sign(unsigned fill) {
    mbk_op *ops[MBK_LANES];
    bool pending[MBK_LANES];
    uint8_t signature[MBK_MAX_BYTES];
    size_t length;
    mbk_status why;
    for (unsigned i = 0; i < fill; i++) {
        const mbk_progress progress =
            mbk_sign(g_worker, g_key, g_algorithm->scheme, g_message, sizeof(g_message), signature,
                     &length, sizeof(signature), &ops[i], &why);
        if (progress == MBK_FAILED) {
            fail("the engine: %s", mbk_status_text(why));
        }
        pending[i] = progress == MBK_PENDING;
    }
    for (unsigned i = 0; i < fill; i++) {
        if (pending[i] && mbk_op_complete(g_worker, ops[i], signature, &length, sizeof(signature),
                                          &why) != MBK_DONE) {
            fail("the engine: %s", mbk_status_text(why));
        }
    }
}

/* --------------------------------------------------------------------- main */

static void measure(const char *subject, void (*sign)(unsigned), unsigned fill, double seconds) {
    unsigned long done = 0;
    sign(fill); /* caches and, in OpenSSL, blinding */
    const double start = now();
    double end = start;
    while (end - start < seconds) {
        sign(fill);
        done += fill;
        end = now();
    }
    printf("%s %u %lu %.9f\n", subject, fill, done, end - start);
    fflush(stdout);
}

static mbk_engine *engine_of(const char *library, const char *module_dir) {
    mbk_engine *engine;
    const mbk_engine_options options = {
        .library = library[0] == '\0' ? NULL : library,
        .module_dir = module_dir,
        .shared_libcrypto = true, /* this program uses OpenSSL, too */
    };
    const mbk_status status = mbk_engine_get(&options, &engine);
    if (status != MBK_OK) {
        fail("the engine: %s %s", mbk_status_text(status), mbk_engine_load_error());
    }
    printf("version %s\nversion %s\n", mbk_engine_lanes_version(engine),
           mbk_engine_openssl_version(engine));
    return engine;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fail("usage: crypto_driver LIBRARY MODULE_DIR ALGORITHM SECONDS");
    }
    for (size_t i = 0; i < sizeof(g_algorithms) / sizeof(g_algorithms[0]); i++) {
        if (strcmp(argv[3], g_algorithms[i].name) == 0) {
            g_algorithm = &g_algorithms[i];
        }
    }
    if (g_algorithm == NULL) {
        fail("no such algorithm: %s", argv[3]);
    }
    const double seconds = strtod(argv[4], NULL);
    g_pkey = g_algorithm->curve == NULL ? EVP_RSA_gen(g_algorithm->bits)
                                        : EVP_EC_gen(g_algorithm->curve);
    if (g_pkey == NULL) {
        fail("OpenSSL cannot make a key");
    }
    mbk_engine *engine = engine_of(argv[1], argv[2]);
    const bool batches = mbk_engine_lanes_status(engine) == MBK_OK &&
                         mbk_engine_can_batch(engine, g_algorithm->id);
    engine_open(engine, batches ? MBK_POLICY_ADAPTIVE : MBK_POLICY_OFF);
    if (batches) {
        crypto_mb_open(argv[1]);
    }
    measure("openssl", openssl_sign, 1, seconds);
    for (unsigned fill = 1; fill <= MBK_LANES; fill++) {
        if (batches) {
            measure("crypto_mb", crypto_mb_sign, fill, seconds);
        }
        measure("engine", engine_sign, fill, seconds);
    }
    printf("break_even %u\n", mbk_engine_break_even(engine, g_algorithm->id));
    mbk_worker_free(g_worker);
    mbk_key_release(g_key);
    EVP_PKEY_free(g_pkey);
    free(g_mb.scratch);
    return 0;
}
