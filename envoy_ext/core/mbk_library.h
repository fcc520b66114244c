/* Shared libraries opened at run time. */
#ifndef MBK_LIBRARY_H
#define MBK_LIBRARY_H

/*
 * Opens `name` from `module_dir` (may be NULL) if it is there, else on the loader's path.
 * NULL on failure; mbk_engine_load_error then tells why. Libraries are never closed.
 */
void *mbk_library_open(const char *module_dir, const char *name);

/* The same for one path, nothing else tried. */
void *mbk_library_open_path(const char *path);

/* NULL, and a text for mbk_engine_load_error, when the symbol is missing. */
void *mbk_library_symbol(void *handle, const char *name);

#endif
