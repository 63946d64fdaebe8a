/* The arithmetic of contexts.py: float32, one thread, no library.
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

/* out (rows, columns) of one block; F features, `stride` floats from one row of x or out to the next. */
INLINE void block(const float *w, const float *x, float *out, int64_t F, int64_t stride, int rows, int columns)
{
    float sum[ROWS][COLUMNS] = {{0}};
    for (int64_t f = 0; f < F; f++)
        for (int r = 0; r < rows; r++) {
            const float weight = w[r * F + f];
            for (int c = 0; c < columns; c++) sum[r][c] += weight * x[f * stride + c];
        }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) out[r * stride + c] = sum[r][c];
}

CLONES
static void product(const float *w, const float *x, float *out, int64_t O, int64_t F, int64_t n)
{
    for (int64_t j = 0; j < n; j += COLUMNS) {
        const int columns = n - j < COLUMNS ? (int)(n - j) : COLUMNS;
        for (int64_t o = 0; o < O; o += ROWS) {
            const int rows = O - o < ROWS ? (int)(O - o) : ROWS;
            if (rows == ROWS && columns == COLUMNS)
                block(w + o * F, x + j, out + o * n + j, F, n, ROWS, COLUMNS);
            else if (columns == COLUMNS)
                for (int r = 0; r < rows; r++)
                    block(w + (o + r) * F, x + j, out + (o + r) * n + j, F, n, 1, COLUMNS);
            else
                block(w + o * F, x + j, out + o * n + j, F, n, rows, columns);
        }
    }
}

static PyObject *py_product(PyObject *self, PyObject *args)
{
    Py_buffer w, x, out;
    Py_ssize_t O, F, n;
    if (!PyArg_ParseTuple(args, "y*y*w*nnn", &w, &x, &out, &O, &F, &n)) return NULL;
    const Py_ssize_t f = sizeof(float);
    const int fits = O >= 0 && F >= 0 && n >= 0 && w.len == O * F * f && x.len == F * n * f && out.len == O * n * f;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        product(w.buf, x.buf, out.buf, O, F, n);
        Py_END_ALLOW_THREADS
    } else {
        PyErr_SetString(PyExc_ValueError, "buffers are not of the sizes given");
    }
    PyBuffer_Release(&w);
    PyBuffer_Release(&x);
    PyBuffer_Release(&out);
    if (!fits) return NULL;
    Py_RETURN_NONE;
}

static const float FARTHEST = (float)(1 << 29);

/* Clips to 0 or -FARTHEST and FARTHEST; what is not a number goes to the least. */
INLINE int32_t whole(float x, float least) { return (int32_t)(x > least ? (x < FARTHEST ? x : FARTHEST) : least); }

static PyObject *py_select(PyObject *self, PyObject *args)
{
    Py_buffer mean, scale, levels, index, offset;
    int fraction_bits, scale_bits;
    if (!PyArg_ParseTuple(args, "y*y*y*iiw*w*", &mean, &scale, &levels, &fraction_bits, &scale_bits, &index, &offset))
        return NULL;
    const Py_ssize_t n = mean.len / (Py_ssize_t)sizeof(float), count = levels.len / (Py_ssize_t)sizeof(int32_t);
    const int fits = scale.len == mean.len && index.len == mean.len && offset.len == mean.len && count > 0 &&
                     fraction_bits >= 0 && fraction_bits <= 16 && scale_bits >= 0 && scale_bits <= 16;
    if (fits) {
        const float *means = mean.buf, *scales = scale.buf;
        const int32_t *level = levels.buf;
        int32_t *indices = index.buf, *offsets = offset.buf;
        const float fine = (float)(1 << fraction_bits), coarse = (float)(1 << scale_bits);
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t j = 0; j < n; j++) {
            const int32_t units = whole(floorf(means[j] * fine + 0.5f), -FARTHEST);
            const int32_t multiple = whole(scales[j] * coarse, 0);
            indices[j] = level[multiple < count ? multiple : count - 1] + (units & ((1 << fraction_bits) - 1));
            offsets[j] = units >> fraction_bits;
        }
        Py_END_ALLOW_THREADS
    } else {
        PyErr_SetString(PyExc_ValueError, "buffers are not of one size");
    }
    PyBuffer_Release(&mean);
    PyBuffer_Release(&scale);
    PyBuffer_Release(&levels);
    PyBuffer_Release(&index);
    PyBuffer_Release(&offset);
    if (!fits) return NULL;
    Py_RETURN_NONE;
}

