#include "mbk_metrics.h"

#include <string.h>

#include "mbk_internal.h"
#include "mbk_times.h"

#define MAX_LABELS 5
#define STALLED_AFTER 1000000000u /* nanoseconds */

/*
 * Values recorded into histograms in one publication: Envoy takes them one by one (about 0.1 µs
 * each). What is more comes with the next one.
 */
#define MAX_VALUES 50000

static const char *const g_outcomes[MBK_OUTCOMES] = {"batched", "single", "failed", "dropped"};

static const struct {
    mbk_abi_metric kind;
    mbk_metric_set set;
    const char *name;
    const char *labels;
} g_table[MBK_METRICS] = {
#define MBK_X(enumerator, kind, set, name, labels) {kind, set, name, labels},
    MBK_METRIC_TABLE(MBK_X)
#undef MBK_X
};

/* Splits at spaces. */
static size_t split(const char *text, mbk_abi_buffer words[MAX_LABELS]) {
    size_t count = 0;
    while (*text != '\0' && count < MAX_LABELS) {
        size_t length = strcspn(text, " ");
        words[count++] = (mbk_abi_buffer){.ptr = text, .length = length};
        text += length + (text[length] == ' ' ? 1 : 0);
    }
    return count;
}

bool mbk_metrics_define(mbk_metrics *metrics, mbk_metric_set set, void *config_envoy) {
    metrics->config_envoy = config_envoy;
    metrics->set = set;
    for (unsigned i = 0; i < MBK_METRICS; i++) {
        mbk_abi_buffer labels[MAX_LABELS];
        size_t count = split(g_table[i].labels, labels);
        if (g_table[i].set == set &&
            !mbk_abi_metric_define(config_envoy, g_table[i].kind, g_table[i].name, labels, count,
                                   &metrics->ids[i])) {
            return false;
        }
    }
    return true;
}

static void write_labelled(const mbk_metrics *metrics, mbk_metric metric,
                           const char *const *texts, size_t count, uint64_t value) {
    mbk_abi_buffer labels[MAX_LABELS];
    for (size_t i = 0; i < count; i++) {
        labels[i] = (mbk_abi_buffer){.ptr = texts[i], .length = strlen(texts[i])};
    }
    mbk_abi_metric_write(metrics->config_envoy, g_table[metric].kind, metrics->ids[metric],
                         labels, count, value);
}

static void write_plain(const mbk_metrics *metrics, mbk_metric metric, uint64_t value) {
    write_labelled(metrics, metric, NULL, 0, value);
}

/* Adds what a counter gained. */
static void add_gain(const mbk_metrics *metrics, mbk_metric metric, const char *const *labels,
                     size_t count, uint64_t now, uint64_t *told) {
    if (now > *told) {
        write_labelled(metrics, metric, labels, count, now - *told);
        *told = now;
    }
}

static void publish_counters(mbk_metrics *metrics, const mbk_stats *now) {
    mbk_stats *told = &metrics->told;
    for (int a = 0; a < MBK_ALGORITHMS; a++) {
        for (int outcome = 0; outcome < MBK_OUTCOMES; outcome++) {
            const char *labels[] = {mbk_algorithms[a].name, g_outcomes[outcome]};
            add_gain(metrics, MBK_M_OPERATIONS, labels, 2, now->ops[a][outcome],
                     &told->ops[a][outcome]);
        }
    }
    add_gain(metrics, MBK_M_VERIFY_FAILURES, NULL, 0, now->verify_failures,
             &told->verify_failures);
    add_gain(metrics, MBK_M_LANE_ERRORS, NULL, 0, now->lane_errors, &told->lane_errors);
    add_gain(metrics, MBK_M_LANE_RETRIES, NULL, 0, now->lane_retries, &told->lane_retries);
    add_gain(metrics, MBK_M_INLINE, NULL, 0, now->inline_ops, &told->inline_ops);
    for (int context = 0; context < MBK_CONTEXTS; context++) {
        const char *label = mbk_context_text((mbk_context)context);
        add_gain(metrics, MBK_M_CONTEXTS, &label, 1, mbk_seen_contexts((mbk_context)context),
                 &metrics->contexts_told[context]);
    }
    add_gain(metrics, MBK_M_LEFT, NULL, 0, mbk_seen_connections_left(), &metrics->left_told);
}

