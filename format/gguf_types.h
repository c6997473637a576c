/* Every tensor type that GGUF files name, those that cannot be run included: so that any file can
 * be listed, and a model refused by the name of its type.
 *
 * X(id, "name", elements of a block, bytes of a block); 0, 0: the size is not known here. Ids 4, 5,
 * 31-33 and 36-38 were taken back by ggml; those from 97 on are private to ik_llama.cpp. The types
 * that can be used are the ones that format/dtype.h has, too; a test holds the two together.
 */
#pragma once

#define GGUF_TYPES(X) \
    X(0, "f32", 1, 4) \
    X(1, "f16", 1, 2) \
    X(2, "q4_0", 32, 18) \
    X(3, "q4_1", 32, 20) \
    X(4, "q4_2", 0, 0) \
    X(5, "q4_3", 0, 0) \
    X(6, "q5_0", 32, 22) \
    X(7, "q5_1", 32, 24) \
    X(8, "q8_0", 32, 34) \
    X(9, "q8_1", 32, 36) \
    X(10, "q2_k", 256, 84) \
    X(11, "q3_k", 256, 110) \
    X(12, "q4_k", 256, 144) \
    X(13, "q5_k", 256, 176) \
    X(14, "q6_k", 256, 210) \
    X(15, "q8_k", 256, 292) \
    X(16, "iq2_xxs", 256, 66) \
    X(17, "iq2_xs", 256, 74) \
    X(18, "iq3_xxs", 256, 98) \
    X(19, "iq1_s", 256, 50) \
    X(20, "iq4_nl", 32, 18) \
    X(21, "iq3_s", 256, 110) \
    X(22, "iq2_s", 256, 82) \
    X(23, "iq4_xs", 256, 136) \
    X(24, "i8", 1, 1) \
    X(25, "i16", 1, 2) \
    X(26, "i32", 1, 4) \
    X(27, "i64", 1, 8) \
    X(28, "f64", 1, 8) \
    X(29, "iq1_m", 256, 56) \
    X(30, "bf16", 1, 2) \
    X(31, "q4_0_4_4", 32, 18) \
    X(32, "q4_0_4_8", 32, 18) \
    X(33, "q4_0_8_8", 32, 18) \
    X(34, "tq1_0", 256, 54) \
    X(35, "tq2_0", 256, 66) \
    X(36, "iq4_nl_4_4", 32, 18) \
    X(37, "iq4_nl_4_8", 32, 18) \
    X(38, "iq4_nl_8_8", 32, 18) \
    X(39, "mxfp4", 32, 17) \
    X(40, "nvfp4", 64, 36) \
    X(41, "q1_0", 128, 18) \
    X(42, "q2_0", 64, 18) \
    X(133, "q6_0", 0, 0) \
    X(137, "iq2_k", 0, 0) \
    X(144, "iq4_ks", 0, 0)
