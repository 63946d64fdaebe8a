/* The inner loops of softmax.py, which says what the numbers mean; without them NumPy does the same.
 *
 * The bytes are those of _rans.c: a state of 40 bits, 16-bit words, no escapes.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian machines: enfold will use NumPy"
#endif
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

#define FLOOR ((uint64_t)1 << 24)
enum { EXHAUSTED = -2, STEPS = 16, TOP_BITS = 20, FARTHEST = 8192 };

/* Weights of one row of logits; returns their sum. steps: 2^(20 - f/16), rounded, for f from 0 to 15. */
CLONES
static uint64_t weigh(const float *restrict logits, int64_t K, const uint32_t *restrict steps,
                      int32_t *restrict units, uint32_t *restrict weights)
{
    int32_t most = -FARTHEST;
    for (int64_t k = 0; k < K; k++) {
        float x = logits[k] * (float)STEPS + 0.5f;
        x = x > -(float)FARTHEST ? x : -(float)FARTHEST;
        x = x < (float)FARTHEST ? x : (float)FARTHEST;
        const int32_t towards_zero = (int32_t)x;
        units[k] = towards_zero - ((float)towards_zero > x);
    }
    for (int64_t k = 0; k < K; k++) most = units[k] > most ? units[k] : most;
    for (int64_t k = 0; k < K; k++) {
        const uint32_t less = (uint32_t)(most - units[k]), halvings = less / STEPS;
        weights[k] = steps[less % STEPS] >> (halvings < 31 ? halvings : 31);
    }
    uint64_t sum = 0;
    for (int64_t k = 0; k < K; k++) sum += weights[k];
    return sum;
}

/* Where symbol k begins, when `before` is the weight of those before it. */
static inline uint32_t begins(uint64_t k, uint64_t before, uint64_t ratio) { return (uint32_t)(k + (before * ratio >> 32)); }

static uint64_t ratio_of(uint64_t sum, int64_t K, int precision)
{
    return ((((uint64_t)1 << precision) - (uint64_t)K) << 32) / sum;
}

typedef struct { int32_t *units; uint32_t *weights; } Room;

static int make_room(Room *room, int64_t K)
{
    room->units = malloc((size_t)K * sizeof(int32_t));
    room->weights = malloc((size_t)K * sizeof(uint32_t));
    return room->units && room->weights;
}

static void free_room(Room *room)
{
    free(room->units);
    free(room->weights);
}

static void release(Py_buffer *views, int n)
{
    for (int k = 0; k < n; k++) PyBuffer_Release(&views[k]);
}

static PyObject *refuse(Py_buffer *views, int n)
{
    release(views, n);
    PyErr_SetString(PyExc_ValueError, "buffers do not fit together");
    return NULL;
}

static int fit(const Py_buffer *logits, const Py_buffer *steps, int64_t n, int64_t K, int precision)
{
    return K > 1 && precision >= 8 && precision <= 16 && K < (1 << precision) && steps->len == STEPS * 4
           && logits->len == n * K * 4;
}

/* intervals(logits, K, steps, precision, values, starts, counts) -> whether every value is one of 0 ... K - 1 */
static PyObject *py_intervals(PyObject *self, PyObject *args)
{
    Py_buffer b[5];
    Py_ssize_t K;
    int precision;
    if (!PyArg_ParseTuple(args, "y*ny*iy*w*w*", &b[0], &K, &b[1], &precision, &b[2], &b[3], &b[4])) return NULL;
    const int64_t n = b[2].len / 4;
    if (!fit(&b[0], &b[1], n, K, precision) || b[3].len != b[2].len || b[4].len != b[2].len) return refuse(b, 5);
    const float *logits = b[0].buf;
    const int32_t *values = b[2].buf;
    uint32_t *starts = b[3].buf, *counts = b[4].buf;
    Room room;
    if (!make_room(&room, K)) {
        free_room(&room);
        release(b, 5);
        return PyErr_NoMemory();
    }
    int known = 1;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t j = 0; j < n; j++) {
        const int64_t value = values[j];
        if (value < 0 || value >= K) { known = 0; break; }
        const uint64_t sum = weigh(logits + j * K, K, b[1].buf, room.units, room.weights);
        const uint64_t ratio = ratio_of(sum, K, precision);
        uint64_t before = 0;
        for (int64_t k = 0; k < value; k++) before += room.weights[k];
        starts[j] = begins(value, before, ratio);
        const uint32_t end = value + 1 == K ? 1u << precision : begins(value + 1, before + room.weights[value], ratio);
        counts[j] = end - starts[j];
    }
    Py_END_ALLOW_THREADS
    free_room(&room);
    release(b, 5);
    return PyBool_FromLong(known);
}

/* decode(logits, K, steps, precision, values, data, offset, states) -> offset, or EXHAUSTED */
static PyObject *py_decode(PyObject *self, PyObject *args)
{
    Py_buffer b[5];
    Py_ssize_t K, offset;
    int precision;
    if (!PyArg_ParseTuple(args, "y*ny*iw*y*nw*", &b[0], &K, &b[1], &precision, &b[2], &b[3], &offset, &b[4])) return NULL;
    const int64_t n = b[2].len / 4, N = b[4].len / 8;
    if (!fit(&b[0], &b[1], n, K, precision) || N < 1 || b[4].len != N * 8 || offset < 0 || offset > b[3].len)
        return refuse(b, 5);
    const float *logits = b[0].buf;
    int32_t *values = b[2].buf;
    uint64_t *states = b[4].buf;
    const uint8_t *data = b[3].buf;
    const uint8_t *at = data + offset, *end = data + b[3].len;
    Room room;
    if (!make_room(&room, K)) {
        free_room(&room);
        release(b, 5);
        return PyErr_NoMemory();
    }
    int failed = 0;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t j = 0, s = 0; j < n; j++, s = s + 1 == N ? 0 : s + 1) {
        const uint64_t sum = weigh(logits + j * K, K, b[1].buf, room.units, room.weights);
        const uint64_t ratio = ratio_of(sum, K, precision);
        uint64_t x = states[s];
        const uint32_t slot = (uint32_t)x & ((1u << precision) - 1);
        uint64_t before = 0;
        uint32_t start = 0, next = 1u << precision;
        int64_t k = 0;
        for (; k + 1 < K; k++) {
            next = begins(k + 1, before + room.weights[k], ratio);
            if (slot < next) break;
            before += room.weights[k];
            start = next;
        }
        if (k + 1 == K) next = 1u << precision;
        x = (uint64_t)(next - start) * (x >> precision) + slot - start;
        if (x < FLOOR) {
            if (end - at >= 2) {
                x = x << 16 | at[0] | (uint64_t)at[1] << 8;
                at += 2;
            } else if (N > 1) { failed = 1; break; }
        }
        states[s] = x;
        values[j] = (int32_t)k;
    }
    Py_END_ALLOW_THREADS
    free_room(&room);
    release(b, 5);
    return PyLong_FromLongLong(failed ? EXHAUSTED : at - data);
}

static PyMethodDef methods[] = {
    {"intervals", py_intervals, METH_VARARGS, NULL},
    {"decode", py_decode, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_softmax", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__softmax(void) { return PyModuleDef_Init(&module); }
