/* The inner loops of rans.py, which documents the stream and checks what these do not.
 *
 * A state x is 40 bits wide and kept in [2^24, 2^40) by moving 16-bit words; with less than
 * 2^24 a state is spent, and takes a word if there is one. Everything arrives as buffers. The
 * tables are those of a Tables object and are trusted; indices, values and streams are not.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define UNROLL _Pragma("GCC unroll 32")
#define HIGH(a, b) ((uint64_t)(((unsigned __int128)(a) * (b)) >> 64))
#elif defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#define INLINE static __forceinline
#define UNLIKELY(x) (x)
#define UNROLL
#define HIGH(a, b) __umulh(a, b)
#else
#error "no 64-bit multiplication known here: enfold will use its Python loops"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian machines: enfold will use its Python loops"
#endif

#define FLOOR ((uint64_t)1 << 24)
#define ESCAPE ((uint32_t)1 << 31)      /* marks cells that are escapes */
#define BUCKET 4                        /* slots that share an entry of the look-up */
#define MOST_WORDS 4                    /* a symbol and its overshoot: 16 + 5 * 8 bits */
enum { BAD_INDEX = -1, EXHAUSTED = -2, BAD_OVERSHOOT = -3, NO_MEMORY = -4 };

typedef struct { int32_t low; uint32_t first, size, share; } Span;
typedef struct { uint16_t count, before; } Share;       /* before: the last slot before the cell */
typedef struct { uint64_t reciprocal; uint32_t bias; uint16_t count, rest; } Reciprocal;

/* ---- values to cells ---------------------------------------------------------------------- */

/* Writes each value's cell, adds up costs, and lists the overshoots in memory that the caller
 * frees. Returns how many they are, or an error. */
static int64_t locate(const Span *spans, uint32_t tables, const uint64_t *costs,
                      const int32_t *index, const int32_t *values, int64_t n,
                      uint32_t *cells, uint64_t *units, uint64_t **overshoot)
{
    uint64_t total = 0;
    int64_t escapes = 0, room = 0;
    for (int64_t j = 0; j < n; j++) {
        const uint32_t table = (uint32_t)index[j];
        if (UNLIKELY(table >= tables)) return BAD_INDEX;
        const Span span = spans[table];
        const int64_t symbol = (int64_t)values[j] - span.low;
        uint32_t cell = span.first + (uint32_t)symbol, mark = 0;
        if (UNLIKELY((uint64_t)symbol >= span.size)) {
            if (escapes == room) {
                uint64_t *grown = realloc(*overshoot, (room = 2 * room + 64) * sizeof(uint64_t));
                if (!grown) return NO_MEMORY;
                *overshoot = grown;
            }
            (*overshoot)[escapes++] = symbol < 0 ? -2 * symbol - 1 : 2 * (symbol - span.size);
            cell = span.first + span.size;
            mark = ESCAPE;
        }
        total += costs[cell];
        cells[j] = cell | mark;
    }
    *units = total;
    return escapes;
}

/* ---- encoding, last symbol first ---------------------------------------------------------- */

typedef struct {
    const Reciprocal *cells;
    const uint64_t *overshoot;      /* one past the next to write */
    uint8_t *at;                    /* words grow downwards from here */
    int precision;
} Writer;

INLINE void put_byte(Writer *w, uint64_t *x, uint64_t byte)
{
    if (*x >> 32) {
        w->at -= 2;
        memcpy(w->at, x, 2);
        *x >>= 16;
    }
    *x = *x << 8 | byte;
}

static void put_overshoot(Writer *w, uint64_t *x)
{
    const uint64_t v = *--w->overshoot;
    int last = 0;
    while (last < 4 && v >> (7 * (last + 1))) last++;
    for (int k = last; k >= 0; k--) put_byte(w, x, (v >> (7 * k) & 127) | (k < last ? 128 : 0));
}

INLINE void put(Writer *w, uint64_t *state, uint32_t cell)
{
    if (UNLIKELY(cell & ESCAPE)) {
        put_overshoot(w, state);
        cell &= ~ESCAPE;
    }
    const Reciprocal c = w->cells[cell];
    uint64_t x = *state;
    const unsigned full = x >= (uint64_t)c.count << (40 - w->precision);
    const uint16_t word = (uint16_t)x;
    memcpy(w->at - 2, &word, 2);            /* kept only if the state is full */
    w->at -= 2 * full;
    x >>= 16 * full;
    *state = x + c.bias + HIGH(x, c.reciprocal) * c.rest;
}

INLINE void encode_n(Writer *writer, const uint32_t *cells, int64_t n, uint64_t *state, const int N)
{
    Writer w = *writer;
    uint64_t x[32];
    int64_t j = n;
    for (; j % N; j--) put(&w, &state[(j - 1) % N], cells[j - 1]);
    for (int k = 0; k < N; k++) x[k] = state[k];
    for (; j > 0; j -= N)
        UNROLL for (int k = N - 1; k >= 0; k--) put(&w, &x[k], cells[j - N + k]);
    for (int k = 0; k < N; k++) state[k] = x[k];
    *writer = w;
}

