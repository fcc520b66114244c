#include "mbk_shim.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbk_abi.h"
#include "mbk_config.h"
#include "mbk_conn.h"
#include "mbk_extract.h"
#include "mbk_hook.h"
#include "mbk_log.h"
#include "mbk_seen.h"

typedef struct mbk_config {
    mbk_settings settings;
    mbk_engine *engine; /* NULL: stands aside */
    atomic_bool refuse; /* strict, and something could not be accelerated */
    atomic_bool hooked; /* at least one certificate */
} mbk_config;

/* The handshaker of a connection that the module has nothing to do with. */
static char g_aside;

void mbk_shim_program_init(void) {
    mbk_log_info("module %s for Envoy %s loaded, running Envoy's build-id %s", MBK_VERSION,
                 MBK_ENVOY_MINOR, mbk_build_id());
}

/* Says why nothing is accelerated; false, for Envoy to close connections, when strict. */
static bool stand_aside(const mbk_config *config, const char *reason, const char *detail) {
    bool strict = config->settings.strict;
    mbk_log_warn("%s%s%s; %s", reason, detail[0] == '\0' ? "" : ": ", detail,
                 strict ? "strict, so connections are refused" : "standing aside, Envoy signs");
    return !strict;
}

static const char *detail_of(const mbk_config *config, mbk_status status) {
    if (status == MBK_ERR_LIBRARY_OTHER) {
        return config->settings.library == NULL ? "'library' is not set here"
                                                : config->settings.library;
    }
    bool loader = status == MBK_ERR_LIBCRYPTO || status == MBK_ERR_LIBRARY;
    return loader ? mbk_engine_load_error() : "";
}

static bool start_engine(mbk_config *config, mbk_engine **engine) {
    mbk_engine_options options = {
        .library = config->settings.library,
        .module_dir = mbk_module_dir(),
    };
    mbk_status status = mbk_engine_get(&options, engine);
    if (status == MBK_OK && config->settings.policy == MBK_POLICY_ADAPTIVE) {
        status = mbk_engine_lanes_status(*engine);
    }
    if (status == MBK_OK) {
        status = mbk_hooks_prepare(*engine);
    }
    if (status != MBK_OK) {
        *engine = NULL;
        return stand_aside(config, mbk_status_text(status), detail_of(config, status));
    }
    mbk_seen_engine(*engine);
    mbk_log_info("ready: %s, %s, policy %s", mbk_engine_lanes_version(*engine),
                 mbk_engine_openssl_version(*engine),
                 config->settings.policy == MBK_POLICY_OFF ? "off" : "adaptive");
    return true;
}

static bool start(mbk_config *config, const char *text, size_t length) {
    char error[512];
    mbk_engine *engine = NULL;
    if (!mbk_settings_parse(text, length, &config->settings, error, sizeof(error))) {
        return stand_aside(config, error, "");
    }
    if (!start_engine(config, &engine)) {
        return false;
    }
    const char *stats_file = config->settings.stats_file;
    if (engine != NULL && stats_file != NULL &&
        mbk_engine_publish_stats(engine, stats_file) != MBK_OK) {
        return stand_aside(config, "stats_file cannot be created, or another one is in use", stats_file);
    }
    config->engine = engine;
    return true;
}

const void *mbk_shim_config_new(const char *name, size_t name_length, const char *text,
                                size_t length) {
    (void)name;
    (void)name_length;
    mbk_config *config = calloc(1, sizeof(*config));
    if (config == NULL) {
        return &g_aside;
    }
    if (!start(config, text, length)) {
        mbk_shim_config_destroy(config);
        return NULL;
    }
    return config;
}

static void log_summary(const mbk_engine *engine) {
    mbk_stats stats;
    uint64_t sums[MBK_OUTCOMES] = {0};
    mbk_engine_stats(engine, &stats);
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        for (int outcome = 0; outcome < MBK_OUTCOMES; outcome++) {
            sums[outcome] += stats.ops[algorithm][outcome];
        }
    }
    mbk_log_info("operations so far: batched %llu, single %llu, failed %llu, dropped %llu",
                 (unsigned long long)sums[MBK_BATCHED], (unsigned long long)sums[MBK_SINGLE],
                 (unsigned long long)sums[MBK_FAILURE], (unsigned long long)sums[MBK_DROPPED]);
}

void mbk_shim_config_destroy(const void *opaque) {
    mbk_config *config = (mbk_config *)(uintptr_t)opaque;
    if (opaque == &g_aside) {
        return;
    }
    mbk_hooks_release(config);
    if (config->engine != NULL && atomic_load(&config->hooked)) {
        log_summary(config->engine);
    }
    mbk_settings_clear(&config->settings);
    free(config);
}

static bool is_known_build(void) {
    for (size_t i = 0; i < mbk_known_build_ids_count; i++) {
        if (strcmp(mbk_known_build_ids[i], mbk_build_id()) == 0) {
            return true;
        }
    }
    return false;
}

/* A certificate that stays with Envoy. */
static bool leave(mbk_config *config, mbk_context context, const char *reason) {
    bool strict = config->settings.strict;
    mbk_seen_context(context, NULL);
    mbk_engine_count_key(config->engine, false);
    mbk_log_warn("certificate left to Envoy: %s%s", reason,
                 strict ? "; strict, so connections are refused" : "");
    if (strict) {
        atomic_store(&config->refuse, true);
    }
    return !strict;
}

