/*
 * OpenSSL 3, loaded at run time: where it is missing the module stands aside
 * instead of failing to load (Envoy would then close every connection).
 */
#ifndef MBK_LIBCRYPTO_H
#define MBK_LIBCRYPTO_H

#define OPENSSL_SUPPRESS_DEPRECATED 1 /* the RSA_* and ECDSA_* calls spare us an EVP context per op */
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/rsa.h>

#include "mbk_engine.h"

#define MBK_LIBCRYPTO_FUNCTIONS(X)                                                                 \
    X(BN_CTX_end)                                                                                  \
    X(BN_CTX_free)                                                                                 \
    X(BN_CTX_get)                                                                                  \
    X(BN_CTX_new)                                                                                  \
    X(BN_CTX_start)                                                                                \
    X(BN_bin2bn)                                                                                   \
    X(BN_bn2binpad)                                                                                \
    X(BN_bn2lebinpad)                                                                              \
    X(BN_clear_free)                                                                               \
    X(BN_cmp)                                                                                      \
    X(BN_div)                                                                                      \
    X(BN_dup)                                                                                      \
    X(BN_free)                                                                                     \
    X(BN_is_bit_set)                                                                               \
    X(BN_is_one)                                                                                   \
    X(BN_is_zero)                                                                                  \
    X(BN_lebin2bn)                                                                                 \
    X(BN_lshift)                                                                                   \
    X(BN_mod_mul)                                                                                  \
    X(BN_mul)                                                                                      \
    X(BN_new)                                                                                      \
    X(BN_num_bits)                                                                                 \
    X(BN_set_flags)                                                                                \
    X(BN_set_word)                                                                                 \
    X(BN_sub)                                                                                      \
    X(BN_value_one)                                                                                \
    X(CRYPTO_set_mem_functions)                                                                    \
    X(ECDSA_SIG_free)                                                                              \
    X(ECDSA_SIG_get0)                                                                              \
    X(ECDSA_SIG_new)                                                                               \
    X(ECDSA_SIG_set0)                                                                              \
    X(ECDSA_do_sign)                                                                               \
    X(ECDSA_do_verify)                                                                             \
    X(EC_GROUP_free)                                                                               \
    X(EC_GROUP_get0_order)                                                                         \
    X(EC_GROUP_get_curve)                                                                          \
    X(EC_GROUP_new_by_curve_name)                                                                  \
    X(EC_KEY_free)                                                                                 \
    X(EC_KEY_get0_group)                                                                           \
    X(EC_KEY_new_by_curve_name)                                                                    \
    X(EC_KEY_set_private_key)                                                                      \
    X(EC_KEY_set_public_key)                                                                       \
    X(EC_POINT_free)                                                                               \
    X(EC_POINT_get_affine_coordinates)                                                             \
    X(EC_POINT_mul)                                                                                \
    X(EC_POINT_new)                                                                                \
    X(ERR_clear_error)                                                                             \
    X(EVP_DigestFinal_ex)                                                                          \
    X(EVP_DigestInit_ex)                                                                           \
    X(EVP_DigestUpdate)                                                                            \
    X(EVP_MD_CTX_free)                                                                             \
    X(EVP_MD_CTX_new)                                                                              \
    X(EVP_MD_fetch)                                                                                \
    X(EVP_MD_free)                                                                                 \
    X(OpenSSL_version)                                                                             \
    X(RSA_free)                                                                                    \
    X(RSA_new)                                                                                     \
    X(RSA_padding_add_PKCS1_PSS_mgf1)                                                              \
    X(RSA_private_decrypt)                                                                         \
    X(RSA_public_decrypt)                                                                          \
    X(RSA_set0_crt_params)                                                                         \
    X(RSA_set0_factors)                                                                            \
    X(RSA_set0_key)                                                                                \
    X(RSA_size)

typedef struct mbk_libcrypto {
#define MBK_X(function) __typeof__(&function) function;
    MBK_LIBCRYPTO_FUNCTIONS(MBK_X)
#undef MBK_X
} mbk_libcrypto;

/*
 * The functions, valid after mbk_libcrypto_load returned MBK_OK. OpenSSL's names are its own,
 * so that a call reads as its manual page does: mbk_ossl.BN_new().
 */
extern mbk_libcrypto mbk_ossl;

/*
 * Loads libcrypto.so.3 (from `module_dir` if it is there, else the loader's path) and
 * gives it our allocator. Main thread, once; later calls return the first result.
 */
mbk_status mbk_libcrypto_load(const char *module_dir, bool shared);

#endif
