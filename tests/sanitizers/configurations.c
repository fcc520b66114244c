/* The configuration's parser with texts good, bad and hostile, each in a block of its own size. */
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "mbk_config.h"

#define ERROR_BYTES 256
#define MAX_TEXT ((size_t)64 * 1024)

static const char *const g_good[] = {
    "{}",
    " { } \n",
    "{\"policy\":\"adaptive\"}",
    "{\"policy\":\"off\",\"strict\":true}",
    "{\"strict\":false,\"algorithms\":[\"rsa2048\",\"rsa3072\",\"rsa4096\",\"p256\",\"p384\"]}",
    "{\"algorithms\":[]}",
    "{\"algorithms\":[\"p256\",\"p256\"]}",
    "{\"library\":\"/opt/libcrypto_mb.so.13\",\"stats_file\":\"/run/stats\"}",
    "{\"library\":\"/a\",\"library\":\"/b\"}",
    "{\"library\":\"/\\u00e9\\ud83d\\ude00\"}",
    "{\"p\\u006flicy\":\"off\"}",
};

static const char *const g_bad[] = {
    " ",
    "null",
    "true",
    "12",
    "-",
    "\"text\"",
    "[]",
    "[{}]",
    "{}{}",
    "{} x",
    "{]",
    "{\"strict\":}",
    "{\"strict\":true,}",
    "{\"strict\":'true'}",
    "{strict:true}",
    "{\"strict\":\"true\"}",
    "{\"strict\":1}",
    "{\"strict\":null}",
    "{\"policy\":\"Off\"}",
    "{\"policy\":null}",
    "{\"policy\":[\"off\"]}",
    "{\"policy\":{}}",
    "{\"algorithms\":\"p256\"}",
    "{\"algorithms\":null}",
    "{\"algorithms\":[\"p521\"]}",
    "{\"algorithms\":[\"p256\",null]}",
    "{\"algorithms\":[[\"p256\"]]}",
    "{\"algorithms\":[1e999]}",
    "{\"library\":\"\"}",
    "{\"library\":\"relative\"}",
    "{\"library\":null}",
    "{\"library\":\"/a\\u0000b\"}",
    "{\"library\":\"/a\",\"stats_file\":7}",
    "{\"library\":\"/a\",\"stats_file\":\"/b\",\"policy\":0}",
    "{\"library\":\"/a\",\"unknown\":1}",
    "{\"\":1}",
    "{\"\\u0000\":1}",
    "{\"strict\":NaN}",
    "{\"strict\":Infinity}",
    "{\"x\":\"\\ud800\"}",
    "{\"x\":\"\\u12\"}",
    "{\"x\":\"\\q\"}",
    "{\"x\":\"\x80\xff\xfe\"}",
    "{\"x\":99999999999999999999999999999999999999}",
    "{/* comment */}",
    "\xef\xbb\xbf{}",
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* A block exactly as long as the text and no NUL after it, so that one byte too far is seen. */
static bool parse(const char *text, size_t length) {
    char *exact = malloc(length == 0 ? 1 : length);
    char *error = malloc(ERROR_BYTES);
    CHECK(exact != NULL && error != NULL);
    memcpy(exact, text, length);
    memset(error, 'x', ERROR_BYTES);
    mbk_settings settings;
    bool ok = mbk_settings_parse(length == 0 ? NULL : exact, length, &settings, error, ERROR_BYTES);
    free(exact); /* what was read is the settings' own */
    CHECK(settings.policy == MBK_POLICY_ADAPTIVE || settings.policy == MBK_POLICY_OFF);
    CHECK(ok || (memchr(error, '\0', ERROR_BYTES) != NULL && error[0] != '\0'));
    CHECK(settings.library == NULL || settings.library[0] == '/');
    CHECK(settings.stats_file == NULL || settings.stats_file[0] == '/');
    mbk_settings_clear(&settings);
    CHECK(settings.library == NULL && settings.stats_file == NULL);
    mbk_settings_clear(&settings);
    free(error);
    return ok;
}

/* No shorter text than a whole object is one; no text at all means the defaults. */
static void truncate_everywhere(const char *text) {
    const char *last = strrchr(text, '}');
    size_t whole = last == NULL ? 0 : (size_t)(last - text) + 1;
    for (size_t length = 0; length <= strlen(text); length++) {
        bool ok = parse(text, length);
        CHECK(length != 0 || ok);
        CHECK(length == 0 || length >= whole || !ok);
    }
}

static void try_lists(void) {
    for (size_t i = 0; i < COUNT(g_good); i++) {
        CHECK(parse(g_good[i], strlen(g_good[i])));
        truncate_everywhere(g_good[i]);
    }
    for (size_t i = 0; i < COUNT(g_bad); i++) {
        CHECK(!parse(g_bad[i], strlen(g_bad[i])));
        for (size_t length = 1; length < strlen(g_bad[i]); length++) {
            parse(g_bad[i], length);
        }
    }
}

/* Each byte of each good text replaced by each of a few. */
static void replace_bytes(void) {
    static const char hostile[] = {'\0', '"', '\\', '{', '}', '[', ']', ',', ':', '\x80', '\xff'};
    for (size_t i = 0; i < COUNT(g_good); i++) {
        size_t length = strlen(g_good[i]);
        for (size_t at = 0; at < length * sizeof(hostile); at++) {
            char text[256];
            memcpy(text, g_good[i], length);
            text[at / sizeof(hostile)] = hostile[at % sizeof(hostile)];
            parse(text, length);
        }
    }
}

/* `count` times `unit`, between `head` and `tail`. */
static bool parse_repeated(const char *head, const char *unit, size_t count, const char *tail) {
    size_t unit_length = strlen(unit), length = strlen(head);
    char *text = malloc(length + count * unit_length + strlen(tail) + 1);
    CHECK(text != NULL);
    memcpy(text, head, length);
    for (size_t i = 0; i < count; i++, length += unit_length) {
        memcpy(text + length, unit, unit_length);
    }
    memcpy(text + length, tail, strlen(tail) + 1);
    bool ok = parse(text, length + strlen(tail));
    free(text);
    return ok;
}

static void nest_deeply(void) {
    for (size_t depth = 1; depth < MAX_TEXT * 2; depth = depth * 2 + 1) {
        CHECK(!parse_repeated("", "[", depth, ""));
        CHECK(!parse_repeated("{\"strict\":", "[", depth, ""));
        CHECK(!parse_repeated("", "{\"algorithms\":", depth, ""));
        CHECK(!parse_repeated("{\"algorithms\":", "[", depth, "}"));
    }
}

static void long_texts(void) {
    CHECK(parse_repeated("{", " ", MAX_TEXT - 2, "}"));
    CHECK(!parse_repeated("{", " ", MAX_TEXT - 1, "}"));
    CHECK(!parse_repeated("{", " ", MAX_TEXT * 64, "}"));
    CHECK(parse_repeated("{\"library\":\"/", "a", 60000, "\"}"));
    CHECK(!parse_repeated("{\"", "k", 60000, "\":1}"));
    CHECK(!parse_repeated("{\"policy\":\"", "\\u0000", 9000, "\"}"));
    CHECK(parse_repeated("{\"algorithms\":[\"p256\"", ",\"p384\"", 8000, "]}"));
    CHECK(!parse_repeated("{\"strict\":", "9", 60000, "}"));
    CHECK(parse_repeated("{\"strict\":true", ",\"strict\":false", 4000, "}"));
    CHECK(!parse_repeated("", "\xc3", 4096, ""));
    parse("{'strict':true}", 15); /* json-c takes single quotes round a name, even when strict */
    CHECK(!parse("\0", 1));
    CHECK(!parse("{}\0", 3));
    CHECK(!parse("{\"strict\"\0:true}", 16));
}

/* Random pieces of what the language knows, and random bytes. */
static void random_texts(uint64_t rounds, dice *d) {
    static const char *const pieces[] = {
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "true", "null", "1e9", "\"strict\"",
        "\"policy\"", "\"off\"", "\"algorithms\"", "\"p256\"", "\"library\"", "\"/x\"", " ", "/*",
    };
    for (uint64_t i = 0; i < rounds; i++) {
        char text[512];
        size_t length = 0;
        for (unsigned count = dice_below(d, 24); count > 0; count--) {
            const char *piece = pieces[dice_below(d, COUNT(pieces))];
            memcpy(text + length, piece, strlen(piece));
            length += strlen(piece);
        }
        if (dice_percent(d, 20)) {
            length = dice_below(d, sizeof(text));
            dice_bytes(d, (uint8_t *)text, length);
        }
        parse(text, length);
    }
}

void run_configurations(uint64_t rounds, uint64_t seed) {
    dice d = {seed};
    try_lists();
    replace_bytes();
    nest_deeply();
    long_texts();
    random_texts(rounds, &d);
}
