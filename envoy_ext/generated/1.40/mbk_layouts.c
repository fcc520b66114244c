/*
 * Memory layouts of the BoringSSL builds inside Envoy 1.40.
 * generated from 1.40.yaml by python -m envoy_ext gen; do not edit
 */
#include "mbk_layout.h"

const mbk_layout mbk_layouts[] = {
    {
        .name = "boringssl-0.20260813.0",
        .ctx_cert = 0x150,
        .ssl_config = 0x8,
        .config_cert = 0x38,
        .cert_cred = 0x18,
        .cred_pubkey = 0x8,
        .cred_privkey = 0x10,
        .cred_method = 0x18,
        .pkey_key = 0x8,
        .rsa_n = 0x10,
        .rsa_e = 0x18,
        .rsa_d = 0x20,
        .rsa_p = 0x28,
        .rsa_q = 0x30,
        .rsa_dmp1 = 0x38,
        .rsa_dmq1 = 0x40,
        .rsa_iqmp = 0x48,
        .bn_limbs = 0x0,
        .bn_width = 0x8,
        .bn_alloc = 0xc,
        .ec_point = 0x10,
        .ec_scalar = 0x18,
        .scalar_bn = 0x0,
        .point_x = 0x8,
        .point_y = 0x50,
        .point_z = 0x98,
        .cred_chain = 0x30,
        .stack_data = 0x8,
        .buffer_data = 0x8,
        .buffer_length = 0x10,
        .ssl_bio = 0x18,
        .bio_data = 0x30,
        .io_fd = 0x8,
    },
};

const size_t mbk_layouts_count = 1;
