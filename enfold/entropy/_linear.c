/* The matrix product of linear.py: float32, one thread, no library.
 *
 * It takes no care of the order of its sums: they are exact, or linear.py must not be used.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
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

static PyMethodDef methods[] = {{"product", py_product, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_linear", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__linear(void) { return PyModuleDef_Init(&module); }
