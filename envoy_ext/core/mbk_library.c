#include "mbk_library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "mbk_engine.h"

static char g_error[512];

const char *mbk_engine_load_error(void) { return g_error; }

static void keep_error(void) {
    const char *text = dlerror();
    snprintf(g_error, sizeof(g_error), "%s", text == NULL ? "unknown loader error" : text);
}

void *mbk_library_open_path(const char *path) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        keep_error();
    }
    return handle;
}

void *mbk_library_open(const char *module_dir, const char *name) {
    char path[PATH_MAX];
    if (module_dir != NULL) {
        int length = snprintf(path, sizeof(path), "%s/%s", module_dir, name);
        if (length > 0 && (size_t)length < sizeof(path) && access(path, R_OK) == 0) {
            return mbk_library_open_path(path);
        }
    }
    return mbk_library_open_path(name);
}

void *mbk_library_symbol(void *handle, const char *name) {
    void *symbol = dlsym(handle, name);
    if (symbol == NULL) {
        keep_error();
    }
    return symbol;
}
