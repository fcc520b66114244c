/* What the module has seen of Envoy's TLS contexts and connections, for metrics and logs. */
#ifndef MBK_SEEN_H
#define MBK_SEEN_H

#include <stdbool.h>
#include <stdint.h>

#include "mbk_engine.h"

/* What became of a TLS context: (enumerator, value of the metric's label). */
#define MBK_CONTEXT_TABLE(X)                                                                       \
    X(MBK_CONTEXT_HOOKED, "hooked")                                                                \
    X(MBK_CONTEXT_KEY, "key_not_handled")                                                          \
    X(MBK_CONTEXT_PROVIDER, "other_provider")                                                      \
    X(MBK_CONTEXT_LAYOUT, "unknown_layout")                                                        \
    X(MBK_CONTEXT_FULL, "no_room")                                                                 \
    X(MBK_CONTEXT_ASIDE, "standing_aside")

typedef enum mbk_context {
#define MBK_X(name, text) name,
    MBK_CONTEXT_TABLE(MBK_X)
#undef MBK_X
        MBK_CONTEXTS,
} mbk_context;

const char *mbk_context_text(mbk_context context);

/* Main thread. `layout` of a hooked context, else NULL. */
void mbk_seen_context(mbk_context context, const char *layout);
uint64_t mbk_seen_contexts(mbk_context context);
/* The layout that the last hooked context had, or "none". */
const char *mbk_seen_layout(void);

/* The engine in use, NULL before the first context. Main thread. */
void mbk_seen_engine(const mbk_engine *engine);
const mbk_engine *mbk_seen_get_engine(void);

/* A connection of a TLS context of the module whose operations Envoy does. Worker thread. */
void mbk_seen_left(void);
uint64_t mbk_seen_connections_left(void);

#endif
