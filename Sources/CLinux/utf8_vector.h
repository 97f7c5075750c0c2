// UTF-8 validation 32 bytes at a time, by table look-ups: John Keiser, Daniel Lemire, "Validating UTF-8 In Less Than One
// Instruction Per Byte" (Software: Practice and Experience 51, 2021). Each pair of neighbouring bytes is classified by
// three look-ups of half a byte; a bit that survives all three names an error.
#ifndef CLINUX_UTF8_VECTOR_H
#define CLINUX_UTF8_VECTOR_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    utf8_too_short = 1 << 0,      // a lead byte without its continuation
    utf8_too_long = 1 << 1,       // a continuation behind ASCII
    utf8_overlong_3 = 1 << 2,     // E0 80…9F
    utf8_too_large = 1 << 3,      // F4 90…, F5 and up
    utf8_surrogate = 1 << 4,      // ED A0…BF
    utf8_overlong_2 = 1 << 5,     // C0, C1
    utf8_overlong_4 = 1 << 6,     // F0 80…8F; shares its bit with F5…FF 80…8F, which no other entry has
    utf8_two_conts = 1 << 7,      // a continuation behind a continuation: right only as third or fourth byte
    utf8_carry = utf8_too_short | utf8_too_long | utf8_two_conts,
};

#define UTF8_TABLE(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                                     \
    _mm256_setr_epi8((char)(a), (char)(b), (char)(c), (char)(d), (char)(e), (char)(f), (char)(g), (char)(h), (char)(i), \
                     (char)(j), (char)(k), (char)(l), (char)(m), (char)(n), (char)(o), (char)(p), (char)(a), (char)(b), \
                     (char)(c), (char)(d), (char)(e), (char)(f), (char)(g), (char)(h), (char)(i), (char)(j), (char)(k), \
                     (char)(l), (char)(m), (char)(n), (char)(o), (char)(p))

// Checks whole blocks of `bytes`, which begin at a character boundary. Returns a boundary up to which all is right: the
// last one of the blocks, or one before the block in which something is wrong.
__attribute__((target("avx2"))) static inline size_t CLinux_utf8_valid_prefix_avx2(const uint8_t *bytes, size_t count) {
    const __m256i first_high = UTF8_TABLE(
        utf8_too_long, utf8_too_long, utf8_too_long, utf8_too_long, utf8_too_long, utf8_too_long, utf8_too_long,
        utf8_too_long, utf8_two_conts, utf8_two_conts, utf8_two_conts, utf8_two_conts, utf8_too_short | utf8_overlong_2,
        utf8_too_short, utf8_too_short | utf8_overlong_3 | utf8_surrogate,
        utf8_too_short | utf8_too_large | utf8_overlong_4);
    const int large = utf8_carry | utf8_too_large | utf8_overlong_4;
    const __m256i first_low = UTF8_TABLE(
        utf8_carry | utf8_overlong_3 | utf8_overlong_2 | utf8_overlong_4, utf8_carry | utf8_overlong_2, utf8_carry,
        utf8_carry, utf8_carry | utf8_too_large, large, large, large, large, large, large, large, large,
        large | utf8_surrogate, large, large);
    const int any_cont = utf8_too_long | utf8_overlong_2 | utf8_two_conts;
    const __m256i second_high = UTF8_TABLE(
        utf8_too_short, utf8_too_short, utf8_too_short, utf8_too_short, utf8_too_short, utf8_too_short, utf8_too_short,
        utf8_too_short, any_cont | utf8_overlong_3 | utf8_overlong_4, any_cont | utf8_overlong_3 | utf8_too_large,
        any_cont | utf8_surrogate | utf8_too_large, any_cont | utf8_surrogate | utf8_too_large, utf8_too_short,
        utf8_too_short, utf8_too_short, utf8_too_short);
    const __m256i half = _mm256_set1_epi8(0x0F);

    __m256i previous = _mm256_setzero_si256();
    size_t at = 0;
    for (; at + 32 <= count; at += 32) {
        const __m256i input = _mm256_loadu_si256((const __m256i *)(bytes + at));
        // The end of the block before, shifted in front of this one.
        const __m256i joined = _mm256_permute2x128_si256(previous, input, 0x21);
        const __m256i back1 = _mm256_alignr_epi8(input, joined, 15);
        const __m256i back2 = _mm256_alignr_epi8(input, joined, 14);
        const __m256i back3 = _mm256_alignr_epi8(input, joined, 13);
        const __m256i wrong = _mm256_and_si256(
            _mm256_and_si256(
                _mm256_shuffle_epi8(first_high, _mm256_and_si256(_mm256_srli_epi16(back1, 4), half)),
                _mm256_shuffle_epi8(first_low, _mm256_and_si256(back1, half))),
            _mm256_shuffle_epi8(second_high, _mm256_and_si256(_mm256_srli_epi16(input, 4), half)));
        // Third and fourth bytes must be continuations behind continuations, and no others may be.
        const __m256i third = _mm256_subs_epu8(back2, _mm256_set1_epi8((char)(0xE0 - 0x80)));
        const __m256i fourth = _mm256_subs_epu8(back3, _mm256_set1_epi8((char)(0xF0 - 0x80)));
        const __m256i due = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));
        const __m256i error = _mm256_xor_si256(due, wrong);
        if (!_mm256_testz_si256(error, error)) break;
        previous = input;
    }
    // A character that goes on behind the blocks is left to the caller.
    for (size_t back = 1; back <= 3 && back <= at; back++) {
        const uint8_t byte = bytes[at - back];
        if ((byte & 0xC0) == 0x80) continue;
        const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
        return length > back ? at - back : at;
    }
    return at;
}

static inline int CLinux_has_avx2(void) { return __builtin_cpu_supports("avx2"); }
#else
static inline size_t CLinux_utf8_valid_prefix_avx2(const uint8_t *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return 0;
}

static inline int CLinux_has_avx2(void) { return 0; }
#endif

#endif
