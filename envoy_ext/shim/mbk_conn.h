/*
 * The calling thread's side of the module: its worker, and its TLS connections by SSL*.
 * Each thread has its own; nothing here is shared.
 */
#ifndef MBK_CONN_H
#define MBK_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "mbk_engine.h"

typedef struct mbk_thread mbk_thread;

typedef struct mbk_conn {
    uintptr_t ssl;
    mbk_thread *thread; /* the only one that may touch this connection */
    mbk_op *op;         /* pending operation, or NULL */
    bool fresh;         /* has not signed yet, so it may soon */
    struct mbk_conn *next_free;
} mbk_conn;

/* The thread's state, made when first asked for; NULL when out of (locked) memory. */
mbk_thread *mbk_thread_get(mbk_engine *engine);
/* NULL when the thread has none. */
mbk_thread *mbk_thread_current(void);
mbk_worker *mbk_thread_worker(mbk_thread *thread);

/* Starts to know a connection; NULL when out of memory. */
mbk_conn *mbk_conn_add(mbk_thread *thread, uintptr_t ssl);
/* Forgets it and drops its pending operation. */
void mbk_conn_remove(mbk_conn *conn);
/* The connection's operation is being submitted: it is no longer one to wait for. */
void mbk_conn_signs(mbk_conn *conn);
mbk_conn *mbk_conn_find(mbk_thread *thread, uintptr_t ssl);

#endif
