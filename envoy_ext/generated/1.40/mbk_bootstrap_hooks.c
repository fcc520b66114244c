/*
 * The bootstrap-extension hooks that Envoy 1.40 calls, and its callbacks.
 * generated from 1.40.yaml by python -m envoy_ext gen; do not edit
 */
#include <string.h>

#include "mbk_abi.h"
#include "mbk_bootstrap.h"

static mbk_abi_buffer text_buffer(const char *text) {
    return (mbk_abi_buffer){.ptr = text, .length = strlen(text)};
}

bool mbk_abi_metric_define(void *config_envoy, mbk_abi_metric kind, const char *name,
                           mbk_abi_buffer *labels, size_t label_count, size_t *id_out) {
    mbk_abi_buffer stat_name = text_buffer(name);
    if (envoy_dynamic_module_callback_bootstrap_extension_config_define_counter == NULL) {
        return false;
    }
    switch (kind) {
    case MBK_COUNTER:
        return envoy_dynamic_module_callback_bootstrap_extension_config_define_counter(config_envoy, stat_name, labels, label_count, id_out) == 0;
    case MBK_GAUGE:
        return envoy_dynamic_module_callback_bootstrap_extension_config_define_gauge(config_envoy, stat_name, labels, label_count, id_out) == 0;
    case MBK_HISTOGRAM:
    default:
        return envoy_dynamic_module_callback_bootstrap_extension_config_define_histogram(config_envoy, stat_name, labels, label_count, id_out) == 0;
    }
}

bool mbk_abi_metric_write(void *config_envoy, mbk_abi_metric kind, size_t id,
                          mbk_abi_buffer *labels, size_t label_count, uint64_t value) {
    if (envoy_dynamic_module_callback_bootstrap_extension_config_increment_counter == NULL) {
        return false;
    }
    switch (kind) {
    case MBK_COUNTER:
        return envoy_dynamic_module_callback_bootstrap_extension_config_increment_counter(config_envoy, id, labels, label_count, value) == 0;
    case MBK_GAUGE:
        return envoy_dynamic_module_callback_bootstrap_extension_config_set_gauge(config_envoy, id, labels, label_count, value) == 0;
    case MBK_HISTOGRAM:
    default:
        return envoy_dynamic_module_callback_bootstrap_extension_config_record_histogram_value(config_envoy, id, labels, label_count, value) == 0;
    }
}

void mbk_abi_init_complete(void *config_envoy) {
    if (envoy_dynamic_module_callback_bootstrap_extension_config_signal_init_complete != NULL) {
        envoy_dynamic_module_callback_bootstrap_extension_config_signal_init_complete(config_envoy);
    }
}

void *mbk_abi_timer_new(void *config_envoy) {
    return envoy_dynamic_module_callback_bootstrap_extension_timer_new == NULL
               ? NULL
               : envoy_dynamic_module_callback_bootstrap_extension_timer_new(config_envoy);
}

void mbk_abi_timer_enable(void *timer, uint64_t delay_ms) {
    if (timer != NULL) {
        envoy_dynamic_module_callback_bootstrap_extension_timer_enable(timer, delay_ms);
    }
}

void mbk_abi_timer_delete(void *timer) {
    if (timer != NULL) {
        envoy_dynamic_module_callback_bootstrap_extension_timer_delete(timer);
    }
}

bool mbk_abi_admin_register(void *config_envoy, const char *path_text, const char *help_text) {
    mbk_abi_buffer path = text_buffer(path_text), help = text_buffer(help_text);
    bool removable = true, mutates_server_state = false;
    return envoy_dynamic_module_callback_bootstrap_extension_register_admin_handler != NULL &&
           envoy_dynamic_module_callback_bootstrap_extension_register_admin_handler(config_envoy, path, help, removable, mutates_server_state);
}

void mbk_abi_admin_respond(void *config_envoy, const char *text, size_t length) {
    mbk_abi_buffer body = {.ptr = text, .length = length};
    if (envoy_dynamic_module_callback_bootstrap_extension_admin_set_response != NULL) {
        envoy_dynamic_module_callback_bootstrap_extension_admin_set_response(config_envoy, body);
    }
}

const void *envoy_dynamic_module_on_bootstrap_extension_config_new(
    void *config_envoy,
    mbk_abi_buffer name,
    mbk_abi_buffer config) {
    return mbk_bootstrap_config_new(config_envoy, name.ptr, name.length, config.ptr,
                                    config.length);
}

void envoy_dynamic_module_on_bootstrap_extension_config_destroy(
    const void *extension_config) {
    mbk_bootstrap_config_destroy(extension_config);
}

const void *envoy_dynamic_module_on_bootstrap_extension_new(
    const void *extension_config,
    void *extension_envoy) {
    (void)extension_envoy;
    return extension_config; /* an extension has nothing of its own */
}

void envoy_dynamic_module_on_bootstrap_extension_shutdown(
    void *extension_envoy,
    const void *extension,
    mbk_abi_completion completion,
    void *completion_context) {
    (void)extension_envoy;
    mbk_bootstrap_publish(extension);
    completion(completion_context);
}

void envoy_dynamic_module_on_bootstrap_extension_timer_fired(
    void *config_envoy,
    const void *extension_config,
    void *timer) {
    (void)config_envoy;
    (void)timer;
    mbk_bootstrap_tick(extension_config);
}

uint32_t envoy_dynamic_module_on_bootstrap_extension_admin_request(
    void *config_envoy,
    const void *extension_config,
    mbk_abi_buffer method,
    mbk_abi_buffer path,
    mbk_abi_buffer body) {
    (void)method;
    (void)body;
    return mbk_bootstrap_admin(config_envoy, extension_config, path.ptr, path.length);
}

void envoy_dynamic_module_on_bootstrap_extension_destroy(void) {}

void envoy_dynamic_module_on_bootstrap_extension_server_initialized(void) {}

void envoy_dynamic_module_on_bootstrap_extension_worker_thread_initialized(void) {}

void envoy_dynamic_module_on_bootstrap_extension_drain_started(void) {}

void envoy_dynamic_module_on_bootstrap_extension_config_scheduled(void) {}

void envoy_dynamic_module_on_bootstrap_extension_http_callout_done(void) {}

void envoy_dynamic_module_on_bootstrap_extension_file_changed(void) {}

void envoy_dynamic_module_on_bootstrap_extension_cluster_add_or_update(void) {}

void envoy_dynamic_module_on_bootstrap_extension_cluster_removal(void) {}

void envoy_dynamic_module_on_bootstrap_extension_listener_add_or_update(void) {}

void envoy_dynamic_module_on_bootstrap_extension_listener_removal(void) {}