static void record_fill(const mbk_metrics *metrics, int algorithm, uint64_t lanes) {
    if (metrics->set == MBK_FOR_MODULE) {
        write_labelled(metrics, MBK_M_FILL, &mbk_algorithms[algorithm].name, 1, lanes);
    } else {
        bool rsa = mbk_is_rsa((mbk_algorithm)algorithm);
        write_plain(metrics, rsa ? MBK_M_RSA_SIZES : MBK_M_ECDSA_SIZES, lanes);
    }
}

static void publish_fills(mbk_metrics *metrics, const mbk_stats *now, unsigned *budget) {
    for (int a = 0; a < MBK_ALGORITHMS; a++) {
        for (unsigned i = 0; i < MBK_LANES; i++) {
            uint64_t *told = &metrics->told.fill[a][i];
            for (; *told < now->fill[a][i] && *budget > 0; (*told)++, (*budget)--) {
                record_fill(metrics, a, i + 1);
            }
        }
    }
}

static void publish_times(const mbk_metrics *metrics, mbk_metric metric, const char *const *label,
                          const uint64_t *now, uint64_t *told, unsigned *budget) {
    for (unsigned i = 0; i < MBK_STATS_TIMES; i++) {
        for (; told[i] < now[i] && *budget > 0; told[i]++, (*budget)--) {
            write_labelled(metrics, metric, label, label == NULL ? 0 : 1, mbk_time_of_bucket(i));
        }
    }
}

static void publish_all_times(mbk_metrics *metrics, const mbk_stats *now, unsigned *budget) {
    for (int a = 0; a < MBK_ALGORITHMS; a++) {
        publish_times(metrics, MBK_M_COMPUTE, &mbk_algorithms[a].name, now->compute[a],
                      metrics->told.compute[a], budget);
    }
    publish_times(metrics, MBK_M_WAIT, NULL, now->wait, metrics->told.wait, budget);
}

void mbk_metrics_queues(uint64_t *queued, uint64_t *stalled) {
    uint32_t workers = __atomic_load_n(&mbk_engine_stats_header()->workers, __ATOMIC_ACQUIRE);
    uint64_t now = mbk_now();
    *queued = *stalled = 0;
    for (uint32_t i = 0; i < workers; i++) {
        mbk_stats counters;
        mbk_gauges gauges;
        mbk_engine_worker_stats(i, &counters, &gauges);
        *queued += gauges.queued;
        if (gauges.queued_since != 0 && gauges.queued_since + STALLED_AFTER < now) {
            *stalled += gauges.queued;
        }
    }
}

static void publish_gauges(mbk_metrics *metrics) {
    const mbk_stats_header *header = mbk_engine_stats_header();
    uint64_t queued, stalled;
    for (int a = 0; a < MBK_ALGORITHMS; a++) {
        unsigned lanes = __atomic_load_n(&header->break_even[a], __ATOMIC_RELAXED);
        if (lanes != 0) {
            write_labelled(metrics, MBK_M_BREAK_EVEN, &mbk_algorithms[a].name, 1, lanes);
        }
    }
    mbk_metrics_queues(&queued, &stalled);
    write_plain(metrics, MBK_M_DEPTH, queued);
    write_plain(metrics, MBK_M_STALLED, stalled);
}

/* Once, when everything in it is known. */
static void publish_info(mbk_metrics *metrics) {
    const mbk_engine *engine = mbk_seen_get_engine();
    if (metrics->info_told || engine == NULL || mbk_seen_contexts(MBK_CONTEXT_HOOKED) == 0) {
        return;
    }
    const char *labels[] = {MBK_VERSION, MBK_ENVOY_MINOR, mbk_engine_lanes_version(engine),
                            mbk_engine_openssl_version(engine), mbk_seen_layout()};
    write_labelled(metrics, MBK_M_INFO, labels, 5, 1);
    metrics->info_told = true;
}

void mbk_metrics_publish(mbk_metrics *metrics) {
    unsigned budget = MAX_VALUES;
    mbk_stats now;
    mbk_engine_stats(NULL, &now);
    publish_fills(metrics, &now, &budget);
    if (metrics->set == MBK_FOR_MODULE) {
        publish_all_times(metrics, &now, &budget);
        publish_counters(metrics, &now);
        publish_gauges(metrics);
        publish_info(metrics);
    }
}