static void encode_all(Writer *w, const uint32_t *cells, int64_t n, uint64_t *state, int N)
{
    switch (N) {
    case 1: encode_n(w, cells, n, state, 1); break;
    case 2: encode_n(w, cells, n, state, 2); break;
    case 4: encode_n(w, cells, n, state, 4); break;
    case 8: encode_n(w, cells, n, state, 8); break;
    case 16: encode_n(w, cells, n, state, 16); break;
    default: encode_n(w, cells, n, state, 32);
    }
}

/* ---- decoding ----------------------------------------------------------------------------- */

typedef struct {
    const Span *spans;
    const uint16_t *buckets;
    const Share *shares;
    const uint8_t *end;
    uint32_t tables;
    int precision, may_end;         /* may_end: a lone state may run below its floor */
} Source;

typedef struct { uint64_t x; const uint8_t *at; } Place;        /* a state and where words are */

INLINE int refill(const Source *s, Place *p)
{
    if (p->x < FLOOR) {
        if (s->end - p->at < 2) return s->may_end ? 0 : EXHAUSTED;
        uint16_t word;
        memcpy(&word, p->at, 2);
        p->at += 2;
        p->x = p->x << 16 | word;
    }
    return 0;
}

/* Reads an overshoot and turns it into a value. */
static int get_escaped(const Source *s, Place *p, Span span, int32_t *value)
{
    uint64_t v = 0, byte = 128;
    for (int k = 0; byte & 128; k++) {
        if (k == 5) return BAD_OVERSHOOT;
        byte = p->x & 255;
        p->x >>= 8;
        if (refill(s, p)) return EXHAUSTED;
        v |= (byte & 127) << (7 * k);
    }
    const int64_t far = (int64_t)(v >> 1), low = span.low;
    const int64_t found = v & 1 ? low - 1 - far : low + span.size + far;
    if (found < INT32_MIN || found > INT32_MAX) return BAD_OVERSHOOT;
    *value = (int32_t)found;
    return 0;
}

/* One symbol. `ample`: so many words are left that none need be counted. */
INLINE int get(const Source *s, Place *place, uint32_t table, int32_t *value, const int ample)
{
    if (UNLIKELY(table >= s->tables)) return BAD_INDEX;
    Place p = *place;
    const Span span = s->spans[table];
    const uint32_t slot = (uint32_t)p.x & ((1u << s->precision) - 1);
    const uint32_t first = s->buckets[((size_t)table << s->precision | slot) / BUCKET];
    const Share *near = &s->shares[span.share + first];
    uint32_t further = 0;           /* counted, not searched for: its end could not be predicted */
    for (int k = 1; k < BUCKET; k++) further += slot > near[k].before;
    const uint32_t symbol = first + further;
    p.x = near[further].count * (p.x >> s->precision) + (uint16_t)(slot - near[further].before - 1);
    *value = (int32_t)((uint32_t)span.low + symbol);
    if (ample) {                    /* no branch: whether a word enters is anyone's guess */
        uint16_t word;
        memcpy(&word, p.at, 2);
        const uint64_t spent = p.x < FLOOR;
        p.x = p.x << (16 * spent) | (word & (0 - spent));
        p.at += 2 * spent;
    } else if (refill(s, &p)) return EXHAUSTED;
    if (UNLIKELY(symbol == span.size)) {
        Place cold = p;             /* its own, that p may live in registers */
        const int failed = get_escaped(s, &cold, span, value);
        if (failed) return failed;
        p = cold;
    }
    *place = p;
    return 0;
}

INLINE int64_t decode_n(const Source *source, const uint8_t **from, const int32_t *index, int64_t n,
                        int32_t *values, uint64_t *state, const int N)
{
    const Source s = *source;
    const uint8_t *at = *from;
    uint64_t x[32];
    int64_t j = 0;
    int failed;
    for (int k = 0; k < N; k++) x[k] = state[k];
    for (; j + N <= n && s.end - at >= 2 * MOST_WORDS * N; j += N)
        UNROLL for (int k = 0; k < N; k++) {
            Place p = {x[k], at};
            if ((failed = get(&s, &p, (uint32_t)index[j + k], &values[j + k], 1))) return failed;
            x[k] = p.x, at = p.at;
        }
    for (int k = 0; k < N; k++) state[k] = x[k];
    for (; j < n; j++) {
        Place p = {state[j % N], at};
        if ((failed = get(&s, &p, (uint32_t)index[j], &values[j], 0))) return failed;
        state[j % N] = p.x, at = p.at;
    }
    *from = at;
    return 0;
}

static int64_t decode_all(const Source *s, const uint8_t **at, const int32_t *index, int64_t n,
                          int32_t *values, uint64_t *state, int N)
{
    switch (N) {
    case 1: return decode_n(s, at, index, n, values, state, 1);
    case 2: return decode_n(s, at, index, n, values, state, 2);
    case 4: return decode_n(s, at, index, n, values, state, 4);
    case 8: return decode_n(s, at, index, n, values, state, 8);
    case 16: return decode_n(s, at, index, n, values, state, 16);
    default: return decode_n(s, at, index, n, values, state, 32);
    }
}

