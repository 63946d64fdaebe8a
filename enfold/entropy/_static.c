/* The inner loop of static.py, which documents the stream and checks what this does not.
 *
 * Streams of one shape and under the same tables are decoded eight at a time, in step: each state
 * waits for its own look-up only, so the wait of one is the work of the others. A stream has one
 * 40-bit state, see rans.py; it takes a 16-bit word when it falls below 2^24, while there are any.
 * Any bytes may be read: what they hold decides which words are written, and nothing else.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#else
#define INLINE static __forceinline
#define UNROLL
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian machines: enfold will use its Python loops"
#endif

#define FLOOR ((uint64_t)1 << 24)

/* rest: the slot less its cell's start; word: what its cell stands for */
typedef struct { uint16_t count, rest; uint32_t word; } Slot;
typedef struct { const uint8_t *at, *end; uint64_t x; } Stream;

/* Reads a lone state's head. Returns 0, or -1 where the bytes begin no such stream. */
static int begin(Stream *s, const uint8_t *data, int64_t length)
{
    s->x = 1, s->at = s->end = data;
    if (!length) return 0;
    const int size = data[0] >> 3;
    if (data[0] & 7 || !size || size > 5 || length < 1 + size || (length - 1 - size) & 1 || !data[size]) return -1;
    for (int k = 0; k < size; k++) s->x += (uint64_t)data[1 + k] << (8 * k);
    s->at = data + 1 + size, s->end = data + length;
    return 0;
}

INLINE void decode_n(const Slot *slots, int precision, int tables, int64_t each, Stream *streams, uint32_t *out,
                     const int K)
{
    const uint64_t mask = ((uint64_t)1 << precision) - 1;
    const int64_t n = tables * each;
    uint64_t x[8];
    const uint8_t *at[8], *end[8];
    for (int k = 0; k < K; k++) x[k] = streams[k].x, at[k] = streams[k].at, end[k] = streams[k].end;
    for (int64_t t = 0; t < tables; t++) {
        const Slot *table = slots + ((size_t)t << precision);
        for (int64_t j = t * each; j < (t + 1) * each; j++)
            UNROLL for (int k = 0; k < K; k++) {
                const Slot slot = table[x[k] & mask];
                out[k * n + j] = slot.word;
                x[k] = slot.count * (x[k] >> precision) + slot.rest;
                const uint64_t refill = (x[k] < FLOOR) & (at[k] != end[k]);
                uint16_t word;      /* at the end: of the bytes before it, and not used */
                memcpy(&word, at[k] - (at[k] == end[k]) * 2, 2);
                x[k] = x[k] << (16 * refill) | (word & (0 - refill));
                at[k] += 2 * refill;
            }
    }
    for (int k = 0; k < K; k++) streams[k].x = x[k], streams[k].at = at[k];
}

/* decode(slots, precision, data, bounds, out) -> the number of a stream that is none, or -1
 * slots: tables << precision of them; bounds: int64 pairs; out: for each stream, tables * each words */
static PyObject *py_decode(PyObject *self, PyObject *args)
{
    Py_buffer b[4];
    int precision;
    if (!PyArg_ParseTuple(args, "y*iy*y*w*", &b[0], &precision, &b[1], &b[2], &b[3])) return NULL;
    const int64_t all = b[0].len / sizeof(Slot), count = b[2].len / 16;
    const int64_t *bounds = b[2].buf;
    const int64_t tables = precision >= 8 && precision <= 16 ? all >> precision : 0;
    int bad = !tables || all != tables << precision || b[2].len % 16;
    const int64_t each = !bad && count ? b[3].len / 4 / count / tables : 0;
    bad = bad || (count && b[3].len != 4 * count * tables * each);
    for (int64_t k = 0; k < count && !bad; k++)
        bad = bounds[2 * k] < 0 || bounds[2 * k + 1] < bounds[2 * k] || bounds[2 * k + 1] > b[1].len;
    int64_t broken = -1;
    if (!bad) {
        Py_BEGIN_ALLOW_THREADS
        static const uint8_t nothing[2] = {0, 0};
        uint32_t *out = b[3].buf;
        Stream s[8];
        for (int64_t k = 0; k < count && broken < 0;) {
            const int group = count - k >= 8 ? 8 : count - k >= 4 ? 4 : 1;
            for (int i = 0; i < group && broken < 0; i++) {
                const int64_t from = bounds[2 * (k + i)], length = bounds[2 * (k + i) + 1] - from;
                if (begin(&s[i], (const uint8_t *)b[1].buf + from, length)) broken = k + i;
                if (!length) s[i].at = s[i].end = nothing + 2;
            }
            if (broken >= 0) break;
            uint32_t *at = out + k * tables * each;
            if (group == 8) decode_n(b[0].buf, precision, (int)tables, each, s, at, 8);
            else if (group == 4) decode_n(b[0].buf, precision, (int)tables, each, s, at, 4);
            else decode_n(b[0].buf, precision, (int)tables, each, s, at, 1);
            for (int i = 0; i < group && broken < 0; i++)
                if (s[i].x != 1 || s[i].at != s[i].end) broken = k + i;
            k += group;
        }
        Py_END_ALLOW_THREADS
    }
    for (int k = 0; k < 4; k++) PyBuffer_Release(&b[k]);
    if (bad) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit together");
        return NULL;
    }
    return PyLong_FromLongLong(broken);
}

static PyMethodDef methods[] = {
    {"decode", py_decode, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_static", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__static(void) { return PyModuleDef_Init(&module); }
