#include "mbk_extract.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mbk_internal.h"
#include "mbk_locked.h"
#include "mbk_peek.h"

#define MAX_WIDTH (MBK_RSA_LIMBS + 1) /* BoringSSL may keep leading zero limbs */

/* Larger certificates exist, but none whose key is found to lie beyond this. */
#define MAX_CERTIFICATE ((size_t)64 * 1024)

/* Copies of a key's numbers on their way into the engine; in locked pages. */
typedef struct numbers {
    uint64_t rsa[8][MAX_WIDTH];
    uint64_t scalar[MAX_WIDTH];
    uint64_t point[3][MBK_EC_LIMBS];
} numbers;

static bool credential_at(const mbk_layout *layout, uintptr_t cert, mbk_objects *out) {
    if (!mbk_peek_pointer(&out->credential, cert + layout->cert_cred) ||
        !mbk_peek(&out->private_key, out->credential + layout->cred_privkey,
                  sizeof(out->private_key)) ||
        !mbk_peek(&out->method, out->credential + layout->cred_method, sizeof(out->method))) {
        return false;
    }
    return true;
}

bool mbk_objects_of_context(const mbk_layout *layout, uintptr_t ssl_ctx, mbk_objects *out) {
    uintptr_t cert = 0;
    return mbk_peek_pointer(&cert, ssl_ctx + layout->ctx_cert) &&
           credential_at(layout, cert, out);
}

bool mbk_objects_of_ssl(const mbk_layout *layout, uintptr_t ssl, mbk_objects *out) {
    uintptr_t config = 0, cert = 0;
    return mbk_peek_pointer(&config, ssl + layout->ssl_config) &&
           mbk_peek_pointer(&cert, config + layout->config_cert) &&
           credential_at(layout, cert, out);
}

/* A BIGNUM's limbs, or false: unreadable, negative or absurd width. */
static bool read_bignum(const mbk_layout *layout, uintptr_t bignum, uint64_t *out,
                        mbk_number *number) {
    uintptr_t limbs = 0;
    int32_t width = 0, allocated = 0;
    if (!mbk_peek_pointer(&limbs, bignum + layout->bn_limbs) ||
        !mbk_peek(&width, bignum + layout->bn_width, sizeof(width)) ||
        !mbk_peek(&allocated, bignum + layout->bn_alloc, sizeof(allocated)) || width < 1 ||
        width > MAX_WIDTH || width > allocated ||
        !mbk_peek(out, limbs, (size_t)width * sizeof(*out))) {
        return false;
    }
    *number = (mbk_number){.limbs = out, .width = (size_t)width};
    return true;
}

static bool read_rsa(const mbk_layout *layout, uintptr_t rsa, numbers *copies,
                     mbk_rsa_numbers *out) {
    const struct {
        uint16_t offset;
        mbk_number *number;
    } fields[] = {
        {layout->rsa_n, &out->n},       {layout->rsa_e, &out->e},
        {layout->rsa_d, &out->d},       {layout->rsa_p, &out->p},
        {layout->rsa_q, &out->q},       {layout->rsa_dmp1, &out->dmp1},
        {layout->rsa_dmq1, &out->dmq1}, {layout->rsa_iqmp, &out->iqmp},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        uintptr_t bignum = 0;
        if (!mbk_peek_pointer(&bignum, rsa + fields[i].offset) ||
            !read_bignum(layout, bignum, copies->rsa[i], fields[i].number)) {
            return false;
        }
    }
    return true;
}

/* Whether some algorithm could still load the key is the engine's to say. */
static mbk_found classify(mbk_status status) {
    switch (status) {
    case MBK_OK:
        return MBK_FOUND_KEY;
    case MBK_ERR_KEY_NUMBERS:
        return MBK_FOUND_NOTHING;
    default:
        return MBK_FOUND_OTHER_KEY;
    }
}

/* A loaded key counts only if it is allowed; otherwise it is given back. */
static mbk_found admit(mbk_key **key, mbk_status *status, const bool *allowed) {
    if (*status == MBK_OK && !allowed[mbk_key_algorithm(*key)]) {
        mbk_key_release(*key);
        *key = NULL;
        *status = MBK_ERR_KEY_KIND;
    }
    return classify(*status);
}

