#include <stdlib.h>
#include <string.h>

#include "mbk_internal.h"
#include "mbk_locked.h"

static BIGNUM *number(const uint64_t *limbs, size_t width) {
    BIGNUM *value = mbk_ossl.BN_lebin2bn((const unsigned char *)limbs, (int)(width * 8), NULL);
    if (value != NULL) {
        mbk_ossl.BN_set_flags(value, BN_FLG_CONSTTIME);
    }
    return value;
}

/* RSA_set0_* take ownership only when they succeed. */
static bool set_rsa(RSA *rsa, const mbk_rsa_key *key, size_t limbs) {
    size_t half = limbs / 2;
    BIGNUM *n = number(key->n, limbs), *d = number(key->d, limbs), *e = mbk_ossl.BN_new();
    BIGNUM *p = number(key->p, half), *q = number(key->q, half);
    BIGNUM *dp = number(key->dmp1, half), *dq = number(key->dmq1, half);
    BIGNUM *qinv = number(key->iqmp, half);
    bool ok = e != NULL && mbk_ossl.BN_set_word(e, RSA_F4) == 1;
    ok = ok && n != NULL && d != NULL && mbk_ossl.RSA_set0_key(rsa, n, e, d) == 1;
    if (ok) {
        n = e = d = NULL;
    }
    ok = ok && mbk_ossl.RSA_set0_factors(rsa, p, q) == 1;
    if (ok) {
        p = q = NULL;
    }
    ok = ok && mbk_ossl.RSA_set0_crt_params(rsa, dp, dq, qinv) == 1;
    if (ok) {
        dp = dq = qinv = NULL;
    }
    BIGNUM *left[] = {n, e, d, p, q, dp, dq, qinv};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        mbk_ossl.BN_clear_free(left[i]);
    }
    return ok;
}

static RSA *make_rsa(const mbk_key *key) {
    RSA *rsa = mbk_ossl.RSA_new();
    if (rsa != NULL && !set_rsa(rsa, &key->rsa, mbk_algorithms[key->algorithm].bits / 64)) {
        mbk_ossl.RSA_free(rsa);
        rsa = NULL;
    }
    return rsa;
}

static bool set_ec(EC_KEY *ec, const mbk_ec_key *key, size_t limbs) {
    const EC_GROUP *group = mbk_ossl.EC_KEY_get0_group(ec);
    BIGNUM *d = number(key->d, limbs);
    EC_POINT *point = mbk_ossl.EC_POINT_new(group);
    bool ok = d != NULL && point != NULL &&
              mbk_ossl.EC_POINT_mul(group, point, d, NULL, NULL, NULL) == 1 &&
              mbk_ossl.EC_KEY_set_private_key(ec, d) == 1 &&
              mbk_ossl.EC_KEY_set_public_key(ec, point) == 1;
    mbk_ossl.EC_POINT_free(point);
    mbk_ossl.BN_clear_free(d);
    return ok;
}

static EC_KEY *make_ec(const mbk_key *key) {
    const mbk_algorithm_info *info = &mbk_algorithms[key->algorithm];
    EC_KEY *ec = mbk_ossl.EC_KEY_new_by_curve_name(info->curve);
    if (ec != NULL && !set_ec(ec, &key->ec, info->bytes / 8)) {
        mbk_ossl.EC_KEY_free(ec);
        ec = NULL;
    }
    return ec;
}

static mbk_single *make_single(mbk_key *key, uint64_t worker) {
    mbk_single *single = calloc(1, sizeof(*single));
    if (single == NULL) {
        return NULL;
    }
    single->worker = worker;
    mbk_secret_begin();
    if (mbk_is_rsa(key->algorithm)) {
        single->rsa = make_rsa(key);
    } else {
        single->ec = make_ec(key);
    }
    mbk_secret_end();
    if (single->rsa == NULL && single->ec == NULL) {
        mbk_ossl.ERR_clear_error();
        free(single);
        return NULL;
    }
    return single;
}

mbk_single *mbk_single_get(mbk_key *key, uint64_t worker) {
    mbk_single *head = atomic_load_explicit(&key->singles, memory_order_acquire);
    for (mbk_single *single = head; single != NULL; single = single->next) {
        if (single->worker == worker) {
            return single;
        }
    }
    mbk_single *made = make_single(key, worker);
    if (made != NULL) {
        do {
            made->next = head;
        } while (!atomic_compare_exchange_weak_explicit(
            &key->singles, &head, made, memory_order_release, memory_order_acquire));
    }
    return made;
}

