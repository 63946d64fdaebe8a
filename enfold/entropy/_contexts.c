/* The arithmetic of contexts.py: float32, one thread, no library.
 *
 * The product takes no care of the order of its sums: they are exact, or it must not be used.
 */
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

static PyMethodDef methods[] = {
    {"product", py_product, METH_VARARGS, NULL}, {"select", py_select, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_contexts", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__contexts(void) { return PyModuleDef_Init(&module); }
