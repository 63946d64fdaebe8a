/* The range coder of cumulative.py, which documents it, for kernels that hold it in their inner loop. */
#ifndef ENFOLD_CUMULATIVE_H
#define ENFOLD_CUMULATIVE_H
#include <stdint.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static __forceinline
#endif

#define LEAST ((uint64_t)1 << 48)
#define WHOLE ((uint64_t)1 << 56)

/* writing: low, and bytes from `begin` to `at`; reading: `low` is how far the code lies above it */
typedef struct { uint64_t low, range; uint8_t *begin, *at, *end; int64_t past; } Coder;

INLINE void put(Coder *c, uint64_t byte)
{
    *c->at++ = (uint8_t)byte;
}

static void carry(Coder *c)
{
    uint8_t *at = c->at;
    while (!++*--at) {}             /* never before `begin`: the code stays below 1 */
}

INLINE void write_interval(Coder *c, uint64_t start, uint64_t count, uint64_t total)
{
    const uint64_t unit = c->range / total;
    c->low += unit * start;
    c->range = unit * count;
    if (c->low >= WHOLE) {
        carry(c);
        c->low -= WHOLE;
    }
    for (; c->range < LEAST; c->range <<= 8) {
        put(c, c->low >> 48);
        c->low = (c->low << 8) & (WHOLE - 1);
    }
}

/* The fewest bytes that lie in the last interval, whatever zeros follow. */
static void write_end(Coder *c)
{
    for (int kept = 0; kept <= 7; kept++) {
        const uint64_t mask = (WHOLE >> (8 * kept)) - 1;
        uint64_t code = (c->low + mask) & ~mask;
        if (code - c->low >= c->range) continue;
        if (code >= WHOLE) carry(c);
        for (int n = 0; n < kept; n++) put(c, code >> (48 - 8 * n));
        break;
    }
    while (c->at > c->begin && !c->at[-1]) c->at--;
}

INLINE uint64_t next_byte(Coder *c)
{
    if (c->at < c->end) return *c->at++;
    c->past++;
    return 0;
}

INLINE void read_interval(Coder *c, uint64_t unit, uint64_t start, uint64_t count)
{
    c->low -= unit * start;
    c->range = unit * count;
    for (; c->range < LEAST; c->range <<= 8) c->low = c->low << 8 | next_byte(c);
}

INLINE void open_writing(Coder *c, uint8_t *begin, uint8_t *end)
{
    *c = (Coder){0, WHOLE - 1, begin, begin, end, 0};
}

/* Returns whether the bytes may be a stream's. */
INLINE int open_reading(Coder *c, uint8_t *begin, uint8_t *end)
{
    *c = (Coder){0, WHOLE - 1, begin, begin, end, 0};
    for (int k = 0; k < 7; k++) c->low = c->low << 8 | next_byte(c);
    return c->low < c->range;
}

/* Whether a stream was read to its end, and ends as one does. */
INLINE int ended(const Coder *c)
{
    return c->at == c->end && (c->begin == c->end || c->end[-1]);
}

#endif
