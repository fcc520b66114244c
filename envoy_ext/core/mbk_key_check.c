#include "mbk_key_check.h"

#include <string.h>

#include "mbk_locked.h"

/* A BIGNUM that lives as long as the context's frame; NULL on failure, which the callers pass on. */
static BIGNUM *load(BN_CTX *context, const uint64_t *limbs, size_t width) {
    BIGNUM *value = mbk_ossl.BN_CTX_get(context);
    return value == NULL ? NULL
                         : mbk_ossl.BN_lebin2bn((const unsigned char *)limbs, (int)(width * 8),
                                                value);
}

/* a * b = 1 (mod modulus) */
static bool inverse(const BIGNUM *a, const BIGNUM *b, const BIGNUM *modulus, BN_CTX *context) {
    BIGNUM *product = mbk_ossl.BN_CTX_get(context);
    return product != NULL && mbk_ossl.BN_mod_mul(product, a, b, modulus, context) == 1 &&
           mbk_ossl.BN_is_one(product) == 1;
}

/* exponent = d (mod prime - 1), and it inverts e there. */
static bool exponent_fits(const BIGNUM *exponent, const BIGNUM *d, const BIGNUM *e,
                          const BIGNUM *prime, BN_CTX *context) {
    BIGNUM *less_one = mbk_ossl.BN_CTX_get(context);
    BIGNUM *reduced = mbk_ossl.BN_CTX_get(context);
    return reduced != NULL && mbk_ossl.BN_sub(less_one, prime, mbk_ossl.BN_value_one()) == 1 &&
           mbk_ossl.BN_div(NULL, reduced, d, less_one, context) == 1 &&
           mbk_ossl.BN_cmp(reduced, exponent) == 0 && inverse(exponent, e, less_one, context);
}

static bool rsa_agrees(const mbk_rsa_key *key, size_t limbs, BN_CTX *context) {
    size_t half = limbs / 2;
    BIGNUM *n = load(context, key->n, limbs), *d = load(context, key->d, limbs);
    BIGNUM *p = load(context, key->p, half), *q = load(context, key->q, half);
    BIGNUM *dmp1 = load(context, key->dmp1, half), *dmq1 = load(context, key->dmq1, half);
    BIGNUM *iqmp = load(context, key->iqmp, half);
    BIGNUM *e = mbk_ossl.BN_CTX_get(context), *product = mbk_ossl.BN_CTX_get(context);
    if (n == NULL || d == NULL || p == NULL || q == NULL || dmp1 == NULL || dmq1 == NULL ||
        iqmp == NULL || product == NULL || mbk_ossl.BN_set_word(e, RSA_F4) != 1) {
        return false;
    }
    return mbk_ossl.BN_is_bit_set(p, 0) == 1 && mbk_ossl.BN_is_bit_set(q, 0) == 1 &&
           mbk_ossl.BN_mul(product, p, q, context) == 1 && mbk_ossl.BN_cmp(product, n) == 0 &&
           exponent_fits(dmp1, d, e, p, context) && exponent_fits(dmq1, d, e, q, context) &&
           mbk_ossl.BN_cmp(iqmp, p) < 0 && inverse(q, iqmp, p, context);
}

static bool ec_public(mbk_ec_key *key, const mbk_algorithm_info *info, BN_CTX *context) {
    EC_GROUP *group = mbk_ossl.EC_GROUP_new_by_curve_name(info->curve);
    EC_POINT *point = group == NULL ? NULL : mbk_ossl.EC_POINT_new(group);
    BIGNUM *d = load(context, key->d, info->bytes / 8);
    BIGNUM *x = mbk_ossl.BN_CTX_get(context), *y = mbk_ossl.BN_CTX_get(context);
    bool ok = point != NULL && d != NULL && y != NULL && mbk_ossl.BN_is_zero(d) == 0 &&
              mbk_ossl.BN_cmp(d, mbk_ossl.EC_GROUP_get0_order(group)) < 0;
    if (ok) {
        mbk_ossl.BN_set_flags(d, BN_FLG_CONSTTIME);
        ok = mbk_ossl.EC_POINT_mul(group, point, d, NULL, NULL, context) == 1 &&
             mbk_ossl.EC_POINT_get_affine_coordinates(group, point, x, y, context) == 1 &&
             mbk_ossl.BN_bn2lebinpad(x, (unsigned char *)key->x, (int)info->bytes) > 0 &&
             mbk_ossl.BN_bn2lebinpad(y, (unsigned char *)key->y, (int)info->bytes) > 0;
    }
    mbk_ossl.EC_POINT_free(point);
    mbk_ossl.EC_GROUP_free(group);
    return ok;
}

