#include <string.h>

#include "mbk_internal.h"
#include "mbk_locked.h"

typedef enum scheme_kind { PKCS1, PSS, ECDSA } scheme_kind;

typedef struct scheme_info {
    uint16_t scheme; /* TLS SignatureScheme; ff01 is BoringSSL's name for TLS 1.0's RSA signature */
    scheme_kind kind;
    unsigned digest;
} scheme_info;

/* All that BoringSSL may ask of an RSA, P-256 or P-384 key. */
static const scheme_info g_schemes[] = {
    {0x0401, PKCS1, MBK_SHA256}, {0x0501, PKCS1, MBK_SHA384},   {0x0601, PKCS1, MBK_SHA512},
    {0x0201, PKCS1, MBK_SHA1},   {0xff01, PKCS1, MBK_MD5_SHA1}, {0x0804, PSS, MBK_SHA256},
    {0x0805, PSS, MBK_SHA384},   {0x0806, PSS, MBK_SHA512},     {0x0403, ECDSA, MBK_SHA256},
    {0x0503, ECDSA, MBK_SHA384}, {0x0603, ECDSA, MBK_SHA512},   {0x0203, ECDSA, MBK_SHA1},
};

typedef struct digest_info {
    const char *name; /* OpenSSL's */
    uint8_t bytes;
    uint8_t prefix_bytes;
    uint8_t prefix[19]; /* DER of DigestInfo before the digest (RFC 8017, 9.2, note 1) */
} digest_info;

static const digest_info g_digests[MBK_DIGESTS] = {
    [MBK_MD5_SHA1] = {"MD5-SHA1", 36, 0, {0}},
    [MBK_SHA1] = {"SHA1", 20, 15, {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a,
                                   0x05, 0x00, 0x04, 0x14}},
    [MBK_SHA256] = {"SHA256", 32, 19, {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                       0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}},
    [MBK_SHA384] = {"SHA384", 48, 19, {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                       0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30}},
    [MBK_SHA512] = {"SHA512", 64, 19, {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                       0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40}},
};

static EVP_MD *g_fetched[MBK_DIGESTS];

mbk_status mbk_digests_load(void) {
    for (unsigned i = 0; i < MBK_DIGESTS; i++) {
        if (g_fetched[i] == NULL) {
            g_fetched[i] = mbk_ossl.EVP_MD_fetch(NULL, g_digests[i].name, NULL);
        }
    }
    /* The two oldest may be missing (FIPS providers); then only their schemes are refused. */
    bool complete = g_fetched[MBK_SHA256] != NULL && g_fetched[MBK_SHA384] != NULL &&
                    g_fetched[MBK_SHA512] != NULL;
    return complete ? MBK_OK : MBK_ERR_LIBCRYPTO;
}

EVP_MD *mbk_digest(unsigned digest) { return g_fetched[digest]; }

static const scheme_info *find_scheme(uint16_t scheme, bool rsa) {
    for (size_t i = 0; i < sizeof(g_schemes) / sizeof(g_schemes[0]); i++) {
        if (g_schemes[i].scheme == scheme) {
            return (g_schemes[i].kind == ECDSA) != rsa ? &g_schemes[i] : NULL;
        }
    }
    return NULL;
}

static mbk_status hash(EVP_MD_CTX **contexts, unsigned digest, const uint8_t *in, size_t in_length,
                       uint8_t *out) {
    if (g_fetched[digest] == NULL) {
        return MBK_ERR_SCHEME;
    }
    if (contexts[digest] == NULL) {
        contexts[digest] = mbk_ossl.EVP_MD_CTX_new();
    }
    EVP_MD_CTX *context = contexts[digest];
    if (context == NULL || mbk_ossl.EVP_DigestInit_ex(context, g_fetched[digest], NULL) != 1 ||
        mbk_ossl.EVP_DigestUpdate(context, in, in_length) != 1 ||
        mbk_ossl.EVP_DigestFinal_ex(context, out, NULL) != 1) {
        return MBK_ERR_MEMORY;
    }
    return MBK_OK;
}

/* EMSA-PKCS1-v1_5 (RFC 8017, 9.2): 00 01 ff..ff 00 DigestInfo digest. */
static void pad_pkcs1(uint8_t *block, size_t bytes, const digest_info *info,
                      const uint8_t *digest) {
    size_t tail = (size_t)info->prefix_bytes + info->bytes;
    memset(block, 0xff, bytes);
    block[0] = 0;
    block[1] = 1;
    block[bytes - tail - 1] = 0;
    memcpy(block + bytes - tail, info->prefix, info->prefix_bytes);
    memcpy(block + bytes - info->bytes, digest, info->bytes);
}

