#include "mbk_bootstrap.h"

#include <stdlib.h>
#include <string.h>

#include "mbk_abi.h"
#include "mbk_log.h"
#include "mbk_metrics.h"
#include "mbk_report.h"

#define PERIOD_MS 1000
#define ADMIN_PATH "/multibuffer"

enum { HTTP_OK = 200, HTTP_UNAVAILABLE = 503 };

typedef struct bootstrap {
    mbk_metrics metrics;
    bool defined;
    void *timer;
} bootstrap;

const void *mbk_bootstrap_config_new(void *config_envoy, const char *name, size_t name_length,
                                     const char *config, size_t config_length) {
    static const char other[] = "cryptomb";
    bool cryptomb = name_length == strlen(other) && memcmp(name, other, name_length) == 0;
    (void)config;
    bootstrap *made = calloc(1, sizeof(*made));
    mbk_abi_init_complete(config_envoy); /* Envoy's start must not wait for statistics */
    if (made == NULL) {
        return NULL;
    }
    if (config_length > strlen("{}")) {
        mbk_log_warn("the bootstrap extension has no settings; extension_config is not used");
    }
    made->defined = mbk_metrics_define(&made->metrics, cryptomb ? MBK_FOR_CRYPTOMB : MBK_FOR_MODULE,
                                       config_envoy);
    if (!made->defined) {
        mbk_log_warn("Envoy refused a metric; there will be none of the module's");
    }
    if (!cryptomb &&
        !mbk_abi_admin_register(config_envoy, ADMIN_PATH,
                                "TLS signing in batches: state and counters (?format=json)")) {
        mbk_log_warn("the admin page " ADMIN_PATH " could not be added (twice in the bootstrap?)");
    }
    made->timer = mbk_abi_timer_new(config_envoy);
    mbk_abi_timer_enable(made->timer, PERIOD_MS);
    return made;
}

void mbk_bootstrap_config_destroy(const void *opaque) {
    bootstrap *config = (bootstrap *)(uintptr_t)opaque;
    mbk_abi_timer_delete(config->timer);
    free(config);
}

void mbk_bootstrap_publish(const void *opaque) {
    bootstrap *config = (bootstrap *)(uintptr_t)opaque;
    if (config->defined) {
        mbk_metrics_publish(&config->metrics);
    }
}

void mbk_bootstrap_tick(const void *opaque) {
    const bootstrap *config = opaque;
    mbk_bootstrap_publish(opaque);
    mbk_abi_timer_enable(config->timer, PERIOD_MS);
}

/* Whether the query of a request asks for JSON. */
static bool wants_json(const char *path, size_t length) {
    static const char wanted[] = "format=json";
    const char *query = memchr(path, '?', length);
    return query != NULL &&
           memmem(query, length - (size_t)(query - path), wanted, strlen(wanted)) != NULL;
}

uint32_t mbk_bootstrap_admin(void *config_envoy, const void *config, const char *path,
                             size_t path_length) {
    mbk_bootstrap_publish(config); /* statistics read after the page agree with it */
    char *text = mbk_report(wants_json(path, path_length));
    if (text == NULL) {
        return HTTP_UNAVAILABLE;
    }
    mbk_abi_admin_respond(config_envoy, text, strlen(text));
    free(text);
    return HTTP_OK;
}
