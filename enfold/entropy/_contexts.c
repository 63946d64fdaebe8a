/* The sums of contexts.py: float32, one thread, no library.
 *
 * The product takes no care of the order of its sums: they are exact, or it must not be used.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static __forceinline
#endif
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { ROWS = 4, COLUMNS = 32 };

/* out (rows, COLUMNS) of one block, on top of base if there is one; F features, `stride` floats from one row of x, base
 * or out to the next. */
INLINE void block(const float *w, const float *x, const float *base, float *out, int64_t F, int64_t stride, int rows)
{
    float sum[ROWS][COLUMNS] = {{0}};
    for (int64_t f = 0; f < F; f++)
        for (int r = 0; r < rows; r++) {
            const float weight = w[r * F + f];
            for (int c = 0; c < COLUMNS; c++) sum[r][c] += weight * x[f * stride + c];
        }
    if (base)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < COLUMNS; c++) out[r * stride + c] = base[r * stride + c] + sum[r][c];
    else
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < COLUMNS; c++) out[r * stride + c] = sum[r][c];
}

/* COLUMNS columns of a product, O rows of them */
INLINE void column(const float *w, const float *x, const float *base, float *out, int64_t O, int64_t F, int64_t stride)
{
    int64_t o = 0;
    for (; o + ROWS <= O; o += ROWS)
        block(w + o * F, x, base ? base + o * stride : NULL, out + o * stride, F, stride, ROWS);
    for (; o < O; o++) block(w + o * F, x, base ? base + o * stride : NULL, out + o * stride, F, stride, 1);
}

/* COLUMNS floats from `from`, or those that there are and zeros; `stride` floats from one row to the next */
INLINE void fetch(const float *from, float *to, int64_t rows, int64_t stride, int columns)
{
    for (int64_t r = 0; r < rows; r++)
        for (int c = 0; c < COLUMNS; c++) to[r * COLUMNS + c] = c < columns ? from[r * stride + c] : 0;
}

/* The last columns, too few for a block, go as if there were enough, which takes less time than loops of odd lengths.
 * room: for that, (F + O) rows of COLUMNS floats. */
CLONES
static void product(const float *w, const float *x, const float *base, float *out, int64_t O, int64_t F, int64_t n,
                    float *room)
{
    int64_t j = 0;
    for (; j + COLUMNS <= n; j += COLUMNS) column(w, x + j, base ? base + j : NULL, out + j, O, F, n);
    if (j == n) return;
    float *sums = room + F * COLUMNS;
    fetch(x + j, room, F, n, (int)(n - j));
    column(w, room, NULL, sums, O, F, COLUMNS);
    for (int64_t o = 0; o < O; o++)
        for (int64_t c = j; c < n; c++)
            out[o * n + c] = base ? base[o * n + c] + sums[o * COLUMNS + c - j] : sums[o * COLUMNS + c - j];
}

/* Which of some buffers hold so many floats; one that is not there holds any number. */
static int all_of(const Py_buffer *buffers, const Py_ssize_t *floats, int count)
{
    for (int k = 0; k < count; k++)
        if (buffers[k].buf && buffers[k].len != floats[k] * (Py_ssize_t)sizeof(float)) return 0;
    return 1;
}

static void release(Py_buffer *buffers, int count)
{
    for (int k = 0; k < count; k++)
        if (buffers[k].buf) PyBuffer_Release(&buffers[k]);
}

/* product(w, x, base, out, O, F, n): base may be None */
static PyObject *py_product(PyObject *self, PyObject *args)
{
    enum { W, X, BASE, OUT, COUNT };
    Py_buffer b[COUNT] = {{0}};
    Py_ssize_t O, F, n;
    if (!PyArg_ParseTuple(args, "y*y*z*w*nnn", &b[W], &b[X], &b[BASE], &b[OUT], &O, &F, &n)) return NULL;
    const int fits = O >= 0 && F >= 0 && n >= 0 && all_of(b, (Py_ssize_t[]){O * F, F * n, O * n, O * n}, COUNT);
    float *room = fits ? PyMem_RawMalloc((n % COLUMNS ? (F + O) * COLUMNS : 0) * sizeof(float)) : NULL;
    if (room) {
        Py_BEGIN_ALLOW_THREADS
        product(b[W].buf, b[X].buf, b[BASE].buf, b[OUT].buf, O, F, n, room);
        Py_END_ALLOW_THREADS
        PyMem_RawFree(room);
    } else if (fits) PyErr_NoMemory();
    else PyErr_SetString(PyExc_ValueError, "buffers are not of the sizes given");
    release(b, COUNT);
    if (!room) return NULL;
    Py_RETURN_NONE;
}

