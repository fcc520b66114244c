#include "mbk_libcrypto.h"

#include <dlfcn.h>

#include "mbk_library.h"
#include "mbk_locked.h"

mbk_libcrypto mbk_ossl;

static bool resolve_all(void *handle) {
    bool complete = true;
#define MBK_X(function)                                                                            \
    *(void **)(&mbk_ossl.function) = mbk_library_symbol(handle, #function);                        \
    complete = complete && mbk_ossl.function != NULL;
    MBK_LIBCRYPTO_FUNCTIONS(MBK_X)
#undef MBK_X
    return complete;
}

static mbk_status load(const char *module_dir, bool shared) {
    void *handle = mbk_library_open(module_dir, "libcrypto.so.3");
    if (handle == NULL || !resolve_all(handle)) {
        return MBK_ERR_LIBCRYPTO;
    }
    /* OpenSSL refuses once it has allocated anything, that is, when somebody else uses it. */
    int ours = mbk_ossl.CRYPTO_set_mem_functions(mbk_heap_malloc, mbk_heap_realloc, mbk_heap_free);
    return ours == 1 || shared ? MBK_OK : MBK_ERR_LIBCRYPTO_SHARED;
}

mbk_status mbk_libcrypto_load(const char *module_dir, bool shared) {
    static bool done;
    static mbk_status result;
    if (!done) {
        result = load(module_dir, shared);
        done = true;
    }
    return result;
}
