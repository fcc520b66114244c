#include "keyfile.h"

#include <stdlib.h>
#include <string.h>

#include "driver.h"

#define LINE_MAX_BYTES 16384

/* Sixteen digits a limb, from the end. */
static size_t parse_hex(const char *text, uint64_t *limbs) {
    size_t left = strlen(text), width = 0;
    while (left > 0) {
        char digits[17] = {0};
        size_t count = left < 16 ? left : 16;
        left -= count;
        memcpy(digits, text + left, count);
        CHECK(width < MBK_MAX_BYTES / 8);
        limbs[width++] = strtoull(digits, NULL, 16);
    }
    return width;
}

static void parse_line(char *line, key_numbers *key) {
    char *rest = NULL;
    const char *kind = strtok_r(line, " \n", &rest);
    CHECK(kind != NULL);
    key->rsa = strcmp(kind, "rsa") == 0;
    key->algorithm = strcmp(kind, "p256") == 0 ? MBK_P256 : MBK_P384;
    unsigned count = key->rsa ? KEY_NUMBERS : 1;
    for (unsigned i = 0; i < count; i++) {
        const char *text = strtok_r(NULL, " \n", &rest);
        CHECK(text != NULL);
        key->width[i] = parse_hex(text, key->limbs[i]);
    }
}

unsigned keyfile_read(const char *path, key_numbers keys[KEYS_MAX]) {
    char *line = malloc(LINE_MAX_BYTES);
    FILE *file = fopen(path, "r");
    unsigned count = 0;
    CHECK(line != NULL && file != NULL);
    while (count < KEYS_MAX && fgets(line, LINE_MAX_BYTES, file) != NULL) {
        parse_line(line, &keys[count++]);
    }
    fclose(file);
    free(line);
    CHECK(count > 0);
    return count;
}

static mbk_number number(const key_numbers *key, unsigned i) {
    return (mbk_number){key->limbs[i], key->width[i]};
}

mbk_status keyfile_load(mbk_engine *engine, const key_numbers *numbers, mbk_policy policy,
                        mbk_key **out) {
    if (!numbers->rsa) {
        return mbk_key_new_ec(engine, numbers->algorithm, number(numbers, 0), policy, out);
    }
    mbk_rsa_numbers rsa = {number(numbers, 0), number(numbers, 1), number(numbers, 2),
                           number(numbers, 3), number(numbers, 4), number(numbers, 5),
                           number(numbers, 6), number(numbers, 7)};
    return mbk_key_new_rsa(engine, &rsa, policy, out);
}
