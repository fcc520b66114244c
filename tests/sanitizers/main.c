/*
 * driver LANES LIBRARY MODULE_DIR STATS_FILE stress KEYS SAMPLES THREADS OPERATIONS SEED
 * driver LANES LIBRARY MODULE_DIR STATS_FILE connections OPERATIONS SEED
 * driver configurations ROUNDS SEED
 *
 * LANES is "portable" or "crypto_mb". The driver itself does not use libcrypto: it belongs to the
 * engine, with the engine's allocator, as in a proxy.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"

uint64_t dice_roll(dice *d) {
    uint64_t mixed = d->state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

unsigned dice_below(dice *d, unsigned sides) { return (unsigned)(dice_roll(d) % sides); }

bool dice_percent(dice *d, unsigned percent) { return dice_below(d, 100) < percent; }

void dice_bytes(dice *d, uint8_t *out, size_t length) {
    for (size_t i = 0; i < length; i++) {
        out[i] = (uint8_t)dice_roll(d);
    }
}

static mbk_engine *open_engine(char **argv) {
    mbk_engine_options options = {
        .library = argv[2][0] == '\0' ? NULL : argv[2],
        .module_dir = argv[3],
        .lanes = strcmp(argv[1], "portable") == 0 ? MBK_LANES_PORTABLE : MBK_LANES_CRYPTO_MB,
    };
    mbk_engine *engine = NULL;
    mbk_status status = mbk_engine_get(&options, &engine);
    if (status != MBK_OK) {
        fprintf(stderr, "engine: %s (%s)\n", mbk_status_text(status), mbk_engine_load_error());
        exit(3);
    }
    status = mbk_engine_lanes_status(engine);
    if (status == MBK_ERR_CPU || status == MBK_ERR_LIBRARY) {
        printf("%s %s\n", mbk_status_text(status), mbk_engine_load_error());
        exit(EXIT_SKIPPED);
    }
    CHECK(status == MBK_OK);
    CHECK(mbk_engine_publish_stats(engine, argv[4]) == MBK_OK);
    return engine;
}

static uint64_t number(const char *text) { return strtoull(text, NULL, 10); }

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "configurations") == 0) {
        run_configurations(number(argv[2]), number(argv[3]));
    } else if (argc == 8 && strcmp(argv[5], "connections") == 0) {
        run_connections(open_engine(argv), number(argv[6]), number(argv[7]));
    } else if (argc == 11 && strcmp(argv[5], "stress") == 0) {
        stress_options options = {argv[6], argv[7], (unsigned)number(argv[8]), number(argv[9]),
                                  number(argv[10])};
        run_stress(open_engine(argv), &options);
    } else {
        fprintf(stderr, "wrong arguments\n");
        return 2;
    }
    printf("passed\n");
    return 0;
}
