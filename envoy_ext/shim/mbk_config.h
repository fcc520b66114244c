/* The module's configuration: handshaker_config, a JSON object. */
#ifndef MBK_CONFIG_H
#define MBK_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "mbk_engine.h"

typedef struct mbk_settings {
    bool algorithms[MBK_ALGORITHMS]; /* which keys may be hooked; by default all but P-256 */
    mbk_policy policy;
    bool strict; /* refuse connections instead of standing aside */
    char *library;
    char *stats_file;
} mbk_settings;

/*
 * Parses `text`. On failure false, and `error` (at least 256 bytes) says what is wrong,
 * where, and what is allowed; `settings->strict` then still tells what was asked for, if it
 * could be read. Release with mbk_settings_clear in either case.
 */
bool mbk_settings_parse(const char *text, size_t length, mbk_settings *settings, char *error,
                        size_t error_size);

void mbk_settings_clear(mbk_settings *settings);

#endif
