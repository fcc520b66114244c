#include "mbk_seen.h"

#include <stdatomic.h>
#include <stddef.h>

/* Threads that count on a line of their own; those beyond share the last one. */
#define LINES 129

typedef struct left_line {
    _Alignas(64) atomic_uint_fast64_t count;
} left_line;

static left_line g_left[LINES];
static atomic_uint g_lines_taken;
static _Thread_local left_line *t_left;

static atomic_uint_fast64_t g_contexts[MBK_CONTEXTS];
static const char *g_layout = "none";
static const mbk_engine *g_engine;

const char *mbk_context_text(mbk_context context) {
    static const char *const texts[MBK_CONTEXTS] = {
#define MBK_X(name, text) text,
        MBK_CONTEXT_TABLE(MBK_X)
#undef MBK_X
    };
    return texts[context];
}

void mbk_seen_context(mbk_context context, const char *layout) {
    atomic_fetch_add(&g_contexts[context], 1);
    if (layout != NULL) {
        g_layout = layout;
    }
}

uint64_t mbk_seen_contexts(mbk_context context) { return atomic_load(&g_contexts[context]); }

const char *mbk_seen_layout(void) { return g_layout; }

void mbk_seen_engine(const mbk_engine *engine) { g_engine = engine; }

const mbk_engine *mbk_seen_get_engine(void) { return g_engine; }

void mbk_seen_left(void) {
    if (t_left == NULL) {
        unsigned line = atomic_fetch_add(&g_lines_taken, 1);
        t_left = &g_left[line < LINES ? line : LINES - 1];
    }
    atomic_fetch_add_explicit(&t_left->count, 1, memory_order_relaxed);
}

uint64_t mbk_seen_connections_left(void) {
    uint64_t sum = 0;
    for (size_t i = 0; i < LINES; i++) {
        sum += atomic_load_explicit(&g_left[i].count, memory_order_relaxed);
    }
    return sum;
}
