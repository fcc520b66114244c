#include "mbk_hook.h"

#include <pthread.h>
#include <stdatomic.h>

#include "mbk_conn.h"
#include "mbk_log.h"
#include "mbk_peek.h"
#include "mbk_wake.h"

/* BoringSSL's ssl_private_key_result_t. */
enum { RESULT_SUCCESS = 0, RESULT_RETRY = 1, RESULT_FAILURE = 2 };

/* BoringSSL's SSL_PRIVATE_KEY_METHOD (the order is its ABI). */
typedef struct method_table {
    int (*sign)(void *ssl, uint8_t *out, size_t *out_length, size_t out_max, uint16_t scheme,
                const uint8_t *in, size_t in_length);
    int (*decrypt)(void *ssl, uint8_t *out, size_t *out_length, size_t out_max, const uint8_t *in,
                   size_t in_length);
    int (*complete)(void *ssl, uint8_t *out, size_t *out_length, size_t out_max);
} method_table;

struct mbk_hook {
    method_table method; /* first: a credential's method pointer is a pointer to its hook */
    _Atomic(mbk_key *) key; /* NULL: free */
    mbk_engine *engine;
    const mbk_layout *layout;
    const void *owner;
    uintptr_t ssl_ctx;
    mbk_objects objects;
    bool installed;
};

/* One for each certificate of the process; 1024 certificates with one more of each on its way. */
#define HOOKS 2048

/* Keys of the newest contexts that were left to Envoy; only until the path is proven. */
#define OTHERS 64

static mbk_hook g_hooks[HOOKS];
static struct {
    const void *owner;
    uintptr_t private_key;
} g_others[OTHERS];
static size_t g_others_seen;
static size_t g_hooks_used;                                /* entries ever used */
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER; /* configuration only */
static const mbk_layout *_Atomic g_layout;                 /* of the proven path */
static _Atomic mbk_proof g_proof;

/* --- on the path of an operation: worker threads, no locks ------------------------------- */

/*
 * The hook in the credential that this connection uses. The path was proven before the first
 * hook was installed, so plain loads do.
 */
static const mbk_hook *hook_of(uintptr_t ssl) {
    const mbk_layout *layout = atomic_load_explicit(&g_layout, memory_order_acquire);
    if (layout == NULL) {
        return NULL;
    }
    uintptr_t cert = mbk_word_at(mbk_word_at(ssl + layout->ssl_config) + layout->config_cert);
    uintptr_t credential = mbk_word_at(cert + layout->cert_cred);
    uintptr_t method = mbk_word_at(credential + layout->cred_method);
    uintptr_t offset = method - (uintptr_t)g_hooks;
    if (offset >= sizeof(g_hooks) || offset % sizeof(g_hooks[0]) != 0) {
        return NULL;
    }
    const mbk_hook *hook = (const mbk_hook *)method;
    bool same_key = hook->objects.private_key == mbk_word_at(credential + layout->cred_privkey);
    return same_key ? hook : NULL;
}

/* A call's hook, key and place: a worker and, unless it must be done at once, a connection. */
typedef struct hook_call {
    const mbk_hook *hook;
    mbk_key *key;
    mbk_worker *worker;
    mbk_conn *conn; /* NULL: shared worker, g_shared_lock is held */
} hook_call;

static mbk_worker *g_shared_worker;
static pthread_mutex_t g_shared_lock = PTHREAD_MUTEX_INITIALIZER;

mbk_status mbk_hooks_prepare(mbk_engine *engine) {
    return g_shared_worker == NULL ? mbk_worker_new(engine, &g_shared_worker) : MBK_OK;
}

static bool begin_call(uintptr_t ssl, hook_call *out) {
    out->hook = hook_of(ssl);
    out->key = out->hook == NULL
                   ? NULL
                   : atomic_load_explicit(&out->hook->key, memory_order_acquire);
    if (out->key == NULL) {
        return false;
    }
    mbk_thread *thread = mbk_thread_get(out->hook->engine);
    out->conn = thread == NULL ? NULL : mbk_conn_find(thread, ssl);
    if (out->conn == NULL) {
        pthread_mutex_lock(&g_shared_lock);
        out->worker = g_shared_worker;
        return true;
    }
    out->worker = mbk_thread_worker(thread);
    if (out->conn->op != NULL) {
        mbk_op_drop(out->worker, out->conn->op);
        out->conn->op = NULL;
    }
    mbk_conn_signs(out->conn);
    return true;
}