static mbk_found extract_rsa(const mbk_layout *layout, uintptr_t rsa, numbers *copies,
                             mbk_engine *engine, const bool *allowed, mbk_policy policy,
                             mbk_key **out, mbk_status *status) {
    mbk_rsa_numbers key;
    if (!read_rsa(layout, rsa, copies, &key)) {
        return MBK_FOUND_NOTHING;
    }
    *status = mbk_key_new_rsa(engine, &key, policy, out);
    return admit(out, status, allowed);
}

static bool read_point(const mbk_layout *layout, uintptr_t point, size_t bytes, numbers *copies) {
    return mbk_peek(copies->point[0], point + layout->point_x, bytes) &&
           mbk_peek(copies->point[1], point + layout->point_y, bytes) &&
           mbk_peek(copies->point[2], point + layout->point_z, bytes);
}

/* The scalar's width tells the curve; d*G = public point proves it. */
static mbk_found extract_ec(const mbk_layout *layout, uintptr_t ec, numbers *copies,
                            mbk_engine *engine, const bool *allowed, mbk_policy policy,
                            mbk_key **out, mbk_status *status) {
    uintptr_t wrapped = 0, point = 0;
    mbk_number d;
    if (!mbk_peek_pointer(&wrapped, ec + layout->ec_scalar) ||
        !mbk_peek_pointer(&point, ec + layout->ec_point) ||
        !read_bignum(layout, wrapped + layout->scalar_bn, copies->scalar, &d) ||
        (d.width != 4 && d.width != 6)) {
        return MBK_FOUND_NOTHING;
    }
    mbk_algorithm algorithm = d.width == 4 ? MBK_P256 : MBK_P384;
    if (!read_point(layout, point, d.width * 8, copies)) {
        return MBK_FOUND_NOTHING;
    }
    *status = mbk_key_new_ec(engine, algorithm, d, policy, out);
    if (*status == MBK_OK && !mbk_key_is_public_point(*out, copies->point[0], copies->point[1],
                                                      copies->point[2])) {
        mbk_key_release(*out);
        *out = NULL;
        *status = MBK_ERR_KEY_NUMBERS;
    }
    return admit(out, status, allowed);
}

mbk_found mbk_extract_key(const mbk_layout *layout, const mbk_objects *objects,
                          mbk_engine *engine, const bool *allowed, mbk_policy policy,
                          mbk_key **out, mbk_status *status) {
    uintptr_t key = 0;
    *out = NULL;
    *status = MBK_ERR_KEY_NUMBERS;
    if (objects->private_key == 0) {
        return MBK_FOUND_NO_KEY;
    }
    if (!mbk_peek_pointer(&key, objects->private_key + layout->pkey_key)) {
        return MBK_FOUND_NOTHING;
    }
    numbers *copies = mbk_locked_alloc(sizeof(*copies));
    if (copies == NULL) {
        *status = MBK_ERR_LOCKED_MEMORY;
        return MBK_FOUND_OTHER_KEY;
    }
    mbk_found found =
        extract_rsa(layout, key, copies, engine, allowed, policy, out, status);
    if (found == MBK_FOUND_NOTHING) {
        found = extract_ec(layout, key, copies, engine, allowed, policy, out, status);
    }
    mbk_locked_free(copies, sizeof(*copies));
    return found;
}

bool mbk_certificate_has_key(const mbk_layout *layout, const mbk_objects *objects,
                             const mbk_key *key) {
    uintptr_t stack = 0, array = 0, buffer = 0, data = 0;
    size_t length = 0;
    if (!mbk_peek_pointer(&stack, objects->credential + layout->cred_chain) ||
        !mbk_peek_pointer(&array, stack + layout->stack_data) ||
        !mbk_peek_pointer(&buffer, array) ||
        !mbk_peek(&data, buffer + layout->buffer_data, sizeof(data)) ||
        !mbk_peek(&length, buffer + layout->buffer_length, sizeof(length)) || length == 0 ||
        length > MAX_CERTIFICATE) {
        return false;
    }
    uint8_t *der = malloc(length);
    bool found = der != NULL && mbk_peek(der, data, length) && mbk_key_is_in(key, der, length);
    free(der);
    return found;
}
