/* The module's metrics in Envoy's statistics: their names, and what was published of them. */
#ifndef MBK_METRICS_H
#define MBK_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "mbk_abi.h"
#include "mbk_seen.h"
#include "mbk_stats.h"

/*
 * Envoy gives each extension one prefix for its metrics (metrics_namespace). An extension named
 * `cryptomb` publishes what the CryptoMB provider of Envoy calls so; every other one all the rest.
 */
typedef enum mbk_metric_set { MBK_FOR_MODULE, MBK_FOR_CRYPTOMB } mbk_metric_set;

/* (enumerator, kind, extension, name, label names, up to five, separated by spaces) */
#define MBK_METRIC_TABLE(X)                                                                        \
    X(MBK_M_OPERATIONS, MBK_COUNTER, MBK_FOR_MODULE, "operations", "algorithm outcome")            \
    X(MBK_M_VERIFY_FAILURES, MBK_COUNTER, MBK_FOR_MODULE, "verify_failures", "")                   \
    X(MBK_M_LANE_ERRORS, MBK_COUNTER, MBK_FOR_MODULE, "lane_errors", "")                           \
    X(MBK_M_LANE_RETRIES, MBK_COUNTER, MBK_FOR_MODULE, "lane_retries", "")                         \
    X(MBK_M_INLINE, MBK_COUNTER, MBK_FOR_MODULE, "inline_operations", "")                          \
    X(MBK_M_CONTEXTS, MBK_COUNTER, MBK_FOR_MODULE, "tls_contexts", "result")                       \
    X(MBK_M_LEFT, MBK_COUNTER, MBK_FOR_MODULE, "connections_left", "")                             \
    X(MBK_M_FILL, MBK_HISTOGRAM, MBK_FOR_MODULE, "batch_fill", "algorithm")                        \
    X(MBK_M_WAIT, MBK_HISTOGRAM, MBK_FOR_MODULE, "queue_wait_us", "")                              \
    X(MBK_M_COMPUTE, MBK_HISTOGRAM, MBK_FOR_MODULE, "compute_us", "algorithm")                     \
    X(MBK_M_RSA_SIZES, MBK_HISTOGRAM, MBK_FOR_CRYPTOMB, "rsa_queue_sizes", "")                     \
    X(MBK_M_ECDSA_SIZES, MBK_HISTOGRAM, MBK_FOR_CRYPTOMB, "ecdsa_queue_sizes", "")                 \
    X(MBK_M_BREAK_EVEN, MBK_GAUGE, MBK_FOR_MODULE, "break_even_lanes", "algorithm")                \
    X(MBK_M_DEPTH, MBK_GAUGE, MBK_FOR_MODULE, "queue_depth", "")                                   \
    X(MBK_M_STALLED, MBK_GAUGE, MBK_FOR_MODULE, "stalled_operations", "")                          \
    X(MBK_M_INFO, MBK_GAUGE, MBK_FOR_MODULE, "info", "version envoy library openssl layout")

typedef enum mbk_metric {
#define MBK_X(name, kind, set, text, labels) name,
    MBK_METRIC_TABLE(MBK_X)
#undef MBK_X
        MBK_METRICS,
} mbk_metric;

/* What Envoy was told so far; zeroed at first. */
typedef struct mbk_metrics {
    void *config_envoy;
    mbk_metric_set set;
    size_t ids[MBK_METRICS];
    mbk_stats told;
    uint64_t contexts_told[MBK_CONTEXTS];
    uint64_t left_told;
    bool info_told;
} mbk_metrics;

/* False when Envoy refuses one. Only while the extension's configuration is made. */
bool mbk_metrics_define(mbk_metrics *metrics, mbk_metric_set set, void *config_envoy);

/* Tells Envoy what has changed. */
void mbk_metrics_publish(mbk_metrics *metrics);

/* Operations in queues of all workers, and those among them whose queue waits for over a second. */
void mbk_metrics_queues(uint64_t *queued, uint64_t *stalled);

#endif
