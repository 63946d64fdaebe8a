/* The inner loops of walk.py, which documents the arithmetic and checks what these do not.
 *
 * Images of several streams go through the tree in step: beliefs lie state by state, an image beside
 * the other, so that all that is done to them is done to a vector. Numbers are integers below 2^53,
 * held in doubles: every sum of them is exact, in whatever order it is taken.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../entropy/cumulative.h"

#if defined(__GNUC__)
#define WHOLE_LOOP _Pragma("GCC unroll 1")      /* taken apart, it would not be made a vector's */
#else
#define WHOLE_LOOP
#endif
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { MANY = 16, FEW = 4, ROWS = 4, MOST_STATES = 128 };
enum { SYMBOL, DOWN, UP };          /* what a step does */
enum { TOP = 25, TOTAL = 31 };      /* exponents: of the largest element of a belief, of an interval's total */

/* ---- beliefs ------------------------------------------------------------------------------- */

typedef struct {
    const int32_t *steps;           /* (count, 3): what, the variable or node, depth */
    const float *leaf, *transition, *root;  /* cumulative (variables, values + 1, H), (nodes, H, H), (H) */
    int64_t count, variables, values, H;
} Walk;

/* (H, K): each image's largest element to 2^25 … 2^26, the others by the same power of two, none below 1 */
INLINE void settle(double *p, int64_t H, const int K)
{
    double most[MANY], scale[MANY];
    for (int i = 0; i < K; i++) most[i] = p[i];
    for (int64_t k = 1; k < H; k++)
        WHOLE_LOOP for (int i = 0; i < K; i++) most[i] = p[k * K + i] > most[i] ? p[k * K + i] : most[i];
    for (int i = 0; i < K; i++) {
        uint64_t bits;
        memcpy(&bits, most + i, 8);
        bits = (uint64_t)(2 * 1023 + TOP - (int64_t)(bits >> 52)) << 52;
        memcpy(scale + i, &bits, 8);
    }
    for (int64_t k = 0; k < H; k++)
        WHOLE_LOOP for (int i = 0; i < K; i++) p[k * K + i] = (double)(int32_t)(p[k * K + i] * scale[i]) + 1;
}

/* out (H, K): sum over n of w[r, n] in[n, i], w by strides */
INLINE void product(const float *w, int64_t w_row, int64_t w_n, const double *in, double *out, int64_t H, const int K)
{
    for (int64_t r = 0; r < H; r += ROWS) {
        double sum[ROWS][MANY] = {{0}};
        for (int64_t n = 0; n < H; n++)
            for (int q = 0; q < ROWS; q++) {
                const double weight = w[(r + q) * w_row + n * w_n];
                WHOLE_LOOP for (int i = 0; i < K; i++) sum[q][i] += weight * in[n * K + i];
            }
        for (int q = 0; q < ROWS; q++)
            for (int i = 0; i < K; i++) out[(r + q) * K + i] = sum[q][i];
    }
}

