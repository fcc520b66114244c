#include "mbk_report.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "mbk_abi.h"
#include "mbk_internal.h"
#include "mbk_log.h"
#include "mbk_metrics.h"
#include "mbk_times.h"

#define MAX_NAME 256

static void add_text(json_object *object, const char *name, const char *text) {
    json_object_object_add(object, name, json_object_new_string(text));
}

static void add_count(json_object *object, const char *name, uint64_t count) {
    json_object_object_add(object, name, json_object_new_uint64(count));
}

static json_object *counts(const uint64_t *values, size_t count) {
    json_object *list = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        json_object_array_add(list, json_object_new_uint64(values[i]));
    }
    return list;
}

static json_object *algorithm_report(const mbk_stats *stats, int algorithm) {
    const uint64_t *ops = stats->ops[algorithm];
    json_object *report = json_object_new_object();
    add_count(report, "batched", ops[MBK_BATCHED]);
    add_count(report, "single", ops[MBK_SINGLE]);
    add_count(report, "failed", ops[MBK_FAILURE]);
    add_count(report, "dropped", ops[MBK_DROPPED]);
    json_object_object_add(report, "fill", counts(stats->fill[algorithm], MBK_LANES));
    json_object_object_add(report, "compute", counts(stats->compute[algorithm], MBK_STATS_TIMES));
    return report;
}

static json_object *stats_report(const mbk_stats *stats) {
    json_object *report = json_object_new_object();
    json_object *algorithms = json_object_new_object();
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        json_object_object_add(algorithms, mbk_algorithms[algorithm].name,
                               algorithm_report(stats, algorithm));
    }
    json_object_object_add(report, "algorithms", algorithms);
    json_object_object_add(report, "wait", counts(stats->wait, MBK_STATS_TIMES));
    add_count(report, "submitted", stats->submitted);
    add_count(report, "verify_failures", stats->verify_failures);
    add_count(report, "lane_errors", stats->lane_errors);
    add_count(report, "lane_retries", stats->lane_retries);
    add_count(report, "inline_operations", stats->inline_ops);
    return report;
}

static json_object *versions_report(const mbk_engine *engine) {
    json_object *report = json_object_new_object();
    add_text(report, "module", MBK_VERSION);
    add_text(report, "envoy_tables", MBK_ENVOY_MINOR);
    add_text(report, "abi", MBK_ABI_VERSION);
    add_text(report, "build_id", mbk_build_id());
    add_text(report, "layout", mbk_seen_layout());
    add_text(report, "library", engine == NULL ? "none" : mbk_engine_lanes_version(engine));
    add_text(report, "openssl", engine == NULL ? "none" : mbk_engine_openssl_version(engine));
    return report;
}

static double seconds_of(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* So that a reader of two pages can tell rates by the proxy's own clock. */
static json_object *process_report(void) {
    json_object *report = json_object_new_object();
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    json_object_object_add(
        report, "cpu_seconds",
        json_object_new_double(seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime)));
    json_object_object_add(report, "clock_seconds",
                           json_object_new_double((double)mbk_now() / 1e9));
    return report;
}

/* What crypto_mb asks of a CPU for its AVX-512 kernels. */
static json_object *cpu_report(void) {
    json_object *report = json_object_new_object();
#define FEATURE(name)                                                                              \
    json_object_object_add(report, name, json_object_new_boolean(__builtin_cpu_supports(name) != 0))
    FEATURE("bmi2");
    FEATURE("avx512f");
    FEATURE("avx512dq");
    FEATURE("avx512bw");
    FEATURE("avx512ifma");
    FEATURE("avx512vbmi2");
#undef FEATURE
    return report;
}

static json_object *contexts_report(void) {
    json_object *report = json_object_new_object();
    for (int context = 0; context < MBK_CONTEXTS; context++) {
        add_count(report, mbk_context_text((mbk_context)context),
                  mbk_seen_contexts((mbk_context)context));
    }
    return report;
}

static json_object *break_even_report(void) {
    const mbk_stats_header *header = mbk_engine_stats_header();
    json_object *report = json_object_new_object();
    for (int algorithm = 0; algorithm < MBK_ALGORITHMS; algorithm++) {
        add_count(report, mbk_algorithms[algorithm].name,
                  __atomic_load_n(&header->break_even[algorithm], __ATOMIC_RELAXED));
    }
    return report;
}

static json_object *workers_report(void) {
    uint32_t workers = __atomic_load_n(&mbk_engine_stats_header()->workers, __ATOMIC_ACQUIRE);
    json_object *list = json_object_new_array();
    for (uint32_t i = 0; i < workers; i++) {
        mbk_stats counters;
        mbk_gauges gauges;
        mbk_engine_worker_stats(i, &counters, &gauges);
        json_object *worker = stats_report(&counters);
        add_count(worker, "queued", gauges.queued);
        json_object_array_add(list, worker);
    }
    return list;
}

static json_object *whole_report(void) {
    const mbk_engine *engine = mbk_seen_get_engine();
    mbk_stats stats;
    uint64_t queued, stalled;
    mbk_engine_stats(engine, &stats);
    mbk_metrics_queues(&queued, &stalled);
    json_object *report = json_object_new_object();
    json_object_object_add(report, "versions", versions_report(engine));
    add_text(report, "batching",
             engine == NULL ? "no TLS context uses the module"
                            : mbk_status_text(mbk_engine_lanes_status(engine)));
    json_object_object_add(report, "cpu", cpu_report());
    json_object_object_add(report, "process", process_report());
    json_object_object_add(report, "tls_contexts", contexts_report());
    add_count(report, "connections_left", mbk_seen_connections_left());
    json_object_object_add(report, "break_even_lanes", break_even_report());
    add_count(report, "queue_depth", queued);
    add_count(report, "stalled_operations", stalled);
    json_object_object_add(report, "total", stats_report(&stats));
    json_object_object_add(report, "workers", workers_report());
    return report;
}

static void write_lines(FILE *out, const char *name, json_object *value) {
    char inner[MAX_NAME];
    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, member) {
            snprintf(inner, sizeof(inner), "%s%s%s", name, name[0] == '\0' ? "" : ".", key);
            write_lines(out, inner, member);
        }
    } else if (json_object_is_type(value, json_type_array) &&
               json_object_is_type(json_object_array_get_idx(value, 0), json_type_object)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            snprintf(inner, sizeof(inner), "%s.%zu", name, i);
            write_lines(out, inner, json_object_array_get_idx(value, i));
        }
    } else {
        const char *text = json_object_is_type(value, json_type_string)
                               ? json_object_get_string(value)
                               : json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN);
        fprintf(out, "%s: %s\n", name, text);
    }
}

char *mbk_report(bool json) {
    json_object *report = whole_report();
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out != NULL) {
        if (json) {
            fprintf(out, "%s\n", json_object_to_json_string_ext(report, JSON_C_TO_STRING_PRETTY));
        } else {
            write_lines(out, "", report);
        }
        fclose(out);
    }
    json_object_put(report);
    return text;
}