/* ---- Python's side ------------------------------------------------------------------------ */

static void release(Py_buffer *views, int n)
{
    for (int k = 0; k < n; k++) PyBuffer_Release(&views[k]);
}

static int states_of(const Py_buffer *view)
{
    const Py_ssize_t N = view->len / 8;
    return N >= 1 && N <= 32 && (N & (N - 1)) == 0 && view->len == 8 * N ? (int)N : 0;
}

static PyObject *refuse(Py_buffer *views, int n)
{
    release(views, n);
    PyErr_SetString(PyExc_ValueError, "buffers do not fit together");
    return NULL;
}

/* locate(spans, costs, index, values, cells) -> (units, overshoots as bytes), or an error */
static PyObject *py_locate(PyObject *self, PyObject *args)
{
    Py_buffer b[5];
    if (!PyArg_ParseTuple(args, "y*y*y*y*w*", &b[0], &b[1], &b[2], &b[3], &b[4])) return NULL;
    if (b[2].len != b[3].len || b[2].len != b[4].len) return refuse(b, 5);
    uint64_t units = 0, *overshoot = NULL;
    int64_t escapes;
    Py_BEGIN_ALLOW_THREADS
    escapes = locate(b[0].buf, (uint32_t)(b[0].len / sizeof(Span)), b[1].buf, b[2].buf, b[3].buf,
                     b[2].len / 4, b[4].buf, &units, &overshoot);
    Py_END_ALLOW_THREADS
    PyObject *result;
    if (escapes == NO_MEMORY) result = PyErr_NoMemory();
    else if (escapes < 0) result = PyLong_FromLongLong(escapes);
    else result = Py_BuildValue("Ky#", (unsigned long long)units, overshoot ? (char *)overshoot : "",
                                (Py_ssize_t)(escapes * sizeof(uint64_t)));
    free(overshoot);
    release(b, 5);
    return result;
}

/* encode(reciprocals, precision, cells, overshoot, states) -> words, as bytes */
static PyObject *py_encode(PyObject *self, PyObject *args)
{
    Py_buffer b[4];
    int precision;
    if (!PyArg_ParseTuple(args, "y*iy*y*w*", &b[0], &precision, &b[1], &b[2], &b[3])) return NULL;
    const int N = states_of(&b[3]);
    const int64_t n = b[1].len / 4, known = b[0].len / sizeof(Reciprocal);
    const uint32_t *cells = b[1].buf;
    int64_t escapes = 0, bad = !N || precision < 8 || precision > 16;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t j = 0; j < n; j++) {
        escapes += cells[j] >> 31;
        bad |= (cells[j] & ~ESCAPE) >= known;
    }
    Py_END_ALLOW_THREADS
    if (bad || escapes != b[2].len / 8) return refuse(b, 4);
    const size_t room = 2 * (n + (MOST_WORDS - 1) * escapes + 1);
    uint8_t *words = malloc(room);
    if (!words) {
        release(b, 4);
        return PyErr_NoMemory();
    }
    Writer w = {b[0].buf, (const uint64_t *)b[2].buf + escapes, words + room, precision};
    Py_BEGIN_ALLOW_THREADS
    encode_all(&w, cells, n, b[3].buf, N);
    Py_END_ALLOW_THREADS
    PyObject *result = PyBytes_FromStringAndSize((char *)w.at, words + room - w.at);
    free(words);
    release(b, 4);
    return result;
}

/* decode(spans, buckets, shares, precision, index, values, data, offset, states) -> offset or error */
static PyObject *py_decode(PyObject *self, PyObject *args)
{
    Py_buffer b[7];
    int precision;
    Py_ssize_t offset;
    if (!PyArg_ParseTuple(args, "y*y*y*iy*w*y*nw*", &b[0], &b[1], &b[2], &precision, &b[3], &b[4],
                          &b[5], &offset, &b[6])) return NULL;
    const int N = states_of(&b[6]);
    const int64_t tables = b[0].len / sizeof(Span);
    if (!N || precision < 8 || precision > 16 || b[3].len != b[4].len || offset < 0
        || offset > b[5].len || b[1].len != (Py_ssize_t)(tables << (precision + 1)) / BUCKET)
        return refuse(b, 7);
    const uint8_t *data = b[5].buf;
    const uint8_t *at = data + offset;
    const Source s = {b[0].buf, b[1].buf, b[2].buf, data + b[5].len, (uint32_t)tables, precision, N == 1};
    int64_t result;
    Py_BEGIN_ALLOW_THREADS
    result = decode_all(&s, &at, b[3].buf, b[3].len / 4, b[4].buf, b[6].buf, N);
    Py_END_ALLOW_THREADS
    release(b, 7);
    return PyLong_FromLongLong(result ? result : at - data);
}

static PyMethodDef methods[] = {
    {"locate", py_locate, METH_VARARGS, NULL},
    {"encode", py_encode, METH_VARARGS, NULL},
    {"decode", py_decode, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_rans", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__rans(void) { return PyModuleDef_Init(&module); }