void mbk_single_free_all(mbk_key *key) {
    mbk_single *single = atomic_exchange(&key->singles, NULL);
    while (single != NULL) {
        mbk_single *next = single->next;
        mbk_ossl.RSA_free(single->rsa);
        mbk_ossl.EC_KEY_free(single->ec);
        free(single);
        single = next;
    }
}

bool mbk_single_rsa_private(mbk_single *single, const uint8_t *in, uint8_t *out) {
    int bytes = mbk_ossl.RSA_size(single->rsa);
    mbk_secret_begin();
    int done = mbk_ossl.RSA_private_decrypt(bytes, in, out, single->rsa, RSA_NO_PADDING);
    mbk_secret_end();
    if (done != bytes) {
        mbk_ossl.ERR_clear_error();
    }
    return done == bytes;
}

bool mbk_single_rsa_public(mbk_single *single, const uint8_t *in, uint8_t *out) {
    int bytes = mbk_ossl.RSA_size(single->rsa);
    mbk_secret_begin(); /* caches n beside the private numbers */
    int done = mbk_ossl.RSA_public_decrypt(bytes, in, out, single->rsa, RSA_NO_PADDING);
    mbk_secret_end();
    if (done != bytes) {
        mbk_ossl.ERR_clear_error();
    }
    return done == bytes;
}

bool mbk_single_ec_sign(mbk_single *single, unsigned bytes, const uint8_t *digest, uint8_t *r,
                        uint8_t *s) {
    /*
     * OpenSSL's nonce: its generator, seeded by the operating system's, hedged with
     * the key and the digest, so that even a repeated random state repeats no nonce.
     */
    mbk_secret_begin();
    ECDSA_SIG *signature = mbk_ossl.ECDSA_do_sign(digest, (int)bytes, single->ec);
    bool ok = false;
    if (signature != NULL) {
        const BIGNUM *sig_r = NULL, *sig_s = NULL;
        mbk_ossl.ECDSA_SIG_get0(signature, &sig_r, &sig_s);
        ok = mbk_ossl.BN_bn2binpad(sig_r, r, (int)bytes) == (int)bytes &&
             mbk_ossl.BN_bn2binpad(sig_s, s, (int)bytes) == (int)bytes;
        mbk_ossl.ECDSA_SIG_free(signature);
    } else {
        mbk_ossl.ERR_clear_error();
    }
    mbk_secret_end();
    return ok;
}

bool mbk_single_ec_verify(mbk_single *single, unsigned bytes, const uint8_t *digest,
                          const uint8_t *r, const uint8_t *s) {
    bool valid = false;
    mbk_secret_begin(); /* its temporaries come from the heap that needs no malloc */
    ECDSA_SIG *signature = mbk_ossl.ECDSA_SIG_new();
    BIGNUM *sig_r = mbk_ossl.BN_bin2bn(r, (int)bytes, NULL);
    BIGNUM *sig_s = mbk_ossl.BN_bin2bn(s, (int)bytes, NULL);
    if (signature != NULL && mbk_ossl.ECDSA_SIG_set0(signature, sig_r, sig_s) == 1) {
        sig_r = sig_s = NULL; /* now the signature's */
        valid = mbk_ossl.ECDSA_do_verify(digest, (int)bytes, signature, single->ec) == 1;
    }
    mbk_ossl.BN_free(sig_r);
    mbk_ossl.BN_free(sig_s);
    mbk_ossl.ECDSA_SIG_free(signature);
    mbk_secret_end();
    if (!valid) {
        mbk_ossl.ERR_clear_error();
    }
    return valid;
}

static bool compute_rsa(mbk_op *op, mbk_single *single, size_t bytes) {
    uint8_t check[MBK_MAX_BYTES];
    return mbk_single_rsa_private(single, op->in, op->out) &&
           mbk_single_rsa_public(single, op->out, check) && memcmp(check, op->in, bytes) == 0;
}

static bool compute_ec(mbk_op *op, mbk_single *single, unsigned bytes) {
    return mbk_single_ec_sign(single, bytes, op->in, op->out, op->out + bytes) &&
           mbk_single_ec_verify(single, bytes, op->in, op->out, op->out + bytes);
}

void mbk_single_compute(mbk_op *op, mbk_single *single) {
    unsigned bytes = mbk_algorithms[op->key->algorithm].bytes;
    bool ok = mbk_is_rsa(op->key->algorithm) ? compute_rsa(op, single, bytes)
                                             : compute_ec(op, single, bytes);
    if (!ok) {
        mbk_wipe(op->out, sizeof(op->out));
    }
    op->state = ok ? MBK_OP_READY : MBK_OP_BAD;
}