mbk_status mbk_key_check(mbk_key *key) {
    const mbk_algorithm_info *info = &mbk_algorithms[key->algorithm];
    mbk_secret_begin();
    mbk_status status = MBK_ERR_MEMORY;
    BN_CTX *context = mbk_ossl.BN_CTX_new();
    if (context != NULL) {
        mbk_ossl.BN_CTX_start(context);
        bool ok = mbk_is_rsa(key->algorithm) ? rsa_agrees(&key->rsa, info->bits / 64, context)
                                             : ec_public(&key->ec, info, context);
        status = ok ? MBK_OK : MBK_ERR_KEY_NUMBERS;
        mbk_ossl.BN_CTX_end(context);
        mbk_ossl.BN_CTX_free(context);
    }
    mbk_ossl.ERR_clear_error();
    mbk_secret_end();
    return status;
}

/* out = value * 2^(64 * limbs) mod p, as limbs: Montgomery form. */
static bool to_montgomery(uint64_t *out, const BIGNUM *value, const BIGNUM *p, size_t limbs,
                          BN_CTX *context) {
    BIGNUM *shifted = mbk_ossl.BN_CTX_get(context);
    return shifted != NULL && mbk_ossl.BN_lshift(shifted, value, (int)(limbs * 64)) == 1 &&
           mbk_ossl.BN_div(NULL, shifted, shifted, p, context) == 1 &&
           mbk_ossl.BN_bn2lebinpad(shifted, (unsigned char *)out, (int)(limbs * 8)) > 0;
}

static bool same_in_montgomery(const uint64_t *expected, const BIGNUM *value, const BIGNUM *p,
                               size_t limbs, BN_CTX *context) {
    uint64_t converted[MBK_EC_LIMBS];
    return value != NULL && to_montgomery(converted, value, p, limbs, context) &&
           memcmp(converted, expected, limbs * 8) == 0;
}

bool mbk_key_is_public_point(const mbk_key *key, const uint64_t *x, const uint64_t *y,
                             const uint64_t *z) {
    const mbk_algorithm_info *info = &mbk_algorithms[key->algorithm];
    if (mbk_is_rsa(key->algorithm)) {
        return false;
    }
    size_t limbs = info->bytes / 8;
    EC_GROUP *group = mbk_ossl.EC_GROUP_new_by_curve_name(info->curve);
    BN_CTX *context = mbk_ossl.BN_CTX_new();
    bool same = false;
    if (group != NULL && context != NULL) {
        mbk_ossl.BN_CTX_start(context);
        BIGNUM *p = mbk_ossl.BN_CTX_get(context);
        same = p != NULL && mbk_ossl.EC_GROUP_get_curve(group, p, NULL, NULL, context) == 1 &&
               same_in_montgomery(x, load(context, key->ec.x, limbs), p, limbs, context) &&
               same_in_montgomery(y, load(context, key->ec.y, limbs), p, limbs, context) &&
               same_in_montgomery(z, mbk_ossl.BN_value_one(), p, limbs, context);
        mbk_ossl.BN_CTX_end(context);
    }
    mbk_ossl.BN_CTX_free(context);
    mbk_ossl.EC_GROUP_free(group);
    return same;
}
