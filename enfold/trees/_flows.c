/* The inner loops of flows.py, which documents the model and checks what these do not.
 *
 * A chunk of images goes through the tree together: upwards, node by node in reverse, then downwards.
 * Messages are float32 rows, one for each image, rescaled by powers of two whenever they were
 * multiplied; how often is counted, so that a likelihood of hundreds of bits is none too small.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
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

enum { CHUNK = 32, ROWS = 4, COLUMNS = 32, MANY = 4 };
#define TINY 1e-30f

/* leaf (variables, values, H), transition (nodes, H, H), root (H); parents before children, and
 * node n has the variables members[first[n]] to members[first[n + 1] - 1]. */
typedef struct {
    const float *leaf, *transition, *root;
    const int32_t *parent, *first, *members;
    int32_t variables, nodes, values, H;
} Tree;
typedef struct { float *leaf, *transition, *root; } Flows;

/* out (rows, columns) += sum over n of a[r, n] b[n, c]; each operand's strides, that of columns being 1 */
INLINE void block(const float *a, int64_t a_row, int64_t a_n, const float *b, int64_t b_n, float *out, int64_t out_row,
                  int n, const int rows, const int columns, const int add)
{
    float sum[ROWS][COLUMNS] = {{0}};
    for (int i = 0; i < n; i++)
        for (int r = 0; r < rows; r++) {
            const float weight = a[r * a_row + i * a_n];
            for (int c = 0; c < columns; c++) sum[r][c] += weight * b[i * b_n + c];
        }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) out[r * out_row + c] = add ? out[r * out_row + c] + sum[r][c] : sum[r][c];
}

/* All of it, `rows` a multiple of 4 and columns of 8. */
INLINE void product(const float *a, int64_t a_row, int64_t a_n, const float *b, int64_t b_n, float *out, int n,
                    int rows, int columns, const int add)
{
    for (int r = 0; r < rows; r += ROWS) {
        int c = 0;
        for (; c + COLUMNS <= columns; c += COLUMNS)
            block(a + r * a_row, a_row, a_n, b + c, b_n, out + r * columns + c, columns, n, ROWS, COLUMNS, add);
        for (; c < columns; c += 8)
            block(a + r * a_row, a_row, a_n, b + c, b_n, out + r * columns + c, columns, n, ROWS, 8, add);
    }
}

/* A row to a largest element in [1, 2): its exponent before. Elements are positive, so ordered as integers are. */
INLINE int rescale(float *row, const int H)
{
    int32_t most = 0;
    for (int k = 0; k < H; k++) {
        int32_t bits;
        memcpy(&bits, row + k, 4);
        most = bits > most ? bits : most;
    }
    const int exponent = (most >> 23) - 127;
    const int32_t bits = (127 - exponent) << 23;
    float factor;
    memcpy(&factor, &bits, 4);
    for (int k = 0; k < H; k++) row[k] *= factor;
    return exponent;
}

/* up: m and t (nodes, CHUNK, H); exponent (CHUNK); W: room for H * H */
INLINE void upward(const Tree *tree, const uint8_t *x, float *m, float *t, int32_t *exponent, float *W, const int H)
{
    for (int n = 0; n < tree->nodes; n++)
        for (int i = 0; i < CHUNK; i++) {
            float *row = m + ((size_t)n * CHUNK + i) * H;
            for (int at = tree->first[n]; at < tree->first[n + 1]; at++) {
                const int v = tree->members[at], since = at - tree->first[n];
                const float *leaf = tree->leaf + ((size_t)v * tree->values + x[(size_t)i * tree->variables + v]) * H;
                if (!since) memcpy(row, leaf, H * sizeof(float));
                else for (int k = 0; k < H; k++) row[k] *= leaf[k];
                if (since % MANY == MANY - 1) exponent[i] += rescale(row, H);
            }
            exponent[i] += rescale(row, H);
        }
    for (int n = tree->nodes - 1; n > 0; n--) {
        const float *to = tree->transition + (size_t)n * H * H;
        for (int k = 0; k < H; k++)
            for (int j = 0; j < H; j++) W[j * H + k] = to[k * H + j];
        float *from = m + (size_t)n * CHUNK * H, *up = t + (size_t)n * CHUNK * H;
        product(from, H, 1, W, H, up, H, CHUNK, H, 0);
        float *above = m + (size_t)tree->parent[n] * CHUNK * H;
        for (int i = 0; i < CHUNK; i++) {
            for (int k = 0; k < H; k++) above[i * H + k] *= up[i * H + k];
            exponent[i] += rescale(above + i * H, H);
        }
    }
}

