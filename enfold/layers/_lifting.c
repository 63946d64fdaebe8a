/* The inner loops of lifting.py: wavelet packets of a picture's bytes, sums of them, and the way back.
 *
 * Three levels of CDF 9/7 on both axes, in place: sample 8k + p of an axis becomes the coefficient
 * of block k whose band is p with its three bits reversed. On its way a row lies phase by phase, so
 * that every step of every level is a sum of whole arrays:
 *
 *     R0 G0 B0 R1 ... B7 R8 ...   ->   R0 R8 R16 ... | R1 R9 ... | ... | G0 G8 ... | ... B7 B15 ...
 *
 * The scaling that ends each level of lifting is left to the weights.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define ALONE __restrict__
#else
#define INLINE static __forceinline
#define ALONE __restrict
#endif
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

enum { LEVELS = 3, BLOCK = 1 << LEVELS, COLOURS = 3, PHASES = BLOCK * COLOURS, BANDS = BLOCK * PHASES, STRIP = 64, OUTPUTS = 4, COLUMNS = 32 };

/* Daubechies & Sweldens 1998, as in JPEG 2000: odd samples are corrected first. */
static const float STEPS[4] = {-1.586134342059924f, -0.052980118572961f, 0.882911075530934f, 0.443506852043971f};

/* The band that each phase becomes. */
static const int ORDER[BLOCK] = {0, 4, 2, 6, 1, 5, 3, 7};

INLINE void add(float *ALONE out, const float *ALONE a, const float *ALONE b, float weight, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] += weight * (a[i] + b[i]);
}

/* One row: w blocks, its phases `stride` floats apart, a float to spare on either side of each. Or the way back. */
INLINE void across(float *phases, int64_t w, int64_t stride, int back)
{
    for (int level = 0; level < LEVELS; level++)
        for (int turn = 0; turn < 4; turn++)
            for (int p = 0; p < BLOCK; p++) {
                const int gap = 1 << (back ? LEVELS - 1 - level : level), step = back ? 3 - turn : turn;
                const int even = !(p & gap);
                if (even != (step & 1)) continue;               /* odd, even, odd, even */
                float *out = phases + p * stride, *left, *right;
                if (!even) {
                    left = out - gap * stride;
                    right = p + gap < BLOCK ? out + gap * stride : phases + (p + gap - BLOCK) * stride + 1;
                    if (p + gap >= BLOCK) right[w - 1] = left[w - 1];
                } else {
                    right = out + gap * stride;
                    left = p >= gap ? out - gap * stride : phases + (p - gap + BLOCK) * stride - 1;
                    if (p < gap) left[0] = right[0];
                }
                add(out, left, right, back ? -STEPS[step] : STEPS[step], w);
            }
}

/* Columns of `height` rows, n floats of each: one level, of samples `gap` rows apart, or the way back. A sweep runs
 * all four steps, each a sample behind the one before, so that what they share is still at hand. */
INLINE void down(float *x, int64_t height, int64_t stride, int64_t gap, int64_t n, int back)
{
    for (int64_t first = 0; first < gap; first++) {
        float *at = x + first * stride;
        const int64_t size = height / gap, far = gap * stride;      /* size is even */
        for (int64_t i = !back; i < size + 3; i += 2)
            for (int turn = 0; turn < 4; turn++) {
                const int step = back ? 3 - turn : turn;
                const int64_t k = i - turn;
                if (k < 0 || k >= size) continue;
                const float *above = at + (k ? k - 1 : 1) * far, *below = at + (k + 1 < size ? k + 1 : size - 2) * far;
                add(at + k * far, above, below, back ? -STEPS[step] : STEPS[step], n);
            }
    }
}

/* out (outputs, n): weights (outputs, BANDS) times the bands at `row`, eight rows of phases. */
INLINE void combine(const float *weights, const float *row, int64_t stride, int64_t phase, float *out, int64_t apart,
                    int outputs, int n)
{
    float sum[OUTPUTS][COLUMNS] = {{0}};
    for (int v = 0; v < BLOCK; v++)
        for (int p = 0; p < PHASES; p++) {
            const float *x = row + v * stride + p * phase;
            for (int o = 0; o < outputs; o++) {
                const float weight = weights[o * BANDS + v * PHASES + p];
                for (int c = 0; c < n; c++) sum[o][c] += weight * x[c];
            }
        }
    for (int o = 0; o < outputs; o++)
        for (int c = 0; c < n; c++) out[o * apart + c] = sum[o][c];
}

CLONES
static void project(const uint8_t *pixels, int64_t h, int64_t w, const float *weights, int outputs, float *room,
                    int64_t phase, int64_t stride, float *out)
{
    for (int64_t y = 0; y < h * BLOCK; y++) {
        const uint8_t *in = pixels + y * w * PHASES;
        float *row = room + y * stride + 1;
        for (int p = 0; p < BLOCK; p++)
            for (int c = 0; c < COLOURS; c++) {
                float *to = row + (c * BLOCK + p) * phase;
                for (int64_t k = 0; k < w; k++) to[k] = (float)in[k * PHASES + p * COLOURS + c] - 128.0f;
            }
        for (int c = 0; c < COLOURS; c++) across(row + c * BLOCK * phase, w, phase, 0);
    }
    for (int64_t x = 0; x < PHASES * phase; x += STRIP) {
        const int64_t left = PHASES * phase - x;
        for (int gap = 1; gap < BLOCK; gap *= 2)
            if (left >= STRIP) down(room + x, h * BLOCK, stride, gap, STRIP, 0);
            else down(room + x, h * BLOCK, stride, gap, left, 0);
    }
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x += COLUMNS)
            for (int o = 0; o < outputs; o += OUTPUTS) {
                const float *of = weights + o * BANDS, *row = room + y * BLOCK * stride + 1 + x;
                float *to = out + (o * h + y) * w + x;
                const int rows = outputs - o < OUTPUTS ? outputs - o : OUTPUTS;
                const int columns = w - x < COLUMNS ? (int)(w - x) : COLUMNS;
                if (rows == OUTPUTS && columns == COLUMNS)
                    combine(of, row, stride, phase, to, h * w, OUTPUTS, COLUMNS);
                else combine(of, row, stride, phase, to, h * w, rows, columns);
            }
}

