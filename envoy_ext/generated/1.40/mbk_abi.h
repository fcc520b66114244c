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

/* What Envoy gives to on_bootstrap_extension_shutdown to be called at the end of it. */
typedef void (*mbk_abi_completion)(void *context);

/*
 * The bootstrap extension's callbacks in a shape that never changes. All: main thread; false, or
 * nothing done, in a program that is not Envoy.
 */
typedef enum mbk_abi_metric { MBK_COUNTER, MBK_GAUGE, MBK_HISTOGRAM } mbk_abi_metric;

/* `labels` are the labels' names; only in on_bootstrap_extension_config_new. */
bool mbk_abi_metric_define(void *config_envoy, mbk_abi_metric kind, const char *name,
                           mbk_abi_buffer *labels, size_t label_count, size_t *id);
/* Adds to a counter, sets a gauge, records into a histogram; `labels` are the labels' values. */
bool mbk_abi_metric_write(void *config_envoy, mbk_abi_metric kind, size_t id,
                          mbk_abi_buffer *labels, size_t label_count, uint64_t value);
/* Tells Envoy that its start need not wait for the extension. */
void mbk_abi_init_complete(void *config_envoy);
void *mbk_abi_timer_new(void *config_envoy);
void mbk_abi_timer_enable(void *timer, uint64_t delay_ms);
void mbk_abi_timer_delete(void *timer);
/* `path` is a prefix. */
bool mbk_abi_admin_register(void *config_envoy, const char *path, const char *help);
/* Only inside on_bootstrap_extension_admin_request; `text` is copied. */
void mbk_abi_admin_respond(void *config_envoy, const char *text, size_t length);

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
MBK_ABI_EXPORT const void *envoy_dynamic_module_on_bootstrap_extension_config_new(
    void *config_envoy,
    mbk_abi_buffer name,
    mbk_abi_buffer config);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_config_destroy(
    const void *extension_config);
MBK_ABI_EXPORT const void *envoy_dynamic_module_on_bootstrap_extension_new(
    const void *extension_config,
    void *extension_envoy);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_shutdown(
    void *extension_envoy,
    const void *extension,
    mbk_abi_completion completion,
    void *completion_context);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_timer_fired(
    void *config_envoy,
    const void *extension_config,
    void *timer);
MBK_ABI_EXPORT uint32_t envoy_dynamic_module_on_bootstrap_extension_admin_request(
    void *config_envoy,
    const void *extension_config,
    mbk_abi_buffer method,
    mbk_abi_buffer path,
    mbk_abi_buffer body);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_destroy(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_server_initialized(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_worker_thread_initialized(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_drain_started(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_config_scheduled(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_http_callout_done(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_file_changed(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_cluster_add_or_update(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_cluster_removal(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_listener_add_or_update(void);
MBK_ABI_EXPORT void envoy_dynamic_module_on_bootstrap_extension_listener_removal(void);

/* Callbacks: Envoy's, weak because other programs may load the module. */
__attribute__((weak)) void envoy_dynamic_module_callback_log(uint32_t level, mbk_abi_buffer text);
__attribute__((weak)) bool envoy_dynamic_module_callback_log_enabled(uint32_t level);
__attribute__((weak)) void envoy_dynamic_module_callback_bootstrap_extension_config_signal_init_complete(
    void *config_envoy);
__attribute__((weak)) uint32_t envoy_dynamic_module_callback_bootstrap_extension_config_define_counter(
    void *config_envoy,
    mbk_abi_buffer stat_name,
    mbk_abi_buffer *labels,
    size_t label_count,
    size_t *id_out);
__attribute__((weak)) uint32_t envoy_dynamic_module_callback_bootstrap_extension_config_define_gauge(
    void *config_envoy,
    mbk_abi_buffer stat_name,
    mbk_abi_buffer *labels,
    size_t label_count,
    size_t *id_out);
__attribute__((weak)) uint32_t envoy_dynamic_module_callback_bootstrap_extension_config_define_histogram(
    void *config_envoy,
    mbk_abi_buffer stat_name,
    mbk_abi_buffer *labels,
    size_t label_count,
    size_t *id_out);
__attribute__((weak)) uint32_t envoy_dynamic_module_callback_bootstrap_extension_config_increment_counter(
    void *config_envoy,
    size_t id,
    mbk_abi_buffer *labels,
    size_t label_count,
    uint64_t value);
__attribute__((weak)) uint32_t envoy_dynamic_module_callback_bootstrap_extension_config_set_gauge(
    void *config_envoy,
    size_t id,
    mbk_abi_buffer *labels,
    size_t label_count,
    uint64_t value);
__attribute__((weak)) uint32_t envoy_dynamic_module_callback_bootstrap_extension_config_record_histogram_value(
    void *config_envoy,
    size_t id,
    mbk_abi_buffer *labels,
    size_t label_count,
    uint64_t value);
__attribute__((weak)) void *envoy_dynamic_module_callback_bootstrap_extension_timer_new(
    void *config_envoy);
__attribute__((weak)) void envoy_dynamic_module_callback_bootstrap_extension_timer_enable(
    void *timer,
    uint64_t delay_ms);
__attribute__((weak)) void envoy_dynamic_module_callback_bootstrap_extension_timer_delete(void *timer);
__attribute__((weak)) bool envoy_dynamic_module_callback_bootstrap_extension_register_admin_handler(
    void *config_envoy,
    mbk_abi_buffer path,
    mbk_abi_buffer help,
    bool removable,
    bool mutates_server_state);
__attribute__((weak)) void envoy_dynamic_module_callback_bootstrap_extension_admin_set_response(
    void *config_envoy,
    mbk_abi_buffer body);

#endif