INLINE float rectified(float x, float top)
{
    const float positive = x > 0 ? x : 0;
    return (float)(int32_t)((positive < top ? positive : top) * 16.0f + 0.5f) * (1.0f / 16);
}

/* What `adjust` is told: see contexts.adjust. O outputs, K missed, H hidden, n columns. */
typedef struct {
    const float *mean, *scale, *missed, *hidden, *to_mean, *to_scale, *to_hidden, *out;
    float top, *both;
    int64_t O, K, H, n;
} Adjustment;

/* room: (2 K + H + 2 O) rows of COLUMNS floats */
CLONES
static void adjust(const Adjustment *a, float *room)
{
    const int64_t O = a->O, K = a->K, H = a->H, n = a->n;
    float *missed = room, *felt = missed + 2 * K * COLUMNS, *both = felt + H * COLUMNS;
    for (int64_t j = 0; j < n; j += COLUMNS) {
        const int columns = n - j < COLUMNS ? (int)(n - j) : COLUMNS;
        fetch(a->missed + j, missed, K, n, columns);
        for (int64_t k = 0; k < K * COLUMNS; k++) missed[K * COLUMNS + k] = fabsf(missed[k]);
        fetch(a->mean + j, both, O, n, columns);
        fetch(a->scale + j, both + O * COLUMNS, O, n, columns);
        column(a->to_mean, missed, both, both, O, K, COLUMNS);
        column(a->to_scale, missed + K * COLUMNS, both + O * COLUMNS, both + O * COLUMNS, O, K, COLUMNS);
        if (H) {
            fetch(a->hidden + j, felt, H, n, columns);
            column(a->to_hidden, missed, felt, felt, H, 2 * K, COLUMNS);
            for (int64_t h = 0; h < H * COLUMNS; h++) felt[h] = rectified(felt[h], a->top);
            column(a->out, felt, both, both, 2 * O, H, COLUMNS);
        }
        for (int64_t o = 0; o < 2 * O; o++)
            for (int c = 0; c < columns; c++) a->both[o * n + j + c] = both[o * COLUMNS + c];
    }
}

/* adjust(mean, scale, missed, hidden, to_mean, to_scale, to_hidden, out, top, both, O, n): see contexts.adjust; `both`
 * gets mean and scale. hidden, to_hidden and out may be None, all of them. */
static PyObject *py_adjust(PyObject *self, PyObject *args)
{
    enum { MEAN, SCALE, MISSED, HIDDEN, TO_MEAN, TO_SCALE, TO_HIDDEN, OUT, BOTH, COUNT };
    Py_buffer b[COUNT] = {{0}};
    Py_ssize_t O, n;
    float top;
    if (!PyArg_ParseTuple(args, "y*y*y*z*y*y*z*z*fw*nn", &b[MEAN], &b[SCALE], &b[MISSED], &b[HIDDEN], &b[TO_MEAN],
                          &b[TO_SCALE], &b[TO_HIDDEN], &b[OUT], &top, &b[BOTH], &O, &n)) return NULL;
    const Py_ssize_t f = sizeof(float), deep = b[TO_HIDDEN].buf && b[OUT].buf && b[HIDDEN].buf;
    const Py_ssize_t K = n > 0 ? b[MISSED].len / f / n : 0, H = deep && n > 0 ? b[HIDDEN].len / f / n : 0;
    int fits = O > 0 && n > 0 && K > 0 && top >= 0 && top < 1 << 26 &&
               all_of(b, (Py_ssize_t[]){O * n, O * n, K * n, H * n, O * K, O * K, H * 2 * K, 2 * O * H, 2 * O * n},
                      COUNT);
    float *room = fits ? PyMem_RawMalloc((2 * K + H + 2 * O) * COLUMNS * f) : NULL;
    if (room) {
        const Adjustment a = {b[MEAN].buf, b[SCALE].buf, b[MISSED].buf, b[HIDDEN].buf, b[TO_MEAN].buf, b[TO_SCALE].buf,
                              b[TO_HIDDEN].buf, b[OUT].buf, top, b[BOTH].buf, O, K, H, n};
        Py_BEGIN_ALLOW_THREADS
        adjust(&a, room);
        Py_END_ALLOW_THREADS
        PyMem_RawFree(room);
    } else if (fits) PyErr_NoMemory();
    else PyErr_SetString(PyExc_ValueError, "buffers are not of the sizes given");
    release(b, COUNT);
    if (!room) return NULL;
    Py_RETURN_NONE;
}

