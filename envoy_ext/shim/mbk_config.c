#include "mbk_config.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbk_internal.h"

#define MAX_TEXT (64 * 1024)

typedef struct parser {
    mbk_settings *settings;
    char *error;
    size_t error_size;
} parser;

typedef bool (*field_reader)(parser *parse, const char *name, json_object *value);

static bool complain(parser *parse, const char *name, const char *expected) {
    snprintf(parse->error, parse->error_size, "configuration field '%.64s' must be %s", name,
             expected);
    return false;
}

/* The text of a JSON string, NULL of anything else. */
static const char *text_of(json_object *value) {
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

static int find_algorithm(const char *name) {
    for (int i = 0; i < MBK_ALGORITHMS; i++) {
        if (strcmp(mbk_algorithms[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static bool read_algorithms(parser *parse, const char *name, json_object *value) {
    static const char expected[] =
        "a list of names out of rsa2048, rsa3072, rsa4096, p256, p384";
    if (!json_object_is_type(value, json_type_array)) {
        return complain(parse, name, expected);
    }
    memset(parse->settings->algorithms, 0, sizeof(parse->settings->algorithms));
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        const char *text = text_of(json_object_array_get_idx(value, i));
        int algorithm = text == NULL ? -1 : find_algorithm(text);
        if (algorithm < 0) {
            return complain(parse, name, expected);
        }
        parse->settings->algorithms[algorithm] = true;
    }
    return true;
}

static bool read_policy(parser *parse, const char *name, json_object *value) {
    const char *text = text_of(value);
    if (text != NULL && strcmp(text, "adaptive") == 0) {
        parse->settings->policy = MBK_POLICY_ADAPTIVE;
        return true;
    }
    if (text != NULL && strcmp(text, "off") == 0) {
        parse->settings->policy = MBK_POLICY_OFF;
        return true;
    }
    return complain(parse, name, "\"adaptive\" or \"off\"");
}

static bool read_strict(parser *parse, const char *name, json_object *value) {
    if (!json_object_is_type(value, json_type_boolean)) {
        return complain(parse, name, "true or false");
    }
    parse->settings->strict = json_object_get_boolean(value);
    return true;
}

static bool read_path(parser *parse, const char *name, json_object *value, char **out) {
    const char *text = text_of(value);
    /* A NUL inside would cut the path short without a word. */
    if (text == NULL || text[0] != '/' || strlen(text) != (size_t)json_object_get_string_len(value)) {
        return complain(parse, name, "an absolute path");
    }
    *out = strdup(text);
    return *out != NULL || complain(parse, name, "shorter: out of memory");
}

static bool read_library(parser *parse, const char *name, json_object *value) {
    return read_path(parse, name, value, &parse->settings->library);
}

static bool read_stats_file(parser *parse, const char *name, json_object *value) {
    return read_path(parse, name, value, &parse->settings->stats_file);
}

static const struct {
    const char *name;
    field_reader read;
} g_fields[] = {
    /* First, so that it is known when a later field is wrong. */
    {"strict", read_strict},   {"algorithms", read_algorithms}, {"policy", read_policy},
    {"library", read_library}, {"stats_file", read_stats_file},
};

#define FIELDS (sizeof(g_fields) / sizeof(g_fields[0]))

static bool is_known(const char *name) {
    for (size_t i = 0; i < FIELDS; i++) {
        if (strcmp(g_fields[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_fields(parser *parse, json_object *object) {
    for (size_t i = 0; i < FIELDS; i++) {
        json_object *value = NULL;
        if (json_object_object_get_ex(object, g_fields[i].name, &value) &&
            !g_fields[i].read(parse, g_fields[i].name, value)) {
            return false;
        }
    }
    json_object_object_foreach(object, name, unused) {
        (void)unused;
        if (!is_known(name)) {
            snprintf(parse->error, parse->error_size,
                     "configuration field '%.64s' is not known (known: algorithms, policy, "
                     "library, strict, stats_file)",
                     name);
            return false;
        }
    }
    return true;
}

/* One JSON value and nothing after it, or NULL and the reason in `parse`. */
static json_object *parse_text(parser *parse, const char *text, size_t length) {
    json_tokener *tokener = length > MAX_TEXT ? NULL : json_tokener_new();
    if (tokener == NULL) {
        snprintf(parse->error, parse->error_size, "configuration is longer than %d bytes",
                 MAX_TEXT);
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    json_object *document = json_tokener_parse_ex(tokener, text, (int)length);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    if (error == json_tokener_continue || (error == json_tokener_success && end < length)) {
        error = json_tokener_error_parse_unexpected;
    }
    json_tokener_free(tokener);
    if (error != json_tokener_success) {
        snprintf(parse->error, parse->error_size, "configuration is not JSON: %s at byte %zu",
                 json_tokener_error_desc(error), end);
        json_object_put(document);
        document = NULL;
    }
    return document;
}

bool mbk_settings_parse(const char *text, size_t length, mbk_settings *settings, char *error,
                        size_t error_size) {
    parser parse = {settings, error, error_size};
    memset(settings, 0, sizeof(*settings));
    memset(settings->algorithms, true, sizeof(settings->algorithms));
    /* With its verification a lone P-256 signature takes longer than Envoy's own. */
    settings->algorithms[MBK_P256] = false;
    if (length == 0) {
        return true;
    }
    snprintf(error, error_size, "configuration must be a JSON object");
    json_object *document = parse_text(&parse, text, length);
    bool ok = json_object_is_type(document, json_type_object) && read_fields(&parse, document);
    json_object_put(document);
    return ok;
}

void mbk_settings_clear(mbk_settings *settings) {
    free(settings->library);
    free(settings->stats_file);
    settings->library = settings->stats_file = NULL;
}