/* m becomes the posterior of each node's states; `count` images of the chunk are real */
INLINE void downward(const Tree *tree, const uint8_t *x, float *m, const float *t, const Flows *flows, float *ratio,
                     float *seen, int count, const int H)
{
    for (int n = 0; n < tree->nodes; n++) {
        float *own = m + (size_t)n * CHUNK * H;
        if (n) {
            const float *above = m + (size_t)tree->parent[n] * CHUNK * H, *up = t + (size_t)n * CHUNK * H;
            for (int j = 0; j < count * H; j++) ratio[j] = above[j] / up[j];
            memset(ratio + count * H, 0, (CHUNK - count) * H * sizeof(float));
            product(ratio, 1, H, own, H, flows->transition + (size_t)n * H * H, CHUNK, H, H, 1);
            product(ratio, H, 1, tree->transition + (size_t)n * H * H, H, seen, H, CHUNK, H, 0);
            for (int j = 0; j < count * H; j++) own[j] *= seen[j];
        } else
            for (int i = 0; i < count; i++)
                for (int k = 0; k < H; k++) flows->root[k] += own[i * H + k];
        for (int at = tree->first[n]; at < tree->first[n + 1]; at++) {
            const int v = tree->members[at];
            for (int i = 0; i < count; i++) {
                float *leaf = flows->leaf + ((size_t)v * tree->values + x[(size_t)i * tree->variables + v]) * H;
                for (int k = 0; k < H; k++) leaf[k] += own[i * H + k];
            }
        }
    }
}

/* log_likelihood: natural, of each image; flows: added to, transition's without its factor; NULL for none */
INLINE void pass(const Tree *tree, const uint8_t *x, int64_t count, double *log_likelihood, const Flows *flows,
                 float *room, const int H)
{
    float *m = room, *t = m + (size_t)tree->nodes * CHUNK * H, *W = t + (size_t)tree->nodes * CHUNK * H,
          *ratio = W + H * H, *seen = ratio + CHUNK * H;
    uint8_t *tail = (uint8_t *)(seen + CHUNK * H);
    for (int64_t at = 0; at < count; at += CHUNK) {
        const int here = count - at < CHUNK ? (int)(count - at) : CHUNK;
        const uint8_t *images = x + at * tree->variables;
        if (here < CHUNK) {
            memset(tail, 0, (size_t)CHUNK * tree->variables);
            images = memcpy(tail, images, (size_t)here * tree->variables);
        }
        int32_t exponent[CHUNK] = {0};
        upward(tree, images, m, t, exponent, W, H);
        for (int i = 0; i < here; i++) {
            float total = 0;
            for (int k = 0; k < H; k++) total += m[i * H + k] *= tree->root[k];
            for (int k = 0; k < H; k++) m[i * H + k] /= total;
            log_likelihood[at + i] = log(total) + exponent[i] * log(2.0);
        }
        if (flows) downward(tree, images, m, t, flows, ratio, seen, here, H);
    }
}

CLONES static void pass_8(const Tree *t, const uint8_t *x, int64_t n, double *l, const Flows *f, float *r)
{ pass(t, x, n, l, f, r, 8); }
CLONES static void pass_16(const Tree *t, const uint8_t *x, int64_t n, double *l, const Flows *f, float *r)
{ pass(t, x, n, l, f, r, 16); }
CLONES static void pass_32(const Tree *t, const uint8_t *x, int64_t n, double *l, const Flows *f, float *r)
{ pass(t, x, n, l, f, r, 32); }
CLONES static void pass_64(const Tree *t, const uint8_t *x, int64_t n, double *l, const Flows *f, float *r)
{ pass(t, x, n, l, f, r, 64); }
CLONES static void pass_80(const Tree *t, const uint8_t *x, int64_t n, double *l, const Flows *f, float *r)
{ pass(t, x, n, l, f, r, 80); }
CLONES static void pass_any(const Tree *t, const uint8_t *x, int64_t n, double *l, const Flows *f, float *r)
{ pass(t, x, n, l, f, r, t->H); }