CLONES
static void activity(const float *near, Py_ssize_t size, const int64_t *pairs, Py_ssize_t count, Py_ssize_t window,
                     float *out)
{
    for (Py_ssize_t j = 0; j < size; j++) out[j] = fabsf(near[j]);
    out += size;
    for (Py_ssize_t k = 0; k < count; k++, out += window) {
        const float *first = near + pairs[2 * k] * window, *second = near + pairs[2 * k + 1] * window;
        for (Py_ssize_t j = 0; j < window; j++) out[j] = fabsf(first[j] - second[j]);
    }
}

/* activity(near, pairs, out, window): see contexts.activity; `window` floats in each window */
static PyObject *py_activity(PyObject *self, PyObject *args)
{
    Py_buffer near, pairs, out;
    Py_ssize_t window;
    if (!PyArg_ParseTuple(args, "y*y*w*n", &near, &pairs, &out, &window)) return NULL;
    const Py_ssize_t f = sizeof(float), count = pairs.len / (Py_ssize_t)(2 * sizeof(int64_t));
    int fits = window >= 0 && out.len == near.len + count * window * f;
    for (Py_ssize_t k = 0; k < 2 * count; k++) {
        const int64_t at = ((const int64_t *)pairs.buf)[k];
        fits = fits && at >= 0 && (at + 1) * window * f <= near.len;
    }
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        activity(near.buf, near.len / f, pairs.buf, count, window, out.buf);
        Py_END_ALLOW_THREADS
    } else PyErr_SetString(PyExc_ValueError, "buffers are not of the sizes given");
    PyBuffer_Release(&near);
    PyBuffer_Release(&pairs);
    PyBuffer_Release(&out);
    if (!fits) return NULL;
    Py_RETURN_NONE;
}

CLONES
static void rectify(const float *restrict x, float top, float *restrict out, Py_ssize_t n)
{
    for (Py_ssize_t j = 0; j < n; j++) out[j] = rectified(x[j], top);
}

/* rectify(x, top, out): x clipped to [0, top], to the nearest sixteenth, halves up; top below 2^26 */
static PyObject *py_rectify(PyObject *self, PyObject *args)
{
    Py_buffer x, out;
    float top;
    if (!PyArg_ParseTuple(args, "y*fw*", &x, &top, &out)) return NULL;
    const int fits = out.len == x.len && top >= 0 && top < 1 << 26;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        rectify(x.buf, top, out.buf, x.len / (Py_ssize_t)sizeof(float));
        Py_END_ALLOW_THREADS
    } else {
        PyErr_SetString(PyExc_ValueError, "buffers are not of one size");
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&out);
    if (!fits) return NULL;
    Py_RETURN_NONE;
}

/* ---- grids: three-dimensional arrays of floats with any strides ---------------------------- */

static int grid_of(PyObject *array, Py_buffer *view, int flags)
{
    if (PyObject_GetBuffer(array, view, PyBUF_STRIDES | flags)) return 0;
    if (view->ndim == 3 && view->itemsize == sizeof(float)) return 1;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_ValueError, "not a grid of floats");
    return 0;
}

INLINE char *row_of(const Py_buffer *grid, Py_ssize_t channel, Py_ssize_t row)
{
    return (char *)grid->buf + channel * grid->strides[0] + row * grid->strides[1];
}