/* Whether every table exists. shifts: rows of 2 · reach + 1. */
CLONES
static int choose(const float *values, const int32_t *indices, const int32_t *offsets, const float *shifts, float reach,
                  Py_ssize_t tables, int fraction_bits, int32_t *chosen, Py_ssize_t n)
{
    const float fine = 1.0f / (float)(1 << fraction_bits);
    const int32_t width = 2 * (int32_t)reach + 1;
    for (Py_ssize_t j = 0; j < n; j++) {
        const int32_t table = indices[j];
        if (table < 0 || table >= tables) return 0;
        const float near = rintf(values[j]), step = near - (float)offsets[j];
        const float mean = (float)(table & ((1 << fraction_bits) - 1)) * fine;
        const float side = (float)((step > mean) - (step < mean));
        const float bound = step > -reach ? (step < reach ? step : reach) : -reach;
        const float moved = (values[j] - near) * side < shifts[table * width + (int32_t)(bound + reach)] - 0.5f;
        chosen[j] = whole(near - side * moved, -FARTHEST);
    }
    return 1;
}

/* choose(values, index, offset, shift, reach, fraction_bits, out): see contexts.choose */
static PyObject *py_choose(PyObject *self, PyObject *args)
{
    Py_buffer value, index, offset, shift, out;
    int reach, fraction_bits;
    if (!PyArg_ParseTuple(args, "y*y*y*y*iiw*", &value, &index, &offset, &shift, &reach, &fraction_bits, &out))
        return NULL;
    const Py_ssize_t n = value.len / (Py_ssize_t)sizeof(float), width = 2 * (Py_ssize_t)reach + 1;
    const Py_ssize_t tables = reach >= 0 ? shift.len / ((Py_ssize_t)sizeof(float) * width) : 0;
    int fits = index.len == value.len && offset.len == value.len && out.len == value.len && tables > 0 &&
               fraction_bits >= 0 && fraction_bits <= 16;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        fits = choose(value.buf, index.buf, offset.buf, shift.buf, (float)reach, tables, fraction_bits, out.buf, n);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&value);
    PyBuffer_Release(&index);
    PyBuffer_Release(&offset);
    PyBuffer_Release(&shift);
    PyBuffer_Release(&out);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "buffers are not of one size, or a table does not exist");
        return NULL;
    }
    Py_RETURN_NONE;
}

CLONES
static void look_up(const float *x, const float *table, int32_t last, float fine, float *out, Py_ssize_t n)
{
    for (Py_ssize_t j = 0; j < n; j++) {
        const float size = fabsf(x[j]) * fine;
        out[j] = copysignf(table[size < (float)last ? (int32_t)size : last], x[j]);
    }
}

/* look_up(x, table, fine, out): |x| in units of 1 / fine, rounded down, by a table whose last entry goes for all larger
 * ones, with the sign of x */
static PyObject *py_look_up(PyObject *self, PyObject *args)
{
    Py_buffer x, table, out;
    float fine;
    if (!PyArg_ParseTuple(args, "y*y*fw*", &x, &table, &fine, &out)) return NULL;
    const Py_ssize_t f = sizeof(float), size = table.len / f;
    const int fits = out.len == x.len && size > 0 && size < 1 << 24;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        look_up(x.buf, table.buf, (int32_t)size - 1, fine, out.buf, x.len / f);
        Py_END_ALLOW_THREADS
    } else {
        PyErr_SetString(PyExc_ValueError, "buffers are not of one size");
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&table);
    PyBuffer_Release(&out);
    if (!fits) return NULL;
    Py_RETURN_NONE;
}

CLONES
static void rectify(const float *restrict x, float top, float *restrict out, Py_ssize_t n)
{
    for (Py_ssize_t j = 0; j < n; j++) {
        const float positive = x[j] > 0 ? x[j] : 0;
        out[j] = (float)(int32_t)((positive < top ? positive : top) * 16.0f + 0.5f) * (1.0f / 16);
    }
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
    {"select", py_select, METH_VARARGS, NULL},
    {"choose", py_choose, METH_VARARGS, NULL},
    {"look_up", py_look_up, METH_VARARGS, NULL},
    {"rectify", py_rectify, METH_VARARGS, NULL},
    {"gather", py_gather, METH_VARARGS, NULL},
    {"settle", py_settle, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_contexts", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__contexts(void) { return PyModuleDef_Init(&module); }
