/*
 * The bootstrap extension: Envoy's statistics and the admin page. Workers only count in their own
 * cache lines; everything here runs on the main thread and reads those.
 */
#ifndef MBK_BOOTSTRAP_H
#define MBK_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

/* Owned by the caller until mbk_bootstrap_config_destroy; NULL when out of memory. */
const void *mbk_bootstrap_config_new(void *config_envoy, const char *name, size_t name_length,
                                     const char *config, size_t config_length);
void mbk_bootstrap_config_destroy(const void *config);

/* Brings Envoy's statistics up to date. */
void mbk_bootstrap_publish(const void *config);
/* The same, and again after a second. */
void mbk_bootstrap_tick(const void *config);

/* Answers a request to the admin page; returns the HTTP status. */
uint32_t mbk_bootstrap_admin(void *config_envoy, const void *config, const char *path,
                             size_t path_length);

#endif
