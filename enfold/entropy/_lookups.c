/* The look-ups of contexts.py: from float32 numbers to tables, and to what an encoder chooses. One thread. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>

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

static PyMethodDef methods[] = {
    {"select", py_select, METH_VARARGS, NULL},
    {"choose", py_choose, METH_VARARGS, NULL},
    {"look_up", py_look_up, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_lookups", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__lookups(void) { return PyModuleDef_Init(&module); }
