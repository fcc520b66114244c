/*
 * Envoy 1.40's dynamic-module ABI, as far as the module uses it.
 * generated from 1.40.yaml by python -m envoy_ext gen; do not edit
 */
#ifndef MBK_ABI_H
#define MBK_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MBK_ENVOY_MINOR "1.40"
#define MBK_ABI_VERSION "v0.2.0"

/* GNU build-ids, in hexadecimal, of the releases that these files were checked against. */
extern const char *const mbk_known_build_ids[];
extern const size_t mbk_known_build_ids_count;

#define MBK_LOG_TRACE 0
#define MBK_LOG_DEBUG 1
#define MBK_LOG_INFO 2
#define MBK_LOG_WARN 3
#define MBK_LOG_ERROR 4
#define MBK_LOG_CRITICAL 5
#define MBK_LOG_OFF 6

/* Writes to Envoy's log; to stderr in a program that is not Envoy. Any thread. */
void mbk_abi_log(int level, const char *text, size_t length);

/* Whether Envoy would show a line of this level. */
bool mbk_abi_log_enabled(int level);

typedef struct mbk_abi_buffer {
    const char *ptr;
    size_t length;
} mbk_abi_buffer;

typedef struct mbk_abi_capabilities {
    bool provides_certificates;
    bool verifies_peer_certificates;
    bool handles_session_resumption;
    bool provides_ciphers_and_curves;
    bool handles_alpn_selection;
    bool is_fips_compliant;
    bool provides_sigalgs;
} mbk_abi_capabilities;

#define MBK_ABI_EXPORT __attribute__((visibility("default")))

/* Hooks: called by Envoy. */
MBK_ABI_EXPORT const char *envoy_dynamic_module_on_program_init(void);
MBK_ABI_EXPORT const void *envoy_dynamic_module_on_tls_handshaker_config_new(
    void *config_envoy,
    mbk_abi_buffer name,
    mbk_abi_buffer config,
    mbk_abi_capabilities *capabilities);
MBK_ABI_EXPORT void envoy_dynamic_module_on_tls_handshaker_config_destroy(
    const void *module_config);
MBK_ABI_EXPORT bool envoy_dynamic_module_on_tls_handshaker_configure_ssl_context(
    const void *module_config,
    void *ssl_ctx);
MBK_ABI_EXPORT const void *envoy_dynamic_module_on_tls_handshaker_new(
    const void *module_config,
    void *ssl);
MBK_ABI_EXPORT void envoy_dynamic_module_on_tls_handshaker_destroy(const void *handshaker);

/* Callbacks: Envoy's, weak because other programs may load the module. */
__attribute__((weak)) void envoy_dynamic_module_callback_log(uint32_t level, mbk_abi_buffer text);
__attribute__((weak)) bool envoy_dynamic_module_callback_log_enabled(uint32_t level);

#endif
