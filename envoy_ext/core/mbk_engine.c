#include "mbk_engine.h"

#include <stdlib.h>
#include <string.h>

#include "mbk_internal.h"

static mbk_engine *g_engine;

const char *mbk_status_text(mbk_status status) {
    static const char *const texts[] = {
#define MBK_X(name, text) text,
        MBK_STATUS_TABLE(MBK_X)
#undef MBK_X
    };
    size_t count = sizeof(texts) / sizeof(texts[0]);
    return (size_t)status < count ? texts[status] : "unknown status";
}

static bool same_text(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static mbk_status open_lanes(mbk_engine *engine, const mbk_engine_options *options) {
    char *library = NULL;
    if (options->library != NULL) {
        library = strdup(options->library);
        if (library == NULL) {
            return MBK_ERR_MEMORY;
        }
    }
    free(engine->library);
    engine->library = library;
    engine->lanes_kind = options->lanes;
    if (options->lanes == MBK_LANES_PORTABLE) {
        mbk_lanes_portable(&engine->lanes);
    } else {
        engine->lanes_status =
            mbk_lanes_crypto_mb(options->library, options->module_dir, &engine->lanes);
    }
    return MBK_OK;
}

static mbk_status engine_open(mbk_engine *engine, const mbk_engine_options *options) {
    mbk_status status = mbk_libcrypto_load(options->module_dir, options->shared_libcrypto);
    if (status == MBK_OK) {
        status = mbk_digests_load();
    }
    if (status != MBK_OK) {
        return status;
    }
    return open_lanes(engine, options);
}

/* The engine that is there. A library that could not be used does not stand in another's way. */
static mbk_status get_existing(const mbk_engine_options *options, mbk_engine **out) {
    bool same = g_engine->lanes_kind == options->lanes &&
                same_text(g_engine->library, options->library);
    if (!same && g_engine->lanes_status == MBK_OK) {
        return MBK_ERR_LIBRARY_OTHER;
    }
    mbk_status status = same ? MBK_OK : open_lanes(g_engine, options);
    *out = status == MBK_OK ? g_engine : NULL;
    return status;
}

mbk_status mbk_engine_get(const mbk_engine_options *options, mbk_engine **out) {
    *out = NULL;
    if (g_engine != NULL) {
        return get_existing(options, out);
    }
    mbk_engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL) {
        return MBK_ERR_MEMORY;
    }
    mbk_status status = engine_open(engine, options);
    if (status != MBK_OK) {
        free(engine->library);
        free(engine);
        return status;
    }
    g_engine = engine;
    *out = engine;
    return MBK_OK;
}

mbk_status mbk_engine_lanes_status(const mbk_engine *engine) { return engine->lanes_status; }

const char *mbk_engine_lanes_version(const mbk_engine *engine) { return engine->lanes.version; }

const char *mbk_engine_openssl_version(const mbk_engine *engine) {
    (void)engine;
    return mbk_ossl.OpenSSL_version(OPENSSL_VERSION);
}

bool mbk_engine_can_batch(const mbk_engine *engine, mbk_algorithm algorithm) {
    return engine->lanes_status == MBK_OK && engine->lanes.supports[algorithm];
}

unsigned mbk_engine_break_even(const mbk_engine *engine, mbk_algorithm algorithm) {
    return atomic_load_explicit(&engine->break_even[algorithm], memory_order_relaxed);
}

void mbk_engine_set_break_even(mbk_engine *engine, mbk_algorithm algorithm, unsigned lanes) {
    atomic_store_explicit(&engine->break_even[algorithm], lanes, memory_order_relaxed);
    mbk_stats_break_even(algorithm, lanes);
}