INLINE double dot(const double *a, const float *f, int64_t H)
{
    double sum[4] = {0};
    for (int64_t k = 0; k < H; k += 4)
        for (int q = 0; q < 4; q++) sum[q] += a[k + q] * f[k + q];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* One value of one image under its belief `own` (H): written, or read into *value. Returns -1 for a code of no value. */
INLINE int code(Coder *c, const Walk *w, const float *table, const double *own, uint8_t *value, const int reading)
{
    const int64_t H = w->H;
    const double all = dot(own, table + w->values * H, H);
    uint64_t bits;
    memcpy(&bits, &all, 8);
    bits = (uint64_t)(2 * 1023 + TOTAL - (int64_t)(bits >> 52)) << 52;
    double scale;
    memcpy(&scale, &bits, 8);
    const uint64_t total = (uint64_t)(all * scale);
    if (!reading) {
        const uint64_t start = (uint64_t)(dot(own, table + *value * H, H) * scale);
        const uint64_t end = (uint64_t)(dot(own, table + (*value + 1) * H, H) * scale);
        write_interval(c, start, end - start, total);
        return 0;
    }
    const uint64_t unit = c->range / total, wanted = c->low / unit;
    if (wanted >= total) return -1;
    int64_t least = 0, beyond = w->values, probe = 1;      /* the smallest value is often the likeliest */
    uint64_t start = 0, end = total;
    while (beyond - least > 1) {
        const uint64_t here = (uint64_t)(dot(own, table + probe * H, H) * scale);
        if (here <= wanted) least = probe, start = here;
        else beyond = probe, end = here;
        probe = (least + beyond) / 2;
    }
    *value = (uint8_t)least;
    read_interval(c, unit, start, end - start);
    return 0;
}

/* K images, one of each coder: x (K, variables); `count` of them are real. Returns -1, or the number of a broken one. */
INLINE int walk(const Walk *w, Coder *coders, uint8_t *x, int count, double *room, const int K, const int reading)
{
    const int64_t H = w->H, size = H * K;
    double *up = room, *own = up + size, *beliefs = own + size;
    for (int64_t k = 0; k < H; k++)
        for (int i = 0; i < K; i++) beliefs[k * K + i] = w->root[k];
    settle(beliefs, H, K);
    for (int64_t j = 0; j < size; j++) beliefs[size + j] = 1;
    for (int64_t at = 0; at < w->count; at++) {
        const int32_t what = w->steps[3 * at], which = w->steps[3 * at + 1];
        double *belief = beliefs + 2 * size * w->steps[3 * at + 2], *message = belief + size;
        if (what == SYMBOL) {
            const float *table = w->leaf + (size_t)which * (w->values + 1) * H;
            for (int64_t k = 0; k < H; k++)
                for (int i = 0; i < K; i++) own[i * H + k] = belief[k * K + i];
            for (int i = 0; i < K; i++) {
                uint8_t *value = x + i * w->variables + which;
                if (i < count && code(coders + i, w, table, own + i * H, value, reading)) return i;
                const float *row = table + *value * H;
                for (int64_t k = 0; k < H; k++) own[i * H + k] = row[k + H] - row[k];
            }
            for (int64_t k = 0; k < H; k++)
                for (int i = 0; i < K; i++) {
                    belief[k * K + i] *= own[i * H + k];
                    message[k * K + i] *= own[i * H + k];
                }
            settle(belief, H, K);
            settle(message, H, K);
        } else if (what == DOWN) {
            product(w->transition + which * H * H, 1, H, belief, message + size, H, K);
            settle(message + size, H, K);
            for (int64_t j = 0; j < size; j++) message[2 * size + j] = 1;
        } else {
            product(w->transition + which * H * H, H, 1, message + 2 * size, up, H, K);
            settle(up, H, K);
            for (int64_t j = 0; j < size; j++) {
                belief[j] *= up[j];
                message[j] *= up[j];
            }
            settle(belief, H, K);
            settle(message, H, K);
        }
    }
    return -1;
}

CLONES static int many_in(const Walk *w, Coder *c, uint8_t *x, int n, double *r) { return walk(w, c, x, n, r, MANY, 1); }
CLONES static int many_out(const Walk *w, Coder *c, uint8_t *x, int n, double *r) { return walk(w, c, x, n, r, MANY, 0); }
CLONES static int few_in(const Walk *w, Coder *c, uint8_t *x, int n, double *r) { return walk(w, c, x, n, r, FEW, 1); }
CLONES static int few_out(const Walk *w, Coder *c, uint8_t *x, int n, double *r) { return walk(w, c, x, n, r, FEW, 0); }

/* ---- Python's side ------------------------------------------------------------------------- */

/* Image j belongs to stream j mod `streams`. Group by group of streams: room for K images, which are
 * brought together and taken apart. Returns -1, or the number of a stream that is broken. */
static int64_t run(const Walk *w, Coder *coders, int64_t streams, uint8_t *x, int64_t images, double *room,
                   uint8_t *near, int reading)
{
    const int64_t D = w->variables;
    for (int64_t first = 0; first < streams;) {
        const int K = streams - first > FEW ? MANY : FEW;
        const int64_t group = streams - first < K ? streams - first : K;
        for (int64_t at = first; at < images; at += streams) {
            const int count = (int)(images - at < group ? images - at : group);
            memset(near, 0, K * D);
            memcpy(near, x + at * D, count * D);
            Coder *c = coders + first;
            const int broken = K == MANY ? (reading ? many_in(w, c, near, count, room) : many_out(w, c, near, count, room))
                                         : (reading ? few_in(w, c, near, count, room) : few_out(w, c, near, count, room));
            if (broken >= 0) return first + broken;
            if (reading) memcpy(x + at * D, near, count * D);
        }
        first += group;
    }
    return -1;
}

/* Takes apart (steps, leaf, transition, root, variables, values, …). Returns the depth, or 0 where they do not fit. */
static int64_t fit(const Py_buffer *b, int64_t variables, int64_t values, Walk *w)
{
    const int64_t H = b[3].len / 4, count = b[0].len / 12;
    *w = (Walk){b[0].buf, b[1].buf, b[2].buf, b[3].buf, count, variables, values, H};
    if (H < ROWS || H % ROWS || H > MOST_STATES || b[0].len % 12 || variables < 1 || values < 1 || values > 256
        || b[1].len != 4 * variables * (values + 1) * H || b[2].len % (4 * H * H)) return 0;
    int64_t deepest = 0, nodes = b[2].len / (4 * H * H);
    for (int64_t at = 0; at < count; at++) {
        const int32_t *step = w->steps + 3 * at;
        if (step[0] < SYMBOL || step[0] > UP || step[1] < 0 || step[2] < 0 || step[2] > nodes
            || step[1] >= (step[0] == SYMBOL ? variables : nodes)) return 0;
        deepest = step[2] > deepest ? step[2] : deepest;
    }
    return deepest + 2;
}

static PyObject *refuse(Py_buffer *b, int n)
{
    for (int k = 0; k < n; k++) PyBuffer_Release(&b[k]);
    PyErr_SetString(PyExc_ValueError, "buffers do not fit together");
    return NULL;
}

/* encode(steps, leaf, transition, root, variables, values, x, streams) -> [bytes of each stream] */
static PyObject *py_encode(PyObject *self, PyObject *args)
{
    Py_buffer b[5];
    Py_ssize_t variables, values, streams;
    if (!PyArg_ParseTuple(args, "y*y*y*y*nny*n", &b[0], &b[1], &b[2], &b[3], &variables, &values, &b[4], &streams))
        return NULL;
    Walk w;
    const int64_t depth = fit(b, variables, values, &w), images = depth ? b[4].len / variables : 0;
    int bad = !depth || streams < 1 || streams > (images ? images : 1) || b[4].len != images * variables;
    const uint8_t *x = b[4].buf;
    for (int64_t at = 0; !bad && values < 256 && at < b[4].len; at++) bad = x[at] >= values;
    if (bad) return refuse(b, 5);
    const int64_t each = ((images + streams - 1) / streams) * w.count * 5 + 8;
    double *room = malloc(((2 + 2 * depth) * w.H * MANY) * sizeof(double));
    uint8_t *near = malloc(MANY * variables), *bytes = malloc(streams * each);
    Coder *coders = malloc(streams * sizeof(Coder));
    PyObject *made = room && near && bytes && coders ? PyList_New(streams) : PyErr_NoMemory();
    if (made) {
        Py_BEGIN_ALLOW_THREADS
        for (int64_t n = 0; n < streams; n++)
            open_writing(coders + n, bytes + n * each, bytes + (n + 1) * each);
        run(&w, coders, streams, (uint8_t *)x, images, room, near, 0);
        for (int64_t n = 0; n < streams; n++) write_end(coders + n);
        Py_END_ALLOW_THREADS
        for (int64_t n = 0; made && n < streams; n++) {
            PyObject *stream = PyBytes_FromStringAndSize((char *)coders[n].begin, coders[n].at - coders[n].begin);
            if (stream) PyList_SET_ITEM(made, n, stream);
            else Py_CLEAR(made);
        }
    }
    free(room), free(near), free(bytes), free(coders);
    for (int k = 0; k < 5; k++) PyBuffer_Release(&b[k]);
    return made;
}

/* decode(steps, leaf, transition, root, variables, values, data, bounds, x) -> the number of a broken stream, or -1
 * bounds: (streams, 2) int64, start and end of each in data; x: (images, variables), filled where steps say so */
static PyObject *py_decode(PyObject *self, PyObject *args)
{
    Py_buffer b[7];
    Py_ssize_t variables, values;
    if (!PyArg_ParseTuple(args, "y*y*y*y*nny*y*w*", &b[0], &b[1], &b[2], &b[3], &variables, &values, &b[4], &b[5],
                          &b[6])) return NULL;
    Walk w;
    const int64_t depth = fit(b, variables, values, &w), images = depth ? b[6].len / variables : 0;
    const int64_t streams = b[5].len / 16, *bounds = b[5].buf;
    int bad = !depth || streams < 1 || b[5].len % 16 || streams > (images ? images : 1)
        || b[6].len != images * variables;
    for (int64_t n = 0; !bad && n < streams; n++)
        bad = bounds[2 * n] < 0 || bounds[2 * n + 1] < bounds[2 * n] || bounds[2 * n + 1] > b[4].len;
    if (bad) return refuse(b, 7);
    double *room = malloc(((2 + 2 * depth) * w.H * MANY) * sizeof(double));
    uint8_t *near = malloc(MANY * variables);
    Coder *coders = malloc(streams * sizeof(Coder));
    int64_t broken = -1;
    if (room && near && coders) {
        Py_BEGIN_ALLOW_THREADS
        for (int64_t n = 0; n < streams; n++) {
            uint8_t *data = b[4].buf;
            if (!open_reading(coders + n, data + bounds[2 * n], data + bounds[2 * n + 1]) && broken < 0) broken = n;
        }
        if (broken < 0) broken = run(&w, coders, streams, b[6].buf, images, room, near, 1);
        for (int64_t n = 0; broken < 0 && n < streams; n++)
            if (!ended(coders + n)) broken = n;
        Py_END_ALLOW_THREADS
    }
    const int short_of = !room || !near || !coders;
    free(room), free(near), free(coders);
    for (int k = 0; k < 7; k++) PyBuffer_Release(&b[k]);
    return short_of ? PyErr_NoMemory() : PyLong_FromLongLong(broken);
}

static PyMethodDef methods[] = {
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
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_walk", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__walk(void) { return PyModuleDef_Init(&module); }