/* The salt is as long as the digest (RFC 8446, 4.2.3), which -1 stands for. */
static mbk_status pad_pss(uint8_t *block, mbk_single *single, EVP_MD *digest,
                          const uint8_t *hashed) {
    mbk_secret_begin(); /* keeps its small temporaries off malloc */
    int done = mbk_ossl.RSA_padding_add_PKCS1_PSS_mgf1(single->rsa, block, hashed, digest, digest,
                                                       -1);
    mbk_secret_end();
    if (done != 1) {
        mbk_ossl.ERR_clear_error();
        return MBK_ERR_RANDOM;
    }
    return MBK_OK;
}

/* Leftmost bits of the digest, as an integer of the order's size (FIPS 186-5, 6.4.1). */
static void fit_digest(uint8_t *out, size_t bytes, const uint8_t *digest, size_t digest_bytes) {
    size_t kept = digest_bytes < bytes ? digest_bytes : bytes;
    memset(out, 0, bytes - kept);
    memcpy(out + bytes - kept, digest, kept);
}

mbk_status mbk_prepare_signature(mbk_op *op, EVP_MD_CTX **contexts, mbk_single *single,
                                 uint16_t scheme, const uint8_t *in, size_t in_length) {
    mbk_algorithm algorithm = op->key->algorithm;
    size_t bytes = mbk_algorithms[algorithm].bytes;
    const scheme_info *info = find_scheme(scheme, mbk_is_rsa(algorithm));
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (info == NULL) {
        return MBK_ERR_SCHEME;
    }
    mbk_status status = hash(contexts, info->digest, in, in_length, digest);
    if (status != MBK_OK) {
        return status;
    }
    switch (info->kind) {
    case PKCS1:
        pad_pkcs1(op->in, bytes, &g_digests[info->digest], digest);
        return MBK_OK;
    case PSS:
        return pad_pss(op->in, single, g_fetched[info->digest], digest);
    case ECDSA:
    default:
        fit_digest(op->in, bytes, digest, g_digests[info->digest].bytes);
        return MBK_OK;
    }
}

bool mbk_below_modulus(const mbk_key *key, const uint8_t *number) {
    size_t bytes = mbk_algorithms[key->algorithm].bytes;
    const uint8_t *modulus = (const uint8_t *)key->rsa.n; /* little-endian */
    for (size_t i = 0; i < bytes; i++) {
        if (number[i] != modulus[bytes - 1 - i]) {
            return number[i] < modulus[bytes - 1 - i];
        }
    }
    return false;
}

/* DER INTEGER of a big-endian number; returns its length. `out` has room for bytes + 3. */
static size_t der_integer(uint8_t *out, const uint8_t *number, size_t bytes) {
    while (bytes > 1 && number[0] == 0) {
        number++;
        bytes--;
    }
    size_t sign = number[0] >> 7;
    out[0] = 0x02;
    out[1] = (uint8_t)(bytes + sign);
    out[2] = 0;
    memcpy(out + 2 + sign, number, bytes);
    return 2 + sign + bytes;
}

/* Ecdsa-Sig-Value (RFC 3279, 2.2.3); short-form lengths do: two P-384 integers are 102 bytes. */
static size_t der_signature(uint8_t *out, const uint8_t *rs, size_t bytes) {
    size_t length = der_integer(out + 2, rs, bytes);
    length += der_integer(out + 2 + length, rs + bytes, bytes);
    out[0] = 0x30;
    out[1] = (uint8_t)length;
    return 2 + length;
}

mbk_status mbk_write_result(const mbk_op *op, uint8_t *out, size_t *out_length, size_t out_max) {
    mbk_algorithm algorithm = op->key->algorithm;
    size_t bytes = mbk_algorithms[algorithm].bytes;
    uint8_t der[2 * (MBK_EC_BYTES + 3) + 2];
    const uint8_t *result = op->out;
    if (!mbk_is_rsa(algorithm)) {
        bytes = der_signature(der, op->out, bytes);
        result = der;
    }
    if (bytes > out_max) {
        return MBK_ERR_INPUT;
    }
    memcpy(out, result, bytes);
    *out_length = bytes;
    return MBK_OK;
}