/* flows(leaf, transition, root, parent, first, members, values, x, log_likelihood, flow_leaf, flow_transition, flow_root)
 * The last three are empty where no flows are asked for. H is a multiple of 8. */
static PyObject *py_flows(PyObject *self, PyObject *args)
{
    Py_buffer b[11];
    int values;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*iy*w*w*w*w*", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &values, &b[6],
                          &b[7], &b[8], &b[9], &b[10])) return NULL;
    const Tree tree = {b[0].buf, b[1].buf, b[2].buf, b[3].buf, b[4].buf, b[5].buf, (int32_t)(b[5].len / 4),
                       (int32_t)(b[3].len / 4), values, (int32_t)(b[2].len / 4)};
    const int64_t H = tree.H, count = b[7].len / 8;
    const int wanted = b[10].len > 0;
    const Flows flows = {b[8].buf, b[9].buf, b[10].buf};
    int bad = H < 8 || H % 8 || values < 1 || b[0].len != 4 * tree.variables * values * H
        || b[1].len != 4 * tree.nodes * H * H || b[4].len != 4 * (tree.nodes + 1) || b[6].len != count * tree.variables
        || (wanted && (b[8].len != b[0].len || b[9].len != b[1].len || b[10].len != b[2].len));
    for (int n = 0; !bad && n < tree.nodes; n++)
        bad = tree.first[n] >= tree.first[n + 1] || (n && (tree.parent[n] < 0 || tree.parent[n] >= n));
    bad = bad || tree.first[0] || tree.first[tree.nodes] != tree.variables;
    for (int v = 0; !bad && v < tree.variables; v++) bad = tree.members[v] < 0 || tree.members[v] >= tree.variables;
    const uint8_t *x = b[6].buf;
    for (int64_t at = 0; !bad && values < 256 && at < b[6].len; at++) bad = x[at] >= values;
    float *room = NULL;
    if (!bad) {
        const size_t size = ((size_t)2 * tree.nodes * CHUNK * H + H * H + 2 * CHUNK * H) * 4
            + (size_t)CHUNK * tree.variables;
        room = malloc(size);
        Py_BEGIN_ALLOW_THREADS
        if (room) {
            const Flows *to = wanted ? &flows : NULL;
            if (H == 8) pass_8(&tree, x, count, b[7].buf, to, room);
            else if (H == 16) pass_16(&tree, x, count, b[7].buf, to, room);
            else if (H == 32) pass_32(&tree, x, count, b[7].buf, to, room);
            else if (H == 64) pass_64(&tree, x, count, b[7].buf, to, room);
            else if (H == 80) pass_80(&tree, x, count, b[7].buf, to, room);
            else pass_any(&tree, x, count, b[7].buf, to, room);
        }
        Py_END_ALLOW_THREADS
    }
    for (int k = 0; k < 11; k++) PyBuffer_Release(&b[k]);
    if (bad) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit together");
        return NULL;
    }
    if (!room) return PyErr_NoMemory();
    free(room);
    Py_RETURN_NONE;
}

/* Of each value its hats, see hats.py. */
typedef struct { const uint8_t *first, *second; const float *near, *beyond; int64_t values, size; } Hats;

