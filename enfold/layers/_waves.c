/* The inner loops of waves.py: wavelet packets of one row of samples, and the way back.
 *
 * Depth first: a band is split as soon as it is there, so that from the third or fourth level on all that is
 * touched lies in the cache. Bands come out by frequency: the halves of an odd band are swapped, since each
 * high-pass filter turns its half of the spectrum around.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif
#if defined(__GNUC__)
#define ALONE __restrict__
#else
#define ALONE __restrict
#endif

enum { MOST_LEVELS = 16 };

/* Daubechies & Sweldens 1998, as in JPEG 2000: odd samples are corrected first. */
static const float STEPS[4] = {-1.586134342059924f, -0.052980118572961f, 0.882911075530934f, 0.443506852043971f};
static const float LOW = 1.149604398860241f, HIGH = -0.869864451624781f;

CLONES
static void odd(float *ALONE o, const float *ALONE e, int64_t half, float step)
{
    for (int64_t i = 0; i < half - 1; i++) o[i] += step * (e[i] + e[i + 1]);
    o[half - 1] += 2 * step * e[half - 1];
}

CLONES
static void even(float *ALONE e, const float *ALONE o, int64_t half, float step)
{
    e[0] += 2 * step * o[0];
    for (int64_t i = 1; i < half; i++) e[i] += step * (o[i - 1] + o[i]);
}

CLONES
static void part(const float *ALONE in, float *ALONE e, float *ALONE o, int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        e[i] = in[2 * i];
        o[i] = in[2 * i + 1];
    }
}

CLONES
static void join(float *ALONE out, const float *ALONE e, const float *ALONE o, int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        out[2 * i] = e[i];
        out[2 * i + 1] = o[i];
    }
}

CLONES
static void scale(float *to, const float *from, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++) to[i] = from[i] * by;
}

/* in (n) -> rows band·2^levels … of out, each of n / 2^levels floats; room holds 2n floats */
static void split(const float *in, int64_t n, int levels, int64_t band, float *out, float *room)
{
    const int64_t half = n / 2;
    float *e = room, *o = room + half;
    part(in, e, o, half);
    odd(o, e, half, STEPS[0]);
    even(e, o, half, STEPS[1]);
    odd(o, e, half, STEPS[2]);
    even(e, o, half, STEPS[3]);
    const int turned = (int)(band & 1);
    if (levels == 1) {
        scale(out + (2 * band + turned) * half, e, half, LOW);
        scale(out + (2 * band + !turned) * half, o, half, HIGH);
        return;
    }
    scale(e, e, half, LOW);
    scale(o, o, half, HIGH);
    split(e, half, levels - 1, 2 * band + turned, out, room + n);
    split(o, half, levels - 1, 2 * band + !turned, out, room + n);
}

/* the inverse of split */
static void merge(const float *in, int64_t n, int levels, int64_t band, float *out, float *room)
{
    const int64_t half = n / 2;
    float *e = room, *o = room + half;
    const int turned = (int)(band & 1);
    if (levels == 1) {
        scale(e, in + (2 * band + turned) * half, half, 1 / LOW);
        scale(o, in + (2 * band + !turned) * half, half, 1 / HIGH);
    } else {
        merge(in, half, levels - 1, 2 * band + turned, e, room + n);
        merge(in, half, levels - 1, 2 * band + !turned, o, room + n);
        scale(e, e, half, 1 / LOW);
        scale(o, o, half, 1 / HIGH);
    }
    even(e, o, half, -STEPS[3]);
    odd(o, e, half, -STEPS[2]);
    even(e, o, half, -STEPS[1]);
    odd(o, e, half, -STEPS[0]);
    join(out, e, o, half);
}

static PyObject *both(PyObject *args, void (*way)(const float *, int64_t, int, int64_t, float *, float *))
{
    Py_buffer in, out;
    Py_ssize_t rows, n;
    int levels;
    if (!PyArg_ParseTuple(args, "y*nniw*", &in, &rows, &n, &levels, &out)) return NULL;
    int fits = rows > 0 && n > 0 && levels > 0 && levels <= MOST_LEVELS && n % ((Py_ssize_t)1 << levels) == 0 &&
               n < (Py_ssize_t)1 << 40 && in.len == out.len && in.len / (Py_ssize_t)sizeof(float) / rows == n &&
               in.len % (rows * (Py_ssize_t)sizeof(float)) == 0;
    float *room = fits ? malloc(2 * n * sizeof(float)) : NULL;
    if (room) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t row = 0; row < rows; row++)
            way((const float *)in.buf + row * n, n, levels, 0, (float *)out.buf + row * n, room);
        Py_END_ALLOW_THREADS
    }
    free(room);
    PyBuffer_Release(&in);
    PyBuffer_Release(&out);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "buffers are not of the sizes given");
        return NULL;
    }
    if (!room) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* analyse(samples, rows, n, levels, bands): floats (rows, n) -> (rows, 2^levels, n / 2^levels) */
static PyObject *py_analyse(PyObject *self, PyObject *args) { return both(args, split); }

/* synthesise(bands, rows, n, levels, samples): the inverse */
static PyObject *py_synthesise(PyObject *self, PyObject *args) { return both(args, merge); }

static PyMethodDef methods[] = {
    {"analyse", py_analyse, METH_VARARGS, NULL},
    {"synthesise", py_synthesise, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_waves", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__waves(void) { return PyModuleDef_Init(&module); }