/* Where a pending operation may be kept; NULL when the call must be done at once. */
static mbk_op **place_of(const hook_call *call, uintptr_t ssl, int *descriptor) {
    if (call->conn == NULL) {
        return NULL;
    }
    *descriptor = mbk_wake_descriptor(call->hook->layout, ssl);
    return *descriptor < 0 ? NULL : &call->conn->op;
}

static int collect(mbk_worker *worker, mbk_conn *conn, uint8_t *out, size_t *out_length,
                   size_t out_max) {
    mbk_status why;
    mbk_op *op = conn->op;
    conn->op = NULL;
    return mbk_op_complete(worker, op, out, out_length, out_max, &why) == MBK_DONE
               ? RESULT_SUCCESS
               : RESULT_FAILURE;
}

static int end_call(const hook_call *call, mbk_progress progress, int descriptor, uint8_t *out,
                    size_t *out_length, size_t out_max) {
    if (call->conn == NULL) {
        pthread_mutex_unlock(&g_shared_lock);
    }
    if (progress == MBK_PENDING) {
        /* An operation whose connection cannot be woken must not wait. */
        return mbk_wake(descriptor) ? RESULT_RETRY
                                    : collect(call->worker, call->conn, out, out_length, out_max);
    }
    return progress == MBK_DONE ? RESULT_SUCCESS : RESULT_FAILURE;
}

static int hook_sign(void *ssl, uint8_t *out, size_t *out_length, size_t out_max, uint16_t scheme,
                     const uint8_t *in, size_t in_length) {
    hook_call call;
    mbk_status why;
    int descriptor = -1;
    if (!begin_call((uintptr_t)ssl, &call)) {
        return RESULT_FAILURE;
    }
    mbk_op **place = place_of(&call, (uintptr_t)ssl, &descriptor);
    mbk_progress progress = mbk_sign(call.worker, call.key, scheme, in, in_length, out, out_length,
                                     out_max, place, &why);
    return end_call(&call, progress, descriptor, out, out_length, out_max);
}

static int hook_decrypt(void *ssl, uint8_t *out, size_t *out_length, size_t out_max,
                        const uint8_t *in, size_t in_length) {
    hook_call call;
    mbk_status why;
    int descriptor = -1;
    if (!begin_call((uintptr_t)ssl, &call)) {
        return RESULT_FAILURE;
    }
    mbk_op **place = place_of(&call, (uintptr_t)ssl, &descriptor);
    mbk_progress progress = mbk_decrypt(call.worker, call.key, in, in_length, out, out_length,
                                        out_max, place, &why);
    return end_call(&call, progress, descriptor, out, out_length, out_max);
}

static int hook_complete(void *ssl, uint8_t *out, size_t *out_length, size_t out_max) {
    mbk_thread *thread = mbk_thread_current();
    mbk_conn *conn = thread == NULL ? NULL : mbk_conn_find(thread, (uintptr_t)ssl);
    if (conn == NULL || conn->op == NULL) {
        return RESULT_FAILURE;
    }
    return collect(mbk_thread_worker(thread), conn, out, out_length, out_max);
}

/* --- configuration: mostly the main thread, under g_lock ----------------------------------- */

static void install(uintptr_t credential, const mbk_layout *layout, mbk_hook *hook) {
    /* Workers copy the credential while this is written: one aligned word, so they see either. */
    uintptr_t *slot = (uintptr_t *)(credential + layout->cred_method);
    __atomic_store_n(slot, (uintptr_t)hook, __ATOMIC_RELEASE);
}

static mbk_hook *take_free_hook(void) {
    for (size_t i = 0; i < g_hooks_used; i++) {
        if (atomic_load(&g_hooks[i].key) == NULL) {
            return &g_hooks[i];
        }
    }
    return g_hooks_used < HOOKS ? &g_hooks[g_hooks_used++] : NULL;
}

mbk_hook *mbk_hook_add(const mbk_layout *layout, uintptr_t ssl_ctx, const mbk_objects *objects,
                       const void *owner, mbk_engine *engine, mbk_key *key) {
    pthread_mutex_lock(&g_lock);
    mbk_hook *hook = take_free_hook();
    if (hook != NULL) {
        hook->method = (method_table){hook_sign, hook_decrypt, hook_complete};
        hook->engine = engine;
        hook->layout = layout;
        hook->owner = owner;
        hook->ssl_ctx = ssl_ctx;
        hook->objects = *objects;
        atomic_store_explicit(&hook->key, key, memory_order_release);
        hook->installed =
            atomic_load(&g_proof) == MBK_PROOF_DONE && atomic_load(&g_layout) == layout;
        if (hook->installed) {
            install(objects->credential, layout, hook);
        }
    }
    pthread_mutex_unlock(&g_lock);
    return hook;
}