/* One variable's mean counts of hats (size, H) move towards those of a batch; its mixture and its table follow. */
CLONES static void follow(float *counts, float *mixture, float *table, float **flows, int threads, float rate,
                          float scale, float prior, const Hats *hats, int64_t H, float *room)
{
    float *sum = room, *seen = room + H;
    for (int64_t k = 0; k < (hats->size + 1) * H; k++) room[k] = 0;
    for (int64_t x = 0; x < hats->values; x++) {
        float *own = seen + hats->first[x] * H, *next = seen + hats->second[x] * H;
        const float near = hats->near[x], beyond = hats->beyond[x];
        for (int64_t k = 0; k < H; k++) sum[k] = 0;
        for (int n = 0; n < threads; n++) {
            float *flow = flows[n] + x * H;
            for (int64_t k = 0; k < H; k++) {
                sum[k] += flow[k];
                flow[k] = 0;
            }
        }
        for (int64_t k = 0; k < H; k++) {
            const float ratio = sum[k] / (table[x * H + k] + TINY);
            own[k] += near * ratio;
            next[k] += beyond * ratio;
        }
    }
    for (int64_t k = 0; k < H; k++) sum[k] = 0;
    for (int64_t b = 0; b < hats->size; b++)
        for (int64_t k = 0; k < H; k++) {
            float *c = counts + b * H + k;
            *c += rate * (seen[b * H + k] * mixture[b * H + k] * scale - *c);
            mixture[b * H + k] = *c + prior / hats->size;
            sum[k] += mixture[b * H + k];
        }
    for (int64_t k = 0; k < H; k++) sum[k] = 1 / sum[k];
    for (int64_t b = 0; b < hats->size; b++)
        for (int64_t k = 0; k < H; k++) mixture[b * H + k] *= sum[k];
    for (int64_t x = 0; x < hats->values; x++) {
        const float *own = mixture + hats->first[x] * H, *next = mixture + hats->second[x] * H;
        const float near = hats->near[x], beyond = hats->beyond[x];
        for (int64_t k = 0; k < H; k++) table[x * H + k] = near * own[k] + beyond * next[k];
    }
}

/* follow(counts, mixture, table, flows, first, second, near, beyond, start, stop, values, size, H, rate, scale, prior):
 * counts, mixture (variables, size, H), table (variables, values, H); flows: a tuple of arrays of that shape, which
 * are emptied; the hats of each value; the variables start to stop. */
static PyObject *py_follow(PyObject *self, PyObject *args)
{
    Py_buffer b[7], f[16];
    PyObject *tuple;
    Py_ssize_t start, stop, values, size, H;
    float rate, scale, prior;
    if (!PyArg_ParseTuple(args, "w*w*w*O!y*y*y*y*nnnnnfff", &b[0], &b[1], &b[2], &PyTuple_Type, &tuple, &b[3], &b[4],
                          &b[5], &b[6], &start, &stop, &values, &size, &H, &rate, &scale, &prior)) return NULL;
    const int threads = (int)PyTuple_GET_SIZE(tuple);
    const Hats hats = {b[3].buf, b[4].buf, b[5].buf, b[6].buf, values, size};
    int known = 0, bad = threads > 16 || start < 0 || stop < start || values < 1 || size < 1 || H < 1
        || b[0].len != b[1].len || stop * size * H * 4 > b[0].len || stop * values * H * 4 > b[2].len
        || b[3].len != values || b[4].len != values || b[5].len != 4 * values || b[6].len != 4 * values;
    for (int64_t x = 0; !bad && x < values; x++) bad = hats.first[x] >= size || hats.second[x] >= size;
    for (; !bad && known < threads; known++) {
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(tuple, known), &f[known], PyBUF_WRITABLE)) {
            PyErr_Clear();
            bad = 1;
            break;
        }
        bad = f[known].len != b[2].len;
    }
    float *room = bad ? NULL : malloc((size + 1) * H * sizeof(float));
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t v = start; room && v < stop; v++) {
        float *own[16];
        for (int n = 0; n < threads; n++) own[n] = (float *)f[n].buf + v * values * H;
        follow((float *)b[0].buf + v * size * H, (float *)b[1].buf + v * size * H, (float *)b[2].buf + v * values * H,
               own, threads, rate, scale, prior, &hats, H, room);
    }
    Py_END_ALLOW_THREADS
    const int short_of = !bad && !room;
    free(room);
    for (int k = 0; k < 7; k++) PyBuffer_Release(&b[k]);
    for (int k = 0; k < known; k++) PyBuffer_Release(&f[k]);
    if (short_of) return PyErr_NoMemory();
    if (bad) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit together");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"flows", py_flows, METH_VARARGS, NULL},
    {"follow", py_follow, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_flows", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__flows(void) { return PyModuleDef_Init(&module); }