static bool leave_unknown(mbk_config *config) {
    char reason[256];
    if (is_known_build()) {
        return leave(config, MBK_CONTEXT_KEY, mbk_status_text(MBK_ERR_KEY_KIND));
    }
    snprintf(reason, sizeof(reason),
             "no known memory layout fits this Envoy (build-id %s, tables for Envoy %s)",
             mbk_build_id(), MBK_ENVOY_MINOR);
    return leave(config, MBK_CONTEXT_LAYOUT, reason);
}

static bool hook_key(mbk_config *config, const mbk_layout *layout, uintptr_t ssl_ctx,
                     const mbk_objects *objects, mbk_key *key) {
    static const char *const names[MBK_ALGORITHMS] = {"RSA-2048", "RSA-3072", "RSA-4096",
                                                      "ECDSA P-256", "ECDSA P-384"};
    mbk_algorithm algorithm = mbk_key_algorithm(key);
    if (mbk_hook_add(layout, ssl_ctx, objects, config, config->engine, key) == NULL) {
        mbk_key_release(key);
        return leave(config, MBK_CONTEXT_FULL, "too many certificates are hooked");
    }
    mbk_engine_count_key(config->engine, true);
    mbk_seen_context(MBK_CONTEXT_HOOKED, layout->name);
    atomic_store(&config->hooked, true);
    mbk_log_info("TLS context hooked: %s key, layout %s, batches pay from %u lanes",
                 names[algorithm], layout->name,
                 mbk_engine_break_even(config->engine, algorithm));
    return true;
}

/* One layout: true when it decided about the context, `*accepted` then is the answer to Envoy. */
static bool try_layout(mbk_config *config, const mbk_layout *layout, uintptr_t ssl_ctx,
                       bool *accepted) {
    mbk_objects objects;
    mbk_key *key = NULL;
    mbk_status status;
    if (!mbk_objects_of_context(layout, ssl_ctx, &objects)) {
        return false;
    }
    switch (mbk_extract_key(layout, &objects, config->engine, config->settings.algorithms,
                            config->settings.policy, &key, &status)) {
    case MBK_FOUND_KEY:
        if (objects.method != 0) {
            mbk_key_release(key);
            *accepted = leave(config, MBK_CONTEXT_PROVIDER,
                              "another private-key provider is configured");
        } else if (!mbk_certificate_has_key(layout, &objects, key)) {
            mbk_key_release(key);
            return false; /* the layout fits in part only */
        } else {
            *accepted = hook_key(config, layout, ssl_ctx, &objects, key);
        }
        return true;
    case MBK_FOUND_OTHER_KEY:
        mbk_hooks_note_other(config, &objects);
        *accepted = leave(config, MBK_CONTEXT_KEY, mbk_status_text(status));
        return true;
    case MBK_FOUND_NO_KEY:
        return false;
    case MBK_FOUND_NOTHING:
    default:
        mbk_hooks_note_other(config, &objects);
        return false;
    }
}

bool mbk_shim_configure_ssl_context(const void *opaque, void *ssl_ctx) {
    mbk_config *config = (mbk_config *)(uintptr_t)opaque;
    bool accepted = true;
    if (opaque == &g_aside || config->engine == NULL) {
        mbk_seen_context(MBK_CONTEXT_ASIDE, NULL);
        return true;
    }
    mbk_hooks_sweep();
    for (size_t i = 0; i < mbk_layouts_count; i++) {
        if (try_layout(config, &mbk_layouts[i], (uintptr_t)ssl_ctx, &accepted)) {
            return accepted;
        }
    }
    return leave_unknown(config);
}

/* A connection that Envoy signs for. */
static const void *left_to_envoy(void) {
    mbk_seen_left();
    return &g_aside;
}

const void *mbk_shim_handshaker_new(const void *opaque, void *ssl) {
    mbk_config *config = (mbk_config *)(uintptr_t)opaque;
    if (opaque == &g_aside || config->engine == NULL) {
        return left_to_envoy();
    }
    if (atomic_load(&config->refuse)) {
        return NULL;
    }
    if (!atomic_load(&config->hooked)) {
        return left_to_envoy();
    }
    mbk_proof proof = mbk_hooks_proof();
    if (proof == MBK_PROOF_OPEN) {
        proof = mbk_hooks_prove(config, (uintptr_t)ssl);
    }
    if (proof == MBK_PROOF_FAILED) {
        return config->settings.strict ? NULL : left_to_envoy();
    }
    mbk_thread *thread = mbk_thread_get(config->engine);
    mbk_conn *conn = thread == NULL ? NULL : mbk_conn_add(thread, (uintptr_t)ssl);
    /* Without one, operations are done at once (see begin_call). */
    return conn == NULL ? (const void *)&g_aside : conn;
}

void mbk_shim_handshaker_destroy(const void *handshaker) {
    if (handshaker != &g_aside) {
        mbk_conn_remove((mbk_conn *)(uintptr_t)handshaker);
    }
}
