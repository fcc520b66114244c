/*
 * Entry points of the shim, called by the generated ABI hooks.
 *
 * The hooks' shapes differ between Envoy versions; they are generated from a
 * table (envoy_ext/tables) and call these functions, whose shapes never change.
 */
#ifndef MBK_SHIM_H
#define MBK_SHIM_H

#include <stdbool.h>
#include <stddef.h>

/* Once per load of the module, on the main thread, before anything else. */
void mbk_shim_program_init(void);

/*
 * Main thread. `name` and `config` are borrowed for the call and need not end
 * in NUL. Returns a configuration owned by the caller until
 * mbk_shim_config_destroy, or NULL to make Envoy close every connection of the
 * TLS context (only with `strict`).
 */
const void *mbk_shim_config_new(const char *name, size_t name_length, const char *config,
                                size_t config_length);

/* Any thread. */
void mbk_shim_config_destroy(const void *config);

/* Main thread, once per SSL_CTX, after its certificate and key are loaded. */
bool mbk_shim_configure_ssl_context(const void *config, void *ssl_ctx);

/* Worker thread. `ssl` stays valid until the matching destroy. NULL makes Envoy close the
 * connection. */
const void *mbk_shim_handshaker_new(const void *config, void *ssl);

/* Worker thread. */
void mbk_shim_handshaker_destroy(const void *handshaker);

#endif
