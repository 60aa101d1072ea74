/* bhyve_mac.c: the MAC that bhyve makes from a machine's name (bhyve.h), and MD5 (RFC 1321) for it. */
#include "hyper/bhyve.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 64, LENGTH_AT = 56, NAME_MAX_BYTES = 64 };

/* floor(2^32 * |sin(i + 1)|); RFC 1321, 3.4. */
static const uint32_t sines[BLOCK] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};
static const unsigned char shifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static void block_add(uint32_t state[4], const unsigned char *block)
{
    uint32_t words[16], a = state[0], b = state[1], c = state[2], d = state[3];
    for (unsigned i = 0; i < 16; i++, block += 4)
        words[i] = block[0] | (uint32_t)block[1] << 8 | (uint32_t)block[2] << 16 | (uint32_t)block[3] << 24;
    for (unsigned i = 0; i < BLOCK; i++) {
        uint32_t mixed;
        unsigned at;
        if (i < 16)
            mixed = (b & c) | (~b & d), at = i;
        else if (i < 32)
            mixed = (d & b) | (~d & c), at = (5 * i + 1) % 16;
        else if (i < 48)
            mixed = b ^ c ^ d, at = (3 * i + 5) % 16;
        else
            mixed = c ^ (b | ~d), at = 7 * i % 16;
        unsigned shift = shifts[i / 16][i % 4];
        uint32_t sum = a + mixed + sines[i] + words[at];
        a = d, d = c, c = b;
        b += sum << shift | sum >> (32 - shift);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

void bhyve_mac(const char *machine, unsigned slot, unsigned function, struct mac *mac)
{
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    unsigned char text[2 * BLOCK] = {0};
    int length = snprintf((char *)text, sizeof(text), "%u-%u-%.*s", slot, function, NAME_MAX_BYTES, machine);
    size_t blocks = length < LENGTH_AT ? 1 : 2;
    text[length] = 0x80;
    text[(blocks - 1) * BLOCK + LENGTH_AT] = (unsigned char)(length * 8);
    text[(blocks - 1) * BLOCK + LENGTH_AT + 1] = (unsigned char)(length * 8 >> 8);
    for (size_t i = 0; i < blocks; i++)
        block_add(state, text + i * BLOCK);
    *mac = (struct mac){.bytes = {0x00, 0xa0, 0x98, (unsigned char)state[0], (unsigned char)(state[0] >> 8),
                                  (unsigned char)(state[0] >> 16)}};
}
