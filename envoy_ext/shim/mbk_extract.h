/* From an SSL_CTX to the numbers of its private key, by a memory layout. */
#ifndef MBK_EXTRACT_H
#define MBK_EXTRACT_H

#include <stdbool.h>
#include <stdint.h>

#include "mbk_engine.h"
#include "mbk_layout.h"

/* Objects of BoringSSL on the way to a key; addresses, not to be written to unchecked. */
typedef struct mbk_objects {
    uintptr_t credential;
    uintptr_t private_key; /* EVP_PKEY */
    uintptr_t method;      /* SSL_PRIVATE_KEY_METHOD, 0 when a private key is configured */
} mbk_objects;

typedef enum mbk_found {
    MBK_FOUND_KEY,        /* the numbers agree: the layout is right */
    MBK_FOUND_OTHER_KEY,  /* pointers lead to a key, but not one that is handled or wanted */
    MBK_FOUND_NO_KEY,     /* the credential is there and has no private key */
    MBK_FOUND_NOTHING,    /* this layout does not fit */
} mbk_found;

/* SSL_CTX -> CERT -> credential, SSL -> SSL_CONFIG -> CERT -> credential. Reads cannot fault. */
bool mbk_objects_of_context(const mbk_layout *layout, uintptr_t ssl_ctx, mbk_objects *out);
bool mbk_objects_of_ssl(const mbk_layout *layout, uintptr_t ssl, mbk_objects *out);

/*
 * True when the credential's chain leads to a certificate that contains the key's public number.
 * The chain lies behind the method slot, so this shows that no member moved in between: a wrong
 * slot would be empty too, but writing to it would damage something else.
 */
bool mbk_certificate_has_key(const mbk_layout *layout, const mbk_objects *objects,
                             const mbk_key *key);

/*
 * Loads the private key behind `objects` into the engine. `*status` says why a key that
 * is there was not loaded. `allowed` has MBK_ALGORITHMS entries.
 */
mbk_found mbk_extract_key(const mbk_layout *layout, const mbk_objects *objects,
                          mbk_engine *engine, const bool *allowed, mbk_policy policy,
                          mbk_key **out, mbk_status *status);

#endif