/* gather(grids, out): the grids, of one shape, one after the other */
static PyObject *py_gather(PyObject *self, PyObject *args)
{
    PyObject *grids;
    Py_buffer out, grid;
    if (!PyArg_ParseTuple(args, "O!w*", &PyTuple_Type, &grids, &out)) return NULL;
    char *to = out.buf;
    Py_ssize_t left = out.len;
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(grids); k++) {
        if (!grid_of(PyTuple_GET_ITEM(grids, k), &grid, 0)) break;
        const Py_ssize_t columns = grid.shape[2], step = grid.strides[2];
        if (grid.len <= left) {
            left -= grid.len;
            Py_BEGIN_ALLOW_THREADS
            for (Py_ssize_t c = 0; c < grid.shape[0]; c++)
                for (Py_ssize_t y = 0; y < grid.shape[1]; y++) {
                    const char *from = row_of(&grid, c, y);
                    for (Py_ssize_t x = 0; x < columns; x++) memcpy(to + 4 * x, from + x * step, 4);
                    to += 4 * columns;
                }
            Py_END_ALLOW_THREADS
        } else left = -1;
        PyBuffer_Release(&grid);
        if (left < 0) break;
    }
    PyBuffer_Release(&out);
    if (PyErr_Occurred()) return NULL;
    if (left) {
        PyErr_SetString(PyExc_ValueError, "grids are not of the sizes given");
        return NULL;
    }
    Py_RETURN_NONE;
}

INLINE float within(float x, float limit) { return x < -limit ? -limit : x > limit ? limit : x; }

/* settle(values, mean, known, seen, fraction_bits, limit, error): int32 values into a cell of `known` and, clipped, of
 * `seen`; what the mean, snapped, missed of them, clipped, into `error` */
static PyObject *py_settle(PyObject *self, PyObject *args)
{
    PyObject *known_array, *seen_array;
    Py_buffer b[3], known, seen;
    int fraction_bits;
    float limit;
    if (!PyArg_ParseTuple(args, "y*y*OOifw*", &b[0], &b[1], &known_array, &seen_array, &fraction_bits, &limit, &b[2]))
        return NULL;
    int fits = 0;
    if (grid_of(known_array, &known, PyBUF_WRITABLE)) {
        if (grid_of(seen_array, &seen, PyBUF_WRITABLE)) {
            fits = known.len == seen.len && known.len == b[0].len && known.len == b[1].len && known.len == b[2].len &&
                   known.shape[0] == seen.shape[0] && known.shape[1] == seen.shape[1] &&
                   fraction_bits >= 0 && fraction_bits <= 16;
            if (fits) {
                const int32_t *value = b[0].buf;
                const float *mean = b[1].buf, fine = (float)(1 << fraction_bits), unit = 1.0f / fine;
                float *error = b[2].buf;
                const Py_ssize_t columns = known.shape[2];
                Py_BEGIN_ALLOW_THREADS
                for (Py_ssize_t c = 0; c < known.shape[0]; c++)
                    for (Py_ssize_t y = 0; y < known.shape[1]; y++) {
                        char *to = row_of(&known, c, y), *too = row_of(&seen, c, y);
                        for (Py_ssize_t x = 0; x < columns; x++) {
                            const float exact = (float)value[x], clipped = within(exact, limit);
                            memcpy(to + x * known.strides[2], &exact, 4);
                            memcpy(too + x * seen.strides[2], &clipped, 4);
                            error[x] = within(exact - floorf(mean[x] * fine + 0.5f) * unit, limit);
                        }
                        value += columns, mean += columns, error += columns;
                    }
                Py_END_ALLOW_THREADS
            } else PyErr_SetString(PyExc_ValueError, "buffers are not of one size");
            PyBuffer_Release(&seen);
        }
        PyBuffer_Release(&known);
    }
    for (int k = 0; k < 3; k++) PyBuffer_Release(&b[k]);
    if (!fits) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"product", py_product, METH_VARARGS, NULL},
    {"adjust", py_adjust, METH_VARARGS, NULL},
    {"activity", py_activity, METH_VARARGS, NULL},
    {"rectify", py_rectify, METH_VARARGS, NULL},
    {"gather", py_gather, METH_VARARGS, NULL},
    {"settle", py_settle, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_contexts", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__contexts(void) { return PyModuleDef_Init(&module); }