/* project(pixels, height, width, weights, outputs, out): uint8 (8·height, 8·width, 3), floats
 * (outputs, 8, 3, 8) by vertical phase, colour, horizontal phase -> floats (outputs, height, width) */
static PyObject *py_project(PyObject *self, PyObject *args)
{
    Py_buffer b[3];
    Py_ssize_t h, w;
    int outputs;
    if (!PyArg_ParseTuple(args, "y*nny*iw*", &b[0], &h, &w, &b[1], &outputs, &b[2])) return NULL;
    int fits = h > 0 && w > 0 && outputs > 0 && h < 1 << 28 && w < 1 << 28 && b[0].len / BANDS / h == w &&
               b[0].len == h * w * BANDS && b[1].len == (Py_ssize_t)(outputs * BANDS * sizeof(float)) &&
               b[2].len == (Py_ssize_t)(h * w * outputs * sizeof(float));
    float *room = NULL;
    if (fits) {
        const int64_t phase = w + 2, stride = PHASES * phase | 16;      /* rows that do not share cache sets */
        room = malloc(h * BLOCK * stride * sizeof(float));
        if (room) {
            Py_BEGIN_ALLOW_THREADS
            project(b[0].buf, h, w, b[1].buf, outputs, room, phase, stride, b[2].buf);
            Py_END_ALLOW_THREADS
        }
    }
    free(room);
    for (int k = 0; k < 3; k++) PyBuffer_Release(&b[k]);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "buffers are not of the sizes given");
        return NULL;
    }
    if (!room) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* bands: (h, w, COLOURS, BLOCK, BLOCK) by phase already, scaled. pixels: (BLOCK·h, BLOCK·w, COLOURS). */
CLONES
static void restore(const float *bands, const float *gains, int64_t h, int64_t w, float *room, int64_t phase,
                    int64_t stride, uint8_t *pixels)
{
    for (int64_t y = 0; y < h; y++)
        for (int v = 0; v < BLOCK; v++)
            for (int p = 0; p < PHASES; p++) {
                const int from = (p / BLOCK * BLOCK + ORDER[v]) * BLOCK + ORDER[p % BLOCK];
                const float *in = bands + y * w * BANDS + from, gain = gains[v] * gains[p % BLOCK];
                float *to = room + (y * BLOCK + v) * stride + 1 + p * phase;
                for (int64_t k = 0; k < w; k++) to[k] = in[k * BANDS] * gain;
            }
    for (int64_t x = 0; x < PHASES * phase; x += STRIP) {
        const int64_t left = PHASES * phase - x;
        for (int gap = BLOCK / 2; gap; gap /= 2)
            if (left >= STRIP) down(room + x, h * BLOCK, stride, gap, STRIP, 1);
            else down(room + x, h * BLOCK, stride, gap, left, 1);
    }
    for (int64_t y = 0; y < h * BLOCK; y++) {
        float *row = room + y * stride + 1;
        uint8_t *out = pixels + y * w * PHASES;
        for (int c = 0; c < COLOURS; c++) across(row + c * BLOCK * phase, w, phase, 1);
        for (int p = 0; p < BLOCK; p++)
            for (int c = 0; c < COLOURS; c++) {
                const float *from = row + (c * BLOCK + p) * phase;
                for (int64_t k = 0; k < w; k++) {
                    const float grey = from[k] + 128.0f;
                    out[k * PHASES + p * COLOURS + c] = (uint8_t)(grey > 0 ? grey < 255 ? rintf(grey) : 255.0f : 0.0f);
                }
            }
    }
}

/* restore(bands, gains, height, width, pixels): floats (height, width, 192), floats (8), what each phase is scaled by ->
 * uint8 (8·height, 8·width, 3) */
static PyObject *py_restore(PyObject *self, PyObject *args)
{
    Py_buffer b[3];
    Py_ssize_t h, w;
    if (!PyArg_ParseTuple(args, "y*y*nnw*", &b[0], &b[1], &h, &w, &b[2])) return NULL;
    int fits = h > 0 && w > 0 && h < 1 << 28 && w < 1 << 28 && b[2].len / BANDS / h == w && b[2].len == h * w * BANDS &&
               b[0].len == (Py_ssize_t)(b[2].len * sizeof(float)) && b[1].len == BLOCK * sizeof(float);
    float *room = NULL;
    if (fits) {
        const int64_t phase = w + 2, stride = PHASES * phase | 16;
        room = calloc(h * BLOCK * stride, sizeof(float));
        if (room) {
            Py_BEGIN_ALLOW_THREADS
            restore(b[0].buf, b[1].buf, h, w, room, phase, stride, b[2].buf);
            Py_END_ALLOW_THREADS
        }
    }
    free(room);
    for (int k = 0; k < 3; k++) PyBuffer_Release(&b[k]);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "buffers are not of the sizes given");
        return NULL;
    }
    if (!room) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"project", py_project, METH_VARARGS, NULL},
    {"restore", py_restore, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_lifting", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__lifting(void) { return PyModuleDef_Init(&module); }