static void release_hook(mbk_hook *hook) {
    mbk_key_release(atomic_exchange(&hook->key, NULL));
    hook->owner = NULL;
}

/*
 * Whether BoringSSL's objects are still those that were hooked. It wipes what it frees, so a
 * chain of pointers that still leads to our hook is alive.
 */
static bool is_alive(const mbk_hook *hook) {
    mbk_objects now;
    uintptr_t expected = hook->installed ? (uintptr_t)hook : 0;
    return mbk_objects_of_context(hook->layout, hook->ssl_ctx, &now) &&
           now.credential == hook->objects.credential &&
           now.private_key == hook->objects.private_key && now.method == expected;
}

void mbk_hooks_sweep(void) {
    pthread_mutex_lock(&g_lock);
    for (size_t i = 0; i < g_hooks_used; i++) {
        if (atomic_load(&g_hooks[i].key) != NULL && !is_alive(&g_hooks[i])) {
            release_hook(&g_hooks[i]);
        }
    }
    pthread_mutex_unlock(&g_lock);
}

void mbk_hooks_release(const void *owner) {
    pthread_mutex_lock(&g_lock);
    for (size_t i = 0; i < g_hooks_used; i++) {
        if (g_hooks[i].owner == owner && atomic_load(&g_hooks[i].key) != NULL) {
            release_hook(&g_hooks[i]);
        }
    }
    pthread_mutex_unlock(&g_lock);
}

mbk_proof mbk_hooks_proof(void) { return atomic_load_explicit(&g_proof, memory_order_acquire); }

void mbk_hooks_note_other(const void *owner, const mbk_objects *objects) {
    pthread_mutex_lock(&g_lock);
    g_others[g_others_seen % OTHERS].owner = owner;
    g_others[g_others_seen % OTHERS].private_key = objects->private_key;
    g_others_seen++;
    pthread_mutex_unlock(&g_lock);
}

static bool is_noted(const void *owner, uintptr_t private_key) {
    for (size_t i = 0; i < OTHERS; i++) {
        if (g_others[i].owner == owner && g_others[i].private_key == private_key) {
            return private_key != 0;
        }
    }
    return false;
}

typedef struct path_proof {
    const mbk_layout *layout; /* NULL: not proven */
    mbk_hook *hook;           /* of the connection's key, NULL when that is left to Envoy */
    mbk_objects objects;      /* the connection's own credential */
} path_proof;

/* Whether a layout of one of `owner`'s hooks leads from `ssl` to a key of `owner`'s. */
static path_proof prove_path(const void *owner, uintptr_t ssl) {
    path_proof proof = {0};
    for (size_t i = 0; i < g_hooks_used && proof.layout == NULL; i++) {
        mbk_hook *hook = &g_hooks[i];
        if (hook->owner != owner || atomic_load(&hook->key) == NULL ||
            !mbk_objects_of_ssl(hook->layout, ssl, &proof.objects) || proof.objects.method != 0) {
            continue;
        }
        if (proof.objects.private_key == hook->objects.private_key) {
            proof.layout = hook->layout;
            proof.hook = hook;
        } else if (is_noted(owner, proof.objects.private_key)) {
            proof.layout = hook->layout;
        }
    }
    return proof;
}

static void install_all(const mbk_layout *layout) {
    for (size_t i = 0; i < g_hooks_used; i++) {
        mbk_hook *hook = &g_hooks[i];
        if (hook->layout == layout && atomic_load(&hook->key) != NULL && is_alive(hook)) {
            install(hook->objects.credential, hook->layout, hook);
            hook->installed = true;
        }
    }
}

mbk_proof mbk_hooks_prove(const void *owner, uintptr_t ssl) {
    pthread_mutex_lock(&g_lock);
    if (atomic_load(&g_proof) == MBK_PROOF_OPEN) {
        path_proof proof = prove_path(owner, ssl);
        if (proof.layout == NULL) {
            atomic_store(&g_proof, MBK_PROOF_FAILED);
            mbk_log_warn("no known memory layout leads from a connection to its key in this Envoy "
                         "(build-id %s); standing aside, Envoy signs",
                         mbk_build_id());
        } else {
            atomic_store_explicit(&g_layout, proof.layout, memory_order_release);
            install_all(proof.layout);
            if (proof.hook != NULL) {
                install(proof.objects.credential, proof.layout, proof.hook);
            }
            atomic_store_explicit(&g_proof, MBK_PROOF_DONE, memory_order_release);
        }
    }
    mbk_proof result = atomic_load(&g_proof);
    pthread_mutex_unlock(&g_lock);
    return result;
}
