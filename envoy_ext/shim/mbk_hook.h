/*
 * The private-key method that BoringSSL calls, and its installation.
 *
 * A hook is one method table in a credential, bound to one key. Hooks are never freed,
 * only reused after BoringSSL's objects that pointed to them are gone, so that a stale pointer
 * can at worst find no key.
 */
#ifndef MBK_HOOK_H
#define MBK_HOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mbk_engine.h"
#include "mbk_extract.h"

typedef struct mbk_hook mbk_hook;

/*
 * Prepares a hook for the credential of `ssl_ctx` and takes over the caller's reference to `key`.
 * It is installed at once if the path from SSL* to the credential has been proven in this process,
 * else by mbk_hooks_prove. `owner` groups hooks for mbk_hooks_release. NULL: no room.
 * Main thread.
 */
mbk_hook *mbk_hook_add(const mbk_layout *layout, uintptr_t ssl_ctx, const mbk_objects *objects,
                       const void *owner, mbk_engine *engine, mbk_key *key);

/* Remembers a private key of `owner` that was not hooked: it too proves the path. */
void mbk_hooks_note_other(const void *owner, const mbk_objects *objects);

/*
 * Signs for threads that could not get locked memory of their own: one at a time, slowly, but the
 * handshake goes on. Creates its worker when first called; main thread, before any hook.
 */
mbk_status mbk_hooks_prepare(mbk_engine *engine);

/* Releases the keys of hooks whose credential is gone. Main thread. */
void mbk_hooks_sweep(void);
/* Releases the keys of all hooks of `owner`. Any thread. */
void mbk_hooks_release(const void *owner);

typedef enum mbk_proof { MBK_PROOF_OPEN, MBK_PROOF_DONE, MBK_PROOF_FAILED } mbk_proof;

/* Whether the path from SSL* to the credential is proven; cheap, any thread. */
mbk_proof mbk_hooks_proof(void);

/*
 * Tries to prove that path on a new connection: the private key at its end must be one of
 * `owner`'s, hooked or not. On success installs every prepared hook, and one in this connection's own credential.
 */
mbk_proof mbk_hooks_prove(const void *owner, uintptr_t ssl);

#endif
