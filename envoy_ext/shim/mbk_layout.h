/*
 * Where the numbers of a private key lie inside BoringSSL's structures.
 *
 * One mbk_layout per BoringSSL build, generated from envoy_ext/tables; how the
 * offsets were found is recorded there. All offsets are in bytes (x86-64).
 */
#ifndef MBK_LAYOUT_H
#define MBK_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

typedef struct mbk_layout {
    const char *name; /* of the BoringSSL build, for log lines */

    uint16_t ctx_cert;     /* SSL_CTX -> CERT* */
    uint16_t ssl_config;   /* SSL -> SSL_CONFIG* */
    uint16_t config_cert;  /* SSL_CONFIG -> CERT* */
    uint16_t cert_cred;    /* CERT -> SSLCredential* (the legacy credential) */
    uint16_t cred_pubkey;  /* SSLCredential -> EVP_PKEY* (public) */
    uint16_t cred_privkey; /* SSLCredential -> EVP_PKEY* (private) */
    uint16_t cred_method;  /* SSLCredential -> SSL_PRIVATE_KEY_METHOD* */

    uint16_t pkey_key; /* EVP_PKEY -> RSA* or EC_KEY* */

    uint16_t rsa_n; /* RSA -> BIGNUM*, likewise below */
    uint16_t rsa_e;
    uint16_t rsa_d;
    uint16_t rsa_p;
    uint16_t rsa_q;
    uint16_t rsa_dmp1;
    uint16_t rsa_dmq1;
    uint16_t rsa_iqmp;

    uint16_t bn_limbs; /* BIGNUM -> uint64_t*, little-endian limbs */
    uint16_t bn_width; /* BIGNUM -> int32_t, width in limbs */
    uint16_t bn_alloc; /* BIGNUM -> int32_t, allocated limbs */

    uint16_t ec_point;   /* EC_KEY -> EC_POINT* (public) */
    uint16_t ec_scalar;  /* EC_KEY -> EC_WRAPPED_SCALAR* (private) */
    uint16_t scalar_bn;  /* EC_WRAPPED_SCALAR -> BIGNUM (embedded) */
    uint16_t point_x;    /* EC_POINT -> Jacobian X, uint64_t limbs in Montgomery form */
    uint16_t point_y;    /* EC_POINT -> Jacobian Y, likewise */
    uint16_t point_z;    /* EC_POINT -> Jacobian Z, likewise */

    /* The certificate: an anchor behind the method slot, see mbk_extract.h. */
    uint16_t cred_chain;    /* SSLCredential -> STACK_OF(CRYPTO_BUFFER)*, leaf first */
    uint16_t stack_data;    /* STACK -> array of pointers */
    uint16_t buffer_data;   /* CRYPTO_BUFFER -> DER */
    uint16_t buffer_length; /* CRYPTO_BUFFER -> size_t, length of the DER in bytes */

    /* The connection's socket; the last two steps are Envoy's own, see mbk_wake.h. */
    uint16_t ssl_bio;  /* SSL -> BIO* */
    uint16_t bio_data; /* BIO -> IoHandle* */
    uint16_t io_fd;    /* IoHandle -> int, file descriptor */
} mbk_layout;

extern const mbk_layout mbk_layouts[];
extern const size_t mbk_layouts_count;

#endif
